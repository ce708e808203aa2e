"""Distances of sets of windows against numpy; windows against times written down; intervals against draws."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.evaluation import frechet
from longvie.evaluation.frechet import WindowFeatures, compare, frechet_distance, polynomial_mmd, windows

TIGHT = 1e-6


def rows(count: int = 40, width: int = 5, seed: int = 0, shift: float = 0.0) -> Tensor:
    """Correlated features."""
    source = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=source, dtype=torch.float64)
    return torch.randn(count, width, generator=source, dtype=torch.float64) @ mixed + shift


def frechet_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    roots = np.sqrt(np.linalg.eigvals(np.atleast_2d(first @ second)).real.clip(0))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second) - 2 * roots.sum())


def mmd_by_definition(x: np.ndarray, y: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    n, m = len(x), len(y)
    inside_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    inside_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return inside_x + inside_y - 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("counts", [(40, 40), (40, 23), (6, 200)])
def test_frechet_is_what_is_published(counts: tuple[int, int]) -> None:
    made, truth = rows(counts[0], seed=1), rows(counts[1], seed=2, shift=0.7)
    expected = frechet_by_definition(made.numpy(), truth.numpy())
    assert frechet_distance(made, truth) == pytest.approx(expected, abs=TIGHT)


def test_frechet_of_known_normals_is_what_algebra_says() -> None:
    """One feature: (μ₁ − μ₂)² + (σ₁ − σ₂)²."""
    made, truth = rows(50, 1, seed=1) * 3, rows(60, 1, seed=2, shift=2)
    expected = (made.mean() - truth.mean()) ** 2 + (made.std() - truth.std()) ** 2
    assert frechet_distance(made, truth) == pytest.approx(float(expected), abs=TIGHT)


def test_few_windows_of_many_dimensions_stay_exact() -> None:
    """Covariances of rank 3 in 64 dimensions: the roots of 3 by 3 matrices know the answer."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 3)))
    small = [rows(5, 3, seed=seed).numpy() for seed in (1, 2)]
    wide = [torch.from_numpy(side @ basis.T) for side in small]
    assert frechet_distance(*wide) == pytest.approx(frechet_by_definition(*small), abs=1e-9)
    assert frechet_distance(wide[0], wide[0]) < 1e-11


@pytest.mark.parametrize("counts", [(9, 9), (12, 7)])
def test_mmd_is_what_is_published(counts: tuple[int, int]) -> None:
    made, truth = rows(counts[0], seed=1), rows(counts[1], seed=2, shift=0.5)
    expected = mmd_by_definition(made.numpy(), truth.numpy())
    assert polynomial_mmd(made, truth) == pytest.approx(expected, rel=1e-9, abs=TIGHT)


def test_mmd_is_without_bias() -> None:
    """Over draws of one distribution its mean is nothing, and single draws fall on both sides."""
    scores = [polynomial_mmd(a, b) for a, b in _draws(200)]
    assert abs(np.mean(scores)) < 3 * np.std(scores) / math.sqrt(len(scores))
    assert min(scores) < 0 < max(scores)


