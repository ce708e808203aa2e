"""LongVie's own form of an item's controls: `conditions.json` and drawn clips of depth and tracks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from longvie import controls
from longvie.controls.control import rendered_spans
from longvie.controls.published import CLIP, TrackStyle, paint
from longvie.controls.text import read_timeline
from longvie.controls.trackfile import TracksDeclared, read_tracks
from longvie.controls.trackset import TrackSignal
from longvie.data.export import spans, write_json
from longvie.media import VideoWriter

HALF = 4.5 / 832  # half the width of a painted point, as a share of the picture's: LongVie's, on its grid of 50×50


def draw_conditions(
    folder: Path,
    *,
    frames: int,
    size: tuple[int, int],
    fps: float,
    only: tuple[str, ...] = ("depth", "tracks"),
) -> None:
    """`conditions.json` in LongVie's form, and its clips drawn from depth.npz and tracks.npz of the same folder.

    Clips of 81 frames share one frame; where the video ends inside the last clip, that one holds the last frame. Depth
    is drawn under one range for the whole video (near dark, far bright), tracks clip by clip in the colours that the
    published weights know. The words of a clip are those of its middle, of the frames that the video really has.

    Args:
        only: which clips are drawn; the others are there.

    Raises:
        ControlError, MediaError, ScriptError: the files cannot be used.
    """
    words = read_timeline(folder / "prompts.json")
    (folder / "conditions").mkdir(exist_ok=True)
    clips = []
    for number, start in enumerate(range(0, max(1, frames - 1), CLIP)):
        middle = (start + min(start + CLIP, frames - 1)) / 2 / fps
        depth, track = f"conditions/depth_{number:02d}.mp4", f"conditions/track_{number:02d}.mp4"
        clips.append({"text": words.at(middle), "depth": depth, "track": track})
    if "depth" in only:
        _draw_depth(folder, [clip["depth"] for clip in clips], frames, size, fps)
    if "tracks" in only:
        _draw_tracks(folder, [clip["track"] for clip in clips], frames, size, fps)
    write_json(folder / "conditions.json", clips)


def _draw_depth(folder: Path, names: list[str], frames: int, size: tuple[int, int], fps: float) -> None:
    """One pass over the depth, whose file can only be read on: the frame that two clips share goes to both."""
    control = controls.get("depth")
    signal = control.load(folder / "depth.npz", size=size, fps=fps, frames=frames)
    drawn = (
        span[:, [row]] for span in rendered_spans(control, signal, control.fit(signal)) for row in range(len(span[0]))
    )
    picture = next(drawn)
    for name in names:
        with VideoWriter(folder / name, fps=fps, size=size, fragmented=False) as video:
            video.write(picture)
            for _ in range(CLIP):
                picture = next(drawn, picture)
                video.write(picture)


def _draw_tracks(folder: Path, names: list[str], frames: int, size: tuple[int, int], fps: float) -> None:
    tracks = read_tracks(folder / "tracks.npz", TracksDeclared(), fps=fps)
    for number, name in enumerate(names):
        points = clip_points(tracks, CLIP * number, min(CLIP * (number + 1), frames - 1))
        style = _style(points[0], size) if points.shape[1] else None
        with VideoWriter(folder / name, fps=fps, size=size, fragmented=False) as video:
            for span in spans(1 + CLIP):
                rows = np.minimum(np.array(span), len(points) - 1)
                if style is None:  # every point was masked
                    video.write(np.zeros((len(rows), *size, 3), np.uint8))
                else:
                    video.write(paint(points[rows], style, size, opening=span.start == 0))


def _style(first: Float[np.ndarray, "n 3"], size: tuple[int, int]) -> TrackStyle:
    """The published colours, in the one size that the published grid of points has.

    Their painter takes sizes from distances between points: even on a grid, by chance where points are drawn at random.
    """
    half = HALF * size[1]
    return replace(TrackStyle.of(first), radii=np.full(len(first), half), later=half)


def clip_points(tracks: TrackSignal, first: int, last: int) -> Float[np.ndarray, "f n 3"]:
    """The points that live from frame `first` to `last`, both included: those of one clip.

    A set that is born at `first` is told from the one that dies there by what comes after; rows without a distance are
    not lived (the last set's rows end with the video, so some may come before its birth).
    """
    life, everyone = len(tracks.points), np.arange(len(tracks.starts))
    here = np.ones(len(everyone), bool)
    for frame in (first, min(first + 1, last), last):
        age = frame - tracks.starts
        lived = tracks.points[np.clip(age, 0, life - 1), everyone, 2] != 0
        here &= (age >= 0) & (age < life) & lived
    members = np.flatnonzero(here)
    points = tracks.points[np.arange(first, last + 1)[:, None] - tracks.starts[members], members]
    points[points[..., 2] <= 0] = 0  # behind the camera: at x = 0, where nothing is painted
    return points
