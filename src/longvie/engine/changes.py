"""What may be changed while a video is made: words, strengths, whole controls, the camera, things dragged by hand.

A change is a function of the script and of the frame from which on it holds; so what was recorded as JSON makes the
same script again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float

from longvie.controls import control
from longvie.controls.depth import DepthRange
from longvie.controls.diorama import ROUNDS, VIEW, Diorama, DioramaDepth, DioramaTracks, Pace, Pull, grid
from longvie.controls.text import Line, Timeline, clean
from longvie.controls.tracks import TrackScale, dot_colours
from longvie.engine.script import Direction, Script, digest_of
from longvie.errors import ConfigError, ControlError


@dataclass(frozen=True)
class Say:
    """Other words from here on, whatever the script would have said later."""

    prompt: str

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on."""
        second = frame / script.fps
        before = tuple(line for line in script.prompts.lines if line.time < second)
        return replace(script, prompts=Timeline((*before, Line(second, clean(self.prompt))), script.prompts.duration))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "words", "prompt": self.prompt}


@dataclass(frozen=True)
class Strength:
    """Another strength of a control from here on: 0 is off, 1 as trained."""

    control: str
    strength: int | float

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on."""
        old = direction_of(script, self.control)
        if frame <= old.start:
            return _exchanged(script, old, replace(old, strength=self.strength, turns=()))
        turns = tuple(turn for turn in old.turns if turn[0] < frame)
        return _exchanged(script, old, replace(old, turns=(*turns, (frame, self.strength))))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "strength", "control": self.control, "strength": self.strength}


@dataclass(frozen=True)
class Follow:
    """A control from here on, instead of the one that has its name so far: other tracks, another depth.

    Attributes:
        direction: its signal counts from the first frame of the video on, as all do.
        source: how whoever keeps the journal finds it again.
    """

    direction: Direction
    source: str = ""

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on."""
        name = self.direction.name
        new = replace(self.direction, name=f"{name}@{frame}" if frame else name, start=frame)
        kept = []
        for old in script.controls:
            if old.name.split("@")[0] != name or old.ends(script.frames) <= frame:
                kept.append(old)
            elif old.start < frame:
                kept.append(replace(old, stop=frame, turns=tuple(turn for turn in old.turns if turn[0] < frame)))
        return replace(script, controls=(*kept, new))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "control", "control": self.direction.name, "source": self.source}


@dataclass(frozen=True)
class Move(Pace):
    """The camera moves at this pace from here on, through the world as it stands now (`controls.diorama`): depth and
    tracks are made of the last frame's depth. The pace of zero stops it.

    Attributes:
        view: degrees that the picture shows from top to bottom; of the first move or drag of a video.
    """

    view: int | float = VIEW

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on.

        Raises:
            ControlError: the camera shall travel where no depth is known.
        """
        return _staged(script, frame, self.view, lambda diorama: diorama.moving(frame, self))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "camera", **asdict(self)}


@dataclass(frozen=True)
class Drag(Pull):
    """Something that stands on the floor is dragged, from here on, in the world as it stands now."""

    view: int | float = VIEW

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on.

        Raises:
            ControlError: nothing is there, or no depth is known.
        """
        return _staged(script, frame, self.view, lambda diorama: diorama.dragged(frame, self))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "drag", **asdict(self)}


Change: TypeAlias = Say | Strength | Follow | Move | Drag
Find = Callable[[str, str], Direction]
"""Opens a control by its name and by where it came from."""


def change_from(facts: Mapping[str, Any], find: Find | None = None) -> Change:
    """The change that `to_json` wrote.

    Args:
        find: opens a control by its name and source.

    Raises:
        ConfigError: no such change, or one that needs a file and nobody finds it.
    """
    kind = facts.get("change")
    if kind == "words":
        return Say(str(facts["prompt"]))
    if kind == "strength":
        return Strength(str(facts["control"]), float(facts["strength"]))
    if kind == "camera":
        return Move(**{it.name: facts[it.name] for it in fields(Move)})
    if kind == "drag":
        return Drag(tuple(facts["at"]), tuple(facts["by"]), facts["seconds"], facts["view"])
    if kind == "control" and find is not None:
        name, source = str(facts["control"]), str(facts["source"])
        return Follow(find(name, source), source)
    raise ConfigError(f"a recorded change of kind {str(kind)[:40]!r} cannot be made again")


