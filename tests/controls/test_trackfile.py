"""Point tracks from files."""

import json
from pathlib import Path

import numpy as np
import pytest

from longvie.controls.tracks import Tracks
from longvie.controls.trackset import TrackSpan
from longvie.errors import ControlError, InputError, LimitError

SIZE = (24, 40)


def paths(frames: int = 5, points: int = 4) -> np.ndarray:
    rng = np.random.default_rng(0)
    start = rng.uniform([4, 4, 1], [36, 20, 9], (points, 3))
    return (start + [0.1, 0.1, 0] * np.arange(frames)[:, None, None]).astype(np.float32)


def load(folder: Path, declared: dict | None = None, **fields: object):  # noqa: ANN201
    np.savez(folder / "tracks.npz", **fields)
    return Tracks().load(folder / "tracks.npz", size=SIZE, fps=16, declared=declared)


def test_points_are_read_with_their_visibility(tmp_path: Path) -> None:
    visible = np.random.default_rng(1).random((5, 4)) > 0.5
    for names in ({"points": paths(), "visible": visible}, {"tracks": paths(), "visibility": visible.astype(np.uint8)}):
        span = load(tmp_path, size=SIZE, **names).read(0, 5)
        assert isinstance(span, TrackSpan)
        assert np.array_equal(span.points, paths())
        assert np.array_equal(span.visible, visible)


def test_json_holds_the_same(tmp_path: Path) -> None:
    fields = {"points": paths().tolist(), "visible": np.ones((5, 4)).tolist(), "size": SIZE, "fps": 8}
    (tmp_path / "tracks.json").write_text(json.dumps(fields))
    signal = Tracks().load(tmp_path / "tracks.json", size=SIZE, fps=16)
    assert np.allclose(signal.read(0, 5).points, paths())
    assert signal.report.fps == 8
    assert "8 fps played frame by frame at 16 fps" in str(signal.report)
    (tmp_path / "tracks.json").write_text('{"points": [[[1, 2]]], "sise": [24, 40]}')
    with pytest.raises(ControlError, match="did you mean 'size'"):
        Tracks().load(tmp_path / "tracks.json", size=SIZE, fps=16)
    (tmp_path / "tracks.json").write_text('{"points": [[[1, 2]], [[1, 2], [3, 4]]], "size": [24, 40]}')
    with pytest.raises(ControlError, match=r"needed is \(frames, points, 2 or 3\)"):
        Tracks().load(tmp_path / "tracks.json", size=SIZE, fps=16)


def test_points_move_with_the_picture_when_it_is_cropped_and_resized(tmp_path: Path) -> None:
    """A picture of 48×120 keeps its middle 80 columns and is halved."""
    points = np.array([[[20, 0], [100, 48], [60, 24]]], np.float32)
    span = load(tmp_path, points=points, size=[48, 120]).read(0, 1)
    assert np.allclose(span.points, [[[0, 0], [40, 24], [20, 12]]])
    assert span.size == SIZE


def test_the_size_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"declare size=\(height, width\)"):
        load(tmp_path, points=paths())
    assert load(tmp_path, {"size": SIZE}, points=paths()).frames == 5
    for wrong in ([24], [0, 40], [24.5, 40], "24x40", [True, 40], [24, float("nan")]):
        with pytest.raises(ControlError, match="size is"):
            load(tmp_path, {"size": wrong}, points=paths())


def test_a_bare_array_is_points(tmp_path: Path) -> None:
    np.save(tmp_path / "tracks.npy", paths())
    signal = Tracks().load(tmp_path / "tracks.npy", size=SIZE, fps=16, declared={"size": SIZE})
    assert np.array_equal(signal.read(0, 5).points, paths())


def test_reseeded_points_live_where_they_live(tmp_path: Path) -> None:
    signal = load(tmp_path, points=paths(), size=SIZE, starts=[0, 0, 4, 4])
    assert signal.frames == 9
    assert signal.read(6, 7).ids.tolist() == [2, 3]
    with pytest.raises(ControlError, match="frame number from 0 on for each of the 4 points"):
        load(tmp_path, points=paths(), size=SIZE, starts=[0, -1, 4, 4])
    with pytest.raises(ControlError, match="for each of the 4 points"):
        load(tmp_path, points=paths(), size=SIZE, starts=[0, 1])


