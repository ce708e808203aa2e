"""What a control reads from: frames by index, a span at a time, so that an hour costs no more memory than a second."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np

from longvie.errors import ConfigError, ControlError
from longvie.media import resize_frames
from longvie.media.convert import Resize

Align = Literal["error", "trim", "pad-last", "resample"]
Crop = Literal["cover", "stretch"]
Rate = float | int  # frames a second
Size = tuple[int, int]  # height, width in pixels
AT_ONCE = 2**24  # pixels of a source that are held at once, whatever is asked: 50 MB of colours
READ_AHEAD = 32  # frames that a wrapper reads at once from what it wraps, at most
Span: TypeAlias = Any  # frames: an array whose first axis is time, or what behaves so (`trackset.TrackSpan`)


@dataclass(frozen=True)
class LoadReport:
    """What was loaded, in numbers that a caller may print.

    Frames, rate and size are those of the source; `low` and `high` span its values in the source's own unit.
    `content` says what the values are, `notes` what was filled, turned, cut or assumed.
    """

    control: str
    content: str
    frames: int
    fps: Rate
    height: int
    width: int
    low: float | None = None
    high: float | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        span = "" if self.low is None or self.high is None else f", values {self.low:.4g} to {self.high:.4g}"
        size = f"{self.frames} frames at {self.fps:g} fps, {self.height}×{self.width}"
        return "; ".join([f"{self.control}: {self.content}, {size}{span}", *self.notes])


@runtime_checkable
class Frames(Protocol):
    """Anything that holds frames and gives a span of them. Any order is allowed; rising order is the cheap one."""

    @property
    def frames(self) -> int: ...
    @property
    def fps(self) -> Rate: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...

    def read(self, start: int, stop: int) -> Span: ...


@runtime_checkable
class Signal(Frames, Protocol):
    """Frames of a control, with what was found when they were loaded."""

    @property
    def report(self) -> LoadReport: ...


@dataclass(frozen=True)
class ArraySignal:
    """Frames that lie in memory or in a memory map: an array whose first axis is time."""

    values: np.ndarray  # (f, h, w) or (f, h, w, 3)
    fps: Rate
    report: LoadReport

    @property
    def frames(self) -> int:
        return int(self.values.shape[0])

    @property
    def height(self) -> int:
        return int(self.values.shape[1])

    @property
    def width(self) -> int:
        return int(self.values.shape[2])

    def read(self, start: int, stop: int) -> np.ndarray:
        check_span(self, start, stop)
        return np.asarray(self.values[start:stop])


@dataclass(frozen=True)
class Mapped:
    """Other frames, each span passed through a function that treats every frame alone."""

    source: Frames
    each: Callable[[np.ndarray], np.ndarray]
    height: int
    width: int
    report: LoadReport

    @property
    def frames(self) -> int:
        return self.source.frames

    @property
    def fps(self) -> Rate:
        return self.source.fps

    def read(self, start: int, stop: int) -> np.ndarray:
        step = frames_at_once(self.source)
        parts = [self.each(self.source.read(at, min(at + step, stop))) for at in range(start, stop, step)]
        return join_spans(parts) if parts else self.each(self.source.read(start, stop))


@dataclass(frozen=True)
class Retimed:
    """Another signal under another clock: frame i shows frame `index(i)` of the source; the index never falls."""

    source: Signal
    frames: int
    fps: Rate
    index: Callable[[np.ndarray], np.ndarray]
    report: LoadReport

    @property
    def height(self) -> int:
        return self.source.height

    @property
    def width(self) -> int:
        return self.source.width

    def read(self, start: int, stop: int) -> Span:
        check_span(self, start, stop)
        wanted = self.index(np.arange(start, stop))
        low, high = int(wanted[0]), int(wanted[-1]) + 1
        if high - low <= max(READ_AHEAD, 2 * (stop - start)):
            return self.source.read(low, high)[wanted - low]
        return join_spans([self.source.read(int(at), int(at) + 1) for at in wanted])


class Joined:
    """Several signals one after another; each but the first leaves out its first `shared` frames.

    LongVie's clips share one frame, so k clips of 81 frames are 1 + 80·k frames.

    Raises:
        ControlError: no part, or parts that differ in size, rate or content.
    """

    def __init__(self, parts: Sequence[Signal], *, shared: int = 1) -> None:
        if not parts:
            raise ControlError("nothing to join: give at least one clip")
        first = parts[0]
        for number, part in enumerate(parts, start=1):
            if part.report.content != first.report.content:
                raise ControlError(
                    f"{first.report.control} of clip 1 is {first.report.content}, of clip {number} "
                    f"{part.report.content}: use one kind for all clips"
                )
            if (part.height, part.width, part.fps) != (first.height, first.width, first.fps):
                raise ControlError(
                    f"clip 1 is {first.height}×{first.width} at {first.fps:g} fps, clip {number} is "
                    f"{part.height}×{part.width} at {part.fps:g} fps: bring them to one size and rate"
                )
        self.parts = tuple(parts)
        self.shared = shared
        self.starts = np.cumsum([0, *(part.frames - (shared if i else 0) for i, part in enumerate(parts))])
        self.frames = int(self.starts[-1])
        self.fps, self.height, self.width = first.fps, first.height, first.width
        self.report = _joined_report([part.report for part in parts], self.frames)

    def read(self, start: int, stop: int) -> Span:
        check_span(self, start, stop)
        spans = []
        for number, part in enumerate(self.parts):
            begins, ends = int(self.starts[number]), int(self.starts[number + 1])
            low, high = max(start, begins), min(stop, ends)
            if low < high:
                skip = (self.shared if number else 0) - begins
                spans.append(self.of_part(number, part.read(low + skip, high + skip)))
        return join_spans(spans)

    def of_part(self, number: int, span: Span) -> Span:  # noqa: ARG002 - for those who must tell parts apart
        """A span of one part, as it appears in the whole."""
        return span


def align_signal(signal: Signal, *, frames: int | None, fps: Rate, align: str) -> Signal:
    """A signal of the length and rate that the clip needs; how, is the caller's choice and is noted in the report.

    - `error`: the lengths must agree; another rate is noted, and frame i stays frame i;
    - `trim`: frames past the end are left out;
    - `pad-last`: the last frame is held;
    - `resample`: the whole signal is spread over the whole clip, nearest frame in time; without `frames`, so that its
      duration stays.

    Raises:
        ControlError: the lengths differ and `align` does not say what to do about it (`control_length`).
        ConfigError: `align` is none of these.
    """
    if align not in get_args(Align):
        raise ConfigError(f"align is {align!r}; use one of {', '.join(get_args(Align))}")
    have = signal.frames
    if align == "resample":
        return _resampled(signal, frames, fps)
    if signal.fps != fps:
        signal = _noted(signal, f"{signal.fps:g} fps played frame by frame at {fps:g} fps")
    if frames is None or have == frames:
        return Retimed(signal, have, fps, lambda at: at, signal.report)
    if have < frames:
        if align != "pad-last":
            raise _length(signal.report.control, have, frames)
        note = f"last frame held for {frames - have} frames"
    else:
        if align != "trim":
            raise _length(signal.report.control, have, frames)
        note = f"last {have - frames} frames left out"
    report = replace(signal.report, notes=(*signal.report.notes, note))
    return Retimed(signal, frames, fps, lambda at: np.minimum(at, have - 1), report)


def held(signal: Signal, frames: int | None) -> Signal:
    """A signal of one frame, shown for as long as the clip lasts: a single picture is no video that is too short."""
    frames = signal.frames if frames is None else frames
    if signal.frames != 1 or frames == 1:
        return signal
    report = replace(signal.report, notes=(*signal.report.notes, f"one picture, shown for {frames} frames"))
    return Retimed(signal, frames, signal.fps, np.zeros_like, report)


def frames_at_once(frames: Frames) -> int:
    """How many frames may be read together without holding more than `AT_ONCE` pixels."""
    return max(1, min(READ_AHEAD, AT_ONCE // (frames.height * frames.width)))


def check_span(signal: Signal, start: int, stop: int) -> None:
    """A span inside the signal and not empty."""
    if not 0 <= start < stop <= signal.frames:
        raise ControlError(
            f"frames {start} to {stop} are asked of {signal.report.control}, which has {signal.frames}: "
            "ask for at least one frame between 0 and its end"
        )


def join_spans(spans: Sequence[Span]) -> Span:
    """Spans one after another in time."""
    if len(spans) == 1:
        return spans[0]
    if isinstance(spans[0], np.ndarray):
        return np.concatenate(spans)
    return spans[0].join(spans)


def _resampled(signal: Signal, frames: int | None, fps: Rate) -> Signal:
    have = signal.frames
    wanted = max(1, round((have - 1) / signal.fps * fps) + 1) if frames is None else frames
    if (have, signal.fps) == (wanted, fps):
        return signal

    def nearest(at: np.ndarray) -> np.ndarray:
        return (2 * at * (have - 1) + wanted - 1) // max(1, 2 * (wanted - 1))  # whole numbers: halves round up

    pace = (have - 1) / signal.fps * fps / max(1, wanted - 1)
    note = f"{have} frames at {signal.fps:g} fps spread over {wanted} at {fps:g} fps ({pace:.3g} times the pace)"
    report = replace(signal.report, notes=(*signal.report.notes, note))
    return Retimed(signal, wanted, fps, nearest, report)


def _noted(signal: Signal, note: str) -> Signal:
    report = replace(signal.report, notes=(*signal.report.notes, note))
    return Retimed(signal, signal.frames, signal.fps, lambda at: at, report)


def _length(control: str, have: int, need: int) -> ControlError:
    covers = f"{control} covers {have} frame{'' if have == 1 else 's'}"
    fix = f'add {need - have}, or use align="pad-last"' if have < need else f'drop {have - need}, or use align="trim"'
    return ControlError(f"{covers}, the clip needs {need}: {fix}", code="control_length")


def _joined_report(reports: Sequence[LoadReport], frames: int) -> LoadReport:
    lows = [report.low for report in reports if report.low is not None]
    highs = [report.high for report in reports if report.high is not None]
    notes = tuple(dict.fromkeys(note for report in reports for note in report.notes))
    return replace(
        reports[0],
        frames=frames,
        low=min(lows) if lows else None,
        high=max(highs) if highs else None,
        notes=(*notes, f"{len(reports)} clips joined"),
    )


def crop_box(came: Size, wanted: Size, crop: Crop) -> tuple[int, int, int, int]:
    """Top, left, height, width of what is kept of a picture before it is resized.

    `cover` keeps the middle in the shape of what is wanted, `stretch` keeps all.
    """
    height, width = came
    if crop == "stretch":
        return 0, 0, height, width
    kept_height = min(height, max(1, round(width * wanted[0] / wanted[1])))
    kept_width = min(width, max(1, round(height * wanted[1] / wanted[0])))
    return (height - kept_height) // 2, (width - kept_width) // 2, kept_height, kept_width


def place(frames: np.ndarray, size: Size, *, crop: Crop = "cover", how: Resize = "area") -> np.ndarray:
    """Frames (f, h, w) or (f, h, w, c), cropped and resized to the model's size."""
    top, left, height, width = crop_box(frames.shape[1:3], size, crop)
    return resize_frames(frames[:, top : top + height, left : left + width], size, how)
