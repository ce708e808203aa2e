"""New words for a picture that is known: what is moved was taken under the words before, and turns to those now.

What the words now make of it, a network knows that was trained for this alone (`models.repainter`). It is asked once,
for the picture before it moves, which then moves in both lights; frame by frame what is shown goes over from the one to
the other: slowly where all of it changes, as light does, at once where one thing does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from longvie.controls.floor import floor
from longvie.controls.moved import Moved
from longvie.controls.sights import Sight
from longvie.controls.things import REST, SKY, Things
from longvie.models.models import Models
from longvie.models.repainter import Repainter

LIGHT, THING = 2.5, 0.5  # seconds from the words before to those now, where light changes, and where a thing does
WHOLE = 0.5  # share of the picture that changes, from which on it is the light
SOFT = 11  # pixels of a side
SEEN = 0.06  # mean change of a pixel's colours, of the range of 2, that is one


@dataclass(frozen=True)
class Turn:
    """A change of words on its way.

    Attributes:
        before, now: embeddings of the words.
        start: frame of the video at which they changed.
        frames: how many it takes.
        known: a picture, and what it is wholly under the words now, as it was found out already; not saved.
    """

    before: Float[Tensor, "1 n d"]
    now: Float[Tensor, "1 n d"]
    start: int
    frames: int
    known: tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 h w"]] | None = field(default=None, compare=False, repr=False)

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
            picture, disparity: the one that moves.
        """
        assert models.repainter is not None  # or no words would have been heard
        found = repainted(models.repainter, picture, disparity, self.before, self.now, 0.0)
        changed = float(((found - picture.float()).abs().mean(0) > SEEN).float().mean())
        seconds = LIGHT if changed > WHOLE else THING
        known = picture[:, 0].float(), found[:, 0].float()
        return Turn(self.before, self.now, start, round(seconds * models.card.fps), known)


@dataclass(frozen=True)
class NextLight:
    """What a turn makes of the picture that moves, and of what was seen when it was taken.

    Attributes:
        begun: how far the turn had gone then.
        disparity: of the picture that moves.
    """

    repainter: Repainter
    turn: Turn
    begun: float
    disparity: Float[Tensor, "h w"] | None

    def on(self, picture: Float[Tensor, "3 h w"], disparity: Float[Tensor, "h w"] | None) -> Float[Tensor, "3 h w"]:
        """The picture wholly under the words now; as `controls.carried.Light` has it."""
        known = self.turn.known
        if known is not None and disparity is None and not self.begun and torch.equal(known[0], picture.to(known[0])):
            return known[1]
        near = self.disparity if disparity is None else disparity
        told = self.turn.before, self.turn.now, self.begun
        return repainted(self.repainter, picture[:, None], None if near is None else near[None], *told)[:, 0]


def lights(
    repainter: Repainter | None, turns: Sequence[Turn], picked: int, disparity: Float[Tensor, "h w"] | None
) -> list[NextLight]:
    """Those that a picture turns to which was taken at frame `picked` of the video, one after the other.

    Args:
        disparity: of that picture.
    """
    if repainter is None:
        return []
    begun = [(turn, float(turn.share(torch.tensor([float(picked)])))) for turn in turns]
    return [NextLight(repainter, turn, share, disparity) for turn, share in begun if share < 1]


def shares(by: Sequence[NextLight], frame: int) -> list[float]:
    """How far a frame is on the way from each light to the next."""
    at = torch.tensor([float(frame)])
    return [(float(light.turn.share(at)) - light.begun) / (1 - light.begun) for light in by]


def lit(
    moved: Moved,
    by: Sequence[NextLight],
    start: int,
    disparity: Float[Tensor, "h w"] | None = None,
    off: Float[Tensor, "3 h w"] | None = None,
) -> tuple[Moved, Float[Tensor, "3 h w"] | None]:
    """A picture that was moved in several lights, as it is on its way from one to the next.

    What has come into it since it was taken may look otherwise: the network is asked again for the last frame, unless
    words are quite new, and what it says otherwise is brought in softly. That is told beside, for the next frames.

    Args:
        by: the lights beside the first.
        start: frame of the video that is the first here.
        disparity: of the last frame.
        off: what was told of the frames before.
    """
    count, asks = moved.pictures.shape[1], bool(by) and all(light.turn.start < start for light in by)
    frames = torch.arange(start, start + count).to(moved.pictures)
    shown, *later = moved.pictures.split(3)
    last = shown[:, -1]
    for light, there in zip(by, later, strict=True):
        along = ((light.turn.share(frames) - light.begun) / (1 - light.begun))[:, None, None]
        shown = shown.lerp(there, along)
        last = last.lerp(light.on(last, disparity).to(last), along[-1]) if asks else last
    if not asks:
        return replace(moved, pictures=shown), None
    before, after = torch.zeros_like(last) if off is None else off, _soft(last - shown[:, -1])
    share = (torch.arange(1, count + 1) / count).to(shown)[:, None, None]
    return replace(moved, pictures=(shown + before[:, None].lerp(after[:, None], share)).clamp(-1, 1)), after


def _soft(picture: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    return functional.avg_pool2d(picture, SOFT, 1, SOFT // 2, count_include_pad=False)


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
) -> Float[Tensor, "3 f h w"]:
    """Pictures as they are under the words now.

    Args:
        begun: how far they are on the way already.
    """
    weight = repainter.light.enter.weight
    near = torch.zeros_like(pictures[0]) if disparity is None else disparity
    along = torch.full((pictures.shape[1],), begun, device=weight.device)
    given = pictures.transpose(0, 1).to(weight.device), near.to(weight.device)
    pieces = None if disparity is None else _pieces(disparity).to(weight.device)
    found = repainter(*given, before.to(weight), now.to(weight), along, pieces=pieces)
    return found.clamp(-1, 1).transpose(0, 1).to(pictures.device)


def _pieces(disparity: Float[Tensor, "f h w"]) -> Int[Tensor, "f h w"]:
    """The things of each frame, from 1 on; 0 where there is none, or one too small to be told apart."""
    near = disparity.float().cpu()
    near = near / torch.quantile(near.flatten(1)[:, ::7], 0.99, dim=1).clamp(min=1e-6)[:, None, None]
    numbers = torch.cat([Things().take(one[None], floor(one[None]))[0] for one in near])
    return torch.where((numbers == REST) | (numbers <= SKY), 0, numbers)
