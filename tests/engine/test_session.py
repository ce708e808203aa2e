"""Steering: every wish waits for the next block, then holds or is refused; what held can be played again."""

import json
from dataclasses import replace

import numpy as np
import pytest

from longvie import controls
from longvie.controls.diorama import Diorama
from longvie.engine.changes import Change, Drag, Follow, Move, Say, Strength, change_from
from longvie.engine.script import Script
from longvie.engine.session import Outcome, Steering
from longvie.errors import ConfigError, ControlError, ScriptError
from small import FPS, direction, full_script, script


def fine(script: Script) -> None:
    """An engine that can follow anything."""


def test_words_hold_from_the_frame_on_whatever_was_planned() -> None:
    asked = script(160, "a ball[2s] | a storm[4s] | snow")
    changed = Say("  night  ").applied(asked, 48)
    assert [(line.time, line.prompt) for line in changed.prompts.lines] == [(0, "a ball"), (2, "a storm"), (3, "night")]
    assert changed.prompts.at(2.9) == "a storm" and changed.prompts.at(100.0) == "night"
    assert Say("at once").applied(asked, 0).prompts.lines[0].prompt == "at once"


def test_a_strength_turns_where_it_is_asked_for() -> None:
    asked = full_script(160)
    changed = Strength("depth", 0.0).applied(asked, 33)
    depth = changed.controls[0]
    assert [depth.share(range(at, at + 4)) for at in (0, 28, 32, 36)] == [0.8, 0.8, 0.2, 0.0]
    again = Strength("depth", 1.0).applied(changed, 49).controls[0]
    assert [again.share(range(at, at + 4)) for at in (28, 36, 52)] == [0.8, 0.0, 1.0]
    assert Strength("depth", 0.5).applied(asked, 0).controls[0].share(range(4)) == 0.5
    replanned = Strength("depth", 0.3).applied(again_planned(asked), 20).controls[0]
    assert replanned.turns == ((20, 0.3),), "what was planned for later is forgotten"


def again_planned(asked: Script) -> Script:
    return replace(asked, controls=(replace(asked.controls[0], turns=((100, 0.1),)), *asked.controls[1:]))


def test_another_control_takes_over_and_can_be_taken_over_again() -> None:
    asked = full_script(160)
    changed = Follow(direction("tracks", 160)).applied(asked, 33)
    names = {it.name: (it.start, it.ends(160)) for it in changed.controls}
    assert names == {"depth": (0, 160), "tracks": (0, 33), "tracks@33": (33, 160)}
    again = Follow(direction("tracks", 160)).applied(changed, 45)
    assert {it.name: (it.start, it.ends(160)) for it in again.controls} == {
        "depth": (0, 160), "tracks": (0, 33), "tracks@33": (33, 45), "tracks@45": (45, 160),
    }  # fmt: skip
    assert Strength("tracks", 0.0).applied(again, 60).controls[-1].turns == ((60, 0.0),)


def test_a_camera_that_moves_makes_controls_of_the_last_frame_s_depth() -> None:
    asked = full_script(160)
    moved = Move(pan=10, forward=0.2).applied(asked, 33)
    names = {it.name: (it.start, it.ends(160), it.strength) for it in moved.controls}
    assert names == {
        "depth": (0, 33, 0.8), "tracks": (0, 33, 1.0), "tracks@33": (33, 160, 1.0), "depth@33": (33, 160, 0.8),
    }  # fmt: skip
    old, new = asked.controls[0], moved.controls[-1]
    then, now = (it.signal.read(32, 33) for it in (old, new))
    assert np.mean(np.abs(now - then) < 0.03 * then) > 0.9 and new.scale == old.scale
    assert new.source == Move(pan=10, forward=0.2).applied(asked, 33).controls[-1].source
    assert new.source != Move(pan=11, forward=0.2).applied(asked, 33).controls[-1].source


def test_a_second_move_goes_on_in_the_same_world() -> None:
    once = Move(pan=10).applied(full_script(160), 33)
    twice = Move(forward=0.2).applied(once, 57)
    first, second = (it.controls[-1].signal for it in (once, twice))
    assert second.diorama.start == first.diorama.start == 32
    assert np.array_equal(first.read(32, 57), second.read(32, 57))
    assert not np.array_equal(first.read(70, 80), second.read(70, 80))


def test_without_depth_only_a_turn_is_heard() -> None:
    bare = replace(full_script(160), controls=())
    assert [it.name for it in Move(tilt=5).applied(bare, 33).controls] == ["tracks@33"]
    with pytest.raises(ControlError, match="how far away"):
        Move(forward=0.1).applied(bare, 33)


