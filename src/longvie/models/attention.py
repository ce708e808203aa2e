"""attend(): one signature, a table of backends. Plain SDPA is the reference; every other backend agrees with it."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from longvie import runtime
from longvie.errors import ConfigError

Backend = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]

EXPLICIT_SCORES = 2**27  # scores held at once by `explicit`: 256 MiB in bfloat16


def attend(
    q: Float[Tensor, "b n m e"],
    k: Float[Tensor, "b keys m e"],
    v: Float[Tensor, "b keys m e"],
    *,
    mask: Bool[Tensor, "n keys"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "b n m e"]:
    """Softmax attention with scale 1/√e, each head on its own.

    Args:
        mask: True where a query may look at a key; None lets all look at all.
        backend: `auto`, `sdpa`, `explicit`, or `diffusers:<name>` with a name of diffusers' attention dispatcher.

    Raises:
        ConfigError: no such backend.
    """
    return find(backend)(q, k, v, mask)


def names() -> list[str]:
    """The backends that need nothing but torch."""
    return list(_TABLE)


def find(name: str) -> Backend:
    """The backend called `name`.

    Raises:
        ConfigError: no such backend.
    """
    if name in _TABLE:
        return _TABLE[name]
    family, _, member = name.partition(":")
    if family == "diffusers" and member:
        return _dispatched(member)
    raise ConfigError(f"no attention backend {name!r}; choose one of {', '.join(_TABLE)} or diffusers:<name>")


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """torch's own fused attention: the reference."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


def explicit(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Two matrix products and a softmax. In bfloat16 on a CPU without AMX 2-4× faster than the fused kernel (heads of
    32 to 80); with AMX the fused one is twice as fast.
    """
    b, n, m, e = q.shape
    q = (q * (1 / math.sqrt(e))).transpose(1, 2).flatten(0, 1)  # (b m, n, e)
    k = k.transpose(1, 2).flatten(0, 1).transpose(1, 2)  # (b m, e, keys)
    v = v.transpose(1, 2).flatten(0, 1)  # (b m, keys, e)
    rows = max(1, EXPLICIT_SCORES // (b * m * k.shape[-1]))
    spans = [slice(at, at + rows) for at in range(0, n, rows)]
    out = [_softmax_rows(q[:, span], k, v, None if mask is None else mask[span]) for span in spans]
    joined = out[0] if len(out) == 1 else torch.cat(out, dim=1)
    return joined.unflatten(0, (b, m)).transpose(1, 2)


def _softmax_rows(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    scores = torch.bmm(q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return torch.bmm(scores.softmax(dim=-1), v)


def auto(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The faster of the two for this device and this precision."""
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and not runtime.amx()
    return (explicit if slow else sdpa)(q, k, v, mask)


def _dispatched(member: str) -> Backend:
    """A backend of diffusers' dispatcher: flash, sage, flex and others, if their packages are installed."""
    from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

    try:
        chosen = AttentionBackendName(member)
    except ValueError as error:
        known = ", ".join(backend.value for backend in AttentionBackendName)
        raise ConfigError(f"diffusers has no attention backend {member!r}; it has {known}") from error

    def dispatched(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return dispatch_attention_fn(q, k, v, attn_mask=mask, backend=chosen)

    return dispatched


_TABLE: dict[str, Backend] = {"auto": auto, "sdpa": sdpa, "explicit": explicit}
