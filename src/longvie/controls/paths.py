"""Where what is seen later lies in one picture, by tracks: its motions, and which places are seen in both.

Tracks are grouped into rigid motions (`controls.motion`); every pixel takes part in the motion of the points next to
it, in the picture and in depth. With depth, what lies on the floor and what stands on it (`controls.floor`) never
follow each other. No colour of the picture counts, so the way can be known before the picture is.
"""

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from longvie.controls import motion
from longvie.controls.floor import floor, outlines
from longvie.controls.passage import Points, passages, passed
from longvie.controls.things import REST, Things
from longvie.controls.things import SKY as SKY_NUMBER

NEAREST = 10  # points that decide which motion a place follows
CELL = 8  # pixels that share the same nearest points
COARSE = 2  # pixels that share a motion
HIDDEN = 0.15  # relative difference in disparity from which on something else was there
FLAT = 0.01  # the same, of the largest disparity
FEW = 3  # points of a group that must be seen for its motion to be known
SKY = 1e-4  # of the largest disparity: infinitely far
ASTRAY = 30.0  # how much farther a point on the floor counts for what stands on it, and the other way round
AT_ONCE = 16  # frames moved in one go: memory then does not depend on how many are asked for


@dataclass(frozen=True)
class _Known:
    """What is the same for some frames: the points of which it is known where they were in the picture."""

    size: tuple[int, int]
    depth: Float[Tensor, "h w"] | None
    before: Float[Tensor, "n 2"]
    disparity: Float[Tensor, " n"] | None
    label: Int[Tensor, " n"]
    rest: int  # label of those that move with no group
    labels: Int[Tensor, "1 h w"]  # of the picture
    floor: Bool[Tensor, "h w"] | None  # of the picture, where depth is known
    lies: Bool[Tensor, " n"] | None  # points on the floor
    outline: Bool[Tensor, "h w"] | None


@dataclass(frozen=True)
class _Sources:
    """Where each pixel was in the picture, and whether it was seen there."""

    places: Float[Tensor, "f h w 2"]
    visible: Bool[Tensor, "f h w"]


@dataclass(frozen=True)
class Named:
    """Things of some frames, told apart by depth.

    Attributes:
        depth: disparity; the largest, but for few, is 1.
        numbers: of the thing at each pixel, `things.FLOOR` where it is none.
        new: numbers that now mean another thing than before.
    """

    depth: Float[Tensor, "f h w"]
    numbers: Int[Tensor, "f h w"]
    new: Bool[Tensor, "f numbers"]


@dataclass(frozen=True)
class Way:
    """Where the pixels of some frames were in the picture.

    Attributes:
        grid: as `grid_sample` takes it.
        visible: seen in the picture too; of a thing, on the thing itself.
        named: where depth is known.
        back: matrices by which the still part of the scene passes to the picture (`controls.passage`), where the tracks
            tell them.
        disparity, flat: of the frames, as it was given, and what lies on the floor; with `back`.
        start: frames from the picture to the first of them; 0 is its own.
    """

    grid: Float[Tensor, "f h w 2"]
    visible: Bool[Tensor, "f h w"]
    named: Named | None
    back: Float[Tensor, "f 4 4"] | None = None
    disparity: Float[Tensor, "f h w"] | None = None
    flat: Bool[Tensor, "f h w"] | None = None
    start: int = 0


