"""A picture moved along tracks: exact where all points move alike, unmoved without points, local where they do not."""

import torch

from longvie.controls.carried import carry

SIZE = (32, 48)


def picture() -> torch.Tensor:
    """Smooth, so that a shift by parts of a pixel is well defined."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    return torch.stack([torch.sin(x / 5), torch.cos(y / 4), torch.sin((x + y) / 7)])


def scattered(count: int = 40) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([SIZE[1], SIZE[0]])


def test_points_that_all_move_alike_move_the_whole_picture() -> None:
    points = scattered()
    later = torch.stack([points, points + torch.tensor([3.0, -2.0])])
    made = carry(picture(), points, later, torch.ones(2, 40, dtype=torch.bool))
    assert torch.allclose(made[:, 0], picture(), atol=1e-5)
    assert torch.allclose(made[:, 1, :-2, 3:], picture()[:, 2:, :-3], atol=1e-4)  # 3 to the right, 2 up


def test_without_points_nothing_moves() -> None:
    nobody = torch.zeros(0, 2)
    made = carry(picture(), nobody, torch.zeros(3, 0, 2), torch.zeros(3, 0, dtype=torch.bool))
    assert torch.equal(made, picture()[:, None].expand(-1, 3, -1, -1))
    points = scattered()
    unseen = carry(picture(), points, points[None] + 5, torch.zeros(1, 40, dtype=torch.bool))
    assert torch.allclose(unseen[:, 0], picture(), atol=1e-5)


def test_hidden_points_do_not_count_wherever_they_are_said_to_be() -> None:
    points = scattered()
    later, seen = points[None].clone(), torch.ones(1, 40, dtype=torch.bool)
    later[0, ::3], seen[0, ::3] = float("nan"), False
    made = carry(picture(), points, later, seen)
    assert torch.allclose(made[:, 0], picture(), atol=1e-4)


def test_a_part_moves_and_the_rest_stays() -> None:
    points = scattered(400)
    right = points[:, 0] > 24
    later = points + torch.where(right[:, None], torch.tensor([0.0, 4.0]), torch.zeros(2))
    made = carry(picture(), points, later[None], torch.ones(1, 400, dtype=torch.bool))[:, 0]
    assert torch.allclose(made[:, :, :12], picture()[:, :, :12], atol=0.02)
    assert torch.allclose(made[:, 4:, 36:], picture()[:, :-4, 36:], atol=0.1)


def test_one_point_is_enough() -> None:
    point = torch.tensor([[10.0, 10.0]])
    made = carry(picture(), point, (point + 2)[None], torch.ones(1, 1, dtype=torch.bool))
    assert torch.allclose(made[:, 0, 2:, 2:], picture()[:, :-2, :-2], atol=1e-4)
