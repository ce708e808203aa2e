"""What every control must do, the register of controls, and the step that all share: rendered frames → latents.

A control's life is load → fit → render → encode. `fit` looks at the whole signal once, `render` then treats every
frame alone, so that rendering in spans equals rendering whole and no seam can be seen.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.controls.signals import Align, Joined, Rate, Signal, Size, Span, frames_at_once
from longvie.errors import ControlError, ShapeError
from longvie.limits import LOCAL

Branch = Literal["dense", "sparse"]
Encode = Callable[[Float[Tensor, "b 3 f height width"], Any], tuple[Float[Tensor, "b c l h w"], Any]]

DENSE_KINDS = ("depth", "sketch", "segmentation")  # order of the learned kinds of the dense branch

Known = TypeVar("Known", bound="Scale")
Entered = TypeVar("Entered", bound="Control")
Declared = TypeVar("Declared")


@dataclass(frozen=True)
class Scale:
    """What `fit` found on the whole signal. Fields are numbers, text, true or false, or None: JSON and back."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls: type[Known], values: Mapping[str, Any]) -> Known:
        """The scale that `to_json` wrote.

        Raises:
            ControlError: a field is missing or unknown.
        """
        return declare(cls, values, cls.__name__)


@dataclass(frozen=True)
class Control(ABC):
    """One kind of control: which branch takes it, and its life from a file to pictures in [-1, 1].

    `quirks` prepares everything as the released LongVie weights know it, mistakes included.
    """

    name: ClassVar[str]
    branch: ClassVar[Branch]
    kind: ClassVar[int | None]  # index into DENSE_KINDS, None for the sparse branch
    scale: ClassVar[type[Scale]]

    quirks: bool = False

    @abstractmethod
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
        """Open a source and check it; nothing is rendered, and no more than a span is held.

        Args:
            source: a file, or a folder of pictures.
            size: height and width of the model, in pixels.
            fps: frames a second of the model.
            frames: how many frames the clip needs; None takes what there is.
            align: what to do when the signal is longer or shorter, see `signals.align_signal`.
            declared: what the caller knows about the source; each control has its own fields.

        Raises:
            ControlError: the source is not what this control needs, or must be declared.
            MediaError, LimitError: from the door for bytes.
        """

    def join(self, parts: Sequence[Signal], *, shared: int = 1) -> Signal:
        """Signals of several clips as one; each but the first leaves out the `shared` frames that it begins with."""
        return Joined(parts, shared=shared)

    @abstractmethod
    def fit(self, signal: Signal) -> Scale:
        """What must be equal for the whole video, found on the whole signal."""

    @abstractmethod
    def render(self, span: Span, scale: Scale) -> Float[Tensor, "3 f h w"]:
        """Pictures in [-1, 1] of a span as `Signal.read` gives it; every frame alone."""


_REGISTER: dict[str, type[Control]] = {}


def register(name: str) -> Callable[[type[Entered]], type[Entered]]:
    """Enter a control, a frozen dataclass, under its name; it is made when it is asked for."""

    def enter(control: type[Entered]) -> type[Entered]:
        if name in _REGISTER:
            raise ValueError(f"control {name!r} is registered twice")
        control.name = name
        _REGISTER[name] = control
        return control

    return enter


def names() -> list[str]:
    """All registered controls."""
    return sorted(_REGISTER)


def get(name: str, **options: Any) -> Control:
    """The control of this name.

    Raises:
        ControlError: unknown name or option, with the nearest known one.
    """
    if name not in _REGISTER:
        raise ControlError(f"no control {name!r}; {_nearest(name, names())}", code="control_unknown")
    control = _REGISTER[name]
    known = [field.name for field in fields(control)]
    for option in options:
        if option not in known:
            raise ControlError(f"control {name!r} has no option {option!r}; {_nearest(option, known)}")
    return control(**options)


def declare(kind: type[Declared], values: Mapping[str, Any] | None, name: str) -> Declared:
    """A dataclass from what the caller declared; the class checks its values itself.

    Raises:
        ControlError: a field is unknown, with the nearest known one, or missing.
    """
    declared = fields(kind)  # type: ignore[arg-type]  # dataclasses have no public type of their own
    known = [field.name for field in declared]
    for key in values or {}:
        if key not in known:
            raise ControlError(f"{name} has no field {key!r}; {_nearest(str(key), known)}", code="field_unknown")
    missing = [f.name for f in declared if f.name not in (values or {}) and f.default is MISSING]
    if missing:
        raise ControlError(f"{name} lacks {', '.join(missing)}", code="field_missing")
    return kind(**(values or {}))


