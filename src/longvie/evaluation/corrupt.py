"""Controls made worse by a known amount, so that one can see how much of a video hangs on how good its controls are.

LongVie measures this at two points (arXiv 2508.03694, Table 8): 20 % of the points masked, and depth blurred 5×5. Both
are here (`TABLE_8`) as single steps of ladders (`LEVELS`), beside errors that real controls have: a wrong scale, one
that drifts, a lag, dropped frames. A depth control fits its range to the whole signal, so a wrong scale alone changes
nothing that is drawn: it concerns models that read metres.

What the paper leaves open we decide: masked points are gone for their whole life, as many of every set of points that
are born together; the blur is Gaussian with OpenCV's width for its kernel (0.3·((k − 1)/2 − 1) + 0.8 pixels), of the
picture as it is stored and on disparity.

The seed chooses; a higher level of the same seed spoils what the lower one spoils, and more. Level 0 of `mask`, `lag`
and `drop`, and 1 of the others, change nothing.
"""

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from longvie.controls.published import CLIP
from longvie.controls.trackfile import TracksDeclared, read_tracks
from longvie.controls.trackset import TrackSignal
from longvie.data.export import Arrays, write_json
from longvie.documents import read_json
from longvie.errors import ConfigError, InputError, MediaError
from longvie.evaluation.draw import draw_conditions
from longvie.evaluation.folders import new_folder
from longvie.evaluation.suite import Item, Manifest, place
from longvie.media import ArrayFile, VideoFrames, VideoWriter, array_names, probe_video, read_array, replace_atomically
from longvie.media.files import room_for, shown

Kind = Literal["mask", "blur", "scale", "drift", "lag", "drop"]

LEVELS: Mapping[Kind, tuple[int | float, ...]] = MappingProxyType(
    {
        "mask": (0.1, 0.2, 0.4, 0.6, 0.8),  # share of the points
        "blur": (3, 5, 9, 15, 25),  # pixels, side of the kernel
        "scale": (1.05, 1.1, 1.25, 1.5, 2.0),  # distance times this
        "drift": (1.05, 1.1, 1.25, 1.5, 2.0),  # the same at the last frame, growing evenly from 1 at the first
        "lag": (1, 2, 4, 8, 16),  # frames
        "drop": (0.1, 0.2, 0.4, 0.6, 0.8),  # share of the frames, each replaced by the last one that came
    }
)
_HIT: Mapping[Kind, tuple[str, ...]] = {  # which controls of an item feel it
    "mask": ("tracks",),
    "blur": ("depth",),
    "scale": ("depth", "tracks"),
    "drift": ("depth", "tracks"),
    "lag": ("depth", "segmentation", "sketch", "tracks"),
    "drop": ("depth", "segmentation", "sketch", "tracks"),
}
_FILES = {"depth": "depth.npz", "segmentation": "segmentation.npz", "sketch": "sketch.mp4", "tracks": "tracks.npz"}
_UNTOUCHED = ("first.png", "prompts.json", "beats.json", "keyframes.json", "keyframes")  # words and pictures
_FACTS = "corruption.json"
_CRF = 8  # so that coding a drawn control a second time adds next to nothing
_RANDOM = {"mask": 1, "drop": 2}  # so that one seed chooses points and frames independently


@dataclass(frozen=True)
class Corruption:
    """One step of one ladder.

    Raises:
        ConfigError: a level that the kind cannot have.
    """

    kind: Kind
    level: int | float

    def __post_init__(self) -> None:
        least, most = {"mask": (0, 1), "drop": (0, 1), "blur": (1, 255), "lag": (0, 10_000)}.get(self.kind, (0.01, 100))
        whole = self.kind in ("blur", "lag")
        if self.kind not in LEVELS or not least <= self.level <= most or (whole and self.level % 1):
            raise ConfigError(f"no corruption '{self.kind}' of {self.level}; from {least} to {most} is possible")
        if self.kind == "blur" and self.level % 2 == 0:
            raise ConfigError(f"a blur {self.level:g} pixels wide has no middle; use an odd number")

    @property
    def name(self) -> str:
        """For files and tables, such as mask-0.2."""
        return f"{self.kind}-{self.level:g}"


TABLE_8 = (Corruption("mask", 0.2), Corruption("blur", 5))


