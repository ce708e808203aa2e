"""Real footage with its controls drawn beforehand, as LongVie's metadata lists it (reference §6.2).

The metadata is a JSON list of clips: `video`, `depth` and `track` are mp4 files (relative paths lie beside the
metadata), `text` is the caption. Of each file the first frames are read, resized to cover the model's size and cropped
in the middle; depth and tracks are pictures already and go through their controls as a user's files do.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from longvie import controls
from longvie.controls.signals import Size, place
from longvie.controls.text import Line, Timeline
from longvie.documents import read_json
from longvie.engine.script import Direction, Script
from longvie.errors import InputError
from longvie.limits import LOCAL, Limits
from longvie.media import VideoFrames, to_unit

FIELDS = ("video", "depth", "track", "text")
METADATA = replace(LOCAL, document_bytes=2**28, document_items=10**7)  # 60,000 clips were used (arXiv 2512.13604)


@dataclass(frozen=True)
class Entry:
    """One clip of the metadata."""

    video: Path
    depth: Path
    track: Path
    text: str


@dataclass(frozen=True)
class Sample:
    """A clip, and the script under which an engine is to make it."""

    video: Float[Tensor, "3 f h w"]  # [-1, 1]
    script: Script


@dataclass(frozen=True)
class Footage:
    """Clips of one length, size and rate, each read when it is asked for."""

    entries: tuple[Entry, ...]
    frames: int
    size: Size
    fps: int

    @classmethod
    def open(cls, metadata: Path, *, frames: int, size: Size, fps: int, limits: Limits = METADATA) -> "Footage":
        """All clips of a metadata file; no video is opened yet.

        Raises:
            InputError: not such a list, or a file that it names is not there.
        """
        return cls(read_metadata(metadata, limits=limits), frames, size, fps)

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, index: int) -> Sample:
        """A clip with its first frame, words, depth and tracks as a script.

        Raises:
            InputError: a file cannot be read or is too short.
        """
        entry = self.entries[index]
        with VideoFrames(entry.video) as source:
            if source.frames < self.frames:
                raise InputError(
                    f"{entry.video.name} has {source.frames} frames, a clip {self.frames}: leave it out of the metadata"
                )
            video = to_unit(place(source.read(0, self.frames), self.size))
        script = Script(
            self.frames,
            self.size,
            self.fps,
            Timeline((Line(0.0, entry.text),)),
            picture=video[:, :1],
            controls=(self._drawn("depth", entry.depth, content="picture"), self._drawn("tracks", entry.track)),
        )
        return Sample(video, script)

    def _drawn(self, name: str, file: Path, **declared: str) -> Direction:
        """A drawn control, frame by frame: the rate that its file declares says nothing (published tracks say 8)."""
        control = controls.get(name)
        signal = control.load(
            file, size=self.size, fps=self.fps, frames=self.frames, align="trim", declared=declared or None
        )
        return Direction.fitted(control, signal)


def read_metadata(metadata: Path, *, limits: Limits = METADATA) -> tuple[Entry, ...]:
    """The clips of a metadata file.

    Raises:
        InputError: not a list of clips with all four fields, or a file that it names is not there.
    """
    listed = read_json(metadata, limits=limits)
    if not isinstance(listed, list) or not listed:
        raise InputError(
            f'{metadata.name} lists no clips: write [{{"video": "0.mp4", "depth": "0_depth.mp4", '
            f'"track": "0_track.mp4", "text": "…"}}]'
        )
    return tuple(_entry(clip, f"clip {number} of {metadata.name}", metadata) for number, clip in enumerate(listed, 1))


def _entry(clip: Any, name: str, metadata: Path) -> Entry:
    if not isinstance(clip, dict):
        raise InputError(f"{name} is no table of fields; it needs {', '.join(FIELDS)}")
    for field in FIELDS:
        if not isinstance(clip.get(field), str) or not clip[field].strip():
            raise InputError(f"{name} has no '{field}' that is text; it needs {', '.join(FIELDS)}")
    files = {field: metadata.parent / clip[field] for field in FIELDS[:3]}
    for field, file in files.items():
        if not file.is_file():
            raise InputError(f"{name}: its {field} {file.name} is not there; relative paths lie beside the metadata")
    return Entry(**files, text=clip["text"])
