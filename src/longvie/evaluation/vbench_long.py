"""VBench-Long: long videos in clips of equal length, scored inside clips and from clip to clip (arXiv 2411.13503)."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.errors import ConfigError, InputError, WeightsError
from longvie.evaluation.metric import Value
from longvie.evaluation.vbench import (
    IMAGENET,
    QUALITY,
    SEMANTIC,
    SIDE,
    Consistency,
    Extractor,
    Frames,
    Mean,
    Stream,
    complete,
    positive,
    resized,
    shorter_to,
    square,
    standard,
)
from longvie.limits import LOCAL
from longvie.media import open_regular

SHORT, LONG = 2.0, 10.0  # seconds of a clip
WIDER = 256  # shorter side of what DINOv2's square is cut out of
TABLE_BYTES = 1 << 16
LONG_CLIPS = frozenset({"human_action", "temporal_style", "overall_consistency"})


def dinov2_input(frames: Frames, side: int = SIDE) -> Float[Tensor, "n 3 side side"]:
    """Shorter side to 256 (of a `side` of 224), bicubic with antialiasing, the square in the middle; ImageNet's mean
    and deviation. The published one rounds to 8 bits between; that is left out.
    """
    wider = resized(frames, shorter_to(frames, side * WIDER // SIDE), "bicubic", antialias=True)
    return standard(square(wider, side), IMAGENET)


def dreamsim_input(frames: Frames, side: int = SIDE) -> Float[Tensor, "n 3 side side"]:
    """Squeezed into a square, bicubic with antialiasing, in [0, 1]."""
    return resized(frames, (side, side), "bicubic", antialias=True) / 255


def clip_seconds(dimension: str, *, custom: bool = False) -> float:
    """2 seconds, 10 for what looks at actions and words; always 2 for videos from outside the benchmark (`custom`).

    Raises:
        ConfigError: no such dimension.
    """
    if dimension not in QUALITY and dimension not in SEMANTIC:
        raise ConfigError(f"no VBench dimension {dimension!r}; there are {', '.join((*QUALITY, *SEMANTIC))}")
    return LONG if dimension in LONG_CLIPS and not custom else SHORT


@dataclass(frozen=True)
class ClipPlan:
    """Which frames make a clip: (first, one past the last), by ascending first frames."""

    frames: int
    fps: float  # to hand on to whatever asks for it, such as dynamic degree
    clips: tuple[tuple[int, int], ...]
    reencode: bool  # published: clips are written as H.264 and read again before they are scored


def split(
    frames: int, fps: float, seconds: float = SHORT, cuts: Sequence[int] = (), *, compat: bool = False
) -> ClipPlan:
    """Clips of equal length; the last one, if short, borrows the frames before it.

    A clip has round(seconds · fps) frames; `compat` cuts fps to an integer first. Nothing is borrowed over a cut, and a
    scene shorter than a clip is one clip.

    Args:
        cuts: first frames of new scenes. Published only with semantic splitting (PySceneDetect's content detector,
            threshold 35 from the class, 27 from the function).

    Raises:
        ConfigError: fps or seconds are not positive, or too small for clips of 2 frames; cuts that do not ascend
            within the video.
        InputError: a scene of fewer than 2 frames.
    """
    rate = float(math.floor(fps)) if compat and math.isfinite(fps) else fps
    length = math.floor(positive("seconds", seconds) * positive("fps", rate) + 0.5)
    if length < 2:
        raise ConfigError(f"clips of {seconds} s at {rate} frames per second have {length} frames; 2 are needed")
    borders = (0, *cuts, frames)
    if cuts and any(stop <= start for start, stop in pairwise(borders)):
        raise ConfigError(f"cuts must ascend between 0 and {frames}: {tuple(cuts)}")
    clips = [clip for scene in pairwise(borders) for clip in _clips(*scene, length)]
    return ClipPlan(frames, rate, tuple(clips), reencode=compat)


def _clips(first: int, stop: int, length: int) -> list[tuple[int, int]]:
    if stop - first < 2:
        raise InputError(f"a scene of {stop - first} frames cannot be compared with itself; 2 are needed")
    return [(max(first, min(start, stop - length)), min(start + length, stop)) for start in range(first, stop, length)]


@dataclass(frozen=True)
class Quantiles:
    """The published table that brings clip-to-clip similarity to the scale of that inside clips.

    Equal quantiles of both, ascending; between them a line, beyond them the ends. The table itself is data of the
    benchmark, and the caller's to bring.
    """

    across: tuple[float, ...]
    inside: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.across) != len(self.inside) or len(self.across) < 2:
            raise InputError(f"a table pairs at least 2 quantiles; {len(self.across)} and {len(self.inside)} came")
        if any(after <= before for before, after in pairwise(self.across)):
            raise InputError("quantiles from clip to clip must ascend")
        if any(after < before for before, after in pairwise(self.inside)):
            raise InputError("quantiles inside clips must not descend")

    def __call__(self, score: float) -> float:
        if score <= self.across[0]:
            return self.inside[0]
        for at in range(1, len(self.across)):
            if score <= self.across[at]:
                share = (score - self.across[at - 1]) / (self.across[at] - self.across[at - 1])
                return self.inside[at - 1] + share * (self.inside[at] - self.inside[at - 1])
        return self.inside[-1]


def quantiles(path: Path) -> Quantiles:
    """The table of a file as VBench-Long publishes it: one `score from clip to clip: score inside clips` a line.

    Raises:
        WeightsError: it is none.
    """
    with open_regular(path, limits=LOCAL, error=WeightsError) as file:
        lines = file.read(TABLE_BYTES).decode(errors="replace").splitlines()
    try:
        pairs = sorted((float(across), float(inside)) for across, inside in (line.split(":") for line in lines if line))
        return Quantiles(*zip(*pairs, strict=True))
    except (ValueError, TypeError, InputError) as reason:
        raise WeightsError(f"{path.name} is no table of scores: {reason}") from None


class PerClip:
    """A measure of each clip by itself, mean over clips.

    Args:
        opened: a new measure, of so many frames.
    """

    def __init__(self, plan: ClipPlan, opened: Callable[[int], Stream]) -> None:
        self.plan, self.opened = plan, opened
        self.number = self.reached = 0  # frames seen, clips begun
        self.open: list[tuple[int, int, Stream]] = []  # two at most: only the last clip of a scene borrows
        self.mean = Mean()

    def see(self, frames: Frames) -> None:
        """Raises InputError where more frames come than were planned."""
        start, stop = self.number, self.number + len(frames)
        if stop > self.plan.frames:
            raise InputError(f"{self.plan.frames} frames were planned, more came")
        for first, end in self.plan.clips[self.reached :]:
            if first >= stop:
                break
            self.open.append((first, end, self.opened(end - first)))
            self.reached += 1
        for first, end, measure in self.open:
            measure.see(frames[max(first - start, 0) : end - start])
        done = [measure.value().number for _, end, measure in self.open if end <= stop]
        self.mean.add(torch.tensor(done, dtype=torch.float64))
        self.open = [clip for clip in self.open if clip[1] > stop]
        self.number = stop

    def value(self) -> Value:
        """Raises InputError where frames are missing."""
        complete(self.number, self.plan.frames)
        return self.mean.value("a clip is needed")


@dataclass(frozen=True)
class LongScore:
    """Both branches of a long video, and what becomes of them."""

    slow: Value  # inside clips, mean over clips
    fast: Value | None  # from clip to clip, on its own scale; none where there is one clip
    fused: Value


class LongConsistency:
    """Subject or background consistency of a long video.

    Slow branch: `Consistency` inside each clip, mean over clips. Fast branch: `Consistency` over the clips' first
    frames with other features, brought to the slow one's scale by a table. Half and half; `compat` keeps the slow
    branch alone, as the published program does unless it is given a development flag: then nothing farther apart than
    a clip is ever compared.

    Args:
        inside: raw frames → features, such as `prepared(dino_input, dino, 224)`.
        across: raw frames → features: DINOv2 ViT-B/14 for the subject, DreamSim for the background, with their own
            preparation.
    """

    def __init__(
        self,
        plan: ClipPlan,
        inside: Extractor,
        across: Extractor,
        table: Callable[[float], float],
        *,
        compat: bool = False,
    ) -> None:
        self.plan, self.inside, self.across, self.table, self.compat = plan, inside, across, table, compat
        self.number = self.reached = 0  # frames seen, clips begun
        self.open: list[tuple[int, int, Consistency]] = []  # two at most: only the last clip of a scene borrows
        self.slow, self.fast = Mean(), Consistency()

    def see(self, frames: Frames) -> None:
        """Raises InputError where more frames come than were planned."""
        start, stop = self.number, self.number + len(frames)
        if stop > self.plan.frames:
            raise InputError(f"{self.plan.frames} frames were planned, more came")
        if not len(frames):
            return
        self._begin(frames, stop)
        features = self.inside(frames)
        for first, end, measure in self.open:
            measure.see(features[max(first - start, 0) : end - start])
        self.slow.add(torch.tensor([m.value().number for _, end, m in self.open if end <= stop], dtype=torch.float64))
        self.open = [clip for clip in self.open if clip[1] > stop]
        self.number = stop

    def _begin(self, frames: Frames, stop: int) -> None:
        for first, end in self.plan.clips[self.reached :]:
            if first >= stop:
                return
            self.open.append((first, end, Consistency()))
            self.fast.see(self.across(frames[first - self.number][None]))
            self.reached += 1

    def score(self) -> LongScore:
        """Raises InputError where frames are missing, and, unless `compat`, where there is one clip only."""
        complete(self.number, self.plan.frames)
        slow = self.slow.value("consistency needs a clip")
        if len(self.plan.clips) > 1:
            fast = self.fast.value()
            return LongScore(slow, fast, Value(self._fused(slow.number, self.table(fast.number)), slow.n))
        if not self.compat:
            raise InputError("one clip has no neighbour to compare with; a video of one clip is not a long one")
        return LongScore(slow, None, slow)

    def _fused(self, slow: float, fast: float) -> float:
        return slow if self.compat else (slow + fast) / 2

    def value(self) -> Value:
        return self.score().fused
