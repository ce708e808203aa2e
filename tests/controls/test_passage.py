"""How a still scene passes between frames: exactly, through an exchange of all points, past things that move."""

from dataclasses import replace

import pytest
import torch

from longvie.controls.passage import LEAST, Points, passages, passed

FOCAL, SIZE = 70.0, (96, 176)


def cameras(frames: int, turn: float = 0.02, step: float = 0.05) -> torch.Tensor:
    """World to camera, 4 × 4: it turns, walks and rises a little."""
    made = []
    for at in range(frames):
        a = torch.tensor(turn * at, dtype=torch.float64)
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = a.cos(), a.sin(), -a.sin(), a.cos()
        pose[:3, 3] = torch.tensor([step * at, 0.01 * at, -0.02 * at])
        made.append(pose)
    return torch.stack(made)


def scene(frames: int, count: int = 60, moving: int = 0, scale: float = 1.0) -> Points:
    source = torch.Generator().manual_seed(3)
    world = torch.rand(count, 3, generator=source, dtype=torch.float64) * torch.tensor([4.0, 1.0, 6.0])
    world = world + torch.tensor([-2.0, 0.5, 4.0])
    world = world.expand(frames, -1, -1).clone()
    drift = 0.06 * torch.arange(frames, dtype=torch.float64)[:, None] * torch.tensor([1.0, -0.4, 0.7])
    world[:, :moving] += drift[:, None]
    rows = torch.cat([world, torch.ones_like(world[..., :1])], dim=-1) @ cameras(frames).transpose(1, 2)
    places = FOCAL * rows[..., :2] / rows[..., 2:3]
    inside = (places.abs() < torch.tensor([SIZE[1] / 2, SIZE[0] / 2])).all(-1)
    still = torch.ones(frames, count, dtype=torch.bool)
    still[:, :moving] = False
    return Points(places.float(), (scale / rows[..., 2]).float(), inside, still, SIZE[1])


def off(points: Points, made: torch.Tensor, frame: int, still: slice = slice(None)) -> float:
    """Largest distance in pixels between where points were and where they are said to have been."""
    both = (points.seen[frame] & points.seen[0])[still]
    places, near = passed(made[frame], points.places[frame][still], points.disparity[frame][still])
    assert torch.allclose(near[both], points.disparity[0][still][both], rtol=2e-3)
    return float((places - points.places[0][still])[both].norm(dim=-1).max())


@pytest.mark.parametrize("scale", [1.0, 0.003, 700.0])
def test_it_is_exact_whatever_the_scale_of_depth(scale: float) -> None:
    points = scene(30, scale=scale)
    made = passages(points)
    assert made is not None and torch.equal(made[0], torch.eye(4, dtype=torch.float64))
    assert off(points, made, 7) < 0.01 and off(points, made, 29) < 0.05


def test_things_that_move_do_not_move_the_scene() -> None:
    points = scene(30, count=80, moving=40)
    made = passages(points)
    assert made is not None and off(points, made, 29, slice(40, None)) < 0.2


def test_where_all_points_are_exchanged_the_camera_goes_on_as_it_does_then() -> None:
    whole = scene(30, count=120)
    early = torch.arange(120) < 60
    seen = whole.seen.clone()
    seen[11:, early], seen[:11, ~early] = False, False
    points = replace(whole, seen=seen)
    made = passages(points)
    assert made is not None and off(whole, made, 10) < 0.02
    assert off(whole, made, 29) < 1.0, "a turn of a tenth of a degree a frame is guessed to a pixel"


def test_too_few_points_tell_nothing() -> None:
    assert passages(scene(10, count=LEAST - 1)) is None
    lost = scene(10)
    seen = lost.seen.clone()
    seen[4:7] = False
    assert passages(replace(lost, seen=seen)) is None
    random = torch.randn(10, 60, 2, generator=torch.Generator().manual_seed(1)) * 30
    assert passages(replace(lost, places=random)) is None, "points that agree on nothing"


def test_points_on_one_plane_tell_what_lies_on_it_and_leave_the_rest_as_it_is() -> None:
    points = scene(20)
    floor = replace(points, disparity=0.002 * (points.places[..., 1] + 60))  # as of a plane, from each frame alike
    still = replace(floor, places=floor.places[:1].expand(20, -1, -1), disparity=floor.disparity[:1].expand(20, -1))
    made = passages(replace(still, seen=points.seen[:1].expand(20, -1)))
    assert made is not None and torch.allclose(made[19], torch.eye(4, dtype=torch.float64), atol=1e-3)
    assert float(torch.linalg.det(made[19])) == pytest.approx(1, abs=1e-3)


def test_what_lies_behind_a_camera_has_no_place() -> None:
    back = torch.eye(4, dtype=torch.float64)
    back[2, 3] = -2.0  # two metres on
    places, near = passed(back, torch.zeros(2, 2), torch.tensor([0.25, 1.0]))
    assert near[0] == pytest.approx(0.5) and near[1] < 0 and bool(places.isfinite().all())


@pytest.mark.parametrize("focal", [60.0, 120.0, 250.0])
def test_points_on_a_floor_tell_where_what_is_infinitely_far_goes(focal: float) -> None:
    source, poses = torch.Generator().manual_seed(5), cameras(20, turn=0.015)
    world = torch.rand(120, 3, generator=source, dtype=torch.float64) * torch.tensor([6.0, 0.0, 8.0])
    world = world + torch.tensor([-3.0, 1.0, 2.5])
    rows = torch.cat([world, torch.ones_like(world[:, :1])], dim=-1) @ poses.transpose(1, 2)
    places = focal * rows[..., :2] / rows[..., 2:3]
    seen = (places.abs() < torch.tensor([SIZE[1] / 2, SIZE[0] / 2])).all(-1)
    points = Points(places.float(), (1 / rows[..., 2]).float(), seen, torch.ones_like(seen), SIZE[1])
    made = passages(points)
    assert made is not None
    lens = torch.diag(torch.tensor([focal, focal, 1.0], dtype=torch.float64))
    turned = lens @ poses[0, :3, :3] @ poses[19, :3, :3].T @ torch.linalg.inv(lens)
    far = torch.tensor([[-40.0, -30.0], [0.0, -20.0], [60.0, -40.0]])
    found, near = passed(made[19], far, torch.zeros(3))
    wanted = torch.cat([far, torch.ones(3, 1)], dim=1).double() @ turned.T
    assert bool((near == 0).all())
    assert torch.allclose(found.double(), wanted[:, :2] / wanted[:, 2:], atol=0.2)


def test_a_last_frame_of_new_points_is_guessed_from_those_before() -> None:
    whole = scene(20, count=120)
    early = torch.arange(120) < 60
    seen = whole.seen.clone()
    seen[19, early], seen[:19, ~early] = False, False
    made = passages(replace(whole, seen=seen))
    assert made is not None and off(whole, made, 19) < 1.0
