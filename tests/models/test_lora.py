"""Low-rank additions: merged is as applied beside, every half finds its layer, and what does not fit is named."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from longvie.errors import WeightsError
from longvie.models import names
from longvie.models.lora import DOWN, UP, Adapter, Scaling, in_blocks, merge, read_adapter
from longvie.models.transformer import VideoTransformer
from longvie.models.weights import Shapes, open_checkpoint, read_transformer, renamed

HEAD, RANK = 12, 5
OPTIONS: dict[str, Any] = {
    "width": 24, "layers": 2, "heads": 2, "ffn": 40, "text_width": 10, "time_width": 16, "in_channels": 16,
}  # fmt: skip
LINEAR = ("q", "k", "v", "o", "ffn.0", "ffn.2")


@pytest.fixture
def model() -> VideoTransformer:
    torch.manual_seed(0)
    return VideoTransformer(**OPTIONS).eval()


@pytest.fixture
def base(model: VideoTransformer, tmp_path: Path) -> Path:
    return written(tmp_path / "base.safetensors", {f"model.{name}": w for name, w in model.state_dict().items()})


def written(file: Path, tensors: Mapping[str, Tensor], about: dict[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file, metadata=about)
    return file


def shapes_of(base: Path) -> Shapes:
    return renamed(open_checkpoint(base), names.transformer)


def halves(model: VideoTransformer, rank: int = RANK) -> dict[str, Tensor]:
    """Both halves for every layer of the blocks, under our names."""
    source = torch.Generator().manual_seed(1)
    found = {}
    for name, weight in model.state_dict().items():
        if in_blocks(name) and weight.ndim == 2:
            layer = name.removesuffix("weight")
            found[layer + DOWN] = torch.randn(rank, weight.shape[1], generator=source)
            found[layer + UP] = torch.randn(weight.shape[0], rank, generator=source) / 4
    return found


def published(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"base_model.model.{name}": half for name, half in found.items()}


def given(frames: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    source = torch.Generator().manual_seed(2)
    noisy, words = torch.randn(1, 16, frames, 4, 4, generator=source), torch.randn(1, 3, 10, generator=source)
    return noisy, torch.tensor([0.7]), words


def applied_beside(model: VideoTransformer, found: Mapping[str, Tensor], scale: float) -> Tensor:
    """What the network makes when each layer's addition runs beside it, as the published scripts do."""
    modules, hooks = dict(model.named_modules()), []
    for name, down in found.items():
        if name.endswith(DOWN):
            layer = name.removesuffix(f".{DOWN}")
            up = found[f"{layer}.{UP}"]

            def add(_: Any, x: tuple[Tensor], y: Tensor, down: Tensor = down, up: Tensor = up) -> Tensor:
                return y + scale * (x[0] @ down.T) @ up.T

            hooks.append(modules[layer].register_forward_hook(add))
    with torch.no_grad():
        made = model(*given())
    for hook in hooks:
        hook.remove()
    return made


def made(base: Path, adapter: Adapter, **how: Any) -> Tensor:
    with torch.no_grad():
        return read_transformer(base, change=adapter.merged, head=HEAD, **how)(*given())


# --- merged is applied ----------------------------------------------------------------------------------------------


