"""Configurations: named ones, files, and single options over them; and where the weights of a name lie.

Every option is a field of a frozen dataclass below, with its default and its range beside it. A file may hold any of
them; what it does not say, the preset of its model says, and what that leaves open (None) the model's own card says.
"""

import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from longvie.controls.signals import Align
from longvie.documents import read_json, read_yaml
from longvie.errors import ConfigError, LimitError
from longvie.limits import LOCAL

WORK = 2**41  # frames × pixels × steps of one run: an hour of 832×480 at 50 steps is a little less
SIDES = (16, 8192)  # pixels of a picture's side that is written
SEEDS = 2**63
OPTIONS = replace(LOCAL, document_items=10_000)  # of a file of options; aliases count each time they are used

Section = TypeVar("Section")
Size = tuple[int, int]  # height, width


def read_size(given: object, name: str, *, even: bool = True) -> Size:
    """Height and width from `640x352` (width first, as people write it), or from [width, height].

    Args:
        even: whether it is a video that is written, whose sides must be even and within `SIDES`.

    Raises:
        ConfigError: not two whole numbers in range.
        LimitError: too many pixels.
    """
    sides: list[object] = []
    if isinstance(given, str):
        sides = [int(side) if side.isdecimal() and len(side) < 9 else side for side in given.lower().split("x")]
    elif isinstance(given, list | tuple):
        sides = list(given)
    if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
        raise ConfigError(f"{name} is {brief(given)}; write width and height, such as 640x352 or [640, 352]")
    width, height = (int(str(side)) for side in sides)
    if not even and not all(1 <= side <= SIDES[1] for side in (width, height)):
        raise ConfigError(f"{name} is {width}x{height}; both must be from 1 to {SIDES[1]}")
    if even and not all(SIDES[0] <= side <= SIDES[1] and side % 2 == 0 for side in (width, height)):
        raise ConfigError(f"{name} is {width}x{height}; both must be even, from {SIDES[0]} to {SIDES[1]}")
    LOCAL.check("video_pixels", width * height, name)
    return height, width


def read_picture_size(given: object, name: str) -> Size:
    """The size of a picture that others are measured in, which nobody writes; see `read_size`."""
    return read_size(given, name, even=False)


def read_duration(given: int | float, name: str) -> float:
    """Seconds of a video.

    Raises:
        ConfigError: not above 0, or longer than we accept.
    """
    if not 0 < given <= LOCAL.seconds:
        raise ConfigError(f"{name} is {given:g}; seconds above 0 and up to {LOCAL.seconds:g} are needed")
    return float(given)


def read_fps(given: int | float, name: str) -> float:
    """Frames a second of a video.

    Raises:
        ConfigError: not above 0, or more than we accept.
    """
    if not 0 < given <= LOCAL.frames_per_second:
        raise ConfigError(
            f"{name} is {given:g}; frames a second above 0 and up to {LOCAL.frames_per_second:g} are needed"
        )
    return float(given)


def within(low: int | float, high: int | float, *, open_low: bool = False) -> Mapping[str, Any]:
    """Metadata of a number's field: its range; with `open_low`, the lower end itself is refused."""
    return {"range": (low, high, open_low)}


@dataclass(frozen=True)
class ModelSection:
    """Which weights, and the form of the video that leaves them."""

    ckpt: str = "world"  # a name (`longvie models list`) or a folder with a card.json
    base: str | None = None  # folder of Wan2.1-I2V-14B-480P for longvie-2, of Wan2.1-T2V-1.3B for longlive-1.3b
    control: str | None = None  # longvie-2 alone: control.safetensors
    attention: str | None = None  # longvie-2 alone: dit.safetensors
    live: str | None = None  # longlive-1.3b alone: longlive_base.safetensors, or a folder with it
    lora: str | None = None  # lora.safetensors for longlive-1.3b, any adapter for longvie-2
    frame_size: Size | None = field(default=None, metadata={"read": read_size})  # converted to it; None: the model's
    fps: float | None = field(default=None, metadata=within(0, LOCAL.frames_per_second, open_low=True))
    duration: float | None = field(default=None, metadata=within(0, LOCAL.seconds, open_low=True))  # seconds
    frames: int | None = field(default=None, metadata=within(1, LOCAL.frames))  # instead of a duration


