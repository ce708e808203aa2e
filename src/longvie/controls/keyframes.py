"""Pictures that must be seen at a given time, as JSON: `{"keyframes": [{"time": 0, "image": "a.png"}, …]}`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from longvie.controls.image import first_picture
from longvie.controls.signals import Crop, Rate, Size
from longvie.controls.text import check_fields, clean, seconds
from longvie.documents import read_json
from longvie.errors import LongVieError, ScriptError
from longvie.media import read_picture

MOST_KEYFRAMES = 1000


@dataclass(frozen=True)
class Keyframe:
    """One picture at one time.

    `frame` counts video frames, `latent` latent frames of the whole video. `strength` is the mask of the condition: 1
    asks for this very picture, 0 for nothing.
    """

    time: float
    frame: int
    latent: int
    image: Path
    strength: float = 1.0
    caption: str | None = None

    def picture(self, size: Size, *, crop: Crop = "cover") -> Float[Tensor, "3 1 h w"]:
        """The picture in [-1, 1] at the model's size; read when asked for."""
        return first_picture(self.image, size=size, crop=crop)


def latent_of(frame: int, stride: int = 4) -> int:
    """The latent frame that holds a video frame: 0 holds frame 0 alone, each later one holds `stride` frames."""
    return -(-frame // stride)


def read_keyframes(path: Path, *, frames: int, fps: Rate, stride: int = 4) -> tuple[Keyframe, ...]:
    """Keyframes from a JSON file; relative paths lie beside it. See `from_entries`."""
    document = read_json(path, error=ScriptError)
    if isinstance(document, Mapping):
        check_fields(document, required=("keyframes",), optional=(), name=path.name)
        document = document["keyframes"]
    if not isinstance(document, list):
        raise ScriptError(f'{path.name} holds no list: write {{"keyframes": [{{"time": 0, "image": "a.png"}}]}}')
    return from_entries(document, beside=path.parent, frames=frames, fps=fps, stride=stride)


def from_entries(
    entries: Sequence[object], *, beside: Path, frames: int, fps: Rate, stride: int = 4
) -> tuple[Keyframe, ...]:
    """Keyframes in order of time, checked down to whether their pictures can be read.

    Args:
        entries: each with `time` in seconds and `image`, and if wanted `strength` in [0, 1] and `caption`.
        beside: the folder that relative paths start from.
        frames: length of the video; a keyframe may lie on any frame of it, its end counts as its last frame.
        fps: frames a second of the video.
        stride: video frames per latent frame.

    Raises:
        ScriptError: a field is missing, unknown or out of range, or two keyframes fall into one latent frame.
        MediaError: a picture cannot be read.
    """
    if len(entries) > MOST_KEYFRAMES:
        raise ScriptError(f"{len(entries)} keyframes, at most {MOST_KEYFRAMES} are allowed: drop some")
    found: dict[int, Keyframe] = {}
    for index, entry in enumerate(entries):
        name = f"keyframes[{index}]"
        keyframe = _entry(entry, name, beside, frames, fps, stride)
        other = found.get(keyframe.latent)
        if other is not None:
            raise ScriptError(
                f"{name} at {keyframe.time:g} s and the one at {other.time:g} s fall into the same "
                f"{stride / fps:g} s that the model makes at once: keep one, or move one by that much",
                code="keyframe_twice",
            )
        found[keyframe.latent] = keyframe
    return tuple(found[latent] for latent in sorted(found))


def _entry(entry: object, name: str, beside: Path, frames: int, fps: Rate, stride: int) -> Keyframe:
    if not isinstance(entry, Mapping):
        raise ScriptError(f'{name} is {type(entry).__name__}: write {{"time": 0, "image": "a.png"}}')
    check_fields(entry, required=("time", "image"), optional=("strength", "caption"), name=name)
    time = seconds(entry["time"], f"{name}.time")
    if time > frames / fps:
        raise ScriptError(f"{name}.time is {time:g} s, the video ends at {frames / fps:g} s", code="script_past_end")
    frame = min(round(time * fps), frames - 1)
    image = _path(entry["image"], f"{name}.image", beside)
    strength, caption = _strength(entry.get("strength", 1.0), f"{name}.strength"), entry.get("caption")
    if caption is not None:
        caption = _caption(caption, f"{name}.caption")
    read_picture(image)  # a picture that cannot be read is refused before a model loads
    return Keyframe(time, frame, latent_of(frame, stride), image, strength, caption)


def _path(value: object, name: str, beside: Path) -> Path:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ScriptError(f"{name} needs the name of a picture")
    return beside / value  # an absolute path stays as it is


def _strength(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or not 0 <= value <= 1:
        raise ScriptError(f"{name} is {str(value)[:40]}, needed is a number from 0 to 1", code="strength_range")
    return float(value)


def _caption(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ScriptError(f"{name} is {type(value).__name__}, needed is text")
    try:
        return clean(value)
    except LongVieError as error:
        raise ScriptError(f"{name}: {error}", code=error.code) from error
