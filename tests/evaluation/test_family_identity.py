"""Objects keep their colours: those of the truth do, swapped ones do not, and noise is none of its business."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from moments import Take, flickering, measure, moments, noisy, number, refusal, saturated, take

from longvie.evaluation.families.identity import FAMILY, Sightings
from longvie.evaluation.metric import Value

FRAMES = 26


def film(*, swapped: bool = False) -> Take:
    return take(7, FRAMES, 4.0, size=(48, 88), swapped=swapped)


@cache
def swapped(share: float) -> tuple[float, float]:
    """Colour and switches when a share of the way to the next object's colours is gone at the middle."""
    truth, other = (film(swapped=it).truth for it in (False, True))
    half = FRAMES // 2
    mixed = np.rint((1 - share) * truth[half:] + share * other[half:]).astype(np.uint8)
    return identity(np.concatenate([truth[:half], mixed]))


def identity(video: np.ndarray) -> tuple[float, float]:
    found = measure(FAMILY, film(), video)
    return number(found, "id.colour"), number(found, "id.switches")


def test_the_truth_stays_what_it_is() -> None:
    video = film().truth
    assert identity(video) == (0, 0)
    assert measure(FAMILY, film(), noisy(video, 3)) == measure(FAMILY, film(), noisy(video, 3))


def test_swapped_colours_are_seen_and_the_more_the_worse() -> None:
    found = [swapped(share) for share in (0.0, 0.3, 1.0)]
    colours, switches = zip(*found, strict=True)
    assert colours[0] == 0 and colours[1] > 3 and colours[2] > colours[1] + 5
    assert switches[0] <= switches[1] < switches[2] and switches[2] > 0.4


def test_growing_saturation_is_seen() -> None:
    found = [identity(saturated(film().truth, most))[0] for most in (0.3, 0.6, 1.0)]
    assert 1 < found[0] < found[1] < found[2]


def test_what_it_ignores_hardly_moves_it() -> None:
    video = film().truth
    for made in (noisy(video, 5), flickering(video, 0.03)):
        assert identity(made)[0] < 4 and identity(made)[1] == 0


def test_a_change_that_the_truth_makes_too_is_none() -> None:
    known = film()
    turned = known.truth.copy()
    turned[FRAMES // 2 :] = turned[FRAMES // 2 :, :, :, ::-1]  # red and blue change places
    assert number(measure(FAMILY, replace(known, truth=turned)), "id.colour") == 0
    assert number(measure(FAMILY, replace(known, truth=turned), known.truth), "id.colour") > 5


def test_first_and_last_three_count_and_nothing_between() -> None:
    seen = Sightings()
    for lightness in (50, 50, 90, 0, 0, 0, 60, 61, 10):
        assert seen.change() is None or lightness != 50
        seen.add(np.array([lightness, 0, 0, 50, 0, 0.0]))
    assert seen.change() == pytest.approx(10) and len(seen.first) == len(seen.last) == 3


def test_every_object_has_its_number() -> None:
    found = measure(FAMILY, film())["id.colour"]
    assert isinstance(found, Value)
    assert found.n == len(found.curve) and {label for label, _ in found.curve} <= set(range(2, 8))


def test_it_says_what_is_missing() -> None:
    known = film()
    for changed in (known.cut(5), replace(known, labels=np.ones_like(known.labels))):
        assert "no object" in refusal(measure(FAMILY, changed), "id.colour")
    probe = FAMILY.open(known.facts())
    for moment in moments(known, labels=None):
        probe.see(moment)
    assert "no object" in refusal(probe.values(), "id.switches")
