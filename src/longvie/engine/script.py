"""What is asked, by frame: words, pictures, controls, beats; and how it is cut into clips."""

import hashlib
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvie.controls.control import Control, Scale
from longvie.controls.signals import Signal, Size
from longvie.controls.text import Timeline
from longvie.errors import ControlError, ScriptError
from longvie.runtime import checked_seed
from longvie.shapes import Strides, fit_frames

CLIP = 20  # latent frames that a clip adds; the first clip brings one more, a single frame
STRONGEST = 2.0  # twice as trained
NOTICED = 4  # frames by which words must be late or early before anything is said of it
AT_ONCE = 32  # frames of a signal that are hashed at a time


@runtime_checkable
class Keyframe(Protocol):
    """A picture that the video is to show at one frame; `controls.keyframes.Keyframe` reads it from a file."""

    @property
    def frame(self) -> int: ...

    @property
    def strength(self) -> int | float:
        """0 to 1: how surely."""
        ...

    def picture(self, size: Size) -> Float[Tensor, "3 1 h w"]:
        """In [-1, 1] at that size."""
        ...


@dataclass(frozen=True)
class Still:
    """A keyframe that lies in memory."""

    frame: int
    pixels: Float[Tensor, "3 1 h w"]
    strength: int | float = 1.0

    def picture(self, size: Size) -> Float[Tensor, "3 1 h w"]:
        """The picture, if it has this size.

        Raises:
            ScriptError: it has another one.
        """
        return sized(self.pixels, size, f"the keyframe at frame {self.frame}")


@dataclass(frozen=True)
class Direction:
    """A control as one video uses it: opened, fitted on its whole signal, from `start` up to before `stop` (frames).

    Attributes:
        name: its own in the video; two depth signals have two names.
        strength: 0 is off, 1 is as trained.
        turns: changes of strength on the way, as (frame, strength from there on), in order.
        source: sha256 of the file that it came from; where nobody knows it, the signal itself is read and hashed.
    """

    name: str
    control: Control
    signal: Signal
    scale: Scale
    strength: int | float = 1.0
    start: int = 0
    stop: int | None = None
    source: str | None = None
    turns: tuple[tuple[int, int | float], ...] = ()

    @classmethod
    def fitted(cls, control: Control, signal: Signal, *, name: str | None = None, **how: Any) -> "Direction":
        """With the scale found here, once, on all of the signal: a scale per clip would make every seam flicker."""
        return cls(name or control.name, control, signal, control.fit(signal), **how)

    def share(self, frames: range) -> int | float:
        """Strength over some frames: full within start and stop, in proportion where they lie across, or where it
        changes.
        """
        begins = [self.start, *(frame for frame, _ in self.turns), self.ends(frames.stop)]
        strengths = [self.strength, *(strength for _, strength in self.turns)]
        parts = [
            strength * len(range(max(frames.start, begin), min(frames.stop, end)))
            for strength, (begin, end) in zip(strengths, pairwise(begins), strict=True)
        ]
        return sum(parts) / len(frames)

    def ends(self, frames: int) -> int:
        """The frame after its last in a video of so many frames."""
        return frames if self.stop is None else self.stop

    def facts(self) -> dict[str, Any]:
        """What decides its effect, as JSON."""
        return {
            "name": self.name,
            "control": self.control.name,
            "strength": self.strength,
            "start": self.start,
            "stop": self.stop,
            "scale": self.scale.to_json(),
            "source": self.source or digest_of_signal(self.signal),
        } | ({"turns": [list(turn) for turn in self.turns]} if self.turns else {})


@dataclass(frozen=True)
class Span:
    """The frames of one clip, from `start` up to before `stop`.

    Attributes:
        lone: the first latent frame stands for a single frame: the first of the video, or one that the clip before
            has shown already.
        prompt: what is said in this clip.
    """

    clip: int
    start: int
    stop: int
    lone: bool
    prompt: str

    @property
    def new(self) -> int:
        """The first frame that no clip before has shown."""
        return self.start + int(self.lone and self.clip > 0)

    def groups(self, strides: Strides) -> list[range]:
        """The frames that each latent frame stands for."""
        first = [range(self.start, self.start + 1)] if self.lone else []
        starts = range(self.start + len(first), self.stop, strides.time)
        return first + [range(at, at + strides.time) for at in starts]


