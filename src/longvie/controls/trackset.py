"""Point paths as data: a span of them, and a whole signal in which points are born and die."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from longvie.controls.signals import Crop, Joined, LoadReport, Rate, Signal, Size, check_span, crop_box


@dataclass(frozen=True)
class TrackSpan:
    """Some frames of some points.

    `points` are x and y in pixels of a picture of `size` (0 is its left and upper edge: pixel i covers i to i + 1),
    then the distance from the camera where it is known. `ids` name the points in the whole signal; a span may hold
    only those that live in it.
    """

    points: Float[np.ndarray, "f n xyz"]
    visible: Bool[np.ndarray, "f n"]
    ids: Int[np.ndarray, " n"]
    size: Size

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: slice | np.ndarray) -> "TrackSpan":
        return replace(self, points=self.points[index], visible=self.visible[index])

    def shown(self) -> Bool[np.ndarray, "f n"]:
        """Visible, inside the picture, and in front of the camera: what can be drawn."""
        height, width = self.size
        x, y = self.points[..., 0], self.points[..., 1]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)  # false for NaN
        if self.points.shape[-1] == 3:
            inside &= (self.points[..., 2] > 0) & np.isfinite(self.points[..., 2])
        return self.visible & inside

    def join(self, spans: Sequence["TrackSpan"]) -> "TrackSpan":
        """Spans one after another in time; a point that one of them lacks is hidden there."""
        ids = np.unique(np.concatenate([span.ids for span in spans]))
        frames = sum(len(span) for span in spans)
        points = np.zeros((frames, len(ids), self.points.shape[-1]), np.float32)
        visible = np.zeros((frames, len(ids)), bool)
        at = 0
        for span in spans:
            columns = np.searchsorted(ids, span.ids)
            points[at : at + len(span), columns] = span.points
            visible[at : at + len(span), columns] = span.visible
            at += len(span)
        return TrackSpan(points, visible, ids, self.size)


@dataclass(frozen=True)
class TrackSignal:
    """Points that live for `life` frames each, from frame `starts[point]` on.

    Tracks that nobody re-seeds all start at 0 and live to the end; a long signal, re-seeded every 80 frames, holds each
    point only where it lives, so that its size grows with its length and not with the square of it.
    """

    points: Float[np.ndarray, "life n xyz"]
    visible: Bool[np.ndarray, "life n"]
    starts: Int[np.ndarray, " n"]
    size: Size
    fps: Rate
    frames: int
    report: LoadReport

    @property
    def height(self) -> int:
        return self.size[0]

    @property
    def width(self) -> int:
        return self.size[1]

    def placed(self, size: Size, crop: Crop) -> "TrackSignal":
        """The same points in a picture of another size, cropped and resized as `signals.place` does with frames."""
        top, left, height, width = crop_box(self.size, size, crop)
        if (top, left, height, width) == (0, 0, *size):  # of minutes there are many points: not twice
            return self
        points = self.points.copy()
        points[..., 0] = (points[..., 0] - left) * np.float32(size[1] / width)
        points[..., 1] = (points[..., 1] - top) * np.float32(size[0] / height)
        return replace(self, points=points, size=size)

    def read(self, start: int, stop: int) -> TrackSpan:
        check_span(self, start, stop)
        life = len(self.points)
        ids = np.flatnonzero((self.starts < stop) & (self.starts + life > start))
        age = np.arange(start, stop)[:, None] - self.starts[ids]  # (f, n)
        alive = (age >= 0) & (age < life)
        age = np.clip(age, 0, life - 1)
        return TrackSpan(self.points[age, ids], self.visible[age, ids] & alive, ids, self.size)


def track_signal(
    points: Float[np.ndarray, "life n xyz"],
    visible: Bool[np.ndarray, "life n"] | None = None,
    *,
    size: Size,
    fps: Rate,
    starts: Int[np.ndarray, " n"] | None = None,
    notes: tuple[str, ...] = (),
) -> TrackSignal:
    """A signal of points in memory; without `visible`, points with finite numbers count as visible."""
    finite = np.isfinite(points).all(axis=-1)
    seen = np.asarray(finite if visible is None else visible & finite)
    starts = np.zeros(points.shape[1], np.int64) if starts is None else starts.astype(np.int64)
    frames = len(points) + (int(starts.max()) if len(starts) else 0)
    third = points[..., 2][seen] if points.shape[-1] == 3 and seen.any() else None
    report = LoadReport(
        control="tracks",
        content="points",
        frames=frames,
        fps=fps,
        height=size[0],
        width=size[1],
        low=None if third is None else float(third.min()),
        high=None if third is None else float(third.max()),
        notes=notes,
    )
    return TrackSignal(np.ascontiguousarray(points, np.float32), seen, starts, size, fps, frames, report)


class JoinedTracks(Joined):
    """Tracks of several clips, one after another; point 0 of one clip is not point 0 of the next."""

    def __init__(self, parts: Sequence[Signal], *, shared: int = 1) -> None:
        super().__init__(parts, shared=shared)
        counts = [int(part.read(0, part.frames).ids.max(initial=-1)) + 1 for part in parts]
        self._first_ids = np.cumsum([0, *counts])

    def of_part(self, number: int, span: TrackSpan) -> TrackSpan:
        return replace(span, ids=span.ids + self._first_ids[number])
