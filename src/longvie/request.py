"""What a user asks, checked before any weight is read: words and files → a script for a model known by its card.

Files are read once into a folder of our own and hashed there; what happens to the originals later does not matter.
"""

import hashlib
import math
import secrets
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from longvie import controls
from longvie.controls.beats import read_beats, strengths
from longvie.controls.conditions import Conditions, read_conditions
from longvie.controls.diorama import read_pace
from longvie.controls.image import first_picture
from longvie.controls.keyframes import Keyframe, read_keyframes
from longvie.controls.text import Line, Timeline, parse, read_timeline
from longvie.engine.changes import Follow, Move, travelled
from longvie.engine.clip import ClipConfig
from longvie.engine.live import LiveConfig
from longvie.engine.script import Direction, Script
from longvie.errors import ConfigError, ControlError, InputError, MediaError, ScriptError
from longvie.limits import LOCAL
from longvie.media import VideoWriter, exact_rate, private_copy, quality
from longvie.media.files import room_for, shown
from longvie.models.models import Card
from longvie.presets import SEEDS, LongVieConfig, Size, check_work
from longvie.shapes import Strides

DIRECTIONS = ("depth", "tracks", "sketch", "segmentation")
STRIDES = Strides()  # of every autoencoder that we know; a request is checked before one is loaded
LONGEST_NAME = 255  # bytes of one component of a path
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".m4v")


@dataclass(frozen=True)
class Request:
    """A video that can be made.

    Attributes:
        script: what the engine follows.
        engine: which engine makes it, and how.
        size, fps: of the video that is written; those of the script unless converted.
        crf: its quality, 0 (lossless) to 51.
        reports: one sentence per control: what was loaded.
        warnings: sentences for the user.
        inputs: where the copies of its files lie, and those of files that are given on the way.
    """

    script: Script
    engine: ClipConfig | LiveConfig
    size: Size
    fps: float
    crf: int
    reports: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    inputs: "Inputs | None" = field(default=None, repr=False, compare=False)

    @property
    def converted(self) -> bool:
        """Whether frames are written at another size or rate than they are made at."""
        return (self.size, self.fps) != (self.script.size, self.script.fps)

    @property
    def frames(self) -> int:
        """Frames that are written: as many ticks of their rate as begin before the video ends."""
        return math.ceil(self.script.frames * exact_rate(self.fps) / exact_rate(self.script.fps))


class Inputs:
    """A folder of our own for the files of one request; use it in a `with`, for as long as the video is made."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="longvie-", ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)

    def __enter__(self) -> "Inputs":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the copies."""
        self._folder.cleanup()

    def take(self, source: str | Path) -> tuple[Path, str]:
        """A copy of a file, or of the files in a folder, and its sha256.

        Raises:
            MediaError: no regular file, or an address.
            LimitError, ResourceError: too large, or no room.
        """
        path = local(source)
        if path.is_dir() and not path.is_symlink():
            return self._take_folder(path)
        copy, digest = private_copy(path, self.path)
        named = copy.with_name(copy.name + path.suffix[:16])  # controls tell arrays from videos by the ending
        copy.rename(named)
        return named, digest

    def _take_folder(self, folder: Path) -> tuple[Path, str]:
        target = self.path / f"in-{secrets.token_hex(8)}"
        with room_for(0, self.path):
            target.mkdir()
        total = hashlib.sha256()
        names = sorted(entry.name for entry in folder.iterdir() if stat.S_ISREG(entry.lstat().st_mode))
        LOCAL.check("frames", len(names), shown(folder))
        for name in names:
            copy, digest = private_copy(folder / name, target)
            copy.rename(target / name)
            total.update(f"{name}\0{digest}\n".encode())
        return target, total.hexdigest()


def local(source: str | Path) -> Path:
    """The path of a local file.

    Raises:
        MediaError: an address, an empty name, one with a zero character, or one that no file can have.
    """
    text = str(source)
    if not text or "\0" in text:
        raise MediaError("a file name is empty or holds a zero character; name a file")
    scheme = text.split(":", 1)[0].lower() if ":" in text else ""
    if "://" in text or scheme in ("http", "https", "ftp", "file", "data", "subfile", "concat", "lavfi"):
        raise MediaError(f"{shown(Path(text))} is an address; download it first and name the file")
    if any(len(part.encode(errors="replace")) > LONGEST_NAME for part in Path(text).parts):
        raise MediaError(f"{shown(Path(text))} is longer than any file's name; at most {LONGEST_NAME} bytes are")
    return Path(text)


