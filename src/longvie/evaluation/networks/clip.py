"""CLIP: pictures and words as features of one space.

Source: Radford et al. 2021 (arXiv 2103.00020). The published files are TorchScript archives with weights in float16;
they are computed with in float32, as the publication does on a CPU. Sizes are read off the checkpoint.
"""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from longvie.errors import ShapeError, WeightsError
from longvie.evaluation.networks.files import count, fit, size, under

HEAD = 64  # width of a head, in every one of them
SIGHT = "visual."  # what a name of the picture side begins with
SPARE = frozenset({"logit_scale", "input_resolution", "context_length", "vocab_size"})


class QuickGelu(nn.Module):
    """x · σ(1.702 x): what was published under that name, not the exact GELU."""

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    """Attention, then each token for itself, both added to what came."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, width // HEAD, batch_first=True)
        wide, narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.Sequential(OrderedDict(c_fc=wide, gelu=QuickGelu(), c_proj=narrow))

    def forward(self, x: Float[Tensor, "b n d"], hidden: Tensor | None = None) -> Float[Tensor, "b n d"]:
        """`hidden` is true where a token (row) must not look (column)."""
        seen = self.ln_1(x)
        x = x + self.attn(seen, seen, seen, need_weights=False, attn_mask=hidden)[0]
        return x + self.mlp(self.ln_2(x))


class Blocks(nn.Module):
    """One after another."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        if width % HEAD:
            raise WeightsError(f"a width of {width} is not of whole heads of {HEAD}: this is another network")
        self.resblocks = nn.ModuleList(Block(width) for _ in range(depth))

    def forward(self, x: Float[Tensor, "b n d"], hidden: Tensor | None = None) -> Float[Tensor, "b n d"]:
        for block in self.resblocks:
            x = block(x, hidden)
        return x


class Sight(nn.Module):
    """Pictures, normalised as CLIP's, to features."""

    def __init__(self, width: int, depth: int, patch: int, places: int, out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(places, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Blocks(width, depth)
        self.proj = nn.Parameter(torch.zeros(width, out))

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n e"]:
        """Raises ShapeError where a picture is not of the size that positions were learnt on."""
        patches = self.conv1(pictures).flatten(2).transpose(1, 2)  # (n, y x, d)
        if patches.shape[1] + 1 != len(self.positional_embedding):
            raise ShapeError(f"pictures of {tuple(pictures.shape[-2:])} are not of the size that this CLIP sees")
        first = self.class_embedding.expand(len(patches), 1, -1)
        x = self.ln_pre(torch.cat([first, patches], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class Reading(nn.Module):
    """Tokens to features: those at the end of the text."""

    def __init__(self, width: int, depth: int, length: int, vocabulary: int, out: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(length, width))
        self.transformer = Blocks(width, depth)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, out))

    @property
    def length(self) -> int:
        """Tokens of a text, filled up."""
        return len(self.positional_embedding)

    def forward(self, tokens: Int[Tensor, "s n"]) -> Float[Tensor, "s e"]:
        """Tokens look back only. The end of the text is the largest token there is, and the first of them counts."""
        x = self.token_embedding(tokens) + self.positional_embedding  # (s, n, d)
        hidden = torch.ones(self.length, self.length, dtype=torch.bool, device=x.device).triu(1)
        x = self.ln_final(self.transformer(x, hidden))
        rows = torch.arange(len(tokens), device=x.device)
        return x[rows, tokens.argmax(dim=-1)] @ self.text_projection


def sight(named: Mapping[str, Tensor]) -> Sight:
    """The picture side, of names without `visual.`.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    width, _, patch, _ = size(named, "conv1.weight", 4)
    places, _ = size(named, "positional_embedding", 2)
    with torch.device("meta"):
        network = Sight(width, count(named, "transformer.resblocks."), patch, places, size(named, "proj", 2)[1])
    return fit(network, named)


def reading(named: Mapping[str, Tensor]) -> Reading:
    """The word side.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    length, width = size(named, "positional_embedding", 2)
    vocabulary, _ = size(named, "token_embedding.weight", 2)
    depth, out = count(named, "transformer.resblocks."), size(named, "text_projection", 2)[1]
    with torch.device("meta"):
        network = Reading(width, depth, length, vocabulary, out)
    return fit(network, named, SPARE)


def clip(named: Mapping[str, Tensor]) -> tuple[Sight, Reading]:
    """Both sides of a published CLIP with a vision transformer.

    Raises:
        WeightsError: the tensors are those of something else.
    """
    words = {name: tensor for name, tensor in named.items() if not name.startswith(SIGHT)}
    return sight(under(named, SIGHT)), reading(words)
