"""`TinyAutoencoder` against tensors recorded from the published small autoencoder (rules: data/taehv/README.md)."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import OWN_DIR, PARITY_DIR_VARIABLE, Fixture, check_file, files
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from longvie.models.streams import TaeState
from longvie.models.tae import TinyAutoencoder
from longvie.models.tae_layers import Grow, MemoryBlock, SoftLimit, Stack, TimePool

FAMILY = "taehv"
TOLERANCE = {  # largest absolute difference in float32, from data/taehv/README.md
    "encode": 3e-5,
    "decode": 2e-5,
    "clip_lengths": 5e-5,
    "patch": 3e-5,
    "state": 1e-4,
}
KINDS = {
    "Conv2d": nn.Conv2d,
    "ReLU": nn.ReLU,
    "TPool": TimePool,
    "TGrow": Grow,
    "MemBlock": MemoryBlock,
    "Upsample": nn.Identity,
    "Clamp": SoftLimit,
}


def test_file(fixture_file: Path) -> None:
    with torch.inference_mode():
        check_file(fixture_file, CHECKS)


def test_keys(keys_file: Path) -> None:
    """Names, shapes and kinds of the published layout at full width, without its memory."""
    wanted = json.loads(keys_file.read_text())
    with torch.device("meta"):
        model = build(wanted["config"])
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert shapes == wanted["keys"]
    assert len(shapes) == wanted["tensors"]
    parts = {"parameters": model, "encoder_parameters": model.encoder, "decoder_parameters": model.decoder}
    for name, part in parts.items():
        assert sum(value.numel() for value in part.parameters()) == wanted[name], name
    for part, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        assert [type(layer) for layer in stack] == [KINDS[kind] for kind in wanted["entries"][part]]


def test_the_published_layout_has_a_name() -> None:
    """What `taew2_1()` builds is what the recorded config describes."""
    config = json.loads((OWN_DIR / FAMILY / "keys_taew2_1.json").read_text())["config"]
    with torch.device("meta"):
        assert dict(TinyAutoencoder.taew2_1().config) == dict(build(config).config)


# --- one check per kind of file -------------------------------------------------------------------------------------


def check_encode(fixture: Fixture) -> None:
    model = loaded(fixture)
    with stages(model.encoder, batch=len(fixture.inputs["video"])) as seen:
        latents = model.encode_clip(video(fixture))
    fixture.check("latents", latents.transpose(1, 2), atol=TOLERANCE["encode"])
    check_stages(fixture, model.encoder, seen, TOLERANCE["encode"])


def check_decode(fixture: Fixture) -> None:
    model, latents = loaded(fixture), latents_of(fixture)
    with stages(model.decoder, batch=len(latents)) as seen:
        frames, _ = model.decode(latents)
    fixture.check("frames", recorded(frames), atol=TOLERANCE["decode"])
    raw = seen[len(model.decoder) - 1]
    fixture.check("raw_first_item", raw[:1], atol=TOLERANCE["decode"])
    check_stages(fixture, model.decoder, seen, TOLERANCE["decode"])
    unlimited, _ = model.decode(latents, limit=False)
    trimmed = nn.PixelShuffle(model.config.patch)(raw[0, fixture.config["frames_to_trim"] :])
    torch.testing.assert_close(recorded(unlimited)[0], trimmed, atol=TOLERANCE["decode"], rtol=0)


def check_decode_streaming(fixture: Fixture) -> None:
    model, latents, config = loaded(fixture), latents_of(fixture), fixture.config
    state, counts = None, []
    for step in range(latents.shape[2]):
        frames, state = model.decode(latents[:, :, step : step + 1], state)
        counts.append(frames.shape[2])
        assert sorted(state.memory) == config["memory_entries"]
        fixture.check(f"step{step}.frames", recorded(frames), atol=TOLERANCE["decode"])
        if any(name.startswith(f"step{step}.state.") for name in fixture.outputs):
            check_remembered(fixture, f"step{step}", state)
        state = TaeState.from_tensors(state.tensors())
    assert counts == config["frames_per_step"]
    fixture.check("whole", recorded(model.decode(latents)[0]), atol=TOLERANCE["decode"])

    state, pieces = None, []
    for group in latents.split(config["chunks"], dim=2):
        frames, state = model.decode(group, state)
        pieces.append(frames)
    assert [piece.shape[2] for piece in pieces] == config["frames_per_chunk"]
    fixture.check("whole", recorded(torch.cat(pieces, dim=2)), atol=TOLERANCE["decode"])


def check_encode_streaming(fixture: Fixture) -> None:
    model, frames, config = loaded(fixture), video(fixture), fixture.config
    state, pieces, ready = None, [], []
    for frame in range(frames.shape[2]):
        latents, state = model.encode(frames[:, :, frame : frame + 1], state)
        pieces.append(latents)
        ready += [frame] * latents.shape[2]
        if any(name.partition(".")[0] == f"after{frame}" for name in (*fixture.outputs, *config["pending_counts"])):
            check_remembered(fixture, f"after{frame}", state)
            check_waiting(fixture, f"after{frame}", state)
        state = TaeState.from_tensors(state.tensors())
    assert ready == config["latent_ready_after_frame"]
    assert places(model.encoder, MemoryBlock) == config["memory_entries"]
    assert places(model.encoder, TimePool) == config["pool_entries"]

    before = {name: value.clone() for name, value in state.tensors().items()}
    pieces.append(model.flush(state))
    assert pieces[-1].shape[2] == config["latents_at_flush"]
    torch.testing.assert_close(state.tensors(), before, atol=0, rtol=0)  # flushing leaves the stream as it was
    fixture.check("latents", torch.cat(pieces, dim=2).transpose(1, 2), atol=TOLERANCE["encode"])
    fixture.check("latents", model.encode_clip(frames).transpose(1, 2), atol=TOLERANCE["encode"])


def check_clip_lengths(fixture: Fixture) -> None:
    model = loaded(fixture)
    for length, counts in fixture.config["lengths"].items():
        latents = model.encode_clip(video(fixture)[:, :, : int(length)])
        frames, _ = model.decode(latents)
        assert [latents.shape[2], frames.shape[2]] == counts
        fixture.check(f"latents_{length}", latents.transpose(1, 2), atol=TOLERANCE["clip_lengths"])
        fixture.check(f"frames_{length}", recorded(frames), atol=TOLERANCE["clip_lengths"])


def check_reduced_upscaling(fixture: Fixture) -> None:
    model, latents = loaded(fixture), latents_of(fixture)
    fixture.check("frames_full", recorded(model.decode(latents)[0]), atol=TOLERANCE["decode"])
    for name, flags in fixture.config["variants"].items():
        smaller = model.preview(flags["decoder_time_upscale"], flags["decoder_space_upscale"])
        frames = recorded(smaller.decode(latents)[0])
        growth = 2 ** sum(flags["decoder_time_upscale"])
        assert flags["frames_to_trim"] == growth - 1
        assert frames.shape[1] == growth * latents.shape[2] - flags["frames_to_trim"]
        fixture.check(f"frames_{name}", frames, atol=TOLERANCE["decode"])


def check_patch(fixture: Fixture) -> None:
    model = loaded(fixture)
    latents = model.encode_clip(video(fixture))
    fixture.check("latents", latents.transpose(1, 2), atol=TOLERANCE["patch"])
    fixture.check("frames", recorded(model.decode(latents_of(fixture))[0]), atol=TOLERANCE["patch"])


CHECKS = {
    "encode": check_encode,
    "decode": check_decode,
    "decode_streaming": check_decode_streaming,
    "encode_streaming": check_encode_streaming,
    "clip_lengths": check_clip_lengths,
    "reduced_upscaling": check_reduced_upscaling,
    "patch": check_patch,
}


# --- from the recording's words to ours -----------------------------------------------------------------------------


def build(config: dict[str, Any]) -> TinyAutoencoder:
    """The model a recording's config describes."""
    assert config["image_channels"] == 3
    model = TinyAutoencoder(
        latent_channels=config["latent_channels"],
        patch=config["patch_size"],
        encoder_widths=(config["encoder_width"],) * 4,
        encoder_blocks=(0, 3, 3, 3),
        encoder_time=tuple(config["encoder_time_downscale"]),
        decoder_widths=tuple(config["decoder_widths"]),
        decoder_blocks=(3, 3, 3, 0),
        decoder_time=tuple(config["decoder_time_upscale"]),
        decoder_space=tuple(config["decoder_space_upscale"]),
        pad="end",
    )
    assert model.strides.time == config["t_downscale"]
    assert 2 ** sum(model.config.decoder_time) == config["t_upscale"] == config["frames_to_trim"] + 1
    return model


