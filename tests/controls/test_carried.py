"""A picture moved along tracks: as the points say, each thing by itself, and no more than is known."""

import pytest
import torch

from longvie.controls.carried import carry, filled
from longvie.data import clips
from longvie.data.streams import pictures
from longvie.evaluation.fidelity import ssim

SIZE = (32, 48)


def picture() -> torch.Tensor:
    """Smooth, so that a shift by parts of a pixel is well defined."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    return torch.stack([torch.sin(x / 5), torch.cos(y / 4), torch.sin((x + y) / 7)])


def scattered(count: int = 40) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([SIZE[1], SIZE[0]])


def seen(*points: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(points), len(points[0]), dtype=torch.bool)


def test_points_that_all_move_alike_move_the_whole_picture() -> None:
    points = scattered()
    later = torch.stack([points, points + torch.tensor([3.0, -2.0])])
    made = carry(picture(), later, seen(*later))
    assert torch.allclose(made[:, 0], picture(), atol=1e-3)
    assert torch.allclose(made[:, 1, :-2, 3:], picture()[:, 2:, :-3], atol=1e-3)  # 3 to the right, 2 up


def test_without_points_nothing_moves() -> None:
    made = carry(picture(), torch.zeros(3, 0, 2), torch.zeros(3, 0, dtype=torch.bool))
    assert torch.equal(made, picture()[:, None].expand(-1, 3, -1, -1))
    points = scattered()
    unseen = carry(picture(), torch.stack([points, points + 5]), torch.zeros(2, 40, dtype=torch.bool))
    assert torch.equal(unseen, picture()[:, None].expand(-1, 2, -1, -1))


def test_hidden_points_do_not_count_wherever_they_are_said_to_be() -> None:
    points = torch.stack([scattered(), scattered()])
    shown = seen(*points)
    points[1, ::3], shown[1, ::3] = float("nan"), False
    made = carry(picture(), points, shown)
    assert torch.allclose(made[:, 1], picture(), atol=1e-3)


def test_when_all_points_are_gone_little_is_known() -> None:
    """What then stands there is smooth: the picture's blur."""
    points = torch.stack([scattered(), scattered()])
    shown = seen(*points)
    shown[1] = False
    made = carry(picture(), points, shown)
    assert torch.allclose(made[:, 0], picture(), atol=1e-3)
    assert made[:, 1].diff(dim=-1).abs().mean() < 0.3 * picture().diff(dim=-1).abs().mean()
    assert torch.allclose(made[:, 1].mean((1, 2)), picture().mean((1, 2)), atol=0.1)


def test_a_part_moves_and_the_rest_stays() -> None:
    points = scattered(400)
    right = points[:, 0] > 24
    later = points + torch.where(right[:, None], torch.tensor([0.0, 8.0]), torch.zeros(2))
    made = carry(picture(), torch.stack([points, later]), seen(points, later))[:, 1]
    assert (made[:, :, :12] - picture()[:, :, :12]).abs().mean() < 0.02
    assert (made[:, 8:, 36:] - picture()[:, :-8, 36:]).abs().mean() < 0.02


def test_one_point_is_enough() -> None:
    point = torch.tensor([[10.0, 10.0]])
    made = carry(picture(), torch.stack([point, point + 2]), seen(point, point))[:, 1]
    assert torch.allclose(made[:, 2:, 2:], picture()[:, :-2, :-2], atol=1e-4)


def test_turning_and_growing_is_followed_as_well_as_shifting() -> None:
    points = scattered(60)
    middle, turn = torch.tensor([24.0, 16.0]), torch.tensor([[0.98, -0.17], [0.17, 0.98]])
    later = (points - middle) @ (1.2 * turn) + middle
    made = carry(picture(), torch.stack([points, later]), seen(points, later))[:, 1]
    y, x = torch.meshgrid(torch.arange(12, 20) + 0.5, torch.arange(18, 30) + 0.5, indexing="ij")
    was = (torch.stack([x, y], dim=-1) - middle) @ torch.linalg.inv(1.2 * turn) + middle
    wanted = torch.stack(
        [torch.sin(was[..., 0] / 5), torch.cos(was[..., 1] / 4), torch.sin((was[..., 0] + was[..., 1]) / 7)]
    )
    assert torch.allclose(made[:, 12:20, 18:30], wanted, atol=0.02)


@pytest.mark.parametrize("later_set", [10, 20])
def test_points_that_begin_later_are_followed_back(later_set: int) -> None:
    """New points take over where the old ones end, with no frame in common: 0.25 pixels a frame all the way."""
    frames = 32
    moves = torch.arange(frames)[:, None, None] * torch.tensor([0.25, 0.0])
    both = scattered(120)[None] + moves
    shown = torch.zeros(frames, 120, dtype=torch.bool)
    shown[:later_set, :60] = True
    shown[later_set:, 60:] = True
    made = carry(picture(), both, shown)[:, -1, :, 8:]
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(8, SIZE[1]) + 0.5 - 7.75, indexing="ij")
    wanted = torch.stack([torch.sin(x / 5), torch.cos(y / 4), torch.sin((x + y) / 7)])
    assert (made - wanted).abs().mean() < 0.03
    frozen = (picture()[:, :, 8:] - wanted).abs().mean()
    assert frozen > 0.3


def test_with_depth_a_scene_is_nearer_to_the_truth_than_without_and_than_the_frozen_picture() -> None:
    """Test scene 47 of the world: the camera moves on, things stand before others."""
    clip = clips.make(11, split="test", frames=33)
    video = (pictures(clip, "picture") + 1) / 2
    points, shown = clip.points[..., :2], clip.visible
    tracks = carry(video[:, 0], points, shown)
    depth = carry(video[:, 0], points, shown, clip.disparity)
    affine = carry(video[:, 0], points, shown, 3 * clip.disparity.float() + 0.0)
    scores = [float(ssim(made.clamp(0, 1), video).mean()) for made in (video[:, :1].expand_as(video), tracks, depth)]
    assert scores[0] + 0.05 < scores[1] and scores[0] + 0.05 < scores[2], scores
    assert torch.allclose(depth, affine, atol=1e-3)  # the scale of a disparity does not matter


def test_what_is_unknown_is_filled_from_around() -> None:
    video = torch.zeros(1, 3, 16, 16)
    video[..., 8:] = 1.0
    visible = torch.ones(1, 1, 16, 16)
    visible[..., 6:10, 2:5] = 0
    made = filled(video + 5 * (1 - visible), visible, torch.zeros(3, 16, 16))
    assert torch.equal(made[visible.expand_as(made) > 0], video[visible.expand_as(video) > 0])
    assert made[..., 6:10, 2:5].abs().max() < 0.35
    nothing = filled(video, torch.zeros_like(visible), torch.full((3, 16, 16), 0.5))
    assert torch.allclose(nothing, torch.full_like(nothing, 0.5))
