"""A live run that was steered: what it writes down, and that it is taken up, played again, and left at any block."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from longvie.engine import live
from longvie.engine.changes import Change, Drag, Follow, Move, Say, Strength
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.script import Script
from longvie.engine.session import Outcome, Steering
from longvie.engine.stream import Progress
from longvie.errors import ConfigError, InputError
from longvie.media import read_video
from longvie.models.models import Models
from longvie.runs import Run
from small import direction, full_script

FRAMES = 93  # eight blocks: four parts of two
WISHES: dict[int, Change] = {1: Say("a storm at night"), 3: Strength("depth", 0.0), 4: Say("  "), 5: Say("snow")}


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "PART", 2)


@pytest.fixture
def engine(models: Models) -> LiveEngine:
    return LiveEngine(models, LiveConfig.of(models.card, steps=1))


def wishing(steering: Steering, wishes: dict[int, Change]) -> Callable[[Progress], None]:
    """Asks while a block is made; so the wish is heard at the next."""
    left = dict(wishes)

    def told(progress: Progress) -> None:
        if progress.part in left and progress.step == progress.steps:
            steering.ask(left.pop(progress.part))

    return told


def steered(folder: Path, asked: Script, engine: LiveEngine, *, until: int = FRAMES) -> Run:
    run = Run.begin(folder, asked, engine)
    steering = Steering()
    stream = run.make(asked, engine, steering=steering, on_progress=wishing(steering, WISHES))
    for chunk in stream:
        if chunk.stop >= until:
            break
    if until < FRAMES:
        stream.close()
    else:
        for _ in stream:
            pass
    return run


def test_the_journal_says_what_was_asked_when_and_what_became_of_it(engine: LiveEngine, tmp_path: Path) -> None:
    run = steered(tmp_path / "x.run", full_script(FRAMES), engine)
    events = [event for event in run.journal.events() if event["event"] in ("steered", "refused")]
    assert [(it["event"], it.get("block"), it.get("frame"), it["change"]) for it in events] == [
        ("steered", 2, 21, "words"), ("steered", 4, 45, "strength"), ("refused", None, None, "words"),
        ("steered", 6, 69, "words"),
    ]  # fmt: skip
    assert all(event["asked"] <= event["time"] for event in events)
    assert events[2]["code"] == "prompt_empty" and "empty" in events[2]["message"]
    assert run.steered() == [(21, WISHES[1]), (45, WISHES[3]), (69, WISHES[5])]
    plain = Run.begin(tmp_path / "plain.run", full_script(FRAMES), engine)
    unsteered = np.concatenate([chunk.pictures() for chunk in plain.make(full_script(FRAMES), engine)])
    made = read_video(run.final)
    still = read_video(plain.final)
    assert len(made) == len(unsteered) == FRAMES
    assert np.array_equal(made[:16], still[:16]) and not np.array_equal(made[24:], still[24:])


@pytest.mark.parametrize("until", [33, 57, 81])
def test_cut_off_and_taken_up_it_is_what_it_would_have_been(engine: LiveEngine, tmp_path: Path, until: int) -> None:
    """Wishes that were heard before the cut are heard again; those after it are asked for again by the caller."""
    whole = steered(tmp_path / "whole.run", full_script(FRAMES), engine)
    cut = steered(tmp_path / "cut.run", full_script(FRAMES), engine, until=until)
    assert not cut.finished
    heard = {part for part, change in WISHES.items() if any(change == it for _, it in cut.steered())}
    later = {part: change for part, change in WISHES.items() if part not in heard and part != 4}
    steering = Steering()
    for _ in cut.make(full_script(FRAMES), engine, steering=steering, on_progress=wishing(steering, later)):
        pass
    assert cut.final.read_bytes() == whole.final.read_bytes()
    assert cut.steered() == whole.steered()


def test_a_recorded_run_can_be_played_again_byte_for_byte(engine: LiveEngine, tmp_path: Path) -> None:
    asked = full_script(FRAMES)
    run = steered(tmp_path / "x.run", asked, engine)
    again = run.branch(tmp_path / "again.run", asked, engine, part=0, steered=run.steered())
    for _ in again.make(asked, engine):
        pass
    assert again.final.read_bytes() == run.final.read_bytes()
    assert again.steered() == run.steered() and again.was_steered


@pytest.mark.parametrize("block", [1, 2, 5, 6])
def test_a_branch_leaves_at_any_block(engine: LiveEngine, tmp_path: Path, block: int) -> None:
    asked, leaves = full_script(FRAMES), 9 + 12 * (block - 1)
    run = steered(tmp_path / "x.run", asked, engine)
    part = sum(event["stop"] <= leaves for event in run.parts())
    changes = [change for change in run.steered() if change[0] < leaves] + [(leaves, Say("a green ball in rain"))]
    other = run.branch(tmp_path / "other.run", asked, engine, part=part, steered=changes)
    assert len(other.parts()) == part
    frames = np.concatenate([chunk.pictures() for chunk in other.make(asked, engine)])
    start = run.parts()[part - 1]["stop"] if part else 0
    assert len(frames) == FRAMES - start
    plain = Run.begin(tmp_path / "same.run", asked, engine)
    steering = Steering(run.steered())
    truth = np.concatenate([chunk.pictures() for chunk in plain.make(asked, engine, steering=steering)])
    shared = leaves - start
    assert np.array_equal(frames[:shared], truth[start:leaves])
    assert not np.array_equal(frames[shared:], truth[leaves:])


def test_a_control_that_was_exchanged_is_opened_again_by_who_knows_it(engine: LiveEngine, tmp_path: Path) -> None:
    asked, other = full_script(45), direction("tracks", 45, source="dragged")
    run, steering = Run.begin(tmp_path / "x.run", asked, engine), Steering()
    steering.ask(Follow(other, "drag 1"))
    for _ in run.make(asked, engine, steering=steering):
        pass
    found: list[tuple[str, str]] = []

    def find(name: str, source: str):  # noqa: ANN202
        found.append((name, source))
        return other

    again = run.branch(tmp_path / "again.run", asked, engine, part=0, steered=run.steered(find))
    for _ in again.make(asked, engine, find=find):
        pass
    assert found and set(found) == {("tracks", "drag 1")}
    assert again.final.read_bytes() == run.final.read_bytes()
    with pytest.raises(ConfigError, match="cannot be made again"):
        run.steered()


def test_a_camera_that_was_moved_by_hand_moves_again(engine: LiveEngine, tmp_path: Path) -> None:
    """Cut off after the move, taken up, and played again: the controls come out of the same depth."""
    asked = full_script(57)
    wishes: dict[int, Change] = {0: Drag((12.0, 13.0), (8.0, 0.0)), 1: Move(pan=12, forward=0.2), 2: Move()}
    runs = []
    for name, until in (("whole", 57), ("cut", 45)):
        run, steering = Run.begin(tmp_path / f"{name}.run", asked, engine), Steering()
        stream = run.make(asked, engine, steering=steering, on_progress=wishing(steering, wishes))
        for chunk in stream:
            if chunk.stop >= until:
                break
        stream.close()
        runs.append(run)
    whole, cut = runs
    for run in runs:
        for _ in run.make(asked, engine):
            pass
    kinds = [event["event"] for event in whole.journal.events() if event["event"] in ("steered", "refused")]
    assert kinds == ["steered"] * 3
    plain = np.concatenate([chunk.pictures() for chunk in engine.run(asked)])
    made = np.concatenate([chunk.pictures() for chunk in engine.run(asked, steering=Steering(whole.steered()))])
    assert np.array_equal(made[:9], plain[:9]) and not np.array_equal(made[9:21], plain[9:21])
    assert cut.final.read_bytes() == whole.final.read_bytes()
    again = whole.branch(tmp_path / "again.run", asked, engine, part=0, steered=whole.steered())
    for _ in again.make(asked, engine):
        pass
    assert again.final.read_bytes() == whole.final.read_bytes()


def test_a_branch_from_nothing_that_changes_nothing_is_refused(engine: LiveEngine, tmp_path: Path) -> None:
    run = steered(tmp_path / "x.run", full_script(FRAMES), engine)
    with pytest.raises(InputError, match="after part 1 to 4"):
        run.branch(tmp_path / "y.run", full_script(FRAMES), engine, part=0)


def test_whoever_listens_is_told_of_every_wish(engine: LiveEngine, tmp_path: Path) -> None:
    told: list[Outcome] = []
    asked, steering = full_script(33), Steering(tell=told.append)
    steering.ask(Say("night"))
    run = Run.begin(tmp_path / "x.run", asked, engine)
    for _ in run.make(asked, engine, steering=steering):
        pass
    assert [(it.state, it.block, it.again) for it in told] == [("pending", None, False), ("applied", 0, False)]
