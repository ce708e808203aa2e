"""What other words make of a thing as a whole: it is seen with all of its pixels, and reads the words that tell of it.

Places alone (`models.recolourer`) know well which way the colour of a thing goes, and too little how far. A thing knows
more: its colours and their spread, what is around it, what all of its places have found. It answers with one matrix of
colours, so that stripes stay apart.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from longvie.models.recolourer import Looked
from longvie.models.relighter import PATCH

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of each colour of a thing
RING = 9  # pixels of a side, around each pixel of a thing, that stand about it
STATISTICS = 3 + 3 + 3 * len(QUANTILES) + 1 + 3 + 9  # of a thing: see `Seen`
OWN = 3 + 1 + 1  # of what its places have answered
FAINT = -30.0  # logarithm of a probability that is none
EDGE = 0.02  # of a mean colour, from 0 and 1, within which it is not told how near it is
UNKNOWN = 0.3  # share of what places have found that is hidden in training: it is learnt by heart


@dataclass(frozen=True)
class Seen:
    """Things of one picture, as the painter sees them.

    Attributes:
        features: mean, deviation and quantiles of its colours, how near it is, the colours around it and of the upper,
            middle and lower third of the picture; what its places have found; what they have answered; how large it is.
        pointed: logarithm of how much it belongs to each word; the last is none.
        words, texts: the words as the places read them, and as they came, before and now.
    """

    features: Float[Tensor, "n f"]
    pointed: Float[Tensor, "n words"]
    words: Float[Tensor, "n m c"]
    texts: Float[Tensor, "n m d"]


class Painter(nn.Module):
    """Things, their words → what becomes of their colours.

    Args:
        width: channels of the places.
        text_width: of a token.
        inner: channels inside.
        keys: channels by which words are found.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, width: int, text_width: int, inner: int = 192, keys: int = 64) -> None:
        super().__init__()
        self.width, seen, told = width, STATISTICS + width + OWN, width + 2 * text_width
        self.register_buffer("mean", torch.zeros(seen))
        self.register_buffer("deviation", torch.ones(seen))
        self.ask = nn.Sequential(nn.Linear(seen, inner), nn.SiLU(), nn.Linear(inner, keys))
        self.key = nn.Linear(told, keys)
        self.value = nn.Sequential(nn.Linear(told, keys), nn.SiLU(), nn.Dropout(0.1), nn.Linear(keys, keys))
        self.none = nn.Parameter(torch.zeros(2, keys))
        self.trust = nn.Parameter(torch.ones(1))
        self.hide = nn.Dropout(UNKNOWN)
        self.answer = nn.Sequential(
            nn.Linear(seen + keys, inner), nn.SiLU(), nn.Dropout(0.15),
            nn.Linear(inner, inner), nn.SiLU(), nn.Dropout(0.15),
            nn.Linear(inner, 12),
        )  # fmt: skip
        for weight in self.answer[-1].parameters():
            nn.init.zeros_(weight)

    @torch.no_grad()
    def measure(self, features: Float[Tensor, "n f"]) -> None:
        """Mean and deviation of what it will see."""
        self.mean.copy_(features.float().mean(0))
        self.deviation.copy_(features.float().std(0) + 1e-3)

    def forward(self, seen: Seen) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3 3"], Float[Tensor, "n words"]]:
        """The mean colour that each thing takes, from 0 to 1; the matrix that turns what its pixels are off their mean;
        and how much it belongs to which word, as logits.
        """
        own = self.none.dtype
        x = ((seen.features - self.mean) / self.deviation).to(own)
        at = STATISTICS, STATISTICS + self.width
        x = torch.cat([x[:, : at[0]], self.hide(x[:, at[0] : at[1]]), x[:, at[1] :]], dim=1)
        told = torch.cat([seen.words, seen.texts], dim=-1).to(own)
        keys = torch.cat([self.key(told), self.none[0].expand(len(told), 1, -1)], dim=1)
        values = torch.cat([self.value(told), self.none[1].expand(len(told), 1, -1)], dim=1)
        logits = self.trust * seen.pointed.to(own)
        logits = logits + (keys @ self.ask(x)[..., None])[..., 0] / keys.shape[-1] ** 0.5
        there = functional.pad(seen.words.abs().sum(-1) > 0, (0, 1), value=True)
        logits = logits.float().masked_fill(~there, -1e4)
        read = (logits.softmax(-1).to(own)[:, None] @ values)[:, 0]
        mean, matrix = self.answer(torch.cat([x, read], dim=1)).float().split((3, 9), dim=1)
        before = seen.features[:, :3].float().clamp(EDGE, 1 - EDGE)
        return torch.sigmoid(torch.logit(before) + mean), matrix.unflatten(1, (3, 3)) + torch.eye(3).to(matrix), logits

    def paint(
        self, picture: Float[Tensor, "3 h w"], things: list[Bool[Tensor, "h w"]], seen: Seen
    ) -> Float[Tensor, "3 h w"]:
        """A picture in [-1, 1] whose things, as they were `seen`, have the colours that words now say."""
        painted = picture.clone()
        mean, matrix, _ = self(seen)
        for where, goal, turn in zip(things, mean, matrix, strict=True):
            pixels = (picture[:, where].float() + 1) / 2
            made = goal[:, None] + turn @ (pixels - pixels.mean(1, keepdim=True))
            painted[:, where] = (2 * made - 1).clamp(-1, 1).to(painted)
        return painted


