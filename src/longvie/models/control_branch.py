"""Half-width branches, one for dense and one for sparse controls, joined to the trunk by layers that start at zero.

LongVie 2's dual controller (arXiv 2512.13604): the branches see the control, the words and the time, but neither the
trunk's stream nor each other; after each of the first trunk blocks their sum is added to the clip's tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from longvie.errors import ControlError
from longvie.models.block import Block, Context, Layers

BranchName = Literal["dense", "sparse"]
BRANCHES = get_args(BranchName)


@dataclass(frozen=True)
class ControlInput:
    """One control over one clip, as the transformer takes it.

    Attributes:
        branch: which branch reads it.
        latents: (b, in_channels, l, h, w): the control video's latents, the mask, the latents of its first frame alone.
        strength: (b, l), for each latent frame; 0 removes the control wholly, 1 is as trained.
        kind: what a dense control shows, a row of the learned table, for all of the batch or for each sample.
        gain: multiplies the embedded patches: LongVie 2's feature-level degradation, in training only.
        name: by which whoever remembers its branch's past finds it again.
    """

    branch: BranchName
    latents: Float[Tensor, "b c l h w"]
    strength: Float[Tensor, "b l"]
    kind: int | Int[Tensor, " b"] | None = None
    gain: float | Float[Tensor, " b"] = 1.0
    name: str = ""

    def to(self, device: torch.device | str) -> "ControlInput":
        """The same, elsewhere."""
        kind = self.kind.to(device) if isinstance(self.kind, Tensor) else self.kind
        return replace(self, latents=self.latents.to(device), strength=self.strength.to(device), kind=kind)


class ControlBranch(nn.Module):
    """One stack of narrow blocks. `enter` brings trunk-wide patches down to the branch's width."""

    def __init__(
        self, trunk: int, width: int, heads: int, ffn: int, layers: int, eps: float, *, kinds: int, pictures: bool
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(trunk, width)
        self.kinds = nn.Embedding(kinds, width) if kinds else None
        self.blocks: Layers[Block] = Layers(Block(width, heads, ffn, eps, pictures=pictures) for _ in range(layers))

    def start(self, patches: Float[Tensor, "b n d"], control: ControlInput) -> Float[Tensor, "b n width"]:
        """The branch's tokens before its first block.

        Raises:
            ControlError: the kind is missing, or none that the branch has learned.
        """
        gain = control.gain
        tokens = self.enter(patches * (gain[:, None, None].to(patches.dtype) if isinstance(gain, Tensor) else gain))
        if self.kinds is None:
            if isinstance(control.kind, int) and control.kind > 0:
                raise ControlError(
                    f"this model's {control.branch} branch knows one kind of control, not {control.kind}"
                )
            return tokens
        if control.kind is None:
            raise ControlError(f"the {control.branch} branch knows {self.kinds.num_embeddings} kinds; say which")
        if isinstance(control.kind, int) and not 0 <= control.kind < self.kinds.num_embeddings:
            raise ControlError(
                f"the {control.branch} branch knows kinds 0-{self.kinds.num_embeddings - 1}, not {control.kind}"
            )
        kind = torch.as_tensor(control.kind, device=tokens.device)
        return tokens + self.kinds(kind).reshape(-1, 1, tokens.shape[-1]).to(tokens.dtype)


class Join(nn.Linear):
    """Branch to trunk, starting at zero; the bias counts as much as the controls do."""

    def forward(self, total: Float[Tensor, "b l n width"], share: Float[Tensor, "b l 1 1"]) -> Float[Tensor, "b l n d"]:
        return functional.linear(total, self.weight) + self.bias.to(total.dtype) * share


class ControlBranches(nn.Module):
    """Both branches, the layers that bring words and time to their width, and the joins."""

    def __init__(
        self,
        trunk: int,
        width: int,
        heads: int,
        ffn: int,
        layers: int,
        eps: float,
        *,
        dense_kinds: int,
        pictures: bool,
    ) -> None:
        super().__init__()
        self.layers = layers
        self.dense = ControlBranch(trunk, width, heads, ffn, layers, eps, kinds=dense_kinds, pictures=pictures)
        self.sparse = ControlBranch(trunk, width, heads, ffn, layers, eps, kinds=0, pictures=pictures)
        self.words = nn.Linear(trunk, width)
        self.time = nn.Linear(trunk, width)
        self.joins: Layers[Join] = Layers(Join(width, trunk) for _ in range(layers))

    def branch(self, name: str) -> ControlBranch:
        return self.dense if name == "dense" else self.sparse

    def context(self, context: Context) -> Context:
        """Words and picture at the branches' width."""
        pictures = None if context.pictures is None else self.words(context.pictures)
        return Context(self.words(context.words), pictures)

    def join(
        self,
        layer: int,
        x: Float[Tensor, "b n d"],
        outputs: Sequence[Float[Tensor, "b clip width"]],
        controls: Sequence[ControlInput],
    ) -> Float[Tensor, "b n d"]:
        """Add the branches to the clip's tokens, which are the last of x; history tokens stay as they are.

        x += W·Σ(strength·branch) + b·Σ(strength)/2: two controls at strength 1 are the published sum, and without any
        strength nothing is left, not even the bias.
        """
        frames = controls[0].strength.shape[1]
        strengths = [control.strength.to(x.dtype)[:, :, None, None] for control in controls]  # (b, l, 1, 1)
        total = sum(
            output.unflatten(1, (frames, -1)) * strength for output, strength in zip(outputs, strengths, strict=True)
        )
        added = self.joins[layer](total, sum(strengths) / 2).flatten(1, 2).to(x.dtype)
        if added.shape[1] == x.shape[1]:
            return x + added
        history = x.shape[1] - added.shape[1]
        return torch.cat((x[:, :history], x[:, history:] + added), dim=1)
