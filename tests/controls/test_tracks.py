"""Point paths as dots."""

import time

import numpy as np
import torch

from longvie.controls.tracks import DARKEST, Tracks, TrackScale, dot_colours, paint_dots, thin
from longvie.controls.trackset import track_signal

SIZE = (24, 40)


def paths(frames: int = 9, points: int = 6, *, depth: bool = True, seed: int = 0) -> np.ndarray:
    """Points that drift inside the picture."""
    rng = np.random.default_rng(seed)
    start = rng.uniform([4, 4], [SIZE[1] - 4, SIZE[0] - 4], (points, 2))
    drift = rng.uniform(-0.3, 0.3, (points, 2))
    at = start + drift * np.arange(frames)[:, None, None]
    far = np.broadcast_to(rng.uniform(1, 9, (points, 1)), (frames, points, 1))
    return np.concatenate([at, far] if depth else [at], axis=-1).astype(np.float32)


def levels(video: torch.Tensor) -> np.ndarray:
    """(f, h, w, 3) in 0 to 255."""
    return ((video + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()


def drawn(points: np.ndarray, visible: np.ndarray | None = None) -> np.ndarray:
    control = Tracks()
    signal = track_signal(points, visible, size=SIZE, fps=16)
    return levels(control.render(signal.read(0, signal.frames), control.fit(signal)))


def test_a_dot_is_five_pixels_wide_around_its_point() -> None:
    picture = drawn(np.array([[[10.4, 7.9, 2.0]]], np.float32))[0]
    rows, columns, _ = picture.nonzero()
    assert set(rows) == set(range(5, 10))
    assert set(columns) == set(range(8, 13))


def test_a_dot_at_the_border_is_cut_not_wrapped() -> None:
    picture = drawn(np.array([[[0.0, 0.0, 2.0]]], np.float32))[0]
    rows, columns, _ = picture.nonzero()
    assert set(rows) == set(columns) == {0, 1, 2}


def test_colour_tells_where_a_point_was_first_seen_and_stays() -> None:
    points = np.array([[[4, 4, 1]], [[30, 20, 8]]], np.float32)
    first, second = drawn(points)
    assert (first[4, 4] == second[20, 30]).all()
    late = drawn(points, np.array([[False], [True]]))
    assert not late[0].any()
    assert (late[1, 20, 30] != second[20, 30]).any()


def test_colours_rise_to_the_right_downwards_and_with_nearness() -> None:
    corners = np.array([[1, 1, 9], [39, 1, 9], [1, 23, 9], [1, 1, 1]], np.float32)
    colours = dot_colours(corners, SIZE, far=1 / 9, near=1.0).astype(int)
    assert colours[1, 0] > colours[0, 0] + 150
    assert colours[2, 1] > colours[0, 1] + 150
    assert colours[3, 2] == 255
    assert colours.min() >= round(255 * DARKEST)


def test_without_distance_blue_is_half_and_earlier_points_are_on_top() -> None:
    assert dot_colours(np.array([[20.0, 12.0]]), SIZE, None, None)[0, 2] == round(255 * (DARKEST + (1 - DARKEST) / 2))
    picture = drawn(np.array([[[10, 10], [11, 10]]], np.float32))[0]
    alone = drawn(np.array([[[10, 10]]], np.float32))[0]
    assert (picture[10, 10] == alone[10, 10]).all()


def test_nearer_dots_lie_over_farther_ones() -> None:
    points = np.array([[[10, 10, 5], [11, 10, 2], [12, 10, 9]]], np.float32)
    scale = Tracks().fit(track_signal(points, size=SIZE, fps=16)).table()
    assert (drawn(points)[0, 10, 11] == scale[1]).all()


def test_hidden_points_and_points_outside_are_not_drawn() -> None:
    points = np.array([[[10, 10, 5], [-3, 10, 2], [20, 10, -1], [30, 10, 2]]], np.float32)
    visible = np.array([[False, True, True, True]])
    _, columns, _ = drawn(points, visible)[0].nonzero()
    assert columns.min() == 28


def test_a_dot_is_never_black() -> None:
    points = np.array([[[0.1, 0.1], [39, 23]]], np.float32)
    assert (drawn(points)[0, 0, 0] >= round(255 * DARKEST)).all()


def test_painting_is_the_same_however_points_overlap() -> None:
    """Against painting one dot after another."""
    rng = np.random.default_rng(3)
    points = torch.from_numpy(np.concatenate([rng.uniform(0, 24, (11, 60, 2)), rng.uniform(1, 3, (11, 60, 1))], -1))
    visible = torch.from_numpy(rng.random((11, 60)) > 0.2)
    colours = torch.from_numpy(rng.integers(64, 256, (60, 3), dtype=np.uint8))
    expected = np.zeros((11, *SIZE, 3), np.uint8)
    for frame in range(11):
        for point in np.argsort(-points[frame, :, 2].numpy(), kind="stable"):
            if visible[frame, point]:
                x, y = int(points[frame, point, 0]), int(points[frame, point, 1])
                expected[frame, max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = colours[point].numpy()
    assert (paint_dots(points.float(), visible, colours, SIZE).numpy() == expected).all()


def test_several_samples_are_painted_at_once_with_colours_per_frame() -> None:
    points, visible = torch.from_numpy(paths(18, 5)), torch.ones(18, 5, dtype=torch.bool)
    colours = torch.randint(64, 256, (2, 5, 3), dtype=torch.uint8)
    each = colours.repeat_interleave(9, dim=0)
    both = paint_dots(points, visible, each, SIZE)
    for half in range(2):
        span = slice(9 * half, 9 * half + 9)
        assert torch.equal(both[span], paint_dots(points[span], visible[span], colours[half], SIZE))


def test_never_more_than_the_limit_and_no_dot_flickers() -> None:
    control = Tracks(limit=4, dot=1)
    signal = track_signal(paths(9, 30), size=SIZE, fps=16)
    scale = control.fit(signal)
    kept = scale.table().any(axis=1)
    assert kept.sum() == 4
    counts = (levels(control.render(signal.read(0, 9), scale)).any(axis=-1)).sum(axis=(1, 2))
    assert counts.max() <= 4


def test_thinning_lets_points_follow_each_other() -> None:
    begins = np.repeat([0, 10, 20], 5)
    kept = thin(begins, begins + 10, 30, limit=2)
    assert sorted(begins[kept].tolist()) == [0, 0, 10, 10, 20, 20]


def test_points_that_live_in_different_spans_keep_their_own_colours() -> None:
    points = np.concatenate([paths(81, 3, seed=1), paths(81, 3, seed=2)], axis=1)
    signal = track_signal(points, size=SIZE, fps=16, starts=np.array([0, 0, 0, 80, 80, 80]))
    assert signal.frames == 161
    assert signal.read(0, 80).ids.tolist() == [0, 1, 2]
    assert signal.read(100, 101).ids.tolist() == [3, 4, 5]
    assert signal.read(70, 90).visible[:10, 3:].sum() == 0
    control = Tracks()
    scale = control.fit(signal)
    assert len(scale.table()) == 6
    whole = control.render(signal.read(0, 161), scale)
    spans = [control.render(signal.read(at, min(at + 13, 161)), scale) for at in range(0, 161, 13)]
    assert torch.equal(torch.cat(spans, dim=1), whole)


def test_points_that_the_scale_does_not_know_are_not_drawn() -> None:
    signal = track_signal(paths(), size=SIZE, fps=16)
    assert (Tracks().render(signal.read(0, 2), TrackScale()) == -1).all()


def test_joined_clips_keep_their_points_apart() -> None:
    control = Tracks()
    parts = [track_signal(paths(9, 3, seed=seed), size=SIZE, fps=16) for seed in (1, 2)]
    joined = control.join(parts)
    assert joined.frames == 17
    assert joined.read(8, 10).ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert len(control.fit(joined).table()) == 6
    assert np.array_equal(joined.read(9, 10).points[0, -3:], parts[1].points[1])


def test_painting_is_fast_enough_for_a_live_stream() -> None:
    """At least 400 frames a second at 96×176 with 256 points, on one core."""
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.uniform([0, 0, 1], [176, 96, 9], (80, 256, 3)).astype(np.float32))
    visible = torch.ones(80, 256, dtype=torch.bool)
    colours = torch.full((256, 3), 99, dtype=torch.uint8)
    paint_dots(points[:8], visible[:8], colours, (96, 176))
    took = []
    for _ in range(5):
        began = time.perf_counter()
        paint_dots(points, visible, colours, (96, 176))
        took.append(time.perf_counter() - began)
    assert 80 / min(took) > 400