def test_no_points_mean_words_alone_and_are_reported(tmp_path: Path) -> None:
    for points, visible in ((np.zeros((5, 0, 3)), None), (paths(), np.zeros((5, 4), bool))):
        fields = {"points": points, "size": SIZE} | ({} if visible is None else {"visible": visible})
        signal = load(tmp_path, **fields)
        assert "the words decide alone" in str(signal.report)
        control = Tracks()
        assert (control.render(signal.read(0, 5), control.fit(signal)) == -1).all()


def test_broken_points_are_hidden_or_refused(tmp_path: Path) -> None:
    points = np.tile(paths(), (1, 60, 1))
    points[0, 0] = np.nan
    visible = np.ones(points.shape[:2], bool)
    signal = load(tmp_path, points=points, visible=visible, size=SIZE)
    assert "1 points that are NaN or infinite are hidden" in str(signal.report)
    assert not signal.read(0, 1).visible[0, 0]
    points[:, :30] = np.inf
    with pytest.raises(ControlError, match="mark them as not visible") as error:
        load(tmp_path, points=points, visible=visible, size=SIZE)
    assert error.value.code == "tracks_nonfinite"
    visible[:, :30] = False
    assert "hidden" not in str(load(tmp_path, points=points, visible=visible, size=SIZE).report)


def test_points_that_are_never_in_the_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="check size=") as error:
        load(tmp_path, points=paths() + np.array([900, 0, 0]), size=SIZE)
    assert error.value.code == "tracks_outside"


def test_too_many_points_are_refused_before_they_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "tracks.npz", points=np.zeros((1, 10_000_000, 2), np.uint8), size=SIZE)
    with pytest.raises(LimitError, match="10,000,000 points"):
        Tracks().load(tmp_path / "tracks.npz", size=SIZE, fps=16)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"ids": [1, 2, 2, 3]}, "has the id 2 more than once"),
        ({"ids": [1, 2]}, "2 ids for 4 points"),
        ({"points": np.zeros((5, 4))}, r"needed is \(frames, points, 2 or 3\)"),
        ({"points": np.zeros((5, 4, 4))}, r"needed is \(frames, points, 2 or 3\)"),
        ({"points": np.zeros((0, 4, 2))}, r"needed is \(frames, points, 2 or 3\)"),
        ({"visible": np.ones((4, 5))}, r"the points need \(5, 4\)"),
        ({"fps": 0}, "give a number above 0"),
        ({"fps": np.nan}, "give a number above 0"),
        ({"fps": [8, 9]}, "give a number above 0"),
    ],
)
def test_fields_that_do_not_fit_are_refused(tmp_path: Path, fields: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        load(tmp_path, **({"points": paths(), "size": SIZE} | fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [("fps", "fast"), ("size", "large"), ("size", [[1, 2]]), ("visible", [[1], [2, 3]]),
     ("visible", "all"), ("starts", ["a"]), ("starts", {}), ("ids", [{}]), ("ids", [[1], [2, 3]]), ("points", "x"),
     ("points", None), ("points", [[[1e300, "b"]]])],
)  # fmt: skip
def test_json_of_the_wrong_kind_is_refused(tmp_path: Path, field: str, value: object) -> None:
    fields = {"points": paths().tolist(), "size": list(SIZE)} | {field: value}
    (tmp_path / "tracks.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=r"tracks\.json|size is"):
        Tracks().load(tmp_path / "tracks.json", size=SIZE, fps=16)


def test_numbers_too_large_are_hidden_like_infinite_ones(tmp_path: Path) -> None:
    points = paths().astype(np.float64)
    points[2, 1] = 1e300
    visible = np.ones((5, 4), bool)
    visible[2, 1] = False
    assert not load(tmp_path, points=points, visible=visible, size=SIZE).read(2, 3).visible[0, 1]


def test_an_npz_without_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="has no field 'points'"):
        load(tmp_path, paths=paths(), size=SIZE)


def test_quirks_draw_at_the_size_of_the_source(tmp_path: Path) -> None:
    np.savez(tmp_path / "tracks.npz", points=paths() * [4, 4, 1], size=[96, 160])
    control = Tracks(quirks=True)
    signal = control.load(tmp_path / "tracks.npz", size=SIZE, fps=16)
    assert signal.report.content == "drawn dots"
    video = control.render(signal.read(0, 5), control.fit(signal))
    assert video.shape == (3, 5, *SIZE)
    assert video.max() > -0.5
