"""What other words make of single things of a picture that is known: a red ball becomes a blue one.

Every place looks for the words that tell of it, and is taught which these are; what they were and have become says
what its colour turns to. The rest of the picture stays as it is.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from longvie.models.relighter import GAIN, PATCH, SEEN, known

HUES = 3  # more channels: colours whatever the light
QUESTIONS = 8  # that the texts answer
WINDOW = 5  # words that are read as one: a thing, and what stands about it
DARK = 0.02  # of the range of 2: light in which no colour is seen


@dataclass(frozen=True)
class Looked:
    """What places have found and answer.

    Attributes:
        gain, offset: of each colour of each pixel.
        pointed: of each block in which places look for words, how much each of 4×4 pixels, row by row, belongs to which
            word, as logits. The last of them stands for none.
        places: what they have found.
        words: as they were read, those of both texts as one; the last stands for none.
    """

    gain: Float[Tensor, "b 3 h w"]
    offset: Float[Tensor, "b 3 h w"]
    pointed: list[Float[Tensor, "b places words"]]
    places: Float[Tensor, "b places c"]
    words: Float[Tensor, "#b words c"]

    def of(self, at: int) -> "Looked":
        """Of one picture."""
        words = self.words[min(at, len(self.words) - 1)]
        one = slice(at, at + 1)
        return Looked(self.gain[one], self.offset[one], [it[one] for it in self.pointed], self.places[one], words[None])


class Recolourer(nn.Module):
    """Other words, a picture → its gain and offset.

    Args:
        width: channels inside.
        layers: convolutional blocks (as in ConvNeXt, arXiv 2201.03545); in every other one places also look for the
            words that tell of them.
        text_width: of a token.
        fine_width: channels at the size of the picture.
    """

    def __init__(self, width: int, layers: int, text_width: int, fine_width: int) -> None:
        super().__init__()
        seen = SEEN + HUES
        self.enter = nn.Conv2d(seen * PATCH**2, width, 1)
        self.reader = _Reader(text_width, width)
        self.none = nn.Parameter(torch.zeros(1, 1, width))
        self.questions = nn.Parameter(torch.randn(QUESTIONS, width) / width**0.5)
        self.gist = nn.Sequential(
            nn.Linear(QUESTIONS * width + 1, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.LayerNorm(width)
        )
        self.blocks = nn.ModuleList(_Block(width, points=at % 2 == 1) for at in range(layers))
        self.leave = nn.Linear(width, fine_width * PATCH**2)
        self.fine = nn.Conv2d(fine_width + seen, fine_width, 3, padding=1)
        self.tint = nn.Linear(width, 2 * fine_width)
        self.answer = nn.Conv2d(fine_width, 6, 3, padding=1)
        for weight in self.answer.parameters():
            nn.init.zeros_(weight)

    def forward(self, *told: Tensor) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]]:
        """Gain and offset of each colour of each pixel; for arguments see `Repainter.maps`."""
        looked = self.look(*told)
        return looked.gain, looked.offset

    def look(
        self,
        pictures: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b h w"],
        before: Float[Tensor, "#b n d"],
        now: Float[Tensor, "#b m d"],
        along: Float[Tensor, " b"],
    ) -> Looked:
        """What the places find and answer."""
        seen = torch.cat([known(pictures, disparity), hues(pictures)], dim=1).to(self.enter.weight)
        words, told = self.reader(before.to(seen), now.to(seen))
        found = (words @ self.questions.T).masked_fill(~told[..., None], -math.inf).softmax(1)  # (b, n, questions)
        gist = (found.transpose(1, 2) @ words).flatten(1)
        gist = self.gist(torch.cat([gist.expand(len(pictures), -1), along[:, None].to(gist)], dim=1))
        x = self.enter(functional.pixel_unshuffle(seen, PATCH)).permute(0, 2, 3, 1)
        words, there = (
            torch.cat([words, self.none.expand(len(words), 1, -1)], dim=1),
            functional.pad(told, (0, 1), value=True),
        )
        pointed = list[Tensor]()
        for block in self.blocks:
            x, found = block(x, gist, words, there)
            pointed += [] if found is None else [found]
        fine = functional.pixel_shuffle(self.leave(x).permute(0, 3, 1, 2), PATCH)
        scale, shift = self.tint(gist)[..., None, None].chunk(2, dim=1)
        fine = functional.silu(self.fine(torch.cat([fine, seen], dim=1)) * (1 + scale) + shift)
        gain, offset = self.answer(fine).float().chunk(2, dim=1)
        return Looked(torch.exp2(GAIN * torch.tanh(gain)), offset, pointed, x.flatten(1, 2), words)


def hues(pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Colours whatever the light: what is red is known at night as well."""
    light = (pictures + 1).clamp(min=0) + DARK
    return 3 * light / light.sum(1, keepdim=True) - 1