class Paths:
    """The way from a picture, some frames at a time; the first of them is the picture's own.

    Args:
        points, seen: x and y in pixels (0 is the left and upper edge), maybe the distance from the camera, and where
            they count; the first frame is the picture's own. A point that is first seen later is followed back by the
            motions of those before it.
        size: height and width of the picture.
        disparity: of any scale and offset; makes the motions of things that are not flat exact, and outlines sharp.
        things: those that were told apart until the picture, of the same disparity.
    """

    def __init__(
        self,
        points: Float[Tensor, "f n xyz"],
        seen: Bool[Tensor, "f n"],
        size: tuple[int, int],
        disparity: Float[Tensor, "f h w"] | None = None,
        things: Things | None = None,
    ) -> None:
        self.size, self.seen, self.at = size, seen, 0
        self.rests = not bool(seen.any())  # nothing tells where anything goes
        points = torch.where(seen[..., None], points, torch.zeros(()).to(points)).float()
        self.points, self._distance = points[..., :2], points[..., 2] if points.shape[-1] == 3 else None
        self._raw = disparity
        self.disparity = self.flat = None
        self._top = 1.0  # disparity that counts as 1
        if disparity is not None and not self.rests:
            top = torch.quantile(disparity[0].flatten()[::7].float(), 0.99).clamp(min=1e-6)
            self.disparity, self._top = disparity.float() / top, float(top)  # the largest, but for few, is 1
            self.flat = floor(self.disparity)
        self._before, self._known = self.points[0].clone(), seen[0].clone()
        self._borders = [0, *_borders(seen)]
        self._live = seen[0]
        self._group: _Known | None = None
        self._last: _Sources | None = None
        self._things = Things() if things is None else things.scaled(1 / self._top)
        self._things.follow(points.shape[1])
        self.first: Named | None = None  # the things of the picture, once any frame was taken

    @cached_property
    def back(self) -> Float[Tensor, "f 4 4"] | None:
        """Matrices by which the still part of the scene passes from frames to the picture, where that can be told."""
        if self.disparity is None or self._raw is None or self.flat is None:
            return None
        near = _between(self._raw.float(), self.points)
        if self._distance is not None:
            known = self.seen & (near > 0) & (self._distance > 0)
            inverse = torch.where(known, 1 / self._distance.clamp(min=1e-6), 0.0)
            near = inverse * (near[known] / inverse[known]).median() if bool(known.any()) else inverse
        height, width = self.size
        still = _at(self.flat.float(), self.points) > 0.5
        return passages(
            Points(self.points - self.points.new_tensor([width / 2, height / 2]), near, self.seen, still, width)
        )

    @property
    def _units(self) -> Float[Tensor, "4 4"]:
        """From disparities of which the largest is 1 to those that were given."""
        return torch.diag(torch.tensor([1.0, 1.0, 1.0, self._top], dtype=torch.float64))

    @property
    def things(self) -> Things:
        """Those that were told apart so far, of the disparity that was given, as the last frame's camera has them."""
        back = None if self.back is None or not self.at else self.back[self.at - 1] @ self._units
        return self._things.seen_from(back).scaled(self._top)

    @property
    def frames(self) -> int:
        """For how many there are points."""
        return len(self.points)

    def take(self, frames: int) -> Iterator[Way]:
        """The next frames, at most as many as there are points for, a few at a time; nothing where all rests."""
        stop = min(self.at + frames, self.frames)
        while self.at < stop and not self.rests:
            if self.at in self._borders:
                self._regroup()
            ends = [border for border in self._borders if border > self.at]
            way = self._way(slice(self.at, min(self.at + AT_ONCE, stop, *ends)))
            self.at += len(way.visible)
            yield way
        self.at = stop

    def copy(self) -> "Paths":
        """The same, which goes its own way from here on."""
        other = copy(self)
        other._before, other._known, other._things = self._before.clone(), self._known.clone(), self._things.copy()
        return other

    def _regroup(self) -> None:
        """Which points move as one from here on, until new ones begin."""
        start = self.at
        stop = min([border for border in self._borders if border > start], default=len(self.points))
        if self._last is not None:
            _follow_back(self._before, self._known, self.points, self.seen, start, self._last)
        self._live = self._known & self.seen[start:stop].any(0)
        spots, shown = self.points[start:stop, self._live], self.seen[start:stop, self._live]
        self._group = _group(self.size, self._before[self._live], spots, shown, self.disparity, self.flat, start)

    def _way(self, span: slice) -> Way:
        assert self._group is not None
        depth = None if self.disparity is None else self.disparity[span]
        flat = None if self.flat is None else self.flat[span]
        back = None if self.back is None else self.back[span]
        shown = self.points[span][:, self._live], self.seen[span][:, self._live]
        last = _sources(self._group, *shown, depth, flat, back)
        self._last, grid = last, _grid(last.places, self.size)
        if depth is None or flat is None:
            return Way(grid, last.visible, None, start=span.start)
        raw = self._raw
        passes = None if back is None else back @ self._units
        numbers, new = self._things.take(depth, flat, self.points[span], self.seen[span], passes)
        self.first = Named(depth[:1], numbers[:1], new[:1]) if self.first is None else self.first
        source = sampled(self.first.numbers[None].float().expand(len(grid), -1, -1, -1), grid, "nearest")[:, 0]
        same, told = source.round() == numbers, (numbers > SKY_NUMBER) & (numbers != REST)
        named, visible = Named(depth, numbers, new), last.visible & (same | ~told)
        if back is None or raw is None:
            return Way(grid, visible, named, start=span.start)
        return Way(grid, visible, named, back, raw[span].float(), flat, span.start)


