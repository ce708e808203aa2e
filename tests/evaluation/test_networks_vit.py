"""DINO and DINOv2: the published layout, and the same features as another implementation gives."""

import re

import pytest
import torch
from networks_made import parameters, random, shapes
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model, ViTConfig, ViTModel

from longvie.errors import ShapeError, WeightsError
from longvie.evaluation.networks.vit import Sizes, Vit, vit

DINO = Sizes(768, 12, patch=16, side=14, scaled=False)
DINO2 = Sizes(768, 12, patch=14, side=37, scaled=True)
SMALL = Sizes(128, 2, patch=4, side=3, scaled=False)
SMALL2 = Sizes(128, 2, patch=4, side=3, scaled=True)
BLOCK = {
    "norm1.weight": (768,), "norm1.bias": (768,), "attn.qkv.weight": (2304, 768), "attn.qkv.bias": (2304,),
    "attn.proj.weight": (768, 768), "attn.proj.bias": (768,), "norm2.weight": (768,), "norm2.bias": (768,),
    "mlp.fc1.weight": (3072, 768), "mlp.fc1.bias": (3072,), "mlp.fc2.weight": (768, 3072), "mlp.fc2.bias": (768,),
}  # fmt: skip


def published(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file."""
    blocks = BLOCK | ({"ls1.gamma": (768,), "ls2.gamma": (768,)} if sizes.scaled else {})
    found = {f"blocks.{number}.{name}": shape for number in range(12) for name, shape in blocks.items()}
    return found | {
        "cls_token": (1, 1, 768),
        "pos_embed": (1, sizes.side**2 + 1, 768),
        "patch_embed.proj.weight": (768, 3, sizes.patch, sizes.patch),
        "patch_embed.proj.bias": (768,),
        "norm.weight": (768,),
        "norm.bias": (768,),
    }


@pytest.mark.parametrize(("sizes", "count"), [(DINO, 85_798_656), (DINO2, 86_580_480 - 768)])  # without a mask token
def test_the_layout_is_the_published_one(sizes: Sizes, count: int) -> None:
    with torch.device("meta"):
        network = Vit(sizes)
        named = {name: torch.zeros(shape) for name, shape in published(sizes).items()}
    assert shapes(network) == published(sizes)
    assert parameters(network) == count
    assert Sizes.of(named) == sizes


OUTSIDE = {
    "embeddings.cls_token": "cls_token", "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj", "layernorm": "norm",
}  # fmt: skip
PARTS = {
    "attn.proj": r"o_proj|attention\.output\.dense", "norm1": r"norm1|layernorm_before",
    "norm2": r"norm2|layernorm_after", "mlp.fc1": r"fc1|intermediate\.dense", "mlp.fc2": r"fc2|output\.dense",
    "ls1": "layer_scale1", "ls2": "layer_scale2",
}  # fmt: skip


def of_theirs(name: str, named: dict[str, Tensor]) -> Tensor:
    """The tensor that transformers calls by this name; its versions call some by other names."""
    if name == "embeddings.mask_token":
        return torch.zeros(1, 128)
    start, _, last = name.rpartition(".")
    if name in OUTSIDE or start in OUTSIDE:
        return named[OUTSIDE.get(name) or f"{OUTSIDE[start]}.{last}"]
    block = f"blocks.{next(part for part in name.split('.') if part.isdigit())}"
    for number, part in enumerate((r"q_proj|query", r"k_proj|key", r"v_proj|value")):
        if re.search(part, start):
            return named[f"{block}.attn.qkv.{last}"].chunk(3)[number]
    part = next(part for part, pattern in PARTS.items() if re.search(rf"[.]({pattern})$", start))
    return named[f"{block}.{part}.{'gamma' if last == 'lambda1' else last}"]


def other(named: dict[str, Tensor], sizes: Sizes) -> ViTModel | Dinov2Model:
    """The implementation of transformers with the same weights."""
    sized = {
        "hidden_size": sizes.width, "num_hidden_layers": sizes.depth, "num_attention_heads": sizes.width // 64,
        "image_size": sizes.patch * sizes.side, "patch_size": sizes.patch,
    }  # fmt: skip
    if sizes.scaled:
        model = Dinov2Model(Dinov2Config(**sized, layer_norm_eps=1e-6))
    else:
        config = ViTConfig(**sized, intermediate_size=4 * sizes.width, layer_norm_eps=1e-6)
        model = ViTModel(config, add_pooling_layer=False)
    model.load_state_dict({name: of_theirs(name, named) for name in model.state_dict()})
    return model.eval()


@pytest.mark.parametrize("sizes", [SMALL, SMALL2])
def test_features_are_those_of_another_implementation(sizes: Sizes) -> None:
    with torch.device("meta"):
        wanted = shapes(Vit(sizes))
    named = random(wanted)
    pictures = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    ours = vit(named | {"mask_token": torch.zeros(1, sizes.width)})(pictures)
    with torch.no_grad():
        expected = other(named, sizes)(pictures).last_hidden_state[:, 0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


def cubic(at: float) -> list[float]:
    """Weights of the four neighbours of a place (Keys 1981, a = -0.75)."""

    def near(x: float) -> float:
        return 1.25 * x**3 - 2.25 * x**2 + 1

    def far(x: float) -> float:
        return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4)

    return [far(1 + at), near(at), near(1 - at), far(2 - at)]


def stretched(line: Tensor, length: int, by: float) -> Tensor:
    """(n, d) to (length, d), from the middles of equal parts whose width is 1 / by."""
    found = []
    for number in range(length):
        place = (number + 0.5) / by - 0.5
        start = int(place // 1)
        rows = [line[min(max(start + step, 0), len(line) - 1)] for step in (-1, 0, 1, 2)]
        found.append(sum(weight * row for weight, row in zip(cubic(place - start), rows, strict=True)))
    return torch.stack(found)


def test_positions_are_stretched_as_published() -> None:
    """Bicubically, by a tenth of a patch more than the picture is larger."""
    with torch.device("meta"):
        wanted = shapes(Vit(SMALL))
    network = vit(random(wanted))
    grid = network.pos_embed[0, 1:].unflatten(0, (3, 3)).double()  # (y, x, d)
    rows = stretched(grid.flatten(1), 5, 5.1 / 3).unflatten(1, (3, 128)).transpose(0, 1)
    expected = stretched(rows.flatten(1), 7, 7.1 / 3).unflatten(1, (5, 128)).transpose(0, 1)  # (y, x, d)
    torch.testing.assert_close(network.places(5, 7)[0].double(), expected.flatten(0, 1), atol=1e-5, rtol=1e-5)
    assert network(torch.randn(1, 3, 22, 28)).shape == (1, 128)  # two rows of pixels fill no patch


def test_what_is_no_such_network_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"no patch_embed\.proj\.weight of 4 dimensions"):
        vit({"conv1.weight": torch.zeros(1)})
    with torch.device("meta"):
        wanted = shapes(Vit(SMALL))
    with pytest.raises(WeightsError, match="not those of a square"):
        vit(random(wanted | {"pos_embed": (1, 12, 128)}))
    with pytest.raises(ShapeError, match="no whole patch of 4"):
        vit(random(wanted))(torch.zeros(1, 3, 3, 9))