def _draws(count: int) -> list[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(5)
    sets = torch.randn(count, 2, 8, 3, generator=source, dtype=torch.float64)
    return [(first, second) for first, second in sets]


def test_identical_sets_are_at_no_distance_and_distance_has_no_direction() -> None:
    made, truth = rows(seed=1), rows(30, seed=2, shift=1)
    assert frechet_distance(made, made) == pytest.approx(0, abs=1e-10)
    assert frechet_distance(made, truth) == pytest.approx(frechet_distance(truth, made), abs=1e-9)
    assert polynomial_mmd(made, truth) == pytest.approx(polynomial_mmd(truth, made), abs=1e-9)


def test_distance_grows_with_a_shift_by_its_square() -> None:
    made = rows()
    assert frechet_distance(made + 2, made) == pytest.approx(5 * 4, abs=1e-9)
    assert polynomial_mmd(made + 2, made) > polynomial_mmd(made + 1, made) > 0


def test_the_order_of_windows_does_not_matter() -> None:
    made, truth = rows(20, seed=1), rows(15, seed=2)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    first, second = (compare(side, truth, resamples=20) for side in (made, made[order]))
    for one, two in ((first.frechet, second.frechet), (first.mmd, second.mmd)):
        assert (one.number, one.low, one.high) == pytest.approx((two.number, two.low, two.high), abs=1e-9)


def test_the_interval_is_that_of_the_seed_and_holds_the_number() -> None:
    made, truth = rows(20, seed=1), rows(15, seed=2, shift=0.5)
    first, again, other = (compare(made, truth, seed=seed, resamples=40) for seed in (0, 0, 1))
    assert first == again
    assert first.frechet.number == other.frechet.number and first.frechet.low != other.frechet.low
    for interval in (first.frechet, first.mmd):
        assert interval.low < interval.number < interval.high
    assert first.frechet.number == pytest.approx(frechet_distance(made, truth), rel=1e-12)
    assert first.mmd.number == pytest.approx(polynomial_mmd(made, truth))
    assert (first.made, first.truth, first.dimensions) == (20, 15, 5)


def test_the_interval_is_95_percent_of_resamples_around_the_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resamples written down: the interval is their 2.5 and 97.5 percentiles, moved to the number."""
    made, truth = rows(6, seed=1), rows(5, seed=2, shift=1)
    source = np.random.default_rng(0)
    drawn = [(source.integers(0, 6, 6), source.integers(0, 5, 5)) for _ in range(30)]
    draws = iter([torch.from_numpy(side) for pair in drawn for side in pair])
    monkeypatch.setattr(frechet, "_draw", lambda *_: next(draws))
    result = compare(made, truth, resamples=30)
    x, y = (np.array(sorted(side.tolist())) for side in (made, truth))
    for interval, measure in ((result.frechet, frechet_by_definition), (result.mmd, mmd_by_definition)):
        number = measure(x, y)
        again = np.array([measure(x[a], y[b]) for a, b in drawn])
        ends = np.percentile(again, [2.5, 97.5]) - again.mean() + number
        if interval is result.frechet:
            ends = np.maximum(ends, 0)
        assert (interval.number, interval.low, interval.high) == pytest.approx((number, *ends), abs=1e-5)


def test_videos_are_drawn_whole_and_windows_of_one_promise_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight videos of ten windows that are nearly the same: as uncertain as eight, not as eighty."""
    middles, near = rows(8, seed=1), rows(80, seed=2) * 0.01
    numbers = torch.arange(8).repeat_interleave(10)
    made, truth = middles[numbers] + near + 3, rows(80, seed=3) * 0.1
    alone = compare(made, truth, resamples=200).frechet
    whole = compare(made, truth, videos=(numbers, numbers), resamples=200).frechet
    assert whole.number == alone.number
    assert whole.high - whole.low > 2 * (alone.high - alone.low)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(3))
    other = compare(made[order], truth, videos=((7 - numbers)[order], 7 - numbers), resamples=200).frechet
    assert (other.low, other.high) == pytest.approx((whole.low, whole.high), abs=1e-9), "whatever they are called"
    taken: list[list[int]] = []
    monkeypatch.setattr(frechet, "_frechet", lambda x, _y: taken.append(sorted(x[:, 0].tolist())) or 0.0)
    compare(made, truth, videos=(numbers, numbers), resamples=3)
    sets = [set(made[numbers == k, 0].tolist()) for k in range(8)]
    assert len(taken) == 4 and all(sum(at in one for at in got) % 10 == 0 for got in taken[1:] for one in sets)


def test_one_video_is_drawn_window_by_window() -> None:
    made, truth, one = rows(9, seed=1), rows(9, seed=2), torch.zeros(9, dtype=torch.int64)
    assert compare(made, truth, videos=(one, one), resamples=20) == compare(made, truth, resamples=20)


def test_the_interval_narrows_with_windows() -> None:
    widths = []
    for count in (12, 120):
        interval = compare(rows(count, seed=1), rows(count, seed=2), resamples=60).frechet
        widths.append(interval.high - interval.low)
    assert widths[1] < widths[0] / 2


def test_the_end_of_a_distance_is_not_below_nothing() -> None:
    made = rows(6)
    result = compare(made, made, resamples=30)
    assert result.frechet.low == 0.0 <= result.frechet.high
    assert result.mmd.low < 0


def test_too_few_windows_for_the_dimensions_are_noted() -> None:
    few = compare(rows(5, seed=1), rows(40, seed=2), resamples=2)
    assert len(few.notes) == 1 and "more than 5 windows" in few.notes[0] and "5 and 40" in few.notes[0]
    assert compare(rows(6, seed=1), rows(40, seed=2), resamples=2).notes == ()
    i3d = torch.randn(3, 400, generator=torch.Generator().manual_seed(0))
    assert "more than 400 windows" in compare(i3d, i3d + 1, resamples=2).notes[0]


@pytest.mark.parametrize(
    ("seconds", "fps", "frames", "first", "count"),
    [
        (5.0, 16.0, 400, (2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 62, 67, 72, 77), 9),
        (5.0, 16.0, 80, (2, 7, 12, 17, 22, 27, 32, 37, 42, 47, 52, 57, 62, 67, 72, 77), 1),
        (5.0, 16.0, 79, (), 0),
        (30.0, 16.0, 4800, tuple(range(15, 480, 30)), 19),
        (120.0, 16.0, 4800, tuple(range(60, 1920, 120)), 4),
        (1.0, 16.0, 40, tuple(range(16)), 4),
    ],
)
def test_windows_are_even_and_overlap_by_half(
    seconds: float, fps: float, frames: int, first: tuple[int, ...], count: int
) -> None:
    found = windows(frames, fps, seconds)
    assert len(found) == count
    if count:
        assert found[0] == first
    hop = int(seconds * fps / 2)
    assert all(tuple(at - hop * number for at in window) == first for number, window in enumerate(found))
    assert not found or found[-1][-1] < frames


