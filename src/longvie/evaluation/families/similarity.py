"""How near each frame is to the truth's: SSIM, PSNR, MS-SSIM. Not measures of control: slightly wrong geometry costs
more than wrong colours."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from longvie.evaluation.fidelity import DEVIATION, STABLE, WINDOW
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Refused, Value
from longvie.evaluation.tally import Tally

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # weights of MS-SSIM's five scales (Wang et al. 2003)
MOST = 100.0  # decibels of a frame without any error
KERNEL = cv2.getGaussianKernel(WINDOW, DEVIATION, cv2.CV_32F)

Bytes = UInt8[np.ndarray, "h w 3"]
Picture = Float[np.ndarray, "h w 3"]  # in [0, 1]


class Similarity:
    """Mean over frames of each."""

    def __init__(self, facts: Facts) -> None:
        self.ssim, self.psnr, self.msssim = (Tally(facts.fps) for _ in range(3))
        self.weights = weights(*facts.size)

    def see(self, moment: Moment) -> None:
        made, truth = moment.picture, moment.true.picture
        self.psnr.add(moment.time, psnr(made, truth))
        likeness, over_scales = similar(made, truth, self.weights)
        self.ssim.add(moment.time, likeness)
        if self.weights:
            self.msssim.add(moment.time, over_scales)

    def values(self) -> dict[str, Value | Refused]:
        small = Refused("pictures of less than 44 pixels a side have no second scale")
        return {
            "ssim": self.ssim.mean(),
            "psnr": self.psnr.mean(),
            "ms_ssim": self.msssim.mean() if self.weights else small,
        }


def psnr(made: Bytes, truth: Bytes) -> float:
    """Decibels; `MOST` where equal."""
    squares = cv2.norm(made, truth, cv2.NORM_L2SQR) / made.size / 255**2
    return min(MOST, -10 * float(np.log10(squares))) if squares else MOST


def similar(made: Bytes, truth: Bytes, scales: tuple[float, ...]) -> tuple[float, float]:
    """SSIM, and MS-SSIM with these weights of its scales; equal pictures have 1."""
    x, y = (np.multiply(picture, np.float32(1 / 255), dtype=np.float32) for picture in (made, truth))
    whole, structure = _likeness(x, y)
    finest, product = whole, 1.0
    for scale, weight in enumerate(scales):
        last = scale == len(scales) - 1
        product *= max(0.0, whole if last else structure) ** weight
        if not last:
            x, y = _halved(x), _halved(y)
            whole, structure = _likeness(x, y)
    return finest, product


def _likeness(x: Picture, y: Picture) -> tuple[float, float]:
    """Mean SSIM, and the mean of its contrast and structure alone.

    From the sum s and the difference d of the pictures, which takes four blurs instead of five: 4xy = s^2 - d^2, and
    2(x^2 + y^2) = s^2 + d^2.
    """
    light, dark = (2 * k * k for k in STABLE)
    s, d = x + y, x - y
    mean_s, mean_d, square_s, square_d = (_blurred(it) for it in (s, d, s * s, d * d))
    mean_s *= mean_s
    mean_d *= mean_d
    square_s -= mean_s  # variances, from here on
    square_d -= mean_d
    structure = (square_s - square_d + dark) / (square_s + square_d + dark)
    brightness = (mean_s - mean_d + light) / (mean_s + mean_d + light)
    return float((structure * brightness).mean(dtype=np.float64)), float(structure.mean(dtype=np.float64))


def _blurred(picture: Picture) -> Float[np.ndarray, "y x 3"]:
    """Where the window fits."""
    edge = WINDOW // 2
    return cv2.sepFilter2D(picture, -1, KERNEL, KERNEL)[edge:-edge, edge:-edge]


def _halved(picture: Picture) -> Float[np.ndarray, "y x 3"]:
    """Every pixel the mean of four; an odd row or column is left out."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    return cv2.resize(picture[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)


def weights(height: int, width: int) -> tuple[float, ...]:
    """Of as many of the five scales as have more than two windows a side, made to sum to 1; none of less than two."""
    fits = [n for n in range(2, 6) if min(height, width) >= 2**n * WINDOW]
    some = SCALES[: max(fits, default=0)]
    return tuple(weight / sum(some) for weight in some)


FAULTS = ("noise", "blur", "camera", "geometry", "lag")
FAMILY = Family(
    "similarity",
    (
        Metric(
            "ssim", 1, "structural similarity",
            "mean over frames and RGB of SSIM: Gaussian window 11, deviation 1.5, K = (0.01, 0.03), range 1, without "
            "borders (Wang et al. 2004)",
            "", "higher", (-1.0, 1.0), frozenset({"truth"}), sees=FAULTS,
        ),
        Metric(
            "psnr", 1, "peak signal to noise",
            "mean over frames of -10 log10 of the mean squared error in [0, 1], at most 100",
            "dB", "higher", (0.0, MOST), frozenset({"truth"}), sees=FAULTS,
        ),
        Metric(
            "ms_ssim", 1, "structural similarity over scales",
            "MS-SSIM (Wang et al. 2003) over RGB, negative means as 0, five scales; fewer, with the first weights made "
            "to sum to 1, where the coarsest would be less than 22 px a side",
            "", "higher", (0.0, 1.0), frozenset({"truth"}), sees=FAULTS,
        ),
    ),
    Similarity,
)  # fmt: skip
