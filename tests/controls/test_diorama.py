"""A moment's depth in which a camera moves and things are dragged: against the world's own truth, and in its parts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from longvie.controls.diorama import SEEDED, Diorama, DioramaDepth, DioramaTracks, Pace, Pull, _Pose
from longvie.controls.things import FLOOR
from longvie.data.render import render
from longvie.data.world import Scene, scene
from longvie.errors import ControlError

SIZE, FPS, START = (96, 176), 16, 10


def calm(family: str) -> Scene:
    """A test scene with such a camera in which nothing else moves."""
    world = next(it for it in (scene(seed, "test") for seed in range(200)) if it.camera.family == family)
    still = tuple(replace(body, motion="still", answers=0.0) for body in world.bodies)
    return replace(world, bodies=still, events=(), camera=replace(world.camera, shake=0.0))


def begun(world: Scene, frame: int = 40) -> Diorama:
    near = (1 / render([world], range(frame, frame + 1), size=SIZE)[0].depth)[0].numpy().astype(np.float32)
    return Diorama(near, START, FPS, math.degrees(world.camera.view))


def largest(diorama: Diorama) -> int:
    """The thing that covers most of the first picture."""
    numbers = diorama.shown(START)[1]
    return int(np.bincount(numbers[(numbers > 0) & (numbers < 27)]).argmax())


def middle(diorama: Diorama, number: int, frame: int) -> tuple[float, float]:
    y, x = np.nonzero(diorama.shown(frame)[1] == number)
    return float(x.mean()), float(y.mean())


@pytest.mark.parametrize("family", ["pan", "truck", "dolly", "crane"])
def test_it_shows_the_depth_that_the_world_has_from_there(family: str) -> None:
    """The camera is put where the world's own camera is half a second later."""
    world, later = calm(family), 48
    diorama = begun(world)
    state = world.state(np.array([40.0, later]) / FPS)
    axes = (state.turn * torch.tensor([1.0, -1.0, 1.0])).double().numpy()  # right, down, forward
    eyes = state.eye.double().numpy()
    there = _Pose(axes[0].T @ axes[1], diorama.unit * axes[0].T @ (eyes[1] - eyes[0]))
    diorama._poses[:] = [_Pose(np.eye(3), np.zeros(3)), there]
    diorama._rates[:] = [np.zeros(6)] * 2
    shown = diorama.shown(START + 1)[0] * diorama.unit
    truth = (1 / render([world], range(later, later + 1), size=SIZE)[0].depth)[0].numpy()
    off = np.abs(shown - truth) / np.maximum(truth, 0.02)
    assert np.median(off) < 0.01
    assert np.mean(off < 0.05) > 0.93
    before = diorama.shown(START)[0] * diorama.unit
    assert np.mean(off < 0.05) > np.mean(np.abs(before - truth) / np.maximum(truth, 0.02) < 0.05)


def test_each_way_of_moving_does_to_the_picture_what_its_name_says() -> None:
    base = begun(calm("orbit"))
    thing = largest(base)
    x, y = middle(base, thing, START)
    size = int((base.shown(START)[1] == thing).sum())

    def after(pace: Pace) -> tuple[float, float, float]:
        moved = base.moving(START + 1, pace)
        found = middle(moved, thing, START + 16)
        return found[0] - x, found[1] - y, int((moved.shown(START + 16)[1] == thing).sum()) / size

    assert after(Pace(pan=10))[0] < -3
    assert after(Pace(tilt=10))[1] > 3
    assert after(Pace(right=0.2))[0] < -3
    assert after(Pace(up=0.2))[1] > 2
    assert after(Pace(forward=0.3))[2] > 1.2
    assert after(Pace(forward=-0.3))[2] < 0.85
    assert after(Pace()) == (0, 0, 1)
    sky = base.moving(START + 1, Pace(roll=20)).shown(START + 16)[0] == 0
    assert sky[:, :60].sum() > 1.2 * sky[:, -60:].sum(), "the horizon of a camera that leans to the right rises there"


def test_a_pan_keeps_the_horizon_and_a_stop_stops() -> None:
    base = begun(calm("orbit")).moving(START + 1, Pace(pan=30)).moving(START + 41, Pace())
    horizon = (base.shown(START + 60)[1] == 0).sum(0)
    assert horizon.max() - horizon.min() <= 2
    assert np.array_equal(base.shown(START + 80)[0], base.shown(START + 110)[0])
    assert not np.array_equal(base.shown(START + 20)[0], base.shown(START + 40)[0])


def test_what_is_changed_later_changes_nothing_before() -> None:
    base = begun(calm("orbit")).moving(START + 1, Pace(pan=3))
    for later in (base.moving(START + 31, Pace(forward=0.5)), base.dragged(START + 31, _pull(base, START + 30))):
        assert np.array_equal(base.shown(START + 30)[0], later.shown(START + 30)[0])
        assert not np.array_equal(base.shown(START + 50)[0], later.shown(START + 50)[0])
        mine, other = base.points(START, START + 20), later.points(START, START + 20)
        assert np.array_equal(mine.points, other.points) and np.array_equal(mine.visible, other.visible)


