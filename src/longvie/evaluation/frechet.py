"""How far a set of videos is from another: Fréchet distance and polynomial MMD of window features, with intervals.

Sources: Heusel et al. 2017 (arXiv 1706.08500) for the distance, Unterthiner et al. 2018 (arXiv 1812.01717) for its use
on video (FVD), Bińkowski et al. 2018 (arXiv 1801.01401) for the MMD and its kernel. Windows of 5 s, 30 s and 2 min are
our reading of "FVD at 5 s, 30 s, 2 min": no public definition was found. A number is called FVD only where the features
are those of I3D (Kinetics-400, 400-d), and then the port of it must be named; two are in use.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.evaluation.metric import Gathered

WINDOWS = (5.0, 30.0, 120.0)  # seconds
LOOKS = 16  # frames of a window
SIDE = 224  # of I3D's pictures
RESAMPLES = 1000
LEVEL = 0.95

Rows = tuple[Int[Tensor, " n"], Int[Tensor, " m"]]  # of both sides
Extractor = Callable[[Tensor], Tensor]  # a window (1 3 16 side side) in [-1, 1] → features (1 d)


@dataclass(frozen=True)
class Interval:
    """A distance and its bootstrap interval."""

    number: float
    low: float
    high: float


@dataclass(frozen=True)
class Distances:
    """Two sets of windows, compared.

    Attributes:
        notes: what a reader must know to judge the numbers, such as too few windows for so many dimensions.
    """

    frechet: Interval
    mmd: Interval
    made: int  # windows
    truth: int
    dimensions: int
    notes: tuple[str, ...]


def frechet_distance(made: Float[Tensor, "n d"], truth: Float[Tensor, "m e"]) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 √(Σ₁Σ₂)), covariances over n − 1.

    With A and B the centred features over √(n − 1), Σ₁ = AᵀA and Σ₂ = BᵀB, and the trace of the root is the sum of the
    singular values of A Bᵀ. So no root of a matrix is taken: where covariances have no full rank, which is the rule
    with few windows, rounding noise of 1e-16 would come out of a root as 1e-8, once for each dimension.

    Raises:
        InputError: fewer than 2 windows on a side, or features that are not finite.
        ShapeError: features of different width.
    """
    made, truth = _checked(made, truth)
    return _frechet(made, truth)


def polynomial_mmd(made: Float[Tensor, "n d"], truth: Float[Tensor, "m e"], degree: int = 3) -> float:
    """Squared maximum mean discrepancy, unbiased, kernel (x·y / d + 1)^degree. Below 0 by chance where sets are alike.

    Raises:
        InputError: fewer than 2 windows on a side, or features that are not finite.
        ShapeError: features of different width.
    """
    made, truth = _checked(made, truth)
    return _mmd(_kernels(made, truth, degree), torch.arange(len(made)), torch.arange(len(truth)))