def prepare(
    config: LongVieConfig, card: Card, inputs: Inputs, *, picture: np.ndarray | None = None, drawn_seed: int = 0
) -> Request:
    """Check everything that can be checked without weights.

    Args:
        picture: the first picture as 8-bit RGB, instead of a file.
        drawn_seed: taken where the configuration's seed is -1.

    Raises:
        InputError: something cannot be used; says what.
        LimitError: more than one run may ask for.
    """
    engine, settings = engine_config(config, card), config.controls
    _check_names(config, card)
    conditions = _conditions(settings.conditions, inputs)
    opened = _Opened(config, card, inputs, conditions)
    frames = opened.frames(_frames_asked(config, card))
    check_work(frames, card.size, engine.steps)
    size, fps = config.model.frame_size or card.size, config.model.fps or float(card.fps)
    check_work(max(1, round(frames * fps / card.fps)), size, 1)
    timeline = _timeline(config, conditions, card)
    keyframes = _keyframes(settings.keyframes, frames, card, inputs)
    script = Script(
        frames=frames,
        size=card.size,
        fps=float(card.fps),
        prompts=_with_captions(timeline, keyframes),
        seed=config.seed if config.seed >= 0 else drawn_seed,
        negative=card.negative if config.sampling.negative is None else config.sampling.negative,
        picture=_picture(settings.image if picture is None else picture, card, inputs),
        keyframes=keyframes,
        controls=opened.directions(frames),
        beats=_beats(settings.beats, frames, card),
    )
    script = _with_camera(script, settings.camera, settings.camera_view)
    spans = engine.spans(script, STRIDES)
    loaded = [direction.signal.report for direction in script.controls]
    reports = tuple(str(replace(report, notes=())) for report in loaded)
    noted = [f"{report.control}: {note}" for report in loaded for note in report.notes]
    warnings = (*noted, *opened.warnings, *script.warnings(spans), *_said_of(config, card, size, fps))
    crf = quality(size) if config.output.crf is None else config.output.crf
    return Request(script, engine, size, fps, crf, reports, warnings, inputs)


def engine_config(config: LongVieConfig, card: Card) -> ClipConfig | LiveConfig:
    """The engine's settings: what the weights were made for, with what the configuration says otherwise.

    Raises:
        ConfigError: an engine that the weights were not trained for, an option of the other one, or settings that do
            not go together.
    """
    sampling, engine = config.sampling, config.engine
    kind = engine.kind or card.engines[0]
    if kind not in card.engines:
        raise ConfigError(f"{card.name} has no weights for the {kind} engine; use engine.kind={card.engines[0]}")
    changes = {option.name: getattr(engine, option.name) for option in fields(engine) if option.name != "kind"}
    changes |= {"steps": sampling.steps, "shift": sampling.shift, "guidance": sampling.guidance}
    changes |= {"sampling": sampling.mode}
    if sampling.chunk_seconds is not None and engine.clip is None and kind == "clip":
        changes["clip"] = max(1, round(sampling.chunk_seconds * card.fps / STRIDES.time))
    if sampling.overlap_seconds is not None and engine.recent is None:
        changes["recent"] = round(sampling.overlap_seconds * card.fps / STRIDES.time)
    given = {name: value for name, value in changes.items() if value is not None}
    settings = ClipConfig if kind == "clip" else LiveConfig
    strange = [name for name in given if name not in {option.name for option in fields(settings)}]
    if strange:
        raise ConfigError(f"{strange[0]} is no option of the {kind} engine: leave it out, or choose the other engine")
    return settings.of(card, **given)


def followed(name: str, source: str | Path, request: Request) -> Follow:
    """A control to be followed from some block of a video on; its first frame is that of the video. Where it ends
    before the video does, it is off from there on.

    Raises:
        ControlError, MediaError, LimitError: no such control, or the file cannot be used.
    """
    if request.inputs is None:
        raise ControlError("the files of this request are gone: prepare it again")
    script, control = request.script, controls.get(name)
    copy, digest = request.inputs.take(source)
    signal = control.load(copy, size=script.size, fps=script.fps)
    if signal.frames == 1:  # a picture is shown all the time
        signal = controls.align_signal(signal, frames=script.frames, fps=script.fps, align="pad-last")
    stop = signal.frames if signal.frames < script.frames else None
    return Follow(Direction.fitted(control, signal, source=digest, stop=stop), str(Path(source).absolute()))


def random_seed() -> int:
    """A seed that nobody chose."""
    return secrets.randbelow(SEEDS)