def see(
    picture: Float[Tensor, "3 h w"],
    after: Float[Tensor, "3 h w"],
    disparity: Float[Tensor, "h w"],
    things: list[Bool[Tensor, "h w"]],
    looked: Looked,
    texts: Float[Tensor, "m d"],
) -> Seen:
    """What the painter sees of some things.

    Args:
        picture, after: in [-1, 1], and as the places have it under the words now.
        looked: what they have found in this one picture.
        texts: the words before and now, side by side.
    """
    colours, change = (picture.float() + 1) / 2, (after - picture).float()
    near = disparity.float()
    near = near / near.flatten()[::7].quantile(0.99).clamp(min=1e-6)
    thirds = [part.mean((1, 2)) for part in _thirds(colours)]
    places, pointed = looked.places[0].float(), looked.pointed[-1][0].float().log_softmax(-1)
    features, belongs = list[Tensor](), list[Tensor]()
    for where in things:
        own, small = colours[:, where], _places(where)
        quantiles = torch.quantile(own, own.new_tensor(QUANTILES), dim=1).T.flatten()
        ring = (functional.max_pool2d(where[None].float(), RING, 1, RING // 2)[0] > 0) & ~where
        around = colours[:, ring].mean(1) if bool(ring.any()) else own.mean(1)
        told = change[:, where]
        parts = [
            own.mean(1), own.std(1), quantiles, near[where].mean()[None], around, *thirds, places[small].mean(0),
            told.mean(1), told.abs().mean()[None], where.float().mean()[None],
        ]  # fmt: skip
        features.append(torch.cat(parts))
        belongs.append(pointed[small].mean(0).clamp(min=FAINT))
    count, words = len(things), looked.words[0, :-1]
    return Seen(
        torch.stack(features),
        torch.stack(belongs),
        words.expand(count, -1, -1),
        texts[: len(words)].expand(count, -1, -1),
    )


def _thirds(colours: Float[Tensor, "3 h w"]) -> tuple[Tensor, Tensor, Tensor]:
    third = colours.shape[1] // 3
    return colours[:, :third], colours[:, third : 2 * third], colours[:, 2 * third :]


def _places(where: Bool[Tensor, "h w"]) -> Bool[Tensor, " places"]:
    """The places of 4×4 pixels that are a thing's; of a very small one, all that it touches."""
    middle = where[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].flatten()
    touched = functional.max_pool2d(where[None].float(), PATCH)[0].flatten() > 0
    return middle if bool(middle.any()) else touched
