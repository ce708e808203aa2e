"""How late a video is: exact on what is shifted, without a number where motion has no date."""

from dataclasses import replace

import numpy as np
import pytest
from moments import blurred, frozen, late, measure, moments, number, refusal, shuffled, take

from longvie.evaluation.families.lag import FAMILY, correlation
from longvie.evaluation.metric import Value

SCENE, FRAMES, SMALL = 13, 66, (48, 88)  # two windows


def lag(video: np.ndarray) -> Value:
    found = measure(FAMILY, take(SCENE, FRAMES, size=SMALL), video)["ctl.lag"]
    assert isinstance(found, Value), found
    return found


def test_correlation_is_1_at_the_shift_that_was_made() -> None:
    true = np.random.default_rng(0).normal(size=(30, 4))
    for shift in (-3, 0, 5):
        made = np.roll(true, shift, axis=0)
        found = [correlation(made, true, each) for each in range(-6, 7)]
        assert np.argmax(found) - 6 == shift and max(found) == pytest.approx(1)
    assert correlation(np.ones((30, 4)), true, 2) == 0


def test_the_truth_is_in_time() -> None:
    video = take(SCENE, FRAMES, size=SMALL).truth
    found = lag(video)
    assert found.number == 0 and found.n == 2 and [late_by for _, late_by in found.windows] == [0, 0]
    assert [begin for begin, _ in found.windows] == pytest.approx([1 / 16, 33 / 16])
    assert max(found.curve, key=lambda point: point[1]) == (0, pytest.approx(1))
    assert lag(video) == found


@pytest.mark.parametrize("frames", [1, 4, -3])
def test_a_delay_is_counted_in_frames_and_early_is_as_bad_as_late(frames: int) -> None:
    found = lag(late(take(SCENE, FRAMES, size=SMALL).truth, frames))
    assert found.number == abs(frames)
    assert {each for _, each in found.windows} == {float(frames)}


def test_blur_does_not_make_it_late() -> None:
    assert lag(blurred(take(SCENE, FRAMES, size=SMALL).truth, 3)).number == 0


def test_other_geometry_does_not_make_it_late() -> None:
    known = take(SCENE, FRAMES, size=SMALL).cut(34)
    assert number(measure(FAMILY, known, take(SCENE, 34, size=SMALL, grown=1.2).truth), "ctl.lag") == 0


def test_it_says_why_there_is_no_number() -> None:
    known = take(SCENE, FRAMES, size=SMALL)
    for video in (frozen(known.truth, 1.0), shuffled(known.truth)):
        assert "at no lag" in refusal(measure(FAMILY, known, video), "ctl.lag")
    still = replace(known, truth=frozen(known.truth, 1.0))
    assert "too evenly" in refusal(measure(FAMILY, still, known.truth), "ctl.lag")
    assert "no 33 frames" in refusal(measure(FAMILY, known.cut(20)), "ctl.lag")
    probe = FAMILY.open(known.facts())
    for moment in moments(known, truth=None):
        probe.see(moment)
    assert "with their truth" in refusal(probe.values(), "ctl.lag")
