"""Frames of any kind by number: a video, a folder of pictures or an array, read a span at a time."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from longvie.errors import MediaError
from longvie.limits import LOCAL, Limits
from longvie.media.arrays import NPY, ZIP, ArrayFile
from longvie.media.convert import Rate, Size, resize_frames
from longvie.media.exr import EXR, read_exr
from longvie.media.files import open_regular, shown
from longvie.media.pictures import PNG, picture_mode, read_grey16, read_labels, read_picture
from longvie.media.video import VideoFrames

Values = Literal["rgb", "numbers", "labels"]
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".exr")


@runtime_checkable
class FrameSource(Protocol):
    """Frames by number, in memory only while they are read; reading on is cheap, any order is allowed.

    `read` gives uint8 (f, h, w, 3) when `values` is "rgb", else (f, h, w): whole numbers when it is "labels", any
    numbers when it is "numbers". `fps` is None where the source has no rate.
    """

    frames: int
    height: int
    width: int
    fps: float | None

    @property
    def values(self) -> Values: ...

    def read(self, start: int, stop: int) -> np.ndarray: ...

    def close(self) -> None: ...

    def __enter__(self) -> "FrameSource": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


def open_frames(
    path: Path,
    *,
    values: Values | None = None,
    size: Size | None = None,
    fps: Rate | None = None,
    member: str | None = None,
    limits: Limits = LOCAL,
) -> FrameSource:
    """Open a video, a folder of pictures, a picture, an `.npy` or an `.npz`, told by the bytes.

    Args:
        values: what the frames mean; by default 16-bit grey, EXR and most arrays are numbers, all else is pictures.
        size: height and width to read at, for pictures only (by area).
        fps: read a video at this rate; for others it only says what their rate is.
        member: which array of an `.npz`, or which channel of an EXR.

    Raises:
        MediaError: cannot be read, or the frames are not all of one kind and size.
        LimitError: more than `limits` allows.
    """
    if path.is_dir():
        return PictureFrames(_pictures_in(path, limits), values, size, fps, member, limits)
    with open_regular(path, limits=limits) as file:
        head = file.read(16)
    if head[:6] == NPY or head[:4] == ZIP:
        return ArrayFrames(path, values, size, fps, member, limits)
    if head[:8] == PNG or head[:3] == b"\xff\xd8\xff" or head[:4] == EXR or head[8:12] == b"WEBP":
        return PictureFrames([path], values, size, fps, member, limits)
    if values not in (None, "rgb"):
        raise MediaError(f"{shown(path)} is a video, which holds no {values}; give an array or 16-bit pictures")
    return VideoFrames(path, size=size, fps=fps, limits=limits)


Source = TypeVar("Source", bound="_Closed")


class _Closed:
    """What sources share: they can be used in a `with`."""

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self: Source) -> Source:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class PictureFrames(_Closed):
    """Pictures in the order of the numbers in their names, all of one size; each is opened when it is read."""

    def __init__(
        self,
        paths: Sequence[Path],
        values: Values | None,
        size: Size | None,
        fps: Rate | None,
        channel: str | None,
        limits: Limits,
    ) -> None:
        self._paths, self._channel, self._limits = paths, channel, limits
        self.values: Values = values or _kind_of(paths[0], limits)
        if size is not None and self.values != "rgb":
            raise MediaError("numbers are read at their own size and resized by the control that knows what they mean")
        self._size = size
        first = self._one(paths[0])
        self._stored: Size = (first.shape[0], first.shape[1])
        self.frames, self.fps = len(paths), None if fps is None else float(fps)
        self.height, self.width = size or self._stored

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames `start` to `stop`.

        Raises:
            MediaError: outside the folder; a picture that cannot be read or differs in size or type from the first.
            LimitError: larger than `limits.array_bytes`.
        """
        _check_span(self, start, stop, "the folder")
        pixels = (stop - start) * self.height * self.width
        self._limits.check("array_bytes", pixels * (3 if self.values == "rgb" else 4), "the folder")
        pictures = [self._checked(path) for path in self._paths[start:stop]]
        return np.stack(pictures) if pictures else self._checked(self._paths[0])[None][:0]

    def _checked(self, path: Path) -> np.ndarray:
        picture = self._one(path)
        if picture.shape[:2] != self._stored:
            came, needed = ("×".join(map(str, size)) for size in (picture.shape[:2], self._stored))
            raise MediaError(f"{shown(path)} is {came} pixels, the first picture {needed}; all must be of one size")
        return picture if self._size is None else resize_frames(picture[None], self._size)[0]

    def _one(self, path: Path) -> np.ndarray:
        if path.suffix.lower() == ".exr":
            return read_exr(path, channel=self._channel, limits=self._limits)
        if self.values == "labels":
            return read_labels(path, limits=self._limits)
        if self.values == "numbers":
            return read_grey16(path, limits=self._limits)
        return read_picture(path, limits=self._limits)


