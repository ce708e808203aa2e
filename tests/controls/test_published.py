"""How the released weights saw their controls: against recordings of the published code."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from longvie.controls.published import PaintedTracks, TrackStyle, depth_normalised, depth_uint8
from longvie.controls.trackset import track_signal
from longvie.errors import ControlError

RECORDED = Path(__file__).parents[1] / "parity/data/longvie/control_videos.safetensors"


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return load_file(RECORDED)


def test_dots_are_the_published_bytes(recorded: dict[str, np.ndarray]) -> None:
    expected = recorded["outputs.track_frames"][0].transpose(0, 2, 3, 1)
    tracks = track_signal(recorded["inputs.tracks"], recorded["inputs.visibility"], size=expected.shape[1:3], fps=16)
    painted = PaintedTracks(tracks)
    away = np.abs(painted.read(0, len(expected)).astype(int) - expected)
    assert (away <= 1).mean() >= 0.999
    spans = np.concatenate([painted.read(at, at + 1) for at in range(len(expected))])
    assert (spans == painted.read(0, len(expected))).all()


def test_depth_is_the_published_range_and_bytes(recorded: dict[str, np.ndarray]) -> None:
    normalised = depth_normalised(recorded["inputs.raw_depth"])
    assert np.abs(normalised - recorded["outputs.depth_normalised"]).max() < 1e-5
    assert np.abs(depth_uint8(normalised).astype(int) - recorded["outputs.depth_uint8"]).max() <= 1


def test_each_clip_has_points_and_colours_of_its_own(recorded: dict[str, np.ndarray]) -> None:
    """The shared frame belongs to the clip before; the first frame of a later clip is its second."""
    tracks, size = recorded["inputs.tracks"], (48, 64)
    moved = tracks[::-1].copy()
    both = track_signal(np.concatenate([tracks, moved], axis=1), size=size, fps=16, starts=np.repeat([0, 2], 30))
    painted = PaintedTracks(both)
    alone = [PaintedTracks(track_signal(part, size=size, fps=16)) for part in (tracks, moved)]
    assert (painted.read(0, 3) == alone[0].read(0, 3)).all()
    assert (painted.read(3, 5) == alone[1].read(1, 3)).all()


def test_blue_collapses_where_distance_reaches_0() -> None:
    points = np.random.default_rng(0).uniform(1, 9, (40, 3)).astype(np.float32)
    assert TrackStyle.of(points).colours[:, 2].any()
    points[:3, 2] = 0
    assert not TrackStyle.of(points).colours[:, 2].any()


def test_points_that_are_lost_on_the_way_are_left_out() -> None:
    points = np.random.default_rng(0).uniform(2, 30, (3, 5, 3)).astype(np.float32)
    whole = PaintedTracks(track_signal(points, size=(32, 32), fps=16)).read(0, 3)
    points[1:, 4] = np.nan
    lost = PaintedTracks(track_signal(points, size=(32, 32), fps=16)).read(0, 3)
    assert (lost[0] == whole[0]).all()
    assert lost[1].any()


def test_published_drawing_refuses_what_it_cannot_draw() -> None:
    flat = track_signal(np.ones((2, 3, 2), np.float32), size=(8, 8), fps=16)
    with pytest.raises(ControlError, match="third column is missing"):
        PaintedTracks(flat)
    with pytest.raises(ControlError, match="finite"):
        TrackStyle.of(np.full((3, 3), np.nan, np.float32))
    with pytest.raises(ControlError, match="same everywhere"):
        depth_normalised(np.ones((3, 4, 4), np.float32))
