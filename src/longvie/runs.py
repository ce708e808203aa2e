"""A run is a folder: what was asked, what happened, the video so far, and all that is needed to go on.

    x.run/
    ├── run.json        the request, the weights by hash, the versions; written once
    ├── events.jsonl    what happened, added line by line
    ├── video/000.mp4   the frames of each part, as they are made
    ├── state/000.safetensors   where the engine can be taken up after each part
    ├── final.mp4       all of it, at the end
    └── lock

A part counts once its event is in the journal: video and state are whole and on the disk before that. After a crash at
any moment the same request goes on from the last part and ends in the same bytes.
"""

import hashlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import UInt8
from torch import nn

from longvie import runtime
from longvie.engine.script import Script
from longvie.engine.stream import Chunk, EngineState, Progress
from longvie.errors import ConfigError, InputError, Interrupted, LongVieError, ResourceError
from longvie.journal import Event, Journal, locked
from longvie.media import (
    VideoWriter,
    adapt_frames,
    join_segments,
    replace_atomically,
    write_bytes_atomically,
    write_picture,
)
from longvie.media.convert import Size
from longvie.media.files import flush_to_disk, shown
from longvie.models.models import Models
from longvie.models.weights import digest

FORMAT = 1
LASTING_S = 5.0  # how long a run that is asked to stop may go on to finish the part whose frames are coming
BITS_PER_PIXEL = 1.0  # of video, on the safe side: for the check whether a part will fit on the disk
FASTEST = 1000  # frames a second
SAMPLE = 64  # values of a weight that is not hashed as a file
FILES, FOLDERS = ("events.jsonl", "final.mp4"), ("video", "state")
MARK = "AI-generated video"


@runtime_checkable
class Engine(Protocol):
    """What a run needs of an engine."""

    models: Models

    def facts(self) -> dict[str, Any]:
        """Its kind and settings, as JSON."""
        ...

    def restore(self, path: Path) -> Any:
        """A state that was saved."""
        ...

    def check(self, script: Script, state: Any = None) -> None:
        """Refuses what these models cannot do, or cannot go on with."""
        ...

    def run(
        self, script: Script, state: Any = None, *, on_progress: Callable[[Progress], None] | None = None
    ) -> Iterator[Chunk]:
        """Frames in order; a chunk with a state ends a part."""
        ...


@dataclass(frozen=True)
class Output:
    """What the file is to be, where it differs from what the model makes.

    Attributes:
        size: height and width in pixels.
        fps: frames a second.
        crf: constant quality, 0 (lossless) to 51.

    Raises:
        ConfigError: what no MP4 can be; said here, not after the first clip.
    """

    size: Size | None = None
    fps: int | float | None = None
    crf: int = 18

    def __post_init__(self) -> None:
        if self.size is not None and (min(self.size) < 2 or self.size[0] % 2 or self.size[1] % 2):
            height, width = self.size
            raise ConfigError(f"the file's size is {height}×{width}; both must be even and at least 2")
        if self.fps is not None and not 0 < self.fps <= FASTEST:
            raise ConfigError(f"the file's rate is {self.fps}; use frames a second above 0 and up to {FASTEST}")
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"crf is {self.crf}; it goes from 0 (lossless) to 51")


@dataclass(frozen=True)
class Summary:
    """A run in a line."""

    name: str
    status: str  # "finished", "interrupted", "failed", "started"
    parts: int
    frames: int
    wanted: int
    fps: int | float
    model: str
    seed: int
    prompt: str