def test_merged_is_the_same_as_applied_beside(model: VideoTransformer, base: Path, tmp_path: Path) -> None:
    found = halves(model)
    adapter = read_adapter(written(tmp_path / "lora.safetensors", published(found)), shapes_of(base), needed=in_blocks)
    wanted = applied_beside(model, found, 1.0)
    assert_close(made(base, adapter), wanted, atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        assert (model(*given()) - wanted).abs().max() > 0.01


def test_peft_s_own_file_is_merged_as_peft_applies_it(base: Path, model: VideoTransformer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(3)
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=list(LINEAR), init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    adapted.save_pretrained(str(tmp_path / "adapter"))
    with torch.no_grad():
        wanted = adapted(*given())
    adapter = read_adapter(tmp_path / "adapter", shapes_of(base), needed=in_blocks)
    assert adapter.scaling == Scaling(alpha=6.0, rank=4.0)
    assert len(adapter.report.loaded) == 2 * 10 * OPTIONS["layers"]
    assert_close(made(base, adapter), wanted, atol=1e-6, rtol=1e-6)


def test_diffusers_own_file_is_read_too(base: Path, model: VideoTransformer, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(4)
    options = {"r": 4, "lora_alpha": 2, "target_modules": ["q", "v"], "use_rslora": True}
    model.add_adapter(peft.LoraConfig(**options, init_lora_weights=False))
    model.save_lora_adapter(str(tmp_path))
    with torch.no_grad():
        wanted = model(*given())
    adapter = read_adapter(tmp_path / "pytorch_lora_weights.safetensors", shapes_of(base))
    assert adapter.scaling == Scaling(alpha=2.0, rank=4.0, rooted=True)
    assert_close(made(base, adapter), wanted, atol=1e-6, rtol=1e-6)


def test_it_is_merged_before_the_weights_are_cast(model: VideoTransformer, base: Path, tmp_path: Path) -> None:
    found = {name: half.bfloat16() for name, half in halves(model).items()}
    adapter = read_adapter(written(tmp_path / "lora.safetensors", published(found)), shapes_of(base))
    got = read_transformer(base, change=adapter.merged, head=HEAD, dtype=torch.bfloat16).blocks[1].ffn[0].weight
    down, up = (found[f"blocks.1.ffn.0.{half}"].float() for half in (DOWN, UP))
    assert torch.equal(got, (model.blocks[1].ffn[0].weight + up @ down).bfloat16())


def test_weights_without_a_pair_stay_as_they_are(model: VideoTransformer, base: Path, tmp_path: Path) -> None:
    found = {name: half for name, half in halves(model).items() if name.startswith("blocks.0.self_attn.q.")}
    adapter = read_adapter(written(tmp_path / "lora.safetensors", found), shapes_of(base))
    got = read_transformer(base, change=adapter.merged, head=HEAD).state_dict()
    changed = [name for name, weight in model.state_dict().items() if not torch.equal(weight, got[name])]
    assert changed == ["blocks.0.self_attn.q.weight"]


def test_weights_that_replace_the_trunk_s_get_the_addition_too(
    model: VideoTransformer, base: Path, tmp_path: Path
) -> None:
    name, found = "blocks.0.self_attn.q.weight", halves(model)
    over = written(tmp_path / "dit.safetensors", {name: model.state_dict()[name] + 1})
    adapter = read_adapter(written(tmp_path / "lora.safetensors", found), shapes_of(base))
    got = read_transformer(base, attention=over, change=adapter.merged, head=HEAD).state_dict()[name]
    assert_close(got, adapter.merged(name, model.state_dict()[name] + 1), atol=0, rtol=0)


# --- names and scales -----------------------------------------------------------------------------------------------

SPELLINGS = {
    "published": lambda name: f"base_model.model.{name}",
    "with the adapter's name": lambda name: f"base_model.model.{name.replace('.weight', '.default.weight')}",
    "sharded": lambda name: "model.base_model.model." + name.replace("self", "_fsdp_wrapped_module.self"),
    "down and up": lambda name: f"diffusion_model.{name.replace('lora_A', 'lora_down').replace('lora_B', 'lora_up')}",
    "diffusers": lambda name: f"transformer.{names.to_diffusers(name)}",
}


@pytest.mark.parametrize("spelt", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_finds_the_same_layers(model: VideoTransformer, base: Path, tmp_path: Path, spelt: Any) -> None:
    found = halves(model)
    file = written(tmp_path / "lora.safetensors", {spelt(name): half for name, half in found.items()})
    adapter = read_adapter(file, shapes_of(base), needed=in_blocks)
    assert sorted(adapter.report.loaded) == sorted(found)
    assert_close(dict(adapter.tensors), found, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("scaling", "own", "scale"),
    [
        (Scaling(), None, 1.0),
        (Scaling(), 2.0, 0.5),
        (Scaling(alpha=8.0), None, 2.0),
        (Scaling(alpha=8.0), 2.0, 0.5),
        (Scaling(alpha=8.0, rooted=True), None, 4.0),
    ],
)
def test_the_scale_of_a_layer_of_rank_4(scaling: Scaling, own: float | None, scale: float) -> None:
    assert scaling.of(4, own) == scale


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_layer_may_have_an_alpha_of_its_own(
    model: VideoTransformer, base: Path, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    layer, found = "blocks.0.self_attn.q.", halves(model)
    alpha = torch.full(shape, 10.0)
    file = written(tmp_path / "lora.safetensors", {**found, f"{layer}alpha": alpha}, {"lora_alpha": "5"})
    adapter, zero = read_adapter(file, shapes_of(base)), torch.zeros(24, 24)
    down, up = found[layer + DOWN], found[layer + UP]
    assert_close(adapter.merged(f"{layer}weight", zero), merge(zero, down, up, 2.0))
    other = layer.replace("q", "k")
    assert_close(adapter.merged(f"{other}weight", zero), merge(zero, found[other + DOWN], found[other + UP], 1.0))


# --- what does not fit ----------------------------------------------------------------------------------------------


def refused(found: Mapping[str, Tensor], base: Path, about: dict[str, str] | None = None, **how: Any) -> str:
    file = written(base.parent / "lora.safetensors", found, about)
    with pytest.raises(WeightsError) as caught:
        read_adapter(file, shapes_of(base), **how)
    assert "lora.safetensors" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("half", [DOWN, UP])
def test_a_missing_half_is_named(model: VideoTransformer, base: Path, half: str) -> None:
    found = published(halves(model))
    del found[f"base_model.model.blocks.1.ffn.0.{half}"]
    assert f"1 missing (blocks.1.ffn.0.{half})" in refused(found, base)


def test_a_layer_without_its_pair_is_named_where_all_are_needed(model: VideoTransformer, base: Path) -> None:
    found = {name: half for name, half in halves(model).items() if not name.startswith("blocks.0.cross_attn.v.")}
    said = refused(found, base, needed=in_blocks)
    assert f"2 missing (blocks.0.cross_attn.v.{DOWN}, blocks.0.cross_attn.v.{UP})" in said
    read_adapter(base.parent / "lora.safetensors", shapes_of(base))


@pytest.mark.parametrize(
    "foreign",
    [
        "base_model.model.blocks.9.self_attn.q.lora_A.weight",
        "base_model.model.blocks.0.self_attn.norm_q.lora_A.weight",
        "base_model.model.patch_embedding.lora_A.weight",
        "base_model.model.blocks.0.self_attn.q.lora_magnitude_vector",
        "base_model.model.blocks.0.self_attn.q.lora_B.bias",
        "lora_unet_blocks_0_self_attn_q.lora_down.weight",
        "blocks.0.self_attn.q.weight",
        "step",
        "blocks.7.ffn.0.alpha",
    ],
)
def test_a_foreign_name_is_named(model: VideoTransformer, base: Path, foreign: str) -> None:
    assert f"1 unexpected ({foreign})" in refused({**published(halves(model)), foreign: torch.zeros(5, 24)}, base)


@pytest.mark.parametrize(
    ("half", "shape", "wanted"),
    [(DOWN, (5, 23), (5, 24)), (UP, (24, 4), (24, 5)), (UP, (24,), (24, 5)), (DOWN, (0, 24), (1, 24))],
)
def test_a_half_of_another_shape_is_named(
    model: VideoTransformer, base: Path, half: str, shape: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    name = f"blocks.1.self_attn.o.{half}"
    assert f"{name} {shape} for {wanted}" in refused({**halves(model), name: torch.zeros(shape)}, base)


def test_one_half_under_two_names_is_refused(model: VideoTransformer, base: Path) -> None:
    found = halves(model)
    assert "twice" in refused({**found, **published(found)}, base)


def test_a_checkpoint_is_no_adapter(model: VideoTransformer, base: Path) -> None:
    assert "not one tensor fits" in refused(model.state_dict(), base)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"r": 8}, "declares rank 8, but blocks"),
        ({"use_dora": True}, "sets use_dora"),
        ({"alpha_pattern": {"q": 3}}, "sets alpha_pattern"),
        ({"peft_type": "LOHA"}, "is of the kind 'LOHA'"),
        ({"lora_alpha": "much"}, "declares lora_alpha as 'much'"),
        ({"lora_alpha": 0}, "declares lora_alpha as '0'"),
        ({"r": []}, "declares r as"),
    ],
)
def test_options_that_mean_something_else_are_refused(
    model: VideoTransformer, base: Path, options: dict[str, Any], said: str
) -> None:
    assert said in refused(halves(model), base, {"lora_adapter_metadata": json.dumps(options)})
    (base.parent / "adapter_config.json").write_text(json.dumps(options))
    assert said in refused(halves(model), base)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"r": NaN}'])
def test_a_config_that_is_none_is_refused(model: VideoTransformer, base: Path, text: str) -> None:
    (base.parent / "adapter_config.json").write_text(text)
    file = written(base.parent / "lora.safetensors", halves(model))
    with pytest.raises(WeightsError):
        read_adapter(file, shapes_of(base))


def test_ranks_may_differ_from_layer_to_layer(model: VideoTransformer, base: Path, tmp_path: Path) -> None:
    found = {name: half for name, half in halves(model).items() if ".ffn." not in name}
    found |= {name: half for name, half in halves(model, rank=2).items() if ".ffn." in name}
    about = {"lora_adapter_metadata": json.dumps({"transformer.r": 5, "transformer.rank_pattern": {"ffn": 2}})}
    read_adapter(written(tmp_path / "lora.safetensors", found, about), shapes_of(base), needed=in_blocks)