def direction_of(script: Script, name: str) -> Direction:
    """The newest control of a name.

    Raises:
        ControlError: the video has none.
    """
    found = [direction for direction in script.controls if name in (direction.name, direction.name.split("@")[0])]
    if not found:
        known = ", ".join(direction.name for direction in script.controls) or "none"
        raise ControlError(f"the video has no control {name[:60]!r}; it has {known}", code="control_unknown")
    return found[-1]


def _exchanged(script: Script, old: Direction, new: Direction) -> Script:
    return replace(script, controls=tuple(new if it is old else it for it in script.controls))


# --- a still world as controls ----------------------------------------------------------------------------------------


def travelled(script: Script, moves: Sequence[tuple[int, Move]]) -> Script:
    """The script whose camera has a way of its own from the first frame on, by what is known of that frame.

    Args:
        moves: from which frame on which pace holds, in order.

    Raises:
        ControlError: the camera shall travel where no depth is known.
    """

    def all_of_it(diorama: Diorama) -> Diorama:
        for frame, move in moves:
            diorama = diorama.moving(frame, move)
        return diorama

    return _staged(script, 0, moves[0][1].view, all_of_it)


def _staged(script: Script, frame: int, view: int | float, change: Callable[[Diorama], Diorama]) -> Script:
    """The script in which depth and tracks are those of a diorama from a frame on; what else was drawn is off."""
    at = max(0, frame - 1)
    depth, tracks = (_newest(script, name, at) for name in ("depth", "tracks"))
    diorama = change(_playing(depth) or _playing(tracks) or _begun(script, depth, at, view))
    digest = digest_of(diorama.disparity) + json.dumps(diorama.facts(), sort_keys=True)
    source = hashlib.sha256(digest.encode()).hexdigest()
    for other in script.controls:
        if other.control.name not in ("depth", "tracks") and other.start < script.frames > frame:
            script = Strength(other.name, 0.0).applied(script, frame)
    made = [_led(tracks, "tracks", DioramaTracks(diorama, script.frames), _dots(diorama), frame)]
    if depth is not None:
        scale = depth.scale if getattr(depth.scale, "near", None) is not None else DepthRange(0.0, 1.0)
        made.append(_led(depth, "depth", DioramaDepth(diorama, script.frames), scale, frame))
    for direction in made:
        script = Follow(replace(direction, source=source)).applied(script, frame)
    return script


def _newest(script: Script, name: str, at: int) -> Direction | None:
    """The last one of a control that knows of a frame."""
    known = [it for it in script.controls if it.control.name == name and it.start <= at + 1 and it.signal.frames > at]
    return known[-1] if known else None


def _playing(direction: Direction | None) -> Diorama | None:
    signal = None if direction is None else direction.signal
    return signal.diorama if isinstance(signal, DioramaDepth | DioramaTracks) else None


def _begun(script: Script, depth: Direction | None, at: int, view: int | float) -> Diorama:
    """The world as it stands at a frame."""
    if depth is None:
        return Diorama(np.zeros(script.size, np.float32), at, script.fps, view, deep=False)
    return Diorama(_disparity(depth, at), at, script.fps, view)


def _disparity(depth: Direction, at: int) -> Float[np.ndarray, "h w"]:
    """Of one frame; a drawn one is dark where it is near."""
    read = depth.signal.read(at, at + 1)[0]
    return read.astype(np.float32) if read.ndim == 2 else (1 - read.mean(-1) / 255).astype(np.float32)


def _led(before: Direction | None, name: str, signal: Any, scale: Any, frame: int) -> Direction:
    """A control that takes the place of the one before, as strong as that is, if it is on."""
    if before is None:
        return Direction(name, control.get(name), signal, scale)
    past = [strength for at, strength in before.turns if at <= frame]
    strength = (past[-1] if past else before.strength) or 1.0
    return Direction(before.name.split("@")[0], before.control, signal, scale, strength)


def _dots(diorama: Diorama) -> TrackScale:
    """Colours of the points: by their place in the grid, and how near that place was at first."""
    y, x = grid(*diorama.disparity.shape)
    near = np.maximum(diorama.disparity[y, x] / diorama.unit, 1e-4)
    low, high = (float(value) for value in np.percentile(near, [2, 98]))
    colours = dot_colours(np.stack([x + 0.5, y + 0.5, 1 / near], axis=1), diorama.disparity.shape, low, high)
    return TrackScale(np.tile(colours, (ROUNDS, 1)).tobytes().hex(), low, high)
