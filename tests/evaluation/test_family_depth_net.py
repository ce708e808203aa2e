"""Depth that a small network reads: low on the truth, growing with what shows other depths than were commanded."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from moments import Take, blurred, frozen, measure, moments, number, refusal, shuffled, take

from longvie.evaluation.families.depth_net import FAMILY, MOST, NAMES, DepthNet
from longvie.evaluation.metric import Refused, Value

SCENE = 21  # its camera travels


@cache
def of(scene: int = SCENE) -> Take:
    return take(scene, 42, 4.0)  # ten seconds


@cache
def found_on_truth() -> Mapping[str, Value | Refused]:
    return measure(FAMILY, of())


def error(video: np.ndarray) -> float:
    return number(measure(FAMILY, of(), video), "depth_net.absrel")


def test_the_truth_is_at_the_floor() -> None:
    found = found_on_truth()
    assert number(found, "depth_net.absrel") == number(found, "depth_net.floor") < 0.2
    assert number(found, "depth_net.excess") == 0
    assert number(found, "depth_net.delta") > 0.7
    value = found["depth_net.absrel"]
    assert isinstance(value, Value) and value.n == 21 and [at for at, _ in value.windows] == [0.0, 5.0, 10.0]


def test_what_shows_other_depths_is_worse() -> None:
    truth, floor = of().truth, number(found_on_truth(), "depth_net.floor")
    still, blur, other = error(frozen(truth, 1.0)), error(blurred(truth, 12)), error(of(7).truth)
    assert min(still, other) > 1.5 * floor
    assert blur > floor and error(shuffled(truth)) > 1.2 * floor
    assert number(measure(FAMILY, of(), of(7).truth), "depth_net.excess") == pytest.approx(other - floor, abs=1e-6)
    assert number(measure(FAMILY, of(), of(7).truth), "depth_net.floor") == pytest.approx(floor)


def test_units_of_the_commanded_depth_do_not_matter_but_its_shape_does() -> None:
    near = replace(of(), depth=of().depth * np.float32(0.9))
    same = number(measure(FAMILY, near), "depth_net.absrel")
    assert same == pytest.approx(number(found_on_truth(), "depth_net.absrel"), abs=0.02)
    grown = np.linspace(0.4, 1.6, 42, dtype=np.float32)[:, None, None]  # a scale for each frame is not fitted
    assert number(measure(FAMILY, replace(of(), depth=of().depth * grown)), "depth_net.absrel") > same + 0.1


def test_without_truth_there_is_no_floor() -> None:
    facts = of().facts(known=frozenset({"depth"}))
    probe = FAMILY.open(facts)
    for moment in moments(of(), truth=None):
        probe.see(moment)
    found = probe.values()
    assert number(found, "depth_net.absrel") == pytest.approx(number(found_on_truth(), "depth_net.absrel"), abs=1e-4)
    assert "no truth" in refusal(found, "depth_net.floor") and "no truth" in refusal(found, "depth_net.excess")


def test_sky_alone_is_refused() -> None:
    sky = replace(of(), depth=np.full_like(of().depth, np.inf))
    found = measure(FAMILY, sky)
    assert set(found) == set(NAMES)
    assert all("0 % of the picture" in refusal(found, name) for name in NAMES)


def test_memory_does_not_grow_with_length() -> None:
    for frames in (10, 9_600, 1_000_000):
        probe = FAMILY.open(of().facts(frames=frames, fps=16.0))
        assert isinstance(probe, DepthNet)
        assert -(-frames // probe.step) <= MOST
    assert probe.step > 8
