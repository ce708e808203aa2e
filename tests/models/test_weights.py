"""Checkpoints: every layout finds its weights, and what is broken, foreign or dangerous is refused by name."""

import json
import pickle
import struct
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from longvie.errors import WeightsError
from longvie.models import names, weights
from longvie.models.transformer import VideoTransformer
from longvie.models.weights import compare, described, digest, fill, open_checkpoint, read_transformer

OPTIONS: dict[str, Any] = {
    "width": 24,
    "layers": 2,
    "heads": 2,
    "ffn": 40,
    "text_width": 10,
    "time_width": 16,
    "image_width": 14,
    "control_layers": 1,
}
HEAD = 12


@pytest.fixture
def model() -> VideoTransformer:
    torch.manual_seed(0)
    return VideoTransformer(**OPTIONS).eval()


def trunk(model: VideoTransformer) -> dict[str, Tensor]:
    return {name: weight for name, weight in model.state_dict().items() if not name.startswith("controls.")}


def branches(model: VideoTransformer) -> dict[str, Tensor]:
    return {
        names.to_longvie(name): weight for name, weight in model.state_dict().items() if name.startswith("controls.")
    }


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def written(folder: Path, tensors: dict[str, Tensor], name: str = "weights.safetensors") -> Path:
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, folder / name)
    return folder / name


def equal(got: VideoTransformer, wanted: VideoTransformer) -> None:
    assert_close(got.state_dict(), wanted.state_dict(), atol=0, rtol=0)


# --- layouts --------------------------------------------------------------------------------------------------------


PREFIXES = (
    *("", "pipe.dit.", "model.", "model.diffusion_model.", "_fsdp_wrapped_module."),
    *("generator.model.", "generator_ema.model._fsdp_wrapped_module."),
)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("layout", ["wan", "diffusers"])
def test_a_published_transformer_in_any_layout(
    model: VideoTransformer, tmp_path: Path, layout: str, prefix: str
) -> None:
    own = trunk(model)
    if layout == "diffusers":
        own = {names.to_diffusers(name): weight for name, weight in own.items()}
        assert own.keys().isdisjoint({"head.modulation", "blocks.0.norm3.weight"})
    base = written(tmp_path, prefixed(own, prefix))
    control = written(tmp_path, prefixed(branches(model), "pipe.dual_controller."), "control.safetensors")
    equal(read_transformer(base, control=control, head=HEAD), model)


@pytest.mark.parametrize("layout", ["wan", "diffusers"])
def test_a_transformer_of_words_alone(tmp_path: Path, layout: str) -> None:
    """Wan's text-to-video form: 16 channels in, no pictures, no branches; with the fragments of a sharded trainer."""
    options = {name: value for name, value in OPTIONS.items() if name not in ("image_width", "control_layers")}
    model = VideoTransformer(**options, in_channels=16).eval()
    named = {names.to_diffusers(name) if layout == "diffusers" else name: w for name, w in trunk(model).items()}
    fragments = {name.replace("ffn.", "_fsdp_wrapped_module.ffn."): weight for name, weight in named.items()}
    got = read_transformer(written(tmp_path, prefixed(fragments, "model.")), head=HEAD)
    equal(got, model)
    assert (got.config.in_channels, got.config.image_width, got.config.control_layers) == (16, None, 0)


def test_all_names_of_wan_1_3b_are_those_of_diffusers_and_back() -> None:
    with torch.device("meta"):
        ours = VideoTransformer(width=1536, layers=30, heads=12, ffn=8960, in_channels=16).state_dict()
        theirs = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30).state_dict()
    assert len(ours) == 825
    assert {names.to_diffusers(name): weight.shape for name, weight in ours.items()} == {
        name: weight.shape for name, weight in theirs.items()
    }
    assert {name: back for name in ours if (back := names.ours(names.to_diffusers(name))) != name} == {}
    shapes = {name: tuple(weight.shape) for name, weight in ours.items()}
    assert described(shapes) == {
        "width": 1536,
        "heads": 12,
        "layers": 30,
        "ffn": 8960,
        "in_channels": 16,
        "out_channels": 16,
        "text_width": 4096,
        "time_width": 256,
        "patch": (1, 2, 2),
    }


