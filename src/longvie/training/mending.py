"""What happens to the colours of things over minutes, drawn at random: what a network must see that gives them back.

A thing goes pale, takes another's colour or the ground's, is tinted, mixes with what is around it; wholly or in
places. The rest of the picture stays as it is.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

OFTEN = 0.7  # share of the things to which anything happens
KINDS = 0.4  # of each kind of damage, how often it does then
TINT = 0.5  # standard deviation of the logarithm of a colour's gain
SHIFT = 0.08  # of what is added to a colour, of the range of 2
AROUND = 11  # pixels of a side that mix
PATCHY = 0.5  # share of the pictures that are damaged in places alone
BLOBS = (2, 8)  # cells of a side, of such places
DARKEST = 0.05  # of the range of 2: how a thing is shaded cannot be told from less


def worn(
    pictures: Float[Tensor, "b 3 h w"], things: Int[Tensor, "b h w"], count: int, random: np.random.Generator
) -> Float[Tensor, "b 3 h w"]:
    """Pictures whose things have lost their colours.

    Args:
        pictures: in [-1, 1].
        things: number of the thing at each pixel, `count` and above where there is none that may wear.
    """
    number = things.long().clamp(max=count)
    drawn = _Drawn(random, len(pictures), count, pictures.device)
    masks = functional.one_hot(number, count + 1).permute(0, 3, 1, 2).to(pictures)
    light, sizes = pictures + 1, masks.sum((2, 3)).clamp(min=1)
    means = torch.einsum("bnhw,bchw->bnc", masks, light) / sizes[..., None]
    at = number[:, None].expand(-1, 3, -1, -1)

    def each(values: Float[Tensor, "b n c"]) -> Float[Tensor, "b 3 h w"]:
        """What is said of each thing, at its pixels; nothing of the rest."""
        wide = functional.pad(values, (0, 0, 0, 1)).expand(-1, -1, 3).transpose(1, 2)
        return wide.gather(2, at.flatten(2)).unflatten(2, pictures.shape[2:])

    shade = light.mean(1, keepdim=True)
    pale = light.lerp(shade.expand_as(light), each(drawn.share()))
    others = means.gather(1, drawn.another()[..., None].expand(-1, -1, 3))
    whole = means[:, :count].mean(-1, keepdim=True).clamp(min=DARKEST)
    painted = pale.lerp(each(others) * shade / each(whole).clamp(min=DARKEST), each(drawn.share()))
    tinted = painted * torch.exp2(each(drawn.normal(TINT))) + each(drawn.normal(SHIFT))
    mixed = functional.avg_pool2d(tinted, AROUND, 1, AROUND // 2, count_include_pad=False)
    damaged = tinted.lerp(mixed, each(drawn.share())) - 1
    where = drawn.places(pictures.shape[2:]) * each(drawn.chosen())
    return pictures.lerp(damaged.clamp(-1, 1), where)


class _Drawn:
    """Random numbers for each thing of each picture."""

    def __init__(self, random: np.random.Generator, pictures: int, count: int, device: torch.device) -> None:
        self.random, self.shape, self.device = random, (pictures, count), device

    def chosen(self) -> Float[Tensor, "b n 1"]:
        return self._tensor(self.random.random(self.shape) < OFTEN)[..., None]

    def share(self) -> Float[Tensor, "b n 1"]:
        """From 0 to 1, often 0."""
        return self._tensor(self.random.uniform(0, 1, self.shape) * (self.random.random(self.shape) < KINDS))[..., None]

    def normal(self, deviation: float) -> Float[Tensor, "b n 3"]:
        """Often 0."""
        happens = self.random.random((*self.shape, 1)) < KINDS
        return self._tensor(deviation * self.random.standard_normal((*self.shape, 3)) * happens)

    def another(self) -> Int[Tensor, "b n"]:
        """Whose colour a thing may take; the last number is all the rest."""
        return torch.from_numpy(self.random.integers(0, self.shape[1] + 1, self.shape)).to(self.device)

    def places(self, size: torch.Size) -> Float[Tensor, "b 1 h w"]:
        """Where a picture is damaged, softly."""
        cells = int(self.random.integers(*BLOBS))
        field = self._tensor(self.random.standard_normal((self.shape[0], 1, cells, 2 * cells)))
        wide = functional.interpolate(field, size=size, mode="bilinear")
        patchy = self._tensor(self.random.random((self.shape[0], 1, 1, 1)) < PATCHY)
        return torch.sigmoid(4 * wide).lerp(torch.ones_like(wide), 1 - patchy)

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(self.device)
