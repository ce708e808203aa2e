"""MUSIQ: the published layout, and the same ratings as a plain reading of its description."""

import math

import pytest
import torch
from networks_made import parameters, random, shapes
from torch import Tensor
from torch.nn import functional

from longvie.errors import WeightsError
from longvie.evaluation.networks import musiq as module
from longvie.evaluation.networks.musiq import Musiq, laid, musiq, same, shrunk

PUBLISHED = (64, 384, 1152, 14, 10)
SMALL = (32, 24, 48, 2, 10)


def layout(stem: int, width: int, wide: int, depth: int, grid: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file."""
    found: dict[str, tuple[int, ...]] = {
        "conv_root.weight": (stem, 3, 7, 7), "gn_root.weight": (stem,), "gn_root.bias": (stem,),
        "block1.conv1.weight": (stem, stem, 1, 1), "block1.conv2.weight": (stem, stem, 3, 3),
        "block1.conv3.weight": (4 * stem, stem, 1, 1), "block1.conv_proj.weight": (4 * stem, stem, 1, 1),
        "embedding.weight": (width, 256 * stem), "embedding.bias": (width,),
        "head.weight": (1, width), "head.bias": (1,), "transformer_encoder.cls": (1, 1, width),
        "transformer_encoder.posembed_input.position_emb": (1, grid**2, width),
        "transformer_encoder.scaleembed_input.scale_emb": (3, width),
        "transformer_encoder.encoder_norm.weight": (width,), "transformer_encoder.encoder_norm.bias": (width,),
    }  # fmt: skip
    for norm, channels in (("gn1", stem), ("gn2", stem), ("gn3", 4 * stem), ("gn_proj", 4 * stem)):
        found |= {f"block1.{norm}.weight": (channels,), f"block1.{norm}.bias": (channels,)}
    for number in range(depth):
        block = f"transformer_encoder.transformer.encoderblock_{number}"
        for part in ("query", "key", "value", "out"):
            found |= {f"{block}.attention.{part}.weight": (width, width), f"{block}.attention.{part}.bias": (width,)}
        for part in ("norm1", "norm2"):
            found |= {f"{block}.{part}.weight": (width,), f"{block}.{part}.bias": (width,)}
        found |= {f"{block}.mlp.fc1.weight": (wide, width), f"{block}.mlp.fc1.bias": (wide,)}
        found |= {f"{block}.mlp.fc2.weight": (width, wide), f"{block}.mlp.fc2.bias": (width,)}
    return found


def test_the_layout_is_the_published_one() -> None:
    with torch.device("meta"):
        network = Musiq(*PUBLISHED)
    assert shapes(network) == layout(*PUBLISHED)
    assert 27.0e6 < parameters(network) < 27.5e6  # the paper says 27 million


class Reference:
    """One picture at a time, patch by patch, from tensors by name."""

    def __init__(self, named: dict[str, Tensor]) -> None:
        self.named = {name: tensor.double() for name, tensor in named.items()}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.named[f"{name}.weight"].T + self.named[f"{name}.bias"]

    def normed(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        return scaled * self.named[f"{name}.weight"] + self.named[f"{name}.bias"]

    def grouped(self, name: str, x: Tensor, eps: float) -> Tensor:
        """x: (c, y, x) in 32 groups of channels."""
        groups = x.unflatten(0, (32, -1)).flatten(1)
        groups = (groups - groups.mean(1, keepdim=True)) / (groups.var(1, unbiased=False, keepdim=True) + eps).sqrt()
        gain, shift = (self.named[f"{name}.{what}"][:, None, None] for what in ("weight", "bias"))
        return groups.view_as(x) * gain + shift

    def convolved(self, name: str, x: Tensor, pad: tuple[int, int], stride: int = 1) -> Tensor:
        """x: (c, y, x); filters with mean 0 and deviation 1 (over n - 1)."""
        filters = self.named[f"{name}.weight"].flatten(1)
        filters = filters - filters.mean(1, keepdim=True)
        deviation = (filters.square().sum(1, keepdim=True) / (filters.shape[1] - 1)).sqrt()
        weight = (filters / (deviation + 1e-5)).view_as(self.named[f"{name}.weight"])
        return functional.conv2d(functional.pad(x[None], (*pad, *pad)), weight, stride=stride)[0]

    def token(self, patch: Tensor) -> Tensor:
        """(3, 32, 32) → (d)."""
        x = self.grouped("gn_root", self.convolved("conv_root", patch, (2, 3), 2), 1e-6).clamp_min(0)  # (c, 16, 16)
        x = functional.max_pool2d(functional.pad(x[None], (0, 1, 0, 1)), 3, 2)[0]  # (c, 8, 8)
        y = self.grouped("block1.gn1", self.convolved("block1.conv1", x, (0, 0)), 1e-4).clamp_min(0)
        y = self.grouped("block1.gn2", self.convolved("block1.conv2", y, (1, 1)), 1e-4).clamp_min(0)
        y = self.grouped("block1.gn3", self.convolved("block1.conv3", y, (0, 0)), 1e-4)
        short = self.grouped("block1.gn_proj", self.convolved("block1.conv_proj", x, (0, 0)), 1e-4)
        return self.linear("embedding", (y + short).clamp_min(0).permute(1, 2, 0).flatten())

    def tokens(self, picture: Tensor, number: int) -> list[Tensor]:
        """(3, h, w) → one for each patch, with its place and size."""
        height, width = picture.shape[1:]
        rows, columns = math.ceil(height / 32), math.ceil(width / 32)
        down, across = 32 * rows - height, 32 * columns - width
        picture = functional.pad(picture, (across // 2, across - across // 2, down // 2, down - down // 2))
        found = []
        for row in range(rows):
            for column in range(columns):
                token = self.token(picture[:, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32])
                place = 10 * (row * 10 // rows) + column * 10 // columns
                place_of = self.named["transformer_encoder.posembed_input.position_emb"][0, place]
                found.append(token + place_of + self.named["transformer_encoder.scaleembed_input.scale_emb"][number])
        return found

    def rating(self, picture: Tensor) -> Tensor:
        picture = picture.double() * 2 - 1
        tokens = [self.named["transformer_encoder.cls"][0, 0]]
        for number, side in enumerate(module.SIDES):
            ratio = side / max(picture.shape[1:])
            size = [round(length * ratio) for length in picture.shape[1:]]
            tokens += self.tokens(functional.interpolate(picture[None], size=size, mode="bicubic")[0], number)
        x = torch.stack([*tokens, *self.tokens(picture, 2)])  # (n, d)
        for number in range(SMALL[3]):
            x = self.block(f"transformer_encoder.transformer.encoderblock_{number}", x)
        return self.linear("head", self.normed("transformer_encoder.encoder_norm", x[0]))

    def block(self, name: str, x: Tensor) -> Tensor:
        seen = self.normed(f"{name}.norm1", x)
        q, k, v = (self.linear(f"{name}.attention.{part}", seen).chunk(6, -1) for part in ("query", "key", "value"))
        heads = [(a @ b.T / math.sqrt(a.shape[-1])).softmax(-1) @ value for a, b, value in zip(q, k, v, strict=True)]
        x = x + self.linear(f"{name}.attention.out", torch.cat(heads, dim=-1))
        inner = self.linear(f"{name}.mlp.fc1", self.normed(f"{name}.norm2", x))
        return x + self.linear(f"{name}.mlp.fc2", inner * (1 + torch.erf(inner / math.sqrt(2))) / 2)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few patches: the published sizes have a hundred and more."""
    assert module.SIDES == (224, 384)
    monkeypatch.setattr(module, "SIDES", (60, 90))


@pytest.mark.usefixtures("small")
def test_ratings_are_those_of_the_description() -> None:
    named = random(layout(*SMALL))
    pictures = torch.rand(2, 3, 45, 70, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = musiq(named)(pictures)
        theirs = Reference(named).rating(pictures[1])
    assert ours.shape == (2, 1)
    torch.testing.assert_close(ours[1].double(), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("small")
def test_a_picture_does_not_see_its_neighbours_in_a_batch() -> None:
    network = musiq(random(layout(*SMALL)))
    pictures = torch.rand(2, 3, 40, 33)
    torch.testing.assert_close(network(pictures)[:1], network(pictures[:1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("length", "expected"), [(3, [0, 3, 6]), (10, list(range(10))), (12, None)])
def test_places_are_laid_onto_the_grid(length: int, expected: list[int] | None) -> None:
    found = laid(length, 10, torch.device("cpu")).tolist()
    assert found == (expected or [number * 10 // length for number in range(length)])


@pytest.mark.parametrize(
    ("length", "kernel", "stride", "expected"), [(32, 7, 2, (2, 3)), (16, 3, 2, (0, 1)), (8, 3, 1, (1, 1))]
)
def test_sides_are_filled_as_published(length: int, kernel: int, stride: int, expected: tuple[int, int]) -> None:
    row = same(torch.ones(1, 1, length, length), kernel, stride)[0, 0, length // 2].tolist()
    assert row == [0.0] * expected[0] + [1.0] * length + [0.0] * expected[1]


def test_the_smaller_sizes_keep_the_shape() -> None:
    assert shrunk(torch.zeros(1, 3, 352, 640), 224).shape == (1, 3, 123, 224)
    assert shrunk(torch.zeros(1, 3, 100, 50), 384).shape == (1, 3, 384, 192)


def test_another_network_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"no conv_root\.weight"):
        musiq({"weight": torch.zeros(1)})