@dataclass(frozen=True)
class Script:
    """One video, as it is asked for.

    Attributes:
        frames: how many are wanted.
        size: height and width in pixels, of the model.
        fps: frames a second, of the model.
        prompts: what is said, by second.
        seed: of all noise.
        negative: what is not wanted; used where guidance is above 1.
        picture: the first frame, in [-1, 1].
        keyframes: pictures at later frames.
        controls: each over the whole video.
        beats: strength of the beat at each frame, 0 to 1.

    Raises:
        ScriptError: a number out of range, a picture of another size, two pictures for one latent frame.
        ControlError: a control that is too short, of another size, or named twice.
    """

    frames: int
    size: Size
    fps: int | float
    prompts: Timeline
    seed: int = 0
    negative: str = ""
    picture: Float[Tensor, "3 1 h w"] | None = None
    keyframes: tuple[Keyframe, ...] = ()
    controls: tuple[Direction, ...] = ()
    beats: Float[np.ndarray, " f"] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        if self.frames < 1 or not (isfinite(self.fps) and self.fps > 0) or min(self.size) < 1:
            height, width = self.size
            raise ScriptError(
                f"{self.frames} frames of {height}×{width} at {self.fps:g} fps are asked for: use 1 or more of each"
            )
        self.prompts.within(self.frames / self.fps)
        if self.picture is not None:
            sized(self.picture, self.size, "the first picture")
        for keyframe in self.keyframes:
            self._check_keyframe(keyframe)
        for direction in self.controls:
            self._check_control(direction)
        if self.beats is not None and len(self.beats) != self.frames:
            raise ScriptError(f"beats cover {len(self.beats)} frames, the video has {self.frames}: give one per frame")

    def _check_keyframe(self, keyframe: Keyframe) -> None:
        at = keyframe.frame
        if not 0 <= at < self.frames:
            raise ScriptError(f"a keyframe is at frame {at}, the video has frames 0 to {self.frames - 1}: move it")
        if not 0 <= keyframe.strength <= 1:
            raise ScriptError(f"the keyframe at frame {at} has strength {keyframe.strength:g}: use 0 to 1")
        if at == 0 and self.picture is not None:
            raise ScriptError("frame 0 has a first picture and a keyframe: keep one of them")
        if sum(other.frame == at for other in self.keyframes) > 1:
            raise ScriptError(f"two keyframes are at frame {at}: keep one of them")

    def _check_control(self, direction: Direction) -> None:
        name, signal = direction.name, direction.signal
        for strength in (direction.strength, *(strength for _, strength in direction.turns)):
            if not (isfinite(strength) and 0 <= strength <= STRONGEST):
                raise ControlError(f"{name} has strength {strength:g}: use 0 (off) to {STRONGEST:g}, 1 is as trained")
        turns = [frame for frame, _ in direction.turns]
        if turns != sorted(set(turns)) or any(not direction.start < frame < self.frames for frame in turns):
            raise ControlError(f"{name} changes at frames {turns}: use rising numbers between its first and its last")
        ends = direction.ends(self.frames)
        if not 0 <= direction.start < ends <= self.frames:
            raise ControlError(
                f"{name} holds from frame {direction.start} to {ends}, the video has {self.frames}: "
                "begin it before it ends, and end it within the video"
            )
        if signal.frames < ends:
            raise ControlError(
                f"{name} covers {signal.frames} frames, the video needs {ends}: add {ends - signal.frames}, "
                'end it earlier, or load it with align="pad-last"',
                code="control_length",
            )
        if (signal.height, signal.width) != tuple(self.size):
            came, needed = (f"{h}×{w}" for h, w in ((signal.height, signal.width), self.size))
            raise ControlError(f"{name} is {came}, the video {needed}: load it with size={tuple(self.size)}")
        if sum(other.name == name for other in self.controls) > 1:
            raise ControlError(f"two controls are called {name!r}: give each its own name")

    def spans(self, strides: Strides = Strides(), *, clip: int = CLIP, shared: bool = False) -> list[Span]:  # noqa: B008
        """The video clip by clip: 1 + clip·k latent frames after k clips, the last one no longer than needed.

        Args:
            strides: of the autoencoder.
            clip: latent frames that each clip adds.
            shared: later clips begin with the last frame of the one before (LongVie), not with a new one.
        """
        length, end = clip * strides.time, fit_frames(self.frames, strides)
        last = max(0, -(-(end - 1) // length) - 1)
        spans = []
        for number in range(last + 1):
            new = length * number + int(number > 0)
            stop = min(length * (number + 1) + 1, end)
            start = new - int(shared and number > 0)
            spans.append(
                Span(number, start, stop, shared or number == 0, self.prompts.lines[self.line(new, stop)].prompt)
            )
        return spans

    def line(self, start: int, stop: int) -> int:
        """Which line of the prompts holds for most of some frames; of two that hold equally long, the earlier."""
        begins = [line.time for line in self.prompts.lines]
        seconds = (frame / self.fps for frame in range(start, min(stop, self.frames)))
        return Counter(bisect_right(begins, second) - 1 for second in seconds).most_common(1)[0][0]

    def warnings(self, spans: list[Span]) -> list[str]:
        """Sentences for the user: a clip has one prompt, so words that change in its midst are heard earlier, later,
        or never.
        """
        found = list(self.prompts.warnings)
        heard = [self.line(span.new, span.stop) for span in spans]
        for number, line in enumerate(self.prompts.lines):
            if number not in heard:
                found.append(
                    f"the words from {line.time:g} s on hold for less than half of every clip: they go unheard"
                )
                continue
            span = spans[heard.index(number)]
            if abs(span.new - line.time * self.fps) >= NOTICED:
                at = span.new / self.fps
                found.append(f"the words from {line.time:g} s on are heard from {at:g} s: a clip has one prompt")
        return found

    def facts(self) -> dict[str, Any]:
        """All that decides the video, as JSON; pictures and signals by their hash."""
        return {
            "frames": self.frames,
            "size": list(self.size),
            "fps": self.fps,
            "seed": self.seed,
            "prompts": [{"time": line.time, "prompt": line.prompt} for line in self.prompts.lines],
            "negative": self.negative,
            "picture": None if self.picture is None else digest_of(self.picture.numpy()),
            "keyframes": [
                {"frame": key.frame, "strength": key.strength, "picture": digest_of(key.picture(self.size).numpy())}
                for key in self.keyframes
            ],
            "controls": [direction.facts() for direction in self.controls],
            "beats": None if self.beats is None else digest_of(self.beats),
        }


def sized(picture: Float[Tensor, "3 1 h w"], size: Size, what: str) -> Float[Tensor, "3 1 h w"]:
    """The picture, if it has this size.

    Raises:
        ScriptError: it has another one.
    """
    if tuple(picture.shape[2:]) != tuple(size):
        came, needed = (f"{h}×{w}" for h, w in (picture.shape[2:], size))
        raise ScriptError(f"{what} is {came}, the video {needed}: resize it first")
    return picture


def beats_of(script: Script, span: Span, strides: Strides) -> Float[Tensor, "1 l 4"] | None:
    """Four values per latent frame, one per video frame; a lone frame's value four times, silence past the end."""
    if script.beats is None:
        return None
    heard = np.zeros(max(span.stop, script.frames), np.float32)
    heard[: script.frames] = script.beats
    rows = [np.resize(heard[group.start : group.stop], strides.time) for group in span.groups(strides)]
    return torch.from_numpy(np.stack(rows))[None]


def digest_of(*arrays: np.ndarray) -> str:
    """sha256 over shapes, types and bytes, in hex."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(f"{array.shape}{array.dtype.str}".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def digest_of_signal(signal: Signal) -> str:
    """sha256 over what a signal gives, a few frames at a time."""
    total = hashlib.sha256()
    for at in range(0, signal.frames, AT_ONCE):
        span = signal.read(at, min(at + AT_ONCE, signal.frames))
        arrays = (span,) if isinstance(span, np.ndarray) else (span.points, span.visible, span.ids)
        total.update(digest_of(*arrays).encode())
    return total.hexdigest()
