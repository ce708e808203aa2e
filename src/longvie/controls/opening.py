"""A source of a control, whatever its form, as frames: video, picture, folder of pictures, array."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal, Protocol, runtime_checkable
from weakref import finalize

import numpy as np

from longvie.controls.signals import Align, LoadReport, Mapped, Rate, Signal, align_signal, check_span, held
from longvie.errors import ControlError, MediaError
from longvie.limits import LOCAL, Limits
from longvie.media import VideoFrames, probe_video, read_grey16, read_picture
from longvie.media.arrays import ArrayFile, array_names, read_array
from longvie.media.exr import read_exr
from longvie.media.files import shown

Form = Literal["video", "pictures", "numbers", "grey16"]  # grey16: grey PNGs, those of 8 bits widened to 16

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
EXR = ".exr"
HELD = 16 * 2**20  # bytes of a file's last frames
FACTS = ("fps", "sky")  # single numbers that an .npz may hold beside its array


@dataclass(frozen=True)
class Opened:
    """A source, opened: spans of drawn ones are uint8 (f, h, w, 3), else numbers (f, h, w).

    `facts` is what the source says about itself: the comment of a video, the single values of an .npz.
    """

    name: str
    form: Form
    signal: Signal
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def drawn(self) -> bool:
        return self.form in ("video", "pictures")

    def aligned(self, *, frames: int | None, fps: Rate, align: Align) -> Signal:
        """The signal at the clip's length and rate; a picture is shown all the time, a video of one frame is not."""
        signal = self.signal if self.form == "video" else held(self.signal, frames)
        return align_signal(signal, frames=frames, fps=fps, align=align)


@dataclass(frozen=True)
class PicturesSignal:
    """Picture files of one size, each a frame, read when they are asked for."""

    paths: tuple[Path, ...]
    height: int
    width: int
    fps: Rate
    report: LoadReport
    read_one: Callable[[Path], np.ndarray]

    @property
    def frames(self) -> int:
        return len(self.paths)

    def read(self, start: int, stop: int) -> np.ndarray:
        check_span(self, start, stop)
        pictures = [self.read_one(path) for path in self.paths[start:stop]]
        for path, picture in zip(self.paths[start:stop], pictures, strict=True):
            if picture.shape[:2] != (self.height, self.width):
                raise ControlError(
                    f"{shown(path)} has {picture.shape[0]}×{picture.shape[1]} pixels, the first picture "
                    f"{self.height}×{self.width}: bring them to one size"
                )
        return np.stack(pictures)


@runtime_checkable
class Readable(Protocol):
    """An open file of frames."""

    def read(self, start: int, stop: int) -> np.ndarray: ...

    def close(self) -> None: ...