def corrupt(suite: Path, item: Item, out: Path, corruption: Corruption, *, seed: int = 0) -> list[str]:
    """An item's folder with worse controls, to give to a model: all that it may be given, and nothing of the truth.

    `conditions.json` and its clips follow: drawn anew from the worse depth and points, or, where time is what is wrong,
    the drawn frames themselves late or held.

    Args:
        suite: the folder of the suite that the item belongs to.
        out: a new folder, which appears whole or not at all.

    Returns:
        The names of the files that differ from the item's.

    Raises:
        ConfigError: the folder exists.
        InputError: the item's files cannot be used.
        ResourceError: no room.
    """
    if out.exists():
        raise ConfigError(f"{shown(out)} exists: name a new folder")
    source = place(suite, item, "scene.json").parent
    with new_folder(out) as part:
        with room_for(0, out.parent):
            for name in (*_UNTOUCHED, *_FILES.values(), "conditions.json", "conditions"):
                _copy(source / name, part / name)
        for control in _HIT[corruption.kind]:
            corrupt_file(source / _FILES[control], part / _FILES[control], corruption, control=control, seed=seed)
        _redraw(source, part, item, corruption, seed)
        write_json(part / _FACTS, _facts(item, corruption, seed))
        return _changed(source, part)


def corrupt_suite(suite: Path, manifest: Manifest, out: Path, corruption: Corruption, *, seed: int = 0) -> list[Path]:
    """Every item, each in a folder of its id; those that are there already are left as they are.

    Raises:
        ConfigError: what is there is something else.
        InputError, ResourceError: as from `corrupt`.
    """
    made = [out / item.id for item in manifest.items]
    for item, folder in zip(manifest.items, made, strict=True):
        if not folder.exists():
            corrupt(suite, item, folder, corruption, seed=seed)
        elif read_json(folder / _FACTS, error=InputError) != _facts(item, corruption, seed):
            raise ConfigError(f"{shown(folder)} holds another corruption; take another folder")
    return made


def _facts(item: Item, corruption: Corruption, seed: int) -> dict[str, object]:
    return {**asdict(corruption), "seed": seed, "item": item.id}


def corrupt_file(source: Path, out: Path, corruption: Corruption, *, control: str, seed: int = 0) -> None:
    """One control file into another of the same form: `.npz` of numbers or points, `.mp4` of drawn frames.

    Args:
        control: depth, tracks, segmentation or sketch.

    Raises:
        ConfigError: this control does not feel this corruption, or not in this form.
        MediaError, ControlError, LimitError: the file cannot be read.
        ResourceError: no room.
    """
    if control not in _HIT[corruption.kind]:
        raise ConfigError(f"{corruption.kind} does not concern {control}, but {' and '.join(_HIT[corruption.kind])}")
    if source.suffix.lower() == ".mp4":
        _video(source, out, corruption, control, seed)
    elif control == "tracks":
        _tracks(source, out, corruption, seed)
    else:
        _array(source, out, corruption, seed)


def shown_frames(corruption: Corruption, frames: int, *, seed: int = 0) -> Int[np.ndarray, " f"]:
    """Which frame of the control is seen at each frame: late, or held where one was dropped; the first always comes."""
    if corruption.kind == "lag":
        return np.maximum(np.arange(frames) - int(corruption.level), 0)
    comes = np.ones(frames, bool)
    if corruption.kind == "drop":
        comes[1 + _chosen(frames - 1, corruption, seed)] = False
    return np.maximum.accumulate(np.where(comes, np.arange(frames), 0))


def factors(corruption: Corruption, frames: int) -> Float[np.ndarray, " f"]:
    """What the distance is multiplied by at each frame."""
    if corruption.kind == "scale":
        return np.full(frames, float(corruption.level))
    grown = np.linspace(0.0, 1.0, frames) if corruption.kind == "drift" else np.zeros(frames)
    return np.asarray(float(corruption.level) ** grown)


def _chosen(count: int, corruption: Corruption, seed: int, among: int = 0) -> Int[np.ndarray, " n"]:
    """So many of `count` as the level asks for; those of a lower level are among them."""
    random = np.random.Generator(np.random.PCG64([seed, _RANDOM[corruption.kind], among]))
    return random.permutation(count)[: round(corruption.level * count)]


# --------------------------------------------------------------------------------------------------------------
# frames: arrays and drawn videos


def _blurred(frame: np.ndarray, corruption: Corruption) -> np.ndarray:
    side = int(corruption.level)
    return frame if side == 1 else cv2.GaussianBlur(frame, (side, side), 0, borderType=cv2.BORDER_REPLICATE)


def _array(source: Path, out: Path, corruption: Corruption, seed: int) -> None:
    """Depth or labels as numbers, a few frames at a time."""
    names = array_names(source)
    single = [name for name in names if name in ("fps", "sky")]
    values = [name for name in names if name not in single]
    if len(values) != 1 or values[0] not in ("disparity", "metric", "labels"):
        raise MediaError(f"{shown(source)} holds {', '.join(names)[:80]}; one of disparity, metric or labels is needed")
    facts = {name: read_array(source, member=name) for name in single}
    with ArrayFile(source, member=values[0]) as array, tempfile.TemporaryDirectory(dir=out.parent) as room:
        if len(array.shape) != 3 or not array.shape[0]:
            raise MediaError(f"{shown(source)} has the shape {array.shape}; needed is (frames, height, width)")
        frames = array.shape[0]
        seen, times = shown_frames(corruption, frames, seed=seed), factors(corruption, frames)
        with room_for(0, out.parent):
            grown = Arrays(Path(room), frames)
            for number, row in enumerate(_held(array, seen)):
                grown.put(values[0], number, _worse(row, values[0], corruption, float(times[number])))
            grown.save(out, (values[0],), **facts)