def test_attention_weights_replace_their_part_of_the_trunk(model: VideoTransformer, tmp_path: Path) -> None:
    base, control = written(tmp_path, trunk(model)), written(tmp_path, branches(model), "control.safetensors")
    part = {name: weight + 1 for name, weight in trunk(model).items() if ".self_attn." in name}
    over = written(tmp_path, prefixed(part, "pipe.dit."), "dit.safetensors")
    got = read_transformer(base, control=control, attention=over, head=HEAD)
    wanted = {**model.state_dict(), **part}
    assert_close(dict(got.state_dict()), dict(wanted), atol=0, rtol=0)


def test_sizes_are_seen_from_shapes(model: VideoTransformer) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    again = VideoTransformer(**described(shapes, head=HEAD))
    assert {name: tuple(weight.shape) for name, weight in again.state_dict().items()} == shapes
    assert again.config.heads == OPTIONS["heads"]


def test_shards_are_read_as_their_index_says(model: VideoTransformer, tmp_path: Path) -> None:
    halves = [{}, {}]
    for at, (name, weight) in enumerate(trunk(model).items()):
        halves[at % 2][name] = weight
    for at, half in enumerate(halves):
        written(tmp_path, half, f"part-{at}.safetensors")
    written(tmp_path, {"something.else": torch.zeros(1)}, "other.safetensors")
    index = {name: f"part-{at}.safetensors" for at, half in enumerate(halves) for name in half}
    (tmp_path / "all.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    for path in (tmp_path, tmp_path / "all.safetensors.index.json"):
        assert open_checkpoint(path).shapes.keys() == trunk(model).keys()
    (tmp_path / "part-1.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"part-1\.safetensors is missing"):
        open_checkpoint(tmp_path)


def test_time_layers_stay_precise(model: VideoTransformer, tmp_path: Path) -> None:
    base, control = written(tmp_path, trunk(model)), written(tmp_path, branches(model), "control.safetensors")
    got = read_transformer(base, control=control, dtype=torch.bfloat16, head=HEAD)
    types = {name: weight.dtype for name, weight in got.state_dict().items()}
    assert types["time_embedding.0.weight"] == types["blocks.1.modulation"] == torch.float32
    assert types["blocks.1.self_attn.q.weight"] == types["patch_embedding.weight"] == torch.bfloat16
    given = (torch.randn(1, 16, 2, 2, 2).bfloat16(), torch.rand(1), torch.randn(1, 3, 10).bfloat16())
    out = got(*given, condition=torch.randn(1, 20, 2, 2, 2).bfloat16())
    assert out.dtype == torch.bfloat16
    all_bfloat16 = read_transformer(base, control=control, dtype=torch.bfloat16, head=HEAD, precise=())
    assert {weight.dtype for weight in all_bfloat16.state_dict().values()} == {torch.bfloat16}


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_the_report_names_every_misfit(model: VideoTransformer, tmp_path: Path) -> None:
    tensors = dict(model.state_dict())
    del tensors["blocks.0.ffn.0.bias"]
    tensors["blocks.1.modulation"] = torch.zeros(1, 6, 5)
    tensors |= {"blocks.7.ffn.0.bias": torch.zeros(3), "__class__": torch.zeros(1), "forward": torch.zeros(1)}
    report = compare(model, open_checkpoint(written(tmp_path, tensors)))
    assert report.missing == ("blocks.0.ffn.0.bias",)
    assert sorted(report.unexpected) == ["__class__", "blocks.7.ffn.0.bias", "forward"]
    assert report.misshapen == (("blocks.1.modulation", (1, 6, 5), (1, 6, 24)),)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        fill(model, open_checkpoint(tmp_path / "weights.safetensors"))
    for part in ("1 missing (blocks.0.ffn.0.bias)", "3 unexpected", "blocks.1.modulation (1, 6, 5) for (1, 6, 24)"):
        assert part in str(caught.value)
    assert caught.value.exit_code == 2
    assert_close(dict(model.state_dict()), before, atol=0, rtol=0)  # nothing was put in


@pytest.mark.parametrize("which", ["trunk", "control"])
def test_a_missing_weight_of_either_file_is_named(model: VideoTransformer, tmp_path: Path, which: str) -> None:
    base, control = trunk(model), branches(model)
    lost = "blocks.1.norm3.weight" if which == "trunk" else "control_t_mod.bias"
    del (base if which == "trunk" else control)[lost]
    paths = written(tmp_path, base), written(tmp_path, control, "control.safetensors")
    with pytest.raises(WeightsError, match="1 missing"):
        read_transformer(paths[0], control=paths[1], head=HEAD)


def test_attention_weights_that_fit_nowhere_are_not_passed_over(model: VideoTransformer, tmp_path: Path) -> None:
    base, control = written(tmp_path, trunk(model)), written(tmp_path, branches(model), "control.safetensors")
    wrong = written(tmp_path, {"module.blocks.0.self_attn.q.weight": torch.zeros(24, 24)}, "dit.safetensors")
    with pytest.raises(WeightsError, match=r"dit\.safetensors .*1 unexpected .*not one tensor fits"):
        read_transformer(base, control=control, attention=wrong, head=HEAD)


def test_one_weight_under_two_names_is_refused(model: VideoTransformer, tmp_path: Path) -> None:
    tensors = {"head.head.bias": torch.zeros(64), "proj_out.bias": torch.ones(64)}
    with pytest.raises(WeightsError, match="twice"):
        compare(model, open_checkpoint(written(tmp_path, tensors)), names.transformer)


def test_one_name_in_two_files_is_refused(tmp_path: Path) -> None:
    written(tmp_path, {"a": torch.zeros(1)}, "one.safetensors")
    written(tmp_path, {"a": torch.ones(1)}, "two.safetensors")
    with pytest.raises(WeightsError, match=r"one\.safetensors and in two\.safetensors"):
        open_checkpoint(tmp_path)


def test_what_is_no_transformer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not the weights of a video transformer"):
        read_transformer(written(tmp_path, {"embedding.weight": torch.zeros(3, 3)}))


# --- what is broken or dangerous ------------------------------------------------------------------------------------


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "w.safetensors"])
def test_a_pickle_is_never_opened(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(WeightsError) as caught:
        open_checkpoint(tmp_path / name)
    assert not marker.exists()
    if not name.endswith(".safetensors"):
        assert str(caught.value).endswith(f"longvie models convert {tmp_path / name} {tmp_path / 'w.safetensors'}")


def test_a_folder_of_pickles_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a model.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"longvie models convert '.*a model\.pth' '.*a model\.safetensors'$"):
        open_checkpoint(tmp_path)


