"""VBench and, in `vbench_long`, VBench-Long: the published formulas around networks that the caller brings.

Sources: Huang et al., VBench, CVPR 2024 (arXiv 2311.17982); VBench++ with VBench-Long (arXiv 2411.13503). Written from
their descriptions. Frames are RGB from 0 to 255, in order, in batches of any size: how a video is cut into batches
changes nothing, and what is remembered of it does not grow with its length.

Where the published programs depend on what no paper says, we differ by default, and `compat=True` does as they do:

=====================  ===================================================  =========================================
what                   compat=True                                          default
=====================  ===================================================  =========================================
long consistency       inside the clips alone, weights 1 and 0              half inside, half from clip to clip
mean over videos       every frame counts the same                          every video counts the same
frames per second      cut to an integer: 29.97 becomes 29                  as they are
clips                  published: encoded anew as H.264 (`ClipPlan.reencode`)  scored as they are
moving, 2 frames       always, for round(2 / 4) = 0 pairs must move         at least one pair must move
=====================  ===================================================  =========================================

Two more cannot be switched here. Clips are scored as they are. The published motion smoothness resizes frames by a
factor that depends on the memory of the graphics card; if wanted, that belongs to the interpolator that the caller
brings.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.evaluation.metric import Value

Frames = Float[Tensor, "n 3 h w"]  # RGB, 0 to 255
Features = Float[Tensor, "n d"]
Extractor = Callable[[Tensor], Tensor]  # frames (n 3 h w) → features (n d)
Interpolator = Callable[[Tensor, Tensor], Tensor]  # two batches of frames (n 3 h w) → those halfway, 0 to 255
FlowNetwork = Callable[[Tensor, Tensor], Tensor]  # two batches of frames (n 3 h w) → flow (n 2 h w), pixels

SIDE = 224  # of DINO's and CLIP's pictures
LONGEST = 512  # side of what MUSIQ sees
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean, deviation
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
STRONGEST = 20  # one pixel in so many: the top 5 % of the flow
LOOKS = 8  # frames per second at which motion is looked for
MOVING = 6 / 256  # of the shorter side: flow above it is motion
GLANCES = 8  # frames that ViCLIP sees


@runtime_checkable
class Stream(Protocol):
    """A measure of one video that is shown its frames, or their features, in order."""

    def see(self, frames: Tensor, /) -> None:
        """The next ones."""

    def value(self) -> Value:
        """Of all that was seen."""
        ...


# What the networks are shown.


def dino_input(frames: Frames, side: int = SIDE) -> Float[Tensor, "n 3 y x"]:
    """Shorter side to `side`, bilinear without antialiasing, no crop; ImageNet's mean and deviation."""
    return standard(resized(frames, shorter_to(frames, side), "bilinear"), IMAGENET)


def clip_input(frames: Frames, side: int = SIDE) -> Float[Tensor, "n 3 y x"]:
    """Shorter side to `side`, bicubic without antialiasing, the square in the middle; CLIP's mean and deviation.

    The bicubic filter may overshoot 0 and 255; as published, nothing is clamped.
    """
    frames = resized(frames, shorter_to(frames, side), "bicubic")
    return standard(square(frames, side), CLIP)


