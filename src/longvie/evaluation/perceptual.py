"""How alike two pictures look to a network, and how well a picture fits words: LPIPS, CLIPScore and CLIPSim.

The networks are the caller's: what stands here is the arithmetic around them. Sources: Zhang et al. 2018, LPIPS (arXiv
1801.03924); Hessel et al. 2021, CLIPScore (arXiv 2104.08718).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.evaluation.metric import Value
from longvie.evaluation.vbench import middles

Backbone = Callable[[Tensor], Sequence[Tensor]]  # pictures (n 3 h w), scaled → layers (n c y x)

SHIFT = (-0.030, -0.088, -0.188)  # ImageNet's mean and deviation for pictures in [-1, 1], rounded as published
SCALE = (0.458, 0.448, 0.450)
TINY = 1e-10  # added to the length of a feature, so that zero stays zero


def lpips_input(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """Pictures in [-1, 1], as the backbones of LPIPS want them."""
    shift, scale = (pictures.new_tensor(numbers).view(3, 1, 1) for numbers in (SHIFT, SCALE))
    return (pictures - shift) / scale


def lpips(
    made: Float[Tensor, "n 3 h w"],
    truth: Float[Tensor, "n 3 h w"],
    backbone: Backbone,
    heads: Sequence[Float[Tensor, " _"]],
) -> Float[Tensor, " n"]:
    """Distance of each pair of pictures in [-1, 1]; 0 is equal, float64.

    Σ over layers of the mean over places of Σ over channels of w · (a / ‖a‖ − b / ‖b‖)², features made of length 1 over
    channels, weights w ≥ 0. Which backbone and which version of the heads must be said with the number (published for
    control: AlexNet, v0.1).

    Raises:
        ConfigError: a head with a negative weight.
        ShapeError: heads that do not fit the layers.
        InputError: pictures or features that are not finite.
    """
    if any((head < 0).any() for head in heads):
        raise ConfigError("LPIPS has no negative weights: these heads are those of something else")
    a, b = ([_finite(layer) for layer in backbone(lpips_input(_real(side)))] for side in (made, truth))
    if len(a) != len(heads):
        raise ShapeError(f"the backbone gave {len(a)} layers, there are {len(heads)} heads")
    distances = [_layer_distance(x, y, head) for x, y, head in zip(a, b, heads, strict=True)]
    return torch.stack(distances).sum(0)


def _layer_distance(
    x: Float[Tensor, "n c y x"], y: Float[Tensor, "n c y x"], head: Float[Tensor, " k"]
) -> Float[Tensor, " n"]:
    if x.shape[1] != len(head):
        raise ShapeError(f"a layer of {x.shape[1]} channels met a head of {len(head)}")
    a, b = (layer / (layer.norm(dim=1, keepdim=True) + TINY) for layer in (x, y))
    return ((a - b).square() * head.double()[:, None, None]).sum(1).mean(dim=(1, 2))


class Lpips:
    """LPIPS of a whole video: the mean over its frames, shown in order with the truth's."""

    def __init__(self, backbone: Backbone, heads: Sequence[Float[Tensor, " _"]]) -> None:
        self.backbone, self.heads = backbone, heads
        self.sum, self.count = 0.0, 0

    def see(self, made: Float[Tensor, "n 3 h w"], truth: Float[Tensor, "n 3 h w"]) -> None:
        """The next frames, in [-1, 1]."""
        if len(made):
            self.sum += float(lpips(made, truth, self.backbone, self.heads).sum())
            self.count += len(made)

    def value(self) -> Value:
        """Raises InputError where no frame came."""
        if not self.count:
            raise InputError("LPIPS compares at least 1 frame")
        return Value(self.sum / self.count, self.count)


@dataclass(frozen=True)
class Variant:
    """One of the numbers that go by the name of CLIPScore, from the cosines of frames and words.

    Attributes:
        floor: where what is below 0 becomes 0: at each frame, at the mean of a segment, or nowhere.
        frames: how many of a segment are looked at, at the middles of equal intervals; none: all of them.
    """

    scale: float
    floor: Literal["nowhere", "frame", "segment"] = "nowhere"
    frames: int | None = None


