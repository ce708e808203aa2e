"""What is asked, by frame: which clip makes what, what is refused, and what decides a video."""

import json

import numpy as np
import pytest
import torch

from longvie.controls.text import parse
from longvie.engine.script import Script, Still, beats_of
from longvie.errors import ControlError, ScriptError
from longvie.shapes import Strides
from small import FPS, SIZE, direction, picture, script

STRIDES = Strides()


@pytest.mark.parametrize("frames", [1, 2, 17, 81, 82, 100, 161, 241, 960])
@pytest.mark.parametrize("shared", [False, True])
def test_clips_cover_every_frame_once_and_no_more_than_needed(frames: int, shared: bool) -> None:
    spans = script(frames).spans(shared=shared)
    shown = [frame for span in spans for frame in range(span.new, span.stop)]
    assert shown == list(range(shown[-1] + 1))
    assert frames <= len(shown) < frames + STRIDES.time
    assert (len(shown) - 1) % STRIDES.time == 0
    assert all(span.stop == 80 * (span.clip + 1) + 1 for span in spans[:-1])


@pytest.mark.parametrize("shared", [False, True])
def test_latent_frames_stand_for_the_frames_of_their_span(shared: bool) -> None:
    for span in script(200).spans(shared=shared):
        groups = span.groups(STRIDES)
        assert [frame for group in groups for frame in group] == list(range(span.start, span.stop))
        assert [len(group) for group in groups] == ([1] if span.lone else []) + [4] * (len(groups) - span.lone)
        assert len(groups) <= 20 + span.lone


def test_a_later_clip_has_twenty_latent_frames_of_its_own_or_shares_one() -> None:
    own, shared = (script(241).spans(shared=how)[1] for how in (False, True))
    assert (own.start, own.stop, own.lone, len(own.groups(STRIDES))) == (81, 161, False, 20)
    assert (shared.start, shared.stop, shared.lone, len(shared.groups(STRIDES))) == (80, 161, True, 21)


def test_a_clip_says_what_holds_for_most_of_it() -> None:
    asked = Script(241, SIZE, FPS, parse("a ball[3s] | a ball at night[5s] | a ball in snow"))
    assert [span.prompt for span in asked.spans()] == ["a ball", "a ball at night", "a ball in snow"]
    early, late = asked.warnings(asked.spans())
    assert "from 3 s on are heard from 5.0625 s" in early
    assert "from 8 s on are heard from 10.0625 s" in late


def test_words_that_no_clip_hears_are_named() -> None:
    asked = script(81, "a ball[3s] | a ball at night[0.5s] | a ball in snow")
    unheard = "the words from {} s on hold for less than half of every clip: they go unheard"
    assert asked.warnings(asked.spans()) == [unheard.format("3"), unheard.format("3.5")]


def test_words_that_change_at_a_seam_need_no_warning() -> None:
    asked = script(161, "a ball[5s] | a ball at night")
    assert [span.prompt for span in asked.spans()] == ["a ball", "a ball at night"]
    assert asked.warnings(asked.spans()) == []


def test_strength_holds_within_start_and_stop() -> None:
    depth = direction("depth", 81, strength=0.5, start=3, stop=9)
    shares = [depth.share(group) for group in script(81).spans()[0].groups(STRIDES)]
    assert shares[:5] == [0, 0.25, 0.5, 0, 0]  # frames 0 | 1-4 | 5-8 | 9-12
    assert shares[1] == 0.5 * 2 / 4
    assert not any(shares[3:])


def test_beats_have_four_values_for_each_latent_frame() -> None:
    asked = script(100, beats=np.arange(100, dtype=np.float32))
    first, last = (beats_of(asked, span, STRIDES) for span in asked.spans())
    assert first is not None and last is not None
    assert first.shape == (1, 21, 4)
    assert first[0, :3].tolist() == [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert last[0, 0].tolist() == [81, 82, 83, 84]
    assert last[0, -1].tolist() == [97, 98, 99, 0]  # frame 100 is made, not asked for
    assert beats_of(script(100), asked.spans()[0], STRIDES) is None


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"frames": 0}, "0 frames"),
        ({"fps": 0}, "at 0 fps"),
        ({"fps": float("nan")}, "at nan fps"),
        ({"prompts": parse("a[9s] | b")}, "begins at 9 s"),
        ({"picture": picture(size=(16, 16))}, "the first picture is 16×16, the video 32×48"),
        ({"keyframes": (Still(33, picture()),)}, "frames 0 to 32"),
        ({"keyframes": (Still(3, picture(), strength=1.5),)}, "strength 1.5"),
        ({"keyframes": (Still(3, picture()), Still(3, picture()))}, "two keyframes are at frame 3"),
        ({"keyframes": (Still(0, picture()),), "picture": picture()}, "frame 0 has a first picture and a keyframe"),
        ({"beats": np.zeros(5, np.float32)}, "beats cover 5 frames, the video has 33"),
    ],
)
def test_what_cannot_be_followed_is_refused(how: dict, says: str) -> None:
    asked = {"frames": 33, "size": SIZE, "fps": FPS, "prompts": parse("a ball")} | how
    with pytest.raises(ScriptError, match=says):
        Script(**asked)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"strength": -0.1}, "strength -0.1"),
        ({"strength": float("nan")}, "strength nan"),
        ({"start": 20, "stop": 10}, "from frame 20 to 10"),
        ({"stop": 99}, "to 99, the video has 33"),
    ],
)
def test_a_control_out_of_range_is_refused(how: dict, says: str) -> None:
    with pytest.raises(ControlError, match=says):
        script(33, controls=(direction("depth", 33, **how),))


def test_a_control_that_is_too_short_says_by_how_much() -> None:
    with pytest.raises(ControlError, match="covers 20 frames, the video needs 33: add 13"):
        script(33, controls=(direction("depth", 20),))
    script(33, controls=(direction("depth", 20, stop=20),))


def test_two_controls_of_one_name_are_refused() -> None:
    with pytest.raises(ControlError, match="two controls are called 'depth'"):
        script(9, controls=(direction("depth", 9), direction("depth", 9)))
    script(9, controls=(direction("depth", 9), direction("depth", 9, name="far")))


def test_facts_are_json_and_tell_scripts_apart() -> None:
    base = {"picture": picture(), "controls": (direction("depth", 17),), "beats": np.zeros(17, np.float32)}
    facts = script(17, **base).facts()
    assert json.loads(json.dumps(facts)) == facts
    assert script(17, **base).facts() == facts
    others = [
        {"seed": 1},
        {"negative": "grey"},
        {"picture": picture(1)},
        {"keyframes": (Still(9, picture()),)},
        {"controls": (direction("depth", 17, strength=0.5),)},
        {"controls": (direction("tracks", 17),)},
        {"controls": (direction("depth", 18),)},
        {"beats": np.ones(17, np.float32)},
    ]
    seen = [script(17, **(base | other)).facts() for other in others]
    assert all(one != facts for one in seen)


def test_a_still_of_another_size_is_refused_when_it_is_read() -> None:
    assert torch.equal(Still(0, picture()).picture(SIZE), picture())
    with pytest.raises(ScriptError, match="the keyframe at frame 4 is 8×8"):
        Still(4, picture(size=(8, 8))).picture(SIZE)
