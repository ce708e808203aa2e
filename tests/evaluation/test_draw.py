"""LongVie's clips share a frame, hold the last one, and have the points that are born with them."""

from pathlib import Path

import numpy as np
from items import ITEM, LONG

from longvie.controls.conditions import read_conditions
from longvie.controls.trackfile import TracksDeclared, read_tracks
from longvie.evaluation.draw import clip_points
from longvie.media import read_video


def test_a_clip_has_the_points_that_are_born_with_it(long_suite: Path) -> None:
    """90 frames: the second set is born at frame 80, in a file where its rows begin at 9."""
    folder, last = long_suite / ITEM.id, LONG - 1
    tracks = read_tracks(folder / "tracks.npz", TracksDeclared(), fps=16)
    first, second = clip_points(tracks, 0, 80), clip_points(tracks, 80, last)
    count = int((tracks.starts == 0).sum())
    assert first.shape == (81, count, 3) and second.shape == (10, len(tracks.starts) - count, 3)
    assert (first[0, :, 2] > 0).all() and (second[0, :, 2] > 0).all()
    assert np.array_equal(first[5], tracks.points[5, :count])


def test_neighbouring_clips_share_a_frame_and_the_last_one_is_held(long_suite: Path) -> None:
    clips = read_conditions(long_suite / ITEM.id / "conditions.json")
    assert clips.frames == 161
    one, two = (read_video(path).astype(float) for path in clips.files["depth"])
    assert np.abs(one[80] - two[0]).mean() < 2
    assert np.abs(two[9] - two[80]).mean() < 2