def _pull(diorama: Diorama, frame: int, by: tuple[float, float] = (30.0, -8.0)) -> Pull:
    y, x = np.nonzero(diorama.shown(frame)[1] == largest(diorama))
    near = int(np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2))
    return Pull((float(x[near]), float(y[near])), by, 1.0)


def test_a_thing_goes_where_it_is_dragged_and_nothing_else_does() -> None:
    base = begun(calm("orbit"))
    thing = largest(base)
    moved = base.dragged(START + 1, _pull(base, START))
    (x, y), (now_x, now_y) = middle(base, thing, START), middle(moved, thing, START + 30)
    assert (now_x - x, now_y - y) == pytest.approx((30, -8), abs=2.5)
    others = base.shown(START)[1]
    still = (others != thing) & (moved.shown(START + 30)[1] != thing)
    near = base.shown(START)[0][still]
    assert np.mean(np.abs(moved.shown(START + 30)[0][still] - near) < 0.02 * near + 1e-3) > 0.98
    behind = (others == thing) & (moved.shown(START + 30)[1] != thing)
    assert set(np.unique(moved.shown(START + 30)[1][behind])) <= {FLOOR, 0, *range(1, 28)} - {thing}
    dots = moved.points(START, START + 31)
    shifts = (dots.points[30] - dots.points[0])[dots.visible[0] & dots.visible[30]][:, :2]
    assert np.abs(shifts).max() > 20 and np.mean(np.abs(shifts).max(1) < 0.5) > 0.7


def test_points_lie_on_what_is_shown_and_are_renewed() -> None:
    base = begun(calm("orbit")).moving(START + 1, Pace(pan=20, forward=0.1))
    for frame in (START, START + 30, START + 90):
        span = base.points(frame, frame + 1)
        shown, seen = base.shown(frame)[0], span.visible[0]
        x, y, far = span.points[0][seen].T
        there = shown[y.astype(int), x.astype(int)]
        assert seen.sum() > 100
        assert np.mean(np.abs(1 / far - np.maximum(there, 1e-4)) <= 0.15 * there + 1e-3) > 0.95
    ids = base.points(START, START + 3 * SEEDED).ids
    assert len(set(ids.tolist())) == len(ids) and (np.diff(ids) > 0).all()


def test_read_in_any_pieces_it_is_the_same() -> None:
    moving = begun(calm("orbit")).moving(START + 1, Pace(pan=20))
    depth, tracks = DioramaDepth(moving, 80), DioramaTracks(replace(moving, _held={}), 80)
    assert np.array_equal(depth.read(10, 40), np.concatenate([depth.read(10, 17), depth.read(17, 40)]))
    whole, parts = tracks.read(10, 60), [tracks.read(10, 23), tracks.read(23, 60)]
    joined = parts[0].join(parts)
    rows = np.isin(whole.ids, joined.ids)
    assert np.array_equal(joined.visible, whole.visible[:, rows]) and not whole.visible[:, ~rows].any()
    assert np.array_equal(joined.points[joined.visible], whole.points[:, rows][joined.visible])
    assert (depth.frames, depth.height, depth.width, depth.fps) == (80, *SIZE, FPS)
    assert depth.report.content == "disparity" and tracks.report.content == "points"
    with pytest.raises(ControlError, match="has 80"):
        depth.read(70, 81)


def test_without_depth_the_camera_may_turn_but_not_travel() -> None:
    flat = Diorama(np.zeros(SIZE, np.float32), 0, FPS, deep=False)
    turning = flat.moving(1, Pace(pan=10))
    span = turning.points(0, 20)
    both = span.visible[0] & span.visible[19]
    assert both.sum() > 100 and (span.points[19, both, 0] < span.points[0, both, 0]).all()
    with pytest.raises(ControlError, match="how far away") as refused:
        flat.moving(1, Pace(forward=0.1))
    assert refused.value.code == "camera_needs_depth"


@pytest.mark.parametrize("at", [(88.0, 94.0), (88.0, -1.0), (400.0, 3.0), (3.0, 0.0)])
def test_only_things_can_be_dragged(at: tuple[float, float]) -> None:
    with pytest.raises(ControlError) as refused:
        begun(calm("orbit")).dragged(START + 1, Pull(at, (5.0, 5.0)))
    assert refused.value.code == "drag_nothing"


@pytest.mark.parametrize("wrong", [{"pan": 1000.0}, {"forward": math.nan}, {"up": -math.inf}])
def test_a_pace_is_a_number_that_can_be_followed(wrong: dict[str, float]) -> None:
    with pytest.raises(ControlError, match="a second"):
        Pace(**wrong)


def test_drags_and_views_are_checked() -> None:
    with pytest.raises(ControlError, match="more than 0 seconds"):
        Pull((1.0, 1.0), (1.0, 1.0), 0.0)
    with pytest.raises(ControlError, match="5 to 150"):
        Diorama(np.ones(SIZE, np.float32), 0, FPS, 200.0)
