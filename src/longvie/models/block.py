"""One layer of the video transformer, and what it is made of (Wan 2.1). Trunk and control branches both stack it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from longvie.models.attention import attend
from longvie.models.rope import Rotation


@runtime_checkable
class Past(Protocol):
    """What earlier chunks left behind, layer by layer. An argument of the model, never a part of it."""

    def join(
        self,
        layer: int,
        k: Float[Tensor, "b n m e"],
        v: Float[Tensor, "b n m e"],
        rotate: Rotation,
    ) -> tuple[Float[Tensor, "b keys m e"], Float[Tensor, "b keys m e"]]:
        """All keys and values that the new tokens may look at, the new ones last.

        Keys come in normalised and not yet turned, with `rotate`, which turns them, so that a memory may keep them
        turned once for all (absolute positions) or turn them anew at every call (positions relative to the memory).
        """
        ...


class ListPast:
    """The plainest past: keeps everything it is shown while `keep` is true, turned at its absolute positions."""

    def __init__(self) -> None:
        self.keep = True
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}

    def join(
        self,
        layer: int,
        k: Float[Tensor, "b n m e"],
        v: Float[Tensor, "b n m e"],
        rotate: Rotation,
    ) -> tuple[Float[Tensor, "b keys m e"], Float[Tensor, "b keys m e"]]:
        k = rotate(k)
        if layer in self.layers:
            old_k, old_v = self.layers[layer]
            k, v = torch.cat((old_k, k), dim=1), torch.cat((old_v, v), dim=1)
        if self.keep:
            self.layers[layer] = (k, v)
        return k, v


class Context(NamedTuple):
    """What every token may read by cross-attention: words, and the picture's tokens where the model has them."""

    words: Float[Tensor, "b words d"]
    pictures: Float[Tensor, "b pictures d"] | None = None


class Read(NamedTuple):
    """The same for one layer, which reads it by cross-attention: keys and values."""

    words: tuple[Float[Tensor, "b words d"], Float[Tensor, "b words d"]]
    pictures: tuple[Float[Tensor, "b pictures d"], Float[Tensor, "b pictures d"]] | None = None


class RMSNorm(nn.Module):
    """Root-mean-square norm over the whole width, before the split into heads; statistics in float32."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        # A CPU has no fused kernel for bfloat16: float32 there takes half of the time.
        wide = x.float() if x.device.type == "cpu" and x.dtype == torch.bfloat16 else x
        # The weight in the activations' type, or the fused kernel is left.
        return functional.rms_norm(wide, self.weight.shape, self.weight.to(wide.dtype), self.eps).to(x.dtype)


def norm(x: Float[Tensor, "b n d"], eps: float) -> Float[Tensor, "b n d"]:
    """LayerNorm without weights."""
    return functional.layer_norm(x, x.shape[-1:], eps=eps)


def modulate(
    x: Float[Tensor, "b n d"],
    shift: Float[Tensor, "#b g d"],
    scale: Float[Tensor, "#b g d"],
    eps: float,
) -> Float[Tensor, "b n d"]:
    """norm(x)·(1 + scale) + shift, with one row of shift and scale for each of g equal spans of tokens.

    Computed in the modulation's type: keep the time layers in float32 for Wan's own mixed precision, or cast the whole
    model to bfloat16 for LongVie's; the weights' types decide.
    """
    groups = norm(x.to(shift.dtype), eps).unflatten(1, (shift.shape[1], -1))  # (b, g, n / g, d)
    return torch.addcmul(shift[:, :, None], groups, 1 + scale[:, :, None]).flatten(1, 2).to(x.dtype)


def gated(
    x: Float[Tensor, "b n d"], change: Float[Tensor, "b n d"], gate: Float[Tensor, "#b g d"]
) -> Float[Tensor, "b n d"]:
    """x + gate·change, with one gate for each of g equal spans of tokens."""
    return (x + (change.unflatten(1, (gate.shape[1], -1)) * gate[:, :, None]).flatten(1, 2)).to(x.dtype)


Layer = TypeVar("Layer", bound=nn.Module)


class Layers(nn.ModuleList, Generic[Layer]):
    """A list of layers that tells a type checker what they are."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Layer]: ...

        def __getitem__(self, at: int) -> Layer: ...


