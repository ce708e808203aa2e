"""How the released LongVie weights saw their controls: drawn with mistakes that the weights have learnt.

Ours are `depth.py` and `tracks.py`; nothing here is used but for those weights (`quirks=True`) and to compare.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from longvie.controls.signals import Size, check_span
from longvie.controls.trackset import TrackSignal
from longvie.errors import ControlError

CLIP = 80  # new frames per clip; one more is shared with the clip before


def depth_normalised(disparity: Float[np.ndarray, "f h w"]) -> Float[np.ndarray, "k h w"]:
    """Near 0, far 1, between the 5th and 95th percentile of all values, over 1 + 80·k frames; the rest is left out.

    Raises:
        ControlError: all values between the percentiles are equal.
    """
    kept = disparity[: 1 + CLIP * ((len(disparity) - 1) // CLIP)]
    far, near = np.percentile(kept, [5, 95])
    if near <= far:
        raise ControlError("the depth is the same everywhere: nothing to draw", code="depth_constant")
    return (near - np.clip(kept, far, near)) / (near - far)


def depth_uint8(normalised: Float[np.ndarray, "f h w"]) -> UInt8[np.ndarray, "f h w"]:
    """8 bits by truncation, which darkens by half a level on average."""
    return (normalised * 255).astype(np.uint8)


@dataclass(frozen=True)
class TrackStyle:
    """Colours and half sizes of the rectangles, all from the first frame of a clip."""

    colours: UInt8[np.ndarray, "n 3"]
    radii: Float[np.ndarray, " n"]  # half widths in the first frame, pixels
    later: float  # half width of every point in all later frames: that of the point painted last in the first

    @classmethod
    def of(cls, first: Float[np.ndarray, "n 3"]) -> "TrackStyle":
        """Red and green are the position within the points' box, blue falls with nearness `z` between percentiles.

        Blue is 0 everywhere as soon as a few points have z = 0; sizes are half the distance, in pixels *and* depth, to
        the nearest other point. Both are as published.
        """
        if not np.isfinite(first).all():
            raise ControlError("published tracks need finite x, y and z for every point in the first frame")
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1 / first[:, 2].astype(np.float64)
            low, high = np.percentile(inverse, [2, 98])
            x, y = first[:, 0].astype(np.float64), first[:, 1].astype(np.float64)
            shares = [(x - x.min()) / np.ptp(x), (y - y.min()) / np.ptp(y), (inverse - low) / (high - low)]
        colours = np.clip(np.nan_to_num(np.stack(shares, axis=1) * 255, nan=0), 0, 255).round().astype(np.uint8)
        radii = _nearest_distance(first).astype(np.int64) / 2
        painted = [point for point in np.argsort(-first[:, 2], kind="stable") if first[point, :2].all()]
        return cls(colours, radii, float(radii[painted[-1]]) if painted else 0.0)


def paint(
    points: Float[np.ndarray, "f n 3"], style: TrackStyle, size: Size, *, opening: bool
) -> UInt8[np.ndarray, "f h w 3"]:
    """Every point as a filled rectangle, hidden or not, in order of falling z: far ones end up over near ones.

    A point with x = 0 or y = 0 is left out.

    Args:
        opening: the first of these frames is the first of the clip, with sizes of its own.
    """
    canvas = np.zeros((len(points), *size, 3), np.uint8)
    for number, frame in enumerate(points):
        half = style.radii if opening and number == 0 else style.later
        x, y = frame[:, 0].astype(np.float64), frame[:, 1].astype(np.float64)
        there = np.isfinite(frame).all(axis=1) & (x != 0) & (y != 0)
        near = np.trunc(np.stack([x - half, y - half / 1.5], axis=1))  # truncation goes towards zero
        far = np.trunc(np.stack([x + half, y + half / 1.5], axis=1)) + 1  # the far sides count
        corners = np.clip(np.nan_to_num(np.concatenate([near, far], axis=1)), 0, 2**31).astype(np.int64).tolist()
        for point in np.argsort(-frame[:, 2], kind="stable").tolist():
            if there[point]:
                left, top, right, bottom = corners[point]
                canvas[number, top:bottom, left:right] = style.colours[point]
    return canvas


class PaintedTracks:
    """Published dots as a video signal: clip by clip, each with its own points and the style of its first frame."""

    def __init__(self, tracks: TrackSignal) -> None:
        if tracks.points.shape[-1] != 3:
            raise ControlError("published tracks need x, y and z: the third column is missing")
        self.tracks = tracks
        self.frames, self.fps, self.report = tracks.frames, tracks.fps, tracks.report
        self.height, self.width = tracks.size
        self._begins = np.unique(tracks.starts)
        self._members = [np.flatnonzero(tracks.starts == begin) for begin in self._begins]
        self._styles = [TrackStyle.of(tracks.points[0, members]) for members in self._members]

    def read(self, start: int, stop: int) -> UInt8[np.ndarray, "f h w 3"]:
        check_span(self, start, stop)
        return np.concatenate([self._paint(frame) for frame in range(start, stop)])

    def _paint(self, frame: int) -> UInt8[np.ndarray, "1 h w 3"]:
        """The frame that two clips share belongs to the earlier one."""
        clip = max(0, int(np.searchsorted(self._begins, frame)) - 1)
        age = frame - int(self._begins[clip])
        if age >= len(self.tracks.points):
            return np.zeros((1, self.height, self.width, 3), np.uint8)
        points = self.tracks.points[age : age + 1, self._members[clip]]
        return paint(points, self._styles[clip], self.tracks.size, opening=age == 0)


def _nearest_distance(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
    """Distance of each point to the nearest other one; 0 for a lone point. Row by row: 2500² distances are 50 MB."""
    nearest = np.zeros(len(points))
    for index in range(len(points) if len(points) > 1 else 0):
        distances = np.linalg.norm(points - points[index], axis=1)
        distances[index] = np.inf
        nearest[index] = distances.min()
    return nearest
