"""How near a video is to the truth, frame by frame: SSIM, PSNR, sharpness. Plain torch, no weights."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

WINDOW, DEVIATION = 11, 1.5  # of SSIM's Gaussian, in pixels
STABLE = (0.01, 0.03)  # K1 and K2

Video = Float[Tensor, "3 f h w"]  # in [0, 1]


def ssim(made: Video, truth: Video) -> Float[Tensor, " f"]:
    """Structural similarity of each frame, mean over pixels and colours; 1 is equal.

    Wang et al. 2004: Gaussian window of 11 pixels, deviation 1.5, K = (0.01, 0.03), range 1; borders where the window
    does not fit are left out.
    """
    x, y = (video.transpose(0, 1).double().flatten(0, 1)[:, None] for video in (made, truth))  # (f 3, 1, h, w)
    return ssim_map(x, y).mean(dim=(1, 2, 3)).unflatten(0, (-1, 3)).mean(1).float()


def ssim_map(x: Float[Tensor, "n 1 h w"], y: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 y x"]:
    """Structural similarity around every pixel where the window fits; has a gradient."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    both = _blurred(x * y) - mean_x * mean_y
    c1, c2 = (k**2 for k in STABLE)
    return (2 * mean_x * mean_y + c1) * (2 * both + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))


def psnr(made: Video, truth: Video) -> Float[Tensor, " f"]:
    """Peak signal to noise of each frame, decibels; infinite where equal."""
    return -10 * torch.log10((made.double() - truth.double()).square().mean(dim=(0, 2, 3))).float()


def sharpness(video: Video) -> Float[Tensor, " f"]:
    """Mean size of the gradient of the grey picture: what blur takes away. Divide by the truth's for a ratio."""
    grey = video.mean(0)
    return grey.diff(dim=1).abs().mean(dim=(1, 2)) + grey.diff(dim=2).abs().mean(dim=(1, 2))


def _blurred(pictures: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n 1 y x"]:
    at = torch.arange(WINDOW, dtype=pictures.dtype, device=pictures.device) - WINDOW // 2
    kernel = torch.exp(-0.5 * (at / DEVIATION) ** 2)
    kernel = kernel / kernel.sum()
    return functional.conv2d(functional.conv2d(pictures, kernel[None, None, :, None]), kernel[None, None, None])