def header(**tensors: dict[str, Any]) -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text


BROKEN = {
    "empty": b"",
    "short": b"\x05\x00",
    "noise": bytes(range(256)),
    "header longer than the file": struct.pack("<Q", 10_000) + b"{}",
    "header of 100 MB": struct.pack("<Q", 100_000_000) + b" " * 4096,
    "header of an exabyte": struct.pack("<Q", 2**60) + b"{}",
    "no JSON": struct.pack("<Q", 4) + b"{{{{",
    "a terabyte in a kilobyte": header(a={"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}) + bytes(1000),
    "offsets that overlap": header(
        a={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        b={"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
    )
    + bytes(12),
    "shape that is not its bytes": header(a={"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}) + bytes(8),
    "negative shape": header(a={"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}) + bytes(4),
    "no tensors": header(),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_at_once(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.safetensors").write_bytes(content)
    begun = time.monotonic()
    with pytest.raises(WeightsError, match="broken") as caught:
        open_checkpoint(tmp_path / "broken.safetensors")
    assert time.monotonic() - begun < 5
    assert caught.value.exit_code == 2


def test_a_truncated_file_is_refused(model: VideoTransformer, tmp_path: Path) -> None:
    file = written(tmp_path, dict(model.state_dict()))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        open_checkpoint(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_are_refused_by_name(model: VideoTransformer, tmp_path: Path, value: float) -> None:
    tensors = {name: weight.clone() for name, weight in model.state_dict().items()}
    tensors["blocks.1.ffn.2.weight"][3, 4] = value
    with pytest.raises(WeightsError, match=r"blocks\.1\.ffn\.2\.weight holds values"):
        fill(model, open_checkpoint(written(tmp_path, tensors)))


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "part.pt", 7, None])
def test_an_index_names_files_beside_it_and_nothing_else(tmp_path: Path, shard: Any) -> None:
    (tmp_path / "x.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(WeightsError, match="index"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": []}', "{"])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.safetensors.index.json").write_text(text)
    with pytest.raises(WeightsError, match="not an index"):
        open_checkpoint(tmp_path)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file or folder"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=r"no \.safetensors"):
        open_checkpoint(tmp_path)


def test_digest_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert digest(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert weights.HEADER_BYTES < 100_000_000
