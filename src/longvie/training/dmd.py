"""Distribution matching distillation (DMD, arXiv 2311.18828; DMD2, 2405.14867), as Self-Forcing and LongLive use it
(reference/longlive §4.3).

What a student has made is noised, and two networks guess what was clean: a teacher, who knows the data, and a critic,
who follows the student. Where their guesses differ, the student makes something too often or too seldom.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longvie.engine import flow
from longvie.engine.flow import Latents
from longvie.models.rope import exact

SHIFT = 5.0  # of the levels at which student and teacher are compared
LEAST, MOST = 0.02, 0.98  # below, guesses hardly differ; above, they say nothing of the clip

Guess = Callable[[Latents, Float[Tensor, " b"]], Latents]
"""Clean latents out of noisy ones and their level; words and guidance are its own affair."""


def levels(rows: Int[Tensor, " b"], shift: float = SHIFT) -> Float[Tensor, " b"]:
    """Levels out of numbers drawn evenly from 0 to 999, one for all frames of a sample."""
    return flow.shifted(rows / flow.TABLE_ROWS, shift).clamp(LEAST, MOST)


def last_frames(frames: int, count: int) -> Bool[Tensor, "1 l"]:
    """Counts the last ones alone: a long rollout is scored with frames before it that were scored already, or that were
    encoded anew from a picture.
    """
    return (torch.arange(frames) >= frames - count)[None]


@torch.no_grad()
def matched(clean: Latents, noise: Latents, t: Float[Tensor, " b"], teacher: Guess, critic: Guess) -> Latents:
    """The direction that takes the student's clips away from the data, from both guesses at level `t`."""
    noisy = flow.noised(clean, noise, t)
    return gradient(clean, teacher(noisy, t), critic(noisy, t))


def gradient(clean: Latents, real: Latents, fake: Latents) -> Latents:
    """(fake - real) / mean |clean - real| (DMD, eq. 7 and 8): of one size for every sample, whatever its level.

    Args:
        real, fake: what the teacher and the critic hold for clean.
    """
    return torch.nan_to_num((fake - real) / distance(clean, real)[:, None, None, None, None])


def distance(clean: Latents, real: Latents) -> Float[Tensor, " b"]:
    """Mean absolute difference of each sample from the teacher's guess."""
    return (clean - real).abs().flatten(1).mean(dim=1)


def loss(clean: Latents, towards: Latents, counted: Bool[Tensor, "#b l"] | None = None) -> Float[Tensor, ""]:
    """Half the squared distance to `clean` - `towards`, held fast: its gradient is `towards` over the number of values
    that count. In float64, for gradients are small.

    Args:
        towards: what `gradient` gives.
        counted: latent frames that count; None is all.
    """
    wide = clean.to(exact(clean.device))
    wanted = (wide - towards.to(wide)).detach()
    return _mean((wide - wanted).square(), counted) / 2


def critic_loss(
    guess: Latents,
    noisy: Latents,
    clean: Latents,
    noise: Latents,
    t: Float[Tensor, " b"],
    counted: Bool[Tensor, "#b l"] | None = None,
) -> Float[Tensor, ""]:
    """Squared error of the velocity that the critic's guess means: it learns what the student makes as if it were data.

    Args:
        guess: clean latents, from `noisy` at level `t`.
        clean: the student's own, without gradient.
        counted: latent frames that count; None is all.
    """
    error = flow.velocity_from_x0(guess, noisy, t) - flow.velocity(clean, noise)
    return _mean(error.square(), counted)


def _mean(error: Latents, counted: Bool[Tensor, "#b l"] | None) -> Float[Tensor, ""]:
    if counted is None:
        return error.mean()
    b, _, frames, *_ = error.shape
    return error.transpose(1, 2)[counted.to(error.device).expand(b, frames)].mean()
