"""The floor of a depth, and outlines in it."""

import torch

from longvie.controls.floor import floor, outlines
from longvie.data.render import FIRST, GROUND, SKY, render
from longvie.data.world import scene


def test_a_plane_with_a_ball_before_it_is_the_floor_without_the_ball() -> None:
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(88) + 0.5, indexing="ij")
    disparity = (0.02 * (y - 10)).clamp(min=0) + 0.001 * (y > 10) * x / 88
    ball = (x - 40).square() + (y - 24).square() < 64
    disparity = torch.where(ball, 0.9, disparity)
    found = floor(disparity[None])[0]
    assert not (found & ball).any() and not found[:10].any()
    assert found[14:][~ball[14:]].all()
    scaled = floor(disparity[None] / 2)[0]
    assert (scaled == found).float().mean() > 0.99


def test_without_a_floor_there_is_none() -> None:
    wall = torch.full((2, 48, 88), 0.5)
    assert not floor(wall).any()
    rough = torch.rand(2, 48, 88, generator=torch.Generator().manual_seed(1))
    assert not floor(rough).any()


def test_the_ground_of_worlds_is_found_frame_by_frame() -> None:
    """Of the pixels that the world calls ground most are found, of its things few; hills and sky are neither."""
    for number in (0, 3):
        truth = render([scene(number, "test")], range(0, 81, 40))[0]
        disparity = 1 / truth.depth
        found = floor(disparity / disparity.amax((1, 2), keepdim=True))
        assert found[truth.labels == GROUND].float().mean() > 0.9
        assert found[truth.labels >= FIRST].float().mean() < 0.2
        assert not found[truth.labels == SKY].any()


def test_an_outline_is_where_depth_bends_and_a_plane_has_none() -> None:
    y = (torch.arange(48) + 0.5)[:, None].expand(48, 88)
    plane = 0.02 * y
    assert not outlines(plane[None])[0, 1:-1].any()
    stepped = plane.clone()
    stepped[:, 40:] += 0.5
    marked = outlines(stepped[None])[0]
    assert marked[1:-1, 39:41].all() and not marked[1:-1, :38].any() and not marked[1:-1, 42:].any()
