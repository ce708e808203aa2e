"""What can be measured: a video that was made of an item, or any other one.

A source says what is known of a video as a whole (`metric.Facts`) and shows its moments once, in order, as often as it
is asked; memory for two moments, whatever the length. Where video and truth do not agree:

- size: truth is averaged by area to the video's size, depth and labels are taken from the nearest pixel, points and
  focal length are scaled; a shape that differs by more than 2 % (176×96 and 640×352 do not) is refused;
- rate: refused, unless the truth is one whole video of the official benchmark, which is seen at the video's own rate;
- length: refused, or with `align="trim"` only what both have is seen. A source of which no truth is known has no length
  to differ from.

A video is seen as players show it, turned as it says. More than 8 bits a colour, and transparency, are refused: players
differ in what they show of them, and a figure must not depend on that. What cannot be used raises an InputError that
names the file; whoever measures a folder goes on with the next one.
"""

import math
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise, repeat
from pathlib import Path
from types import TracebackType
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from longvie.controls.published import CLIP
from longvie.controls.trackfile import TracksDeclared, read_tracks
from longvie.controls.trackset import TrackSignal
from longvie.documents import read_json
from longvie.errors import InputError, MediaError
from longvie.evaluation.metric import Event, Facts, Moment, Need
from longvie.evaluation.suite import Item, Manifest, place
from longvie.media import ArrayFile, VideoFrames, VideoInfo, array_names, probe_video, resize_frames
from longvie.media.files import shown

Align = Literal["error", "trim"]
Size = tuple[int, int]  # height, width
Prompts = Sequence[tuple[int | float, str]]  # from which second on

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
BITS = 8  # of a colour, at most
ASPECT = 0.02  # by how much the shapes of two pictures may differ, relative
RATE = 1e-3  # by how much two rates may differ, relative: 29.97 is not 30, 15.999 is 16
_TRUTH = ("truth.mp4", "depth.npz", "segmentation.npz", "cameras.json", "tracks.npz")  # of an item
_DEPTHS = ("disparity", "metric")


@dataclass(frozen=True)
class Known:
    """The files that know something of a video, all on the same clock and of one picture size.

    Attributes:
        truth: one video, or clips that share one frame each.
        by_time: truth and video may have different rates; frames belong together by their seconds.
        depth: `.npz` or `.npy` with `disparity` (1 / metres, 0 is sky) or `metric` (metres).
        frames, fps, size: of all these files, where it is known before they are opened.
    """

    truth: tuple[Path, ...] = ()
    by_time: bool = False
    depth: Path | None = None
    labels: Path | None = None
    cameras: Path | None = None
    tracks: Path | None = None
    prompts: tuple[tuple[float, str], ...] = ()
    beats: tuple[float, ...] = ()
    frames: int | None = None
    fps: float | None = None
    size: Size | None = None


