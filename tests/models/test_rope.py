"""Rotary positions: only differences count, and no position is too far."""

import pytest
import torch
from torch.testing import assert_close

from longvie.models.rope import angles, rotation, split


def turned(x: torch.Tensor, time: int = 0, row: int = 0, column: int = 0) -> torch.Tensor:
    """One token per batch row, turned as if it stood there."""
    rotate = rotation(x.shape[-1], torch.tensor([time]), torch.tensor([row]), torch.tensor([column]))
    return rotate(x)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(1, 1, 3, 72), torch.randn(1, 1, 3, 72)


@pytest.mark.parametrize(
    ("head", "parts"), [(128, (44, 42, 42)), (72, (24, 24, 24)), (14, (6, 4, 4)), (32, (12, 10, 10))]
)
def test_split_gives_even_parts_that_make_the_head(head: int, parts: tuple[int, int, int]) -> None:
    assert split(head) == parts
    assert sum(split(head)) == head


@pytest.mark.parametrize("axis", ["time", "row", "column"])
@pytest.mark.parametrize("far", [0, 1000, 100_000])
def test_scores_depend_on_differences_alone(pair: tuple[torch.Tensor, torch.Tensor], axis: str, far: int) -> None:
    q, k = pair
    here = (turned(q, **{axis: 7}) * turned(k, **{axis: 3})).sum(-1)
    there = (turned(q, **{axis: 7 + far}) * turned(k, **{axis: 3 + far})).sum(-1)
    assert_close(here, there, atol=2e-5, rtol=0)
    assert not torch.allclose(here, (turned(q, **{axis: 8}) * turned(k, **{axis: 3})).sum(-1), atol=1e-3)


def test_turning_keeps_length_and_position_0_turns_nothing(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, _ = pair
    assert_close(turned(x), x, atol=0, rtol=0)
    assert_close(turned(x, 5, 6, 7).norm(dim=-1), x.norm(dim=-1))


def test_a_grid_is_its_tokens_one_by_one_time_slowest() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3 * 2 * 4, 2, 18)
    whole = rotation(18, torch.tensor([4, 0, 9]), torch.arange(2), torch.arange(4))(x)
    token = 0
    for time in (4, 0, 9):
        for row in range(2):
            for column in range(4):
                assert_close(whole[:, token : token + 1], turned(x[:, token : token + 1], time, row, column))
                token += 1


def test_a_slice_turns_the_same_tokens() -> None:
    x = torch.randn(1, 12, 1, 6)
    rotate = rotation(6, torch.arange(3), torch.arange(2), torch.arange(2))
    whole = rotate(x)[:, 4:8]
    assert_close(
        rotate[4:8](x[:, 4:8]), whole, atol=5e-7, rtol=0
    )  # the last bit, as numbers are taken in rows of eight
    assert not torch.allclose(rotate[0:4](x[:, 4:8]), whole, atol=1e-2)


def test_bfloat16_stays_bfloat16_and_is_rounded_once() -> None:
    x = torch.randn(1, 1, 2, 72).bfloat16()
    assert_close(turned(x, 50), turned(x.float(), 50).bfloat16(), atol=0, rtol=0)


def test_positions_may_lie_between_frames() -> None:
    assert_close(angles(torch.tensor([2.5]), 8), angles(torch.tensor([5]), 8) / 2)
