"""Stage distill: the past of the block that learns is what the model made of the blocks before."""

from pathlib import Path

import numpy as np
import pytest
import torch

from longvie.engine import flow
from longvie.training.stages import distill
from longvie.training.stages.base import SHIFT
from longvie.training.stages.causal import BLOCK, block_of, carried_at, whole_clips
from longvie.training.stages.distill import DistillStage
from longvie.training.windows import ALL
from made import noisy_pool, small_models


@pytest.fixture
def stage(tmp_path: Path) -> DistillStage:
    models = small_models()
    return DistillStage(
        models.transformer, models.words, models.autoencoder, noisy_pool(tmp_path), noisy_pool(tmp_path, 1)
    )


def test_blocks_before_the_first_own_one_are_the_truth(stage: DistillStage) -> None:
    clips, random = stage.held_out.items, np.random.Generator(np.random.PCG64(1))
    whole = whole_clips(clips, random, ALL)
    made = stage.rolled_from(clips, whole, range(2 * BLOCK, 4 * BLOCK, BLOCK), random)
    assert made.shape[2] == 4 * BLOCK and not made.requires_grad
    assert torch.equal(made[:, :, : 2 * BLOCK], whole.clean[:, :, : 2 * BLOCK])
    assert not torch.allclose(made[:, :, 2 * BLOCK :], whole.clean[:, :, 2 * BLOCK : 4 * BLOCK], atol=1e-2)
    assert stage.rolled_from(clips, whole, range(0), random).shape[2] == 0


def test_a_level_is_reached_by_the_sampler_s_own_steps(stage: DistillStage) -> None:
    """After all steps but the last it is where the sampler is, given the same noise."""
    clips, random = stage.held_out.items, np.random.Generator(np.random.PCG64(1))
    whole = whole_clips(clips, random, ALL)
    block = block_of(whole, 6, *carried_at(clips, whole, 6, None))
    torch.manual_seed(3)
    first, level = stage.reached(block, 0)
    assert float(level[0]) == 1.0
    torch.manual_seed(3)
    x, t = stage.reached(block, 1)
    levels = flow.times(distill.STEPS, SHIFT)
    assert float(t[0]) == pytest.approx(float(levels[1]))
    with torch.no_grad():
        guess = stage.made(block, first, torch.ones(len(first)))
    assert torch.allclose(x, flow.noised(guess, first, levels[1]), atol=1e-5)


def test_gradients_come_from_the_last_block_alone(stage: DistillStage, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    made = DistillStage.made

    def watched(self: DistillStage, *given: object) -> torch.Tensor:
        calls.append(torch.is_grad_enabled())
        return made(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(DistillStage, "made", watched)
    monkeypatch.setattr(distill, "FIRST", 0.0)
    loss, figures = stage(np.random.Generator(np.random.PCG64(4)), 0.5)
    loss.backward()
    assert calls[-1] and not any(calls[:-1]) and len(calls) > distill.STEPS
    assert figures["error"] > 0 and all(p.grad is not None for p in stage.transformer.blocks.parameters())