class Source:
    """One video with what is known of it; use it in a `with`, since tracks lie in a temporary file.

    Attributes:
        facts: of the video as a whole.
        notes: sentences on what was cut, scaled or left out.

    Raises:
        InputError: the video or a file of its truth cannot be read, or they do not fit together.
        LimitError: more than we accept.
    """

    def __init__(
        self, video: Path, known: Known | None = None, *, borders: Sequence[int] = (), align: Align = "error"
    ) -> None:
        self.video, self._known = video, known or Known()
        with ExitStack() as opened:
            info = probe_video(video)
            self._size: Size = (info.height, info.width)
            self._fps = info.fps
            self._truth = _probed(self._known, info)
            self.notes = _compared(video, info, self._known, self._truth)
            self._frames, cut = _length(video, info.frames, self._truth.frames, align)
            self.notes += cut
            room = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="longvie-")))
            self.facts = self._facts(room, tuple(borders))
            self._opened = opened.pop_all()

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary files; `facts.tracks` is gone with them."""
        self._opened.close()

    def moments(self) -> Iterator[Moment]:
        """Every moment once, in order, each linked to the one before it.

        Raises:
            InputError: a frame cannot be decoded, or its depth is no depth.
        """
        before: Moment | None = None
        with ExitStack() as opened:
            rows = zip(
                self._pictures(opened),
                self._truths(opened),
                self._depths(opened),
                self._labels(opened),
                self._poses,
                strict=False,  # what is unknown repeats None without end
            )
            for number, (picture, truth, depth, labels, pose) in enumerate(rows):
                kept = None if before is None else before.forget()
                before = Moment(number, number / self._fps, picture, truth, depth, labels, pose, kept)
                yield before

    # ----------------------------------------------------------------------------------------------------------
    # what is known of the whole

    def _facts(self, room: Path, borders: tuple[int, ...]) -> Facts:
        known, end = self._known, self._frames / self._fps
        focal, self._poses = _cameras(known.cameras, self._truth, self._size, self._frames)
        tracks, visible = _tracks(known.tracks, self._truth, self._size, self._frames, room)
        _check_rows(known, self._truth, self._frames)
        prompts = tuple((time, words) for time, words in known.prompts if time < end)
        beats = tuple(beat for beat in known.beats if beat < end)
        events = tuple(Event(*now) for before, now in pairwise(prompts) if now[1] != before[1])
        borders = tuple(border for border in borders if 0 < border < self._frames)
        there: dict[Need, bool] = {
            "truth": bool(known.truth),
            "depth": known.depth is not None,
            "poses": known.cameras is not None,
            "labels": known.labels is not None,
            "tracks": tracks is not None,
            "borders": bool(borders),
            "events": bool(events),
            "beats": bool(beats),
            "prompts": bool(prompts),
        }
        return Facts(
            fps=self._fps,
            frames=self._frames,
            size=self._size,
            borders=borders,
            events=events,
            beats=beats,
            prompts=prompts,
            focal=focal,
            tracks=tracks,
            visible=visible,
            known=frozenset(name for name, has in there.items() if has),
        )

    # ----------------------------------------------------------------------------------------------------------
    # frame by frame

    def _pictures(self, opened: ExitStack) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
        steady = None if probe_video(self.video).constant_rate else self._fps
        video = opened.enter_context(VideoFrames(self.video, fps=steady))
        return video.each(0, self._frames)

    def _truths(self, opened: ExitStack) -> Iterator[UInt8[np.ndarray, "h w 3"] | None]:
        if not self._known.truth:
            return repeat(None)
        return opened.enter_context(closing(self._each_truth()))

    def _each_truth(self) -> Generator[UInt8[np.ndarray, "h w 3"], None, None]:
        rate = self._fps if self._known.by_time else None
        for number, path in enumerate(self._known.truth):
            with VideoFrames(path, size=self._size, fps=rate) as clip:  # one is open at a time
                yield from clip.each(min(number, 1), clip.frames)

    def _depths(self, opened: ExitStack) -> Iterator[Float[np.ndarray, "h w"] | None]:
        if self._known.depth is None:
            return repeat(None)
        return _metres(self._known.depth, self._size, self._frames, opened)

    def _labels(self, opened: ExitStack) -> Iterator[Shaped[np.ndarray, "h w"] | None]:
        if self._known.labels is None:
            return repeat(None)
        array = opened.enter_context(_array(self._known.labels, ("labels",))[0])
        rows = (array.read(frame, frame + 1) for frame in range(self._frames))
        return (resize_frames(row, self._size, "nearest")[0] for row in rows)


# --------------------------------------------------------------------------------------------------------------
# two kinds of sources; `layout` has a third


def made(video: Path, suite: Path, item: Item, *, borders: Sequence[int] = (), align: Align = "error") -> Source:
    """A video that a model made of an item, with all that the item knows.

    Args:
        suite: the folder of the suite.
        borders: first frames of the clips but the first, where the model makes clips; LongVie's are `clip_borders`.
    """
    files = {name: place(suite, item, name) if name in item.files else None for name in _TRUTH}
    truth = files["truth.mp4"]
    known = Known(
        truth=() if truth is None else (truth,),
        depth=files["depth.npz"],
        labels=files["segmentation.npz"],
        cameras=files["cameras.json"],
        tracks=files["tracks.npz"],
        prompts=item.prompts,
        beats=item.beats,
        frames=item.frames,
        fps=item.fps,
        size=item.size,
    )
    return Source(video, known, borders=borders, align=align)


def made_of(folder: Path, manifest: Manifest) -> tuple[dict[str, Path], list[str]]:
    """Videos of a folder that are named by an item's id, in the suite's order; and the ids of which there is none."""
    found = {path.stem: path for path in videos_in(folder)}
    there = {item.id: found[item.id] for item in manifest.items if item.id in found}
    return there, [item.id for item in manifest.items if item.id not in found]


def clip_borders(frames: int, clip: int = CLIP) -> tuple[int, ...]:
    """The first frames that belong to a clip alone, but the first clip's, where neighbours share one frame."""
    return tuple(range(1 + clip, frames, clip))


