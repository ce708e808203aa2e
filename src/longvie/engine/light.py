"""New words for a picture that is known: what is moved was taken under the words before, and turns to those now.

What the words now make of it, a network knows that was trained for this alone (`models.repainter`). It is asked once,
for the picture before it moves, which then moves in both lights; frame by frame what is shown goes over from the one to
the other: slowly where all of it changes, as light does, at once where one thing does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from longvie.controls.floor import floor
from longvie.controls.moved import Moved
from longvie.controls.portraits import Portrait
from longvie.controls.sights import Sight
from longvie.controls.things import REST, SKY, Things
from longvie.models.models import Models
from longvie.models.repainter import Repainter, applied

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
        known: a picture, what it is wholly under the words now, and where its things are painted, as it was found out
            already; not saved.
        shown: portraits under the words now, by their pictures, as far as they were asked for; not saved.
    """

    before: Float[Tensor, "1 n d"]
    now: Float[Tensor, "1 n d"]
    start: int
    frames: int
    known: tuple[Float[Tensor, "3 h w"], Float[Tensor, "3 h w"], Bool[Tensor, "h w"]] | None = field(
        default=None, compare=False, repr=False
    )
    shown: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, compare=False, repr=False)

    def share(self, frames: Float[Tensor, " f"]) -> Float[Tensor, " f"]:
        """How far it has gone at some frames, from 0 to 1."""
        t = ((frames - self.start) / self.frames).clamp(0, 1)
        return t * t * (3 - 2 * t)

    def over(self, picked: int) -> bool:
        """Whether a picture taken at a frame is under the new words already."""
        return picked >= self.start + self.frames


@dataclass(frozen=True)
class Said:
    """The words before a span begins, and those in it, as embeddings."""

    before: Float[Tensor, "1 n d"]
    now: Float[Tensor, "1 n d"]

    @classmethod
    def of(cls, models: Models, read: Callable[[str], Float[Tensor, "1 n d"]], before: str, now: str) -> "Said | None":
        """Those that a picture can be brought under; None where these models carry no picture, or have no repainter."""
        if models.card.holds != "moved" or models.repainter is None:
            return None
        told = read(now)
        return cls(told if before == now else read(before), told)

    @property
    def other(self) -> bool:
        """Whether they change."""
        return self.before is not self.now

    def turn(
        self, models: Models, picture: Float[Tensor, "3 1 h w"], disparity: Float[Tensor, "1 h w"] | None, start: int
    ) -> Turn:
        """The change from frame `start` on, though nobody may see it there: what is out of the picture changes too.

        Args:
            picture, disparity: the one that moves.
        """
        assert models.repainter is not None  # or no words would have been heard
        found, painted = painting(models.repainter, picture, disparity, self.before, self.now, 0.0)
        changed = float(((found - picture.float()).abs().mean(0) > SEEN).float().mean())
        seconds = LIGHT if changed > WHOLE else THING
        known = picture[:, 0].float(), found[:, 0].float(), painted[0]
        return Turn(self.before, self.now, start, round(seconds * models.card.fps), known)


