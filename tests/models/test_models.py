"""A model is a folder: what is saved is what is loaded, and a changed file is noticed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import longlive_made as published_made
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close
from transformers import CLIPVisionConfig, CLIPVisionModel

from longvie.controls.text import parse
from longvie.engine.clip import ClipEngine
from longvie.engine.script import Script
from longvie.errors import ControlError, ScriptError, WeightsError
from longvie.models import names
from longvie.models.downloads import longlive
from longvie.models.encoders import WordEncoder
from longvie.models.lora import read_adapter
from longvie.models.models import (
    CARD,
    LONGLIVE_1_3B,
    LONGVIE_2,
    TINY,
    Card,
    Models,
    check_files,
    load,
    read_card,
    read_longlive,
    read_longvie,
    save,
    tiny,
)
from longvie.models.transformer import VideoTransformer
from longvie.models.weights import open_checkpoint, renamed
from longvie.presets import ControlsSection, LongVieConfig
from longvie.request import Inputs, prepare
from small import direction, picture


@pytest.fixture(scope="module")
def made() -> Models:
    return tiny()


@pytest.fixture
def folder(made: Models, tmp_path: Path) -> Path:
    save(made, tmp_path / "model", dtype=torch.float32)
    return tmp_path / "model"


def test_saved_and_loaded_is_the_same(made: Models, folder: Path) -> None:
    again = load(folder)
    assert replace(again.card, files={}) == made.card
    for part in ("transformer", "live", "autoencoder"):
        assert_close(getattr(again, part).state_dict(), getattr(made, part).state_dict(), atol=0, rtol=0)
    assert_close(again.words.encode(["a red ball"]), made.words.encode(["a red ball"]))
    assert again.pictures is None


def test_bfloat16_files_are_brought_to_the_asked_type(made: Models, tmp_path: Path) -> None:
    card = save(made, tmp_path)
    sizes = {name: (tmp_path / name).stat().st_size for name in card.files}
    assert sizes["transformer/diffusion_pytorch_model.safetensors"] < 300_000  # half of float32
    again = load(tmp_path)
    assert again.transformer.dtype == torch.float32
    wanted = {name: weight.bfloat16().float() for name, weight in made.transformer.state_dict().items()}
    assert_close(dict(again.transformer.state_dict()), wanted, atol=0, rtol=0)
    assert made.transformer.dtype == torch.float32


def test_the_same_seed_makes_the_same_tiny_models(made: Models) -> None:
    state = torch.random.get_rng_state()
    assert_close(tiny().transformer.state_dict(), made.transformer.state_dict(), atol=0, rtol=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not torch.equal(tiny(1).transformer.head.head.weight, made.transformer.head.head.weight)
    assert made.card.random


@pytest.mark.parametrize("card", [TINY, LONGVIE_2, LONGLIVE_1_3B])
def test_a_card_is_its_text(card: Card) -> None:
    assert Card.from_json(card.to_json()) == card


def test_a_card_of_before_is_one_of_the_clip_engine() -> None:
    old = json.loads(LONGVIE_2.to_json())
    del old["engines"]
    assert Card.from_json(json.dumps(old)) == LONGVIE_2
    assert (LONGVIE_2.engines, LONGLIVE_1_3B.engines) == (("clip",), ("live",))


@pytest.mark.parametrize(
    "changed",
    [
        {"size": [32]},
        {"size": "32x48"},
        {"fps": "fast"},
        {"predicts": "noise"},
        {"quirks": "all"},
        {"engines": ["film"]},
        {"controls": None},
        {"fsp": 16},
        {"files": ["a"]},
    ],
)
def test_a_card_that_is_none_is_refused_by_its_field(changed: dict[str, Any]) -> None:
    text = json.dumps({**json.loads(TINY.to_json()), **changed})
    with pytest.raises(WeightsError, match=rf"{CARD}.*{next(iter(changed))}"):
        Card.from_json(text)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense"])
def test_text_that_is_no_card_is_refused(text: str) -> None:
    with pytest.raises(WeightsError, match=CARD):
        Card.from_json(text)


def test_a_changed_file_is_noticed(folder: Path) -> None:
    file = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match="is not the file that the card names"):
        load(folder)
    load(folder, verify=False)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "autoencoder" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"autoencoder/.* is missing"):
        load(folder)


def test_a_card_names_files_inside_its_folder_only(folder: Path) -> None:
    (folder.parent / "secret").write_text("x")
    card = replace(read_card(folder), files={"../secret": "0"})
    with pytest.raises(WeightsError, match="missing"):
        check_files(folder, card)


@pytest.mark.parametrize(
    ("part", "config"),
    [
        ("transformer", {}),
        ("transformer", {"width": "wide"}),
        ("transformer", {"width": 48, "layers": 2, "heads": 0, "ffn": 96}),
        ("autoencoder", {"encoder_widths": 3}),
        ("transformer", []),
    ],
)
def test_a_config_that_describes_nothing_is_refused(folder: Path, part: str, config: Any) -> None:
    (folder / part / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=part):
        load(folder)


def test_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no model in"):
        load(tmp_path)


def test_a_published_folder_that_is_not_complete_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no transformer \(transformer or diffusion.*no picture encoder"):
        read_longvie(tmp_path, tmp_path / "control.safetensors")


def published(folder: Path) -> tuple[Path, Path, Path]:
    """LongVie 2 in small, in the folders and under the names in which its parts are published."""
    base = folder / "Wan2.1-I2V"
    (base / "text_encoder").mkdir(parents=True)
    (base / "tokenizer").mkdir()
    words = WordEncoder.fresh(["a red ball"], vocab_size=300, width=32, layers=1, heads=2, hidden=32)
    words.encoder.save_pretrained(base / "text_encoder")
    words.tokenizer.save(str(base / "tokenizer" / "tokenizer.json"))
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=16,
            image_size=28,
            patch_size=14,
        )
    )
    (base / "image_encoder").mkdir()
    save_file(_contiguous(tower.state_dict()), base / "image_encoder" / "model.safetensors")
    (base / "vae").mkdir()
    vae = AutoencoderKLWan(base_dim=4, num_res_blocks=1)
    save_file(_contiguous(vae.state_dict()), base / "vae" / "diffusion_pytorch_model.safetensors")
    whole = VideoTransformer(
        width=256, layers=2, heads=2, ffn=32, text_width=32, time_width=16, image_width=32, control_layers=1
    ).state_dict()
    trunk = {name: weight for name, weight in whole.items() if not name.startswith("controls.")}
    branches = {names.to_longvie(name): weight for name, weight in whole.items() if name.startswith("controls.")}
    save_file(_contiguous(trunk), base / "diffusion_pytorch_model.safetensors")
    save_file(_contiguous(branches), folder / "control.safetensors")
    attention = {name: weight + 1 for name, weight in trunk.items() if "self_attn" in name}
    save_file(_contiguous(attention), folder / "dit.safetensors")
    save_file({"conv1.bias": torch.zeros(1)}, base / "Wan2.1_VAE.safetensors")  # no business of the transformer's
    return base, folder / "control.safetensors", folder / "dit.safetensors"


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in state.items()}


def test_longvie_2_is_read_from_its_published_parts(tmp_path: Path) -> None:
    models = read_longvie(*published(tmp_path))
    assert models.card == LONGVIE_2
    assert models.transformer.config.control_layers == 1
    assert models.transformer.blocks[0].self_attn.q.bias.mean() == 1  # of dit.safetensors
    assert models.transformer.time_projection[1].weight.dtype == torch.float32
    assert models.transformer.blocks[0].ffn[0].weight.dtype == torch.bfloat16
    assert models.autoencoder.latent_channels == 16
    assert models.words.encode(["a ball"]).shape == (1, 512, 32)
    assert models.pictures is not None
    assert models.pictures.encode(torch.zeros(1, 3, 20, 30)).shape == (1, 5, 32)
    saved = save(models, tmp_path / "saved")
    assert replace(load(tmp_path / "saved", dtype=torch.bfloat16).card, files={}) == replace(saved, files={})


def test_another_adapter_is_merged_into_longvie_2(tmp_path: Path) -> None:
    base, control, attention = published(tmp_path)
    plain = read_longvie(base, control, attention, dtype=torch.float32).transformer.state_dict()
    layer, down, up = "diffusion_model.blocks.0.self_attn.q", torch.randn(2, 256), torch.randn(256, 2)
    pair = {f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up, f"{layer}.alpha": torch.tensor(1.0)}
    lora = published_made.written(tmp_path / "lora.safetensors", pair)
    got = read_longvie(base, control, attention, lora, dtype=torch.float32).transformer.state_dict()
    changed = [name for name, weight in plain.items() if not torch.equal(weight, got[name])]
    assert changed == ["blocks.0.self_attn.q.weight"]
    assert_close(got[changed[0]], plain[changed[0]] + up @ down / 2)


# --- LongLive -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_longlive_is_read_from_its_published_parts(tmp_path: Path, layout: str) -> None:
    network = published_made.transformer()
    pair = published_made.adapter(network)
    make = published_made.wan_diffusers if layout == "diffusers" else published_made.wan_original
    files = longlive(make(tmp_path / "Wan"), published_made.longlive(tmp_path / "LongLive", network, pair))
    models = read_longlive(files)
    assert models.card == LONGLIVE_1_3B
    assert models.live is models.transformer
    assert models.pictures is None
    config = models.transformer.config
    assert (config.in_channels, config.image_width, config.control_layers) == (16, None, 0)
    assert models.autoencoder.latent_channels == 16
    assert models.words.encode(["a red ball"]).shape == (1, 512, published_made.TEXT)
    merged = read_adapter(files.lora, renamed(open_checkpoint(files.live), names.transformer)).merged
    for name, weight in models.transformer.state_dict().items():
        assert (weight.dtype == torch.float32) == ("time_" in name or "modulation" in name)
        assert torch.equal(weight, merged(name, network.state_dict()[name]).to(weight.dtype)), name
    everywhere = read_longlive(files, all_bfloat16=True).transformer
    assert {weight.dtype for weight in everywhere.state_dict().values()} == {torch.bfloat16}


@pytest.mark.parametrize("which", ["longlive_base", "lora"])
def test_longlive_s_files_are_whole_or_refused_by_name(tmp_path: Path, which: str) -> None:
    network = published_made.transformer()
    parts = {"longlive_base": published_made.base(network), "lora": published_made.adapter(network)}
    published_made.longlive(tmp_path, network, parts["lora"])
    files = longlive(published_made.wan_diffusers(tmp_path / "Wan"), tmp_path)
    lost = {"longlive_base": "blocks.1.norm3.weight", "lora": "blocks.1.cross_attn.o.lora_B.weight"}[which]
    short = {name: tensor for name, tensor in parts[which].items() if not name.endswith(lost)}
    published_made.written(tmp_path / f"{which}.safetensors", short)
    with pytest.raises(WeightsError, match=rf"{which}\.safetensors does not fit the model: 1 missing \({lost}\)"):
        read_longlive(files)
    published_made.written(tmp_path / f"{which}.safetensors", {**parts[which], "critic.a": torch.zeros(1)})
    with pytest.raises(WeightsError, match=r"1 unexpected \(critic\.a\)"):
        read_longlive(files)


def test_weights_for_the_live_engine_alone_are_saved_once(tmp_path: Path) -> None:
    network = published_made.transformer()
    ours = published_made.longlive(tmp_path / "LongLive", network, published_made.adapter(network))
    models = read_longlive(longlive(published_made.wan_diffusers(tmp_path / "Wan"), ours))
    save(models, tmp_path / "saved")
    assert not (tmp_path / "saved" / "live").exists()
    again = load(tmp_path / "saved", dtype=torch.bfloat16)
    assert again.live is again.transformer
    assert again.card.engines == ("live",)
    for name, weight in models.transformer.state_dict().items():
        assert torch.equal(again.transformer.state_dict()[name], weight.bfloat16())


def words_alone(made: Models) -> Models:
    """LongLive's form at the size of the tiny models."""
    transformer = VideoTransformer(
        width=48, layers=1, heads=2, ffn=64, in_channels=16, text_width=made.words.width, time_width=32
    )
    card = replace(LONGLIVE_1_3B, size=TINY.size)
    return replace(made, card=card, transformer=transformer.eval(), live=transformer)


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ("depth", ControlError, "was not trained on 'depth'; it knows none"),
        ("tracks", ControlError, "was not trained on 'tracks'; it knows none"),
        ("picture", ScriptError, "takes no pictures"),
        ("beats", ControlError, "does not hear beats"),
    ],
)
def test_longlive_takes_words_alone(made: Models, asked: str, kind: type[Exception], said: str) -> None:
    given: dict[str, Any] = {"picture": picture(), "beats": np.zeros(5, np.float32)}
    controls = (direction(asked, 5),) if asked in ("depth", "tracks") else ()
    known = {asked: given[asked]} if asked in given else {}
    script = Script(5, TINY.size, 16, parse("a red ball"), controls=controls, **known)
    with pytest.raises(kind, match=rf"longlive-1\.3b {said}"):
        ClipEngine(words_alone(made)).run(script)


