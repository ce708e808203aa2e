"""The parts of a run: what the journal and the files say of those that are done, and one while it is written."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from longvie.engine.stream import Chunk, EngineState
from longvie.errors import InputError, Interrupted, ResourceError
from longvie.journal import Event, Journal
from longvie.media import VideoWriter, adapt_frames, key_seconds, write_picture
from longvie.media.files import flush_to_disk, room_for, shown
from longvie.models.weights import digest
from longvie.runs.facts import rate

FOLDERS = ("video", "state")
LONGEST = 81  # frames for which room is looked for at a time
BITS_PER_PIXEL = 4.0  # of video, on the safe side: for the check whether a part will fit on the disk


class Parts:
    """The parts that are done. One counts once its event is in the journal and as long as its files are whole."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.folder, self.journal = folder, journal

    def state(self, part: int) -> Path:
        """Where the engine's state after a part lies."""
        return self.folder / "state" / f"{part:03d}.safetensors"

    def segment(self, part: int) -> Path:
        """Where the frames of a part lie."""
        return self.folder / "video" / f"{part:03d}.mp4"

    def done(self) -> list[Event]:
        """Their events in order; a part that was made again takes the later ones with it."""
        done: list[Event] = []
        for event in self.journal.events():
            if event["event"] == "part":
                done = [*done[: event["part"]], event]
        return done

    def sound(self) -> list[Event]:
        """Those whose files are whole; what follows the first that is not has to be made again."""
        sound = []
        for event in self.done():
            if self.troubles(event):
                break
            sound.append(event)
        return sound

    def segments(self) -> list[Path]:
        """The files that make the video; a part may be too short to hold a frame of a slow one."""
        return [self.segment(part["part"]) for part in self.done() if part["segment"] is not None]

    def troubles(self, part: Event) -> list[str]:
        """What is wrong with the files of a part."""
        number = part["part"]
        files = [(self.state(number), part["state"])]
        if part["segment"] is not None:
            files.append((self.segment(number), part["segment"]))
        found = [f"{file.name} is missing" for file, _ in files if not file.is_file()]
        changed = [file for file, wanted in files if file.is_file() and digest(file) != wanted]
        return found + [f"{file.name} is not the file that was written" for file in changed]

    def sweep(self, done: int) -> None:
        """Remove what a crash left half done, and parts from number `done` on."""
        for kind in FOLDERS:
            for file in (self.folder / kind).iterdir():
                if not file.stem.isdecimal() or int(file.stem) >= done:
                    file.unlink()
        for file in self.folder.glob(".*.part"):
            file.unlink()

    def copy(self, part: Event, to: "Parts", state: EngineState | None) -> None:
        """Give a part to another run; `state` takes the place of the one that is saved."""
        number = part["part"]
        if part["segment"] is not None:
            shutil.copyfile(self.segment(number), to.segment(number))
        if state is None:
            shutil.copyfile(self.state(number), to.state(number))
        else:
            state.save(to.state(number))
        kept = {name: part[name] for name in ("part", "start", "stop", "frames", "segment")}
        to.journal.add("part", **kept, state=digest(to.state(number)))


class Part:
    """One part while it is written: its segment, and what the journal will say of it."""

    def __init__(self, parts: Parts, facts: Mapping[str, Any], number: int, frames_dir: Path | None = None) -> None:
        self.parts, self.facts, self.number, self.frames_dir = parts, facts, number, frames_dir
        self.output, self.rate = facts["request"]["output"], rate(facts)
        self.start: int | None = None
        self.stop = 0
        self.written = 0
        self.writer: VideoWriter | None = None
        self.draft = parts.segment(number).with_suffix(".part")

    def following(self) -> "Part":
        """The part after this one."""
        return Part(self.parts, self.facts, self.number + 1, self.frames_dir)

    def write(self, chunk: Chunk) -> None:
        """Append frames, at the size and rate of the file."""
        if self.start is None:
            self.start = chunk.start
            self._check_room(chunk)
        self.stop = chunk.stop
        size = self.output["size"]
        adapted = adapt_frames(
            [chunk.pictures()],
            from_fps=chunk.fps,
            to_fps=self.rate,
            size=None if size is None else tuple(size),
            first=chunk.start,
        )
        for frames in adapted:
            self._opened(frames).write(frames)
            self._write_pictures(frames, chunk)
            self.written += len(frames)

    def close(self, state: EngineState) -> None:
        """The part is done: segment, state, journal, each on the disk before the next."""
        segment = None
        if self.writer is not None:
            writer, self.writer = self.writer, None
            writer.close()
            with room_for(0, self.draft.parent):
                self.draft.rename(self.parts.segment(self.number))
                flush_to_disk(self.draft.parent)
            segment = digest(self.parts.segment(self.number))
        path = self.parts.state(self.number)
        state.save(path)
        self.parts.journal.add(
            "part",
            part=self.number,
            start=self.start,
            stop=self.stop,
            frames=self.written,
            segment=segment,
            state=digest(path),
        )

    def drop(self) -> None:
        """Forget what was written of a part that did not end."""
        if self.writer is not None:
            writer, self.writer = self.writer, None
            writer.__exit__(Interrupted, None, None)
        with suppress(OSError):
            self.draft.unlink(missing_ok=True)

    def _opened(self, frames: UInt8[np.ndarray, "f h w 3"]) -> VideoWriter:
        if self.writer is None:
            size = int(frames.shape[1]), int(frames.shape[2])
            crf, seconds = self.output["crf"], key_seconds(size)
            self.writer = VideoWriter(self.draft, fps=self.rate, size=size, crf=crf, seconds_per_key=seconds)
        return self.writer

    def _write_pictures(self, frames: UInt8[np.ndarray, "f h w 3"], chunk: Chunk) -> None:
        if self.frames_dir is None:
            return
        make_folder(self.frames_dir)
        ratio = self.rate / Fraction(chunk.fps).limit_denominator(1001)
        first = -(-chunk.start * ratio.numerator // ratio.denominator)
        for at, frame in enumerate(frames):
            write_picture(self.frames_dir / f"{first + at:06d}.png", frame)

    def _check_room(self, chunk: Chunk) -> None:
        """Before the first frame: will this part, and the joined file at the end, fit?"""
        height, width = self.output["size"] or chunk.frames.shape[2:]
        frames = max(1, min(self.facts["request"]["script"]["frames"] - chunk.start, LONGEST))
        video = sum(file.stat().st_size for file in (self.parts.folder / "video").iterdir())
        states = max((file.stat().st_size for file in (self.parts.folder / "state").iterdir()), default=2**20)
        needed = int(frames * height * width * BITS_PER_PIXEL / 8) + video + states
        free = shutil.disk_usage(self.parts.folder).free
        if free < needed:
            raise ResourceError(
                f"about {needed:,} bytes are needed for the next part and the finished file, {free:,} are free: "
                "make room, then the same command goes on",
                code="disk_full",
            )


def make_folder(folder: Path) -> None:
    """A folder and those above it.

    Raises:
        InputError, ResourceError: a file has that name, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{shown(folder)} is a file: use another name", code="run_exists") from None
    except OSError as reason:
        raise ResourceError(f"{shown(folder)} cannot be made ({reason.strerror})", code="not_writable") from reason