def test_starts_do_not_drift_where_half_a_window_is_no_whole_number() -> None:
    found = windows(6000, 29.97, 5.0)
    starts = [window[0] - found[0][0] for window in found]
    assert starts == [math.floor(number * 74.925 + 0.5) for number in range(len(found))]
    assert len(found) == math.floor((6000 - 150 + 0.5) / 74.925) + 1


def test_i3d_sees_a_square_between_minus_one_and_one() -> None:
    source = np.random.default_rng(0)
    picture = source.uniform(0, 255, (3, 4, 6))
    made = np.zeros((3, 3, 3))
    for y in range(3):
        for x in range(3):
            down, right = (y + 0.5) * 4 / 3 - 0.5, (x + 0.5) * 2 - 0.5
            top, left = math.floor(down), math.floor(right)
            for row, across in ((top, 1 - down + top), (min(top + 1, 3), down - top)):
                for column, along in ((left, 1 - right + left), (min(left + 1, 5), right - left)):
                    made[:, y, x] += across * along * picture[:, row, column]
    shown = frechet.i3d_input(torch.from_numpy(picture)[None], side=3)
    assert shown[0].numpy() == pytest.approx(made / 127.5 - 1, abs=TIGHT)
    assert frechet.i3d_input(torch.zeros(2, 3, 30, 50)).shape == (2, 3, 224, 224)
    assert float(frechet.i3d_input(torch.full((1, 3, 5, 5), 255.0)).min()) == pytest.approx(1)


def video(count: int) -> Tensor:
    return torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255


def network(window: Tensor) -> Tensor:
    """Mean, and mean over the second half of the window."""
    return torch.stack([window.mean(dim=(1, 2, 3, 4)), window[:, :, 8:].mean(dim=(1, 2, 3, 4))], dim=1)


@pytest.mark.parametrize("cuts", [(), (1, 2, 3), (17, 18, 60), tuple(range(1, 90))])
def test_features_of_windows_do_not_depend_on_batches(cuts: tuple[int, ...]) -> None:
    count, clip = 90, video(90)
    probe = WindowFeatures(network, count, 8.0, 5.0, side=4)
    for part in torch.tensor_split(clip, cuts):
        probe.see(part)
    shown = frechet.i3d_input(clip, 4)
    expected = [network(shown[list(window)].transpose(0, 1)[None]) for window in windows(count, 8.0, 5.0)]
    assert len(expected) == 3
    assert torch.allclose(probe.features(), torch.cat(expected), atol=1e-12)


def test_frames_are_kept_for_the_open_windows_alone() -> None:
    most = {200: 0, 900: 0}
    for count in most:
        probe = WindowFeatures(network, count, 9.3, 5.0, side=2)
        for frame in video(count).split(1):
            probe.see(frame)
            most[count] = max(most[count], len(probe.held))
        assert len(probe.features()) == len(windows(count, 9.3, 5.0)) and not probe.held
    assert most[200] == most[900] <= 24


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_windows_are_refused(count: int) -> None:
    for measure in (frechet_distance, polynomial_mmd, compare):
        for pair in ((rows(9)[:count], rows(9)), (rows(9), rows(9)[:count])):
            with pytest.raises(InputError, match="at least 2 on each side"):
                measure(*pair)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_features_that_are_not_finite_are_refused(number: float) -> None:
    broken = rows(9).index_fill(1, torch.tensor([2]), number)
    for measure in (frechet_distance, polynomial_mmd, compare):
        for pair in ((broken, rows(9)), (rows(9), broken)):
            with pytest.raises(InputError, match="not finite"):
                measure(*pair)


def test_features_of_other_networks_are_refused() -> None:
    for measure in (frechet_distance, polynomial_mmd, compare):
        with pytest.raises(ShapeError, match="5 and 6 numbers"):
            measure(rows(9), rows(9, 6))


def test_an_interval_of_one_resample_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 2 resamples"):
        compare(rows(), rows(), resamples=1)


@pytest.mark.parametrize(("fps", "seconds"), [(0.0, 5.0), (-8.0, -5.0), (16.0, math.nan), (math.inf, 5.0)])
def test_windows_without_a_rate_are_refused(fps: float, seconds: float) -> None:
    with pytest.raises(ConfigError, match="must be positive"):
        windows(100, fps, seconds)


def test_windows_that_cannot_be_looked_at_are_refused() -> None:
    with pytest.raises(ConfigError, match="are 15 frames; 16"):
        windows(100, 3.0, 5.0)
    short = WindowFeatures(network, 20, 8.0, 5.0)
    short.see(video(20))
    with pytest.raises(InputError, match="shorter than one window"):
        short.features()
    half = WindowFeatures(network, 50, 8.0, 5.0, side=2)
    half.see(video(45))
    with pytest.raises(InputError, match="50 frames were announced, 45 came"):
        half.features()