@dataclass(frozen=True)
class ControlsSection:
    """Files that the video is to follow; None is no such control. Strength 0 is off, 1 as trained."""

    image: str | None = None
    depth: str | None = None
    tracks: str | None = None
    sketch: str | None = None
    segmentation: str | None = None
    keyframes: str | None = None
    beats: str | None = None
    camera: str | None = None  # its way through the first frame's world: `pan=10[3s] | forward=0.2[2s] | still`
    camera_view: float = field(default=50.0, metadata=within(5, 150))  # degrees that it sees from top to bottom
    conditions: str | None = None  # LongVie's cond.json
    audio: str | None = None
    depth_content: Literal["metric", "disparity", "picture"] | None = None
    # What x and y of the tracks are measured in, where the file does not say.
    tracks_size: Size | None = field(default=None, metadata={"read": read_picture_size})
    align: Align = "error"
    depth_strength: float = field(default=1.0, metadata=within(0, 2))
    tracks_strength: float = field(default=1.0, metadata=within(0, 2))
    sketch_strength: float = field(default=1.0, metadata=within(0, 2))
    segmentation_strength: float = field(default=1.0, metadata=within(0, 2))


@dataclass(frozen=True)
class SamplingSection:
    """How the noise becomes a video."""

    mode: Literal["deterministic", "stochastic"] | None = None
    chunk_seconds: float | None = field(default=None, metadata=within(0, 60, open_low=True))  # new video per clip
    overlap_seconds: float | None = field(default=None, metadata=within(0, 60))  # of it that the next clip looks at
    steps: int | None = field(default=None, metadata=within(1, 1000))
    guidance: float | None = field(default=None, metadata=within(0, 100))
    shift: float | None = field(default=None, metadata=within(0, 100, open_low=True))
    negative: str | None = None


@dataclass(frozen=True)
class OutputSection:
    """What is left behind. A path, or true for the usual place."""

    save_frames: bool | str = False
    save_video: bool | str = True
    crf: int | None = field(default=None, metadata=within(0, 51))  # quality of the video, 0 is lossless; None: by size


@dataclass(frozen=True)
class EngineSection:
    """Which engine, and how it ties together what it makes; fields of `ClipConfig` and `LiveConfig`, but for those of
    sampling.
    """

    kind: Literal["clip", "live"] | None = None  # None: the first of those that the weights were trained for
    recent: int | None = field(default=None, metadata=within(0, 64))  # last latent frames that what comes next sees
    seam: Literal["latent", "pixel"] | None = None  # of clips
    clip: int | None = field(default=None, metadata=within(1, 256))  # latent frames that a clip adds
    noise: Literal["shared", "fresh"] | None = None  # that clips begin with: the same, or each its own
    block: int | None = field(default=None, metadata=within(1, 64))  # latent frames that the live engine makes at once
    sink: int | None = field(default=None, metadata=within(0, 64))  # first latent frames that it never forgets
    far: int | None = field(default=None, metadata=within(0, 64))  # key frames that it keeps of those between
    every: int | None = field(default=None, metadata=within(1, 1024))  # one in so many latent frames is one
    positions: Literal["relative", "absolute"] | None = None
    on_words: Literal["recache", "keep", "clear"] | None = None  # its memory, when the words change
    renews: int | None = field(default=None, metadata=within(1, 1000))  # blocks that one picture is moved for
    places: int | None = field(default=None, metadata=within(0, 64))  # pictures in which what comes back is looked for


