"""Depth that a video shows: exact on a plane, low on the truth, growing with faults of geometry, camera and time."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from moments import (
    SMALL,
    Take,
    flickering,
    frozen,
    late,
    measure,
    moments,
    noisy,
    number,
    refusal,
    saturated,
    shuffled,
    take,
)

from longvie.evaluation.families.depth_control import FAMILY, DepthControl, depth_error
from longvie.evaluation.reprojection import View

SCENE = 7


@cache
def floor() -> float:
    return number(measure(FAMILY, take(SCENE, size=SMALL)), "ctl.depth")


def depth(video: np.ndarray, of: Take | None = None) -> float:
    return number(measure(FAMILY, take(SCENE, size=SMALL) if of is None else of, video), "ctl.depth")


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
def test_a_plane_at_another_depth_is_found_there(scale: float) -> None:
    random = np.random.default_rng(0)
    wide = np.kron(random.integers(0, 255, (12, 40)), np.ones((8, 8))).astype(np.float32)
    wide = cv2.blur(wide, (5, 1))
    at = np.arange(200)
    shift = 100 * 0.8 / (4 * scale)  # focal · travel / depth
    later = np.stack([np.interp(at + shift, np.arange(wide.shape[1]), row) for row in wide])
    pictures = [np.repeat(np.rint(grey)[:, :200, None], 3, axis=2).astype(np.uint8) for grey in (wide, later)]
    there = np.eye(4)
    there[0, 3] = 0.8
    start, end = (
        View(picture, np.full((96, 200), 4.0, np.float32), pose, 100.0)
        for picture, pose in zip(pictures, (np.eye(4), there), strict=True)
    )
    error, able = depth_error(start, end)
    assert able.mean() > 0.2
    assert np.median(error[able]) == pytest.approx(abs(scale - 1), abs=0.01)


def test_the_truth_is_near_the_floor() -> None:
    found = measure(FAMILY, take(SCENE, size=SMALL))
    assert floor() < 0.06
    assert 0.05 < number(found, "ctl.depth.coverage") < 0.5
    assert measure(FAMILY, take(SCENE, size=SMALL)) == found


def test_what_it_sees_makes_it_grow() -> None:
    known = take(SCENE, size=SMALL)
    delays = [depth(late(known.truth, frames)) for frames in (2, 4, 8)]
    assert floor() * 1.3 < delays[0] < delays[1] < delays[2]
    still = [depth(frozen(known.truth, share)) for share in (0.5, 1.0)]
    assert 3 * floor() < still[0] < still[1]
    assert depth(shuffled(known.truth)) > 4 * floor()


def test_other_geometry_and_another_camera_make_it_grow() -> None:
    larger = [depth(take(SCENE, 34, size=SMALL, grown=grown).truth) for grown in (1.15, 1.35)]
    assert floor() * 1.2 < larger[0] < larger[1]
    slower = [depth(take(SCENE, 34, size=SMALL, pace=pace).truth) for pace in (0.8, 0.5)]
    assert 2 * floor() < slower[0] < slower[1]


def test_what_it_ignores_hardly_moves_it() -> None:
    truth = take(SCENE, size=SMALL).truth
    for video in (noisy(truth, 5), saturated(truth, 0.5), flickering(truth, 0.05)):
        assert depth(video) == pytest.approx(floor(), abs=0.02)


def test_it_says_what_is_missing() -> None:
    known = take(SCENE, size=SMALL)
    probe = FAMILY.open(known.facts())
    for moment in moments(known, depth=None):
        probe.see(moment)
    assert "depth, cameras" in refusal(probe.values(), "ctl.depth")
    assert "depth, cameras" in refusal(measure(FAMILY, known, facts=known.facts(focal=None)), "ctl.depth.coverage")
    assert "apart" in refusal(measure(FAMILY, known.cut(7)), "ctl.depth")


def test_what_cannot_be_told_is_refused_and_its_coverage_said() -> None:
    known = take(SCENE, size=SMALL)
    found = measure(FAMILY, known, np.full_like(known.truth, 90))
    assert "0 % of the picture" in refusal(found, "ctl.depth")
    assert number(found, "ctl.depth.coverage") == 0
    still = replace(known, poses=np.repeat(known.poses[:1], len(known.poses), 0))
    assert "too little parallax" in refusal(measure(FAMILY, still), "ctl.depth")


def test_one_frame_is_kept() -> None:
    known = take(SCENE, size=SMALL)
    probe = FAMILY.open(known.facts())
    assert isinstance(probe, DepthControl)
    for moment in moments(known):
        probe.see(moment)
        assert sum(isinstance(it, View) for it in vars(probe).values()) <= 1