def _held(array: ArrayFile, seen: Int[np.ndarray, " f"]) -> Iterator[Shaped[np.ndarray, "1 h w"]]:
    """Frame after frame; a packed array can only be read on, so what is held is kept here."""
    last, row = -1, np.zeros((1, 0, 0))
    for number in seen.tolist():
        if number != last:
            last, row = number, array.read(number, number + 1)
        yield row


def _worse(
    rows: Shaped[np.ndarray, "f h w"], member: str, corruption: Corruption, times: float
) -> Shaped[np.ndarray, "f h w"]:
    """Frames of depth, `times` as far away or too smooth, in their own type."""
    if corruption.kind in ("scale", "drift"):
        return (rows.astype(np.float64) * (times if member == "metric" else 1 / times)).astype(rows.dtype)
    if corruption.kind != "blur" or corruption.level == 1:
        return rows
    with np.errstate(divide="ignore"):  # sky: distance infinite, disparity 0, and back
        near = 1 / rows.astype(np.float32) if member == "metric" else rows.astype(np.float32)
        smooth = np.stack([_blurred(frame, corruption) for frame in near])
        return (1 / smooth if member == "metric" else smooth).astype(rows.dtype)


def _video(source: Path, out: Path, corruption: Corruption, control: str, seed: int) -> None:
    """A drawn control. A scale is applied as if the darkest grey stood for distance 0 … of nearness 1, far for 0."""
    if control == "tracks" and corruption.kind not in ("lag", "drop"):
        raise ConfigError(f"{shown(source)} is drawn; '{corruption.kind}' of points needs them as numbers (.npz)")
    with VideoFrames(source) as video:
        seen, times = shown_frames(corruption, video.frames, seed=seed), factors(corruption, video.frames)
        with VideoWriter(
            out, fps=video.fps or 16, size=(video.height, video.width), fragmented=False, crf=_CRF
        ) as writer:
            last, picture = -1, np.zeros((video.height, video.width, 3), np.uint8)
            for number, time in zip(seen.tolist(), times.tolist(), strict=True):
                if number != last:
                    last, picture = number, video.read(number, number + 1)[0]
                writer.write(_redrawn(picture, corruption, time)[None])


def _redrawn(picture: np.ndarray, corruption: Corruption, time: float) -> np.ndarray:
    if corruption.kind == "blur":
        return _blurred(picture, corruption)
    if time == 1:
        return picture
    near = 1 - picture.astype(np.float32) / 255  # near is dark
    return np.clip(np.rint((1 - near / time) * 255), 0, 255).astype(np.uint8)


# --------------------------------------------------------------------------------------------------------------
# points


def _tracks(source: Path, out: Path, corruption: Corruption, seed: int) -> None:
    """Points as numbers; ids are not kept, since nothing reads them."""
    tracks = read_tracks(source, TracksDeclared(), fps=16)
    points, visible, starts = tracks.points, tracks.visible, tracks.starts
    if corruption.kind == "mask":
        left = _left(tracks, corruption, seed)
        points, visible, starts = points[:, left], visible[:, left], starts[left]
        if not len(starts) or len(points) + starts.max() < tracks.frames:
            points, visible, starts = _with_end(points, visible, starts, tracks.frames)
    elif corruption.kind in ("scale", "drift"):
        frame = starts + np.arange(len(points))[:, None]  # (life, n)
        if points.shape[2] == 3:
            points = points.copy()
            points[..., 2] *= factors(corruption, tracks.frames)[frame]
    else:
        points, visible, starts = _shifted(tracks, shown_frames(corruption, tracks.frames, seed=seed))
    fields = {"points": points, "visible": visible, "starts": starts, "size": np.asarray(tracks.size)}
    with replace_atomically(out) as part, part.open("wb") as file:
        np.savez_compressed(file, **fields, fps=np.asarray(float(tracks.fps)))


def _left(tracks: TrackSignal, corruption: Corruption, seed: int) -> Int[np.ndarray, " n"]:
    """Points that are not masked: of every set that is born together the same share goes."""
    gone = [np.zeros(0, np.int64)]
    for number, start in enumerate(np.unique(tracks.starts)):
        members = np.flatnonzero(tracks.starts == start)
        gone.append(members[_chosen(len(members), corruption, seed, number)])
    return np.setdiff1d(np.arange(len(tracks.starts)), np.concatenate(gone))


