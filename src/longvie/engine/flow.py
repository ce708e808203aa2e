"""Noise levels, steps, conversions, guidance: plain functions, each with its source.

t is a noise level in [0, 1]: x_t = (1 - t)·x0 + t·noise (rectified flow), so the velocity is noise - x0. Networks count
it from 0 to 1000. A level may be one number, one per sample (b,) or one per latent frame (b, l).
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from longvie.models.rope import exact

Latents = Float[Tensor, "b c l h w"]
Level = float | Float[Tensor, ""] | Float[Tensor, " b"] | Float[Tensor, "b l"]

TABLE_ROWS = 1000  # of the training table
SEAM_LEVEL = 25 / 27  # LongVie 2: level at which a later clip's first latent frame starts (5/7 under shift 5)


def shifted(levels: Float[Tensor, " n"], shift: float) -> Float[Tensor, " n"]:
    """shift·t / (1 + (shift - 1)·t): more of the steps where it is noisy (SD3, arXiv 2403.03206, eq. 23)."""
    return shift * levels / (1 + (shift - 1) * levels)


def times(steps: int, shift: float = 5.0) -> Float[Tensor, " points"]:
    """steps + 1 levels from 1 down to 0 (Wan 2.1's Euler table with its end); in float32, to the bit as published."""
    return shifted(torch.linspace(1, 0, steps + 1), shift)


def rounded(t: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """The level as LongVie's network sees it: 1000·t in bfloat16 (937.5 → 936). The step keeps the exact level."""
    return (t * 1000).bfloat16().double() / 1000


def euler(
    velocity: Callable[[Latents, Float[Tensor, ""]], Latents], x: Latents, times: Float[Tensor, " points"]
) -> Latents:
    """From noise (times[0]) to data (times[-1]) in straight steps: x += velocity(x, t)·(next t - t)."""
    for now, then in pairwise(times):
        x = x + velocity(x, now) * float(then.double() - now.double())
    return x


def guided(positive: Latents, negative: Latents, scale: float) -> Latents:
    """Classifier-free guidance: negative + scale·(positive - negative) (arXiv 2207.12598)."""
    return negative + scale * (positive - negative)


def noised(x0: Latents, noise: Latents, t: Level) -> Latents:
    """x_t, the straight line between data and noise."""
    t = _over(t, x0)
    return (1 - t) * x0 + t * noise


def velocity(x0: Latents, noise: Latents) -> Latents:
    """What a velocity model learns: noise - x0."""
    return noise - x0


def x0_from_velocity(v: Latents, x: Latents, t: Level) -> Latents:
    """x_t - t·v, in float64 as Self-Forcing and LongLive compute it: in bfloat16 the difference would lose digits."""
    wide = exact(x.device)
    x0 = x.to(wide) - _over(t, x.to(wide)) * v.to(wide)
    return x0.to(x.dtype)


def velocity_from_x0(x0: Latents, x: Latents, t: Level) -> Latents:
    """(x_t - x0) / t; has no meaning at t = 0, where x_t says nothing of the noise."""
    return (x - x0) / _over(t, x)


def noise_from_x0(x0: Latents, x: Latents, t: Level) -> Latents:
    """(x_t - (1 - t)·x0) / t, for t > 0."""
    t = _over(t, x)
    return (x - (1 - t) * x0) / t


def training_times(shift: float = 5.0, rows: int = TABLE_ROWS) -> Float[Tensor, " rows"]:
    """Levels that training draws from, most noisy first; the last row is above 0 (LongVie, Wan)."""
    return times(rows, shift)[:-1]


def training_weights(levels: Float[Tensor, " rows"]) -> Float[Tensor, " rows"]:
    """Loss weight of each row of a training table: a bell over t = 1/2, lowered to 0 at its least, 1 on average.

    Counted from 0 to 1000 and in the table's own type: the small weights then have the published digits.
    """
    bell = torch.exp(-2 * ((levels * 1000 - 500) / 1000) ** 2)
    bell = bell - bell.min()
    return bell * (len(levels) / bell.sum())


def nearest_row(t: Float[Tensor, " n"], table: Float[Tensor, " rows"]) -> Int[Tensor, " n"]:
    """Index of the table's row nearest to each level. With `rounded` levels: the 294 that LongVie really trains on."""
    return (t.double()[:, None] - table.double()).abs().argmin(dim=1)


def looked_up(t: Float[Tensor, "*any"], table: Float[Tensor, " rows"]) -> Float[Tensor, "*any"]:
    """The table's own level that is nearest to each: what Self-Forcing and LongLive count with, while the network is
    told the exact one.

    A training table has no 0: what they call clean there is at its last row, 0.00498 under shift 5 (reference §2).
    """
    return table[nearest_row(t.flatten(), table)].reshape(t.shape)


def seam_start(noise: Latents, last: Float[Tensor, "b c h w"], level: float = SEAM_LEVEL) -> Latents:
    """Start of a later clip: shared noise, with the last history latent, noised to `level`, as its first frame.

    LongVie 2; the sampler still starts at t = 1.
    """
    first = (1 - level) * last + level * noise[:, :, 0]
    return torch.cat((first[:, :, None], noise[:, :, 1:]), dim=2)


def _over(t: Level, x: Latents) -> float | Tensor:
    """A level shaped to multiply latents, in their type: (b,) -> (b, 1, 1, 1, 1), (b, l) -> (b, 1, l, 1, 1)."""
    if not isinstance(t, Tensor) or t.ndim == 0:
        return t
    t = t.to(x.dtype)
    return t[:, None, :, None, None] if t.ndim == 2 else t[:, None, None, None, None]