def _borders(seen: Bool[Tensor, "f n"]) -> list[int]:
    """Frames at which new points begin, more of them than are left of those before."""
    first = torch.where(seen.any(0), seen.byte().argmax(0), len(seen))
    borders: list[int] = []
    for frame, count in enumerate(torch.bincount(first, minlength=len(seen) + 1).tolist()[: len(seen)]):
        left = int((seen[frame] & (first < frame)).sum())
        if frame and count >= max(motion.LEAST, left):
            borders.append(frame)
    return borders


def _follow_back(before: Tensor, known: Tensor, points: Tensor, seen: Tensor, start: int, last: _Sources) -> None:
    """Where new points were in the picture, by what is known of the frame before; those that were not stay unknown."""
    new = (~known & seen[start]).nonzero()[:, 0]
    then = min(start + 1, len(points) - 1)
    moves = torch.where(seen[then, new, None], points[then, new] - points[start, new], 0.0)
    places = torch.where(seen[start - 1, new, None], points[start - 1, new], points[start, new] - moves)
    height, width = last.visible.shape[1:]
    x, y = (places[:, axis].long().clamp(0, side - 1) for axis, side in ((0, width), (1, height)))
    found = last.visible[-1, y, x]
    middle = torch.stack([x, y], dim=-1) + 0.5
    before[new[found]] = (last.places[-1, y, x] + places - middle)[found]
    known[new[found]] = True


def _group(
    size: tuple[int, int],
    before: Tensor,
    points: Tensor,
    seen: Tensor,
    disparity: Tensor | None,
    level: Tensor | None,
    start: int,
) -> _Known:
    height, width = size
    now = here = depth = flat = lies = outline = None
    apart = torch.cdist(before, before).square()
    if disparity is not None:
        depth = disparity[0]
        now = _at(disparity[start : start + len(points)], points)
        here = _at(depth[None], before[None])[0]
        apart = apart * motion.step(here[:, None], here)
        outline = outlines(depth[None])[0]
        if level is not None:
            flat = level[0]
            lies = _at(flat[None].float(), before[None])[0] > 0.5
            apart = apart * (1 + ASTRAY * (lies[:, None] != lies))
    goals, terms = _unit(before, height, width), motion.terms(_unit(points, height, width), now)
    label = motion.groups(terms, goals, seen, apart, motion.TOLERANCE * 2 / width)
    rest = int(label.max()) + 1 if len(label) else 0
    label = torch.where(label < 0, rest, label)
    shown = torch.ones_like(label, dtype=torch.bool)[None]
    labels = _labels(
        before[None],
        shown,
        label,
        rest + 1,
        None if depth is None else depth[None],
        here,
        (height, width),
        None if flat is None else flat[None],
        lies,
    )
    return _Known(size, depth, before, here, label, rest, labels, flat, lies, outline)


def _sources(
    known: _Known,
    points: Tensor,
    seen: Tensor,
    depth: Tensor | None,
    flat: Bool[Tensor, "f h w"] | None,
    back: Float[Tensor, "f 4 4"] | None,
) -> _Sources:
    frames, (height, width) = len(points), known.size
    now = None if depth is None else _at(depth, points)
    terms = motion.terms(_unit(points, height, width), now)
    labels = _labels(points, seen, known.label, known.rest + 1, depth, now, known.size, flat, known.lies)
    places, was = _everywhere(known, terms, seen, labels, depth)
    count = seen & (known.label == known.rest)
    frame, y, x = ((labels == known.rest) & count.any(1)[:, None, None]).nonzero(as_tuple=True)
    if len(frame):
        pixels = torch.stack([x + 0.5, y + 0.5], dim=-1)
        places[frame, y, x] = _drifted(known.before, points, count, frame, pixels)
        was[frame, y, x] = 0 if depth is None else depth[frame, y, x]
    if depth is not None and back is not None:
        places = torch.where((depth <= SKY)[..., None], _afar(back, known.size).to(places), places)
    inside = ((places > 0) & (places < places.new_tensor([width, height]))).all(-1)
    grid = _grid(places, known.size)
    if depth is None or known.depth is None:
        there = sampled(known.labels.float().expand(frames, 1, -1, -1), grid, "nearest")[:, 0]
        return _Sources(places, inside & (there.round() == labels))
    was = torch.where(depth <= SKY, 0.0, was)
    there = sampled(known.depth.expand(frames, 1, -1, -1), grid, "nearest")[:, 0]
    same = (there - was).abs() <= HIDDEN * torch.maximum(there, was) + FLAT
    if known.outline is not None:
        mixed = sampled(known.outline.float().expand(frames, 1, -1, -1), grid, "nearest")[:, 0] > 0.5
        same &= ~mixed | outlines(depth)
    if flat is not None and known.floor is not None:
        same &= (sampled(known.floor.float().expand(frames, 1, -1, -1), grid, "nearest")[:, 0] > 0.5) == flat
    return _Sources(places, inside & same)


