"""Dense: how near everything is. Disparity 1/z, 0 where there is only sky, drawn near dark and far bright (LongVie 2).

The range is fitted once on the whole signal: a range per clip would make every seam flicker. A picture that is drawn
already is used as it is. Whether large numbers mean near or far is declared, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import gcd
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.controls.control import Branch, Control, Scale, declare, declared_rate, glances, register, spans
from longvie.controls.opening import Opened, open_source
from longvie.controls.published import CLIP, depth_uint8
from longvie.controls.signals import Align, LoadReport, Mapped, Rate, Signal, Size, place
from longvie.errors import ControlError
from longvie.media import to_unit

Content = Literal["metric", "disparity", "picture"]

MEMBERS = ("depth", "metric", "disparity")  # the array of an .npz; the last two say what it is
EXACT = 2**22  # values up to which percentiles are exact; above, every n-th value is taken
NOT_FINITE = 0.01  # share of values that may be NaN, infinite, zero or negative where they must not be, and is filled
FLAT = 1e-6  # spread of the disparity, relative to its size, below which there is nothing to draw


@dataclass(frozen=True)
class DepthRange(Scale):
    """5th and 95th percentile of the disparity over the whole signal; None where pictures are drawn already."""

    far: float | None = None
    near: float | None = None


@dataclass(frozen=True)
class DepthDeclared:
    """What the numbers mean.

    `content`: `metric` (distance in any unit, larger is farther), `disparity` (larger is nearer) or `picture` (drawn:
    near dark, far bright). `sky`: the value that stands for sky besides infinity, often 0 in metric files. `fps`:
    frames a second, for files that do not say.
    """

    content: Any = None  # a caller may declare anything: checked below
    sky: Any = None
    fps: Any = None

    def __post_init__(self) -> None:
        declared_rate(self.fps, "depth")
        if self.sky is not None and (isinstance(self.sky, bool) or not isinstance(self.sky, int | float)):
            raise ControlError(f"depth is declared to have sky at {str(self.sky)[:40]!r}: give a number")
        if self.content is not None and self.content not in get_args(Content):
            raise ControlError(
                f"depth content {self.content!r} is unknown; declare one of {', '.join(get_args(Content))}",
                code="depth_content",
            )


@register("depth")
@dataclass(frozen=True)
class Depth(Control):
    """Nearness, as a grey picture."""

    branch: ClassVar[Branch] = "dense"
    kind: ClassVar[int | None] = 0
    scale: ClassVar[type[Scale]] = DepthRange

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
        """A video (drawn, unless its comment `depth=…` or you say otherwise), .npy, .npz (an array named `metric` or
        `disparity` says what it is), a folder of 16-bit PNGs or EXRs. Spans are disparity, float32 (f, h, w), or drawn
        pictures, uint8 (f, h, w, 3).

        Raises:
            ControlError: what the numbers mean is not declared (`depth_content`), nothing but one value
                (`depth_constant`), or too many values that are no depth (`depth_nonfinite`, `depth_negative`,
                `depth_zero`).
        """
        told = declare(DepthDeclared, declared, "depth")
        opened = open_source(source, "depth", fps=told.fps or fps, members=MEMBERS, deep=told.content != "picture")
        told = _complete(told, opened)
        raw = opened.aligned(frames=frames, fps=fps, align=align)
        if told.content == "picture":
            report = replace(raw.report, content="picture")
            return _check_drawn(Mapped(raw, partial(_drawn, size=size, quirks=self.quirks), *size, report))
        report = check_values(raw, told)
        if self.quirks:
            return _published(raw, told, size, report)
        return Mapped(raw, partial(to_disparity, told=told, size=size), *size, report)

    def fit(self, signal: Signal) -> DepthRange:
        """Percentiles over all values; of every n-th value when there are more than `EXACT`, n fixed by the size.

        Over three minutes at 96×176, every 3rd of 49 million values moved the range by 0.004 % of its width; over four
        minutes in half precision every 17th of 65 million did not move it.

        Raises:
            ControlError: the same value everywhere (`depth_constant`).
        """
        if signal.report.content == "picture":
            return DepthRange()
        far, near = np.percentile(_sample(signal), [5, 95])
        if not near - far > FLAT * max(abs(near), abs(far)):
            raise _constant(float(far), "5th and 95th percentile of the disparity are")
        return DepthRange(float(far), float(near))

    def render(self, span: np.ndarray, scale: DepthRange) -> Float[Tensor, "3 f h w"]:
        if span.ndim == 4:
            return to_unit(span)
        if scale.near is None or scale.far is None:
            raise ControlError("this depth is numbers and its range is missing: fit it on the whole signal first")
        grey = (scale.near - torch.from_numpy(span)) / (scale.near - scale.far)
        return repeat(grey.clamp(0, 1) * 2 - 1, "f h w -> 3 f h w").contiguous()


def to_disparity(frames: np.ndarray, *, told: DepthDeclared, size: Size | None) -> Float[np.ndarray, "f h w"]:
    """Disparity in float32 at the model's size; sky is 0, and what is no depth becomes the frame's median."""
    values = _numbers(frames)
    sky, broken = _sky(values, told), _broken(values, told)
    with np.errstate(divide="ignore", invalid="ignore"):
        disparity = 1 / values if told.content == "metric" else values.copy()
    disparity[sky] = 0
    for frame, bad in zip(disparity, broken, strict=True):
        if bad.any():
            frame[bad] = 0 if bad.all() else np.median(frame[~bad])
    disparity = disparity.astype(np.float32)
    return disparity if size is None else place(disparity, size)


def check_values(raw: Signal, told: DepthDeclared) -> LoadReport:
    """The report with the range of the source and what will be filled.

    Raises:
        ControlError: too much that is no depth.
    """
    low, high, total, skies = np.inf, -np.inf, 0, 0
    counts = {"nonfinite": 0, "negative": 0, "zero": 0}
    upper = lower = 0.0
    for span in spans(raw):
        values = _numbers(span)
        sky = _sky(values, told)
        finite = np.isfinite(values)
        counts["nonfinite"] += int((~finite & ~sky).sum())
        counts["negative"] += int(((values < 0) & finite & ~sky).sum())
        counts["zero"] += int(((values == 0) & ~sky).sum()) if told.content == "metric" else 0
        good = values[finite & ~sky]
        skies += int(sky.sum())
        low, high = min(low, float(good.min(initial=np.inf))), max(high, float(good.max(initial=-np.inf)))
        total += values.size
        disparity = to_disparity(span, told=told, size=None)
        third = max(1, disparity.shape[1] // 3)
        upper += float(disparity[:, :third].mean()) * len(span)
        lower += float(disparity[:, -third:].mean()) * len(span)
    notes = _check_counts(
        counts, total, constant=low > high or (low == high and not skies), value=float(low), told=told
    )
    if upper > 1.5 * lower:
        notes.append("the upper part of the picture is nearer than the lower: check that content is declared right")
    content = told.content or ""
    return replace(raw.report, content=content, low=float(low), high=float(high), notes=(*raw.report.notes, *notes))


def _check_counts(
    counts: Mapping[str, int], total: int, *, constant: bool, value: float, told: DepthDeclared
) -> list[str]:
    """What was filled, as sentences; refuses too much of it, and a depth that shows nothing."""
    notes = []
    for kind, count in counts.items():
        if constant and kind != "nonfinite":
            raise _constant(value, "all values are")
        if count > NOT_FINITE * total:
            raise ControlError(_refusal(kind, count / total, told), code=f"depth_{kind}")
        if count:
            notes.append(f"{count} {_WORDS[kind]} values filled ({count / total:.2%})")
    return notes


_WORDS = {"nonfinite": "NaN or infinite", "negative": "negative", "zero": "zero"}


def _refusal(kind: str, share: float, told: DepthDeclared) -> str:
    fix = {
        "nonfinite": "fill them, or use infinity only where metric depth shows sky",
        "negative": f"{told.content} values start at 0: shift them, or declare what they are",
        "zero": "declare sky=0 if they are sky or nothing was measured there, or content='disparity'",
    }[kind]
    return f"{share:.1%} of the depth is {_WORDS[kind]}, at most {NOT_FINITE:.0%} is filled: {fix}"


def _constant(value: float, what: str) -> ControlError:
    shown = f"{value:.4g}" if np.isfinite(value) else "sky"
    return ControlError(
        f"depth shows nothing: {what} {shown}; give a depth with something near and something far",
        code="depth_constant",
    )


def _numbers(frames: np.ndarray) -> Float[np.ndarray, "f h w"]:
    """Numbers in float; of a picture its mean over the colours, 0 to 1."""
    if frames.ndim == 4:
        return frames.mean(axis=-1, dtype=np.float32) / 255
    return frames if frames.dtype in (np.float32, np.float64) else frames.astype(np.float32)


def _sky(values: np.ndarray, told: DepthDeclared) -> np.ndarray:
    sky = np.isposinf(values) if told.content == "metric" else np.zeros(values.shape, bool)
    return sky if told.sky is None else sky | (values == told.sky)


def _broken(values: np.ndarray, told: DepthDeclared) -> np.ndarray:
    """What is no depth and is no sky."""
    least = values > 0 if told.content == "metric" else values >= 0
    return ~(np.isfinite(values) & least) & ~_sky(values, told)


def _complete(told: DepthDeclared, opened: Opened) -> DepthDeclared:
    """What the caller declared, else what the file says about itself; a plain video is a drawn picture."""
    named = opened.facts.get("kind") or opened.facts.get("member")
    content = told.content or (named if named in get_args(Content) else None)
    if content is None and opened.form == "video":
        content = "picture"
    if content is None:
        raise ControlError(
            f"{opened.name} does not say what its values mean: declare content='metric' (larger is farther), "
            "'disparity' (larger is nearer) or 'picture' (drawn: near dark, far bright)",
            code="depth_content",
        )
    if content == "picture" and not opened.drawn:
        raise ControlError(
            f"{opened.name} holds numbers, a drawn picture is 8-bit: declare content='metric' or 'disparity'",
            code="depth_content",
        )
    sky = opened.facts.get("sky") if told.sky is None else told.sky
    return DepthDeclared(str(content), None if sky is None else float(sky), told.fps)


def _drawn(frames: UInt8[np.ndarray, "f a b 3"], *, size: Size, quirks: bool) -> UInt8[np.ndarray, "f h w 3"]:
    return place(frames, size, crop="stretch", how="bicubic") if quirks else place(frames, size)


def _check_drawn(signal: Mapped) -> Signal:
    """A drawn depth with its range, by some of its frames; one flat grey all the time is refused."""
    low, high = 255, 0
    for look in (glances, spans):  # all of it only where some frames show nothing
        for span in look(signal):
            low, high = min(low, int(span.min())), max(high, int(span.max()))
        if low < high:
            break
    else:
        raise _constant(float(low), "all grey levels are")
    return replace(signal, report=replace(signal.report, low=float(low), high=float(high)))


def _published(raw: Signal, told: DepthDeclared, size: Size, report: LoadReport) -> Signal:
    """Drawn before it is resized, in 8 bits by truncation, with percentiles over 1 + 80·k frames: as published."""
    native = Mapped(raw, partial(to_disparity, told=told, size=None), raw.height, raw.width, report)
    far, near = np.percentile(_sample(native, stop=1 + CLIP * ((raw.frames - 1) // CLIP)), [5, 95])
    if near <= far:
        raise _constant(float(far), "5th and 95th percentile of the disparity are")

    def draw(span: np.ndarray) -> np.ndarray:
        grey = depth_uint8((near - np.clip(span, far, near)) / (near - far))
        return place(repeat(grey, "f h w -> f h w 3"), size, crop="stretch", how="bicubic")

    return Mapped(native, draw, *size, replace(report, content="picture"))


def _sample(signal: Signal, *, stop: int | None = None) -> Float[np.ndarray, " n"]:
    """All values up to a frame, or every n-th of them, counted through the whole signal."""
    stop = signal.frames if stop is None else stop
    step = -(-stop * signal.height * signal.width // EXACT)
    while gcd(step, signal.width) > 1:  # so that it walks through all columns
        step += 1
    kept, seen = [], 0
    for span in spans(signal, stop=stop):
        values = span.ravel()
        kept.append(values[-seen % step :: step].copy())  # a view would keep the whole span alive
        seen += values.size
    return np.concatenate(kept)
