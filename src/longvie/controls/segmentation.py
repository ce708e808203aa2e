"""Dense: what is where. Labels are drawn in 32 fixed colours: 0 sky, 1 ground, from 2 on objects."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.controls.control import Branch, Control, Scale, declare, declared_rate, glances, register, spans
from longvie.controls.opening import open_source
from longvie.controls.signals import Align, Crop, Mapped, Rate, Signal, Size, place
from longvie.errors import ControlError
from longvie.media import to_unit

# Chosen far apart in brightness and in the two colour differences that video keeps at half size.
PALETTE: UInt8[np.ndarray, "32 3"] = np.array(
    [
        (102, 153, 255), (102, 153, 51), (255, 51, 51), (255, 204, 0), (51, 51, 204), (255, 255, 255), (255, 0, 255),
        (0, 255, 153), (102, 0, 0), (51, 255, 0), (255, 153, 153), (0, 102, 51), (204, 255, 102), (153, 51, 153),
        (0, 204, 255), (255, 102, 255), (102, 255, 255), (0, 0, 255), (0, 0, 102), (153, 204, 153), (153, 204, 0),
        (153, 0, 255), (0, 204, 51), (0, 153, 153), (153, 102, 0), (204, 0, 102), (0, 102, 255), (102, 255, 102),
        (102, 0, 153), (204, 204, 255), (51, 51, 102), (102, 153, 153),
    ],
    np.uint8,
)  # fmt: skip
PALETTE.setflags(write=False)

FOREIGN = 40.0  # mean distance to the palette, in levels, at which a video was drawn in other colours


@dataclass(frozen=True)
class SegmentationScale(Scale):
    """Nothing to fit: the palette is fixed."""


@dataclass(frozen=True)
class SegmentationDeclared:
    """What a file of labels may leave open: frames a second."""

    fps: Any = None  # a caller may declare anything: checked below

    def __post_init__(self) -> None:
        declared_rate(self.fps, "segmentation")


@register("segmentation")
@dataclass(frozen=True)
class Segmentation(Control):
    """Label maps, or pictures drawn in `PALETTE`."""

    branch: ClassVar[Branch] = "dense"
    kind: ClassVar[int | None] = 2
    scale: ClassVar[type[Scale]] = SegmentationScale

    def load(
        self,
        source: Path,
        *,
        size: Size,
        fps: Rate,
        frames: int | None = None,
        align: Align = "error",
        declared: Mapping[str, Any] | None = None,
    ) -> Signal:
        """Labels (frames, height, width) as .npy or .npz, a folder of grey PNGs whose values are labels, or a picture,
        folder or video in the colours of `PALETTE`. Spans are labels, uint8 (f, h, w).

        Raises:
            ControlError: a label outside 0 to 31, fractions, or colours of another palette.
        """
        told = declare(SegmentationDeclared, declared, "segmentation")
        opened = open_source(source, "segmentation", fps=told.fps or fps, members=("labels", "segmentation"), deep=True)
        raw = opened.aligned(frames=frames, fps=fps, align=align)
        if opened.form == "grey16":
            raw = Mapped(raw, _narrowed, raw.height, raw.width, raw.report)
        low, high = _check_colours(raw) if opened.drawn else _check_labels(raw)
        report = replace(raw.report, content="labels", low=low, high=high)
        crop = "stretch" if self.quirks else "cover"
        return Mapped(raw, partial(to_labels, size=size, crop=crop), *size, report)

    def fit(self, signal: Signal) -> SegmentationScale:  # noqa: ARG002
        return SegmentationScale()

    def render(self, span: UInt8[np.ndarray, "f h w"], scale: SegmentationScale) -> Float[Tensor, "3 f h w"]:  # noqa: ARG002
        return to_unit(PALETTE[span])


def to_labels(frames: np.ndarray, *, size: Size, crop: Crop = "cover") -> UInt8[np.ndarray, "f h w"]:
    """Label maps, or pictures in the palette's colours, at the model's size; no label is invented between two."""
    placed = place(frames, size, crop=crop, how="nearest")
    return nearest_label(placed)[0] if placed.ndim == 4 else placed.astype(np.uint8)


def nearest_label(frames: UInt8[np.ndarray, "f h w 3"]) -> tuple[UInt8[np.ndarray, "f h w"], float]:
    """The label whose colour is nearest, and the mean distance to it in levels; video blurs colours."""
    colours, where = np.unique(frames.reshape(-1, 3), axis=0, return_inverse=True)
    squares = ((colours[:, None].astype(np.int64) - PALETTE.astype(np.int64)) ** 2).sum(axis=-1)  # (k, 32)
    distance = np.sqrt(squares.min(axis=1))[where].mean()
    return squares.argmin(axis=1)[where].reshape(frames.shape[:3]).astype(np.uint8), float(distance)


def _narrowed(values: np.ndarray) -> np.ndarray:
    """Labels of 8-bit PNGs, which come widened to 16 bits; small 16-bit labels stay what they are."""
    return np.where(values % 257 == 0, values // 257, values)


def _check_labels(signal: Signal) -> tuple[float, float]:
    """Lowest and highest label."""
    low, high = np.inf, -np.inf
    for span in spans(signal):
        if not (np.issubdtype(span.dtype, np.integer) or np.array_equal(span, np.rint(span))):
            raise ControlError(
                f"{signal.report.control} holds fractions or NaN, labels are whole numbers: save it as uint8",
                code="segmentation_labels",
            )
        low, high = min(low, float(span.min())), max(high, float(span.max()))
    if low < 0 or high >= len(PALETTE):
        raise ControlError(
            f"segmentation holds labels from {low:.0f} to {high:.0f}, known are 0 to {len(PALETTE) - 1} (0 sky, 1 "
            "ground, then objects): renumber them",
            code="segmentation_labels",
        )
    return low, high


def _check_colours(signal: Signal) -> tuple[float, float]:
    """Lowest and highest label of a drawn signal, by some of its frames."""
    labels: set[int] = set()
    away = []
    for span in glances(signal):
        found, distance = nearest_label(span[:, ::2, ::2])
        labels |= set(np.unique(found).tolist())
        away.append(distance)
    if np.mean(away) > FOREIGN:
        raise ControlError(
            f"the colours of this segmentation are {np.mean(away):.0f} levels from the palette on average, at most "
            f"{FOREIGN:.0f} are taken for compression: draw it in controls.segmentation.PALETTE, or give the labels as "
            ".npy or grey PNG",
            code="segmentation_palette",
        )
    return float(min(labels)), float(max(labels))