def plain(video: Path, *, prompts: Prompts = (), borders: Sequence[int] = ()) -> Source:
    """A video of which nothing is known but what the caller says."""
    return Source(video, Known(prompts=tuple((float(time), words) for time, words in prompts)), borders=borders)


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder, by name.

    Raises:
        InputError: there is no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {shown(folder)}")
    found = sorted(path for path in folder.iterdir() if is_video(path))
    if not found:
        raise InputError(f"the folder {shown(folder)} holds no videos ({', '.join(ENDINGS)})")
    return found


def is_video(path: Path) -> bool:
    """A file that is called like a video."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


# --------------------------------------------------------------------------------------------------------------
# does it fit together


@dataclass(frozen=True)
class _Truth:
    """What all files of the truth must agree on; None where there is no truth."""

    frames: int | None
    fps: float
    size: Size


def _probed(known: Known, info: VideoInfo) -> _Truth:
    """Sizes of the truth, measured and compared to what was said of it."""
    if not known.truth:
        size = known.size or (info.height, info.width)
        return _Truth(known.frames, known.fps or info.fps, size)
    infos = [probe_video(path) for path in known.truth]
    first = infos[0]
    for path, other in zip(known.truth, infos, strict=True):
        if (other.height, other.width) != (first.height, first.width) or _differs(other.fps, first.fps):
            raise MediaError(f"{shown(path)} differs in size or rate from {shown(known.truth[0])}")
        if not other.constant_rate and not known.by_time:
            raise MediaError(f"the frames of {shown(path)} come at a varying rate; write it at a constant one")
    frames = sum(other.frames for other in infos) - (len(infos) - 1)
    if known.by_time:
        with VideoFrames(known.truth[0], fps=info.fps) as resampled:
            frames = resampled.frames
    truth = _Truth(frames, info.fps if known.by_time else first.fps, (first.height, first.width))
    said = (known.frames, known.size)
    if known.frames is not None and said != (truth.frames, truth.size):
        raise MediaError(
            f"{shown(known.truth[0])} has {truth.frames} frames of {truth.size}, needed are {known.frames} of "
            f"{known.size}"
        )
    return truth


def _differs(one: float, other: float) -> bool:
    return abs(one - other) > RATE * other


def _compared(video: Path, info: VideoInfo, known: Known, truth: _Truth) -> tuple[str, ...]:
    """Form, rate and shape of the picture; what was scaled."""
    alone = truth.frames is None
    if info.transparent:
        raise MediaError(f"{shown(video)} is transparent: write it on the background that it is to be seen on")
    if info.bits > BITS:
        raise MediaError(f"{shown(video)} has {info.bits} bits a colour: write it in {BITS}, as it is to be seen")
    if not info.constant_rate and not alone:
        raise MediaError(f"the frames of {shown(video)} come at a varying rate; write it at a constant one")
    if _differs(info.fps, truth.fps):
        raise MediaError(
            f"{shown(video)} has {info.fps:.6g} frames a second, its truth {truth.fps:.6g}; make it at that rate"
        )
    height, width = truth.size
    aspect = info.width / info.height * height / width
    if not 1 / (1 + ASPECT) <= aspect <= 1 + ASPECT:
        raise MediaError(
            f"{shown(video)} has {info.width}×{info.height} pixels, its truth {width}×{height}: shapes that differ by "
            f"more than {ASPECT:.0%} are not scaled"
        )
    notes = []
    if (info.height, info.width) != truth.size:
        notes.append(f"the truth of {width}×{height} pixels was scaled to {info.width}×{info.height}")
    if not info.constant_rate:
        notes.append(f"frames come at a varying rate; they are seen at {info.fps:.6g} a second")
    if known.by_time and _differs(probe_video(known.truth[0]).fps, info.fps):
        notes.append(f"the truth is seen at the video's {info.fps:.6g} frames a second")
    return tuple(notes)


def _length(video: Path, have: int, truth: int | None, align: Align) -> tuple[int, tuple[str, ...]]:
    """How many moments there are, and what was cut for it."""
    if truth is None or have == truth:
        return have, ()
    if align == "error":
        raise MediaError(
            f"{shown(video)} has {have} frames, its truth {truth}: make it as long, or use align='trim' to see only "
            "what both have"
        )
    return min(have, truth), (f"{shown(video)} has {have} frames, its truth {truth}: {min(have, truth)} are seen",)


def _check_rows(known: Known, truth: _Truth, frames: int) -> None:
    """Depth and labels have a row for every frame of the truth, and its size where that is known for sure."""
    for path, members in ((known.depth, _DEPTHS), (known.labels, ("labels",))):
        if path is None:
            continue
        with _array(path, members)[0] as array:
            shape = array.shape
        wanted = (truth.frames or frames, *(shape[1:] if known.size is None else truth.size))
        if shape != wanted:
            raise MediaError(f"{shown(path)} has the shape {shape}, needed is {wanted}")


# --------------------------------------------------------------------------------------------------------------
# arrays, cameras, points


def _array(path: Path, members: Sequence[str]) -> tuple[ArrayFile, str]:
    """An array (f, h, w) of a file, and its name there; an `.npz` is unpacked as it is read, never whole."""
    names = array_names(path) if path.suffix.lower() == ".npz" else []
    member = next((name for name in members if name in names), None)
    if member is None:
        raise MediaError(f"{shown(path)} holds no array called {' or '.join(members)}")
    array = ArrayFile(path, member=member)
    if len(array.shape) != 3 or 0 in array.shape:
        array.close()
        raise MediaError(f"{shown(path)} has the shape {array.shape}; needed is (frames, height, width)")
    return array, member


def _metres(path: Path, size: Size, frames: int, opened: ExitStack) -> Iterator[Float[np.ndarray, "h w"]]:
    """Distance along the camera's axis, sky infinitely far.

    Raises:
        MediaError: a value that is no depth: NaN, negative, or a distance of 0.
    """
    array, member = _array(path, _DEPTHS)
    opened.enter_context(array)
    for frame in range(frames):
        values = array.read(frame, frame + 1).astype(np.float32)
        fine = values >= 0 if member == "disparity" else values > 0
        if not fine.all() or (member == "disparity" and not np.isfinite(values).all()):
            raise MediaError(
                f"{shown(path)} holds NaN, negative or infinite values in frame {frame}; they are no depth"
            )
        if member == "disparity":
            with np.errstate(divide="ignore"):
                values = 1 / values
        yield resize_frames(values, size, "nearest")[0]


def _cameras(
    path: Path | None, truth: _Truth, size: Size, frames: int
) -> tuple[float | None, Sequence[Float[np.ndarray, "4 4"]] | Iterator[None]]:
    """Focal length in pixels of the video, and the pose of every moment."""
    if path is None:
        return None, repeat(None)
    facts = read_json(path, error=InputError)
    try:
        poses = np.asarray(facts["poses"], np.float32)
        focal = float(facts["focal"])
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{shown(path)} holds no poses (frames, 4, 4) with a focal length") from None
    if poses.shape[1:] != (4, 4) or len(poses) < frames or not np.isfinite(poses).all() or not focal > 0:
        raise InputError(f"{shown(path)} holds poses of shape {poses.shape}, needed are {frames} finite ones of 4×4")
    return focal * math.sqrt(size[0] / truth.size[0] * size[1] / truth.size[1]), list(poses[:frames])


def _tracks(
    path: Path | None, truth: _Truth, size: Size, frames: int, room: Path
) -> tuple[Float[np.ndarray, "f n 3"] | None, Bool[np.ndarray, "f n"] | None]:
    """Every point over the whole video, hidden where it does not live; a file with holes, mapped and not read."""
    if path is None:
        return None, None
    tracks = read_tracks(path, TracksDeclared(), fps=truth.fps)
    if tracks.points.shape[2] != 3:
        raise InputError(f"the points of {shown(path)} have no distance; a third column is needed")
    if tracks.frames < frames:
        raise InputError(f"{shown(path)} has points for {tracks.frames} frames, needed are {frames}")
    shape = (tracks.frames, len(tracks.starts))
    points = np.lib.format.open_memmap(room / "points.npy", "w+", np.float32, (*shape, 3))
    visible = np.lib.format.open_memmap(room / "visible.npy", "w+", bool, shape)
    scale = np.array([size[1] / tracks.size[1], size[0] / tracks.size[0], 1.0], np.float32)
    for start in np.unique(tracks.starts):
        members = np.flatnonzero(tracks.starts == start)
        life = slice(int(start), int(start) + len(tracks.points))
        first, last = int(members[0]), int(members[-1]) + 1
        if last - first == len(members):  # born together, they usually stand together: no copy of all rows
            points[life, first:last], visible[life, first:last] = _of(tracks, slice(first, last), scale)
        else:
            points[life, members], visible[life, members] = _of(tracks, members, scale)
    return points[:frames], visible[:frames]


def _of(tracks: TrackSignal, members: slice | np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return tracks.points[:, members] * scale, tracks.visible[:, members]
