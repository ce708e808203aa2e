"""New words for a picture that is known: what is moved was taken under the words before, and turns to those now.

What the words now make of it, a network knows that was trained for this alone (`models.repainter`). Frame by frame the
moved picture goes over to that: slowly where all of it changes, as light does, at once where one thing does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from longvie.controls.moved import Moved
from longvie.controls.sights import Sight
from longvie.engine.ahead import piece
from longvie.models.models import Models
from longvie.models.repainter import Repainter, applied

LIGHT, THING = 2.5, 0.5  # seconds from the words before to those now, where light changes, and where a thing does
WHOLE = 0.5  # share of the picture that changes, from which on it is the light
SEEN = 0.06  # mean change of a pixel's colours, of the range of 2, that is one
AT_ONCE = 16  # frames that are repainted in one call
HALF = 2  # pixels of a side that are one where it must go fast


@dataclass(frozen=True)
class Turn:
    """A change of words on its way.

    Attributes:
        before, now: embeddings of the words.
        start: frame of the video at which they changed.
        frames: how many it takes.
    """

    before: Float[Tensor, "1 n d"]
    now: Float[Tensor, "1 n d"]
    start: int
    frames: int

    def share(self, frames: Float[Tensor, " f"]) -> Float[Tensor, " f"]:
        """How far it has gone at some frames, from 0 to 1."""
        t = ((frames - self.start) / self.frames).clamp(0, 1)
        return t * t * (3 - 2 * t)

    def over(self, picked: int) -> bool:
        """Whether a picture taken at a frame is under the new words already."""
        return picked >= self.start + self.frames


@dataclass(frozen=True)
class NewWords:
    """Words that change as a span begins, as embeddings."""

    before: Float[Tensor, "1 n d"]
    now: Float[Tensor, "1 n d"]

    @classmethod
    def of(
        cls, models: Models, read: Callable[[str], Float[Tensor, "1 n d"]], before: str, now: str
    ) -> "NewWords | None":
        """Those that a picture can be brought under; None where they are the same, or these models carry no picture."""
        if before == now or models.card.holds != "moved" or models.repainter is None:
            return None
        return cls(read(before), read(now))

    def turn(
        self, models: Models, picture: Float[Tensor, "3 1 h w"], disparity: Float[Tensor, "1 h w"] | None, start: int
    ) -> Turn:
        """The change from frame `start` on, though nobody may see it there: what is out of the picture changes too.

        Args:
            picture, disparity: of the frame before.
        """
        assert models.repainter is not None  # or no words would have been heard
        found = repainted(models.repainter, picture, disparity, self.before, self.now, 0.0)
        changed = float(((found - picture.float()).abs().mean(0) > SEEN).float().mean())
        seconds = LIGHT if changed > WHOLE else THING
        return Turn(self.before, self.now, start, round(seconds * models.card.fps))


def lit(
    repainter: Repainter | None,
    moved: Moved,
    turns: Sequence[Turn],
    picked: int,
    start: int,
    disparity: Float[Tensor, "known h w"] | None,
    hasty: bool = False,
) -> Moved:
    """A picture, moved, under the words of its frames.

    Args:
        picked: the frame of the video that the picture is.
        start: that of its first frame here.
        disparity: of its frames; those past its end have that of the last one. None: nobody knows.
        hasty: somebody waits: what has only just begun to turn, and is hardly seen yet, is made at half the size.
    """
    pictures = moved.pictures
    frames = torch.arange(start, start + pictures.shape[1]).to(pictures)
    for turn in turns:
        begun = float(turn.share(torch.tensor([float(picked)])))
        if repainter is None or begun >= 1:
            continue
        along = (turn.share(frames) - begun) / (1 - begun)
        on = (along > 0).nonzero()[:, 0]
        if len(on):
            near = None if disparity is None or not len(disparity) else disparity[on.clamp(max=len(disparity) - 1)]
            coarse = hasty and turn.start == start
            there = repainted(repainter, pictures[:, on], near, turn.before, turn.now, begun, coarse=coarse)
            pictures = pictures.index_copy(1, on, pictures[:, on].lerp(there.to(pictures), along[on][:, None, None]))
    return replace(moved, pictures=pictures)


def sight_lit(repainter: Repainter | None, sight: Sight, turns: Sequence[Turn], frame: int) -> Sight:
    """A picture that was seen, under the words of a frame."""
    picture = sight.picture
    for turn in turns:
        begun, share = (float(turn.share(torch.tensor([float(at)]))) for at in (sight.light, frame))
        if repainter is None or share <= begun:
            continue
        near = sight.disparity[None].float()
        there = repainted(repainter, picture[:, None].float(), near, turn.before, turn.now, begun)[:, 0]
        picture = picture.float().lerp(there, (share - begun) / (1 - begun)).to(sight.picture)
    return replace(sight, picture=picture, light=frame)


@torch.no_grad()
def repainted(
    repainter: Repainter,
    pictures: Float[Tensor, "3 f h w"],
    disparity: Float[Tensor, "f h w"] | None,
    before: Float[Tensor, "1 n d"],
    now: Float[Tensor, "1 n d"],
    begun: float,
    *,
    coarse: bool = False,
) -> Float[Tensor, "3 f h w"]:
    """Pictures as they are under the words now.

    Args:
        begun: how far they are on the way already.
        coarse: every second pixel is looked at, which costs a quarter.
    """
    weight = repainter.light.enter.weight
    said = before.to(weight), now.to(weight)
    near = torch.zeros_like(pictures[0]) if disparity is None else disparity

    def some(shown: Float[Tensor, "3 f h w"], near: Float[Tensor, "f h w"]) -> Float[Tensor, "3 f h w"]:
        along = torch.full((shown.shape[1],), begun, device=weight.device)
        given = shown.transpose(0, 1).to(weight.device), near.to(weight.device)
        found = _coarse(repainter, *given, *said, along) if coarse else repainter(*given, *said, along)
        return found.clamp(-1, 1).transpose(0, 1).to(pictures.device)

    parts = zip(pictures.split(AT_ONCE, dim=1), near.split(AT_ONCE), strict=True)
    made = [piece(partial(some, *part)) for part in parts]
    return torch.cat([it.result() for it in made], dim=1)


def _coarse(
    repainter: Repainter, pictures: Float[Tensor, "b 3 h w"], disparity: Float[Tensor, "b h w"], *told: Tensor
) -> Float[Tensor, "b 3 h w"]:
    small = functional.avg_pool2d(pictures, HALF), disparity[:, ::HALF, ::HALF]
    gain, offset = (
        functional.interpolate(it, size=pictures.shape[2:], mode="bilinear") for it in repainter.maps(*small, *told)
    )
    return applied(pictures, gain, offset)
