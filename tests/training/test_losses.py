"""Every weight of the history loss moves it, each sample counts for itself."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from longvie.training import losses


def drawn(frames: int = 5, batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 16, frames, 6, 8, generator=torch.Generator().manual_seed(seed))


def loss(prediction: Tensor, *, history: bool = True) -> Tensor:
    target, noise = drawn(seed=1), drawn(seed=2)
    return losses.degraded_loss(
        prediction,
        target,
        torch.ones(len(prediction)),
        noise=noise,
        picture=drawn(1, seed=3),
        history=drawn(1, seed=4) if history else None,
    )


def test_bands_add_up_and_a_flat_frame_has_no_high_band() -> None:
    latents = drawn()
    assert_close(losses.low_pass(latents) + losses.high_pass(latents), latents)
    flat = torch.full((1, 4, 2, 6, 8), 0.7)
    assert_close(losses.high_pass(flat), torch.zeros_like(flat))
    assert_close(losses.low_pass(latents)[:, :, 1], losses.low_pass(latents[:, :, 1:2])[:, :, 0])  # within frames only


def test_a_perfect_prediction_costs_nothing() -> None:
    target = drawn()
    assert_close(losses.plain_loss(target, target, torch.ones(2)), torch.zeros(2))


def test_each_sample_counts_for_itself_by_its_weight() -> None:
    prediction, target, weight = drawn(seed=5), drawn(seed=1), torch.tensor([1.0, 0.25])
    both = losses.plain_loss(prediction, target, weight)
    assert_close(both, (prediction - target).square().flatten(1).mean(1) * weight)
    changed = prediction.clone()
    changed[1] += 1
    assert_close(loss(changed)[0], loss(prediction)[0])
    assert loss(changed)[1] != loss(prediction)[1]


@pytest.mark.parametrize("frames", [1, 2, 5, 21])
def test_early_frames_count_less_for_any_number_of_frames(frames: int) -> None:
    weights = losses.frame_weights(frames).flatten().tolist()
    assert weights == pytest.approx([0.05, 0.325, 0.757, *[1.0] * 18][:frames])


@pytest.mark.parametrize("name", ["LOW", "HIGH", "HISTORY"])
def test_every_weight_moves_the_loss(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    prediction = drawn(seed=5)
    before, without = loss(prediction), loss(prediction, history=False)
    monkeypatch.setattr(losses, name, 2 * getattr(losses, name))
    assert (loss(prediction) > before).all()
    assert torch.equal(loss(prediction, history=False), without) is (name == "HISTORY")


def test_bfloat16_predictions_are_compared_in_float32() -> None:
    prediction = drawn(seed=5)
    got = losses.plain_loss(prediction.bfloat16(), drawn(seed=1), torch.ones(2))
    assert got.dtype == torch.float32
    assert_close(got, losses.plain_loss(prediction.bfloat16().float(), drawn(seed=1), torch.ones(2)))