class ArrayFrames(_Closed):
    """An array whose first axis is time: (f, h, w), or (f, h, w, 1), or (f, h, w, 3) in 8 bits."""

    def __init__(
        self, path: Path, values: Values | None, size: Size | None, fps: Rate | None, member: str | None, limits: Limits
    ) -> None:
        self._array, self._name, self._size = ArrayFile(path, member=member, limits=limits), shown(path), size
        try:
            self.values: Values = self._values(values)
        except MediaError:
            self._array.close()
            raise
        self.frames, height, width = self._array.shape[:3]
        self.height, self.width = size or (height, width)
        self.fps = None if fps is None else float(fps)

    def _values(self, asked: Values | None) -> Values:
        shape, kind = self._array.shape, self._array.dtype
        channels = shape[3] if len(shape) == 4 else 1
        if len(shape) not in (3, 4) or channels not in (1, 3) or 0 in shape:
            raise MediaError(f"{self._name} has the shape {shape}; needed: (frames, height, width) or 8-bit (…, 3)")
        drawn = channels == 3
        if drawn and kind != np.uint8:
            raise MediaError(f"{self._name} holds colours of type {kind}; 8-bit ones are read")
        if drawn != (asked == "rgb" if asked else drawn):
            raise MediaError(f"{self._name} has {channels} channels, which are not {asked}")
        if asked == "labels" and kind.kind not in "biu":
            raise MediaError(f"{self._name} holds {kind}; labels are whole numbers")
        if self._size is not None and not drawn:
            raise MediaError("numbers are read at their own size and resized by the control that knows what they mean")
        return asked or ("rgb" if drawn else "numbers")

    def read(self, start: int, stop: int) -> np.ndarray:
        """Frames `start` to `stop`; errors as in `ArrayFile.read`."""
        frames = self._array.read(start, stop)
        if self.values == "rgb":
            return frames if self._size is None else resize_frames(frames, self._size)
        return frames.reshape(frames.shape[:3])

    def close(self) -> None:
        """Let go of the file."""
        self._array.close()


def _check_span(source: PictureFrames, start: int, stop: int, name: str) -> None:
    if not 0 <= start <= stop <= source.frames:
        raise MediaError(f"{name} has {source.frames} frames; {start} to {stop} were asked for")


def _kind_of(path: Path, limits: Limits) -> Values:
    """Depth is stored in 16-bit grey and in EXR; everything else is a picture unless the caller knows better."""
    if path.suffix.lower() == ".exr" or picture_mode(path, limits=limits).startswith("I"):
        return "numbers"
    return "rgb"


def _pictures_in(folder: Path, limits: Limits) -> list[Path]:
    """The pictures of one ending in a folder, `2.png` before `10.png`."""
    found: list[Path] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and Path(entry.name).suffix.lower() in PICTURE_ENDINGS:
                    found.append(Path(entry.path))
                    limits.check("frames", len(found), shown(folder))
    except OSError:
        raise MediaError(f"the folder {shown(folder)} may not be read by this user") from None
    endings = sorted({path.suffix.lower() for path in found})
    if len(endings) != 1:
        held = f"pictures of several kinds ({', '.join(endings)})" if endings else "no pictures"
        raise MediaError(f"the folder {shown(folder)} holds {held}; put PNGs of one video into it")
    return sorted(found, key=_by_number)


def _by_number(path: Path) -> tuple[list[tuple[int, int | str]], str]:
    parts = re.findall(r"\d+|\D+", path.stem)
    return [(0, int(part[:18])) if part[0].isdecimal() else (1, part) for part in parts], path.name
