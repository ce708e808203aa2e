"""What the instruments are built of: pictures as they see them, plain convolutions, a small U-Net."""

from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from longvie.media import resize_frames

SIZE = (96, 176)  # height and width at which every instrument sees
WIDTHS = (16, 32, 48, 64)  # channels at a half, a quarter, an eighth and a sixteenth of the picture's side


def seen(pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n 3 y x"]:
    """Pictures of any size as every instrument sees them: averaged by area to 96×176, in [-1, 1].

    Raises:
        ShapeError: not pictures.
    """
    return unit(torch.from_numpy(np.ascontiguousarray(resize_frames(pictures, SIZE))))


def unit(pictures: UInt8[Tensor, "n y x 3"]) -> Float[Tensor, "n 3 y x"]:
    """From bytes to [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def convolution(ins: int, outs: int, stride: int = 1) -> nn.Sequential:
    """3×3, normed over the batch, rectified."""
    return nn.Sequential(nn.Conv2d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm2d(outs), nn.ReLU())


def channels_last(network: nn.Module) -> None:
    """Weights of plain convolutions as `unit` leaves pictures, channels last: a third faster on a CPU."""
    for weight in network.parameters():
        if weight.ndim == 4:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)


class Unet(nn.Module):
    """Down to a sixteenth of the side and up again (Ronneberger et al. 2015), knowing where in the picture it is."""

    def __init__(self, finest: int) -> None:
        """
        Args:
            finest: where it ends, place in `WIDTHS`.
        """
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        pairs = list(pairwise(WIDTHS))
        self.first = convolution(14, WIDTHS[0])  # 12 values of 2×2 pixels, and the place
        self.down = nn.ModuleList(nn.Sequential(convolution(a, b, 2), convolution(b, b)) for a, b in pairs)
        self.up = nn.ModuleList(convolution(a + b, a) for a, b in reversed(pairs[finest:]))
        channels_last(self)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n c y x"], Float[Tensor, "n d v u"]]:
        """The finest map, and the coarsest."""
        halved = self.unshuffle(pictures)
        maps = [self.first(torch.cat([halved, _place(halved)], 1))]
        for stage in self.down:
            maps.append(stage(maps[-1]))
        bottom = now = maps.pop()
        for stage in self.up:
            beside = maps.pop()
            now = stage(torch.cat([beside, functional.interpolate(now, beside.shape[-2:])], 1))
        return now, bottom


def _place(like: Float[Tensor, "n c y x"]) -> Float[Tensor, "n 2 y x"]:
    """How far down and to the right, in [-1, 1]."""
    rows, columns = (torch.linspace(-1, 1, side, device=like.device) for side in like.shape[-2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(like), -1, -1, -1)