def compare(
    made: Float[Tensor, "n d"],
    truth: Float[Tensor, "m e"],
    *,
    videos: Rows | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Distances:
    """Both distances with bootstrap 95 % intervals.

    Videos are drawn anew, with replacement, each with all of its windows and those of its truth: windows of one video
    overlap and are alike, so to draw them one by one would promise too much. Where it is not known of which video a
    window is, or all are of one, windows of both sides are drawn independently, and the interval is a lower bound of
    the uncertainty. The same seed gives the same interval, in whatever order windows or videos came. Drawing with
    replacement repeats windows, which lowers the rank of the covariances and raises every distance: the interval is
    that of the resamples, shifted by the difference of their mean to the distance; the Fréchet distance's ends at 0.

    Args:
        videos: the number of its video for each window; a video and its truth have the same.

    Raises:
        InputError: fewer than 2 windows on a side, or features that are not finite.
        ShapeError: features of different width.
        ConfigError: fewer than 2 resamples.
    """
    if resamples < 2:
        raise ConfigError(f"an interval needs at least 2 resamples, not {resamples}")
    made, truth = _checked(made, truth)
    orders = _order(made), _order(truth)
    made, truth = made[orders[0]], truth[orders[1]]
    kernels = _kernels(made, truth)
    source = torch.Generator().manual_seed(seed)
    if videos is None or len(videos[0].unique()) < 2:
        drawn = [(_draw(len(made), source), _draw(len(truth), source)) for _ in range(resamples)]
    else:
        drawn = _drawn_whole((videos[0][orders[0]], videos[1][orders[1]]), resamples, source)
    everything = torch.arange(len(made)), torch.arange(len(truth))
    return Distances(
        frechet=_interval(_frechet(made, truth), [_frechet(made[a], truth[b]) for a, b in drawn], floor=0.0),
        mmd=_interval(_mmd(kernels, *everything), [_mmd(kernels, a, b) for a, b in drawn], floor=-math.inf),
        made=len(made),
        truth=len(truth),
        dimensions=made.shape[1],
        notes=_notes(len(made), len(truth), made.shape[1]),
    )


def videos_of(rows: Sequence[Gathered]) -> Rows:
    """For each window of what was gathered from some videos, the number of its video; of the truths' windows too."""
    made, truth = ([len(getattr(row, side)) for row in rows] for side in ("made", "truth"))
    numbers = torch.arange(len(rows))
    return numbers.repeat_interleave(torch.tensor(made)), numbers.repeat_interleave(torch.tensor(truth))


# Windows.


def windows(frames: int, fps: float, seconds: float, looks: int = LOOKS) -> tuple[tuple[int, ...], ...]:
    """Frame numbers of every whole window: `looks` frames in the middles of equal parts, hop half a window.

    Starts are rounded from seconds, not added up, so that no error grows with the video.

    Raises:
        ConfigError: fps or seconds are not positive, or a window has fewer than `looks` frames.
    """
    if not (math.isfinite(fps * seconds) and fps > 0 and seconds > 0):
        raise ConfigError(f"fps and seconds must be positive, not {fps} and {seconds}")
    length = _rounded(seconds * fps)
    if length < looks:
        raise ConfigError(f"{seconds} s at {fps} frames per second are {length} frames; {looks} are looked at")
    inside = [(2 * number + 1) * length // (2 * looks) for number in range(looks)]
    found: list[tuple[int, ...]] = []
    while (start := _rounded(len(found) * seconds * fps / 2)) + length <= frames:
        found.append(tuple(start + at for at in inside))
    return tuple(found)


def i3d_input(frames: Float[Tensor, "n 3 h w"], side: int = SIDE) -> Float[Tensor, "n 3 side side"]:
    """From [0, 255] to [-1, 1], bilinear to a square, without antialiasing; the shape of the picture is not kept."""
    resized = functional.interpolate(frames, size=(side, side), mode="bilinear", align_corners=False, antialias=False)
    return resized / 127.5 - 1


class WindowFeatures:
    """The features of a video's windows, of one length. Frames are kept while an open window needs them: 24 at most."""

    def __init__(self, extract: Extractor, frames: int, fps: float, seconds: float, side: int = SIDE) -> None:
        self.extract, self.side = extract, side
        self.frames, self.number = frames, 0
        self.waiting = deque(windows(frames, fps, seconds))
        self.wanted = frozenset(number for window in self.waiting for number in window)
        self.held: dict[int, Tensor] = {}  # (3, side, side) by frame number
        self.found: list[Tensor] = []  # (1, d)

    def see(self, frames: Float[Tensor, "n 3 h w"]) -> None:
        """The next frames, RGB from 0 to 255."""
        for frame in frames:
            if self.number in self.wanted:
                self.held[self.number] = i3d_input(frame[None], self.side)[0]
            while self.waiting and self.waiting[0][-1] == self.number:
                self._close(self.waiting.popleft())
            self.number += 1

    def _close(self, window: tuple[int, ...]) -> None:
        self.found.append(self.extract(torch.stack([self.held[at] for at in window], dim=1)[None]))
        oldest = self.waiting[0][0] if self.waiting else self.number + 1
        self.held = {at: frame for at, frame in self.held.items() if at >= oldest}

    def features(self) -> Float[Tensor, "n d"]:
        """Of all windows, in order.

        Raises:
            InputError: another number of frames came than was announced, or no window fits the video.
        """
        if self.number != self.frames:
            raise InputError(f"{self.frames} frames were announced, {self.number} came")
        if not self.found:
            raise InputError(f"a video of {self.frames} frames is shorter than one window")
        return torch.cat(self.found)


def _frechet(made: Float[Tensor, "n d"], truth: Float[Tensor, "m d"]) -> float:
    shift = (made.mean(0) - truth.mean(0)).square().sum()
    a, b = (_compact((side - side.mean(0)) / math.sqrt(len(side) - 1)) for side in (made, truth))
    root = torch.linalg.svdvals(a @ b.T).sum()
    return max(0.0, float(shift + a.square().sum() + b.square().sum() - 2 * root))


def _compact(rows: Float[Tensor, "n d"]) -> Float[Tensor, "k d"]:
    """At most d rows with the same RᵀR."""
    return torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows


Kernels = tuple[Float[Tensor, "n n"], Float[Tensor, "m m"], Float[Tensor, "n m"]]


def _kernels(made: Float[Tensor, "n d"], truth: Float[Tensor, "m d"], degree: int = 3) -> Kernels:
    """Within the made, within the true, between both."""
    width = made.shape[1]
    pairs = ((made, made), (truth, truth), (made, truth))
    within_made, within_truth, between = (((x @ y.T) / width + 1) ** degree for x, y in pairs)
    return within_made, within_truth, between


def _mmd(kernels: Kernels, a: Int[Tensor, " n"], b: Int[Tensor, " m"]) -> float:
    """Of the windows a and b; pairs of one drawn window with itself are left out."""
    made, truth, between = kernels
    inside = [(side.sum() - side.trace()) / (len(side) * (len(side) - 1)) for side in (made[a][:, a], truth[b][:, b])]
    return float(inside[0] + inside[1] - 2 * between[a][:, b].mean())


def _draw(count: int, source: torch.Generator) -> Int[Tensor, " n"]:
    return torch.randint(count, (count,), generator=source)


def _drawn_whole(videos: Rows, resamples: int, source: torch.Generator) -> list[Rows]:
    """Rows of both sides, video by video: as many videos as there are, with replacement."""
    numbers = list(dict.fromkeys(torch.cat(videos).tolist()))  # by their first rows, so not by who counted them
    rows = {number: [(side == number).nonzero()[:, 0] for side in videos] for number in numbers}
    found: list[Rows] = []
    while len(found) < resamples:
        picked = [rows[numbers[at]] for at in _draw(len(numbers), source).tolist()]
        a, b = (torch.cat([side[at] for side in picked]) for at in range(2))
        if min(len(a), len(b)) > 1:  # a covariance needs two
            found.append((a, b))
    return found


def _order(features: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
    """Rows sorted, first column first: what is drawn then does not depend on the order in which windows came."""
    return torch.tensor(sorted(range(len(features)), key=lambda row: features[row].tolist()))


def _interval(number: float, resampled: list[float], floor: float) -> Interval:
    values = torch.tensor(resampled, dtype=torch.float64)
    ends = torch.quantile(values, torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64))
    low, high = (ends - values.mean() + number).tolist()
    return Interval(number, max(floor, low), max(floor, high))


def _notes(made: int, truth: int, width: int) -> tuple[str, ...]:
    if min(made, truth) > width:
        return ()
    return (
        f"{width}-d features need more than {width} windows on each side for covariances of full rank; there are "
        f"{made} and {truth}. The distance is too large by an amount that depends on these counts: compare it only "
        "with others over the same counts, and look at the MMD, which has no such bias",
    )


def _checked(made: Tensor, truth: Tensor) -> tuple[Float[Tensor, "n d"], Float[Tensor, "m d"]]:
    if made.shape[1] != truth.shape[1]:
        raise ShapeError(f"features of {made.shape[1]} and {truth.shape[1]} numbers cannot be compared")
    if min(len(made), len(truth)) < 2:
        raise InputError(f"{len(made)} and {len(truth)} windows came; a covariance needs at least 2 on each side")
    if not (torch.isfinite(made).all() and torch.isfinite(truth).all()):
        raise InputError("features that are not finite cannot be compared")
    return made.double(), truth.double()


def _rounded(number: float) -> int:
    """Halves up; `round` would send 2.5 and 3.5 to 2 and 4, and windows to uneven places."""
    return math.floor(number + 0.5)
