"""LongVie's own cond.json: a list of clips, each with its words and its drawn depth and tracks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longvie.controls.control import Control
from longvie.controls.published import CLIP
from longvie.controls.signals import Rate, Signal, Size
from longvie.controls.text import Line, Timeline, check_fields, clean
from longvie.documents import read_json
from longvie.errors import LongVieError, ScriptError

FIELDS = {"depth": "depth", "track": "tracks", "video": "video"}  # name in the file, name with us
MOST_CLIPS = 1000


@dataclass(frozen=True)
class Conditions:
    """What a cond.json asks for: clips of 81 frames that share one frame, so 1 + 80·k in all.

    `files` are the clips' files by the name of the control (`depth`, `tracks`) or `video`, their source; either every
    clip has one, or none.
    """

    prompts: tuple[str, ...]
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        return 1 + CLIP * len(self.prompts)

    def starts(self) -> tuple[int, ...]:
        """The first frame that belongs to each clip alone."""
        return tuple(1 + CLIP * clip if clip else 0 for clip in range(len(self.prompts)))

    def timeline(self, fps: Rate) -> Timeline:
        """The clips' prompts by time."""
        lines = zip(self.starts(), self.prompts, strict=True)
        return Timeline(tuple(Line(start / fps, prompt) for start, prompt in lines), self.frames / fps)

    def signal(self, control: Control, *, size: Size, fps: Rate, declared: Mapping[str, Any] | None = None) -> Signal:
        """All clips of one control as one signal: each file must hold 81 frames, and opens only when it is read.

        Raises:
            ScriptError: the file names none for this control.
            ControlError: a clip of another length, or that this control cannot use.
        """
        if control.name not in self.files:
            have = ", ".join(sorted(self.files)) or "none"
            raise ScriptError(f"the conditions hold no {control.name}; there are {have}", code="field_missing")
        parts = []
        for number, path in enumerate(self.files[control.name], start=1):
            try:
                parts.append(control.load(path, size=size, fps=fps, frames=1 + CLIP, declared=declared))
            except LongVieError as error:
                raise type(error)(f"clip {number}: {error}", code=error.code) from error
        return control.join(parts)


def read_conditions(path: Path) -> Conditions:
    """A cond.json; relative paths lie beside it.

    Raises:
        ScriptError: not a list of clips with `text`, or clips that do not all have the same fields.
    """
    clips = read_json(path, error=ScriptError)
    if not isinstance(clips, list) or not clips:
        raise ScriptError(
            f'{path.name} holds no clips: write [{{"text": "…", "depth": "depth_00.mp4", "track": "track_00.mp4"}}]'
        )
    if len(clips) > MOST_CLIPS:
        raise ScriptError(f"{path.name} holds {len(clips)} clips, at most {MOST_CLIPS} are read")
    prompts: list[str] = []
    files: dict[str, list[Path]] = {}
    for number, clip in enumerate(clips, start=1):
        name = f"clip {number} of {path.name}"
        prompts.append(_text(clip, name))
        for key in FIELDS:
            if key in clip:
                files.setdefault(FIELDS[key], []).append(_path(clip[key], f"{key} of {name}", path.parent))
    for key, there in files.items():
        if len(there) != len(clips):
            raise ScriptError(
                f"{len(there)} of {len(clips)} clips have {key}: give it for all of them, or for none",
                code="field_missing",
            )
    return Conditions(tuple(prompts), {key: tuple(there) for key, there in files.items()})


def _text(clip: object, name: str) -> str:
    if not isinstance(clip, Mapping):
        raise ScriptError(f"{name} is {type(clip).__name__}, needed are fields text, depth and track")
    check_fields(clip, required=("text",), optional=tuple(FIELDS), name=name)
    if not isinstance(clip["text"], str):
        raise ScriptError(f"text of {name} is {type(clip['text']).__name__}, needed is text")
    try:
        return clean(clip["text"])
    except LongVieError as error:
        raise ScriptError(f"{name}: {error}", code=error.code) from error


def _path(value: object, name: str, beside: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ScriptError(f"{name} needs the name of a file")
    return beside / value
