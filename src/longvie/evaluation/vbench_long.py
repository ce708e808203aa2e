"""VBench-Long: long videos in clips of equal length, scored inside clips and from clip to clip (arXiv 2411.13503)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from longvie.errors import ConfigError, InputError
from longvie.evaluation.metric import Value
from longvie.evaluation.vbench import QUALITY, SEMANTIC, Consistency, Extractor, Frames, Mean, complete, positive

SHORT, LONG = 2.0, 10.0  # seconds of a clip
LONG_CLIPS = frozenset({"human_action", "temporal_style", "overall_consistency"})


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
        self, plan: ClipPlan, inside: Extractor, across: Extractor, table: Quantiles, *, compat: bool = False
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
