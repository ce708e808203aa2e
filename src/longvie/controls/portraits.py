"""Pictures in which things were first seen well, with the words of then: so what a thing looks like under other words
is found out from there each time, and not from what earlier turns of light and fog have left of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longvie.controls.faces import inner
from longvie.controls.looks import Look
from longvie.controls.things import REST, SKY

ENOUGH = 30  # pixels without the outline by which a thing is known
MOST = 6  # portraits that are kept
PORTRAIT = ("picture", "disparity", "numbers", "words", "of")  # tensors of one


@dataclass(frozen=True)
class Portrait:
    """A picture of some things.

    Attributes:
        picture: in [-1, 1].
        disparity: of any scale.
        numbers: of the thing at each pixel.
        words: embedding of those that it is under.
        of: numbers of the things that it is the portrait of.
    """

    picture: Float[Tensor, "3 h w"]
    disparity: Float[Tensor, "h w"]
    numbers: Int[Tensor, "h w"]
    words: Float[Tensor, "1 n d"]
    of: frozenset[int]

    def tensors(self) -> dict[str, Tensor]:
        """All of it, for a file."""
        named = {name: getattr(self, name) for name in PORTRAIT if name != "of"}
        return named | {"of": torch.tensor(sorted(self.of), dtype=torch.int64)}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> "Portrait":
        """From `tensors`."""
        picture, disparity, numbers, words, of = (tensors[name].cpu() for name in PORTRAIT)
        return cls(picture, disparity, numbers, words, frozenset(of.tolist()))

    @property
    def pieces(self) -> Int[Tensor, "h w"]:
        """The things that it shows, from 1 on; 0 elsewhere."""
        return torch.where((self.numbers == REST) | (self.numbers <= SKY), 0, self.numbers.int() + 1)


def met(
    portraits: Collection[Portrait],
    picture: Float[Tensor, "3 h w"],
    disparity: Float[Tensor, "h w"],
    numbers: Int[Tensor, "h w"],
    words: Float[Tensor, "1 n d"],
) -> tuple[Portrait, ...]:
    """With one more, of the things of this picture that had none and are seen well enough."""
    known = frozenset[int]().union(*(portrait.of for portrait in portraits))
    seen, counts = np.unique(numbers.numpy()[inner(numbers.numpy())], return_counts=True)
    fresh = frozenset(
        int(number)
        for number, count in zip(seen.tolist(), counts.tolist(), strict=True)
        if count >= ENOUGH and number > SKY and number != REST and number not in known
    )
    if not fresh or len(portraits) >= MOST:
        return tuple(portraits)
    kept = (
        picture.detach().cpu().bfloat16(),
        disparity.cpu().half(),
        numbers.cpu().short(),
        words.detach().cpu().clone(),
    )
    return (*portraits, Portrait(*kept, fresh))


def forgotten(portraits: Collection[Portrait], numbers: Collection[int]) -> tuple[Portrait, ...]:
    """Without those of things whose numbers now mean another one."""
    left = (replace(portrait, of=portrait.of.difference(numbers)) for portrait in portraits)
    return tuple(portrait for portrait in left if portrait.of)


def most_of(there: Bool[Tensor, "h w"], numbers: Int[Tensor, "h w"]) -> list[int]:
    """Numbers of the things that are there with half of their pixels, or more."""
    kinds, counts = numbers.unique(return_counts=True)
    return [
        number
        for number, count in zip(kinds.tolist(), counts.tolist(), strict=True)
        if number > SKY and 2 * int((there & (numbers == number)).sum()) >= count
    ]


def looks(portrait: Portrait, shown: Float[Tensor, "3 h w"]) -> dict[int, Look]:
    """What the things that it is of look like, in a picture that was made of it."""
    numbers, picture = portrait.numbers.numpy().astype(np.int64), shown.float().cpu().numpy()
    clear = inner(numbers)
    return {number: Look.of(picture[:, clear & (numbers == number)]) for number in sorted(portrait.of)}


def dressed(
    picture: Float[Tensor, "3 h w"], numbers: Int[Tensor, "h w"], known: Mapping[int, Look]
) -> Float[Tensor, "3 h w"]:
    """A picture whose things look as is known of them."""
    own, made = numbers.numpy(), picture.float().cpu().numpy().copy()
    clear = inner(own)
    for number, look in known.items():
        where = own == number
        if int((where & clear).sum()) >= ENOUGH:
            gain, offset = Look.of(made[:, where & clear]).to(look).T[..., None]
            made[:, where] = np.clip(gain * made[:, where] + offset, -1, 1)
    return torch.from_numpy(made).to(picture)
