"""Flow: straight paths are walked exactly, conversions undo each other, tables end where they should."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from longvie.engine import flow


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 16, 3, 4, 5), torch.randn(2, 16, 3, 4, 5)


@pytest.mark.parametrize("shift", [1.0, 5.0, 8.0])
@pytest.mark.parametrize("steps", [1, 4, 50])
def test_times_go_down_from_1_to_0(steps: int, shift: float) -> None:
    table = flow.times(steps, shift)
    assert len(table) == steps + 1
    assert (table[0], table[-1]) == (1, 0)
    assert (table.diff() < 0).all()


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_any_number_of_steps_arrives_on_a_straight_path(pair: tuple[Tensor, Tensor], steps: int) -> None:
    x0, noise = pair
    arrived = flow.euler(lambda _x, _t: flow.velocity(x0, noise), noise, flow.times(steps))
    assert_close(arrived, x0, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_model_that_knows_the_clean_latents_arrives_there(pair: tuple[Tensor, Tensor], steps: int) -> None:
    x0, noise = pair
    arrived = flow.euler(lambda x, t: flow.velocity_from_x0(x0, x, t), noise, flow.times(steps))
    assert_close(arrived, x0, atol=1e-5, rtol=1e-5)


def test_each_step_is_asked_for_at_its_own_level() -> None:
    asked: list[float] = []

    def still(x: Tensor, t: Tensor) -> Tensor:
        asked.append(float(t))
        return torch.zeros_like(x)

    flow.euler(still, torch.zeros(1, 1, 1, 1, 1), flow.times(4))
    assert asked == pytest.approx([1, 0.9375, 5 / 6, 0.625])


@pytest.mark.parametrize("shape", [(), (2,), (2, 3)], ids=["one", "per sample", "per latent frame"])
def test_conversions_undo_each_other(pair: tuple[Tensor, Tensor], shape: tuple[int, ...]) -> None:
    x0, noise = pair
    t = torch.rand(shape) * 0.8 + 0.1
    x = flow.noised(x0, noise, t)
    v = flow.velocity(x0, noise)
    assert_close(flow.x0_from_velocity(v, x, t), x0, atol=1e-5, rtol=1e-4)
    assert_close(flow.velocity_from_x0(x0, x, t), v, atol=1e-4, rtol=1e-4)
    assert_close(flow.noise_from_x0(x0, x, t), noise, atol=1e-4, rtol=1e-4)


def test_a_level_per_latent_frame_noises_each_alone(pair: tuple[Tensor, Tensor]) -> None:
    x0, noise = pair
    mixed = flow.noised(x0, noise, torch.tensor([[0.0, 1.0, 0.5]]).expand(2, -1))
    assert_close(mixed[:, :, 0], x0[:, :, 0])
    assert_close(mixed[:, :, 1], noise[:, :, 1])
    assert_close(mixed[:, :, 2], (x0 + noise)[:, :, 2] / 2)


def test_guidance_1_is_the_positive_pass_and_more_moves_away_from_the_negative(pair: tuple[Tensor, Tensor]) -> None:
    positive, negative = pair
    assert_close(flow.guided(positive, negative, 1.0), positive)
    assert_close(flow.guided(positive, negative, 0.0), negative)
    assert_close(flow.guided(positive, negative, 5.0) - positive, 4 * (positive - negative), atol=1e-5, rtol=1e-5)


def test_training_weights_are_a_bell_with_mean_1() -> None:
    rows = flow.training_times()
    weights = flow.training_weights(rows)
    assert_close(weights.mean(), torch.tensor(1.0))
    assert weights.min() == weights[0] == 0
    assert rows[weights.argmax()] == pytest.approx(0.5, abs=1e-3)


def test_rounded_levels_are_few_but_near() -> None:
    """LongVie trains on 294 distinct levels because times are rounded to bfloat16 before they are looked up."""
    rows = flow.training_times()
    found = flow.nearest_row(flow.rounded(rows), rows)
    assert len(found.unique()) == 294
    assert (rows[found] - rows).abs().max() < 4e-3
    assert flow.rounded(torch.tensor([0.9375])) == 0.936


def test_seam_start_replaces_the_first_latent_frame_only(pair: tuple[Tensor, Tensor]) -> None:
    last, noise = pair[0][:, :, -1], pair[1]
    kept = noise.clone()
    start = flow.seam_start(noise, last)
    assert_close(noise, kept, atol=0, rtol=0)
    assert_close(start[:, :, 1:], noise[:, :, 1:], atol=0, rtol=0)
    assert_close(start[:, :, 0], (2 * last + 25 * noise[:, :, 0]) / 27)