def loaded(fixture: Fixture) -> TinyAutoencoder:
    """The same with the recording's weights, every one of them and no other."""
    assert fixture.config["layout"] == "N,T,C,H,W"
    assert fixture.config["pixel_range"] == [0, 1]
    model = build(fixture.config).eval()
    model.load_state_dict(fixture.weights, strict=True)
    return model


def video(fixture: Fixture) -> Tensor:
    return fixture.inputs["video"].transpose(1, 2) * 2 - 1  # (n, t, c, h, w) in [0, 1] -> (b, 3, f, h, w) in [-1, 1]


def latents_of(fixture: Fixture) -> Tensor:
    return fixture.inputs["latents"].transpose(1, 2)


def recorded(frames: Tensor) -> Tensor:
    return (frames.transpose(1, 2) + 1) / 2


@contextmanager
def stages(stack: Stack, batch: int) -> Iterator[dict[int, Tensor]]:
    """Outputs of every layer while the block runs, (b, t, c, h, w), calls joined in time."""
    seen: dict[int, Tensor] = {}

    def listen(place: int) -> Any:
        def note(_layer: nn.Module, _given: Any, output: Any) -> None:
            mixed = isinstance(output, tuple)  # layers that mix time keep it apart from the batch
            output = output[0] if mixed else output.unflatten(0, (batch, len(output) // batch))
            seen[place] = torch.cat([seen[place], output], dim=1) if place in seen else output

        return note

    handles = [layer.register_forward_hook(listen(place)) for place, layer in enumerate(stack)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def places(stack: Stack, kind: type[nn.Module]) -> list[int]:
    return [place for place, layer in enumerate(stack) if isinstance(layer, kind)]


def check_stages(fixture: Fixture, stack: Stack, seen: dict[int, Tensor], atol: float) -> None:
    """Every recorded layer of the first item; kind and size of all of them."""
    for name in fixture.outputs:
        if name.startswith("stage"):
            fixture.check(name, seen[int(name.removeprefix("stage"))][0], atol=atol)
    sizes = {place: [*output.shape[1:]] for place, output in seen.items()}
    assert fixture.config["stage_shapes"].keys() == {str(place) for place in sizes}
    for place, (kind, *size) in fixture.config["stage_shapes"].items():
        assert isinstance(stack[int(place)], KINDS[kind])
        if kind != "Upsample":  # the next layer does it: the same, with a 1×1 convolution of fewer pixels
            assert sizes[int(place)] == size, place


def check_remembered(fixture: Fixture, moment: str, state: TaeState) -> None:
    """What is recorded as remembered is remembered, and nothing else."""
    ours = {f"{moment}.state.{place}": value for place, value in state.memory.items()}
    assert ours.keys() == {name for name in fixture.outputs if name.startswith(f"{moment}.state.")}
    for name, value in ours.items():
        fixture.check(name, value, atol=TOLERANCE["state"])


def check_waiting(fixture: Fixture, moment: str, state: TaeState) -> None:
    """The frames that wait in each pool, oldest first, and their number."""
    ours = {
        f"{moment}.pending.{place}.{turn}": frame
        for place, frames in state.waiting.items()
        for turn, frame in enumerate(frames.unbind(1))
    }
    assert ours.keys() == {name for name in fixture.outputs if name.startswith(f"{moment}.pending.")}
    for name, value in ours.items():
        fixture.check(name, value, atol=TOLERANCE["state"])
    for place in fixture.config["pool_entries"]:
        frames = state.waiting.get(place)
        counted = 0 if frames is None else frames.shape[1]
        assert counted == fixture.config["pending_counts"].get(f"{moment}.{place}", counted)


# --- the checks must be able to fail --------------------------------------------------------------------------------


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of our own with one file in it, which the checks are pointed at."""
    (tmp_path / FAMILY).mkdir()
    monkeypatch.setenv(PARITY_DIR_VARIABLE, str(tmp_path))
    return Path(shutil.copy(OWN_DIR / FAMILY / "patch2.safetensors", tmp_path / FAMILY))


def rewrite(path: Path, changed: str, value: float = 1.0, *, replace: bool = False) -> None:
    """The file again, with `value` added to (or put in place of) the first number of one tensor."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    flat = tensors.setdefault(changed, torch.zeros(1)).view(-1)
    flat[0] = value if replace else flat[0] + value
    save_file(tensors, path, metadata)


def check_folder() -> None:
    for path in files(FAMILY):
        check_file(path, CHECKS)


def test_a_copied_folder_passes(copied: Path) -> None:
    assert files(FAMILY) == [copied]
    check_folder()


@pytest.mark.parametrize("tensor", ["outputs.frames", "outputs.latents", "inputs.latents", "inputs.video"])
def test_one_changed_value_fails(copied: Path, tensor: str) -> None:
    rewrite(copied, tensor)
    with pytest.raises(AssertionError, match="patch2"):
        check_folder()


@pytest.mark.parametrize("tensor", ["weights.encoder.0.weight", "weights.decoder.22.bias"])
def test_one_changed_weight_fails(copied: Path, tensor: str) -> None:
    rewrite(copied, tensor)
    with pytest.raises(AssertionError, match="patch2"):
        check_folder()


def test_an_invalid_number_fails(copied: Path) -> None:
    rewrite(copied, "outputs.latents", float("nan"), replace=True)
    with pytest.raises(AssertionError, match="patch2"):
        check_folder()


def test_an_output_nobody_looks_at_fails(copied: Path) -> None:
    rewrite(copied, "outputs.more")
    with pytest.raises(pytest.fail.Exception, match="more"):
        check_folder()


def test_a_tensor_of_no_part_fails(copied: Path) -> None:
    rewrite(copied, "extra")
    with pytest.raises(pytest.fail.Exception, match="extra"):
        check_folder()


def test_an_unknown_file_fails(copied: Path) -> None:
    copied.rename(copied.with_name("unheard_of.safetensors"))
    with pytest.raises(pytest.fail.Exception, match="unheard_of"):
        check_folder()
