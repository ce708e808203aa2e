"""Which of the world's words a single frame shows: ground, weather, time of day, and objects with their colours.

Objects are told cell by cell, shape and colour apart, and a red ball is where one cell is both: so that pairs which no
training scene holds can be told too. Words that the world does not know are not looked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from longvie.data.world import COLOURS, GROUNDS, SHAPES, TEXTURES, TIMES, WEATHERS
from longvie.errors import InputError
from longvie.evaluation.instruments.nets import WIDTHS, Unet, seen
from longvie.evaluation.instruments.store import restored

Kind = Literal["ground", "weather", "hour", "object"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS: dict[str, tuple[str, ...]] = {"ground": tuple(GROUNDS), "weather": WEATHERS, "hour": TIMES}
CELLS = 3  # of an object that must agree, mean of the best
SHOWN = 0.15  # probability from which an object of some colour counts as shown; 8 in 100 not there do, too
SHOWN_SHAPE = 0.5  # the same where no colour is named


@dataclass(frozen=True)
class Named:
    """A word of a prompt that can be looked for: "sand", or a shape, a colour or both."""

    kind: Kind
    value: str  # as in the prompt: "sand", "red ball"
    shape: str = ""
    colour: str = ""


@dataclass(frozen=True)
class Reading:
    """What the instrument says of frames, as probabilities."""

    shape: Float[Tensor, "n s y x"]  # of each cell: first none, then SHAPES
    colour: Float[Tensor, "n k y x"]  # of each cell, were it an object: COLOURS
    ground: Float[Tensor, "n g"]
    weather: Float[Tensor, "n w"]
    hour: Float[Tensor, "n t"]

    def of(self, name: Named) -> Float[Tensor, " n"]:
        """That each frame shows what is named; of an object, the mean over its `CELLS` best cells."""
        if name.kind != "object":
            return getattr(self, name.kind)[:, WORDS[name.kind].index(name.value)]
        cells = 1 - self.shape[:, 0] if not name.shape else self.shape[:, 1 + list(SHAPES).index(name.shape)]
        if name.colour:
            cells = cells * self.colour[:, list(COLOURS).index(name.colour)]
        return cells.flatten(1).topk(CELLS, 1).values.mean(1)

    def shows(self, name: Named) -> Bool[Tensor, " n"]:
        """Objects from `SHOWN` or `SHOWN_SHAPE` on; of a ground, a weather or an hour, the likeliest."""
        if name.kind == "object":
            return self.of(name) >= (SHOWN if name.colour else SHOWN_SHAPE)
        return getattr(self, name.kind).argmax(1) == WORDS[name.kind].index(name.value)


class AttributeNet(nn.Module):
    """A picture → logits of shape and colour in cells of 4×4 pixels, and of ground, weather and hour."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Unet(finest=1)
        self.cells = nn.Conv2d(WIDTHS[1], 1 + len(SHAPES) + len(COLOURS), 1)
        self.pool = nn.AdaptiveAvgPool2d((2, 1))  # sky is above, ground below
        self.whole = nn.Linear(2 * WIDTHS[-1], sum(len(words) for words in WORDS.values()))

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """(n, shapes, y, x), (n, colours, y, x), and one (n, words) for each of `WORDS`."""
        fine, coarse = self.body(pictures)
        shape, colour = self.cells(fine).split((1 + len(SHAPES), len(COLOURS)), 1)
        whole = self.whole(self.pool(coarse).flatten(1))
        return shape, colour, list(whole.split([len(words) for words in WORDS.values()], 1))


@cache
def instrument() -> AttributeNet:
    """The trained one.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    return restored(AttributeNet(), "attributes")


@torch.inference_mode()
def read(pictures: UInt8[np.ndarray, "n h w 3"], net: AttributeNet | None = None) -> Reading:
    """What pictures of any size show.

    Raises:
        ShapeError: not pictures.
        WeightsError: the instrument's file is missing or damaged.
    """
    shape, colour, whole = (instrument() if net is None else net)(seen(pictures))
    return Reading(shape.softmax(1), colour.softmax(1), *(logits.softmax(1) for logits in whole))


def named(words: str) -> tuple[Named, ...]:
    """What a prompt names of what can be looked for, each once, in order.

    A colour belongs to the shape that follows it at once or after a texture: "a red striped ball".
    """
    said = re.findall(r"[a-z]+(?:-[a-z]+)?", words.lower())
    found: list[Named] = []
    for at, word in enumerate(said):
        if word in SHAPES:
            colour = _colour(said[:at])
            found.append(Named("object", f"{colour} {word}".strip(), word, colour))
        for kind, known in WORDS.items():
            if word in known:
                found.append(Named(kind, word))  # type: ignore[arg-type]
    return tuple(dict.fromkeys(found))


def _colour(before: Sequence[str]) -> str:
    last = [word for word in before[-2:] if word not in TEXTURES][-1:]
    return last[0] if last and last[0] in COLOURS else ""


def score(frames: UInt8[np.ndarray, "n h w 3"], words: str) -> Float[np.ndarray, " n"]:
    """How well each frame fits a prompt: mean probability of what it names, in [0, 1].

    Raises:
        InputError: the prompt names nothing that can be looked for.
        ShapeError: not pictures.
        WeightsError: the instrument's file is missing or damaged.
    """
    return agreement(read(frames), named(words)).numpy()


def agreement(reading: Reading, names: Sequence[Named]) -> Float[Tensor, " n"]:
    """Mean probability of all that is named.

    Raises:
        InputError: nothing is named.
    """
    if not names:
        raise InputError("the words name no object, ground, weather or time of day that the world knows")
    return torch.stack([reading.of(name) for name in names]).mean(0)