class Stop:
    """Whether somebody asked to stop, and how long ago."""

    def __init__(self) -> None:
        self._asked: float | None = None

    def ask(self) -> None:
        self._asked = time.monotonic()

    @property
    def asked(self) -> bool:
        return self._asked is not None

    @property
    def overdue(self) -> bool:
        """Whether the time to finish something is over."""
        return self._asked is not None and time.monotonic() - self._asked > LASTING_S


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """SIGINT or SIGTERM asks to stop; a second one ends the process at once, which no run minds."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the system's signature
        stop.ask()
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Run:
    """One generation as a folder. `begin` makes or finds it, `make` goes on with it, `verify` checks it."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = dict(facts)
        self.journal = Journal(folder / "events.jsonl")

    @staticmethod
    def beside(out: Path) -> Path:
        """Where the run of a video lies: `x.run` beside `x.mp4`."""
        return out.with_suffix(".run")

    @property
    def final(self) -> Path:
        """The finished video."""
        return self.folder / "final.mp4"

    @property
    def finished(self) -> bool:
        """Whether the video is there, whole."""
        events = self.journal.events()
        return bool(events) and _last(events, "finished", "part", "branched") == "finished" and self.final.is_file()

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """A run that exists.

        Raises:
            InputError: the folder is not a run, or one of a newer version.
        """
        try:
            facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            written = facts["format"]
        except FileNotFoundError:
            raise InputError(f"{shown(folder)} is not a run: it has no run.json", code="run_unknown") from None
        except (OSError, ValueError, KeyError, TypeError) as reason:
            raise InputError(f"run.json in {shown(folder)} cannot be read: {reason}", code="run_damaged") from reason
        if written != FORMAT:
            raise InputError(
                f"{shown(folder)} was written by another version of longvie (format {written}, this one has {FORMAT}): "
                "use that one; nothing was changed",
                code="run_format",
            )
        return cls(folder, facts)

    @classmethod
    def begin(
        cls,
        folder: Path,
        script: Script,
        engine: Engine,
        *,
        output: Output = Output(),
        asked: Mapping[str, Any] | None = None,
        force: bool = False,
        allow_changed: bool = False,
    ) -> "Run":
        """The run of this request: a new folder, or the one that is there if it holds the same request.

        Args:
            asked: the request in the caller's own words, kept for reading, never compared.
            force: remove what another request, or other weights, have made there.
            allow_changed: go on although weights, versions or the machine are not those that the run began with.

        Raises:
            InputError: the folder holds another request or something else (`run_exists`), or it is not finished and
                what would be used now differs from what it began with (`run_changed`).
            RunLocked, ResourceError: somebody else is at work there; it cannot be written.
        """
        facts = _facts(script, engine, output, asked)
        _make_folder(folder)
        with locked(folder / "lock"):
            if (folder / "run.json").exists():
                run = cls.open(folder)
                try:
                    run._agree(facts, allow_changed=allow_changed)
                    return run
                except InputError:
                    if not force:
                        raise
            elif strangers := _strangers(folder):
                raise InputError(
                    f"{shown(folder)} holds {strangers[0]!r} and is not a run: use another name", code="run_exists"
                )
            return cls._create(folder, facts)

    @classmethod
    def _create(cls, folder: Path, facts: Mapping[str, Any]) -> "Run":
        _clear(folder)
        for name in FOLDERS:
            _make_folder(folder / name)
        run = cls(folder, facts)
        run.journal.add("created")
        _write_json(folder / "run.json", facts)
        return run

    def make(
        self,
        script: Script,
        engine: Engine,
        *,
        stop: Stop | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        frames_dir: Path | None = None,
    ) -> Iterator[Chunk]:
        """Make what is still missing, and give the new frames as they come; nothing if the run is finished.

        Args:
            stop: asked, the run finishes its part if that takes no longer than five seconds, else drops it.
            frames_dir: every frame of the file also as a PNG, by its number.

        Raises:
            Interrupted: it was asked to stop; the parts before are kept.
            RunLocked: somebody else makes it.
            ResourceError: the disk is full; the parts before are kept.
        """
        stop = stop or Stop()
        with locked(self.folder / "lock"):
            if self.finished:
                return
            try:
                yield from self._parts(script, engine, stop, on_progress, frames_dir)
                self._join()
            except GeneratorExit:
                self._note("interrupted")
                raise
            except Interrupted:
                self._note("interrupted")
                raise
            except LongVieError as reason:
                self._note("failed", code=reason.code, message=str(reason))
                raise
            except (MemoryError, torch.OutOfMemoryError) as reason:
                self._note("failed", code="memory_full", message="no memory left")
                raise ResourceError(
                    "no memory is left for the next part; what was made before is kept. Free some, and the same "
                    "command goes on, or use a smaller model",
                    code="memory_full",
                ) from reason

    def export(self, out: Path, *, force: bool = False) -> None:
        """The finished video under another name: the same file where the disk allows it, else a copy.

        Raises:
            InputError: not finished, or there is another file of that name.
            ResourceError: no room, or the folder cannot be written.
        """
        if not self.finished:
            raise InputError(f"{shown(self.folder)} is not finished: make it first")
        self.check_out(out, force=force)
        if out.exists() and digest(out) == digest(self.final):
            return
        with replace_atomically(out, needed=self.final.stat().st_size) as part:
            part.unlink()
            try:
                part.hardlink_to(self.final)
            except OSError:  # another disk, or one that knows no links
                shutil.copyfile(self.final, part)

    def check_out(self, out: Path, *, force: bool = False) -> None:
        """Whether the video may be put under this name; to be asked before hours of work.

        Raises:
            InputError: there is a file of that name which this run has not made.
        """
        if force or not out.exists():
            return
        if not out.is_file() or not self.final.is_file() or digest(out) != digest(self.final):
            raise InputError(f"{shown(out)} exists: use another name, or --force to replace it", code="out_exists")

    def parts(self) -> list[Event]:
        """The events of the parts that are done, in order."""
        done: list[Event] = []
        for event in self.journal.events():
            if event["event"] == "part":
                done = [*done[: event["part"]], event]
        return done

    def state(self, part: int) -> Path:
        """Where the engine's state after a part lies."""
        return self.folder / "state" / f"{part:03d}.safetensors"

    def segment(self, part: int) -> Path:
        """Where the frames of a part lie."""
        return self.folder / "video" / f"{part:03d}.mp4"

    def verify(self) -> list[str]:
        """What is wrong with the files of this run; nothing, if all are what was written."""
        try:
            events, parts = self.journal.events(), self.parts()
        except InputError as reason:
            return [str(reason)]
        found = [trouble for part in parts for trouble in self._troubles(part)]
        ends = [event for event in events if event["event"] == "finished"]
        if ends and self.final.is_file() and digest(self.final) != ends[-1]["sha256"]:
            found.append("final.mp4 is not the file that was written")
        if ends and not self.final.is_file():
            found.append("final.mp4 is missing")
        return found

    def summary(self) -> Summary:
        """The run in a line."""
        request, events, parts = self.facts["request"], self.journal.events(), self.parts()
        status = _last(events, "finished", "interrupted", "failed", "part", "resumed", "created", "branched")
        return Summary(
            name=self.folder.stem,
            status=status if status in ("finished", "interrupted", "failed") else "started",
            parts=len(parts),
            frames=parts[-1]["stop"] if parts else 0,
            wanted=request["script"]["frames"],
            fps=request["script"]["fps"],
            model=self.facts["model"]["name"],
            seed=request["script"]["seed"],
            prompt=request["script"]["prompts"][0]["prompt"],
        )

    @staticmethod
    def list(folder: Path) -> "list[Run]":
        """All runs in a folder, by name; what cannot be read is left out."""
        runs = []
        for found in sorted(folder.glob("*.run")):
            with suppress(InputError):
                runs.append(Run.open(found))
        return runs

    def branch(
        self,
        folder: Path,
        script: Script,
        engine: Engine,
        *,
        part: int,
        output: Output = Output(),
        asked: Mapping[str, Any] | None = None,
    ) -> "Run":
        """Another run that shares this one's first `part` parts and goes its own way from there.

        Raises:
            InputError: this run has not come so far, its size or rate is another, or the new folder is in use.
        """
        done = self.parts()
        if not 0 < part <= len(done):
            raise InputError(
                f"{shown(self.folder)} has {len(done)} parts; a branch can leave after part 1 to {len(done)}"
            )
        facts = _facts(script, engine, output, asked)
        facts["branch"] = {"of": self.folder.stem, "part": part}
        for name in ("size", "fps"):
            old, new = self.facts["request"]["script"][name], facts["request"]["script"][name]
            if old != new:
                raise InputError(f"a branch keeps the {name} of its run, {old}, not {new}")
        if facts["request"]["output"] != self.facts["request"]["output"]:
            raise InputError("a branch keeps the output size, rate and quality of its run: leave them as they are")
        if script.frames < done[part - 1]["stop"]:
            raise InputError(
                f"the branch has {script.frames} frames, the part it leaves ends at {done[part - 1]['stop']}"
            )
        _make_folder(folder)
        if _strangers(folder) or (folder / "run.json").exists():
            raise InputError(f"{shown(folder)} exists: use another name", code="run_exists")
        with locked(folder / "lock"):
            return self._branched(folder, facts, done[:part], engine, script)

    def _branched(
        self, folder: Path, facts: Mapping[str, Any], done: "list[Event]", engine: Engine, script: Script
    ) -> "Run":
        state = engine.restore(self.state(len(done) - 1)).forked(script.seed)
        engine.check(script, state)
        _clear(folder)
        for name in FOLDERS:
            _make_folder(folder / name)
        run = Run(folder, facts)
        run.journal.add("branched", of=self.folder.stem, part=len(done))
        for event in done:
            number = event["part"]
            copied = {name: event[name] for name in ("part", "start", "stop", "frames", "segment", "state")}
            if event["segment"] is not None:
                shutil.copyfile(self.segment(number), run.segment(number))
            if number == len(done) - 1:
                state.save(run.state(number))
            else:
                shutil.copyfile(self.state(number), run.state(number))
            copied["state"] = digest(run.state(number))
            run.journal.add("part", **copied)
        _write_json(folder / "run.json", facts)
        return run

    # --- making ---------------------------------------------------------------------------------------------------

    def _parts(
        self,
        script: Script,
        engine: Engine,
        stop: Stop,
        on_progress: Callable[[Progress], None] | None,
        frames_dir: Path | None,
    ) -> Iterator[Chunk]:
        """All parts that are missing."""
        done = self._sound()
        self._sweep(len(done))
        if done and done[-1]["stop"] >= script.frames:
            return
        if len(self.journal.events()) > 1:
            self.journal.add("resumed", part=len(done))
        state = engine.restore(self.state(len(done) - 1)) if done else None

        parts = 0

        def told(progress: Progress) -> None:
            nonlocal parts
            parts = progress.parts
            if stop.asked and (progress.step < progress.steps or stop.overdue):
                raise _stopped(len(self.parts()), progress.parts)
            if on_progress is not None:
                on_progress(progress)

        part = _Part(self, script, len(done), frames_dir)
        try:
            for chunk in engine.run(script, state, on_progress=told):
                part.write(chunk)
                if chunk.state is not None:
                    part.close(chunk.state)
                    part = part.following()
                yield chunk
                if stop.asked and chunk.state is not None and chunk.stop < script.frames:
                    raise _stopped(part.number, parts)
        finally:
            part.drop()

    def _sound(self) -> "list[Event]":
        """The parts whose files are whole; what follows the first that is not has to be made again."""
        sound = []
        for event in self.parts():
            if self._troubles(event):
                break
            sound.append(event)
        return sound

    def _troubles(self, part: Event) -> "list[str]":
        number = part["part"]
        files = [(self.state(number), part["state"])]
        if part["segment"] is not None:
            files.append((self.segment(number), part["segment"]))
        found = [f"{file.name} is missing" for file, _ in files if not file.is_file()]
        changed = [file for file, wanted in files if file.is_file() and digest(file) != wanted]
        return found + [f"{file.name} is not the file that was written" for file in changed]

    def _sweep(self, done: int) -> None:
        """Remove what a crash left half done."""
        for kind in ("video", "state"):
            for file in (self.folder / kind).iterdir():
                if not file.stem.isdecimal() or int(file.stem) >= done:
                    file.unlink()
        for file in self.folder.glob(".*.part"):
            file.unlink()

    def _join(self) -> None:
        parts = self.parts()
        segments = [self.segment(part["part"]) for part in parts if part["segment"] is not None]
        frames = join_segments(segments, self.final, fps=self._fps, metadata=self._metadata())
        self.journal.add("finished", sha256=digest(self.final), frames=frames)

    def _note(self, event: str, **facts: Any) -> None:
        """An event that is worth having, but not worth hiding the error behind it."""
        with suppress(LongVieError):
            self.journal.add(event, **facts)

    @property
    def _fps(self) -> Fraction:
        request = self.facts["request"]
        wanted = request["output"]["fps"]
        return Fraction(request["script"]["fps"] if wanted is None else wanted).limit_denominator(1001)

    def _metadata(self) -> dict[str, str]:
        """What the file says of itself: how it was made and that it was; no path, no time of day."""
        script, model = self.facts["request"]["script"], self.facts["model"]
        said = {
            "ai_generated": True,
            "generator": f"longvie {self.facts['versions']['longvie']}",
            "model": model["name"],
            "model_sha256": model["sha256"],
            "seed": script["seed"],
            "prompts": script["prompts"],
        }
        return {
            "title": script["prompts"][0]["prompt"][:200],
            "comment": json.dumps(said, ensure_ascii=False, sort_keys=True),
            "description": MARK,
        }

    def _agree(self, facts: Mapping[str, Any], *, allow_changed: bool) -> None:
        """Whether this folder is that request's, and whether it may go on."""
        here = {name: self.facts[name] for name in ("request", "model", "versions", "machine")}
        for event in self.journal.events():
            here |= event["now"] if event["event"] == "changed" else {}
        other = differing(here["request"], facts["request"])
        if other:
            raise InputError(
                f"{shown(self.folder)} holds another request: {other[0]}. Use another name, or --force to replace it",
                code="run_exists",
            )
        compared = ("model",) if self.finished else ("model", "versions", "machine")
        changed = {name: facts[name] for name in compared if differing(here[name], facts[name])}
        if not changed:
            return
        if not allow_changed:
            first = next(iter(changed))
            raise InputError(
                f"{shown(self.folder)} was begun with another {first}: {differing(here[first], facts[first])[0]}. "
                "Use what it was begun with, another name, or --allow-changed",
                code="run_changed",
            )
        self.journal.add("changed", now=changed)


