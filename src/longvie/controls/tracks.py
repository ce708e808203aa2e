"""Sparse: paths of points, drawn as coloured dots. A dot keeps its colour for life: where it was first seen, how near.

Ours: 5×5 dots at the model's own size, at most 256 in a frame, nearer over farther, hidden points not drawn, no dot
ever black. `quirks=True` draws as the released 14B weights know it (`published.py`). A video that is already drawn is
used as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from longvie.controls.control import Branch, Control, Scale, declare, register, spans
from longvie.controls.opening import open_source
from longvie.controls.published import PaintedTracks
from longvie.controls.signals import Align, Crop, Mapped, Rate, Signal, Size, Span, align_signal, place
from longvie.controls.trackfile import ENDINGS, TracksDeclared, read_tracks
from longvie.controls.trackset import JoinedTracks, TrackSpan
from longvie.media import to_unit

DARKEST = 0.25  # of full colour, so that a dot can be seen whatever its colour
AT_ONCE = 8  # frames painted in one go: more spill the cache


@dataclass(frozen=True)
class TrackScale(Scale):
    """One colour per point, as six hexadecimal digits each; 000000 is a point that is never drawn.

    `near` and `far` are the 98th and 2nd percentile of 1/distance where points are first seen, None without distance.
    """

    colours: str = ""
    near: float | None = None
    far: float | None = None

    def table(self) -> UInt8[np.ndarray, "n 3"]:
        return np.frombuffer(bytes.fromhex(self.colours), np.uint8).reshape(-1, 3)


@register("tracks")
@dataclass(frozen=True)
class Tracks(Control):
    """Points that the picture must follow.

    `dot` is the side of a dot in pixels of the model's size, `limit` how many are drawn in a frame at most.
    """

    branch: ClassVar[Branch] = "sparse"
    kind: ClassVar[int | None] = None
    scale: ClassVar[type[Scale]] = TrackScale

    dot: int = 5
    limit: int = 256

    def load(
        self,
        source: Path,
        *,
        size: Size,
        fps: Rate,
        frames: int | None = None,
        align: Align = "error",
        declared: Mapping[str, Any] | None = None,
    ) -> Signal:
        """Points as .npz or .json (see `trackfile.read_tracks`), spans are `TrackSpan` at the model's size; or a video
        of dots, spans are uint8 (f, h, w, 3).

        Raises:
            ControlError: the file does not say which picture size x and y belong to, or its points cannot be drawn.
        """
        told = declare(TracksDeclared, declared, "tracks")
        crop: Crop = "stretch" if self.quirks else "cover"
        if source.suffix.lower() in ENDINGS:
            tracks = read_tracks(source, told, fps=fps)
            if not self.quirks:
                return align_signal(tracks.placed(size, crop), frames=frames, fps=fps, align=align)
            signal = align_signal(PaintedTracks(tracks), frames=frames, fps=fps, align=align)
        else:
            signal = open_source(source, "tracks", fps=told.fps or fps).aligned(frames=frames, fps=fps, align=align)
        draw = partial(place, size=size, crop=crop, how="bicubic" if self.quirks else "area")
        report = replace(signal.report, content="drawn dots")
        return Mapped(signal, draw, *size, report)

    def join(self, parts: Sequence[Signal], *, shared: int = 1) -> Signal:
        if all(part.report.content == "points" for part in parts):
            return JoinedTracks(parts, shared=shared)
        return super().join(parts, shared=shared)

    def fit(self, signal: Signal) -> TrackScale:
        """Colours of all points, from the frame in which each is first shown; too many points are thinned evenly."""
        if signal.report.content != "points":
            return TrackScale()  # a video that is drawn already
        firsts = _FirstSeen()
        at = 0
        for span in spans(signal):
            firsts.see(span, at)
            at += len(span)
        return self._colour(firsts, signal)

    def _colour(self, firsts: "_FirstSeen", signal: Signal) -> TrackScale:
        if not len(firsts.ids):
            return TrackScale()
        nearness = 1 / firsts.points[:, 2] if firsts.points.shape[1] == 3 else None
        far, near = (None, None) if nearness is None else (float(p) for p in np.percentile(nearness, [2, 98]))
        colours = np.zeros((int(firsts.ids.max()) + 1, 3), np.uint8)
        drawn = thin(firsts.begins, firsts.ends, signal.frames, self.limit) if firsts.most > self.limit else slice(None)
        colours[firsts.ids[drawn]] = dot_colours(firsts.points[drawn], (signal.height, signal.width), far, near)
        return TrackScale(colours.tobytes().hex(), near, far)

    def render(self, span: Span, scale: TrackScale) -> Float[Tensor, "3 f h w"]:
        if isinstance(span, np.ndarray):
            return to_unit(span)
        colours = scale.table()
        if len(span.ids) and span.ids.max() >= len(colours):
            colours = np.concatenate([colours, np.zeros((int(span.ids.max()) + 1 - len(colours), 3), np.uint8)])
        colours = torch.from_numpy(colours[span.ids])  # (n, 3)
        visible = torch.from_numpy(span.shown()) & colours.bool().any(dim=1)
        painted = paint_dots(torch.from_numpy(span.points), visible, colours, span.size, dot=self.dot)
        return to_unit(painted.numpy())


def dot_colours(
    points: Float[np.ndarray, "n xyz"], size: Size, far: float | None, near: float | None
) -> UInt8[np.ndarray, "n 3"]:
    """Red rises to the right, green downwards, blue with nearness between the percentiles (half without distance)."""
    height, width = size
    blue = np.full(len(points), 0.5)
    if far is not None and near is not None and near > far:
        blue = (1 / points[:, 2] - far) / (near - far)
    shares = np.stack([points[:, 0] / width, points[:, 1] / height, blue], axis=1)
    return np.rint(255 * (DARKEST + (1 - DARKEST) * np.clip(shares, 0, 1))).astype(np.uint8)


def paint_dots(
    points: Float[Tensor, "f n xyz"],
    visible: Bool[Tensor, "f n"],
    colours: UInt8[Tensor, "n 3"] | UInt8[Tensor, "f n 3"],
    size: Size,
    *,
    dot: int = 5,
) -> UInt8[Tensor, "f h w 3"]:
    """Square dots on black, nearer over farther, at equal distance (and without it) earlier points over later ones.

    The same bytes on every device: where dots overlap, the largest key (order, then colour) wins, in whatever order
    they are written.
    """
    parts = [
        _paint(points[at : at + AT_ONCE], visible[at : at + AT_ONCE], _of_frames(colours, at), size, dot)
        for at in range(0, len(points), AT_ONCE)
    ]
    return torch.cat(parts)


def thin(begins: Int[np.ndarray, " n"], ends: Int[np.ndarray, " n"], frames: int, limit: int) -> Int[np.ndarray, " k"]:
    """Which points to draw when there are too many: never more than `limit` at a time, spread evenly over the list.

    A point is drawn for its whole life [begin, end) or not at all, so that no dot flickers. The order in which points
    are tried is a fixed shuffle.
    """
    taken = np.zeros(frames, np.int64)
    kept = []
    for point in np.random.default_rng(0).permutation(len(begins)):
        life = taken[begins[point] : ends[point]]
        if life.max(initial=0) < limit:
            life += 1
            kept.append(point)
    return np.sort(np.array(kept, np.int64))


class _FirstSeen:
    """Where each point is first shown, until when it lives, and how many are shown at most."""

    def __init__(self) -> None:
        self.ids = np.zeros(0, np.int64)
        self.points = np.zeros((0, 2))
        self.begins = np.zeros(0, np.int64)
        self.ends = np.zeros(0, np.int64)
        self.most = 0

    def see(self, span: TrackSpan, at: int) -> None:
        """The next span, which begins at frame `at`."""
        shown = span.shown()
        self.most = max(self.most, int(shown.sum(axis=1).max(initial=0)))
        columns = np.flatnonzero(shown.any(axis=0))
        first = shown[:, columns].argmax(axis=0)
        last = len(shown) - shown[::-1, columns].argmax(axis=0)
        known = np.isin(span.ids[columns], self.ids)
        self.ends[np.searchsorted(self.ids, span.ids[columns[known]])] = at + last[known]
        new, where = columns[~known], first[~known]
        if not len(new):
            return
        points = span.points[where, new].astype(np.float64)
        ids = np.concatenate([self.ids, span.ids[new]])
        order = np.argsort(ids)
        self.ids = ids[order]
        self.points = np.concatenate([self.points if len(self.points) else points[:0], points])[order]
        self.begins = np.concatenate([self.begins, at + where])[order]
        self.ends = np.concatenate([self.ends, at + last[~known]])[order]


def _of_frames(colours: Tensor, at: int) -> Tensor:
    return colours if colours.ndim == 2 else colours[at : at + AT_ONCE]


def _paint(points: Tensor, visible: Tensor, colours: Tensor, size: Size, dot: int) -> Tensor:
    height, width = size
    frames = len(visible)
    red, green, blue = colours.long().unbind(-1)
    keys = _rank(points) << 24 | red << 16 | green << 8 | blue  # (f, n)
    reach = torch.arange(dot, device=points.device) - dot // 2
    corner = torch.nan_to_num(points[..., :2], nan=-1e6).clamp(-1e6, 1e6).floor().long()
    columns, rows = corner[..., 0, None] + reach, corner[..., 1, None] + reach  # (f, n, dot)
    inside = ((rows >= 0) & (rows < height))[..., :, None] & ((columns >= 0) & (columns < width))[..., None, :]
    cells = rows[..., :, None] * width + columns[..., None, :]  # (f, n, dot, dot)
    cells = torch.where(inside & visible[..., None, None], cells, height * width)  # the last cell is thrown away
    canvas = torch.zeros(frames, height * width + 1, dtype=torch.int64, device=points.device)
    canvas.scatter_reduce_(1, cells.flatten(1), keys.repeat_interleave(dot * dot, dim=1), "amax")
    canvas = canvas[:, :-1].unflatten(1, size)
    return torch.stack([canvas >> 16 & 255, canvas >> 8 & 255, canvas & 255], dim=-1).to(torch.uint8)


def _rank(points: Tensor) -> Tensor:
    """Order of painting, from 1: the farthest first; without distance the last point first."""
    frames, count = points.shape[:2]
    if points.shape[-1] == 3:
        order = points[..., 2].flip(1).argsort(dim=1, descending=True, stable=True)
        order = count - 1 - order
    else:
        order = torch.arange(count - 1, -1, -1, device=points.device).expand(frames, count)
    ranks = torch.arange(1, count + 1, device=points.device).expand(frames, count)
    return torch.empty_like(ranks).scatter_(1, order, ranks)
