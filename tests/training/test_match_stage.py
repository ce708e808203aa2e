"""Stage match: a teacher and a critic say where a student's blocks should go, and each learns its own part."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longvie.training.stages import match
from longvie.training.stages.causal import BLOCK, whole_clips
from longvie.training.stages.match import MatchStage
from longvie.training.windows import ALL, Window
from made import noisy_pool, small_models


@pytest.fixture
def stage(tmp_path: Path) -> MatchStage:
    models, teacher = small_models(), small_models().transformer
    pools = noisy_pool(tmp_path), noisy_pool(tmp_path, 1)
    return MatchStage(models.transformer, models.words, models.autoencoder, *pools, teacher=teacher)


@pytest.fixture
def rolled(stage: MatchStage) -> tuple[Window, Tensor]:
    """A window of three blocks, and what a student might have made of it."""
    window = whole_clips(stage.held_out.items, np.random.Generator(np.random.PCG64(1)), ALL).first(3 * BLOCK)
    torch.manual_seed(2)
    return window, (window.clean + 0.3 * torch.randn_like(window.clean)).requires_grad_()


def random() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(4))


def taught(network: nn.Module) -> bool:
    return any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_nothing_moves_while_the_critic_says_what_the_teacher_says(
    stage: MatchStage, rolled: tuple[Window, Tensor]
) -> None:
    window, clip = rolled
    stage.matched(window, clip, random()).backward()
    assert clip.grad is not None and not clip.grad.any()


def test_the_last_block_alone_goes_from_the_critic_s_guess_to_the_teacher_s(
    stage: MatchStage, rolled: tuple[Window, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    window, clip = rolled

    def guess(_: object, noisy: Tensor, t: Tensor, network: nn.Module) -> Tensor:  # noqa: ARG001
        return torch.full_like(noisy, 5.0 if network is stage.teacher else -5.0)

    monkeypatch.setattr(MatchStage, "predict", lambda _, *given: guess(None, *given[1:]))
    stage.matched(window, clip, random()).backward()
    assert clip.grad is not None
    assert not clip.grad[:, :, :-BLOCK].any()
    assert (clip.grad[:, :, -BLOCK:] < 0).all()  # a step against the gradient goes up, to 5


def test_critic_and_student_learn_from_their_own_losses(
    stage: MatchStage, rolled: tuple[Window, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    window, clip = rolled
    stage.followed(window, clip.detach(), random()).backward()
    assert taught(stage.critic) and not taught(stage.teacher) and not taught(stage.transformer)
    stage.zero_grad(set_to_none=True)
    with torch.no_grad():
        for weight in stage.critic.parameters():
            weight.mul_(1.1)
    monkeypatch.setattr(match, "OFTEN", 1.0)
    monkeypatch.setattr(MatchStage, "followed", lambda *_: torch.zeros(()))
    loss, figures = stage(random(), 0.5)
    loss.backward()
    assert figures["matched"] > 0
    assert taught(stage.transformer) and not taught(stage.critic) and not taught(stage.teacher)


def test_where_the_student_does_not_learn_the_critic_does(stage: MatchStage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match, "OFTEN", 0.0)
    loss, figures = stage(random(), 0.5)
    loss.backward()
    assert set(figures) == {"critic"}
    assert taught(stage.critic) and not taught(stage.transformer)
