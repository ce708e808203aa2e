"""A run is a folder: what it holds, what it survives, what it refuses."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longvie.engine.clip import ClipConfig, ClipEngine
from longvie.engine.script import Script
from longvie.engine.stream import Progress
from longvie.errors import ConfigError, InputError, Interrupted, LongVieError, ResourceError, RunLocked
from longvie.journal import Journal, locked
from longvie.media import probe_video, read_picture, read_video
from longvie.models.models import Models
from longvie.runs import Output, Run, Stop, differing, stopped_by_signals, stopping, weights_hash
from longvie.runs import facts as run_facts
from small import full_script, picture, script

ROOT = Path(__file__).parents[1]


@pytest.fixture
def engine(models: Models) -> ClipEngine:
    return ClipEngine(models)


def done(folder: Path, asked: Script, engine: ClipEngine, /, **how: Any) -> Run:
    run = Run.begin(folder, asked, engine, **how)
    for _ in run.make(asked, engine):
        pass
    return run


def cut(folder: Path, asked: Script, engine: ClipEngine, *, after: int, **how: Any) -> Run:
    """A run whose viewer leaves after so many frames."""
    run = Run.begin(folder, asked, engine, **how)
    stream = run.make(asked, engine)
    for chunk in stream:
        if chunk.stop >= after:
            break
    stream.close()
    return run


def kinds(run: Run) -> list[str]:
    return [event["event"] for event in run.journal.events()]


# --- what a run holds -----------------------------------------------------------------------------------------------


def test_a_run_keeps_request_events_parts_and_the_video(engine: ClipEngine, tmp_path: Path) -> None:
    asked = full_script(100)
    run = done(tmp_path / "x.run", asked, engine, asked={"prompt": "a red ball", "image": "/home/me/a.png"})
    assert run.finished and run.verify() == []
    assert kinds(run) == ["created", "part", "part", "finished"]
    names = sorted(file.relative_to(run.folder).as_posix() for file in run.folder.rglob("*") if file.is_file())
    assert names == [
        "events.jsonl", "final.mp4", "lock", "run.json",
        "state/000.safetensors", "state/001.safetensors", "video/000.mp4", "video/001.mp4",
    ]  # fmt: skip
    facts = json.loads((run.folder / "run.json").read_text())
    assert facts["request"]["script"] == asked.facts()
    assert facts["request"]["engine"]["steps"] == engine.config.steps
    assert facts["model"] == {"name": "tiny", "sha256": weights_hash(engine.models)}
    assert facts["asked"]["prompt"] == "a red ball"
    info = probe_video(run.final)
    assert (info.frames, info.height, info.width, info.fps) == (100, 32, 48, 16)
    summary = run.summary()
    assert (summary.status, summary.parts, summary.frames, summary.wanted) == ("finished", 2, 100, 100)
    assert (summary.name, summary.seed, summary.prompt) == ("x", 7, "a red ball")


def test_the_video_is_what_the_engine_made(engine: ClipEngine, tmp_path: Path) -> None:
    asked = full_script(33)
    run = done(tmp_path / "x.run", asked, engine, output=Output(crf=0))
    made = np.concatenate([chunk.pictures() for chunk in engine.run(asked)]).astype(int)
    shown = read_video(run.final).astype(int)
    assert shown.shape == made.shape
    grey = np.array([0.2126, 0.7152, 0.0722])
    assert abs(shown @ grey - made @ grey).mean() < 3  # 4:2:0 halves only the colours


def test_the_file_says_that_it_is_made_and_how_but_not_where_or_when(engine: ClipEngine, tmp_path: Path) -> None:
    run = done(tmp_path / "x.run", full_script(17), engine, asked={"image": "/home/me/a.png"})
    metadata = probe_video(run.final).metadata
    said = json.loads(metadata["comment"])
    assert metadata["description"] == "AI-generated video"
    assert said["ai_generated"] is True
    assert (said["seed"], said["model"], said["model_sha256"]) == (7, "tiny", weights_hash(engine.models))
    assert said["prompts"] == [{"time": 0.0, "prompt": "a red ball"}]
    data = run.final.read_bytes()
    assert b"/home" not in data and str(tmp_path).encode() not in data
    assert time.strftime("%Y-").encode() not in data


def test_the_same_request_twice_is_the_same_file(engine: ClipEngine, tmp_path: Path) -> None:
    one, two = (done(tmp_path / f"{name}.run", full_script(100), engine) for name in "ab")
    assert one.final.read_bytes() == two.final.read_bytes()


def test_size_and_rate_are_converted_on_the_way(engine: ClipEngine, tmp_path: Path) -> None:
    asked = full_script(161)
    small = Output(size=(16, 24), fps=6)
    run = done(tmp_path / "a.run", asked, engine, output=small)
    info = probe_video(run.final)
    assert (info.frames, info.height, info.width, info.fps) == (61, 16, 24, 6)
    cut(tmp_path / "b.run", asked, engine, after=100, output=small)
    stopped = done(tmp_path / "b.run", asked, engine, output=small)
    assert stopped.final.read_bytes() == run.final.read_bytes()


def test_a_slow_file_may_have_parts_without_frames(models: Models, tmp_path: Path) -> None:
    engine = ClipEngine(models, ClipConfig(steps=1, clip=1, recent=1))
    run = done(tmp_path / "x.run", script(25), engine, output=Output(fps=1))
    assert [part["frames"] for part in run.parts()] == [1, 0, 0, 1, 0, 0]
    assert probe_video(run.final).frames == 2
    assert run.verify() == []


@pytest.mark.parametrize("how", [{"size": (15, 24)}, {"size": (0, 24)}, {"fps": 0}, {"fps": float("nan")}, {"crf": 52}])
def test_a_file_that_cannot_be_is_refused_before_anything_is_made(how: dict) -> None:
    with pytest.raises(ConfigError):
        Output(**how)


def test_frames_may_be_kept_as_pictures(engine: ClipEngine, tmp_path: Path) -> None:
    asked = full_script(85)
    run = Run.begin(tmp_path / "x.run", asked, engine)
    made = [chunk.pictures() for chunk in run.make(asked, engine, frames_dir=tmp_path / "frames")]
    found = sorted((tmp_path / "frames").iterdir())
    assert [file.name for file in found] == [f"{number:06d}.png" for number in range(85)]
    assert np.array_equal(read_picture(found[82]), np.concatenate(made)[82])


def test_runs_are_listed_by_name(engine: ClipEngine, tmp_path: Path) -> None:
    done(tmp_path / "b.run", script(5), engine)
    cut(tmp_path / "a.run", script(100), engine, after=81)
    (tmp_path / "c.run").mkdir()
    assert [(run.summary().name, run.summary().status) for run in Run.list(tmp_path)] == [
        ("a", "interrupted"),
        ("b", "finished"),
    ]


def test_the_run_lies_beside_its_video() -> None:
    assert Run.beside(Path("out/x.mp4")) == Path("out/x.run")


# --- the finished video under its name ------------------------------------------------------------------------------


def test_the_video_appears_under_its_name(engine: ClipEngine, tmp_path: Path) -> None:
    run, out = done(tmp_path / "x.run", script(5), engine), tmp_path / "x.mp4"
    run.check_out(out)
    run.export(out)
    assert out.read_bytes() == run.final.read_bytes()
    run.export(out)  # once more is no harm
    out.unlink()
    out.write_bytes(b"mine")
    for refused in (run.check_out, run.export):
        with pytest.raises(InputError, match=r"'x\.mp4' exists"):
            refused(out)
    run.export(out, force=True)
    assert out.read_bytes() == run.final.read_bytes()


def test_a_disk_without_links_gets_a_copy(engine: ClipEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Path) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    run = done(tmp_path / "x.run", script(5), engine)
    run.export(tmp_path / "x.mp4")
    assert (tmp_path / "x.mp4").read_bytes() == run.final.read_bytes()
    assert (tmp_path / "x.mp4").stat().st_nlink == 1


def test_an_unfinished_video_is_not_given_out(engine: ClipEngine, tmp_path: Path) -> None:
    run = cut(tmp_path / "x.run", script(100), engine, after=81)
    with pytest.raises(InputError, match="not finished"):
        run.export(tmp_path / "x.mp4")


# --- going on -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(models: Models, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The video that was never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "x.run"
    return done(folder, full_script(181), ClipEngine(models)).final.read_bytes()


@pytest.mark.parametrize("after", [1, 81, 101, 161, 181])
def test_a_run_that_was_left_goes_on_to_the_same_bytes(
    engine: ClipEngine, tmp_path: Path, whole: bytes, after: int
) -> None:
    asked = full_script(181)
    run = cut(tmp_path / "x.run", asked, engine, after=after)
    parts = len(run.parts())
    assert parts == sum(end <= after for end in (81, 161, 181))
    again = Run.begin(tmp_path / "x.run", asked, engine)
    new = list(again.make(asked, engine))
    assert not new or new[0].start == [0, 81, 161][parts]
    assert again.finished and again.final.read_bytes() == whole
    assert kinds(again)[-1] == "finished"


def test_a_finished_run_makes_nothing_again(engine: ClipEngine, tmp_path: Path) -> None:
    asked = full_script(17)
    run = done(tmp_path / "x.run", asked, engine)
    before = run.final.stat().st_mtime_ns
    again = Run.begin(tmp_path / "x.run", asked, engine)
    assert list(again.make(asked, engine)) == []
    assert run.final.stat().st_mtime_ns == before
    assert kinds(again) == ["created", "part", "finished"]


def test_a_finished_run_needs_its_video(engine: ClipEngine, tmp_path: Path, whole: bytes) -> None:
    asked = full_script(181)
    run = done(tmp_path / "x.run", asked, engine)
    run.final.unlink()
    assert run.verify() == ["final.mp4 is missing"]
    assert list(run.make(asked, engine)) == []  # joined again from its parts
    assert run.final.read_bytes() == whole


@pytest.mark.parametrize("name", ["video/001.mp4", "state/001.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_part_is_named_and_made_again(
    engine: ClipEngine, tmp_path: Path, whole: bytes, name: str, damage: str
) -> None:
    asked = full_script(181)
    run = cut(tmp_path / "x.run", asked, engine, after=161)
    file = run.folder / name
    file.unlink() if damage == "missing" else file.write_bytes(file.read_bytes()[:-9] + b"nonsense!")
    (trouble,) = run.verify()
    assert trouble.startswith(file.name)
    chunks = list(run.make(asked, engine))
    assert chunks[0].start == 81
    assert run.final.read_bytes() == whole
    assert run.verify() == []


def test_what_a_crash_left_half_done_is_swept_away(engine: ClipEngine, tmp_path: Path, whole: bytes) -> None:
    asked = full_script(181)
    run = cut(tmp_path / "x.run", asked, engine, after=100)
    for name in ("video/001.part", "video/007.mp4", "state/.0123.part", "state/001.safetensors", ".final.part"):
        (run.folder / name).write_bytes(b"half")
    list(run.make(asked, engine))
    assert run.final.read_bytes() == whole
    assert not (run.folder / "video/007.mp4").exists()
    assert not list(run.folder.rglob("*.part"))


def test_a_torn_last_event_is_as_if_it_never_was(engine: ClipEngine, tmp_path: Path, whole: bytes) -> None:
    asked = full_script(181)
    run = cut(tmp_path / "x.run", asked, engine, after=161)
    events = run.folder / "events.jsonl"
    lines = events.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["event"] for line in lines] == ["created", "part", "part", "interrupted"]
    events.write_bytes(b"".join(lines[:2]) + lines[2][:-20])
    assert len(run.parts()) == 1
    list(run.make(asked, engine))
    assert run.final.read_bytes() == whole


# --- other requests, other weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 8}, r"script\.seed is 7 there, 8 here"),
        ({"picture": picture(1)}, r"script\.picture is"),
        ({"controls": ()}, r"script\.controls is"),
        ({"frames": 33}, r"script\.frames is 17 there, 33 here"),
    ],
)
def test_another_request_is_refused_by_its_first_difference(
    engine: ClipEngine, tmp_path: Path, change: dict, says: str
) -> None:
    run = done(tmp_path / "x.run", full_script(17), engine)
    other = full_script(**({"frames": 17} | change))
    with pytest.raises(InputError, match=says) as raised:
        Run.begin(tmp_path / "x.run", other, engine)
    assert (raised.value.exit_code, raised.value.code) == (2, "run_exists")
    assert run.verify() == [] and run.finished


def test_other_settings_are_another_request(engine: ClipEngine, models: Models, tmp_path: Path) -> None:
    done(tmp_path / "x.run", script(5), engine)
    with pytest.raises(InputError, match=r"engine\.steps is 2 there, 5 here"):
        Run.begin(tmp_path / "x.run", script(5), ClipEngine(models, ClipConfig.of(models.card, steps=5)))
    with pytest.raises(InputError, match=r"output\.crf is 18 there, 30 here"):
        Run.begin(tmp_path / "x.run", script(5), engine, output=Output(crf=30))


def test_force_removes_the_other_request_wholly(engine: ClipEngine, tmp_path: Path) -> None:
    done(tmp_path / "x.run", full_script(181), engine)
    other = full_script(17, seed=8)
    run = Run.begin(tmp_path / "x.run", other, engine, force=True)
    assert not run.finished and run.parts() == []
    list(run.make(other, engine))
    fresh = done(tmp_path / "y.run", other, engine)
    assert run.final.read_bytes() == fresh.final.read_bytes()
    assert not (run.folder / "video" / "001.mp4").exists()


def test_a_folder_that_is_no_run_is_left_alone_even_by_force(engine: ClipEngine, tmp_path: Path) -> None:
    (tmp_path / "x.run").mkdir()
    (tmp_path / "x.run" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds 'thesis\.txt' and is not a run"):
        Run.begin(tmp_path / "x.run", script(5), engine, force=True)
    assert (tmp_path / "x.run" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "y.run").write_text("a file")
    with pytest.raises(InputError, match=r"'y\.run' is a file"):
        Run.begin(tmp_path / "y.run", script(5), engine)


def test_leftovers_of_another_run_are_not_taken_for_ours(engine: ClipEngine, tmp_path: Path) -> None:
    """A crash while a run was being removed: its parts are still there, its run.json is not."""
    folder = tmp_path / "x.run"
    done(folder, full_script(181), engine)
    (folder / "run.json").unlink()
    other = full_script(181, seed=8)
    assert Run.begin(folder, other, engine).parts() == []


def changed(models: Models) -> ClipEngine:
    """The same engine with one weight moved a little."""
    weights = {name: weight.clone() for name, weight in models.transformer.state_dict().items()}
    weights["head.head.bias"] += 0.1
    transformer = type(models.transformer).from_config(models.transformer.config).eval()
    transformer.load_state_dict(weights)
    return ClipEngine(replace(models, transformer=transformer))


def test_other_weights_do_not_go_on_with_a_run_unless_allowed(
    engine: ClipEngine, models: Models, tmp_path: Path
) -> None:
    asked, other = full_script(181), changed(models)
    cut(tmp_path / "x.run", asked, engine, after=81)
    with pytest.raises(InputError, match=r"begun with another model: sha256 is .* there, .* here") as raised:
        Run.begin(tmp_path / "x.run", asked, other)
    assert raised.value.code == "run_changed"
    run = Run.begin(tmp_path / "x.run", asked, other, allow_changed=True)
    list(run.make(asked, other))
    assert run.finished and "changed" in kinds(run)
    Run.begin(tmp_path / "x.run", asked, other)  # what was allowed is remembered
    with pytest.raises(InputError, match="another model"):
        Run.begin(tmp_path / "x.run", asked, engine)


def test_other_versions_matter_until_a_run_is_finished(
    engine: ClipEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = script(100)
    cut(tmp_path / "a.run", asked, engine, after=81)
    done(tmp_path / "b.run", asked, engine)
    monkeypatch.setattr(run_facts, "version", lambda _: "9.9")
    with pytest.raises(InputError, match=r"begun with another versions: longvie is .* there, \"9\.9\" here"):
        Run.begin(tmp_path / "a.run", asked, engine)
    assert Run.begin(tmp_path / "b.run", asked, engine).finished


def test_a_run_of_a_newer_version_is_left_unchanged(engine: ClipEngine, tmp_path: Path) -> None:
    run = done(tmp_path / "x.run", script(5), engine)
    facts = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps(facts | {"format": 99}))
    before = {file: file.read_bytes() for file in run.folder.rglob("*.*") if file.is_file()}  # all but the lock
    with pytest.raises(InputError, match="another version of longvie"):
        Run.begin(tmp_path / "x.run", script(5), engine)
    assert {file: file.read_bytes() for file in before} == before


def test_what_is_no_run_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a run"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json .* cannot be read"):
        Run.open(tmp_path)


# --- branches -------------------------------------------------------------------------------------------------------


def test_a_branch_shares_its_beginning_and_goes_its_own_way(engine: ClipEngine, tmp_path: Path) -> None:
    asked = full_script(161)
    run = done(tmp_path / "a.run", asked, engine, output=Output(crf=0))
    other = full_script(241, words="a ball[5s] | a storm", seed=9)
    branch = run.branch(tmp_path / "b.run", other, engine, part=1, output=Output(crf=0))
    assert branch.facts["branch"] == {"of": "a", "part": 1}
    chunks = list(branch.make(other, engine))
    assert chunks[0].start == 81
    assert branch.finished and branch.verify() == []
    old, new = read_video(run.final), read_video(branch.final)
    assert len(new) == 241
    assert np.array_equal(new[:81], old[:81])
    assert not np.array_equal(new[81:161], old[81:161])
    assert Run.begin(tmp_path / "b.run", other, engine, output=Output(crf=0)).finished
    assert run.verify() == []


def test_a_branch_of_the_same_request_is_the_same_video(engine: ClipEngine, tmp_path: Path, whole: bytes) -> None:
    asked = full_script(181)
    run = done(tmp_path / "a.run", asked, engine)
    branch = run.branch(tmp_path / "b.run", asked, engine, part=2)
    list(branch.make(asked, engine))
    assert branch.final.read_bytes() == whole


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"part": 0}, "can leave after part 1 to 2"),
        ({"part": 3}, "has 2 parts"),
        ({"part": 1, "output": Output(crf=30)}, "keeps the output"),
        ({"part": 2, "frames": 90}, "has 90 frames, the part it leaves ends at 150"),
        ({"part": 2, "frames": 241}, "stands after frame 152, where no clip of this script ends"),
    ],
)
def test_a_branch_that_cannot_be_is_refused(engine: ClipEngine, tmp_path: Path, how: dict, says: str) -> None:
    run = cut(tmp_path / "a.run", script(150), engine, after=150)
    rest = {"part": 1} | {name: value for name, value in how.items() if name != "frames"}
    with pytest.raises(InputError, match=says):
        run.branch(tmp_path / "b.run", script(how.get("frames", 161)), engine, **rest)


# --- the lock -------------------------------------------------------------------------------------------------------


def test_two_at_once_are_refused(engine: ClipEngine, tmp_path: Path) -> None:
    asked = script(161)
    run = Run.begin(tmp_path / "x.run", asked, engine)
    stream = run.make(asked, engine)
    next(stream)
    with pytest.raises(RunLocked, match=rf"process {os.getpid()} is working on 'x\.run'") as raised:
        Run.begin(tmp_path / "x.run", asked, engine)
    assert raised.value.exit_code == 4
    with pytest.raises(RunLocked):
        next(Run.open(tmp_path / "x.run").make(asked, engine))
    stream.close()
    list(run.make(asked, engine))
    assert run.finished


def test_a_lock_dies_with_its_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", LOCKS, str(tmp_path / "lock")], stdout=subprocess.PIPE, env=_environment()
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"held\n"
    with pytest.raises(RunLocked, match=f"process {owner.pid}"), locked(tmp_path / "lock"):
        pass
    owner.kill()
    owner.wait()
    owner.stdout.close()
    with locked(tmp_path / "lock"):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


LOCKS = """
import sys, time
from pathlib import Path
from longvie.journal import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("started", "held"), [(0.0, True), (-100.0, False)])
def test_without_locks_an_owner_is_known_by_number_and_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: float, held: bool
) -> None:
    """A file system without locks, and a number that has been used again since."""
    psutil, fcntl = pytest.importorskip("psutil"), pytest.importorskip("fcntl")

    def none(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", none)
    own = psutil.Process().create_time()
    (tmp_path / "lock").write_text(json.dumps({"pid": os.getpid(), "started": own + started}))
    if held:
        with pytest.raises(RunLocked), locked(tmp_path / "lock"):
            pass
    else:
        with locked(tmp_path / "lock"):
            pass


# --- the journal ----------------------------------------------------------------------------------------------------


def test_events_come_back_as_they_were(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    assert journal.events() == []
    journal.add("created", words="ein Bär")
    journal.add("part", part=0)
    assert [(event["event"], event.get("words"), event.get("part")) for event in journal.events()] == [
        ("created", "ein Bär", None),
        ("part", None, 0),
    ]


def test_a_journal_cut_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for number in range(3):
        Journal(path).add("part", part=number)
    data = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    for length in range(len(data) + 1):
        path.write_bytes(data[:length])
        assert len(Journal(path).events()) == sum(end <= length for end in ends)
    path.write_bytes(data[: ends[1] + 7])
    Journal(path).add("part", part=9)
    assert [event["part"] for event in Journal(path).events()] == [0, 1, 9]


def test_a_last_line_of_zeros_is_torn_too(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    Journal(path).add("created")
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 40 + b"\n")
    assert len(Journal(path).events()) == 1
    Journal(path).add("part", part=0)
    assert len(Journal(path).events()) == 2


@pytest.mark.parametrize("how", ["changed", "removed", "swapped"])
def test_a_line_that_is_not_what_was_written_is_refused(tmp_path: Path, how: str) -> None:
    path = tmp_path / "events.jsonl"
    for number in range(3):
        Journal(path).add("part", part=number)
    one, two, three = path.read_bytes().splitlines(keepends=True)
    told = {"changed": [one, two.replace(b'"part":1', b'"part":7'), three], "removed": [one, three, two, two]}
    path.write_bytes(b"".join(told.get(how, [two, one, three])))
    with pytest.raises(InputError, match="is damaged") as raised:
        Journal(path).events()
    assert raised.value.code == "run_damaged"


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_what_fails_is_noted_and_what_was_made_is_kept(engine: ClipEngine, tmp_path: Path, whole: bytes) -> None:
    asked = full_script(181)
    run = Run.begin(tmp_path / "x.run", asked, engine)

    def broken(progress: Progress) -> None:
        if progress.part == 1:
            raise LongVieError("clip 1, step 1 of 2: NaN", code="not_finite")

    with pytest.raises(LongVieError, match="NaN"):
        list(run.make(asked, engine, on_progress=broken))
    assert [event["event"] for event in run.journal.events()] == ["created", "part", "failed"]
    assert run.summary().status == "failed"
    assert run.journal.events()[-1]["code"] == "not_finite"
    list(run.make(asked, engine))
    assert run.final.read_bytes() == whole


def test_no_memory_is_exit_4(engine: ClipEngine, tmp_path: Path) -> None:
    run = Run.begin(tmp_path / "x.run", script(5), engine)

    def greedy(progress: Progress) -> None:
        raise torch.OutOfMemoryError(f"CUDA out of memory at step {progress.step}")

    with pytest.raises(ResourceError, match="no memory is left") as raised:
        list(run.make(script(5), engine, on_progress=greedy))
    assert (raised.value.exit_code, run.summary().status) == (4, "failed")


def test_a_disk_that_is_nearly_full_is_told_before_a_part(
    engine: ClipEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run.begin(tmp_path / "x.run", script(5), engine)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100))
    with pytest.raises(ResourceError, match=r"bytes are needed .* 100 are free") as raised:
        list(run.make(script(5), engine))
    assert (raised.value.exit_code, raised.value.code) == (4, "disk_full")


@pytest.mark.parametrize("where", ["state", "journal", "final"])
def test_a_full_disk_is_exit_4_and_the_run_goes_on_later(
    engine: ClipEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes, where: str
) -> None:
    asked = full_script(181)
    run = Run.begin(tmp_path / "x.run", asked, engine)
    flush, calls = os.fsync, []
    wanted = {"state": ".part", "journal": "events.jsonl", "final": ".part"}[where]
    skipped = {"state": 0, "journal": 1, "final": 3}[where]

    def full(handle: int) -> None:
        path = str(Path(f"/proc/self/fd/{handle}").readlink())
        if path.endswith(wanted):
            calls.append(path)
            if len(calls) > skipped:
                raise OSError(errno.ENOSPC, "no room")
        flush(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ResourceError, match="no room") as raised:
        list(run.make(asked, engine))
    assert raised.value.exit_code == 4
    monkeypatch.setattr(os, "fsync", flush)
    again = Run.begin(tmp_path / "x.run", asked, engine)
    list(again.make(asked, engine))
    assert again.final.read_bytes() == whole


# --- stopping -------------------------------------------------------------------------------------------------------


def test_asked_to_stop_while_it_computes_it_drops_the_clip(models: Models, tmp_path: Path) -> None:
    asked, stop, engine = full_script(181), Stop(), ClipEngine(models, ClipConfig(steps=3))
    run = Run.begin(tmp_path / "x.run", asked, engine)
    told = []

    def ask(progress: Progress) -> None:
        told.append(progress)
        if progress.part == 1:
            stop.ask()

    with pytest.raises(Interrupted, match="stopped after 1 of 3 parts; the same command goes on") as raised:
        list(run.make(asked, engine, stop=stop, on_progress=ask))
    assert raised.value.exit_code == 130
    assert kinds(run) == ["created", "part", "interrupted"]
    assert [progress.step for progress in told if progress.part == 1] == [1]
    list(run.make(asked, engine))
    assert run.final.read_bytes() == done(tmp_path / "y.run", asked, engine).final.read_bytes()


def test_asked_to_stop_while_frames_come_it_finishes_the_clip(
    engine: ClipEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = full_script(181)
    for lasting, parts in ((5.0, 2), (0.0, 1)):
        monkeypatch.setattr(stopping, "LASTING_S", lasting)
        stop, run = Stop(), Run.begin(tmp_path / f"{parts}.run", asked, engine)
        with pytest.raises(Interrupted):
            for chunk in run.make(asked, engine, stop=stop):
                if chunk.start == 81:
                    stop.ask()
        assert len(run.parts()) == parts


def test_the_first_signal_asks_and_the_second_kills() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_signals() as stop:
        assert not stop.asked
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.asked
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is before


def test_differences_are_told_by_name() -> None:
    old, new = {"a": {"b": [1, {"c": 2}]}, "d": 1}, {"a": {"b": [1, {"c": 3}]}, "e": 1}
    assert differing(old, new) == ["a.b[1].c is 2 there, 3 here", "d is 1 there, null here", "e is null there, 1 here"]
    assert differing(old, old) == []


# --- kill -9 --------------------------------------------------------------------------------------------------------

MAKES = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import torch
torch.set_num_threads(1)
from small import full_script, world_models
from longvie.engine.clip import ClipEngine
from longvie.runs import Run, stopped_by_signals
asked, engine = full_script(int(sys.argv[3])), ClipEngine(world_models())
run = Run.begin(Path(sys.argv[1]), asked, engine)
print("begun", flush=True)
with stopped_by_signals() as stop:
    for chunk in run.make(asked, engine, stop=stop):
        print(chunk.stop, flush=True)
print("done", flush=True)
"""


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def maker(folder: Path, frames: int = 181) -> subprocess.Popen[str]:
    """A process of its own that makes the run."""
    command = [sys.executable, "-c", MAKES, str(folder), str(Path(__file__).parent), str(frames)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=_environment()
    )


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    return iter(process.stdout.readline, "")


def killed(folder: Path, *, after: str, pause_s: float, frames: int = 181) -> None:
    """Start the run, and kill it some time after it has said a line."""
    with maker(folder, frames) as process:
        for line in lines(process):
            if line.strip() == after:
                break
        time.sleep(pause_s)
        process.kill()


def finished(folder: Path, frames: int = 181) -> bytes:
    with maker(folder, frames) as process:
        out, error = process.communicate(timeout=300)
    assert out.endswith("done\n"), error
    return (folder / "final.mp4").read_bytes()


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("after", ["begun", "81"])
def test_killed_and_started_again_it_ends_in_the_same_bytes(tmp_path: Path, whole: bytes, after: str) -> None:
    killed(tmp_path / "x.run", after=after, pause_s=0.02)
    assert finished(tmp_path / "x.run") == whole


@pytest.mark.slow
@pytest.mark.usefixtures("threads")
def test_killed_ten_times_it_ends_in_the_same_bytes(engine: ClipEngine, tmp_path: Path) -> None:
    """At random moments of a video of six clips; two of the runs are killed again while they go on."""
    rng = np.random.default_rng(0)
    whole = done(tmp_path / "whole.run", full_script(481), engine).final.read_bytes()
    for number in range(10):
        killed(tmp_path / f"{number % 3}.run", after="begun", pause_s=float(rng.uniform(0, 0.5)), frames=481)
    for number in range(3):
        assert finished(tmp_path / f"{number}.run", 481) == whole
        assert Run.open(tmp_path / f"{number}.run").verify() == []


@pytest.fixture
def threads() -> Iterator[None]:
    """Sums may differ in their last bit between thread counts; both sides use one."""
    before = torch.get_num_threads()
    if before != 1:
        pytest.skip("run with OMP_NUM_THREADS=1, as the processes that are compared")
    yield


def test_one_interrupt_ends_a_process_cleanly(tmp_path: Path) -> None:
    with maker(tmp_path / "x.run") as process:
        for line in lines(process):
            if line.strip() == "81":
                break
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        _, error = process.communicate(timeout=60)
    assert time.monotonic() - begun < 10
    run = Run.open(tmp_path / "x.run")
    if not run.finished:  # it may have been quicker
        assert "Interrupted" in error
        assert kinds(run)[-1] == "interrupted"
    assert run.verify() == []