def test_what_else_was_drawn_is_off_once_the_camera_moves() -> None:
    asked = full_script(160)
    sketch = replace(asked.controls[0], name="lines", control=controls.get("sketch"))
    moved = Move(pan=5).applied(replace(asked, controls=(*asked.controls, sketch)), 33)
    lines = next(it for it in moved.controls if it.name == "lines")
    assert (lines.share(range(28, 32)), lines.share(range(33, 37))) == (0.8, 0.0)


def test_moves_and_drags_are_written_down_and_made_again() -> None:
    changes: list[Change] = [Move(pan=3, up=0.1, view=60), Drag((10.0, 12.0), (4.0, -2.0), 0.5)]
    assert [change_from(json.loads(json.dumps(change.to_json()))) for change in changes] == changes


def test_a_drag_finds_what_is_shown_there() -> None:
    asked = full_script(160)
    dragged = Drag((36.0, 13.0), (-6.0, 0.0), 0.5).applied(asked, 33)  # the near thing is at 32 to 40 of frame 32
    world = dragged.controls[-1].signal.diorama
    assert isinstance(world, Diorama) and len(world.pulled) == 1
    near = dragged.controls[-1].signal.read(60, 61)[0]
    assert near[13, 28] > 0.6 > near[13, 38]
    with pytest.raises(ControlError, match="nothing that could be dragged"):
        Drag((5.0, 30.0), (1.0, 1.0)).applied(asked, 33)


def test_a_wish_is_pending_then_applied_at_the_block() -> None:
    told: list[Outcome] = []
    steering = Steering(tell=told.append)
    first, second = steering.ask(Say("night")), steering.ask(Strength("depth", 0.5))
    assert [(it.number, it.state) for it in told] == [(0, "pending"), (1, "pending")]
    changed = steering.applied(full_script(160), 3, 33, fine)
    assert changed.prompts.at(33 / FPS) == "night" and changed.controls[0].turns == ((33, 0.5),)
    assert told[2:] == [
        replace(first, state="applied", block=3, frame=33), replace(second, state="applied", block=3, frame=33),
    ]  # fmt: skip
    assert steering.applied(changed, 4, 45, fine) is changed


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        (Say("   "), "the prompt is empty", "prompt_empty"),
        (Strength("smell", 1.0), "no control 'smell'; it has depth, tracks", "control_unknown"),
        (Strength("depth", 9.0), "use 0", ControlError.code),
        (Follow(replace(direction("depth", 160), strength=-1)), "use 0", ControlError.code),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(change: Change, reason: str, code: str) -> None:
    told: list[Outcome] = []
    steering, asked = Steering(tell=told.append), full_script(160)
    steering.ask(change)
    steering.ask(Say("night"))
    changed = steering.applied(asked, 1, 9, fine)
    assert [it.state for it in told] == ["pending", "pending", "rejected", "applied"]
    assert reason in told[2].reason and told[2].code == code
    assert changed.controls == asked.controls


def test_what_the_engine_cannot_follow_is_refused() -> None:
    told: list[Outcome] = []
    steering, asked = Steering(tell=told.append), full_script(160)

    def refuse(_: Script) -> None:
        raise ScriptError("not with these weights")

    steering.ask(Say("night"))
    assert steering.applied(asked, 1, 9, refuse) is asked
    assert told[-1].reason == "not with these weights"


def test_what_was_recorded_is_applied_at_the_same_frames_again() -> None:
    changes: list[tuple[int, Change]] = [(24, Say("night")), (48, Strength("depth", 0.25)), (48, Say("snow"))]
    written = [(frame, change.to_json()) for frame, change in changes]
    again = Steering([(frame, change_from(facts)) for frame, facts in written])
    asked, seen = full_script(160), []
    for block in range(6):
        asked = again.applied(asked, block, 12 * block, fine)
        seen.append((asked.prompts.at(12 * block / FPS), asked.controls[0].share(range(12 * block, 12 * block + 4))))
    assert seen == [("a red ball", 0.8)] * 2 + [("night", 0.8)] * 2 + [("snow", 0.25)] * 2


def test_what_is_taken_up_later_was_changed_when_it_was_changed() -> None:
    told: list[Outcome] = []
    late = Steering([(24, Strength("depth", 0.0)), (48, Strength("depth", 1.0))])
    late.listen(told.append)
    depth = late.applied(full_script(160), 6, 72, fine).controls[0]
    assert depth.turns == ((24, 0.0), (48, 1.0))
    assert [(it.state, it.block, it.frame, it.again) for it in told] == [
        ("applied", 6, 24, True),
        ("applied", 6, 48, True),
    ]


def test_a_recorded_control_is_found_again_by_its_source() -> None:
    follow = Follow(direction("tracks", 160), "drag 7")
    found = change_from(follow.to_json(), lambda name, source: direction(name, 160, source=source))
    assert isinstance(found, Follow) and found.direction.source == found.source == "drag 7"
    for facts in (follow.to_json(), {"change": "mood"}, {}):
        with pytest.raises(ConfigError, match="cannot be made again"):
            change_from(facts)
