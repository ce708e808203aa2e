"""3-D rotary positions: where a token stands in time, height and width (RoFormer; Wan 2.1's split of the head)."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Complex, Float, Num
from torch import Tensor

THETA = 10_000.0


def split(head: int) -> tuple[int, int, int]:
    """Channels of one head given to time, height and width: two even thirds for space, the rest for time.

    128 → (44, 42, 42), as published; 72 → (24, 24, 24).
    """
    space = 2 * (head // 6)
    return head - 2 * space, space, space


def exact(device: torch.device) -> torch.dtype:
    """float64, in which angles are computed; float32 where the device has nothing wider (Apple's GPUs)."""
    return torch.float32 if device.type == "mps" else torch.float64


def angles(positions: Num[Tensor, " n"], width: int, theta: float = THETA) -> Float[Tensor, "n pairs"]:
    """Radians by which each of `width` / 2 pairs turns at each position; pair j has frequency theta^(-2j / width)."""
    dtype = exact(positions.device)
    powers = torch.arange(0, width, 2, device=positions.device, dtype=dtype) / width
    return torch.outer(positions.to(dtype), theta**-powers)


@dataclass(frozen=True)
class Rotation:
    """Turns adjacent pairs of each head by the token's own angles.

    The tables are float32: computed in float64, where a far position times a frequency still has all its digits, and
    rounded once. bfloat16 activations are turned in float32 and rounded once too.
    """

    cos: Float[Tensor, "n pairs"]
    sin: Float[Tensor, "n pairs"]

    @cached_property
    def _turns(self) -> Complex[Tensor, "n 1 pairs"]:
        return torch.complex(self.cos, self.sin)[:, None]

    def __call__(self, x: Float[Tensor, "b n m e"]) -> Float[Tensor, "b n m e"]:
        pairs = torch.view_as_complex(x.to(self.cos.dtype).unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * self._turns).flatten(-2).to(x.dtype)

    def __getitem__(self, tokens: slice) -> "Rotation":
        """The same angles for some of the tokens."""
        return Rotation(self.cos[tokens], self.sin[tokens])


def rotation(
    head: int,
    times: Num[Tensor, " l"],
    rows: Num[Tensor, " h"],
    columns: Num[Tensor, " w"],
    theta: float = THETA,
) -> Rotation:
    """The rotation of a grid of tokens, time slowest and columns fastest, from the positions along each axis.

    Any positions will do, repeated or with gaps: a history may stand where it stood, or anew from 0.
    """
    grid = (len(times), len(rows), len(columns))
    along_time, along_rows, along_columns = (
        angles(positions, width, theta) for positions, width in zip((times, rows, columns), split(head), strict=True)
    )
    turned = torch.cat(
        (
            along_time[:, None, None].expand(*grid, -1),
            along_rows[None, :, None].expand(*grid, -1),
            along_columns[None, None, :].expand(*grid, -1),
        ),
        dim=-1,
    ).flatten(0, 2)
    return Rotation(turned.cos().float(), turned.sin().float())
