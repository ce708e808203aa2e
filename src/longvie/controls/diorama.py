"""A moment's depth as a stage: a camera moves about it, things are dragged across it, and what a still world would then
show comes out as controls, depth and tracks, frame by frame.

Every pixel of the moment becomes a point (a pinhole camera, Hartley & Zisserman §6.1; disparity 0 lies at infinity).
What the moment did not show is guessed: the floor goes on as the plane that it is, above it is sky; without a floor a
hole takes the depth of the farther of its neighbours. Nothing moves by itself; but things turn to the camera the side
that is known of them, as nobody knows the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from longvie.controls.floor import floor
from longvie.controls.signals import LoadReport, check_span
from longvie.controls.things import FLOOR, NUMBERS, REST, SKY, Things
from longvie.controls.trackset import TrackSpan
from longvie.errors import ControlError

RAMP = 1.2  # seconds from rest to the fastest pace
SEEDED = 24  # frames after which new points are begun; each lives twice as long
GRID = (9, 16)  # rows and columns of points
ROUNDS = 64  # of seeding, before numbers of points are used again
HIDDEN = 0.85  # of the disparity shown at a place, below which a point is behind it
APART = 0.1  # relative step of disparity at which two pixels are of different things
INFINITE = 1e4  # distance that stands for no end, in distances of the scene's middle
LARGEST = 8  # pixels on a side that one point covers at most
HELD = 96  # frames of which the picture of depth is kept
VIEW = 50.0  # degrees, up and down
RIGHT, DOWN, AHEAD = np.eye(3)


@dataclass(frozen=True)
class Pace:
    """How a camera moves: turns in degrees a second, travel in distances of the scene's middle a second.

    Attributes:
        pan, tilt, roll: to the right about the floor's normal, upwards, clockwise.
        right, up, forward: as it looks, but level with the floor.

    Raises:
        ControlError: not a number, or too fast to follow.
    """

    pan: int | float = 0.0
    tilt: int | float = 0.0
    roll: int | float = 0.0
    right: int | float = 0.0
    up: int | float = 0.0
    forward: int | float = 0.0

    FASTEST: ClassVar[dict[str, float]] = {
        "pan": 90.0, "tilt": 90.0, "roll": 90.0, "right": 2.0, "up": 2.0, "forward": 2.0,
    }  # fmt: skip

    def __post_init__(self) -> None:
        for name, most in self.FASTEST.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and abs(value) <= most):
                raise ControlError(f"{name} is {value:g} a second: use {-most:g} to {most:g}", code="camera_range")

    @property
    def travels(self) -> bool:
        """Does it need to know how far away things are?"""
        return any((self.right, self.up, self.forward))

    def rates(self) -> Float[np.ndarray, " 6"]:
        """Radians and distances a second, y pointing down."""
        turns = np.radians([self.pan, self.tilt, self.roll])
        return np.array([*turns, self.right, -self.up, self.forward], np.float64)


def read_pace(text: str) -> dict[str, float]:
    """The fields of a pace out of `pan=10, forward=0.2`; `still` is none of them.

    Raises:
        ControlError: it is not written so (`camera_unreadable`).
    """
    found: dict[str, float] = {}
    for part in text.split(",") if text.strip() != "still" else ():
        name, _, number = (it.strip() for it in part.partition("="))
        if name not in Pace.FASTEST:
            raise ControlError(
                f"the camera has no {name[:40]!r}; it knows {', '.join(Pace.FASTEST)}, and still",
                code="camera_unreadable",
            )
        try:
            found[name] = float(number)
        except ValueError:
            raise ControlError(
                f"the camera's {name} is {number[:40]!r}; write {name}=0.2", code="camera_unreadable"
            ) from None
    return found


@dataclass(frozen=True)
class Pull:
    """A thing that is moved by hand, in the plane of the picture, and stays where it was put.

    Attributes:
        at: x and y of a pixel of it, as it is shown when this begins.
        by: pixels to the right and downwards.
        seconds: that it takes.

    Raises:
        ControlError: not numbers, or no time.
    """

    at: tuple[int | float, int | float]
    by: tuple[int | float, int | float]
    seconds: int | float = 1.5

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (*self.at, *self.by, self.seconds)) or self.seconds <= 0:
            raise ControlError(f"a drag by {self.by} in {self.seconds:g} s: use numbers, and more than 0 seconds")


@dataclass(frozen=True)
class _Pulled:
    """A drag of which it is known what is dragged, and where to in the world."""

    start: int
    number: int
    by: Float[np.ndarray, " 3"]
    frames: float


@dataclass(frozen=True)
class _Pose:
    axes: Float[np.ndarray, "3 3"]  # right, down, forward as columns
    eye: Float[np.ndarray, " 3"]


@dataclass(frozen=True, eq=False)
class Diorama:
    """A still world from frame `start` on, of the size of its depth.

    Attributes:
        disparity: of that frame, any scale, 0 is infinitely far.
        fps: frames a second.
        view: degrees that the picture shows from top to bottom.
        paces: from which frame on the camera moves how.
        pulled: what has been dragged, since when, and where to.
        deep: is depth known? If not, `disparity` is zero everywhere, and the camera may turn but not travel.

    Raises:
        ControlError: a view that no camera has.
    """

    disparity: Float[np.ndarray, "h w"]
    start: int
    fps: int | float
    view: int | float = VIEW
    paces: tuple[tuple[int, Pace], ...] = ()
    pulled: tuple[_Pulled, ...] = ()
    deep: bool = True
    _poses: list[_Pose] = field(default_factory=list, repr=False)
    _rates: list[np.ndarray] = field(default_factory=list, repr=False)
    _held: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not 5 <= self.view <= 150:
            raise ControlError(f"the camera sees {self.view:g} degrees: use 5 to 150", code="camera_range")

    # --- changes ------------------------------------------------------------------------------------------------------

    def moving(self, frame: int, pace: Pace) -> "Diorama":
        """The same until a frame; from there on the camera takes up another pace.

        Raises:
            ControlError: it shall travel, and no depth is known.
        """
        if pace.travels and not self.deep:
            raise ControlError(
                "a camera that travels must know how far away things are: give a depth, or only turn it",
                code="camera_needs_depth",
            )
        return self._anew(paces=(*(it for it in self.paces if it[0] < frame), (frame, pace)))

    def dragged(self, frame: int, pull: Pull) -> "Diorama":
        """The same until a frame; from there on something is dragged.

        Raises:
            ControlError: nothing that stands on the floor is there.
        """
        height, width = self.disparity.shape
        before = max(self.start, frame - 1)
        x, y = (math.floor(value) for value in pull.at)
        if not (0 <= x < width and 0 <= y < height):
            raise ControlError(f"({x}, {y}) is outside of {width}×{height}", code="drag_nothing")
        near, numbers = self.shown(before)
        number, disparity = int(numbers[y, x]), float(near[y, x])
        if number in (FLOOR, SKY, REST) or disparity <= 0:
            raise ControlError(f"nothing that could be dragged is at ({x}, {y})", code="drag_nothing")
        by = self._pose(before).axes @ np.array([*np.array(pull.by) / self._focal, 0.0]) / disparity
        mine = _Pulled(frame, number, by, pull.seconds * self.fps)
        return self._anew(pulled=(*(it for it in self.pulled if it.start < frame), mine))

    def _anew(self, **changes: Any) -> "Diorama":
        return replace(self, **changes, _poses=[], _rates=[], _held={})

    # --- the moment, once ---------------------------------------------------------------------------------------------

    @property
    def unit(self) -> float:
        """Disparity of the scene's middle."""
        near = self.disparity[self.disparity > 0]
        return float(np.median(near)) if near.size else 1.0

    @property
    def _focal(self) -> float:
        return self.disparity.shape[0] / 2 / math.tan(math.radians(self.view) / 2)

    @property
    def _moment(self) -> "_Moment":
        return _moment(self)

    # --- a frame ------------------------------------------------------------------------------------------------------

    def shown(self, frame: int) -> tuple[Float[np.ndarray, "h w"], Int[np.ndarray, "h w"]]:
        """Disparity, 1 in the middle of the scene, and the number of the thing at each pixel."""
        frame = max(frame, self.start)
        if frame not in self._held:
            while len(self._held) >= HELD:
                self._held.pop(next(iter(self._held)))
            self._held[frame] = self._drawn(frame)
        return self._held[frame]

    def _drawn(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        height, width = self.disparity.shape
        moment, pose = self._moment, self._pose(frame)
        places, near = self._projected(moment.rays, moment.near, moment.numbers, frame)
        finer = 2 - 0.6 * (_index(moment.numbers) < NUMBERS)  # points a pixel; fewer on things, which slant
        grown = (near / moment.near.clamp(min=1e-6) / finer).ceil().clamp(1, LARGEST)  # pixels that each now covers
        shown, named = _splatted(places, near, moment.numbers, grown, (height, width))
        for _ in range(2):
            shown, named = _closed(shown, named)
        behind = self._behind(shown, pose)
        known = (shown >= 0) if moment.plane is None else (shown >= 0) & (named != FLOOR)
        named = torch.where(shown >= 0, named, torch.where(behind > 0, FLOOR, SKY))
        return torch.where(known, shown, behind).numpy(), named.numpy()

    def _behind(self, shown: Float[Tensor, "h w"], pose: _Pose) -> Float[Tensor, "h w"]:
        """What is where nothing of the moment is seen."""
        plane = self._moment.plane
        if plane is None:
            return _farther(shown)
        rays = _rays(self.disparity.shape, self._focal).double()
        above = 1 - float(plane @ pose.eye)  # how high the camera stands over the plane, 1 at first
        return ((rays @ torch.from_numpy(pose.axes.T @ plane)) / max(above, 0.05)).clamp(min=0).float()

    def _projected(
        self, rays: Float[Tensor, "n 3"], near: Float[Tensor, " n"], numbers: Int[Tensor, " n"], frame: int
    ) -> tuple[Float[Tensor, "n 2"], Float[Tensor, " n"]]:
        """Where points are in a frame, in pixels, and their disparity; -1 behind the camera."""
        pose, (height, width) = self._pose(frame), self.disparity.shape
        turns, shifts = self._laid(frame)
        index = _index(numbers)
        world = (turns[index] @ rays[:, :, None])[:, :, 0] + near[:, None] * shifts[index]
        eye, axes = torch.from_numpy(pose.eye).float(), torch.from_numpy(pose.axes).float()
        now = (world - near[:, None] * eye) @ axes
        before = (now[:, 2] > 1e-3) & (near >= 0)
        depth = now[:, 2].clamp(min=1e-3)
        places = self._focal * now[:, :2] / depth[:, None] + torch.tensor([width / 2, height / 2])
        return places, torch.where(before, near / depth, -1.0)

    def _laid(self, frame: int) -> tuple[Float[Tensor, "numbers 3 3"], Float[Tensor, "numbers 3"]]:
        """How things lie in a frame: a turn and a shift for each number, the last for all that lies still. A thing that
        was dragged is elsewhere; and it shows the camera the side that is known of it, turned about its own upright.
        """
        pose, moment = self._pose(frame), self._moment
        turns, shifts = np.tile(np.eye(3), (NUMBERS + 1, 1, 1)), np.zeros((NUMBERS + 1, 3))
        for one in self.pulled:
            share = min(1.0, max(0.0, (frame - one.start + 1) / one.frames))
            shifts[one.number] += one.by * share * share * (3 - 2 * share)
        for number, centre in moment.centres.items():
            was, now = (it - moment.down * (it @ moment.down) for it in (centre, centre + shifts[number] - pose.eye))
            turns[number] = _about(moment.down, math.atan2(np.cross(was, now) @ moment.down, was @ now))
            shifts[number] += centre - turns[number] @ centre
        return torch.from_numpy(turns).float(), torch.from_numpy(shifts).float()

    def _pose(self, frame: int) -> _Pose:
        """The camera, by summing its paces from the moment on."""
        if not self._poses:
            self._poses.append(_Pose(np.eye(3), np.zeros(3)))
            self._rates.append(np.zeros(6))
        while len(self._poses) <= frame - self.start:
            at = self.start + len(self._poses)
            wanted = next((pace.rates() for begins, pace in reversed(self.paces) if begins <= at), np.zeros(6))
            most = _steepest(self.fps)
            rates = self._rates[-1] + np.clip(wanted - self._rates[-1], -most, most)
            before, down = self._poses[-1], self._moment.down
            pan, *others = rates[:3] / self.fps
            axes = _about(down, pan) @ before.axes @ _about(RIGHT, others[0]) @ _about(AHEAD, others[1])
            ahead = np.cross(axes[:, 0], down)  # level, as the floor is
            level = np.stack([axes[:, 0], down, ahead / max(1e-6, float(np.linalg.norm(ahead)))], axis=1)
            self._poses.append(_Pose(axes, before.eye + level @ rates[3:] / self.fps))
            self._rates.append(rates)
        return self._poses[max(0, frame - self.start)]

    # --- points -------------------------------------------------------------------------------------------------------

    def seeds(self, round: int) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"], Int[Tensor, " n"]]:
        """Points that are begun together, on a grid over the picture: rays and disparities as the moment has them, and
        things.
        """
        frame, (height, width) = self.start + round * SEEDED, self.disparity.shape
        y, x = grid(height, width)
        near, numbers = (torch.from_numpy(it[y, x]) for it in self.shown(frame))
        pose = self._pose(frame)
        local = _rays(self.disparity.shape, self._focal)[y, x]
        world = local @ torch.from_numpy(pose.axes.T).float() + near[:, None] * torch.from_numpy(pose.eye).float()
        turns, shifts = (it[_index(numbers)] for it in self._laid(frame))
        back = (turns.transpose(1, 2) @ (world - near[:, None] * shifts)[:, :, None])[:, :, 0]
        return back, near, numbers

    def points(self, start: int, stop: int) -> TrackSpan:
        """All points that live in some frames, and where they are seen."""
        height, width = self.disparity.shape
        count = GRID[0] * GRID[1]
        rounds = range(max(0, (start - self.start) // SEEDED - 1), max(0, (stop - 1 - self.start) // SEEDED) + 1)
        points = np.zeros((stop - start, len(rounds) * count, 3), np.float32)
        seen = np.zeros(points.shape[:2], bool)
        for k, round in enumerate(rounds):
            rays, near, numbers = self.seeds(round)
            for frame in range(start, stop):
                age = frame - self.start - round * SEEDED
                if not 0 <= age < 2 * SEEDED:
                    continue
                places, now = self._projected(rays, near, numbers, frame)
                inside = (now >= 0) & (places >= 0).all(1) & (places < torch.tensor([width, height])).all(1)
                x, y = places.floor().long().clamp(min=0).unbind(-1)
                shown = torch.from_numpy(self.shown(frame)[0])[y.clamp(max=height - 1), x.clamp(max=width - 1)]
                part = slice(k * count, (k + 1) * count)
                seen[frame - start, part] = (inside & (now >= HIDDEN * shown)).numpy()
                points[frame - start, part, :2] = places.clamp(-1e4, 1e4).numpy()
                points[frame - start, part, 2] = (1 / now.clamp(min=1 / INFINITE)).numpy()
        ids = np.concatenate([np.arange(count) + count * (round % ROUNDS) for round in rounds])
        order = np.argsort(ids)
        return TrackSpan(points[:, order], seen[:, order], ids[order], (height, width))

    def facts(self) -> dict[str, Any]:
        """What it was made of beside its depth, as JSON."""
        return {
            "start": self.start,
            "view": self.view,
            "paces": [[frame, *map(float, pace.rates())] for frame, pace in self.paces],
            "pulled": [[one.start, one.number, *map(float, one.by), one.frames] for one in self.pulled],
        }


@dataclass(frozen=True)
class _Moment:
    """The frame that a diorama begins with, every pixel four times."""

    rays: Float[Tensor, "n 3"]
    near: Float[Tensor, " n"]  # disparity, 1 in the middle
    numbers: Int[Tensor, " n"]
    centres: dict[int, Float[np.ndarray, " 3"]]  # of things
    plane: Float[np.ndarray, " 3"] | None  # of the floor: its product with a ray is the disparity there

    @property
    def down(self) -> Float[np.ndarray, " 3"]:
        """Where things fall: onto the floor, else downwards in the picture."""
        return DOWN if self.plane is None else self.plane / np.linalg.norm(self.plane)


@lru_cache(maxsize=4)
def _moment_of(disparity: bytes, size: tuple[int, int], unit: float, focal: float) -> _Moment:
    near = torch.from_numpy(np.frombuffer(disparity, np.float32).reshape(size).copy()) / unit
    flat = floor(near[None] / near.max().clamp(min=1e-6))[0]
    numbers, _ = Things().take(near[None] / near.max().clamp(min=1e-6), flat[None])
    rays, centres, plane = _rays(size, focal), dict[int, np.ndarray](), None
    fine, wide = _finer(near), numbers[0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    finest = _rays((2 * size[0], 2 * size[1]), 2 * focal)
    if bool(flat.any()):
        plane = torch.linalg.lstsq(rays[flat].double(), near[flat].double()[:, None]).solution[:, 0].numpy()
        exact = (finest.double() @ torch.from_numpy(plane)).clamp(min=0).float()
        fine = torch.where(wide == FLOOR, exact, fine)  # pixels at the edge of things would rise above it
    for number in set(numbers.unique().tolist()) - {FLOOR, SKY, REST}:
        mine = (numbers[0] == number) & (near > 0)
        centres[number] = (rays[mine] / near[mine][:, None]).double().mean(0).numpy()
    fine = torch.where(wide == REST, -1.0, fine)  # crumbs of outlines, neither floor nor thing
    return _Moment(finest.flatten(0, 1), fine.flatten(), wide.flatten(), centres, plane)


def _moment(diorama: Diorama) -> _Moment:
    values = np.ascontiguousarray(diorama.disparity, np.float32)
    return _moment_of(values.tobytes(), values.shape, diorama.unit, diorama._focal)


def _index(numbers: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Rows of `Diorama._laid`: what is no thing lies still."""
    return torch.where((numbers > SKY) & (numbers < REST), numbers, NUMBERS)


def grid(height: int, width: int) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Rows and columns of the pixels at which points begin."""
    rows, columns = GRID
    y = ((np.arange(rows) + 0.5) * height / rows).astype(np.int64)
    x = ((np.arange(columns) + 0.5) * width / columns).astype(np.int64)
    return np.repeat(y, columns), np.tile(x, rows)


def _rays(size: Sequence[int], focal: float) -> Float[Tensor, "h w 3"]:
    """The direction of each pixel's middle: right, down, 1."""
    height, width = size
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([(x - width / 2) / focal, (y - height / 2) / focal, torch.ones_like(x)], dim=-1)


def _finer(near: Float[Tensor, "h w"]) -> Float[Tensor, "h2 w2"]:
    """Disparity at twice the size: between neighbours of one surface halfway, else that of the pixel itself."""
    wide = functional.interpolate(near[None, None], scale_factor=2, mode="bilinear", align_corners=False)[0, 0]
    own = near.repeat_interleave(2, 0).repeat_interleave(2, 1)
    return torch.where((wide - own).abs() <= APART * own, wide, own)


def _splatted(
    places: Float[Tensor, "n 2"],
    near: Float[Tensor, " n"],
    numbers: Int[Tensor, " n"],
    grown: Float[Tensor, " n"],
    size: tuple[int, int],
) -> tuple[Float[Tensor, "h w"], Int[Tensor, "h w"]]:
    """The nearest point at each pixel, -1 where there is none, and its number; a point covers `grown` pixels a side."""
    height, width = size
    wide = torch.tensor([width, height]) + LARGEST
    met = ((near >= 0) & (places > -LARGEST).all(1) & (places < wide).all(1)).nonzero()[:, 0]
    places, near, numbers, grown = places[met], near[met], numbers[met], grown[met]
    cells, which = [met[:0]], [met[:0]]
    for reach in range(int(grown.max()) if len(met) else 0):
        large = (grown > reach).nonzero()[:, 0]
        corners = places[large] - (grown[large, None] - 1) / 2
        for step in [(reach, other) for other in range(reach)] + [(other, reach) for other in range(reach + 1)]:
            x, y = (corners + torch.tensor(step)).floor().long().unbind(-1)
            counts = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            cells.append((y * width + x)[counts])
            which.append(large[counts])
    cell, which = torch.cat(cells), torch.cat(which)
    near, numbers = near[which], numbers[which]
    shown = torch.full((height * width,), -1.0).scatter_reduce_(0, cell, near, "amax")
    won = near >= shown[cell]
    named = torch.full((height * width,), FLOOR).scatter_reduce_(0, cell[won], numbers[won], "amax")
    return shown.view(size), named.view(size)


def _closed(shown: Float[Tensor, "h w"], named: Int[Tensor, "h w"]) -> tuple[Tensor, Tensor]:
    """Single gaps between points take the nearest of their neighbours, if most of these are there."""
    around = functional.unfold(functional.pad(shown[None, None], (1, 1, 1, 1), "replicate"), 3)[0]  # (9, h·w)
    names = functional.unfold(functional.pad(named[None, None].float(), (1, 1, 1, 1), "replicate"), 3)[0]
    best, place = around.max(0)
    gap = (shown < 0) & ((around >= 0).sum(0).view_as(shown) >= 5)
    name = names.gather(0, place[None])[0].long().view_as(named)
    return torch.where(gap, best.view_as(shown), shown), torch.where(gap, name, named)


def _farther(shown: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Each hole by the farther of the two ends of its row; a row without any, by the row next to it."""
    values = shown.clone()
    height, width = values.shape
    known = values >= 0
    x = torch.arange(width)
    left = torch.where(known, x, -1).cummax(1).values
    right = torch.where(known, x, width).flip(1).cummin(1).values.flip(1)
    ends = [
        torch.where(ok, values.gather(1, at.clamp(0, width - 1)), torch.inf)
        for at, ok in ((left, left >= 0), (right, right < width))
    ]
    filled = torch.minimum(*ends)
    some = known.any(1)
    if not bool(some.any()):
        return torch.zeros_like(values)
    rows = some.nonzero()[:, 0]
    nearest = rows[(torch.arange(height)[:, None] - rows).abs().argmin(1)]
    return filled[nearest]


def _about(axis: Float[np.ndarray, " 3"], angle: float) -> Float[np.ndarray, "3 3"]:
    """A turn about an axis (Rodrigues): by a small angle from its next axis towards the one after."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross


def _steepest(fps: int | float) -> Float[np.ndarray, " 6"]:
    """How much rates may change from one frame to the next."""
    return np.abs(Pace(**Pace.FASTEST).rates()) / (RAMP * fps)


@dataclass(frozen=True)
class _Played:
    """What both signals of a diorama share."""

    diorama: Diorama
    frames: int

    @property
    def fps(self) -> int | float:
        return self.diorama.fps

    @property
    def height(self) -> int:
        return int(self.diorama.disparity.shape[0])

    @property
    def width(self) -> int:
        return int(self.diorama.disparity.shape[1])


@dataclass(frozen=True)
class DioramaDepth(_Played):
    """Disparity of every frame, in the unit of the depth that it came from."""

    @property
    def report(self) -> LoadReport:
        return LoadReport("depth", "disparity", self.frames, self.fps, self.height, self.width)

    def read(self, start: int, stop: int) -> Float[np.ndarray, "f h w"]:
        check_span(self, start, stop)
        return np.stack([self.diorama.shown(frame)[0] for frame in range(start, stop)]) * np.float32(self.diorama.unit)


@dataclass(frozen=True)
class DioramaTracks(_Played):
    """Points of every frame."""

    @property
    def report(self) -> LoadReport:
        return LoadReport("tracks", "points", self.frames, self.fps, self.height, self.width)

    def read(self, start: int, stop: int) -> TrackSpan:
        check_span(self, start, stop)
        return self.diorama.points(start, stop)