def declared_rate(fps: object, name: str) -> None:
    """Check frames a second as a caller declared it, who may declare anything; None leaves it open."""
    most = LOCAL.frames_per_second
    rate = fps if isinstance(fps, int | float) and not isinstance(fps, bool) else 0
    if fps is not None and not 0 < rate <= most:
        raise ControlError(
            f"{name} is declared to have {str(fps)[:40]!r} fps: give a number above 0 and up to {most:g}",
            code="field_range",
        )


@dataclass(frozen=True)
class Carried:
    """What the encoder remembers between spans: its own state, and frames that do not yet fill a latent frame."""

    state: Any = None
    begun: bool = False
    waiting: Float[Tensor, "3 f height width"] | None = None  # fewer frames than one latent frame holds


def encode_span(
    rendered: Float[Tensor, "3 f height width"], encode: Encode, carried: Carried, *, stride: int = 4
) -> tuple[Float[Tensor, "1 c l h w"] | None, Carried]:
    """Encode one rendered span, going on from what was carried; None while no latent frame is full.

    Args:
        rendered: the next frames, any number of them.
        encode: `encode(video, state) -> (latents, state)`; first called with 1 + stride·k frames, then with stride·k.
        carried: `Carried()` at first, then what the last call returned.
        stride: video frames per latent frame.
    """
    video, carried = filled(rendered, carried, stride=stride)
    if video is None:
        return None, carried
    latents, state = encode(video[None], carried.state)
    return latents, replace(carried, state=state)


def filled(
    rendered: Float[Tensor, "3 f height width"], carried: Carried, *, stride: int = 4
) -> tuple[Float[Tensor, "3 _ height width"] | None, Carried]:
    """Of the next frames of a stream, and those that waited, as many as fill latent frames, None if none is full; and
    what is carried on from there, but for the encoder's state. Arguments as `encode_span` has them.
    """
    video = rendered if carried.waiting is None else torch.cat([carried.waiting, rendered], dim=1)
    lone = 0 if carried.begun else 1  # the first latent frame holds a single frame
    if video.shape[1] < lone + (stride if carried.begun else 0):
        return None, replace(carried, waiting=video)
    whole = lone + (video.shape[1] - lone) // stride * stride
    waiting = video[:, whole:] if whole < video.shape[1] else None
    return video[:, :whole], Carried(carried.state, True, waiting)


def encode_spans(
    rendered: Iterable[Float[Tensor, "3 _ height width"]], encode: Encode, *, stride: int = 4
) -> Iterator[Float[Tensor, "1 c _ h w"]]:
    """Latents of a whole control, span by span; equal to encoding it at once, whatever the spans.

    Raises:
        ShapeError: the frames end inside a latent frame.
    """
    carried = Carried()
    for span in rendered:
        latents, carried = encode_span(span, encode, carried, stride=stride)
        if latents is not None:
            yield latents
    if carried.waiting is not None:
        extra = carried.waiting.shape[1]
        raise ShapeError(f"{extra} frames at the end do not fill a latent frame: drop {extra} or add {stride - extra}")


def rendered_spans(
    control: Control, signal: Signal, scale: Scale, *, start: int = 0, stop: int | None = None, step: int = 16
) -> Iterator[Float[Tensor, "3 _ h w"]]:
    """A signal, rendered `step` frames at a time."""
    stop = signal.frames if stop is None else stop
    for at in range(start, stop, step):
        yield control.render(signal.read(at, min(at + step, stop)), scale)


def glances(signal: Signal, most: int = 32) -> Iterator[Span]:
    """Single frames spread evenly over a signal, its first and last among them: all of it where it is short."""
    for at in sorted({round(i * (signal.frames - 1) / max(1, most - 1)) for i in range(most)}):
        yield signal.read(at, at + 1)


def spans(signal: Signal, *, stop: int | None = None) -> Iterator[Span]:
    """All of a signal, or its frames before `stop`, as many at a time as memory bears."""
    stop, step = signal.frames if stop is None else stop, frames_at_once(signal)
    for at in range(0, stop, step):
        yield signal.read(at, min(at + step, stop))


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"
