"""Pictures of places that were seen a while ago, so that what comes back into the picture is what it was.

How the still part of the scene has passed from there to here is known (`controls.passage`): what the moved picture does
not show may stand in one of them. It does, if it is as far away there as it should be; what has moved meanwhile is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from longvie.controls.floor import floor, outlines
from longvie.controls.passage import passed

WORTH = 0.01  # share of the picture that one must show to be looked at
COARSE = 4  # pixels of a side that are asked as one, which of them that is
HIDDEN, FLAT = 0.1, 0.01  # difference in disparity from which on it is another place: of it, and of the largest
BENT = 0.5  # a lens that stays the same has a matrix of determinant 1; so far off, nobody knows the way any more
MIDDLE = 0.99  # quantile of disparity that counts as the largest


@dataclass(frozen=True)
class Sight:
    """A picture that was seen.

    Attributes:
        picture: in [-1, 1].
        disparity: of any scale, that of the whole video.
        back: matrix that takes places of the picture that moves to here.
        light: frame of the video under whose words it is.
    """

    picture: Float[Tensor, "3 h w"]
    disparity: Float[Tensor, "h w"]
    back: Float[Tensor, "4 4"]
    light: int

    @classmethod
    def of(cls, picture: Float[Tensor, "3 h w"], disparity: Float[Tensor, "h w"], light: int) -> "Sight":
        """The picture that moves; as exact as it will be kept in a file."""
        back = torch.eye(4, dtype=torch.float64)
        return cls(picture.detach().cpu().bfloat16(), disparity.cpu().half(), back, light)

    @cached_property
    def _near(self) -> Float[Tensor, "h w"]:
        return self.disparity.float()

    @cached_property
    def top(self) -> float:
        """The largest disparity, but for few."""
        return max(float(torch.quantile(self._near.flatten()[::7], MIDDLE)), 1e-6)

    @cached_property
    def _flags(self) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"], Bool[Tensor, "h w"]]:
        """Disparity, whether it is floor, and whether two things are mixed there."""
        near = self._near[None] / self.top
        return near[0], floor(near)[0], outlines(near)[0]

    def holds(
        self, places: Float[Tensor, "n 2"], disparity: Float[Tensor, " n"], flat: Bool[Tensor, " n"]
    ) -> Bool[Tensor, " n"]:
        """Which places of it show what is so far away, and is or is not floor."""
        height, width = self.disparity.shape
        size = places.new_tensor([width / 2, height / 2])
        inside = (places.abs() < size).all(-1) & (disparity >= 0)
        x, y = torch.where(inside[:, None], places + size, 0.0).long().unbind(-1)
        at = y.clamp(max=height - 1) * width + x.clamp(max=width - 1)  # of the pixel that a place is on
        near, lies, mixed = self._flags
        there, wanted = near.take(at), disparity / self.top
        same = (there - wanted).abs() <= HIDDEN * torch.maximum(there, wanted) + FLAT
        return inside & same & (lies.take(at) == flat) & ~mixed.take(at)


Look = Callable[[Sight], Float[Tensor, "c h w"]]


def _as_it_was(sight: Sight) -> Float[Tensor, "3 h w"]:
    return sight.picture.float()


def found(
    sights: Sequence[Sight],
    back: Float[Tensor, "f 4 4"],
    disparity: Float[Tensor, "f h w"],
    flat: Bool[Tensor, "f h w"],
    missing: Bool[Tensor, "f h w"],
    look: Look = _as_it_was,
    colours: int = 3,
) -> tuple[Float[Tensor, "f c h w"], Bool[Tensor, "f h w"]]:
    """What some frames do not show of the picture that moves, from sights, the latest last; and where that is.

    Args:
        back: matrices that take the frames' places to the picture that moves.
        look: of a sight, in each light in which the picture that moves is.
        colours: of such a look.
    """
    shown, seen = torch.zeros(len(missing), colours, *missing.shape[1:]), torch.zeros_like(missing)
    half = shown.new_tensor([missing.shape[2] / 2, missing.shape[1] / 2])
    for sight in _useful(sights, back, disparity, flat, missing):
        at, y, x = (missing & ~seen).nonzero(as_tuple=True)
        if not len(at):
            break
        counts = torch.bincount(at, minlength=len(missing)).tolist()
        asked = _middle(y, x, missing.shape[1:]).split(counts), disparity[at, y, x].split(counts)
        passes = [passed(sight.back @ way, *told) for way, *told in zip(back, *asked, strict=True)]
        places, near = (torch.cat(part) for part in zip(*passes, strict=True))
        there = sight.holds(places, near, flat[at, y, x])
        at, y, x = at[there], y[there], x[there]
        shown[at, :, y, x] = _sampled(look(sight), places[there] / half).clamp(-1, 1).T
        seen[at, y, x] = True
    return shown, seen


def passed_on(sights: Sequence[Sight], latest: Sight, total: Float[Tensor, "4 4"], most: int) -> tuple[Sight, ...]:
    """Sights for the next picture that moves, the one before among them; what others show as well is let go.

    Args:
        total: takes places of the next picture to the one before.
    """
    kept = [replace(sight, back=sight.back @ total) for sight in (*sights, latest)]
    kept = [sight for sight in kept if abs(float(torch.linalg.det(sight.back)) - 1) < BENT]
    while len(kept) > most:
        kept.pop(min(range(len(kept) - 1), key=lambda at: _alone(kept, at)))
    return tuple(kept)


def _alone(sights: Sequence[Sight], at: int) -> float:
    """Share of a sight that no other one shows."""
    one = sights[at]
    height, width = one.disparity.shape
    y, x = (it.flatten() for it in _coarse(height, width))
    near, flat = one._near[y, x], one._flags[1][y, x]
    places, seen = _middle(y, x, one.disparity.shape), torch.zeros(len(y), dtype=torch.bool)
    for number, other in enumerate(sights):
        if number != at:
            there = other.back @ torch.linalg.inv(one.back)
            seen |= other.holds(*passed(there, places, near), flat)
    return 1 - float(seen.float().mean())


def _useful(
    sights: Sequence[Sight], back: Tensor, disparity: Tensor, flat: Tensor, missing: Bool[Tensor, "f h w"]
) -> list[Sight]:
    """The latest first: those that show some of what is missing in the first, the middle or the last frame, each beyond
    those before it. Their order is the same for all frames: what is taken from another one than a frame ago jumps.
    """
    frames, (height, width) = sorted({0, len(missing) // 2, len(missing) - 1}), missing.shape[1:]
    y, x = (it.flatten() for it in _coarse(height, width))
    places = _middle(y, x, missing.shape[1:])
    left = {at: missing[at, y, x] for at in frames}
    useful = list[Sight]()
    for sight in reversed(sights):
        shown = {}
        for at, wanted in left.items():
            shown[at] = torch.zeros_like(wanted)
            given = places[wanted], disparity[at, y, x][wanted]
            shown[at][wanted] = sight.holds(*passed(sight.back @ back[at], *given), flat[at, y, x][wanted])
        if max(int(it.sum()) for it in shown.values()) >= WORTH * len(y):
            useful.append(sight)
            left = {at: wanted & ~shown[at] for at, wanted in left.items()}
    return useful


def _coarse(height: int, width: int) -> tuple[Tensor, Tensor]:
    rows, columns = torch.arange(COARSE // 2, height, COARSE), torch.arange(COARSE // 2, width, COARSE)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return y, x


def _middle(y: Tensor, x: Tensor, size: Sequence[int]) -> Float[Tensor, "n 2"]:
    """Places of pixels, from the middle of the picture."""
    return torch.stack([x + 0.5 - size[1] / 2, y + 0.5 - size[0] / 2], dim=-1).float()


def _sampled(picture: Float[Tensor, "c h w"], places: Float[Tensor, "n 2"]) -> Float[Tensor, "c n"]:
    given = picture[None], places[None, None]
    return functional.grid_sample(*given, mode="bicubic", padding_mode="border", align_corners=False)[0, :, 0]
