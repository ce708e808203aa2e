"""I3D on Kinetics-400, the port that was published with StyleGAN-V: a TorchScript program, features of 400 numbers.

Source of the network: Carreira and Zisserman 2017 (arXiv 1705.07750). The program is called with

- `rescale=False`: pictures are in [-1, 1] already; true would take 0 to 255,
- `resize=False`: they are 224 pixels a side already; true would resize them,
- `return_features=True`: the 400 numbers in front of the softmax; false gives probabilities.

The port of VideoGPT (`i3d_pretrained_400.pt`) gives other numbers: distances of the two must not be compared.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvie.errors import WeightsError
from longvie.evaluation.networks.files import program

WIDTH = 400


class I3d(nn.Module):
    """Windows to features."""

    def __init__(self, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.run = run

    def forward(self, windows: Float[Tensor, "n 3 f h w"]) -> Float[Tensor, "n d"]:
        """RGB in [-1, 1], 16 frames of 224 pixels a side as published.

        Raises:
            WeightsError: the program does not take these arguments, or gives something else than 400 numbers.
        """
        try:
            features = self.run(windows, rescale=False, resize=False, return_features=True)
        except (RuntimeError, TypeError) as reason:
            raise WeightsError("the program is not the I3D of StyleGAN-V: it failed on a window") from reason
        if not isinstance(features, Tensor) or features.shape != (len(windows), WIDTH):
            raise WeightsError(f"the program is not the I3D of StyleGAN-V: it gave no {WIDTH} features for a window")
        return features


def i3d(path: Path) -> I3d:
    """Of `i3d_torchscript.pt`.

    Raises:
        WeightsError: it is no TorchScript archive.
    """
    run = program(path)
    if isinstance(run, torch.nn.Module):
        run.eval()
    return I3d(run)
