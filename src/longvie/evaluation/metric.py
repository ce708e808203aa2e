"""What a metric is, and what it sees.

A family is a file that measures one thing about a video in one pass and gives one or more numbers. It is opened on what
is known of a video as a whole, is shown every moment once, in order, and then says its values: so memory does not grow
with the video, and any number of families share one pass. What several of them need of a moment (grey, Lab, flow) is
computed once, where it is first asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import local
from typing import Literal, Protocol

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from longvie.errors import InputError
from longvie.evaluation import colour

Tier = Literal["W0", "W1", "W2"]  # no weights; small ones of ours; official ones, if the user has them
Better = Literal["higher", "lower", "neither"]
Need = Literal["truth", "depth", "poses", "labels", "tracks", "borders", "events", "beats", "prompts", "log"]

WORKING = 128  # pixels: height of the copies that colours and flow are measured on, at most


@dataclass(frozen=True)
class Weights:
    """A file that a metric needs, and how to know that it is the right one."""

    file: str  # its usual name
    sha256: str  # of the whole file; empty where no official hash is known, then none is checked
    licence: str
    source: str  # where to get it: said to the user, never fetched


@dataclass(frozen=True)
class Metric:
    """One number about a video; or, where it has `combine`, about a set of videos."""

    name: str  # family.what, such as drift.colour
    version: int  # grows with every change that can change a value
    title: str  # for people, a few words
    formula: str  # exactly, in a line or two
    unit: str  # "" where there is none
    better: Better
    range: tuple[float, float]
    needs: frozenset[Need] = frozenset()
    tier: Tier = "W0"
    weights: tuple[Weights, ...] = ()
    sees: tuple[str, ...] = ()  # faults (evaluation.faults) that it must follow monotonically
    ignores: tuple[str, ...] = ()  # faults that must hardly move it
    combine: "Callable[[Sequence[Gathered]], Value | Refused] | None" = None  # distances of distributions


@dataclass(frozen=True)
class Value:
    """What came out, with enough to judge it.

    Attributes:
        number: never NaN; what cannot be measured is refused (`Refused`).
        n: how many samples (frames, pairs, windows, borders) it is the mean of.
        windows: (first second, number) of parts of the video, where the metric has parts.
        curve: the numbers behind it by what they depend on (a lag in seconds, a limit in pixels).
        interval: 95 %, where the metric has its own (of a distance of sets; means over videos get theirs later).
    """

    number: float
    n: int
    windows: tuple[tuple[float, float], ...] = ()
    curve: tuple[tuple[float, float], ...] = ()
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not np.isfinite(self.number):
            raise InputError(f"a metric gave {self.number}: what cannot be measured must be refused")


@dataclass(frozen=True, eq=False)
class Gathered:
    """What a metric about a set of videos takes from one of them: a row of features for each window."""

    made: Float[np.ndarray, "n d"]
    truth: Float[np.ndarray, "m d"]


Found = Value | Gathered


@dataclass(frozen=True)
class Refused:
    """Why there is no number: too short, nothing moves, no weights."""

    reason: str


class Probe(Protocol):
    """A family at work on one video."""

    def see(self, moment: "Moment") -> None:
        """The next moment; they come in order, each once."""

    def values(self) -> "Mapping[str, Found | Refused]":
        """By the metrics' names, all of the family's; `Gathered` for metrics about sets."""
        ...


@dataclass(frozen=True)
class Family:
    """What one file under `evaluation/families` offers."""

    name: str
    metrics: tuple[Metric, ...]
    open: Callable[["Facts"], Probe]


@dataclass(frozen=True)
class Event:
    """Something that was asked for while the video ran."""

    time: float  # seconds of video at which it should be seen
    words: str
    asked: float | None = None  # seconds of the wall clock, where a run recorded them
    shown: float | None = None


@dataclass(frozen=True)
class Facts:
    """What is known of a video as a whole. What is not known is empty, and families that need it are refused.

    Attributes:
        frames: how many moments will come.
        borders: first frames of the clips but the first.
        focal: of the commanded camera, in pixels of the video.
        tracks: (f, n, 3) x, y in pixels of the video and depth in metres, with `visible`.
        beats: seconds.
        spent: seconds of the wall clock from the request to the last frame in its file.
        weights: official files that were found, by their names.
        compat: where papers are silent, do as the published programs do (`evaluation.vbench`).
    """

    fps: float
    frames: int
    size: tuple[int, int]  # height, width
    borders: tuple[int, ...] = ()
    events: tuple[Event, ...] = ()
    beats: tuple[float, ...] = ()
    prompts: tuple[tuple[float, str], ...] = ()
    focal: float | None = None
    tracks: Float[np.ndarray, "f n 3"] | None = None
    visible: Bool[np.ndarray, "f n"] | None = None
    spent: float | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    compat: bool = False
    known: frozenset[Need] = frozenset()

    def missing(self, metric: Metric) -> tuple[Need, ...]:
        """What the metric needs and is not there."""
        return tuple(sorted(metric.needs - self.known))


@dataclass(frozen=True, eq=False)
class Moment:
    """A frame of the video, and what is known of that moment. What is derived is computed when it is first asked for.

    `before` is the moment before it, whose own `before` is gone: two are in memory at a time.
    """

    number: int
    time: float  # seconds
    picture: UInt8[np.ndarray, "h w 3"]
    truth: UInt8[np.ndarray, "h w 3"] | None = None
    depth: Float[np.ndarray, "h w"] | None = None  # metres; inf is sky
    labels: Int[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"] | None = None
    pose: Float[np.ndarray, "4 4"] | None = None  # camera to world
    before: "Moment | None" = None

    @cached_property
    def grey(self) -> UInt8[np.ndarray, "h w"]:
        """As ITU-R BT.601 weighs the colours."""
        return cv2.cvtColor(self.picture, cv2.COLOR_RGB2GRAY)

    @cached_property
    def small(self) -> UInt8[np.ndarray, "y x 3"]:
        """The picture at the size to work at, `WORKING` pixels high at most; every pixel is a mean."""
        height, width = self.picture.shape[:2]
        if height <= WORKING:
            return self.picture
        size = (max(1, round(width * WORKING / height)), WORKING)
        return cv2.resize(self.picture, size, interpolation=cv2.INTER_AREA)

    @cached_property
    def small_grey(self) -> UInt8[np.ndarray, "y x"]:
        """`small` as ITU-R BT.601 weighs the colours."""
        return self.grey if self.small is self.picture else cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY)

    @cached_property
    def lab(self) -> Float[np.ndarray, "y x 3"]:
        """CIE L*a*b*, D65, of `small`."""
        return colour.lab(self.small)

    @cached_property
    def sharpness(self) -> float:
        """Mean size of the gradient of `grey`, both axes together, in shares of white."""
        grey, (height, width) = self.grey, self.grey.shape
        down = cv2.norm(grey[1:], grey[:-1], cv2.NORM_L1) / max(1, (height - 1) * width)
        across = cv2.norm(grey[:, 1:], grey[:, :-1], cv2.NORM_L1) / max(1, height * (width - 1))
        return float(down + across) / 255

    @cached_property
    def flow(self) -> Float[np.ndarray, "y x 2"]:
        """Where what `small` showed a moment before has gone, at its places of then. Zero for the first.

        In pixels of `small`. DIS (Kroeger et al. 2016), see `optical_flow`.
        """
        if self.before is None:
            return np.zeros((*self.small.shape[:2], 2), np.float32)
        return optical_flow(self.before.small_grey, self.small_grey)

    @cached_property
    def true(self) -> "Moment":
        """The truth of this moment as a moment of its own.

        Raises:
            InputError: there is none.
        """
        if self.truth is None:
            raise InputError("no truth is known for this video")
        before = None if self.before is None or self.before.truth is None else self.before.true
        return Moment(self.number, self.time, self.truth, None, self.depth, self.labels, self.pose, before)

    def forget(self) -> "Moment":
        """The same without what came before it; what has been derived is kept."""
        if self.before is not None:
            object.__setattr__(self, "before", None)
        if "true" in self.__dict__:
            self.true.forget()
        return self


class _Dis(local):
    """One for each thread, for it keeps its memory between frames."""

    def __init__(self) -> None:
        self.ready = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self.ready.setFinestScale(1)


_DIS = _Dis()


def optical_flow(start: UInt8[np.ndarray, "y x"], end: UInt8[np.ndarray, "y x"]) -> Float[np.ndarray, "y x 2"]:
    """Where the pixels of `start` lie in `end`, as a way in pixels.

    OpenCV's fastest preset, a scale finer: against the world's exact motion 6 % worse than the middle preset, in a
    third of the time.
    """
    return _DIS.ready.calc(start, end, None)  # type: ignore[arg-type]  # allocated where none is given