def drawn(
    name: str,
    source: str | Path,
    out: Path,
    *,
    size: Size,
    fps: int | float,
    frames: int | None = None,
    align: str = "error",
    declared: Mapping[str, Any] | None = None,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> controls.LoadReport:
    """Draw a control file into an mp4 as a model of this size and rate sees it; what was loaded.

    Raises:
        ControlError, MediaError, LimitError: the source cannot be used.
    """
    control = controls.get(name)
    with Inputs() as inputs:
        copy, _ = inputs.take(source)
        signal = control.load(
            copy,
            size=size,
            fps=fps,
            frames=frames,
            align=align,  # type: ignore[arg-type]  # checked where it is used
            declared=declared or None,
        )
        scale = control.fit(signal)
        said = {"comment": "depth=picture"} if name == "depth" else {}
        with VideoWriter(out, fps=fps, size=size, fragmented=False, metadata=said) as writer:
            for span in controls.rendered_spans(control, signal, scale):
                writer.write(span)
                tell(writer.frames, signal.frames)
        return signal.report


# --------------------------------------------------------------------------------------------------------------
# controls


def absolute(config: LongVieConfig) -> LongVieConfig:
    """The same with every file named from the root, so that it can be asked for again from elsewhere."""
    files = ("image", *DIRECTIONS, "keyframes", "beats", "conditions")
    settings = config.controls
    named = {name: _absolute(getattr(settings, name)) for name in files}
    parts = ("base", "control", "attention", "live", "lora")
    model = replace(config.model, **{name: _absolute(getattr(config.model, name)) for name in parts})
    return replace(config, controls=replace(settings, **named), model=model, prompts=_absolute(config.prompts))


def _absolute(source: str | None) -> str | None:
    return None if source is None else str(Path(source).absolute())


class _Opened:
    """The controls of a request: opened when the length is asked for, fitted when it is known."""

    def __init__(self, config: LongVieConfig, card: Card, inputs: Inputs, conditions: Conditions | None) -> None:
        self._config, self._card, self._conditions = config, card, conditions
        settings = config.controls
        given = {name: getattr(settings, name) for name in DIRECTIONS}
        if conditions is not None:
            _check_twice(given, conditions)
        self._files = {name: inputs.take(source) for name, source in given.items() if source is not None}
        self.warnings: tuple[str, ...] = ()

    def frames(self, asked: int | None) -> int:
        """How long the video is: as asked, as the conditions say, as the first control is, or one clip."""
        if asked is not None:
            return asked
        if self._conditions is not None:
            return self._conditions.frames
        for name, (path, _) in self._files.items():
            signal = self._load(name, path, None)
            if signal.frames > 1:
                return signal.frames
        return self._card.frames

    def directions(self, frames: int) -> tuple[Direction, ...]:
        """Every control over the whole video, fitted; those of strength 0 are left out."""
        made: list[Direction] = []
        for name, (path, digest) in self._files.items():
            self._add(made, name, self._load(name, path, frames), digest)
        if self._conditions is not None:
            for name in (name for name in self._conditions.files if name in DIRECTIONS):
                signal = self._conditions.signal(
                    self._control(name),
                    size=self._card.size,
                    fps=float(self._card.fps),
                    declared=self._declared(name),
                )
                align = self._config.controls.align
                signal = controls.align_signal(signal, frames=frames, fps=float(self._card.fps), align=align)
                self._add(made, name, signal, None)
        return tuple(made)

    def _add(self, made: list[Direction], name: str, signal: controls.Signal, digest: str | None) -> None:
        strength = getattr(self._config.controls, f"{name}_strength")
        if strength == 0:
            self.warnings += (f"{name} has strength 0 and is left out",)
        else:
            made.append(Direction.fitted(self._control(name), signal, strength=strength, source=digest))

    def _load(self, name: str, path: Path, frames: int | None) -> controls.Signal:
        signal = self._control(name).load(
            path,
            size=self._card.size,
            fps=float(self._card.fps),
            frames=frames,
            align=self._config.controls.align,
            declared=self._declared(name),
        )
        if signal.report.frames == 1 and path.suffix.lower() in VIDEOS and frames != 1:
            needed = self._card.frames if frames is None else frames
            raise ControlError(
                f"{name} is a video of 1 frame, {needed} are needed: give a video that lasts as long, or a picture, "
                "which is shown all the time",
                code="control_length",
            )
        return signal

    def _control(self, name: str) -> controls.Control:
        return controls.get(name, quirks=True) if self._card.quirks else controls.get(name)

    def _declared(self, name: str) -> dict[str, Any] | None:
        settings = self._config.controls
        if name == "depth" and settings.depth_content is not None:
            return {"content": settings.depth_content}
        if name == "tracks" and settings.tracks_size is not None:
            return {"size": settings.tracks_size}
        return None


def _check_names(config: LongVieConfig, card: Card) -> None:
    """Every control that is asked for, against those that the model was trained with."""
    settings = config.controls
    known = ", ".join(card.controls) or "none"
    if settings.audio is not None:
        raise ControlError(
            f"audio is not a control yet; {card.name} knows {known}, and beats from a JSON file: leave controls.audio "
            "empty",
            code="control_untrained",
        )
    moved = ("tracks",) if settings.camera is not None else ()  # what a camera's way is told by
    for name in (*DIRECTIONS, *moved):
        if (getattr(settings, name) is not None or name in moved) and name not in card.controls:
            raise ControlError(f"{card.name} was not trained on {name}; it knows {known}", code="control_untrained")


def _with_camera(script: Script, camera: str | None, view: float) -> Script:
    """The script whose camera goes its own way through the world of the first frame.

    Raises:
        ControlError: nothing that a camera can do, or it travels and no depth is given.
        ScriptError: a pace begins after the end of the video.
    """
    if camera is None:
        return script
    way = parse(camera).within(script.frames / script.fps)
    moves = [(round(line.time * script.fps), Move(**read_pace(line.prompt), view=view)) for line in way.lines]
    return travelled(script, moves)


def _check_twice(given: dict[str, str | None], conditions: Conditions) -> None:
    for name, source in given.items():
        if source is not None and name in conditions.files:
            raise ConfigError(f"{name} is given as a file and by the conditions; keep one of them")


def _conditions(source: str | None, inputs: Inputs) -> Conditions | None:
    """LongVie's cond.json with its files copied; it is refused where its files are."""
    if source is None:
        return None
    found = read_conditions(local(source))
    files = {
        name: tuple(inputs.take(path)[0] for path in paths) for name, paths in found.files.items() if name != "video"
    }
    return replace(found, files=files)


def _beats(source: str | None, frames: int, card: Card) -> Float[np.ndarray, " f"] | None:
    if source is None:
        return None
    return strengths(read_beats(local(source)), frames=frames, fps=float(card.fps))


# --------------------------------------------------------------------------------------------------------------
# length, words, pictures


def _frames_asked(config: LongVieConfig, card: Card) -> int | None:
    """Frames at the model's rate, or None where the length is left to the controls."""
    model = config.model
    if model.frames is not None and model.duration is not None:
        raise ConfigError(f"{model.frames} frames and {model.duration:g} s are asked for; give one of them")
    if model.frames is not None:
        return model.frames
    if model.duration is not None:
        return max(1, round(model.duration * card.fps))
    if config.prompt is not None and config.prompts is None and config.controls.conditions is None:
        lasts = parse(config.prompt).duration
        return None if lasts is None else max(1, round(lasts * card.fps))
    return None


def _timeline(config: LongVieConfig, conditions: Conditions | None, card: Card) -> Timeline:
    if config.prompts is not None:
        timeline = read_timeline(local(config.prompts), first=config.prompt)
    elif config.prompt is not None:
        timeline = parse(config.prompt)
    elif conditions is not None:
        timeline = conditions.timeline(float(card.fps))
    else:
        raise ScriptError("no words are given: say what the video shows with a prompt", code="prompt_empty")
    return timeline


def _with_captions(timeline: Timeline, keyframes: Sequence[Keyframe]) -> Timeline:
    """The words of keyframes that have some, from their time on."""
    said = {line.time: line.prompt for line in timeline.lines}
    said |= {key.time: key.caption for key in keyframes if key.caption is not None}
    return replace(timeline, lines=tuple(Line(time, said[time]) for time in sorted(said)))


def _keyframes(source: str | None, frames: int, card: Card, inputs: Inputs) -> tuple[Keyframe, ...]:
    """Keyframes with their pictures copied; each is read again when it is needed."""
    if source is None:
        return ()
    found = read_keyframes(local(source), frames=frames, fps=float(card.fps), stride=STRIDES.time)
    return tuple(replace(keyframe, image=inputs.take(keyframe.image)[0]) for keyframe in found)


def _picture(source: str | np.ndarray | None, card: Card, inputs: Inputs) -> Float[Tensor, "3 1 h w"] | None:
    if source is None:
        return None
    pixels = inputs.take(source)[0] if isinstance(source, str) else source
    if isinstance(pixels, np.ndarray) and (pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[-1] != 3):
        raise InputError(
            f"the picture is {pixels.dtype} of shape {pixels.shape}; give 8-bit RGB (height, width, 3), or a file"
        )
    return first_picture(pixels, size=card.size, crop="stretch" if card.quirks else "cover")


def _said_of(config: LongVieConfig, card: Card, size: Size, fps: float) -> list[str]:
    """What the user should know before anything is made."""
    said = []
    if card.random:
        said.append(f"{card.name} has random weights: it tests everything and shows nothing")
    if size != card.size:
        made, wanted = (f"{width}x{height}" for height, width in (card.size, size))
        said.append(f"the video is made at {made} and converted to {wanted}")
    if fps != card.fps:
        said.append(f"the video is made at {card.fps} frames a second and converted to {fps:g}")
    if config.seed < 0:
        said.append("the seed is drawn, and recorded with the run")
    return said
