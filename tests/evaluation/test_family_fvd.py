"""FVD as a metric of a set of videos: windows of each, distances of all."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from networks_made import archived, frames_of, known, measured, refusal, video
from test_networks_i3d import Published
from torch import Tensor

from longvie.evaluation.families import fvd
from longvie.evaluation.families.fvd import ENTRIES, FAMILY, combine
from longvie.evaluation.frechet import WindowFeatures, compare
from longvie.evaluation.metric import Facts, Gathered, Refused, Value
from longvie.evaluation.panel import family

NAMES = ("fvd.5s", "fvd.30s", "fvd.120s")
FPS = 4.0  # 20 frames in 5 s


def network(windows: Tensor) -> Tensor:
    """Four numbers of a window: two of what it shows, two of how it changes."""
    change = windows.diff(dim=2)
    return torch.stack([it.mean(dim=(1, 2, 3, 4)) for it in (windows, windows**2, change, change.abs())], dim=-1)


MINE = family("fvd", ENTRIES, "mine", {"i3d": network})


def gathered(made: np.ndarray, truth: np.ndarray, seconds: str = "5s") -> Gathered:
    found = measured(MINE, made, truth, known(made, FPS))[f"mine.fvd.{seconds}"]
    assert isinstance(found, Gathered), found
    return found


def test_each_video_gives_the_features_of_its_windows() -> None:
    made, truth = video(52), video(52, seed=4)
    found = gathered(made, truth)
    for rows, pictures in ((found.made, made), (found.truth, truth)):
        expected = WindowFeatures(network, 52, FPS, 5.0)
        expected.see(frames_of(pictures))
        np.testing.assert_allclose(rows, expected.features().numpy(), rtol=1e-6)
        assert rows.shape == (4, 4)  # windows begin at 0, 10, 20 and 30


def test_videos_shorter_than_a_window_are_refused_for_it_alone() -> None:
    made = video(52)
    found = measured(MINE, made, facts=known(made, FPS))
    assert isinstance(found["mine.fvd.5s"], Gathered)
    for name in ("mine.fvd.30s", "mine.fvd.120s"):
        assert "shorter than one window" in refusal(found, name)
    slow = measured(MINE, made, facts=known(made, 2.0))
    assert "16 are looked at" in refusal(slow, "mine.fvd.5s")


def test_the_set_is_measured_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fvd, "compare", lambda made, truth, videos: compare(made, truth, videos=videos, resamples=50))
    parts = [gathered(video(30, seed=seed), video(30, seed=seed + 7)) for seed in range(3)]
    value = combine(parts)
    made, truth = (torch.from_numpy(np.concatenate([getattr(it, side) for it in parts])) for side in ("made", "truth"))
    numbers = torch.tensor([0, 0, 1, 1, 2, 2])
    expected = compare(made, truth, videos=(numbers, numbers), resamples=50)
    assert isinstance(value, Value) and value.n == len(made) == 6
    assert value.number == expected.frechet.number > 0
    assert value.interval == (expected.frechet.low, expected.frechet.high)
    assert value.interval[0] <= value.number <= value.interval[1]
    same = combine([Gathered(it.truth, it.truth) for it in parts])
    assert isinstance(same, Value) and same.number == pytest.approx(0, abs=1e-10)


def test_shuffled_frames_are_seen_though_every_frame_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fvd, "compare", lambda made, truth, videos: compare(made, truth, videos=videos, resamples=2))
    truths = [video(30, seed=seed) for seed in range(2)]
    order = np.random.default_rng(0).permutation(30)
    value = combine([gathered(truth[order], truth) for truth in truths])
    same = combine([gathered(truth, truth) for truth in truths])
    assert isinstance(value, Value) and isinstance(same, Value)
    assert value.number > 100 * max(same.number, 1e-9)


def test_too_few_windows_are_refused() -> None:
    assert combine([]) == Refused("no video has a window of this length")
    one = combine([Gathered(np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32))])
    assert isinstance(one, Refused) and "at least 2 on each side" in one.reason


def test_without_truth_or_weights_it_is_refused() -> None:
    made = video(20)
    for name, reason in measured(MINE, made, facts=Facts(FPS, 20, (40, 48))).items():
        assert reason == Refused("needs truth"), name
    found = measured(FAMILY, made, facts=known(made, FPS))
    for name in NAMES:
        assert "i3d_torchscript.pt from https://www.dropbox.com" in refusal(found, name)
        assert "licence: not stated with the file" in refusal(found, name)


def test_it_runs_with_a_program_as_published(tmp_path: Path) -> None:
    made = video(40)
    path = archived(Published(), tmp_path / "i3d_torchscript.pt")
    found = measured(FAMILY, made, facts=known(made, FPS, weights={"i3d-stylegan-v": str(path)}))["fvd.5s"]
    assert isinstance(found, Gathered) and found.made.shape == (3, 400)
    assert np.isfinite(found.made).all() and abs(found.made).max() < 1  # nothing was scaled again


def test_its_metrics_are_of_sets_and_name_the_port() -> None:
    assert tuple(metric.name for metric in FAMILY.metrics) == NAMES
    for metric in FAMILY.metrics:
        assert metric.combine is combine and metric.tier == "W2" and math.isfinite(metric.range[1])
        assert "StyleGAN-V" in metric.formula and "hop half a window" in metric.formula
