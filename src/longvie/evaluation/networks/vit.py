"""DINO and DINOv2: vision transformers that turn a picture into the feature of its class token.

Sources: Caron et al. 2021 (arXiv 2104.14294); Oquab et al. 2023 (arXiv 2304.07193); both after Dosovitskiy et al. 2020
(arXiv 2010.11929). Pictures of any size: the learnt positions are stretched over their patches.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvie.errors import ShapeError, WeightsError
from longvie.evaluation.networks.files import count, fit, size

HEAD = 64  # width of a head, in every one of them
EPS = 1e-6
NUDGE = 0.1  # of a patch, added to the side before positions are stretched, as in both publications
SPARE = frozenset({"mask_token"})  # of DINOv2's training


@dataclass(frozen=True)
class Sizes:
    """What differs from one to the other; read off the checkpoint."""

    width: int
    depth: int
    patch: int  # pixels a side
    side: int  # patches a side of the pictures that positions were learnt on
    scaled: bool  # DINOv2: each branch has a gain for every channel

    @classmethod
    def of(cls, named: Mapping[str, Tensor]) -> "Sizes":
        """Raises WeightsError where these are no tensors of such a network."""
        width, _, patch, _ = size(named, "patch_embed.proj.weight", 4)
        _, places, _ = size(named, "pos_embed", 3)
        side = round((places - 1) ** 0.5)
        if side * side != places - 1 or width % HEAD:
            raise WeightsError(f"{places} positions of {width} numbers are not those of a square of patches")
        return cls(width, count(named, "blocks."), patch, side, "blocks.0.ls1.gamma" in named)


class Attention(nn.Module):
    """Every token looks at every token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, HEAD)).permute(2, 0, 3, 1, 4)  # each (b, m, n, e)
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Each token for itself."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.fc2(functional.gelu(self.fc1(x)))


class Gain(nn.Module):
    """A factor for every channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return x * self.gamma


class Block(nn.Module):
    """Attention, then each token for itself, both added to what came."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(sizes.width, eps=EPS), Attention(sizes.width)
        self.norm2, self.mlp = nn.LayerNorm(sizes.width, eps=EPS), Mlp(sizes.width)
        self.ls1, self.ls2 = (Gain(sizes.width) if sizes.scaled else nn.Identity() for _ in range(2))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Vit(nn.Module):
    """Pictures, normalised as ImageNet's, to one feature each."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.side**2 + 1, sizes.width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, sizes.width, sizes.patch, sizes.patch)})
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(sizes.width, eps=EPS)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """The class token behind the last norm. What does not fill a patch, at the right and below, is not seen.

        Raises:
            ShapeError: a picture smaller than a patch.
        """
        if min(pictures.shape[-2:]) < self.sizes.patch:
            raise ShapeError(f"a picture of {tuple(pictures.shape[-2:])} has no whole patch of {self.sizes.patch}")
        patches = self.patch_embed["proj"](pictures)  # (n, d, y, x)
        tokens = patches.flatten(2).transpose(1, 2) + self.places(*patches.shape[-2:])
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        x = torch.cat([first, tokens], dim=1)  # (n, 1 + y x, d)
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0])

    def places(self, rows: int, columns: int) -> Float[Tensor, "1 n d"]:
        """The learnt positions, stretched bicubically over so many patches. The published stretch is by
        (patches + 0.1) / side, a hair more than fits."""
        learnt = self.pos_embed[:, 1:]
        side = self.sizes.side
        if rows == columns == side:
            return learnt
        grid = learnt.unflatten(1, (side, side)).permute(0, 3, 1, 2)  # (1, d, y, x)
        by = ((rows + NUDGE) / side, (columns + NUDGE) / side)
        return functional.interpolate(grid, scale_factor=by, mode="bicubic").flatten(2).transpose(1, 2)


def vit(named: Mapping[str, Tensor]) -> Vit:
    """DINO ViT-B/16, DINOv2 ViT-B/14, or any other of their layout.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    sizes = Sizes.of(named)
    with torch.device("meta"):
        network = Vit(sizes)
    return fit(network, named, SPARE)