def _with_end(
    points: Float[np.ndarray, "life n xyz"],
    visible: Bool[np.ndarray, "life n"],
    starts: Int[np.ndarray, " n"],
    frames: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """With one point more that is never seen nor painted (x = 0), so that the length of the video can still be told."""
    end = np.zeros((len(points), 1, points.shape[2]), np.float32)
    end[..., 2:] = 1.0
    unseen = np.zeros((len(points), 1), bool)
    return np.hstack([points, end]), np.hstack([visible, unseen]), np.append(starts, frames - len(points))


def _shifted(tracks: TrackSignal, seen: Int[np.ndarray, " f"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points as they are seen when frame `seen[t]` is shown at t: (life, n, xyz), (life, n), (n,).

    `seen` never falls, so what was seen without a gap still is. Points that never come into view are left out.
    """
    frames, life, chosen = tracks.frames, len(tracks.points), []
    for start in np.unique(tracks.starts):
        when = np.flatnonzero((seen >= start) & (seen < start + life))
        if len(when):
            chosen.append((np.flatnonzero(tracks.starts == start), when, seen[when] - start))
    longest = max(len(when) for _, when, _ in chosen)
    latest = max(min(int(when[0]), frames - longest) for _, when, _ in chosen)
    longest = max(longest, frames - latest)  # the last rows end with the video, so that its length can be told
    count = sum(len(members) for members, _, _ in chosen)
    points = np.zeros((longest, count, tracks.points.shape[2]), np.float32)
    visible, starts = np.zeros((longest, count), bool), np.zeros(count, np.int64)
    at = 0
    for members, when, ages in chosen:
        start = min(int(when[0]), frames - longest)
        rows, columns = when[:, None] - start, np.arange(at, at + len(members))
        points[rows, columns] = tracks.points[ages[:, None], members]
        visible[rows, columns] = tracks.visible[ages[:, None], members]
        starts[columns] = start
        at += len(members)
    return points, visible, starts


# --------------------------------------------------------------------------------------------------------------
# a whole item


def _redraw(source: Path, part: Path, item: Item, corruption: Corruption, seed: int) -> None:
    if corruption.kind in ("lag", "drop"):
        seen = shown_frames(corruption, item.frames, seed=seed)
        for name in ("depth", "track"):
            _redraw_late(source / "conditions", part / "conditions", name, seen)
    else:
        draw_conditions(part, frames=item.frames, size=item.size, fps=item.fps, only=_HIT[corruption.kind])


def _redraw_late(source: Path, out: Path, name: str, seen: Int[np.ndarray, " f"]) -> None:
    """Drawn clips whose frames come late or are held."""
    last = len(seen) - 1
    for clip in range(max(1, math.ceil(last / CLIP))):
        numbers = [int(seen[min(frame, last)]) for frame in range(clip * CLIP, (clip + 1) * CLIP + 1)]
        file = f"{name}_{clip:02d}.mp4"
        info = probe_video(source / file)
        size = (info.height, info.width)
        with VideoWriter(out / file, fps=info.fps, size=size, fragmented=False, crf=_CRF) as writer:
            for picture in _drawn(source, name, clip, numbers):
                writer.write(picture)


def _drawn(source: Path, name: str, clip: int, numbers: list[int]) -> Iterator[UInt8[np.ndarray, "1 h w 3"]]:
    """Frames of the whole video as they were drawn: by this clip where it drew them, else by the one that begins there.

    Numbers never fall, so every clip is read once; what is held is kept.
    """
    with ExitStack() as opened:
        videos: dict[int, VideoFrames] = {}
        last, picture = -1, np.zeros((1, 0, 0, 3), np.uint8)
        for number in numbers:
            if number != last:
                by = clip if clip * CLIP <= number else number // CLIP
                if by not in videos:
                    videos[by] = opened.enter_context(VideoFrames(source / f"{name}_{by:02d}.mp4"))
                last, picture = number, videos[by].read(number - by * CLIP, number - by * CLIP + 1)
            yield picture


def _copy(source: Path, out: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, out)
    elif source.is_file():
        shutil.copyfile(source, out)


def _changed(source: Path, part: Path) -> list[str]:
    files = sorted(path for path in part.rglob("*") if path.is_file() and path.name != _FACTS)
    names = [path.relative_to(part).as_posix() for path in files]
    return [name for name in names if (source / name).read_bytes() != (part / name).read_bytes()]


def ladder(kind: Kind) -> tuple[Corruption, ...]:
    """All levels of a kind, from mild to strong."""
    return tuple(Corruption(kind, level) for level in LEVELS[kind])
