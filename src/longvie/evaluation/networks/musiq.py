"""MUSIQ: the quality of a picture from its patches at three sizes.

Source: Ke et al. 2021 (arXiv 2108.05997). The published weights in PyTorch's form (trained on SPAQ, ratings from 0 to
100) were carried over from TensorFlow, which is why sides are filled up as TensorFlow does it and channels come last
where patches become tokens. Parts are named as in that file. Pictures are seen whole and in any shape: nothing is cut.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from longvie.evaluation.networks.files import count, fit, size, under

PATCH = 32  # pixels a side
SIDES = (224, 384)  # pixels of the longer side of the two smaller sizes; the third is the picture's own
GROUPS = 32  # of channels that are normed together
HEADS = 6
EPS = 1e-6


class Standardised(nn.Conv2d):
    """A convolution whose filters have mean 0 and deviation 1, on sides filled up with zeros."""

    def __init__(self, before: int, after: int, kernel: int, stride: int = 1) -> None:
        super().__init__(before, after, kernel, stride, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k y x"]:
        over = (1, 2, 3)
        weight = self.weight - self.weight.mean(over, keepdim=True)
        weight = weight / (weight.std(over, keepdim=True) + 1e-5)
        return functional.conv2d(same(x, self.kernel_size[0], self.stride[0]), weight, stride=self.stride)


def same(x: Float[Tensor, "n c h w"], kernel: int, stride: int) -> Float[Tensor, "n c y x"]:
    """Filled up with zeros so that every stride gives one number; what is odd goes to the right and below."""
    missing = [max(0, (math.ceil(length / stride) - 1) * stride + kernel - length) for length in x.shape[-2:]]
    return functional.pad(x, [share for it in reversed(missing) for share in (it // 2, it - it // 2)])


class Bottleneck(nn.Module):
    """Three convolutions beside one that only widens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.gn1 = Standardised(width, width, 1), nn.GroupNorm(GROUPS, width, eps=1e-4)
        self.conv2, self.gn2 = Standardised(width, width, 3), nn.GroupNorm(GROUPS, width, eps=1e-4)
        self.conv3, self.gn3 = Standardised(width, 4 * width, 1), nn.GroupNorm(GROUPS, 4 * width, eps=1e-4)
        self.conv_proj, self.gn_proj = Standardised(width, 4 * width, 1), nn.GroupNorm(GROUPS, 4 * width, eps=1e-4)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        y = functional.relu(self.gn1(self.conv1(x)))
        y = functional.relu(self.gn2(self.conv2(y)))
        return functional.relu(self.gn3(self.conv3(y)) + self.gn_proj(self.conv_proj(x)))


class Attention(nn.Module):
    """Every token looks at every token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        q, k, v = (part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        return self.out(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Each token for itself."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, wide), nn.Linear(wide, width)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        return self.fc2(functional.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then each token for itself, both added to what came."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=EPS), Attention(width)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=EPS), Mlp(width, wide)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Places(nn.Module):
    """One learnt for each place of a grid."""

    def __init__(self, grid: int, width: int) -> None:
        super().__init__()
        self.position_emb = nn.Parameter(torch.zeros(1, grid**2, width))


class Scales(nn.Module):
    """One learnt for each size of the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_emb = nn.Parameter(torch.zeros(len(SIDES) + 1, width))


class Encoder(nn.Module):
    """Tokens of all sizes together; the class token comes first and has neither place nor size."""

    def __init__(self, width: int, wide: int, depth: int, grid: int) -> None:
        super().__init__()
        self.grid = grid  # places a side: those of a picture of any shape are laid onto these
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.posembed_input, self.scaleembed_input = Places(grid, width), Scales(width)
        self.transformer = nn.ModuleDict({f"encoderblock_{number}": Block(width, wide) for number in range(depth)})
        self.encoder_norm = nn.LayerNorm(width, eps=EPS)

    def forward(self, sizes: list[Tensor]) -> Float[Tensor, "b d"]:
        """Of each size the tokens where they stand, (b, y, x, d); y and x differ from size to size."""
        placed = [tokens.flatten(1, 2) + self.where(number, tokens) for number, tokens in enumerate(sizes)]
        x = torch.cat([self.cls.expand(len(sizes[0]), -1, -1), *placed], dim=1)
        for block in self.transformer.values():
            x = block(x)
        return self.encoder_norm(x[:, 0])

    def where(self, number: int, tokens: Float[Tensor, "b y x d"]) -> Float[Tensor, "n d"]:
        """Place and size of each."""
        rows, columns = (laid(length, self.grid, tokens.device) for length in tokens.shape[1:3])
        places = (rows[:, None] * self.grid + columns).flatten()
        return self.posembed_input.position_emb[0][places] + self.scaleembed_input.scale_emb[number]


def laid(length: int, grid: int, device: torch.device) -> Int[Tensor, " n"]:
    """Which of the grid's places the first, second, … of so many falls on."""
    places = torch.arange(grid, dtype=torch.float32, device=device)[None, None]
    return functional.interpolate(places, size=length, mode="nearest")[0, 0].long()


class Musiq(nn.Module):
    """Pictures to ratings."""

    def __init__(self, stem: int, width: int, wide: int, depth: int, grid: int) -> None:
        super().__init__()
        self.conv_root, self.gn_root = Standardised(3, stem, 7, 2), nn.GroupNorm(GROUPS, stem, eps=EPS)
        self.block1 = Bottleneck(stem)
        self.embedding = nn.Linear(4 * stem * (PATCH // 4) ** 2, width)
        self.transformer_encoder = Encoder(width, wide, depth, grid)
        self.head = nn.Linear(width, 1)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1"]:
        """RGB in [0, 1]."""
        pictures = 2 * pictures - 1
        sizes = [*(shrunk(pictures, side) for side in SIDES), pictures]
        return self.head(self.transformer_encoder([self.tokens(it) for it in sizes]))

    def tokens(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n y x d"]:
        """Of each patch, by itself: what it shows at a quarter of its size."""
        whole = same(pictures, PATCH, PATCH)
        patches = whole.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # (n, 3, y, x, 32, 32)
        batch, _, rows, columns = patches.shape[:4]
        x = patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        x = functional.relu(self.gn_root(self.conv_root(x)))
        x = self.block1(functional.max_pool2d(same(x, 3, 2), 3, 2))  # (n y x, c, 8, 8)
        return self.embedding(x.permute(0, 2, 3, 1).flatten(1)).view(batch, rows, columns, -1)


def shrunk(pictures: Float[Tensor, "n 3 h w"], side: int) -> Float[Tensor, "n 3 y x"]:
    """The longer side to `side`, larger or smaller, bicubic without antialiasing."""
    height, width = pictures.shape[-2:]
    ratio = side / max(height, width)
    wanted = tuple(max(1, round(length * ratio)) for length in (height, width))
    return functional.interpolate(pictures, size=wanted, mode="bicubic")


def musiq(named: Mapping[str, Tensor]) -> Musiq:
    """Of `musiq_spaq_ckpt-358bb6af.pth`, or any other with one rating.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    named = under(named, "module.") or named  # some were saved from several devices
    blocks = "transformer_encoder.transformer."
    stem = size(named, "conv_root.weight", 4)[0]
    wide, width = size(named, f"{blocks}encoderblock_0.mlp.fc1.weight", 2)
    grid = round(size(named, "transformer_encoder.posembed_input.position_emb", 3)[1] ** 0.5)
    with torch.device("meta"):
        network = Musiq(stem, width, wide, count(named, blocks), grid)
    return fit(network, named)
