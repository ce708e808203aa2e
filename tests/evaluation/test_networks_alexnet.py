"""AlexNet and the heads of LPIPS: the published layouts, and the same layers as plain convolutions give."""

from pathlib import Path

import pytest
import torch
from networks_made import parameters, random, shapes
from torch import Tensor
from torch.nn import functional

from longvie.errors import ShapeError, WeightsError
from longvie.evaluation.networks.alexnet import AlexNet, alexnet, heads
from longvie.evaluation.networks.shelf import Shelf

CONVOLUTIONS = {0: (64, 3, 11), 3: (192, 64, 5), 6: (384, 192, 3), 8: (256, 384, 3), 10: (256, 256, 3)}
CHANNELS = (64, 192, 384, 256, 256)


def layout() -> dict[str, tuple[int, ...]]:
    """Names and shapes of torchvision's file, without the classifier."""
    found: dict[str, tuple[int, ...]] = {}
    for place, (after, before, kernel) in CONVOLUTIONS.items():
        found |= {f"features.{place}.weight": (after, before, kernel, kernel), f"features.{place}.bias": (after,)}
    return found


def test_the_layout_is_the_published_one() -> None:
    with torch.device("meta"):
        network = AlexNet()
    assert shapes(network) == layout()
    assert parameters(network) == 2_469_696


def by_definition(named: dict[str, Tensor], x: Tensor) -> list[Tensor]:
    def conv(place: int, x: Tensor, stride: int, padding: int) -> Tensor:
        weight, bias = named[f"features.{place}.weight"], named[f"features.{place}.bias"]
        return functional.conv2d(x, weight, bias, stride, padding).clamp_min(0)

    first = conv(0, x, 4, 2)
    second = conv(3, functional.max_pool2d(first, 3, 2), 1, 2)
    third = conv(6, functional.max_pool2d(second, 3, 2), 1, 1)
    fourth = conv(8, third, 1, 1)
    return [first, second, third, fourth, conv(10, fourth, 1, 1)]


def test_layers_are_those_behind_each_relu() -> None:
    named = random(layout(), scale=0.05)
    pictures = torch.randn(2, 3, 64, 40, generator=torch.Generator().manual_seed(1))
    ours = alexnet(named | {"classifier.1.weight": torch.zeros(4, 4)})(pictures)
    for layer, expected, channels in zip(ours, by_definition(named, pictures), CHANNELS, strict=True):
        assert layer.shape[1] == channels
        torch.testing.assert_close(layer, expected)


def test_heads_are_read_in_order(tmp_path: Path) -> None:
    named = {f"lin{layer}.model.1.weight": torch.rand(1, channels, 1, 1) for layer, channels in enumerate(CHANNELS)}
    torch.save(named, tmp_path / "alex.pth")
    (read,) = Shelf({"lpips-alex": str(tmp_path / "alex.pth")}).take("lpips-heads")
    assert [len(head) for head in read()] == list(CHANNELS)
    assert torch.equal(read()[3], named["lin3.model.1.weight"].flatten())


def test_others_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"no lin0\.model\.1\.weight"):
        heads({"weight": torch.zeros(1)})
    with pytest.raises(WeightsError, match="should weigh channels alone"):
        heads({"lin0.model.1.weight": torch.zeros(1, 64, 3, 3)})
    with pytest.raises(WeightsError, match=r"features\.0\.weight is missing"):
        alexnet({"conv1.weight": torch.zeros(1)})
    with pytest.raises(ShapeError, match="at least 31 pixels"):
        alexnet(random(layout()))(torch.zeros(1, 3, 30, 40))
    assert alexnet(random(layout()))(torch.zeros(1, 3, 31, 31))[-1].shape == (1, 256, 1, 1)
