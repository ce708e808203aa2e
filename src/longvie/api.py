"""The package in Python: a model by name, videos out of it, whole or while they are made."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from longvie import runs, runtime
from longvie.catalogue import card_of, load_models
from longvie.engine.changes import Change, Find
from longvie.engine.clip import ClipConfig, ClipEngine
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.session import Steering
from longvie.engine.stream import Chunk, Progress
from longvie.errors import ConfigError, InputError
from longvie.media import VideoWriter, adapt_frames, key_seconds, probe_video, quality, read_video, replace_atomically
from longvie.media.files import shown
from longvie.models.models import Models
from longvie.presets import LongVieConfig, apply, to_mapping
from longvie.request import Inputs, Request, absolute, followed, prepare, random_seed

LONGEST_NAME = 200  # bytes; files beside it get longer ones
CHUNK_SECONDS = 2.0

Kind = Literal["clip", "live"]
Warn = Callable[[str], None]
Tell = Callable[[Progress], None]


@dataclass(frozen=True)
class VideoChunk:
    """Some frames that follow each other, as they are made: (f, h, w, 3) in 8 bits, from second `start_s` on."""

    start_s: float
    fps: float
    frames: UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True)
class Video:
    """A finished video, on the disk: in a file of its own, or in a temporary one until it is saved.

    Attributes:
        size: height and width in pixels.
        path: the mp4, where one was asked for; beside it lies the run.
        warnings: sentences for the user.
    """

    size: tuple[int, int]
    fps: float
    seed: int
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    kept: UInt8[np.ndarray, "f h w 3"] | None = field(default=None, repr=False, compare=False)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        count = probe_video(self.path).frames if self.kept is None and self.path is not None else len(self.frames)
        return count / self.fps

    @property
    def frames(self) -> UInt8[np.ndarray, "f h w 3"]:
        """All frames in 8 bits; of an mp4 decoded when asked for.

        Raises:
            LimitError: the frames of an mp4 that do not fit into memory; read it with `longvie.media.iter_video`.
        """
        if self.kept is not None:
            return self.kept
        assert self.path is not None
        return read_video(self.path)

    def save(self, path: str | Path) -> Path:
        """Write it as H.264 mp4, whole or not at all; an existing file is replaced.

        Raises:
            ResourceError: no room, or the folder cannot be written.
        """
        target = Path(path)
        if self.path is not None:
            with replace_atomically(target, needed=self.path.stat().st_size) as part:
                shutil.copyfile(self.path, part)
            return target
        crf, seconds = quality(self.size), key_seconds(self.size)
        how = {"fps": self.fps, "size": self.size, "fragmented": False}
        with VideoWriter(target, **how, crf=crf, seconds_per_key=seconds, metadata=self.metadata) as writer:
            for at in range(0, len(self.frames), 32):
                writer.write(np.asarray(self.frames[at : at + 32]))
        return target


class LongVie:
    """A model by name or folder. Weights are read when the first video is made, after everything else is checked."""

    def __init__(
        self,
        config: LongVieConfig | None = None,
        *,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        threads: int | None = None,
    ) -> None:
        self.config = config or LongVieConfig()
        self.card = card_of(self.config.model)
        self._device, self._dtype, self._threads = device, dtype, threads

    @classmethod
    def from_pretrained(cls, name: str | Path, **how: Any) -> "LongVie":
        """A model that the package knows (`NAMES`), or a folder with a card.json; `how` as in the class.

        Raises:
            ConfigError: neither.
            WeightsError: its card is missing or broken.
        """
        return cls(LongVieConfig.from_mapping({"model": {"ckpt": str(name)}}), **how)

    @cached_property
    def models(self) -> Models:
        """The weights, on their device."""
        runtime.threads(self._threads)
        place = runtime.device(self._device)
        if place.type == "cpu":
            runtime.keep_memory()
        return load_models(self.config.model, place, runtime.inference_dtype(place, self._dtype))

    def engine(self, request: Request) -> ClipEngine | LiveEngine:
        """The engine that makes what is asked."""
        return engine_of(self.models, request.engine)

    def generate(
        self,
        prompt: str | None = None,
        *,
        duration_sec: int | float | None = None,
        fps: int | float | None = None,
        controls: Mapping[str, str | Path] | None = None,
        image: str | Path | np.ndarray | None = None,
        seed: int | None = None,
        engine: Kind | None = None,
        out: str | Path | None = None,
        force: bool = False,
        warn: Warn = lambda _text: None,
        tell: Tell = lambda _progress: None,
    ) -> Video:
        """Make a video.

        Args:
            prompt: words, or a timeline `a red ball[5s] | the red ball in a storm[10s]`.
            duration_sec: by default as long as the controls say, or one clip.
            fps: of the video that is given back; by default the model's.
            controls: name → file: depth, tracks, sketch, segmentation, keyframes, beats, conditions.
            image: the first picture, a file or 8-bit RGB.
            seed: -1 draws one.
            engine: "clip" (clip after clip) or "live" (block after block); by default what the weights are for.
            out: an mp4 to write; beside it lies the run, which the same call takes up again after a crash. Without it
                the frames stay in a temporary file until they are saved.
            force: begin again where another run has that name.
            warn: told every warning as soon as it is known.
            tell: told after each step.

        Raises:
            InputError, LimitError, ResourceError: see `errors.py`; what can be known is said before weights are read.
        """
        config = self._with(prompt, duration_sec, fps, controls, image, seed, engine)
        picture = image if isinstance(image, np.ndarray) else None
        with Inputs() as inputs:
            request = prepare(config, self.card, inputs, picture=picture, drawn_seed=seed_for(out))
            if out is not None:
                check_out(Path(out), force=force)
            warnings = (*request.warnings, *self.unheard(request))
            for warning in warnings:
                warn(warning)
            if out is None:
                return self._kept(request, warnings, tell)
            asked = config if picture is None else None
            for _ in self.run(request, Path(out), config=asked, force=force, tell=tell):
                pass
            return Video(request.size, request.fps, request.script.seed, Path(out), warnings)

    def stream_generate(
        self,
        prompt: str | None = None,
        *,
        duration_sec: int | float | None = None,
        fps: int | float | None = None,
        controls: Mapping[str, str | Path] | None = None,
        image: str | Path | np.ndarray | None = None,
        seed: int | None = None,
        engine: Kind | None = None,
        chunk_size: int | float | None = None,
        steering: Steering | None = None,
    ) -> Iterator[VideoChunk]:
        """The same video in chunks while it is made; nothing is written, memory stays constant.

        Args:
            chunk_size: seconds of a chunk; by default 2 with the clip engine, and a quarter as it is made with the
                live one.
            steering: wishes (`Say`, `Strength`, `Follow`) that are heard when a block begins; of the live engine.

        Raises:
            ConfigError: a chunk size that is not above 0; wishes for an engine that hears none; else as `generate`.
        """
        if chunk_size is not None and not 0 < chunk_size < float("inf"):
            raise ConfigError(f"chunk_size is {chunk_size:g}; it must be a number of seconds above 0")
        config = self._with(prompt, duration_sec, fps, controls, image, seed, engine)
        picture = image if isinstance(image, np.ndarray) else None
        with Inputs() as inputs:
            request = prepare(config, self.card, inputs, picture=picture, drawn_seed=random_seed())
            at, live = 0, isinstance(request.engine, LiveConfig)
            made = self.frames(request, steering=steering)
            if chunk_size is not None or not live:
                seconds = CHUNK_SECONDS if chunk_size is None else chunk_size
                made = regrouped(made, max(1, round(seconds * request.fps)))
            for frames in made:
                yield VideoChunk(at / request.fps, request.fps, frames)
                at += len(frames)

    def frames(
        self, request: Request, tell: Tell = lambda _progress: None, steering: Steering | None = None
    ) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
        """The frames of a request in its own size and rate, as they are made."""
        check_steered(request, steering)
        how: dict[str, Any] = {} if steering is None else {"steering": steering}
        made = (chunk.pictures() for chunk in self.engine(request).run(request.script, on_progress=tell, **how))
        if not request.converted:
            yield from made
            return
        size = None if request.size == request.script.size else request.size
        yield from adapt_frames(made, from_fps=request.script.fps, to_fps=request.fps, size=size)

    def run(
        self,
        request: Request,
        out: Path,
        *,
        config: LongVieConfig | None = None,
        force: bool = False,
        allow_changed: bool = False,
        stop: runs.Stop | None = None,
        tell: Tell = lambda _progress: None,
        frames_dir: Path | None = None,
        export: bool = True,
        engine: ClipEngine | LiveEngine | None = None,
        steering: Steering | None = None,
    ) -> Iterator[Chunk]:
        """Make a request into an mp4 by way of its run, `x.run` beside `x.mp4`; gives the new frames as they come.

        The same request goes on where it was left, and does nothing once it is finished.

        Args:
            config: what was asked, recorded so that `longvie runs resume` can ask again.
            stop: asked, the run finishes its clip if that is quick, and ends.
            frames_dir: every frame also as a PNG.
            export: leave the finished video under its own name; without it, it lies in the run folder alone.
            engine: another than this model's own.
            steering: wishes that are heard while it is made; of the live engine.

        Raises:
            ConfigError: wishes for an engine that hears none.
            InputError: another request, or another file, has that name; see `runs.Run`.
            Interrupted: it was asked to stop.
        """
        engine = engine or self.engine(request)
        check_steered(request, steering)
        run = runs.Run.begin(
            runs.Run.beside(out),
            request.script,
            engine,
            output=output_of(request),
            asked=None if config is None else to_mapping(absolute(config)),
            force=force,
            allow_changed=allow_changed,
        )
        yield from run.make(
            request.script,
            engine,
            stop=stop,
            on_progress=tell,
            frames_dir=frames_dir,
            steering=steering,
            find=self._finder(request),
        )
        if export:
            run.export(out, force=force)

    def branch(
        self,
        source: runs.Run,
        request: Request,
        out: Path,
        *,
        frame: int = 0,
        changes: Sequence[Change] = (),
        config: LongVieConfig | None = None,
    ) -> int:
        """Lay out the run of `out` so that it shares another run's frames up to a block, and goes its own way then;
        `run` makes it.

        Args:
            request: what the other run was asked for, but for its seed, which holds from the last part on that is
                shared whole.
            frame: the branch leaves at the first block that begins here or later; 0 with no `changes` plays the whole
                run again, with all that was changed on the way.
            changes: what holds from there on; of the live engine.

        Returns:
            The first frame that is the branch's own.

        Raises:
            ConfigError: changes for an engine that hears none.
            ScriptError, ControlError: changes that the engine cannot follow.
            InputError: the other run has not come so far, or `out` is in use; see `runs.Run.branch`.
        """
        engine, script = self.engine(request), request.script
        check_steered(request, Steering() if changes else None)
        steered = [(at, change) for at, change in source.steered(self._finder(request)) if not frame or at < frame]
        begins = [span.new for span in engine.spans(script) if span.new >= frame]
        if not begins:
            raise InputError(f"the run ends before frame {frame}; leave it earlier")
        leaves = begins[0] if frame else 0
        steered += [(leaves, change) for change in changes]
        changed = script
        for at, change in steered:
            changed = change.applied(changed, at)
        engine.check(changed)
        part = sum(event["stop"] <= leaves for event in source.parts())
        if not changes and frame and part:  # nothing is told to it, so it leaves where a part ends
            leaves = source.parts()[part - 1]["stop"]
        source.branch(
            runs.Run.beside(out),
            script,
            engine,
            part=part,
            output=output_of(request),
            asked=None if config is None else to_mapping(absolute(config)),
            steered=steered,
        )
        return leaves

    def _finder(self, request: Request) -> Find:
        return lambda name, source: followed(name, source, request).direction

    def unheard(self, request: Request) -> tuple[str, ...]:
        """Sentences on words that the model has never seen or will not read to their end; reads the weights."""
        words = self.models.words
        strange: dict[str, None] = {}
        cut = []
        for line in request.script.prompts.lines:
            strange |= dict.fromkeys(words.unknown(line.prompt))
            if not words.fits(line.prompt):
                cut.append(line.time)
        said = []
        if strange:
            listed = ", ".join(list(strange)[:20]) + (", …" if len(strange) > 20 else "")
            said.append(f"{self.card.name} has never seen these words and will not follow them: {listed}")
        if cut:
            said.append(
                f"the words at {', '.join(f'{time:g} s' for time in cut[:8])} are longer than the {words.text_len} "
                f"tokens that {self.card.name} reads: their end is not heard"
            )
        return tuple(said)

    def _with(
        self,
        prompt: str | None,
        duration_sec: int | float | None,
        fps: int | float | None,
        controls: Mapping[str, str | Path] | None,
        image: Any,
        seed: int | None,
        engine: Kind | None,
    ) -> LongVieConfig:
        """The configuration with the arguments of a call over it, checked as if they came from a file."""
        given: dict[str, Any] = {
            "prompt": prompt,
            "seed": seed,
            "model": {"duration": duration_sec, "fps": fps},
            "controls": {name: str(source) for name, source in (controls or {}).items()},
        }
        if isinstance(image, str | Path):
            given["controls"]["image"] = str(image)
        if engine is not None:
            given["engine"] = {"kind": engine}
        if duration_sec is None:
            del given["model"]["duration"]
        elif self.config.model.frames is not None:
            given["model"]["frames"] = None
        if fps is None:
            del given["model"]["fps"]
        return apply(self.config, {name: value for name, value in given.items() if value is not None})

    def _kept(self, request: Request, warnings: tuple[str, ...], tell: Tell) -> Video:
        """A video whose frames lie in a temporary file."""
        with tempfile.TemporaryFile(prefix="longvie-") as file:
            count = 0
            for frames in self.frames(request, tell):
                file.write(frames.tobytes())
                count += len(frames)
            file.flush()
            held = np.memmap(file, np.uint8, "r", shape=(count, *request.size, 3))  # outlives the file's name
        said = {"description": runs.MARK, "title": request.script.prompts.lines[0].prompt[:200]}
        return Video(request.size, request.fps, request.script.seed, None, warnings, said, held)


def output_of(request: Request) -> runs.Output:
    """What the file is to be, where it differs from what the model makes."""
    script = request.script
    return runs.Output(
        size=None if request.size == script.size else request.size,
        fps=None if request.fps == script.fps else request.fps,
        crf=request.crf,
    )


def engine_of(models: Models, config: ClipConfig | LiveConfig) -> ClipEngine | LiveEngine:
    """The engine of these settings."""
    return LiveEngine(models, config) if isinstance(config, LiveConfig) else ClipEngine(models, config)


def check_steered(request: Request, steering: Steering | None) -> None:
    """Whether the engine of a request hears wishes, if there is anybody who may have some.

    Raises:
        ConfigError: it does not.
    """
    if steering is not None and not isinstance(request.engine, LiveConfig):
        raise ConfigError("the clip engine makes its clips as they were asked for; steer with engine.kind=live")


def seed_for(out: str | Path | None) -> int:
    """The seed for a request that leaves it open: the one that its run has recorded, else a new one."""
    folder = None if out is None else runs.Run.beside(Path(out))
    if folder is not None and (folder / "run.json").is_file():
        return int(runs.Run.open(folder).facts["request"]["script"]["seed"])
    return random_seed()


def check_out(out: Path, *, force: bool) -> None:
    """Whether a video may be written under this name, before any work is done.

    Raises:
        InputError: not an mp4, no name, or a file that no run of that name has made.
    """
    if len(out.name.encode(errors="replace")) > LONGEST_NAME or not out.name.isprintable():
        raise ConfigError(f"{shown(out)} is no name for a file; use at most {LONGEST_NAME} bytes that can be printed")
    if out.suffix.lower() != ".mp4":
        raise ConfigError(f"{shown(out)} is no mp4; name the video with .mp4 at its end")
    runs.Run(runs.Run.beside(out), {}).check_out(out, force=force)


def regrouped(chunks: Iterator[UInt8[np.ndarray, "f h w 3"]], count: int) -> Iterator[UInt8[np.ndarray, "n h w 3"]]:
    """The same frames, `count` at a time; the last group may be shorter."""
    waiting: list[np.ndarray] = []
    have = 0
    for chunk in chunks:
        waiting.append(chunk)
        have += len(chunk)
        while have >= count:
            whole = np.concatenate(waiting)
            yield whole[:count]
            waiting, have = [whole[count:]], have - count
    if have:
        yield np.concatenate(waiting)


def recorded(folder: Path) -> LongVieConfig:
    """What a run was asked for, so that it can be asked for again.

    Raises:
        InputError: no run, or one that was begun from Python with a picture in memory.
    """
    run = runs.Run.open(folder)
    if not run.facts["asked"]:
        raise InputError(f"{shown(folder)} does not say how it was asked for; repeat the call that began it")
    config = LongVieConfig.from_mapping(run.facts["asked"])
    seed = int(run.facts["request"]["script"]["seed"])
    video = config.output.save_video
    out = str(folder.absolute().with_suffix(".mp4")) if video else False
    return replace(config, seed=seed, output=replace(config.output, save_video=out))
