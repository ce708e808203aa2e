"""How the still part of a scene passes from one frame to another, by tracks and depth, whoever held the camera.

A pixel x, y with disparity d (1 / distance, of any scale) stands for the point (x, y, 1, d), times its distance. From
one camera to another such points go by a matrix of 4 × 4 whose last row is (0, 0, 0, 1) (Hartley, Zisserman: Multiple
View Geometry, §13: homography and epipole), focal lengths and motion in one. As both distances are known, the other
twelve numbers follow from least squares; and matrices of many spans may be multiplied, so a place that left the picture
a minute ago can still be found.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

HOP = 8  # frames that are bridged in one fit
LEAST = 12  # points that both frames must show
TRIES = 8  # rounds, each trusting less what goes another way
CLOSE = 0.3  # pixels that are no other way
FITS, SHARE = 1.5, 0.5  # pixels off up to which a point goes along; share of those on the floor that must
OTHERS = 0.1  # how much points count that do not lie on the floor
FAR = 1e-3  # of the largest disparity: no point
UNIT = 100.0  # pixels that weigh as much as the largest disparity, so that all numbers of a fit are about as large
RIDGE = 1e-6  # pull towards a camera that rests; points on one plane leave a direction open


@dataclass(frozen=True)
class Points:
    """Tracks over some frames with what depth says of them.

    Attributes:
        places: from the middle of the picture, in pixels.
        disparity: of any scale, the same in all frames.
        seen: where they count.
        still: points that probably stand still: those on the floor.
    """

    places: Float[Tensor, "f n 2"]
    disparity: Float[Tensor, "f n"]
    seen: Bool[Tensor, "f n"]
    still: Bool[Tensor, "f n"]


def passages(points: Points) -> Float[Tensor, "f 4 4"] | None:
    """Matrices that take what each frame shows to where the first one would show it; None where nothing tells.

    Where all points are exchanged between two frames, the camera is taken to go on as it does right after.
    """
    made = torch.eye(4, dtype=torch.float64).repeat(len(points.seen), 1, 1)
    at = 0
    while at < len(points.seen) - 1:
        stop = min(at + HOP, len(points.seen) - 1)
        alike = (points.seen[at] & points.seen[at + 1 : stop + 1]).sum(1) >= LEAST
        count = int(alike.long().cumprod(0).sum())
        if not count:
            after = _back(points, at + 1, range(at + 2, at + 3)) if at + 2 < len(points.seen) else None
            if after is None:
                return None
            made[at + 1] = made[at] @ after[0]
            at += 1
            continue
        found = _back(points, at, range(at + 1, at + 1 + count))
        if found is None:
            return None
        made[at + 1 : at + 1 + count] = made[at] @ found
        at += count
    return made


def _back(points: Points, base: int, frames: range) -> Float[Tensor, "b 4 4"] | None:
    """From some frames to another one, by the points that both show."""
    span = slice(frames.start, frames.stop)
    both = points.seen[base] & points.seen[span]
    scale = points.disparity[base][points.seen[base]].double().max().clamp(min=1e-9) if bool(both.any()) else 1.0
    now, then = points.disparity[span].double() / scale, points.disparity[base].double() / scale
    both &= (now > FAR) & (then > FAR)
    if int(both.sum(1).min()) < LEAST:
        return None
    ratio = torch.where(both, now / then.clamp(min=FAR), 1.0)
    places, goals = points.places[span].double(), points.places[base].double()
    rows = torch.cat([places / UNIT, torch.ones_like(places[..., :1]), now[..., None]], dim=-1)  # (b, n, 4)
    right = torch.cat([goals / UNIT, torch.ones_like(goals[..., :1])], dim=-1) * ratio[..., None]  # (b, n, 3)
    prior = both * torch.where(points.still[span], 1.0, OTHERS) / ratio
    weight, still = prior, torch.eye(4, 3, dtype=torch.float64)  # what the points leave open stays as it is
    for _ in range(TRIES):
        weighed = rows * weight[..., None].square()
        matrix = weighed.transpose(1, 2) @ rows + RIDGE * torch.eye(4, dtype=torch.float64)
        form = still + torch.linalg.solve(matrix, weighed.transpose(1, 2) @ (right - rows @ still))
        moved = rows @ form
        below = moved[..., 2:].clamp(min=1e-3)
        off = (UNIT * moved[..., :2] / below - goals).norm(dim=-1) + UNIT * (now / below[..., 0] - then).abs()
        weight = prior / (1 + (off / CLOSE).square())
    along = both & (off < FITS)
    held = points.still[span] & both
    enough = (along.sum(1) >= LEAST) & ((along & held).sum(1) >= SHARE * held.sum(1))
    if not bool(enough.all()) or not bool(form.isfinite().all()):
        return None
    whole = torch.zeros(len(frames), 4, 4, dtype=torch.float64)
    whole[:, :3], whole[:, 3, 3] = form.transpose(1, 2), 1.0
    unit = torch.diag(torch.tensor([UNIT, UNIT, 1.0, scale], dtype=torch.float64))
    return unit @ whole @ torch.linalg.inv(unit)


def passed(
    back: Float[Tensor, "*f 4 4"], places: Float[Tensor, "*f n 2"], disparity: Float[Tensor, "*f n"]
) -> tuple[Float[Tensor, "*f n 2"], Float[Tensor, "*f n"]]:
    """Where places lie in another frame, from its middle, and their disparity there; not positive behind it."""
    rows = torch.cat([places, torch.ones_like(places[..., :1]), disparity[..., None]], dim=-1)
    moved = rows @ back.to(rows).transpose(-1, -2)
    below = moved[..., 2]
    safe = torch.where(below > 1e-4, below, torch.full_like(below, torch.inf))
    return moved[..., :2] / safe[..., None], torch.where(below > 1e-4, disparity / safe, -1.0)
