"""LPIPS as a metric of a video: its mean, its parts, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks_made import frames_of, known, measured, number, random, refusal, video
from test_networks_alexnet import CHANNELS, layout
from torch import Tensor

from longvie.evaluation.families.lpips import ENTRIES, FAMILY
from longvie.evaluation.metric import Facts, Value
from longvie.evaluation.networks.alexnet import alexnet
from longvie.evaluation.panel import family
from longvie.evaluation.perceptual import lpips

HEADS = [torch.tensor([0.5, 0.2, 1.0]), torch.tensor([0.1, 0.0, 2.0])]


def backbone(pictures: Tensor) -> list[Tensor]:
    return [torch.sin(pictures), torch.nn.functional.avg_pool2d(pictures, 2)]


MINE = family("lpips", ENTRIES, "mine", {"alexnet": backbone, "lpips-heads": lambda: HEADS})


def test_a_video_is_the_mean_of_its_frames() -> None:
    made, truth = video(90), video(90, seed=5)
    found = measured(MINE, made, truth)
    expected = lpips(frames_of(made) / 127.5 - 1, frames_of(truth) / 127.5 - 1, backbone, HEADS)
    assert number(found, "mine.lpips") == pytest.approx(float(expected.mean()), rel=1e-6)
    value = found["mine.lpips"]
    assert isinstance(value, Value) and value.n == 90
    assert value.windows == (
        (0.0, pytest.approx(float(expected[:80].mean()))),
        (5.0, pytest.approx(float(expected[80:].mean()))),
    )


def test_the_truth_is_at_no_distance_and_noise_is_farther() -> None:
    made = video(6)
    assert number(measured(MINE, made), "mine.lpips") == 0
    noise = np.random.default_rng(0).normal(0, 1, made.shape)
    levels = [np.clip(made + noise * level, 0, 255).astype(np.uint8) for level in (2, 6, 18)]
    numbers = [number(measured(MINE, level, made), "mine.lpips") for level in levels]
    assert numbers == sorted(numbers) and numbers[0] > 0


def test_without_truth_or_weights_it_is_refused() -> None:
    made = video(3)
    assert refusal(measured(MINE, made, facts=Facts(16.0, 3, (40, 48))), "mine.lpips") == "needs truth"
    reason = refusal(measured(FAMILY, made), "lpips")
    for word in (
        "alexnet-owt-7be5be79.pth",
        "https://download.pytorch.org",
        "BSD-3-Clause",
        "alex.pth",
        "BSD-2-Clause",
    ):
        assert word in reason


def test_it_runs_with_files_in_the_published_layout(tmp_path: Path) -> None:
    named = random(layout(), scale=0.05)
    torch.save(named, tmp_path / "alexnet.pth")
    heads = [torch.rand(channels) for channels in CHANNELS]
    torch.save({f"lin{at}.model.1.weight": it.view(1, -1, 1, 1) for at, it in enumerate(heads)}, tmp_path / "alex.pth")
    found = {"alexnet": str(tmp_path / "alexnet.pth"), "lpips-alex": str(tmp_path / "alex.pth")}
    made, truth = video(3), video(3, seed=1)
    expected = lpips(frames_of(made) / 127.5 - 1, frames_of(truth) / 127.5 - 1, alexnet(named), heads).mean()
    facts = known(made, weights=found)
    assert number(measured(FAMILY, made, truth, facts), "lpips") == pytest.approx(float(expected), rel=1e-5)
    small = video(3, size=(24, 40))
    assert "at least 31 pixels" in refusal(measured(FAMILY, small, facts=known(small, weights=found)), "lpips")


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("alexnet.pth", "alex.pth"):
        (tmp_path / name).write_bytes(b"<html>")
    found = {"alexnet": str(tmp_path / "alexnet.pth"), "lpips-alex": str(tmp_path / "alex.pth")}
    assert "alexnet.pth cannot be read" in refusal(
        measured(FAMILY, video(2), facts=known(video(2), weights=found)), "lpips"
    )
