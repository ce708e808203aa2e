"""SSIM against its own definition, written anew without a convolution; PSNR and sharpness against what they mean."""

import numpy as np
import pytest
import torch
from torch import Tensor

from longvie.evaluation.fidelity import psnr, sharpness, ssim


def video(frames: int = 2, size: tuple[int, int] = (19, 23), seed: int = 0) -> Tensor:
    """Smooth colours with something sharp in them, in [0, 1]."""
    height, width = size
    source = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(size)
    waves = [np.sin(7 * source.random() * y + 9 * source.random() * x + k) for k in range(3 * frames)]
    values = 0.5 + 0.4 * np.stack(waves).reshape(3, frames, height, width)
    values[:, :, 4:9, 5:12] = source.random((3, frames, 1, 1))
    return torch.from_numpy(values).float().clamp(0, 1)


def noisy(truth: Tensor, strength: float = 0.1) -> Tensor:
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(9))
    return (truth + strength * noise).clamp(0, 1)


def blurred(truth: Tensor, side: int = 5) -> Tensor:
    return torch.nn.functional.avg_pool2d(truth, side, stride=1, padding=side // 2, count_include_pad=False)


def ssim_by_definition(made: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Wang et al. 2004, window by window: weighted mean, variance and covariance, one window at a time."""
    grid = np.arange(11) - 5
    window = np.exp(-(grid[:, None] ** 2 + grid[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = 0.01**2, 0.03**2
    _, frames, height, width = made.shape
    scores = np.zeros(frames)
    for frame in range(frames):
        found = []
        for colour in range(3):
            for y in range(height - 10):
                for x in range(width - 10):
                    a = made[colour, frame, y : y + 11, x : x + 11].astype(np.float64)
                    b = truth[colour, frame, y : y + 11, x : x + 11].astype(np.float64)
                    ma, mb = (window * a).sum(), (window * b).sum()
                    va, vb = (window * (a - ma) ** 2).sum(), (window * (b - mb) ** 2).sum()
                    both = (window * (a - ma) * (b - mb)).sum()
                    found.append((2 * ma * mb + c1) * (2 * both + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))
        scores[frame] = np.mean(found)
    return scores


@pytest.mark.parametrize("strength", [0.02, 0.3])
def test_ssim_is_what_its_paper_says(strength: float) -> None:
    truth = video(size=(14, 16))
    made = noisy(truth, strength)
    expected = ssim_by_definition(made.numpy(), truth.numpy())
    assert ssim(made, truth).numpy() == pytest.approx(expected, abs=1e-6)


def test_equal_is_1_and_worse_is_less() -> None:
    truth = video()
    assert ssim(truth, truth).tolist() == pytest.approx([1.0, 1.0])
    scores = [float(ssim(noisy(truth, strength), truth).mean()) for strength in (0.05, 0.1, 0.3)]
    assert 1 > scores[0] > scores[1] > scores[2]
    assert ssim(1 - truth, truth).max() < 0.5


def test_ssim_does_not_care_which_is_the_truth_and_each_frame_counts_alone() -> None:
    truth = video()
    made = truth.clone()
    made[:, 1] = noisy(truth)[:, 1]
    assert torch.allclose(ssim(made, truth), ssim(truth, made))
    first, second = ssim(made, truth).tolist()
    assert first == pytest.approx(1.0) and second < 0.95


def test_a_constant_shift_costs_little_ssim_and_much_psnr() -> None:
    truth = video() * 0.8
    assert ssim(truth + 0.1, truth).min() > 0.9
    assert psnr(truth + 0.1, truth).tolist() == pytest.approx([20.0, 20.0], abs=1e-3)


@pytest.mark.parametrize(("error", "decibels"), [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0)])
def test_psnr_is_the_logarithm_of_the_squared_error(error: float, decibels: float) -> None:
    black = torch.zeros(3, 2, 12, 12)
    assert psnr(black + error, black).tolist() == pytest.approx([decibels] * 2, abs=1e-3)
    assert torch.isinf(psnr(black, black)).all()


def test_blur_takes_sharpness_away_and_colour_does_not_make_it() -> None:
    truth = video()
    assert (sharpness(blurred(truth)) < 0.85 * sharpness(truth)).all()
    assert (sharpness(blurred(truth, 9)) < sharpness(blurred(truth, 3))).all()
    assert (sharpness(torch.full((3, 2, 12, 12), 0.3)) == 0).all()
    colours = torch.rand(3, 2, 1, 1).expand(3, 2, 12, 12)
    assert (sharpness(colours) == 0).all()


def test_sharpness_of_one_edge_is_its_height_over_the_width() -> None:
    edge = torch.zeros(3, 1, 10, 11)
    edge[:, :, :, 5:] = 0.5
    assert sharpness(edge).tolist() == pytest.approx([0.5 / 10])
    assert torch.allclose(sharpness(edge), sharpness(edge.transpose(2, 3)))
