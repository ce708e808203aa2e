"""Rigid motions out of point tracks: which points move as one, and where a place was before.

Seen through a moving camera, a rigid thing's picture changes by a projective map. With the disparity d of a place known
it is exact for any shape: x' = X / W, y' = Y / W, where X, Y and W are linear in (1, x, y, d) (Hartley, Zisserman:
Multiple View Geometry, §9.6: the parallax along the epipolar line is linear in d). Neither focal length nor the scale
or offset of d need be known. Without d it is the homography of a plane (§13.1).

Points are grouped one motion after the other, each time the one that explains most of what is left (sequential RANSAC);
a point stays in its group for all frames, as it stays on its thing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

TOLERANCE = 0.8  # pixels; a point that is farther off does not move with the group
SHARE = 0.7  # of the frames in which a point is seen; so often it must move with its group
LEAST = 5  # points of a group
MOST = 10  # groups
SEEDS = 20  # guesses per group
NEIGHBOURS = 8  # points that a guess is made from
GLANCES = 8  # frames by which points are grouped
RIDGE = (1e-5, 1e-5, 1e-5, 1e-3, 1e-2)  # of 1, x, y, d and the denominator's terms: few points, or flat ones, need it
NEAREST = 0.1  # least denominator: what is less is behind a camera, and counts as far away
DEEPER = 0.1  # relative step of disparity that counts as far as a pixel's distance does


@dataclass(frozen=True)
class Motion:
    """A map of places now to places before, b of them: linear forms over the terms (1, x, y[, d])."""

    x: Float[Tensor, "b k"]
    y: Float[Tensor, "b k"]
    below: Float[Tensor, "b k"]  # the denominator; positive for what is before both cameras
    near: Float[Tensor, "b k"]  # over the denominator, the disparity before; 0 where it is not known

    @classmethod
    def none(cls, count: int, terms: int) -> "Motion":
        """That of nothing: all goes to 0."""
        return cls(*torch.zeros(4, count, terms))

    def __call__(self, terms: Float[Tensor, "b ... k"]) -> tuple[Float[Tensor, "b ... 2"], Float[Tensor, "b ..."]]:
        """x and y before, and the denominator."""
        shape = (-1, *(1,) * (terms.ndim - 2))
        x, y, below = ((terms * form.view(*shape, form.shape[-1])).sum(-1) for form in (self.x, self.y, self.below))
        below = below.clamp(min=NEAREST)
        return torch.stack([x / below, y / below], dim=-1), below


def everywhere(
    motions: Sequence[Motion], which: Int[Tensor, "f h w"], maps: Sequence[Float[Tensor, "#f h w"]]
) -> tuple[Float[Tensor, "f h w 2"], Float[Tensor, "f h w"]]:
    """Places before and their disparity, of all pixels of some frames.

    Args:
        motions: of one frame after the other, each.
        which: of them each pixel takes part in.
        maps: what the motions are linear in beside 1, pixel by pixel: x, y and maybe disparity.
    """
    frames = len(which)
    row = (which + len(motions) * torch.arange(frames, device=which.device)[:, None, None]).flatten()
    wide = [it.expand(frames, -1, -1).flatten() for it in maps]

    def value(name: str) -> Float[Tensor, " pixels"]:
        forms = torch.stack([getattr(motion, name) for motion in motions], dim=1).flatten(0, 1)  # (frames·motions, k)
        constant, *slopes = (form[row] for form in forms.T.contiguous())
        for slope, known in zip(slopes, wide, strict=True):
            constant.addcmul_(slope, known)
        return constant

    below = value("below").clamp_(min=NEAREST)
    x, y, near = (value(name).div_(below).view(which.shape) for name in ("x", "y", "near"))
    return torch.stack([x, y], dim=-1), near


def terms(places: Float[Tensor, "*n 2"], disparity: Float[Tensor, "*n"] | None) -> Float[Tensor, "*n k"]:
    """What the maps are linear in."""
    known = [torch.ones_like(places[..., :1]), places]
    return torch.cat(known if disparity is None else [*known, disparity[..., None]], dim=-1)


def fit(
    now: Float[Tensor, "b n k"], before: Float[Tensor, "b n 2"], weight: Float[Tensor, "b n"], *, rounds: int = 3
) -> Motion:
    """The map that takes `now` (terms) to `before`, least squares of what the denominator has been multiplied with.

    All is centred and scaled by the points' own spread first, so that the denominator is 1 in their middle. What they
    leave open stays affine: a ridge holds it, and is moved along with the solution `rounds` times, so that what they
    do say is not bent by it.
    """
    k, places = now.shape[-1], now[..., 1:]
    total = weight.sum(1)[:, None, None].clamp(min=1e-6)
    shares = weight[..., None]
    middle, centre = (places * shares).sum(1, keepdim=True) / total, (before * shares).sum(1, keepdim=True) / total
    spread = ((places - middle).square() * shares).sum(1, keepdim=True).div(total).sqrt()
    floor = spread[..., :2].mean(-1, keepdim=True) * spread.new_tensor([0.3, 0.3, 0.1][: k - 1])
    spread = torch.maximum(spread, floor).clamp(min=1e-3)
    size = ((before - centre).square() * shares).sum((1, 2), keepdim=True).div(2 * total).sqrt().clamp(min=1e-3)
    inner, target = (places - middle) / spread, (before - centre) / size
    form = torch.cat([torch.ones_like(inner[..., :1]), inner], dim=-1)
    none = torch.zeros_like(form)
    rows = torch.cat(
        [
            torch.cat([form, none, -inner * target[..., :1]], dim=-1),
            torch.cat([none, form, -inner * target[..., 1:]], dim=-1),
        ],
        dim=1,
    )
    weighed = (rows * torch.cat([weight, weight], dim=1)[..., None]).transpose(1, 2)
    ridge = torch.tensor([*RIDGE[:k], *RIDGE[:k], *(RIDGE[-1:] * (k - 1))]).to(now)
    matrix, right = weighed @ rows, weighed @ torch.cat([target[..., 0], target[..., 1]], dim=1)[..., None]
    least = 1e-6 * matrix.diagonal(dim1=1, dim2=2).mean(1)[:, None, None] + 1e-8  # of what no number type can solve
    ridge = torch.diag(ridge) * total + least * torch.eye(len(ridge)).to(now)
    matrix = matrix + ridge
    found = torch.linalg.solve(matrix, right)
    for _ in range(rounds - 1):
        found = torch.linalg.solve(matrix, right + ridge @ found)
    x, y, below = found[..., 0].split([k, k, k - 1], dim=1)
    below = torch.cat([torch.ones_like(below[:, :1]), below], dim=1)
    x, y = size[:, 0] * x + centre[:, 0, :1] * below, size[:, 0] * y + centre[:, 0, 1:] * below
    x, y, below = (_outward(it, middle[:, 0], spread[:, 0]) for it in (x, y, below))
    return Motion(x, y, below, torch.zeros_like(below))


def _outward(form: Float[Tensor, "b k"], middle: Tensor, spread: Tensor) -> Float[Tensor, "b k"]:
    """A linear form over centred and scaled terms as one over the terms themselves."""
    slopes = form[:, 1:] / spread
    return torch.cat([form[:, :1] - (slopes * middle).sum(1, keepdim=True), slopes], dim=1)


def robust(
    now: Float[Tensor, "b n k"],
    before: Float[Tensor, "b n 2"],
    weight: Float[Tensor, "b n"],
    counts: Float[Tensor, "b n"],
    tolerances: tuple[float, ...],
) -> Motion:
    """`fit` with `weight`, then again with all that `counts`, each point the less the farther off it is."""
    found = fit(now, before, weight)
    for tolerance in tolerances:
        off = (found(now)[0] - before).square().sum(-1)
        found = fit(now, before, counts / (1 + off / tolerance**2).square())
    return found


def step(one: Tensor, other: Tensor) -> Tensor:
    """How much farther apart a step in disparity makes two places count; 1 is not at all."""
    return 1 + ((one - other) / (DEEPER * torch.maximum(one, other) + 1e-3)).square()


def groups(
    now: Float[Tensor, "f n k"],
    before: Float[Tensor, "n 2"],
    seen: Bool[Tensor, "f n"],
    apart: Float[Tensor, "n n"],
    tolerance: float,
) -> Int[Tensor, " n"]:
    """The number of the motion that each point takes part in; the largest group of points is 0, -1 is none.

    Args:
        now, before: of places in one unit, whatever it is.
        apart: how unlikely two points are to lie on the same thing.
        tolerance: `TOLERANCE`, in that unit.
    """
    some = torch.linspace(0, len(now) - 1, min(len(now), GLANCES)).round().long().unique()
    now, seen = now[some], seen[some]
    frames, count = seen.shape
    life, left = seen.float().sum(0), seen.any(0)
    label = torch.full((count,), -1, device=now.device)
    random = torch.Generator().manual_seed(0)
    for number in range(MOST):
        index = left.nonzero()[:, 0]
        if len(index) < LEAST:
            break
        seeds = index[torch.randperm(len(index), generator=random)[:SEEDS].to(index.device)]
        near = index[apart[seeds][:, index].topk(min(NEIGHBOURS, len(index)), largest=False).indices]
        guess = torch.zeros(len(seeds), count).to(now).scatter_(1, near, 1.0)
        weight = (guess[:, None] * seen).flatten(0, 1)
        weight, counts = weight[:, index], seen[:, index].repeat(len(seeds), 1).to(now)
        places, goals = now[:, index].repeat(len(seeds), 1, 1), before[index].expand(len(weight), -1, -1)
        motion = robust(places, goals, weight, counts, (3 * tolerance, 1.5 * tolerance, tolerance))
        off = (motion(places)[0] - goals).square().sum(-1) / tolerance**2
        close = ((off < 1) & (counts > 0)).unflatten(0, (len(seeds), frames)).sum(1)
        fits = (counts / (1 + 4 * off)).unflatten(0, (len(seeds), frames)).sum(1)
        member = close >= SHARE * life[index]
        best = index[member[(fits * member).sum(1).argmax()]]
        if len(best) < LEAST:
            break
        label[best], left[best] = number, False
    return label
