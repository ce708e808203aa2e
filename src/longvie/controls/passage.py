"""How the still part of a scene passes from one frame to another, by tracks and depth, whoever held the camera.

A pixel x, y with disparity d (1 / distance, of any scale) stands for the point (x / f, y / f, 1) / d, f being the focal
length in pixels. As both distances of a point are known, how the camera went between two frames is the rigid motion
that brings the one cloud of points upon the other (Kabsch 1976), and f, which is the same in all frames, is that by
which they fit best. Points on a floor are enough for both, so what is infinitely far passes rightly too: a sky shows no
points. In pixels and disparities it is a matrix of 4 × 4 whose last row is (0, 0, 0, 1) (Hartley, Zisserman: Multiple
View Geometry, §13: homography and epipole), and matrices of many spans may be multiplied, so a place that left the
picture a minute ago can still be found.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

HOP = 8  # frames that are bridged in one fit
MANY, LEAST = 12, 3  # points that both frames show for a hop to be longer; that they must show
TRIES = 8  # rounds, each trusting less what goes another way
CLOSE = 0.3  # pixels that are no other way
FITS, SHARE = 1.5, 0.5  # pixels off up to which a point goes along; share of those on the floor that must
OTHERS = 0.1  # how much points count that do not lie on the floor
FAR = 1e-3  # of the largest disparity: no point
UNIT = 100.0  # pixels that weigh as much as the largest disparity
LENSES = (0.3, 0.7, 3.0)  # focal length over the picture's width: the least, the usual one, the largest
GUESSES, FINER = 11, 3  # focal lengths that are tried, and rounds, each closer about the best by a parabola
ROUNDS, PAIRS = 4, 6  # of a try; pairs of frames by which they are told apart
FAINT = 1e-4  # square of pixels that a lens twice as long as usual counts: where nothing tells, it is the usual one


@dataclass(frozen=True)
class Points:
    """Tracks over some frames with what depth says of them.

    Attributes:
        places: from the middle of the picture, in pixels.
        disparity: of any scale, the same in all frames.
        seen: where they count.
        still: points that probably stand still: those on the floor.
        width: of the picture, in pixels.
    """

    places: Float[Tensor, "f n 2"]
    disparity: Float[Tensor, "f n"]
    seen: Bool[Tensor, "f n"]
    still: Bool[Tensor, "f n"]
    width: int


@dataclass(frozen=True)
class _Pairs:
    """Points in some frames, now, and in as many others, then; disparities of which the largest is 1."""

    places: Float[Tensor, "b n 2"]
    goals: Float[Tensor, "b n 2"]
    now: Float[Tensor, "b n"]
    then: Float[Tensor, "b n"]
    both: Bool[Tensor, "b n"]
    still: Bool[Tensor, "b n"]

    @classmethod
    def of(cls, points: Points, frames: list[int], bases: list[int]) -> "_Pairs":
        """Of points, in `frames` now and in `bases` then."""
        seen, then = points.seen[bases], points.disparity[bases].double()
        scale = _scale(points)
        now, then = points.disparity[frames].double() / scale, then / scale
        both = points.seen[frames] & seen & (now > FAR) & (then > FAR)
        return cls(points.places[frames].double(), points.places[bases].double(), now, then, both, points.still[frames])


def passages(points: Points) -> Float[Tensor, "f 4 4"] | None:
    """Matrices that take what each frame shows to where the first one would show it; None where nothing tells.

    Where all points are exchanged between two frames, the camera is taken to go on as it does right after, or before.
    """
    made = torch.eye(4, dtype=torch.float64).repeat(len(points.seen), 1, 1)
    if len(made) == 1:
        return made
    hops = _hops(points)
    told = [(frame, hop.start) for hop, known in hops for frame in (hop[1:] if known else ())]
    guessed = [
        hop.start + 2 * (hop.start + 2 < len(made)) for hop, known in hops if not known
    ]  # of which a step is taken
    if not all(guessed):
        return None
    frames, bases = zip(*told, *((frame, frame - 1) for frame in guessed), strict=True)
    found = _back(
        points, list(frames), list(bases), _focal(points, [(hop[-1], hop[0]) for hop, known in hops if known])
    )
    if found is None:
        return None
    steps, afterwards = iter(found[: len(told)]), iter(found[len(told) :])
    for hop, known in hops:
        for frame in hop[1:]:
            made[frame] = made[hop.start] @ next(steps if known else afterwards)
    return made


def _hops(points: Points) -> list[tuple[range, bool]]:
    """Spans of frames that are each told by points which their first frame shows too; or, of two frames, are not."""
    at, hops = 0, list[tuple[range, bool]]()
    while at < len(points.seen) - 1:
        stop = min(at + HOP, len(points.seen) - 1)
        alike = (points.seen[at] & points.seen[at + 1 : stop + 1]).sum(1)
        count = max(1, int((alike >= MANY).long().cumprod(0).sum()))
        hops.append((range(at, at + count + 1), int(alike[0]) >= LEAST))
        at += count
    return hops


def _focal(points: Points, hops: list[tuple[int, int]]) -> float:
    """The focal length, in pixels, by which points of some pairs of frames fit best."""
    least, usual, most = (points.width * lens for lens in LENSES)
    some = [hops[at] for at in torch.linspace(0, len(hops) - 1, min(len(hops), PAIRS)).round().long().tolist()]
    pairs = _Pairs.of(points, *map(list, zip(*some, strict=True))) if some else None
    if pairs is None or int(pairs.both.sum(1).max()) < MANY:
        return usual
    lenses = np.linspace(math.log2(least), math.log2(most), GUESSES)
    for _ in range(FINER):
        wrong = [_misfit(pairs, 2**lens, usual) for lens in lenses]
        middle = min(max(int(np.argmin(wrong)), 1), len(lenses) - 2)
        low, best, high = wrong[middle - 1 : middle + 2]
        bend, step = low - 2 * best + high, lenses[1] - lenses[0]
        found = lenses[middle] + step * min(max((low - high) / (2 * bend), -1.0), 1.0) if bend > 0 else lenses[middle]
        lenses = np.linspace(found - step / 3, found + step / 3, 3)
    return float(2**found)


def _misfit(pairs: _Pairs, focal: float, usual: float) -> float:
    """How little points fit if this were the focal length; squares of pixels."""
    _, off = _aligned(pairs, focal, ROUNDS)
    weight = _prior(pairs)
    wrong = (off.clamp(max=FITS).square() * weight).sum() / weight.sum().clamp(min=1e-9)
    return float(wrong) + FAINT * math.log2(focal / usual) ** 2


def _prior(pairs: _Pairs) -> Float[Tensor, "b n"]:
    return pairs.both * torch.where(pairs.still, 1.0, OTHERS).to(pairs.now)


def _aligned(pairs: _Pairs, focal: float, tries: int) -> tuple[Float[Tensor, "b 3 4"], Float[Tensor, "b n"]]:
    """The rigid motion of each pair of frames, as a matrix over x, y, 1 and disparity, and how far each point is off it
    in pixels.
    """
    lens = torch.tensor([focal, focal, 1.0], dtype=torch.float64)
    there = [torch.where(pairs.both, 1 / near.clamp(min=FAR), 0.0)[..., None] for near in (pairs.now, pairs.then)]
    now, then = (
        torch.cat([spots, torch.ones_like(spots[..., :1])], dim=-1) / lens * far
        for spots, far in zip((pairs.places, pairs.goals), there, strict=True)
    )
    prior = _prior(pairs) * pairs.then  # so that points count by pixels, not by metres
    weight = prior
    for _ in range(tries):
        share = weight[..., None].square()
        total = share.sum(1, keepdim=True).clamp(min=1e-12)
        middle, goal = (now * share).sum(1, keepdim=True) / total, (then * share).sum(1, keepdim=True) / total
        left, _, right = torch.linalg.svd(((now - middle) * share).transpose(1, 2) @ (then - goal))
        mirror = torch.ones(len(left), 3, dtype=torch.float64)
        mirror[:, 2] = torch.linalg.det(left @ right).sign()
        turn = (left * mirror[:, None]) @ right  # of rows
        move = goal - middle @ turn
        moved = now @ turn + move
        below = moved[..., 2].clamp(min=FAR)
        off = (focal * moved[..., :2] / below[..., None] - pairs.goals).norm(dim=-1)
        off = off + UNIT * (1 / below - pairs.then).abs()
        weight = prior / (1 + (off / CLOSE).square())
    form = torch.cat([turn / lens[:, None] * lens, move * lens], dim=1)
    return form.transpose(1, 2), off


def _back(points: Points, frames: list[int], bases: list[int], focal: float) -> Float[Tensor, "b 4 4"] | None:
    """From each frame to another one, by the points that both show."""
    pairs = _Pairs.of(points, frames, bases)
    if int(pairs.both.sum(1).min()) < LEAST:
        return None
    form, off = _aligned(pairs, focal, TRIES)
    along, held = pairs.both & (off < FITS), pairs.both & pairs.still
    enough = (along.sum(1) >= LEAST) & ((along & held).sum(1) >= SHARE * held.sum(1))
    if not bool(enough.all()) or not bool(form.isfinite().all()):
        return None
    whole = torch.zeros(len(frames), 4, 4, dtype=torch.float64)
    whole[:, :3], whole[:, 3, 3] = form, 1.0
    unit = torch.diag(torch.tensor([1.0, 1.0, 1.0, _scale(points)], dtype=torch.float64))
    return unit @ whole @ torch.linalg.inv(unit)


def _scale(points: Points) -> float:
    """The largest disparity of a point."""
    return max(float(points.disparity[points.seen].max()), 1e-9) if bool(points.seen.any()) else 1.0


def passed(
    back: Float[Tensor, "*f 4 4"], places: Float[Tensor, "*f n 2"], disparity: Float[Tensor, "*f n"]
) -> tuple[Float[Tensor, "*f n 2"], Float[Tensor, "*f n"]]:
    """Where places lie in another frame, from its middle, and their disparity there; not positive behind it."""
    rows = torch.cat([places, torch.ones_like(places[..., :1]), disparity[..., None]], dim=-1)
    moved = rows @ back.to(rows).transpose(-1, -2)
    below = moved[..., 2]
    safe = torch.where(below > 1e-4, below, torch.full_like(below, torch.inf))
    return moved[..., :2] / safe[..., None], torch.where(below > 1e-4, disparity / safe, -1.0)
