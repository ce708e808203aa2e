"""Every backend of attend() says what plain SDPA says."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from longvie import runtime
from longvie.errors import ConfigError
from longvie.models import attention
from longvie.models.attention import attend, names

BACKENDS = [*names(), "diffusers:native"]


def tensors(*, queries: int = 7, keys: int = 11, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, count, 3, 8) for count in (queries, keys, keys))
    return q.to(dtype), k.to(dtype), v.to(dtype)


def by_hand(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    scores = torch.einsum("bnme,bkme->bmnk", q.double(), k.double()) / q.shape[-1] ** 0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.einsum("bmnk,bkme->bnme", scores.softmax(-1), v.double())


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_backends_agree(backend: str, masked: bool) -> None:
    q, k, v = tensors()
    mask = torch.ones(7, 11, dtype=torch.bool).tril(4) if masked else None
    out = attend(q, k, v, mask=mask, backend=backend)
    assert_close(out, by_hand(q, k, v, mask).float(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_bfloat16_too(backend: str) -> None:
    q, k, v = tensors(dtype=torch.bfloat16)
    out = attend(q, k, v, backend=backend)
    assert out.dtype == torch.bfloat16
    assert_close(out.double(), by_hand(q, k, v), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_agree(backend: str) -> None:
    found = []
    for name in ("sdpa", backend):
        q, k, v = (x.requires_grad_() for x in tensors())
        attend(q, k, v, backend=name).square().sum().backward()
        found.append((q.grad, k.grad, v.grad))
    assert_close(found[1], found[0], atol=1e-5, rtol=1e-4)


def test_explicit_in_pieces_is_explicit_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tensors()
    mask = torch.ones(7, 11, dtype=torch.bool).tril(4)
    whole = attend(q, k, v, mask=mask, backend="explicit")
    monkeypatch.setattr(attention, "EXPLICIT_SCORES", 2 * 3 * 11 * 2)  # two rows at a time
    assert_close(attend(q, k, v, mask=mask, backend="explicit"), whole, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "amx", "chosen"),
    [(torch.float32, False, "sdpa"), (torch.bfloat16, False, "explicit"), (torch.bfloat16, True, "sdpa")],
)
def test_auto_takes_what_is_faster_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, amx: bool, chosen: str
) -> None:
    monkeypatch.setattr(runtime, "amx", lambda: amx)
    q, k, v = tensors(dtype=dtype)
    assert_close(attend(q, k, v), attend(q, k, v, backend=chosen), atol=0, rtol=0)


@pytest.mark.parametrize("name", ["flash", "diffusers:", "diffusers:flsh"])
def test_an_unknown_backend_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ConfigError, match=r"explicit|native"):
        attend(*tensors(), backend=name)