def settled(turns: Sequence[Turn], said: Said | None, frame: int) -> Float[Tensor, "1 n d"] | None:
    """The words that a picture is under which was taken as a span begins; None while it is on its way to others."""
    shares = [float(turn.share(torch.tensor([float(frame)]))) for turn in turns]
    return None if said is None or any(0 < share < 1 for share in shares) else said.before


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

    def begun_with(self, picture: Float[Tensor, "3 h w"]) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"]]:
        """The picture that moves; as `controls.carried.Light` has it."""
        known = self.turn.known
        if known is not None and not self.begun and torch.equal(known[0], picture.to(known[0])):
            return known[1], known[2]
        found, painted = self._painting(picture, self.disparity)
        return found[:, 0], painted[0]

    def on(self, picture: Float[Tensor, "3 h w"], disparity: Float[Tensor, "h w"] | None) -> Float[Tensor, "3 h w"]:
        """The picture wholly under the words now; as `controls.carried.Light` has it."""
        return self._painting(picture, disparity)[0][:, 0]

    def _painting(
        self, picture: Float[Tensor, "3 h w"], disparity: Float[Tensor, "h w"] | None
    ) -> tuple[Float[Tensor, "3 1 h w"], Bool[Tensor, "1 h w"]]:
        near = None if disparity is None else disparity[None]
        return painting(self.repainter, picture[:, None], near, self.turn.before, self.turn.now, self.begun)

    def portrayed(self, portrait: Portrait) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"]]:
        """A portrait wholly under the words now; as `controls.carried.Light` has it."""
        picture = portrait.picture.float()
        if torch.equal(portrait.words, self.turn.now.to(portrait.words)):
            return picture, torch.zeros_like(picture[0], dtype=torch.bool)
        held, shown, there = self.turn.shown.get(id(portrait.picture), (None, picture, picture))
        if held is not portrait.picture:  # an address may be used again
            told = portrait.disparity[None].float(), portrait.words, self.turn.now, 0.0
            found, painted = painting(self.repainter, picture[:, None], *told, pieces=portrait.pieces[None])
            shown, there = found[:, 0], painted[0]
            self.turn.shown[id(portrait.picture)] = portrait.picture, shown, there
        return shown, there


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
    before, after = torch.zeros_like(last) if off is None else off, _soft(_apart(last - shown[:, -1], moved))
    share = (torch.arange(1, count + 1) / count).to(shown)[:, None, None]
    return replace(moved, pictures=(shown + before[:, None].lerp(after[:, None], share)).clamp(-1, 1)), after


def _apart(off: Float[Tensor, "3 h w"], moved: Moved) -> Float[Tensor, "3 h w"]:
    """What the network says otherwise of a last frame, but for things: they look as their portraits do."""
    return off if moved.things is None else torch.where(moved.things[:, -1], 0.0, off)


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
        there, _ = painting(repainter, picture[:, None].float(), near, turn.before, turn.now, begun)
        picture = picture.float().lerp(there[:, 0], (share - begun) / (1 - begun)).to(sight.picture)
    return replace(sight, picture=picture, light=frame)


@torch.no_grad()
def painting(
    repainter: Repainter,
    pictures: Float[Tensor, "3 f h w"],
    disparity: Float[Tensor, "f h w"] | None,
    before: Float[Tensor, "1 n d"],
    now: Float[Tensor, "1 n d"],
    begun: float,
    pieces: Int[Tensor, "f h w"] | None = None,
) -> tuple[Float[Tensor, "3 f h w"], Bool[Tensor, "f h w"]]:
    """Pictures as they are under the words now, and where things of theirs have been given another colour.

    Args:
        begun: how far they are on the way already.
        pieces: numbers of things, from 1 on, where they are known; found out otherwise, if depth is known.
    """
    weight = repainter.light.enter.weight
    near = torch.zeros_like(pictures[0]) if disparity is None else disparity
    along = torch.full((pictures.shape[1],), begun, device=weight.device)
    given = pictures.transpose(0, 1).to(weight.device), near.to(weight.device)
    pieces = pieces_of(disparity) if pieces is None and disparity is not None else pieces
    pieces = None if pieces is None else pieces.to(weight.device)
    gain, offset, painted = repainter.maps(*given, before.to(weight), now.to(weight), along, pieces=pieces)
    found = applied(given[0], gain, offset).clamp(-1, 1).transpose(0, 1).to(pictures.device)
    return found, painted.to(pictures.device)


def pieces_of(disparity: Float[Tensor, "f h w"]) -> Int[Tensor, "f h w"]:
    """The things of each frame, from 1 on; 0 where there is none, or one too small to be told apart."""
    near = disparity.float().cpu()
    near = near / torch.quantile(near.flatten(1)[:, ::7], 0.99, dim=1).clamp(min=1e-6)[:, None, None]
    numbers = torch.cat([Things().take(one[None], floor(one[None]))[0] for one in near])
    return torch.where((numbers == REST) | (numbers <= SKY), 0, numbers)