VARIANTS = {
    "longlive": Variant(100.0),  # per segment of 10 s; the paper does not name its CLIP
    "torchmetrics": Variant(100.0, "segment"),  # max(100 cos, 0), the maximum after the mean
    "original": Variant(2.5, "frame"),  # Hessel et al., equation 1
    "clipsim": Variant(1.0),
    "vbench": Variant(1.0, frames=8),  # the competition's script, ViT-B/32
}


class ClipScore:
    """How well each segment of a video fits its own prompt.

    A segment is the frames at or after the time of its prompt and before that of the next. The number is the mean over
    segments, each counting the same; `windows` of the value has every segment.

    Args:
        texts: features of the prompts.
        starts: seconds at which they hold, from 0, ascending.
        frames: of the whole video.
        variant: a name in `VARIANTS`.

    Raises:
        ConfigError: an unknown variant, or fps that is not positive.
        ShapeError: not one start for each text.
        InputError: starts that do not ascend from 0, a segment without the frames it needs, features that are not
            finite.
    """

    def __init__(
        self, texts: Float[Tensor, "s d"], starts: Sequence[float], fps: float, frames: int, variant: str = "longlive"
    ) -> None:
        if variant not in VARIANTS:
            raise ConfigError(f"no CLIP score {variant!r}; there are {', '.join(VARIANTS)}")
        if len(texts) != len(starts):
            raise ShapeError(f"{len(texts)} prompts came with {len(starts)} starts")
        self.variant, self.starts, self.frames = VARIANTS[variant], tuple(starts), frames
        self.borders = _borders(self.starts, fps, frames)
        self.chosen = [_chosen(start, stop, self.variant) for start, stop in pairwise(self.borders)]
        self.texts = functional.normalize(_finite(texts), dim=-1)
        self.number, self.segment = 0, 0
        self.sums, self.counts = [0.0] * len(starts), [0] * len(starts)

    def see(self, features: Float[Tensor, "n d"]) -> None:
        """CLIP's features of the next frames."""
        for feature in functional.normalize(_finite(features), dim=-1):
            if self.number >= self.frames:
                raise InputError(f"{self.frames} frames were announced, more came")
            self.segment += self.number == self.borders[self.segment + 1]
            if self.number in self.chosen[self.segment]:
                cosine = float(feature @ self.texts[self.segment])
                self.sums[self.segment] += max(0.0, cosine) if self.variant.floor == "frame" else cosine
                self.counts[self.segment] += 1
            self.number += 1

    def value(self) -> Value:
        """Raises InputError where frames are missing."""
        if self.number != self.frames:
            raise InputError(f"{self.frames} frames were announced, {self.number} came")
        means = [total / count for total, count in zip(self.sums, self.counts, strict=True)]
        scores = [self.variant.scale * (max(0.0, m) if self.variant.floor == "segment" else m) for m in means]
        windows = tuple(zip(self.starts, scores, strict=True))
        return Value(sum(scores) / len(scores), sum(self.counts), windows)


def _borders(starts: tuple[float, ...], fps: float, frames: int) -> tuple[int, ...]:
    """First frames of the segments, and the number of frames."""
    if not (math.isfinite(fps) and fps > 0):
        raise ConfigError(f"fps must be positive, not {fps}")
    if not starts or starts[0] != 0 or any(not after > before for before, after in pairwise(starts)):
        raise InputError(f"prompts must start at 0 s and ascend: {starts}")
    borders = (*(math.ceil(start * fps - 1e-6) for start in starts), frames)  # 2.2 · 25 is 55.00000000000001
    if any(stop <= start for start, stop in pairwise(borders)):
        raise InputError(f"every prompt must hold for a frame at least; first frames are {borders[:-1]} of {frames}")
    return borders


def _chosen(start: int, stop: int, variant: Variant) -> range | tuple[int, ...]:
    if variant.frames is None:
        return range(start, stop)
    return tuple(start + at for at in middles(stop - start, variant.frames))


def _real(pictures: Tensor) -> Tensor:
    if not torch.isfinite(pictures).all():
        raise InputError("pictures that are not finite cannot be compared")
    return pictures


def _finite(features: Tensor) -> Tensor:
    if not torch.isfinite(features).all():
        raise InputError("a network gave features that are not finite")
    return features.double()
