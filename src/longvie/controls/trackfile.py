"""Point tracks from files, checked before anything is drawn: `.npz`, `.npy`, `.json`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from longvie.controls.control import declared_rate
from longvie.controls.opening import read_numbers
from longvie.controls.signals import Rate, Size
from longvie.controls.text import check_fields
from longvie.controls.trackset import TrackSignal, track_signal
from longvie.documents import read_json
from longvie.errors import ControlError, ScriptError
from longvie.limits import LOCAL, Limits
from longvie.media.arrays import ArrayFile, array_names
from longvie.media.files import shown

ENDINGS = (".npz", ".npy", ".json")
NOT_FINITE = 0.01  # share of visible points that may be NaN or infinite and is then hidden
OTHER_NAMES = {"tracks": "points", "visibility": "visible"}
FIELDS = ("points", "visible", "size", "fps", "starts", "ids")


@dataclass(frozen=True)
class TracksDeclared:
    """What a track file may leave open: height and width of the picture that x and y belong to, frames a second."""

    size: Any = None  # a caller may declare anything: checked below
    fps: Any = None

    def __post_init__(self) -> None:
        declared_rate(self.fps, "tracks")
        if self.size is not None:
            checked_size(self.size)


def read_tracks(path: Path, told: TracksDeclared, *, fps: Rate, limits: Limits = LOCAL) -> TrackSignal:
    """Tracks with these fields, as arrays of an .npz or lists in a .json:

    - `points` (or `tracks`): (frames, points, 2 or 3), x and y in pixels, then the distance from the camera (> 0);
    - `visible` (or `visibility`): (frames, points), else every finite point is visible;
    - `size`: height and width of the picture that x and y belong to; must be here or be declared;
    - `fps`; `ids`, which may not repeat; `starts`: for each point the frame of its first row, so that a long signal
      that is re-seeded holds each point only where it lives.

    Raises:
        ControlError: a field is missing, of the wrong shape or out of range (`tracks_…`).
        LimitError: more than `limits.points` points.
    """
    fields = _read_json(path) if path.suffix.lower() == ".json" else _read_arrays(path, limits)
    points = _points(fields.get("points"), path)
    limits.check("points", points.shape[1], shown(path))
    size = fields.get("size") if told.size is None else told.size
    if size is None:
        raise ControlError(
            f"{shown(path)} does not say which picture its x and y belong to: declare size=(height, width) in pixels, "
            "or save it as the field 'size'",
            code="tracks_size",
        )
    visible = _visible(fields.get("visible"), points, path)
    starts = _starts(fields.get("starts"), points, path)
    _check_ids(fields.get("ids"), points, path)
    rate: Any = next(rate for rate in (told.fps, fields.get("fps"), fps) if rate is not None)
    rate = rate.item() if isinstance(rate, np.ndarray) and rate.size == 1 else rate
    declared_rate(rate, shown(path))
    size = checked_size(size.tolist() if isinstance(size, np.ndarray) else size)
    tracks = track_signal(points, visible, size=size, fps=rate, starts=starts)
    limits.check("frames", tracks.frames, shown(path))
    return _checked(tracks, visible)


def checked_size(size: object) -> Size:
    """Height and width as two whole numbers above 0."""
    values = size if isinstance(size, list | tuple) else []
    if len(values) != 2 or not all(not isinstance(v, bool) and isinstance(v, int | float) for v in values):
        raise ControlError(f"size is {str(size)[:60]}, needed is (height, width) in pixels", code="tracks_size")
    height, width = values
    if not (height % 1 == 0 == width % 1 and min(height, width) >= 1):  # NaN is refused too
        raise ControlError(f"size is {height}×{width}, needed are whole numbers of pixels", code="tracks_size")
    return int(height), int(width)


def _read_arrays(path: Path, limits: Limits) -> dict[str, np.ndarray]:
    """The fields of an array file; how many points there are is known before they are read."""
    if path.suffix.lower() == ".npy":
        with ArrayFile(path, limits=limits) as array:
            _check_count(array.shape, path, limits)
            return {"points": array.all()}
    there = array_names(path, limits=limits)
    for name in there:
        if OTHER_NAMES.get(name, name) == "points":
            with ArrayFile(path, member=name, limits=limits) as array:
                _check_count(array.shape, path, limits)
    found = read_numbers(path, [name for name in there if OTHER_NAMES.get(name, name) in FIELDS])
    return {OTHER_NAMES.get(name, name): values for name, values in found.items()}


def _check_count(shape: tuple[int, ...], path: Path, limits: Limits) -> None:
    if len(shape) == 3:
        limits.check("points", shape[1], shown(path))


def _read_json(path: Path) -> dict[str, Any]:
    document = read_json(path, error=ControlError)
    if not isinstance(document, Mapping):
        raise ControlError(f'{shown(path)} is no object: write {{"size": [height, width], "points": [[[x, y], …], …]}}')
    fields = {OTHER_NAMES.get(str(name), str(name)): values for name, values in document.items()}
    try:
        check_fields(fields, required=("points",), optional=FIELDS[1:], name=shown(path))
    except ScriptError as error:
        raise ControlError(str(error), code=error.code) from error
    return fields


def _array(values: object, kind: type[np.generic]) -> np.ndarray:
    """Lists or an array as an array of one type; what is ragged or of another type is an array of no shape at all."""
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is looked at then
            return np.asarray(values, kind)
    except (TypeError, ValueError):
        return np.zeros((), kind)


def _points(values: object, path: Path) -> np.ndarray:
    if values is None:
        raise ControlError(
            f"{shown(path)} has no field 'points': (frames, points, 2 or 3) is needed", code="tracks_shape"
        )
    points = _array(values, np.float32)
    if points.ndim == 2 and points.size == 0:  # as JSON writes frames without points
        points = np.zeros((len(points), 0, 2), np.float32)
    if points.ndim != 3 or points.shape[2] not in (2, 3) or len(points) == 0:
        raise ControlError(
            f"the points in {shown(path)} have the shape {np.shape(points)}, needed is (frames, points, 2 or 3)",
            code="tracks_shape",
        )
    return points


def _visible(values: object, points: np.ndarray, path: Path) -> np.ndarray | None:
    if values is None:
        return None
    visible = _array(values, np.float32)
    if visible.shape != points.shape[:2] and visible.shape != (*points.shape[:2], 1) and points.shape[1]:
        raise ControlError(
            f"visible in {shown(path)} has the shape {visible.shape}, the points need {points.shape[:2]}",
            code="tracks_shape",
        )
    return visible.reshape(points.shape[:2]) > 0.5


def _starts(values: object, points: np.ndarray, path: Path) -> np.ndarray | None:
    if values is None:
        return None
    starts = _array(values, np.float64)
    if starts.shape != points.shape[1:2] or not ((starts >= 0) & (starts < 2**31) & (starts % 1 == 0)).all():
        raise ControlError(
            f"starts in {shown(path)} needs a frame number from 0 on for each of the {points.shape[1]} points",
            code="tracks_starts",
        )
    return starts.astype(np.int64)


def _check_ids(values: object, points: np.ndarray, path: Path) -> None:
    if values is None:
        return
    ids = _array(values, np.str_).ravel()
    if len(ids) != points.shape[1]:
        raise ControlError(
            f"{shown(path)} has {len(ids)} ids for {points.shape[1]} points: give one for each", code="tracks_ids"
        )
    once, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        raise ControlError(
            f"{shown(path)} has the id {once[counts > 1][0]} more than once: number the points so that each is its own",
            code="tracks_ids",
        )


def _checked(tracks: TrackSignal, visible: np.ndarray | None) -> TrackSignal:
    """What can be drawn of them at all; what cannot is hidden and noted."""
    notes = []
    finite = np.isfinite(tracks.points).all(axis=-1)
    claimed = np.ones_like(finite) if visible is None else visible
    broken = int((claimed & ~finite).sum())
    if visible is not None and broken > NOT_FINITE * max(1, int(claimed.sum())):
        raise ControlError(
            f"{broken / claimed.sum():.1%} of the visible points are NaN or infinite, at most {NOT_FINITE:.0%} are "
            "hidden: mark them as not visible",
            code="tracks_nonfinite",
        )
    if broken:
        notes.append(f"{broken} points that are NaN or infinite are hidden")
    if not tracks.visible.any():
        notes.append("no point is ever visible: nothing is drawn, the words decide alone")
    elif not _inside(tracks):
        height, width = tracks.size
        raise ControlError(
            f"no visible point is ever inside the picture of {height}×{width} pixels: x runs from "
            f"{_reach(tracks, 0)} and y from {_reach(tracks, 1)}; check size=(height, width), and that x comes first",
            code="tracks_outside",
        )
    return replace(tracks, report=replace(tracks.report, notes=(*tracks.report.notes, *notes)))


def _inside(tracks: TrackSignal) -> bool:
    height, width = tracks.size
    x, y = tracks.points[..., 0], tracks.points[..., 1]
    return bool((tracks.visible & (x >= 0) & (x < width) & (y >= 0) & (y < height)).any())


def _reach(tracks: TrackSignal, axis: int) -> str:
    values = tracks.points[..., axis][tracks.visible]
    return f"{values.min():.4g} to {values.max():.4g}"