@dataclass(frozen=True)
class LongVieConfig:
    """Everything that decides a video but its words."""

    model: ModelSection = ModelSection()
    controls: ControlsSection = ControlsSection()
    sampling: SamplingSection = SamplingSection()
    output: OutputSection = OutputSection()
    engine: EngineSection = EngineSection()
    seed: int = field(default=0, metadata=within(-1, SEEDS - 1))  # -1: drawn, and recorded with the run
    prompt: str | None = None  # words, or a timeline: `a red ball[5s] | the red ball in a storm[10s]`
    prompts: str | None = None  # a timeline as a JSON file

    @classmethod
    def from_file(cls, path: str | Path) -> "LongVieConfig":
        """A YAML or JSON file over the preset of its model.

        Raises:
            ConfigError: not such a file, or an option that is unknown or out of range, with the nearest right one.
        """
        return cls.from_mapping(read_options(Path(path)))

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> "LongVieConfig":
        """Nested options over the preset of their model; errors as `from_file`."""
        model = given.get("model")
        name = model.get("ckpt") if isinstance(model, Mapping) else None
        return apply(preset(name) if isinstance(name, str) and name in PRESETS else cls(), given)

    def with_options(self, options: Sequence[str]) -> "LongVieConfig":
        """Single options over this: `engine.seam=pixel`, read as in a YAML file; errors as `from_file`."""
        config = self
        for option in options:
            config = apply(config, parse_option(option))
        return config


def to_mapping(section: Any) -> dict[str, Any]:
    """The options that are not at their default, nested, as JSON and as `LongVieConfig.from_mapping` takes them."""
    given: dict[str, Any] = {}
    for option in fields(section):
        value = getattr(section, option.name)
        if isinstance(value, tuple):  # held as height and width, written as width and height
            given[option.name] = list(reversed(value))
        elif is_dataclass(value) and not isinstance(value, type):
            value = to_mapping(value)
            if value:
                given[option.name] = value
        elif value != option.default:
            given[option.name] = value
    return given


PRESETS: Mapping[str, LongVieConfig] = types.MappingProxyType(
    {
        "world": LongVieConfig(),
        "tiny": LongVieConfig(model=ModelSection(ckpt="tiny")),
        "longvie-2": LongVieConfig(model=ModelSection(ckpt="longvie-2")),
        "longlive-1.3b": LongVieConfig(model=ModelSection(ckpt="longlive-1.3b")),
    }
)


def preset(name: str) -> LongVieConfig:
    """The configuration of this name.

    Raises:
        ConfigError: unknown, with the nearest known name.
    """
    if name not in PRESETS:
        raise ConfigError(f"no preset {brief(name)}; {nearest(name, PRESETS)}")
    return PRESETS[name]


def check_work(frames: int, size: Size, steps: int) -> None:
    """Refuse more than one run may ask for, before anything of that size is allocated or loaded.

    Raises:
        LimitError: too many frames, or frames × pixels × steps above `WORK`.
    """
    LOCAL.check("frames", frames, "the video")
    height, width = size
    asked = frames * height * width * steps
    if asked > WORK:
        raise LimitError(
            f"{frames:,} frames of {width}x{height} in {steps:,} steps are {asked:,} pixel steps, at most {WORK:,} are "
            "taken at a time; make it shorter, smaller or in fewer steps"
        )


# --------------------------------------------------------------------------------------------------------------
# options from outside


def read_options(path: Path) -> Mapping[str, Any]:
    """The options in a `.yaml`, `.yml` or `.json` file.

    Raises:
        ConfigError: another kind of file, unreadable, or no table of options.
    """
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise ConfigError(f"{brief(path.name)} is no configuration; give a .yaml or .json file")
    read = read_json if path.suffix.lower() == ".json" else read_yaml
    given = read(path, limits=OPTIONS)
    if not isinstance(given, Mapping):
        raise ConfigError(f"{brief(path.name)} holds no options; write lines such as 'seed: 42'")
    return given


def parse_option(option: str) -> dict[str, Any]:
    """`a.b=c` as nested options, c read as in a YAML file.

    Raises:
        ConfigError: no `=`, or a value that cannot be read.
    """
    name, equals, value = option.partition("=")
    if not equals or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{brief(option)} sets nothing; write --set engine.seam=pixel")
    nested: Any = read_yaml(value.encode(errors="surrogateescape"))
    for part in reversed(name.split(".")):
        nested = {part: nested}
    return nested


