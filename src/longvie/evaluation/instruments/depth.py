"""Inverse depth out of one picture, up to a scale and a shift, and how far it is from depth that was commanded."""

from functools import cache

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from longvie.evaluation.instruments.nets import WIDTHS, Unet, seen
from longvie.evaluation.instruments.store import restored

GRID = (24, 44)  # cells of a reading
FAR = 20.0  # metres: what is farther, and sky, is left out
LEAST = 1 / (2 * FAR)  # 1 / metres: a reading never counts as farther
ROUNDS = 4  # of the fit
CLOSE = 1.25  # ratio up to which depth counts as right (Eigen et al. 2014)


class DepthNet(nn.Module):
    """A picture → the logarithm of its disparity, at a quarter of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Unet(finest=1)
        self.head = nn.Conv2d(WIDTHS[1], 1, 1)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n y x"]:
        """In logarithms of 1 / metres, as far as one picture can tell metres."""
        return self.head(self.body(pictures)[0])[:, 0] - 2.0  # the world's middle: 7 m


@cache
def instrument() -> DepthNet:
    """The trained one.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    return restored(DepthNet(), "depth")


@torch.inference_mode()
def disparity(pictures: UInt8[np.ndarray, "n h w 3"], net: DepthNet | None = None) -> Float[np.ndarray, "n y x"]:
    """What pictures of any size show, on a grid of 24×44; 1 / metres, to be fitted by `fitted` before it is used.

    Raises:
        ShapeError: not pictures.
        WeightsError: the instrument's file is missing or damaged.
    """
    return (instrument() if net is None else net)(seen(pictures)).exp().numpy()


def commanded(depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "y x"]:
    """Mean disparity of each cell of the grid, 1 / metres; 0 where a part of it is sky or farther than `FAR`.

    Args:
        depth: metres along the camera's axis, inf or 0 where there is none.
    """
    near = np.divide(1, depth, out=np.zeros(depth.shape, np.float32), where=depth > 0)
    counts = (near >= 1 / FAR).astype(np.float32)
    mean, share = (cv2.resize(of, GRID[::-1], interpolation=cv2.INTER_AREA) for of in (near, counts))
    return np.where(share > 0.999, mean, np.float32(0))


def fitted(read: Float[np.ndarray, " n"], true: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The reading a p + b under the one scale and shift with the least squared error of its logarithm.

    Scale and shift of disparity are what one picture cannot tell (Ranftl et al. 2020, arXiv 1907.01341). Found as least
    squares of a p + b − q, weighed by 1 / (q f) with q the true disparity and f the fit before; `LEAST` at least.
    """
    sides = np.stack([read, np.ones_like(read)], 1).astype(np.float64)
    fit = true.astype(np.float64)
    for _ in range(ROUNDS):
        weight = 1 / np.sqrt(true * fit)
        solved, *_ = np.linalg.lstsq(sides * weight[:, None], true * weight, rcond=None)
        fit = np.maximum(sides @ solved, LEAST)
    return fit.astype(np.float32)


def errors(
    fit: Float[np.ndarray, " n"], true: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """|z' / z − 1| of depths z' = 1 / fit and z = 1 / true; and which are right within `CLOSE`."""
    ratio = true / fit
    return np.abs(ratio - 1), np.maximum(ratio, 1 / ratio) < CLOSE
