"""Dense: line art, white lines on black; or the edges of a video, found here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from einops import repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.controls.control import Branch, Control, Scale, declare, declared_rate, glances, register, spans
from longvie.controls.opening import open_source
from longvie.controls.signals import Align, Mapped, Rate, Signal, Size, place
from longvie.errors import ControlError

Content = Literal["lines", "video"]
Edges = Literal["canny", "sobel"]

PAPER = 0.5  # mean brightness above which lines are taken as dark on white
LINE = 32  # levels: brightest and darkest must differ by more, or there is no line


@dataclass(frozen=True)
class SketchScale(Scale):
    """`inverted` turns dark lines on white paper into white lines on black, for the whole signal."""

    inverted: bool = False


@dataclass(frozen=True)
class SketchDeclared:
    """What the pictures show: `lines` (default) or a `video` whose edges are to be found; frames a second."""

    content: Any = "lines"  # a caller may declare anything: checked below
    fps: Any = None

    def __post_init__(self) -> None:
        declared_rate(self.fps, "sketch")
        if self.content not in ("lines", "video"):
            raise ControlError(f"sketch content {self.content!r} is unknown; declare content='lines' or 'video'")


@register("sketch")
@dataclass(frozen=True)
class Sketch(Control):
    """Line art, or edges by `edges`: Canny between two thresholds (levels of gradient), or the strength by Sobel."""

    branch: ClassVar[Branch] = "dense"
    kind: ClassVar[int | None] = 1
    scale: ClassVar[type[Scale]] = SketchScale

    edges: Edges = "canny"
    low: float = 80.0
    high: float = 160.0

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
        """A picture (shown all the time), a folder of pictures, a video, or grey levels as .npy or .npz. Spans are grey
        levels, uint8 (f, h, w).

        Raises:
            ControlError: no line anywhere (`sketch_empty`).
        """
        told = declare(SketchDeclared, declared, "sketch")
        opened = open_source(source, "sketch", fps=told.fps or fps, members=("sketch", "lines"))
        raw = opened.aligned(frames=frames, fps=fps, align=align)
        white = 255.0 if opened.drawn else _white(raw)
        draw = partial(to_lines, size=size, sketch=self, content=told.content, white=white)
        report = replace(raw.report, content="lines" if told.content == "lines" else f"edges ({self.edges})")
        return _checked(Mapped(raw, draw, *size, report))

    def fit(self, signal: Signal) -> SketchScale:
        """Dark on white or white on black, by frames spread over the whole signal; edges are white on black."""
        return SketchScale(inverted=signal.report.content == "lines" and _brightness(signal) > PAPER)

    def render(self, span: UInt8[np.ndarray, "f h w"], scale: SketchScale) -> Float[Tensor, "3 f h w"]:
        grey = torch.from_numpy(span).float() * (2 / 255) - 1
        return repeat(-grey if scale.inverted else grey, "f h w -> 3 f h w").contiguous()


def to_lines(
    frames: np.ndarray, *, size: Size, sketch: Sketch, content: Content, white: float = 255.0
) -> UInt8[np.ndarray, "f h w"]:
    """Grey levels at the model's size: of the drawing, or of edges found at that size so that lines stay sharp."""
    placed = place(to_grey(frames, white), size, crop="stretch" if sketch.quirks else "cover")
    if content == "lines":
        return placed
    return np.stack([find_edges(frame, sketch.edges, sketch.low, sketch.high) for frame in placed])


def find_edges(grey: UInt8[np.ndarray, "h w"], edges: Edges, low: float, high: float) -> UInt8[np.ndarray, "h w"]:
    """White edges on black. Canny gives thin lines of 0 or 255, Sobel the strength of the gradient up to `high`."""
    if edges == "canny":
        return cv2.Canny(grey, low, high, L2gradient=True)
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    return np.clip(np.hypot(across, down) * (255 / high), 0, 255).astype(np.uint8)


def to_grey(frames: np.ndarray, white: float = 255.0) -> UInt8[np.ndarray, "f h w"]:
    """8-bit brightness: of colours by BT.601, of numbers in proportion to `white`."""
    if frames.ndim == 4:
        return np.stack([cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY) for frame in frames])
    return np.rint(np.clip(np.nan_to_num(frames.astype(np.float32)) / white, 0, 1) * 255).astype(np.uint8)


def _white(signal: Signal) -> float:
    """The number that stands for white: 1 when nothing is larger, else 255."""
    most = max(float(np.nan_to_num(span.astype(np.float32)).max()) for span in spans(signal))
    if most > 255:
        raise ControlError(f"the sketch holds numbers up to {most:g}: give levels from 0 to 255, or from 0 to 1")
    return 1.0 if most <= 1 else 255.0


def _checked(signal: Mapped) -> Signal:
    """The range, by some of the frames, and whether there is anything to see at all."""
    low, high = 255, 0
    for look in (glances, spans):  # all of it only where some frames show nothing
        for span in look(signal):
            low, high = min(low, int(span.min())), max(high, int(span.max()))
        if high - low > LINE:
            break
    else:
        raise ControlError(
            f"the sketch holds no line: its levels reach from {low} to {high}; draw white lines on black, or declare "
            "content='video' to take the edges of a film",
            code="sketch_empty",
        )
    notes = signal.report.notes
    if signal.report.content == "lines" and _brightness(signal) > PAPER:
        notes = (*notes, "dark lines on white, turned into white on black")
    return replace(signal, report=replace(signal.report, low=float(low), high=float(high), notes=notes))


def _brightness(signal: Signal) -> float:
    """Mean over frames spread over the whole signal, in [0, 1]."""
    means = [float(span.mean()) for span in glances(signal)]
    return sum(means) / len(means) / 255