class FileSignal:
    """A file of frames, open only while it is read: closed after its last frame, opened again when asked once more.

    So a signal of many clips holds one open file at a time. A signal that nobody holds any more closes its file too.
    The last frames are held: a packed file that is asked for earlier ones is unpacked from its beginning. Several
    threads may read.

    Raises:
        ControlError: on reading, when the file is no longer the one that was checked (`control_changed`).
    """

    def __init__(self, path: Path, opener: Callable[[], Readable], report: LoadReport) -> None:
        self.report = report
        self.frames, self.fps, self.height, self.width = report.frames, report.fps, report.height, report.width
        self._path, self._opener = path, opener
        self._open: Readable | None = None
        self._state = _state(path)
        self._reading = Lock()
        self._held = list[np.ndarray]()  # frames that were read last
        self._next = 0  # the frame after them

    def read(self, start: int, stop: int) -> np.ndarray:
        check_span(self, start, stop)
        with self._reading:
            if self._open is None and _state(self._path) != self._state:
                raise ControlError(
                    f"{shown(self._path)} has changed since it was checked: start again with the file as it is now",
                    code="control_changed",
                )
            if not self._next - len(self._held) <= start <= self._next:
                self._held, self._next = [], start
            if stop > self._next:
                self._held += list(self._from_file(self._next, stop))
                self._next = stop
            frames = np.stack(self._held[start - self._next + len(self._held) : stop - self._next + len(self._held)])
            del self._held[: -max(1, HELD // max(1, frames[0].nbytes))]
            return frames

    def _from_file(self, start: int, stop: int) -> np.ndarray:
        if self._open is None:
            self._open = self._opener()
            self._closer = finalize(self, self._open.close)
        frames = self._open.read(start, stop)
        if stop == self.frames:
            self._open = None
            self._closer()
        return frames


def _state(path: Path) -> tuple[int, int, int]:
    """Which file this is, and when it was written."""
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns


class _OnePicture:
    """A picture saved as an array, as one frame."""

    def __init__(self, array: ArrayFile) -> None:
        self._array = array

    def read(self, start: int, stop: int) -> np.ndarray:
        return self._array.all()[None][start:stop]

    def close(self) -> None:
        self._array.close()


def open_source(
    path: Path, control: str, *, fps: Rate, members: Sequence[str] = (), deep: bool = False, limits: Limits = LOCAL
) -> Opened:
    """Open a source by what it is: a folder of pictures, or a file by the end of its name.

    Args:
        control: its name, for the report.
        fps: frames a second of sources that do not say: pictures and arrays.
        members: names that the array may have in an .npz; its only array needs none of them.
        deep: grey PNGs hold numbers of 8 or 16 bits (depth, labels) and not brightness.

    Raises:
        ControlError: a folder without pictures, or no array of frames.
        MediaError: cannot be read.
        LimitError: more than `limits` allows.
    """
    if path.is_dir():
        paths = sorted(one for one in path.iterdir() if one.suffix.lower() in (*PICTURES, EXR))
        if not paths:
            raise ControlError(f"the folder {shown(path)} holds no pictures: put PNG, JPEG, WebP or EXR files into it")
        limits.check("frames", len(paths), shown(path))
        return _open_pictures(shown(path), paths, control, fps, deep, limits)
    ending = path.suffix.lower()
    if ending in (*PICTURES, EXR):
        return _open_pictures(shown(path), [path], control, fps, deep, limits)
    if ending in (".npy", ".npz"):
        return _open_array(path, control, fps, members, limits)
    return _open_video(path, control, limits)


def read_numbers(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Those arrays of an .npz that have one of these names."""
    return {name: read_array(path, member=name) for name in array_names(path) if name in names}


def _open_pictures(name: str, paths: Sequence[Path], control: str, fps: Rate, deep: bool, limits: Limits) -> Opened:
    """Pictures told by the first of them: EXR, grey PNG where numbers are wanted, else colours."""
    ends = {path.suffix.lower() for path in paths}
    if EXR in ends and len(ends) > 1:
        raise ControlError(f"{name} mixes EXR with other pictures: keep one kind")
    first, read_one, form = _first_picture(paths[0], deep, limits)
    height, width = first.shape[:2]
    report = LoadReport(control, form, len(paths), fps, height, width)
    return Opened(name, form, PicturesSignal(tuple(paths), height, width, fps, report, read_one))


def _first_picture(path: Path, deep: bool, limits: Limits) -> tuple[np.ndarray, Callable[[Path], np.ndarray], Form]:
    if path.suffix.lower() == EXR:
        read_one = partial(read_exr, limits=limits)
        return read_one(path), read_one, "numbers"
    if deep:
        read_one = partial(read_grey16, limits=limits)
        try:
            return read_one(path), read_one, "grey16"
        except MediaError:  # colours, or damaged: then the next line says so
            pass
    read_one = partial(read_picture, limits=limits)
    return read_one(path), read_one, "pictures"


def _open_array(path: Path, control: str, fps: Rate, members: Sequence[str], limits: Limits) -> Opened:
    name = shown(path)
    facts: dict[str, Any] = {}
    member = None
    if path.suffix.lower() == ".npz":
        there = array_names(path, limits=limits)
        facts = {key: _single(path, key, limits) for key in FACTS if key in there}
        member = _choose([key for key in there if key not in FACTS], members, name)
        facts["member"] = member
    with ArrayFile(path, member=member, limits=limits) as array:
        shape, dtype = array.shape, array.dtype
    frames, height, width = _frame_shape(shape, name)
    limits.check("frames", frames, name)
    form: Form = "pictures" if shape[3:] == (3,) else "numbers"
    if form == "pictures" and dtype != np.uint8:
        raise ControlError(f"{name} holds colours as {dtype}, drawn frames are 8-bit: save them as uint8")
    report = LoadReport(control, form, frames, float(facts.get("fps", fps)), height, width)

    def opener() -> Readable:
        array = ArrayFile(path, member=member, limits=limits)
        return _OnePicture(array) if len(shape) == 2 else array

    signal: Signal = FileSignal(path, opener, report)
    if shape[3:] == (1,):
        signal = Mapped(signal, _without_channel, height, width, report)
    return Opened(name, form, signal, facts)


def _single(path: Path, member: str, limits: Limits) -> float:
    value = read_array(path, member=member, limits=limits)
    if value.size != 1:
        raise ControlError(f"{member} in {shown(path)} has the shape {value.shape}, needed is a single number")
    return float(value.reshape(-1)[0])


def _choose(there: Sequence[str], members: Sequence[str], name: str) -> str:
    found = [member for member in members if member in there] or list(there)
    if len(found) != 1:
        raise ControlError(
            f"{name} holds the arrays {', '.join(there) or 'none'}: save one alone, or name it "
            f"{' or '.join(members) or 'frames'}"
        )
    return found[0]


def _frame_shape(shape: tuple[int, ...], name: str) -> tuple[int, int, int]:
    """Frames, height and width of an array."""
    if len(shape) == 2:
        shape = (1, *shape)
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)) or min(shape) < 1:
        raise ControlError(
            f"{name} has the shape {shape}, needed is (frames, height, width), or (frames, height, width, 3) if drawn"
        )
    return shape[0], shape[1], shape[2]


def _open_video(path: Path, control: str, limits: Limits) -> Opened:
    info = probe_video(path, limits=limits)
    report = LoadReport(control, "video", info.frames, info.fps, info.height, info.width)
    signal = FileSignal(path, partial(VideoFrames, path, limits=limits), report)
    return Opened(shown(path), "video", signal, _facts_of_comment(info.metadata.get("comment", "")))


def _without_channel(frames: np.ndarray) -> np.ndarray:
    return frames[..., 0]


def _facts_of_comment(comment: str) -> dict[str, str]:
    """`depth=disparity; …`: what a video says that its grey levels are."""
    said = dict(part.split("=", 1) for part in comment.replace(" ", "").split(";") if "=" in part)
    return {"kind": said["depth"]} if "depth" in said else {}