def musiq_input(frames: Frames, side: int = LONGEST) -> Float[Tensor, "n 3 y x"]:
    """In [0, 1]; the longer side shrunk to `side` where it is longer, bilinear without antialiasing."""
    height, width = frames.shape[-2:]
    longer = max(height, width)
    if longer > side:
        frames = resized(frames, (max(1, height * side // longer), max(1, width * side // longer)), "bilinear")
    return frames / 255


def middles(frames: int, count: int = GLANCES) -> tuple[int, ...]:
    """The middles of `count` equal intervals of a video; intervals end at whole frames, of two middles the earlier.

    Raises:
        InputError: the video has fewer frames than that.
    """
    if frames < count:
        raise InputError(f"{frames} frames came, {count} are looked at; use a longer video")
    edges = [number * frames // count for number in range(count + 1)]
    return tuple((start + stop - 1) // 2 for start, stop in pairwise(edges))


# The eight dimensions, by what they compute.


class Mean:
    """Of samples as they come, in float64."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, samples: Float[Tensor, " n"]) -> None:
        self.total += float(samples.double().sum())
        self.count += len(samples)

    def value(self, needed: str) -> Value:
        """Raises InputError where nothing was added; `needed` says what was missing."""
        if not self.count:
            raise InputError(f"too few frames: {needed}")
        return Value(self.total / self.count, self.count)


class Consistency:
    """½ (max(0, cos(fₜ, fₜ₋₁)) + max(0, cos(fₜ, f₀))), mean over all frames but the first.

    Over DINO's features it is subject consistency, over CLIP's background consistency. CLIP runs in half precision on
    a graphics card where it is published: the last digits depend on that.
    """

    def __init__(self) -> None:
        self.first: Tensor | None = None  # (1, d), of length 1, as is the last
        self.last: Tensor | None = None
        self.mean = Mean()

    def see(self, features: Features) -> None:
        """Raises InputError where features are not finite."""
        unit = functional.normalize(_finite(features), dim=-1)
        if self.first is None or self.last is None:
            self.first = self.last = unit[:1].clone() if len(unit) else None
            unit = unit[1:]
        if self.first is None or self.last is None or not len(unit):
            return
        before = torch.cat([self.last, unit[:-1]])
        near, far = (unit * before).sum(-1), (unit * self.first).sum(-1)
        self.mean.add((near.clamp_min(0) + far.clamp_min(0)) / 2)
        self.last = unit[-1:].clone()

    def value(self) -> Value:
        return self.mean.value("consistency compares at least 2")


class Flickering:
    """(255 − mean absolute difference of neighbours) / 255, mean over pairs of raw 8-bit frames.

    Published for static scenes alone: those where `is_static` holds.
    """

    def __init__(self) -> None:
        self.last: Tensor | None = None  # (1, 3, h, w)
        self.mean = Mean()

    def see(self, frames: Frames) -> None:
        if not len(frames):
            return
        frames = _finite(frames)
        run = frames if self.last is None else torch.cat([self.last, frames])
        self.mean.add(1 - run.diff(dim=0).abs().mean(dim=(1, 2, 3)) / 255)
        self.last = frames[-1:].clone()

    def value(self) -> Value:
        return self.mean.value("flickering compares at least 2")


class Smoothness:
    """(255 − mean absolute error) / 255 of the odd frames, each predicted halfway between its even neighbours.

    An odd frame at the end has one neighbour and is left out. The interpolator works at t = ½ and gives frames of the
    size it was given; resizing, padding and rounding to 8 bits are its own.
    """

    def __init__(self, interpolate: Interpolator) -> None:
        self.interpolate = interpolate
        self.number = 0
        self.even: Tensor | None = None  # (3, h, w), as is the odd
        self.odd: Tensor | None = None
        self.mean = Mean()

    def see(self, frames: Frames) -> None:
        """Raises InputError where something is not finite, ShapeError where a prediction has another size."""
        _finite(frames)
        for frame in frames:
            if self.number % 2:
                self.odd = frame.clone()
            else:
                self._judge(frame)
                self.even = frame.clone()
            self.number += 1

    def _judge(self, after: Float[Tensor, "3 h w"]) -> None:
        if self.even is None or self.odd is None:
            return
        predicted = _finite(self.interpolate(self.even[None], after[None]))
        if predicted.shape != (1, *self.odd.shape):
            raise ShapeError(f"the interpolator gave {tuple(predicted.shape)} for a frame of {tuple(self.odd.shape)}")
        self.mean.add(1 - (predicted - self.odd.double()).abs().mean(dim=(1, 2, 3)) / 255)

    def value(self) -> Value:
        return self.mean.value("smoothness predicts one between two and needs at least 3")


class DynamicDegree:
    """Whether a video moves, 1 or 0; the mean over videos is their share.

    Every round(fps / 8)-th frame is looked at (halves to even, at least every frame). A pair of neighbours among them
    moves if the mean of its strongest 5 % of flow is more than 6 · min(height, width) / 256 pixels. Of N frames looked
    at, round(N / 4) pairs must move, and one at least unless `compat`. RAFT is published with 20 iterations.
    """

    def __init__(self, flow: FlowNetwork, fps: float, *, compat: bool = False) -> None:
        self.flow, self.step, self.compat = flow, max(1, round(positive("fps", fps) / LOOKS)), compat
        self.number = self.looked = self.moved = 0
        self.last: Tensor | None = None  # (3, h, w)

    def see(self, frames: Frames) -> None:
        for frame in frames:
            if self.number % self.step == 0:
                self._look(frame)
            self.number += 1

    def _look(self, frame: Float[Tensor, "3 h w"]) -> None:
        self.looked += 1
        if self.last is not None:
            moved = strongest(self.flow(self.last[None], frame[None])[0])
            self.moved += moved > min(frame.shape[-2:]) * MOVING
        self.last = frame.clone()

    def value(self) -> Value:
        """Raises InputError where fewer than 2 frames were looked at."""
        if self.looked < 2:
            raise InputError(f"{self.number} frames came, every {self.step}th is looked at: at least 2 must be")
        needed = round(self.looked / 4)
        moves = self.moved >= (needed if self.compat else max(1, needed))
        return Value(float(moves), self.looked - 1)


def strongest(flow: Float[Tensor, "2 h w"]) -> float:
    """Mean length of the longest 5 % of the flow, pixels; of one pixel at least."""
    length = _finite(flow).norm(dim=0).flatten()
    return float(length.topk(max(1, len(length) // STRONGEST)).values.mean())


def is_static(degree: Value) -> bool:
    """The filter in front of temporal flickering: by the rule of dynamic degree, the video does not move."""
    return degree.number == 0


class Aesthetic:
    """The linear head on CLIP ViT-L/14 features of length 1, mean over frames, over 10 (LAION aesthetic predictor)."""

    def __init__(self, head: Extractor) -> None:
        self.head, self.mean = head, Mean()

    def see(self, features: Features) -> None:
        if len(features):
            ratings = self.head(functional.normalize(_finite(features), dim=-1).to(features.dtype))
            self.mean.add(_one_each(ratings, len(features)) / 10)

    def value(self) -> Value:
        return self.mean.value("at least 1 is rated")


class Imaging:
    """MUSIQ's ratings from 0 to 100, mean over frames, over 100."""

    def __init__(self) -> None:
        self.mean = Mean()

    def see(self, ratings: Float[Tensor, "..."]) -> None:
        """One rating a frame: (n,) or (n, 1)."""
        if len(ratings):
            self.mean.add(_one_each(ratings, len(ratings)) / 100)

    def value(self) -> Value:
        return self.mean.value("at least 1 is rated")


class OverallConsistency:
    """Cosine of the video's and the prompt's ViCLIP features; the video is 8 frames, as `clip_input` draws them.

    Args:
        encode: (1, 8, 3, side, side) → (1, d).
        text: the prompt's features.
        frames: of the whole video, known in front, for the 8 are the middles of equal intervals.
    """

    def __init__(self, encode: Extractor, text: Float[Tensor, " d"], frames: int, side: int = SIDE) -> None:
        self.encode, self.text, self.frames, self.side = encode, text, frames, side
        self.chosen = middles(frames)
        self.number = 0
        self.kept: list[Tensor] = []

    def see(self, frames: Frames) -> None:
        for frame in frames:
            if self.number in self.chosen:
                self.kept.append(clip_input(frame[None], self.side)[0])
            self.number += 1

    def value(self) -> Value:
        """Raises InputError where another number of frames came than was announced."""
        complete(self.number, self.frames)
        video = _finite(self.encode(torch.stack(self.kept)[None]))[0]
        return Value(float(functional.cosine_similarity(video, _finite(self.text), dim=0)), 1)


@dataclass
class Extracted:
    """Frames through a network into a measure of what comes out of it."""

    extract: Extractor
    measure: Stream

    def see(self, frames: Frames) -> None:
        if len(frames):  # networks need not know what to do with none
            self.measure.see(self.extract(frames))

    def value(self) -> Value:
        return self.measure.value()


def prepared(prepare: Callable[..., Tensor], extract: Extractor, side: int) -> Extractor:
    """The network, with what must happen to a frame before it."""
    return lambda frames: extract(prepare(frames, side))


def subject_consistency(dino: Extractor, side: int = SIDE) -> Extracted:
    """DINO ViT-B/16."""
    return Extracted(prepared(dino_input, dino, side), Consistency())


def background_consistency(clip: Extractor, side: int = SIDE) -> Extracted:
    """CLIP ViT-B/32, picture features."""
    return Extracted(prepared(clip_input, clip, side), Consistency())


def aesthetic_quality(clip: Extractor, head: Extractor, side: int = SIDE) -> Extracted:
    """CLIP ViT-L/14, picture features, and LAION's linear head on them."""
    return Extracted(prepared(clip_input, clip, side), Aesthetic(head))


def imaging_quality(musiq: Extractor, side: int = LONGEST) -> Extracted:
    """MUSIQ trained on SPAQ."""
    return Extracted(prepared(musiq_input, musiq, side), Imaging())


# From dimensions to a total.


@dataclass(frozen=True)
class Scale:
    """How a dimension enters the totals: (score − low) / (high − low), with a weight. Not clamped."""

    low: float = 0.0
    high: float = 1.0
    weight: float = 1.0


QUALITY: Mapping[str, Scale] = {
    "subject_consistency": Scale(low=0.1462),
    "background_consistency": Scale(low=0.2615),
    "temporal_flickering": Scale(low=0.6293),
    "motion_smoothness": Scale(low=0.706, high=0.9975),
    "dynamic_degree": Scale(weight=0.5),
    "aesthetic_quality": Scale(),
    "imaging_quality": Scale(),
}
SEMANTIC: Mapping[str, Scale] = {
    "object_class": Scale(),
    "multiple_objects": Scale(),
    "human_action": Scale(),
    "color": Scale(),
    "spatial_relationship": Scale(),
    "scene": Scale(high=0.8222),
    "appearance_style": Scale(low=0.0009, high=0.2855),
    "temporal_style": Scale(high=0.364),
    "overall_consistency": Scale(high=0.364),
}


def weighted(scores: Mapping[str, float], scales: Mapping[str, Scale]) -> float:
    """Quality (`scales=QUALITY`) or semantic score (`SEMANTIC`) of dimensions from 0 to 1; other names are passed over.

    Raises:
        InputError: a dimension is missing or not finite. A mean over some of them would look like the official number.
    """
    missing = [name for name in scales if name not in scores]
    if missing:
        raise InputError(f"the score is a mean over all of its dimensions; missing: {', '.join(missing)}")
    broken = [name for name in scales if not math.isfinite(scores[name])]
    if broken:
        raise InputError(f"scores must be finite: {', '.join(broken)}")
    shares = [scale.weight * (scores[name] - scale.low) / (scale.high - scale.low) for name, scale in scales.items()]
    return sum(shares) / sum(scale.weight for scale in scales.values())


def total(quality: float, semantic: float) -> float:
    """VBench's total: four parts quality, one part semantic."""
    return (4 * quality + semantic) / 5


def over_videos(values: Sequence[Value], *, compat: bool = False) -> Value:
    """A dimension over its videos: every video counts the same; `compat`: every sample does.

    The published program does the latter on one process and the former on several: videos of unequal length get
    different numbers.

    Raises:
        InputError: no video.
    """
    if not values:
        raise InputError("no video was scored")
    weights = [value.n if compat else 1 for value in values]
    mean = sum(value.number * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
    return Value(mean, sum(weights))


def resized(frames: Frames, size: tuple[int, int], mode: str, *, antialias: bool = False) -> Float[Tensor, "n 3 y x"]:
    return functional.interpolate(frames, size=size, mode=mode, align_corners=False, antialias=antialias)


def square(frames: Frames, side: int) -> Float[Tensor, "n 3 side side"]:
    """The middle of them."""
    top, left = (round((length - side) / 2) for length in frames.shape[-2:])  # half to even
    return frames[..., top : top + side, left : left + side]


def shorter_to(frames: Frames, side: int) -> tuple[int, int]:
    """The longer side keeps the shape of the picture, rounded down."""
    height, width = frames.shape[-2:]
    shorter = min(height, width)
    return height * side // shorter, width * side // shorter


def standard(
    frames: Frames, about: tuple[tuple[float, float, float], tuple[float, float, float]]
) -> Float[Tensor, "n 3 h w"]:
    mean, deviation = (frames.new_tensor(numbers).view(3, 1, 1) for numbers in about)
    return (frames / 255 - mean) / deviation


def _one_each(ratings: Tensor, count: int) -> Float[Tensor, " n"]:
    if ratings.numel() != count:
        raise ShapeError(f"one rating a frame is needed; {count} frames gave {tuple(ratings.shape)}")
    return _finite(ratings).flatten()


def _finite(numbers: Tensor) -> Tensor:
    if not torch.isfinite(numbers).all():
        raise InputError("what a network gave, or a frame, is not finite")
    return numbers.double()


def complete(came: int, announced: int) -> None:
    """Raises InputError where not all frames came."""
    if came != announced:
        raise InputError(f"{announced} frames were announced, {came} came")


def positive(name: str, number: float) -> float:
    """Raises ConfigError where it is not."""
    if not (math.isfinite(number) and number > 0):
        raise ConfigError(f"{name} must be positive, not {number}")
    return number