class _Reader(nn.Module):
    """Both texts as one, place by place, as words often stand where others stood; each word with those about it.

    The encoder of the embedded model hands on words that know nothing of their neighbours, so what is red would not be
    known from the word `red`: it is read here.
    """

    LAYERS: ClassVar[int] = 3

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(3 * text_width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(self.LAYERS))
        self.about = nn.ModuleList(nn.Conv1d(width, width, WINDOW, padding=WINDOW // 2) for _ in range(self.LAYERS))
        self.back = nn.ModuleList(nn.Linear(width, width) for _ in range(self.LAYERS))
        self.leave = nn.LayerNorm(width)

    def forward(
        self, before: Float[Tensor, "b n d"], now: Float[Tensor, "b n d"]
    ) -> tuple[Float[Tensor, "b m c"], Bool[Tensor, "b m"]]:
        """The words, and which of them are there: as many as the longest of the texts has."""
        there = (before.abs().sum(-1) > 0) | (now.abs().sum(-1) > 0)
        used = there.any(0)
        there, before, now = there[:, used], before[:, used], now[:, used]
        mask = there[..., None].to(before)
        x = self.enter(torch.cat([before, now, now - before], dim=-1)) * mask
        for norm, about, back in zip(self.norms, self.about, self.back, strict=True):
            inner = functional.gelu(about((norm(x) * mask).transpose(1, 2)).transpose(1, 2))
            x = (x + back(inner)) * mask
        return self.leave(x) * mask, there


class _Block(nn.Module):
    """Places look around, then each for itself, moved by what the texts say as a whole. Where it `points`, each then
    takes from the words that tell of it.
    """

    def __init__(self, width: int, *, points: bool) -> None:
        super().__init__()
        self.points = points
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.turn = nn.Linear(width, 2 * width)
        self.out, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        if points:
            self.calm = nn.LayerNorm(width)
            self.ask, self.key = nn.Linear(width, width), nn.Linear(width, 2 * width)
            self.told = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b h w c"],
        gist: Float[Tensor, "b c"],
        words: Float[Tensor, "#b n c"],
        there: Bool[Tensor, "#b n"],
    ) -> tuple[Float[Tensor, "b h w c"], Float[Tensor, "b p n"] | None]:
        scale, shift = self.turn(gist)[:, None, None].chunk(2, dim=-1)
        inner = self.norm(self.around(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)) * (1 + scale) + shift
        x = x + self.back(functional.gelu(self.out(inner)))
        if not self.points:
            return x, None
        key, value = self.key(words).chunk(2, dim=-1)
        asked = self.ask(self.calm(x.flatten(1, 2)))
        logits = asked @ key.transpose(1, 2) / asked.shape[-1] ** 0.5
        logits = logits.masked_fill(~there[:, None], -math.inf)
        return x + self.told(logits.softmax(-1) @ value).unflatten(1, x.shape[1:3]), logits