class _Part:
    """One part while it is written: its segment, and what the journal will say of it."""

    def __init__(self, run: Run, script: Script, number: int, frames_dir: Path | None) -> None:
        self.run, self.script, self.number, self.frames_dir = run, script, number, frames_dir
        self.output = run.facts["request"]["output"]
        self.start: int | None = None
        self.stop = 0
        self.written = 0
        self.writer: VideoWriter | None = None
        self.draft = run.segment(number).with_suffix(".part")

    def following(self) -> "_Part":
        return _Part(self.run, self.script, self.number + 1, self.frames_dir)

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
            to_fps=self.run._fps,
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
            self.draft.rename(self.run.segment(self.number))
            flush_to_disk(self.draft.parent)
            segment = digest(self.run.segment(self.number))
        path = self.run.state(self.number)
        state.save(path)
        self.run.journal.add(
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
            height, width = frames.shape[1:3]
            self.writer = VideoWriter(
                self.draft, fps=self.run._fps, size=(int(height), int(width)), crf=self.output["crf"]
            )
        return self.writer

    def _write_pictures(self, frames: UInt8[np.ndarray, "f h w 3"], chunk: Chunk) -> None:
        if self.frames_dir is None:
            return
        _make_folder(self.frames_dir)
        ratio = self.run._fps / Fraction(chunk.fps).limit_denominator(1001)
        first = -(-chunk.start * ratio.numerator // ratio.denominator)
        for at, frame in enumerate(frames):
            write_picture(self.frames_dir / f"{first + at:06d}.png", frame)

    def _check_room(self, chunk: Chunk) -> None:
        """Before the first frame: will this part, and the joined file at the end, fit?"""
        height, width = self.output["size"] or chunk.frames.shape[2:]
        frames = max(1, min(self.script.frames - chunk.start, 81))
        video = sum(file.stat().st_size for file in (self.run.folder / "video").iterdir())
        states = max((file.stat().st_size for file in (self.run.folder / "state").iterdir()), default=2**20)
        needed = int(frames * height * width * BITS_PER_PIXEL / 8) + video + states
        free = shutil.disk_usage(self.run.folder).free
        if free < needed:
            raise ResourceError(
                f"about {needed:,} bytes are needed for the next part and the finished file, {free:,} are free: "
                "make room, then the same command goes on",
                code="disk_full",
            )


def _stopped(done: int, parts: int) -> Interrupted:
    return Interrupted(f"stopped after {done} of {parts} parts; the same command goes on")


def differing(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two pieces of JSON differ, as sentences: `script.seed is 1 there, 2 here`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = dict.fromkeys([*old, *new])
        dotted = {name: f"{path}.{name}" if path else str(name) for name in names}
        return [s for name in names for s in differing(old.get(name), new.get(name), dotted[name])]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [s for at, (a, b) in enumerate(zip(old, new, strict=True)) for s in differing(a, b, f"{path}[{at}]")]
    return [] if old == new else [f"{path} is {_brief(old)} there, {_brief(new)} here"]


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _facts(script: Script, engine: Engine, output: Output, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What run.json holds, as JSON would give it back."""
    transformer = engine.models.transformer.patch_embedding.weight
    facts = {
        "format": FORMAT,
        "request": {"script": script.facts(), "engine": engine.facts(), "output": asdict(output)},
        "model": {"name": engine.models.card.name, "sha256": weights_hash(engine.models)},
        "versions": {name: version(name) for name in runtime.LIBRARIES},
        "machine": {
            "device": transformer.device.type,
            "dtype": str(transformer.dtype).removeprefix("torch."),
            "threads": runtime.threads(),
        },
        "asked": dict(asked or {}),
        "branch": None,
    }
    return json.loads(json.dumps(facts, allow_nan=False))


def weights_hash(models: Models) -> str:
    """One hash for all weights: of the files that the card names; where it names none, of a sample of every tensor.

    The sample tells other weights apart without reading the many gigabytes of a download a second time.
    """
    total, files = hashlib.sha256(), models.card.files
    for name in sorted(files):
        total.update(f"{name}:{files[name]}\n".encode())
    if not files:
        parts = {"transformer": models.transformer, "autoencoder": models.autoencoder, "words": models.words}
        for part, module in (parts | {"pictures": models.pictures, "live": models.live}).items():
            for name, weight in module.state_dict().items() if isinstance(module, nn.Module) else ():
                flat = weight.detach().flatten()
                sample = flat[:: max(1, flat.numel() // SAMPLE)].float().cpu()
                total.update(f"{part}.{name}{tuple(weight.shape)}{weight.dtype}".encode() + sample.numpy().tobytes())
    return total.hexdigest()


def _last(events: "list[Event]", *kinds: str) -> str:
    """The latest of these kinds of events."""
    return next((event["event"] for event in reversed(events) if event["event"] in kinds), "")


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    write_bytes_atomically(path, (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{shown(folder)} is a file: use another name", code="run_exists") from None
    except OSError as reason:
        raise ResourceError(f"{shown(folder)} cannot be made ({reason.strerror})", code="not_writable") from reason


def _strangers(folder: Path) -> "list[str]":
    """What lies in a folder that no run, begun or half removed, has left there."""
    ours = {"lock", "run.json", *FILES, *FOLDERS}
    return sorted(file.name for file in folder.iterdir() if file.name not in ours and not file.name.endswith(".part"))


def _clear(folder: Path) -> None:
    """Remove a run, but for its lock; what says whose run it is goes last."""
    for name in FOLDERS:
        if (folder / name).exists():
            shutil.rmtree(folder / name)
    for name in (*FILES, "run.json"):
        (folder / name).unlink(missing_ok=True)
