"""A model is a folder: what is saved is what is loaded, and a changed file is noticed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from longvie.errors import WeightsError
from longvie.models.models import (
    CARD,
    LONGVIE_2,
    TINY,
    Card,
    Models,
    check_files,
    load,
    read_card,
    read_longvie,
    save,
    tiny,
)


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


@pytest.mark.parametrize("card", [TINY, LONGVIE_2])
def test_a_card_is_its_text(card: Card) -> None:
    assert Card.from_json(card.to_json()) == card


@pytest.mark.parametrize(
    "changed",
    [
        {"size": [32]},
        {"size": "32x48"},
        {"fps": "fast"},
        {"predicts": "noise"},
        {"quirks": "all"},
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
    with pytest.raises(WeightsError, match=r"no \.safetensors file"):
        read_longvie(tmp_path, tmp_path / "control.safetensors")


def test_guidance_and_steps_of_longvie_2_are_the_published_ones() -> None:
    assert (LONGVIE_2.steps, LONGVIE_2.shift, LONGVIE_2.guidance, LONGVIE_2.size) == (50, 5.0, 5.0, (352, 640))
    assert LONGVIE_2.negative.startswith("色调艳丽")
