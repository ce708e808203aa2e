"""`Run`: begin, go on, end; verify, list, branch."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from longvie.engine.changes import Find, change_from
from longvie.engine.script import Script
from longvie.engine.session import Outcome, Recorded, Steering
from longvie.engine.stream import Chunk, Progress
from longvie.errors import InputError, Interrupted, LongVieError, ResourceError
from longvie.journal import Event, Journal, locked, now
from longvie.media import join_segments, replace_atomically, write_bytes_atomically
from longvie.media.files import shown
from longvie.models.weights import digest
from longvie.runs.facts import FORMAT, Engine, Output, differing, facts_of, metadata, rate
from longvie.runs.parts import FOLDERS, Part, Parts, make_folder
from longvie.runs.stopping import Stop

FILES = ("events.jsonl", "final.mp4")
AS_MADE = Output()


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


class Run:
    """One generation as a folder. `begin` makes or finds it, `make` goes on with it, `verify` checks it."""

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self.facts = dict(facts)
        self.journal = Journal(folder / "events.jsonl")
        self.kept = Parts(folder, self.journal)

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
        output: Output = AS_MADE,
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
        facts = facts_of(script, engine, output, asked)
        make_folder(folder)
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
            make_folder(folder / name)
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
        steering: Steering | None = None,
        find: Find | None = None,
    ) -> Iterator[Chunk]:
        """Make what is still missing, and give the new frames as they come; nothing if the run is finished.

        Args:
            stop: asked, the run finishes its part if that takes no longer than five seconds, else drops it.
            frames_dir: every frame of the file also as a PNG, by its number.
            steering: wishes for what is still to be made, if the engine can be steered. Those that were applied before
                are in the journal and are applied again, whether this is given or not.
            find: opens a control again that was exchanged on the way, by its name and source.

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
                steered = self._steering(steering, find)
                yield from self._parts(script, engine, stop, on_progress, frames_dir, steered)
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
        return self.kept.done()

    def state(self, part: int) -> Path:
        """Where the engine's state after a part lies."""
        return self.kept.state(part)

    @property
    def was_steered(self) -> bool:
        """Whether anything was changed while it was made."""
        return any(event["event"] == "steered" for event in self.journal.events())

    def steered(self, find: Find | None = None) -> "list[Recorded]":
        """The changes that were made on the way, each with the frame from which it holds.

        Args:
            find: opens a control again, by its name and source.

        Raises:
            ConfigError: a control was exchanged, and nobody finds it.
        """
        events = (event for event in self.journal.events() if event["event"] == "steered")
        return [(int(event["frame"]), change_from(event, find)) for event in events]

    def verify(self) -> list[str]:
        """What is wrong with the files of this run; nothing, if all are what was written."""
        try:
            events, parts = self.journal.events(), self.parts()
        except InputError as reason:
            return [str(reason)]
        found = [trouble for part in parts for trouble in self.kept.troubles(part)]
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
        output: Output = AS_MADE,
        asked: Mapping[str, Any] | None = None,
        steered: "Sequence[Recorded]" = (),
    ) -> "Run":
        """Another run that shares this one's first `part` parts and goes its own way from there.

        Args:
            part: how many it shares; 0 is none, if anything is steered.
            steered: all changes that hold in the branch, each with its frame. Those of this run before the frame at
                which the branch leaves belong to them: what follows the last shared part is made again.

        Raises:
            InputError: this run has not come so far, its size or rate is another, or the new folder is in use.
        """
        done = self.parts()
        if not int(not steered) <= part <= len(done):
            raise InputError(
                f"{shown(self.folder)} has {len(done)} parts; a branch can leave after part 1 to {len(done)}"
            )
        facts = facts_of(script, engine, output, asked)
        facts["branch"] = {"of": self.folder.stem, "part": part}
        if part:
            self._check_same_form(facts)
        if part and script.frames < done[part - 1]["stop"]:
            raise InputError(
                f"the branch has {script.frames} frames, the part it leaves ends at {done[part - 1]['stop']}"
            )
        make_folder(folder)
        if _strangers(folder) or (folder / "run.json").exists():
            raise InputError(f"{shown(folder)} exists: use another name", code="run_exists")
        with locked(folder / "lock"):
            run = self._branched(folder, facts, done[:part], engine, script)
            for frame, change in steered:
                run.journal.add("steered", asked=now(), frame=frame, **change.to_json())
            _write_json(folder / "run.json", facts)
            return run

    def _check_same_form(self, facts: Mapping[str, Any]) -> None:
        """Frames that two runs share are joined to later ones, which must look alike to a player."""
        for name in ("size", "fps"):
            old, new = self.facts["request"]["script"][name], facts["request"]["script"][name]
            if old != new:
                raise InputError(f"a branch keeps the {name} of its run, {old}, not {new}")
        if facts["request"]["output"] != self.facts["request"]["output"]:
            raise InputError("a branch keeps the output size, rate and quality of its run: leave them as they are")

    def _branched(
        self, folder: Path, facts: Mapping[str, Any], done: "list[Event]", engine: Engine, script: Script
    ) -> "Run":
        state = engine.restore(self.state(len(done) - 1)).forked(script.seed) if done else None
        engine.check(script, state)
        _clear(folder)
        for name in FOLDERS:
            make_folder(folder / name)
        run = Run(folder, facts)
        run.journal.add("branched", of=self.folder.stem, part=len(done))
        for event in done:
            self.kept.copy(event, run.kept, state if event is done[-1] else None)
        return run

    # --- making ---------------------------------------------------------------------------------------------------

    def _parts(
        self,
        script: Script,
        engine: Engine,
        stop: Stop,
        on_progress: Callable[[Progress], None] | None,
        frames_dir: Path | None,
        steering: Steering | None,
    ) -> Iterator[Chunk]:
        """All parts that are missing."""
        done = self.kept.sound()
        self.kept.sweep(len(done))
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

        part = Part(self.kept, self.facts, len(done), frames_dir)
        try:
            how: dict[str, Any] = {} if steering is None else {"steering": steering}
            for chunk in engine.run(script, state, on_progress=told, **how):
                part.write(chunk)
                if chunk.state is not None:
                    part.close(chunk.state)
                    part = part.following()
                yield chunk
                if stop.asked and chunk.state is not None and chunk.stop < script.frames:
                    raise _stopped(part.number, parts)
        finally:
            part.drop()

    def _steering(self, steering: Steering | None, find: Find | None) -> Steering | None:
        """The wishes with those that the journal holds, and a journal that hears what becomes of them."""
        before = self.steered(find)
        if steering is None and not before:
            return None
        steering = steering or Steering()
        steering.record(before)
        asked: dict[int, str] = {}

        def heard(outcome: Outcome) -> None:
            if outcome.state == "pending":
                asked[outcome.number] = now()
            elif not outcome.again:
                about = {"block": outcome.block, "frame": outcome.frame} if outcome.state == "applied" else {}
                refused = {"code": outcome.code, "message": outcome.reason} if outcome.state == "rejected" else {}
                kind = "steered" if outcome.state == "applied" else "refused"
                when = asked.pop(outcome.number, now())
                self.journal.add(kind, asked=when, **about, **outcome.change.to_json(), **refused)

        steering.listen(heard)
        return steering

    def _join(self) -> None:
        frames = join_segments(self.kept.segments(), self.final, fps=rate(self.facts), metadata=metadata(self.facts))
        self.journal.add("finished", sha256=digest(self.final), frames=frames)

    def _note(self, event: str, **facts: Any) -> None:
        """An event that is worth having, but not worth hiding the error behind it."""
        with suppress(LongVieError):
            self.journal.add(event, **facts)

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


def _stopped(done: int, parts: int) -> Interrupted:
    return Interrupted(f"stopped after {done} of {parts} parts; the same command goes on")


def _last(events: "list[Event]", *kinds: str) -> str:
    """The latest of these kinds of events."""
    return next((event["event"] for event in reversed(events) if event["event"] in kinds), "")


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    write_bytes_atomically(path, (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode())


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