class SelfAttention(nn.Module):
    """Every token looks at every token of its chunk that the mask lets it see, and at the past."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.backend = "auto"
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(width, eps), RMSNorm(width, eps)

    def split(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n m e"]:
        """(b, n, d) -> (b, n, m, e)."""
        return x.unflatten(-1, (self.heads, -1))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        rotate: Rotation,
        *,
        mask: Bool[Tensor, "n keys"] | None = None,
        past: Past | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "b n d"]:
        q, k, v = self.split(self.norm_q(self.q(x))), self.split(self.norm_k(self.k(x))), self.split(self.v(x))
        q = rotate(q)
        if past is None:
            k = rotate(k)
        else:
            k, v = past.join(layer, k, v, rotate)
        return self.o(attend(q.to(v.dtype), k.to(v.dtype), v, mask=mask, backend=self.backend).flatten(2))


class CrossAttention(SelfAttention):
    """Every token reads the words and, where the model has them, the picture; the two readings add up.

    Words beyond the text's end are not masked: they are equal tokens, which Wan was trained to see.
    """

    def __init__(self, width: int, heads: int, eps: float, *, pictures: bool) -> None:
        super().__init__(width, heads, eps)
        self.k_img = nn.Linear(width, width) if pictures else None
        self.v_img = nn.Linear(width, width) if pictures else None
        self.norm_k_img = RMSNorm(width, eps) if pictures else None

    def read(self, context: Context) -> Read:
        """What does not depend on the tokens that read: it may be kept for as long as the words are the same."""
        words, pictures = context
        k_img, v_img, norm_k_img = self.k_img, self.v_img, self.norm_k_img
        seen = None
        if pictures is not None and k_img is not None and v_img is not None and norm_k_img is not None:
            seen = norm_k_img(k_img(pictures)), v_img(pictures)
        return Read((self.norm_k(self.k(words)), self.v(words)), seen)

    def forward(self, x: Float[Tensor, "b n d"], read: Read) -> Float[Tensor, "b n d"]:
        q = self.split(self.norm_q(self.q(x)))
        found = self._found(q, *read.words)
        return self.o(found if read.pictures is None else found + self._found(q, *read.pictures))

    def _found(
        self, q: Float[Tensor, "b n m e"], k: Float[Tensor, "b words d"], v: Float[Tensor, "b words d"]
    ) -> Float[Tensor, "b n d"]:
        """One attention of the queries over some tokens of the context."""
        k, v = self.split(k), self.split(v)
        return attend(q.to(v.dtype), k.to(v.dtype), v, backend=self.backend).flatten(2)


class Gelu(nn.GELU):
    """The published approximation by tanh. In bfloat16 on a CPU the exact one: as near to it as its own kernel, which
    rounds more than the two differ (8e-3 either way), and takes a fifth of the time.
    """

    def __init__(self) -> None:
        super().__init__(approximate="tanh")

    def forward(self, x: Float[Tensor, "*sides d"]) -> Float[Tensor, "*sides d"]:
        exact = x.dtype == torch.bfloat16 and x.device.type == "cpu"
        return functional.gelu(x) if exact else super().forward(x)


class Block(nn.Module):
    """Modulated self-attention, cross-attention, modulated feed-forward, each added to the stream."""

    def __init__(self, width: int, heads: int, ffn: int, eps: float, *, pictures: bool) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 6, width) / width**0.5)
        self.self_attn = SelfAttention(width, heads, eps)
        self.norm3 = nn.LayerNorm(width, eps)
        self.cross_attn = CrossAttention(width, heads, eps, pictures=pictures)
        self.ffn_width = ffn
        self.ffn = nn.Sequential(nn.Linear(width, ffn), Gelu(), nn.Linear(ffn, width))

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        read: Read,
        modulation: Float[Tensor, "b g 6 d"],
        rotate: Rotation,
        mask: Bool[Tensor, "n keys"] | None = None,
        past: Past | None = None,
        layer: int = 0,
    ) -> Float[Tensor, "b n d"]:
        table = self.modulation[:, None].to(modulation.dtype) + modulation
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = table.unbind(2)  # each (b, g, d)
        turned = self.self_attn(modulate(x, shift, scale, self.eps), rotate, mask=mask, past=past, layer=layer)
        x = gated(x, turned, gate)
        x = x + self.cross_attn(self.norm3(x), read).to(x.dtype)
        return gated(x, self.ffn(modulate(x, ffn_shift, ffn_scale, self.eps)), ffn_gate)