def _afar(back: Float[Tensor, "f 4 4"], size: tuple[int, int]) -> Float[Tensor, "f h w 2"]:
    """Where each pixel was, were it infinitely far: no points are there."""
    height, width = size
    centre = torch.tensor([width / 2, height / 2], dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).flatten(0, 1) - centre
    places, near = passed(back, pixels.expand(len(back), -1, -1), torch.zeros(len(back), height * width))
    return torch.where((near < 0)[..., None], -1.0, places + centre).unflatten(1, size)


def _everywhere(
    known: _Known,
    terms: Float[Tensor, "f n k"],
    seen: Bool[Tensor, "f n"],
    labels: Int[Tensor, "f h w"],
    depth: Float[Tensor, "f h w"] | None,
) -> tuple[Float[Tensor, "f h w 2"], Float[Tensor, "f h w"]]:
    """Where each pixel was by its group's motion, and its disparity there; (-1, -1) where that is not known."""
    height, width = known.size
    motions = [motion.Motion.none(*terms.shape[::2])] * (known.rest + 1)
    told = torch.zeros(len(seen), known.rest + 1, dtype=torch.bool, device=seen.device)
    for number in range(known.rest):
        count = seen & (known.label == number)
        told[:, number] = count.sum(1) >= FEW
        if bool(told[:, number].any()):
            motions[number] = _fitted(known, terms, count)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = _unit(torch.stack([x, y], dim=-1).to(terms) + 0.5, height, width)[None]
    maps = pixels[..., 0], pixels[..., 1], *(() if depth is None else (depth,))
    found, near = motion.everywhere(motions, labels, maps)
    there = told.gather(1, labels.flatten(1)).view_as(labels)
    return torch.where(there[..., None], _pixels(found, height, width), -1.0), torch.where(there, near, 0.0)


def _fitted(known: _Known, scaled: Tensor, count: Tensor) -> motion.Motion:
    """A group's motion in each frame."""
    height, width = known.size
    member = count.any(0).nonzero()[:, 0]
    scaled, weight = scaled[:, member], count[:, member].to(scaled)
    goals = _unit(known.before[member], height, width).expand(len(scaled), -1, -1)
    tolerance = 2 * motion.TOLERANCE * 2 / width
    found = motion.robust(scaled, goals, weight, weight, (tolerance, tolerance))
    if known.disparity is None:
        return found
    rows = scaled * weight[..., None]
    ridge = 1e-4 * (1 + weight.sum(1))[:, None, None] * torch.eye(scaled.shape[-1]).to(scaled)
    right = rows.transpose(1, 2) @ (known.disparity[member] * found(scaled)[1])[..., None]
    return replace(found, near=torch.linalg.solve(rows.transpose(1, 2) @ scaled + ridge, right)[..., 0])


def _drifted(
    before: Tensor, points: Tensor, count: Tensor, frame: Tensor, places: Float[Tensor, "m 2"]
) -> Float[Tensor, "m 2"]:
    """Where places were that follow single points: by the mean of the nearest ones' moves."""
    was = places.clone()
    for number in frame.unique().tolist():  # one by one: distances to all points of all frames at once are too many
        here = frame == number
        distance = torch.cdist(places[here], points[number], compute_mode="donot_use_mm_for_euclid_dist")
        distance = distance.masked_fill(~count[number], torch.inf)
        near, index = distance.topk(min(4, points.shape[1]), dim=-1, largest=False)
        weight = 1 / (near + 0.5).square()
        back = (before - points[number])[index]
        was[here] += (weight[..., None] * back).sum(1) / weight.sum(1, keepdim=True).clamp(min=1e-9)
    return was


