"""The camera that a video shows: exact on points that are given, near on the truth, farther with every fault."""

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from moments import flickering, frozen, late, measure, moments, noisy, number, refusal, saturated, shuffled, take

from longvie.evaluation.families.camera import ASTRAY, FAMILY, TURNED, camera
from longvie.evaluation.reprojection import projected

SCENE = 7
SIZE = (96, 176)


@cache
def truth() -> tuple[float, float]:
    return pose(take(SCENE).truth)


def pose(video: np.ndarray) -> tuple[float, float]:
    found = measure(FAMILY, take(SCENE), video)
    return number(found, "ctl.pose.rotation"), number(found, "ctl.pose.translation")


def test_a_camera_is_found_from_points_of_which_a_third_are_wrong() -> None:
    random = np.random.default_rng(0)
    points = random.uniform([-3, -2, 4], [3, 2, 9], (90, 3))
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = cv2.Rodrigues(np.array([0.02, -0.1, 0.03]))[0], [0.4, -0.1, 0.2]
    places = projected(points @ motion[:3, :3].T + motion[:3, 3], 120.0, SIZE)[0]
    places[::3] += random.uniform(5, 30, (30, 2))
    found = camera(points, places, 120.0, SIZE)
    assert found is not None and np.abs(found - motion).max() < 1e-3
    assert camera(points[:11], places[:11], 120.0, SIZE) is None


def test_the_truth_moves_as_commanded() -> None:
    assert truth()[0] < 0.6 and truth()[1] < 0.1
    assert pose(take(SCENE).truth) == truth()


def test_what_it_sees_makes_it_worse() -> None:
    video = take(SCENE).truth
    for made in (
        [late(video, frames) for frames in (2, 4, 8)],
        [take(SCENE, 34, pace=pace).truth for pace in (0.8, 0.5)],
    ):
        for mine, floor in zip(zip(*map(pose, made), strict=True), truth(), strict=True):
            assert floor * 1.5 < mine[0] and list(mine) == sorted(mine)
    still = [pose(frozen(video, share))[1] for share in (0.5, 1.0)]
    assert truth()[1] < still[0] < still[1] == pytest.approx(1, abs=0.02)  # stands still: all of the way is missing


def test_a_video_that_cannot_be_followed_counts_as_lost() -> None:
    assert pose(shuffled(take(SCENE).truth)) == (TURNED, ASTRAY)


def test_what_it_ignores_hardly_moves_it() -> None:
    video = take(SCENE).truth
    for made in (noisy(video, 5), saturated(video, 0.5), flickering(video, 0.05)):
        assert pose(made) == (pytest.approx(truth()[0], abs=0.8), pytest.approx(truth()[1], abs=0.12))


def test_it_says_what_is_missing() -> None:
    known = take(SCENE)
    found = measure(FAMILY, known, None, known.facts(focal=None))
    assert refusal(found, "ctl.pose.rotation") == refusal(found, "ctl.pose.translation")
    assert "no 8 frames" in refusal(measure(FAMILY, known.cut(8)), "ctl.pose.rotation")
    probe = FAMILY.open(known.facts())
    for moment in moments(known, pose=None):
        probe.see(moment)
    assert "cameras" in refusal(probe.values(), "ctl.pose.rotation")


def test_a_camera_that_only_turns_has_no_travel() -> None:
    known = take(SCENE)
    poses = known.poses.copy()
    poses[:, :3, 3] = poses[:1, :3, 3]
    still = replace(known, poses=poses, depth=np.full_like(known.depth, 5.0))
    probe = FAMILY.open(known.facts())
    for moment in moments(still, truth=None):
        probe.see(moment)
    found = probe.values()
    assert number(found, "ctl.pose.rotation") >= 0
    assert "does not travel" in refusal(found, "ctl.pose.translation")


def test_where_the_truth_tells_no_camera_nothing_is_counted() -> None:
    known = take(SCENE)
    grey = replace(known, truth=np.full_like(known.truth, 90))
    assert "truth itself does not show" in refusal(measure(FAMILY, grey, known.truth), "ctl.pose.rotation")
    flat = np.full_like(known.truth, 90)  # the truth tells it, the video does not: lost
    assert pose(flat) == (TURNED, ASTRAY)
