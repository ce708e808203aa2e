"""AlexNet's features, as LPIPS looks at them, and the published weights of its layers.

Sources: Krizhevsky 2014 (arXiv 1404.5997), in torchvision's layout; Zhang et al. 2018, LPIPS v0.1 (arXiv 1801.03924).
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvie.errors import ShapeError, WeightsError
from longvie.evaluation.networks.files import fit, size, under

LAYERS = 5
LOOKED = frozenset({1, 4, 7, 9, 11})  # places of the five layers in the row, behind their ReLU
SMALLEST = 31  # pixels a side: less leaves nothing behind the second pooling


class AlexNet(nn.Module):
    """Pictures to five layers. The classifier of the checkpoint is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        )

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n c y x"]]:
        """Raises ShapeError where pictures are too small for all layers."""
        if min(pictures.shape[-2:]) < SMALLEST:
            raise ShapeError(f"AlexNet needs pictures of at least {SMALLEST} pixels a side, not {pictures.shape[-2:]}")
        layers, x = [], pictures
        for place, step in enumerate(self.features):
            x = step(x)
            if place in LOOKED:
                layers.append(x)
        return layers


def alexnet(named: Mapping[str, Tensor]) -> AlexNet:
    """Of torchvision's checkpoint.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    with torch.device("meta"):
        network = AlexNet()
    kept = under(named, "features.")
    return fit(network, {f"features.{name}": tensor for name, tensor in kept.items()})


def heads(named: Mapping[str, Tensor]) -> list[Float[Tensor, " c"]]:
    """The weights of the layers' channels, of the published `alex.pth`.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    found = []
    for layer in range(LAYERS):
        name = f"lin{layer}.model.1.weight"
        one, channels, *kernel = size(named, name, 4)
        if (one, *kernel) != (1, 1, 1):
            raise WeightsError(f"{name} should weigh channels alone, and is {tuple(named[name].shape)}")
        found.append(named[name].float().reshape(channels))
    return found