@pytest.mark.parametrize("control", ["depth", "tracks", "sketch", "segmentation"])
def test_a_control_for_longlive_is_refused_before_any_file_is_read(control: str) -> None:
    config = LongVieConfig(controls=ControlsSection(**{control: "nowhere.npz"}), prompt="a red ball")
    with Inputs() as inputs, pytest.raises(ControlError, match=f"not trained on {control}; it knows none"):
        prepare(config, LONGLIVE_1_3B, inputs)


def test_size_rate_and_steps_of_longlive_are_the_published_ones() -> None:
    card = LONGLIVE_1_3B
    assert (card.size, card.fps, card.text_len) == ((480, 832), 16, 512)
    assert (card.steps, card.shift, card.guidance, card.predicts) == (4, 5.0, 1.0, "velocity")


def test_moving_models_says_nothing(made: Models, capfd: pytest.CaptureFixture[str]) -> None:
    made.to(torch.device("cpu"), torch.float32)
    assert capfd.readouterr() == ("", "")


def test_guidance_and_steps_of_longvie_2_are_the_published_ones() -> None:
    assert (LONGVIE_2.steps, LONGVIE_2.shift, LONGVIE_2.guidance, LONGVIE_2.size) == (50, 5.0, 5.0, (352, 640))
    assert LONGVIE_2.negative.startswith("色调艳丽")