def _labels(
    points: Float[Tensor, "f n 2"],
    seen: Bool[Tensor, "f n"],
    label: Int[Tensor, " n"],
    count: int,
    depth: Float[Tensor, "f h w"] | None,
    disparity: Tensor | None,
    size: tuple[int, int],
    flat: Bool[Tensor, "f h w"] | None,
    lies: Bool[Tensor, " n"] | None,
) -> Int[Tensor, "f h w"]:
    """The motion that each pixel follows: points vote, the nearer in the picture and in depth the more; those on the
    floor for what lies there, the others for what does not.
    """
    frames, (height, width) = len(points), size
    here = torch.where(seen[..., None], points, torch.full((), -1e4).to(points))
    rows, columns = -(-height // CELL), -(-width // CELL)
    cells = _middles(rows, columns, CELL, points)
    index = torch.cdist(cells.expand(frames, -1, -1), here).topk(min(NEAREST, points.shape[1]), largest=False).indices
    side = CELL // COARSE
    places = _middles(height // COARSE, width // COARSE, COARSE, points).unflatten(0, (height // COARSE, -1))

    def spread(values: Float[Tensor, "f n"] | Int[Tensor, "f n"]) -> Tensor:
        picked = values.gather(1, index.flatten(1)).reshape(frames, rows, columns, -1)
        wide = picked.repeat_interleave(side, 1).repeat_interleave(side, 2)
        return wide[:, : height // COARSE, : width // COARSE]

    far = (spread(here[..., 0]) - places[..., :1]).square() + (spread(here[..., 1]) - places[..., 1:]).square() + 1
    if depth is not None and disparity is not None:
        middle = COARSE // 2
        one = depth[:, middle::COARSE, middle::COARSE][:, : height // COARSE, : width // COARSE, None]
        far = far * motion.step(one, spread(disparity.expand(frames, -1))).square()
        if flat is not None and lies is not None:
            here_flat = flat[:, middle::COARSE, middle::COARSE][:, : height // COARSE, : width // COARSE, None]
            far = far * (1 + ASTRAY * (here_flat != spread(lies.float().expand(frames, -1)).bool()))
    votes = torch.zeros(*far.shape[:3], count).to(far)
    votes.scatter_add_(-1, spread(label.expand(frames, -1)), far.square().reciprocal())
    chosen = votes.argmax(-1).repeat_interleave(COARSE, 1).repeat_interleave(COARSE, 2)
    return functional.pad(chosen[None].float(), (0, width - chosen.shape[2], 0, height - chosen.shape[1]), "replicate")[
        0
    ].long()


def _middles(rows: int, columns: int, step: int, like: Tensor) -> Float[Tensor, "n 2"]:
    y, x = ((torch.arange(n).to(like) + 0.5) * step for n in (rows, columns))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)


def _unit(places: Float[Tensor, "*n 2"], height: int, width: int) -> Float[Tensor, "*n 2"]:
    """From pixels to the half width, from the middle."""
    return (places - places.new_tensor([width / 2, height / 2])) * (2 / width)


def _pixels(places: Float[Tensor, "*n 2"], height: int, width: int) -> Float[Tensor, "*n 2"]:
    return places * (width / 2) + places.new_tensor([width / 2, height / 2])


def _at(maps: Float[Tensor, "f h w"], points: Float[Tensor, "f n 2"]) -> Float[Tensor, "f n"]:
    """Values at points."""
    grid = _grid(points, (maps.shape[1], maps.shape[2]))
    return sampled(maps[:, None].float(), grid[:, None], "nearest")[:, 0, 0]


def _between(maps: Float[Tensor, "f h w"], points: Float[Tensor, "f n 2"]) -> Float[Tensor, "f n"]:
    """Values at points, between pixels too."""
    grid = _grid(points, (maps.shape[1], maps.shape[2]))
    return sampled(maps[:, None], grid[:, None], "bilinear")[:, 0, 0]


def _grid(places: Float[Tensor, "*n 2"], size: tuple[int, int]) -> Float[Tensor, "*n 2"]:
    """From pixels to what `grid_sample` takes."""
    return places / places.new_tensor([size[1], size[0]]) * 2 - 1


def sampled(maps: Float[Tensor, "f c h w"], grid: Float[Tensor, "f y x 2"], mode: str) -> Float[Tensor, "f c y x"]:
    """Maps at the places of a grid; beyond their borders they go on."""
    return functional.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=False)