def apply(config: Section, given: Mapping[str, Any], at: str = "") -> Section:
    """The same section with other values, each checked.

    Raises:
        ConfigError: an option is unknown, with the nearest right one; of another type; or out of range.
    """
    assert is_dataclass(config) and not isinstance(config, type)
    known = {option.name: option for option in fields(config)}
    hints = typing.get_type_hints(type(config))
    changes: dict[str, Any] = {}
    for name, value in given.items():
        full = f"{at}{name}"
        if name not in known:
            raise ConfigError(f"no option {brief(full)}; {nearest(full, all_options(type(config), at))}")
        now = getattr(config, name)
        if is_dataclass(now) and not isinstance(now, type):
            if value is None:
                continue  # `controls:` with nothing under it
            if not isinstance(value, Mapping):
                raise ConfigError(f"{full} is {brief(value)}; it holds {', '.join(o.name for o in fields(now))}")
            changes[name] = apply(now, value, f"{full}.")
        else:
            changes[name] = checked(value, hints[name], known[name].metadata, full)
            if value is None and changes[name] is None:
                changes[name] = known[name].default if known[name].default is not MISSING else None
    return replace(config, **changes)


def checked(value: object, hint: Any, about: Mapping[str, Any], name: str) -> Any:
    """A value of the option's type and in its range.

    Raises:
        ConfigError: it is not.
    """
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = set(typing.get_args(hint)) if union else {hint}
    if value is None and types.NoneType in kinds:
        return None
    if "read" in about:
        return about["read"](value, name)
    literals = [choice for kind in kinds if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)]
    if literals:
        if value not in literals:
            raise ConfigError(f"{name} is {brief(value)}; use one of {', '.join(map(str, literals))}")
        return value
    return _scalar(value, kinds, about, name)


def _scalar(value: object, kinds: set[Any], about: Mapping[str, Any], name: str) -> Any:
    """Text, a number or true and false; each is only itself."""
    if isinstance(value, bool):
        if bool not in kinds:
            raise ConfigError(f"{name} is {str(value).lower()}; {_wanted(kinds, about)} is needed")
        return value
    if isinstance(value, str) and str in kinds:
        return value
    if isinstance(value, int | float) and kinds & {int, float}:
        if float not in kinds and not isinstance(value, int):
            raise ConfigError(f"{name} is {brief(value)}; {_wanted(kinds, about)} is needed")
        low, high, open_low = about.get("range", (-math.inf, math.inf, False))
        if not low <= value <= high or (open_low and value == low) or not math.isfinite(value):
            raise ConfigError(f"{name} is {brief(value)}; {_wanted(kinds, about)} is needed")
        return float(value) if float in kinds else value
    raise ConfigError(f"{name} is {brief(value)}; {_wanted(kinds, about)} is needed")


def _wanted(kinds: set[Any], about: Mapping[str, Any]) -> str:
    """What would have been right, in words."""
    names = {bool: "true or false", str: "text", int: "a whole number", float: "a number"}
    said = " or ".join(words for kind, words in names.items() if kind in kinds)
    if "range" in about:
        low, high, open_low = about["range"]
        said += f" {'above' if open_low else 'from'} {low:g} {'and up to' if open_low else 'to'} {_plain(high)}"
    return said


def all_options(section: type, at: str = "") -> list[str]:
    """Every option of a section and of those in it, with its full name."""
    found: list[str] = []
    for option in fields(section):
        kind = typing.get_type_hints(section)[option.name]
        found.append(f"{at}{option.name}")
        if is_dataclass(kind) and isinstance(kind, type):
            found += all_options(kind, f"{at}{option.name}.")
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or all there is to choose from."""
    known = list(known)
    near = get_close_matches(name[:80], known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"


def brief(value: object) -> str:
    """A value of strangers, quoted, short and without control characters."""
    text = str(value) if isinstance(value, str) else _plain(value)
    clean = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:81])
    return f"'{clean if len(clean) <= 60 else clean[:59] + '…'}'"


def _plain(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**60:
        return "a number with more than 60 digits"
    return f"{value:g}" if isinstance(value, float) else str(value)
