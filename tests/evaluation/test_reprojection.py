"""Reprojection against the renderer's own motion, and against what a shift must do."""

import numpy as np
import pytest
from moments import SMALL, moments, take

from longvie.data.render import flow
from longvie.data.world import scene
from longvie.evaluation.following import BACK, Paths, follow
from longvie.evaluation.reprojection import HEIGHT, reproject, view


def test_what_stands_still_goes_where_the_renderer_says() -> None:
    known = take(7, size=SMALL)
    start, end = [view(moment, known.facts()) for moment in moments(known.cut(2))]
    assert start is not None and end is not None
    places, both = reproject(start, end)
    motion, visible = (it.numpy() for it in flow(scene(7, "test"), 0, size=SMALL))
    ground = (known.labels[0] == 1) & visible & both
    y, x = np.mgrid[: both.shape[0], : both.shape[1]]
    off = np.linalg.norm(places - np.stack([x, y], axis=-1) - motion, axis=-1)
    assert ground.mean() > 0.5 and off[ground].max() < 0.01
    assert not (both & ~visible).any() or (both & ~visible).mean() < 0.01
    assert not both[~np.isfinite(known.depth[0])].any()


def test_a_frame_lies_on_itself() -> None:
    known = take(7, size=SMALL)
    here = view(next(moments(known)), known.facts())
    assert here is not None
    places, both = reproject(here, here)
    assert both.sum() == np.isfinite(known.depth[0]).sum()
    y, x = np.nonzero(both)
    assert np.abs(places[both] - np.stack([x, y], axis=-1)).max() < 1e-3


def test_larger_pictures_are_made_smaller_and_keep_their_angles() -> None:
    known = take(7, size=SMALL)
    moment = next(moments(known))
    size = (3 * HEIGHT, 3 * HEIGHT // 2)
    large = type(moment)(0, 0.0, np.zeros((*size, 3), np.uint8), None, np.ones(size, np.float32), None, moment.pose)
    seen = view(large, known.facts(size=size, focal=600.0))
    assert seen is not None and seen.focal == pytest.approx(200.0)
    assert seen.depth.shape == (HEIGHT, HEIGHT // 2) == seen.picture.shape[:2]


@pytest.mark.parametrize("known", ["depth", "pose"])
def test_there_is_no_view_without(known: str) -> None:
    of = take(7, size=SMALL)
    assert view(next(moments(of, **{known: None})), of.facts()) is None
    assert view(next(moments(of)), of.facts(focal=None)) is None


def textured(shift: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(80, 100)).cumsum(0).cumsum(1)
    noise = 127 * (1 + np.tanh(noise - np.roll(noise, 9, (0, 1)) - noise.mean()))
    wide = np.kron(np.random.default_rng(seed).integers(0, 255, (14, 18)), np.ones((6, 6)))[:80, :100]
    return np.roll((0.2 * noise + 0.8 * wide).astype(np.uint8), shift, axis=1)


def test_points_are_followed_through_a_shift_whatever_the_brightness() -> None:
    points = np.array([[20.0, 30.0], [50.5, 41.5], [70.0, 12.0]])
    darker = (0.8 * textured(2)).astype(np.uint8)
    for now in (textured(2), darker):
        places, followed = follow(textured(0), now, points)
        assert followed.all() and np.abs(places - points - [2, 0]).max() < 0.1


def test_a_point_that_does_not_come_back_is_lost_for_good() -> None:
    paths = Paths(np.array([[20.0, 30.0], [50.0, 41.0]]))
    paths.step(textured(0), textured(0, seed=5))
    lost = ~paths.alive
    assert lost.any() and BACK > 0
    paths.step(textured(0), textured(0))
    assert not paths.alive[lost].any()
