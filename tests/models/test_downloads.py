"""Published files are found where they lie, and what is missing is said with the command that gets it."""

import os
import shlex
import subprocess
from pathlib import Path

import longlive_made as made
import pytest
import torch
from torch.testing import assert_close

from longvie import LongVie, catalogue, cli
from longvie.errors import WeightsError
from longvie.models import downloads
from longvie.models.downloads import LongLive, longlive, snapshots
from longvie.models.models import LONGLIVE_1_3B, Models, read_longlive
from longvie.presets import ModelSection

WAN, DIFFUSERS, OURS = *downloads.WAN_1_3B.repositories, *downloads.LONGLIVE.repositories


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub with nothing in it, and a folder to be in that holds no `models/`."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def touched(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def refused(**given: Path | None) -> str:
    with pytest.raises(WeightsError) as caught:
        longlive(**given)
    assert caught.value.code == "weights_missing"
    return str(caught.value)


# --- where files are looked for -------------------------------------------------------------------------------------


def test_parts_may_lie_in_different_layouts_and_places(cache: Path) -> None:
    """The autoencoder converted here, the words in diffusers' snapshot, the tokenizer in Wan's own."""
    vae = Path("models/Wan2.1-T2V-1.3B/Wan2.1_VAE.safetensors")
    own, theirs, ours = (made.cached(cache, name) for name in (WAN, DIFFUSERS, OURS))
    touched(vae, own / "google/umt5-xxl/tokenizer.json", own / "Wan2.1_VAE.pth", theirs / "text_encoder/x.safetensors")
    touched(ours / "models/lora.pt", ours / "longlive_base.safetensors", Path("models/LongLive-1.3B/lora.safetensors"))
    assert longlive(cache=cache) == LongLive(
        autoencoder=vae,
        words=theirs / "text_encoder",
        tokenizer=own / "google/umt5-xxl/tokenizer.json",
        live=ours / "longlive_base.safetensors",
        lora=Path("models/LongLive-1.3B/lora.safetensors"),
    )


def test_a_folder_that_is_named_is_the_only_one(cache: Path, tmp_path: Path) -> None:
    base, ours = made.cached(cache, DIFFUSERS), tmp_path / "LongLive"
    touched(base / "vae/x.safetensors", base / "text_encoder/x.safetensors", base / "tokenizer/tokenizer.json")
    touched(ours / "longlive_base.safetensors", ours / "lora.safetensors")
    longlive(live=ours, cache=cache)
    said = refused(base=tmp_path / "elsewhere", live=ours, cache=cache)
    assert f"google/umt5-xxl/tokenizer.json) in {tmp_path / 'elsewhere'}: hf download" in said
    assert f"'tokenizer/*' --local-dir {tmp_path / 'elsewhere'}, or set model.base" in said
    assert str(cache) not in said and "LongLive" not in said


def test_files_that_are_named(tmp_path: Path, cache: Path) -> None:
    base, ours = made.cached(cache, DIFFUSERS), tmp_path / "mine"
    touched(base / "vae/x.safetensors", base / "text_encoder/x.safetensors", base / "tokenizer/tokenizer.json")
    touched(ours / "b.safetensors", ours / "lora.safetensors", tmp_path / "peft/adapter_model.safetensors")
    assert longlive(live=ours / "b.safetensors", cache=cache).lora == ours / "lora.safetensors"  # beside it
    found = longlive(live=ours / "b.safetensors", lora=tmp_path / "peft", cache=cache)
    assert (found.live, found.lora) == (ours / "b.safetensors", tmp_path / "peft/adapter_model.safetensors")
    said = refused(live=ours / "c.safetensors", lora=tmp_path / "d.safetensors", cache=cache)
    assert f"no LongLive base (c.safetensors), no LongLive adapter (d.safetensors) in {ours} or {tmp_path}:" in said
    assert f"hf download {OURS} --local-dir {ours}, or" in said
    assert f"in {tmp_path / 'LongLive-1.3B'}: hf" in refused(live=tmp_path / "LongLive-1.3B", cache=cache)  # a folder


def test_all_that_is_missing_is_named_at_once_with_the_places_and_the_way(cache: Path) -> None:
    said = refused(cache=cache)
    for part in ("autoencoder", "text encoder", "tokenizer", "LongLive base", "LongLive adapter"):
        assert f"no {part} (" in said
    assert f"in models/Wan2.1-T2V-1.3B or models/Wan2.1-T2V-1.3B-Diffusers or {cache}: hf download" in said
    assert f"{DIFFUSERS} --include 'vae/*' 'text_encoder/*' 'tokenizer/*', or set model.base" in said
    assert f"in models/LongLive-1.3B or {cache}: hf download {OURS}, or set model.live and model.lora" in said
    assert "\n" not in said


def test_no_cache_at_all_is_none_to_look_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no tokenizer" in refused(cache=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_the_hub_s_own_cache_is_the_default(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads.constants, "HF_HUB_CACHE", str(cache))
    assert str(cache) in refused()


# --- the hub's cache ------------------------------------------------------------------------------------------------


def test_snapshots_come_in_the_order_of_the_names_and_the_last_one_first(cache: Path) -> None:
    old, new, other = made.cached(cache, WAN, "a"), made.cached(cache, WAN, "b"), made.cached(cache, OURS)
    for number, snapshot in enumerate((new, old, other)):
        touched(snapshot / "x")
        os.utime(snapshot / "x", (1000 - number, 1000 - number))
    assert snapshots([OURS, WAN], cache) == (other, new, old)
    assert snapshots([WAN], cache) == (new, old)


def test_what_is_no_snapshot_of_a_model_is_passed_over(cache: Path) -> None:
    whole, torn = made.cached(cache, WAN), made.cached(cache, OURS)
    touched(whole / "x")
    (torn / "x").symlink_to(cache / "gone")
    made.cached(cache, DIFFUSERS)
    (cache / f"models--{DIFFUSERS.replace('/', '--')}").rename(cache / f"datasets--{DIFFUSERS.replace('/', '--')}")
    touched(cache / "notes.txt")
    assert snapshots([DIFFUSERS, OURS, WAN], cache) == (whole,)


def test_a_cache_that_is_a_file_is_said(tmp_path: Path) -> None:
    touched(tmp_path / "cache")
    with pytest.raises(WeightsError, match="cache cannot be read"):
        snapshots([WAN], tmp_path / "cache")


# --- from what was fetched to a model -------------------------------------------------------------------------------


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns) for path in folder.rglob("*"))


def run_all(said: str) -> None:
    """The commands of a refusal, as a user would paste them."""
    for commands in said.split("must be converted first: ")[1:]:
        for command in commands.split("; ")[0].split(" && "):
            verb, *arguments = shlex.split(command)
            assert (verb, cli.run(arguments)) == ("longvie", 0), command


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_from_a_cache_as_it_is_fetched_to_the_model(cache: Path, layout: str) -> None:
    """What is fetched holds pickles; the refusal's own commands make it a model, and nothing in the cache changes."""
    network = made.transformer()
    pair = made.adapter(network)
    snapshot = made.cached(cache, DIFFUSERS if layout == "diffusers" else WAN)
    wan = made.wan_diffusers(snapshot) if layout == "diffusers" else made.wan_original(snapshot, ".pth")
    for folder in (wan, made.longlive_pickled(made.cached(cache, OURS), network, pair)):
        made.into_blobs(folder)
    before = listing(cache)
    section = ModelSection(ckpt="longlive-1.3b")
    with pytest.raises(WeightsError, match="must be converted first") as caught:
        catalogue.longlive_files(section, cache=cache)
    said = str(caught.value)
    base = "models/LongLive-1.3B/longlive_base.safetensors --part generator && "
    assert base in said and said.endswith("models/LongLive-1.3B/lora.safetensors --part generator_lora")
    run_all(said)
    models = read_longlive(catalogue.longlive_files(section, cache=cache), dtype=torch.float32)
    assert models.card == LONGLIVE_1_3B
    changed = network.state_dict()["blocks.1.ffn.2.weight"]
    down, up = (pair[f"base_model.model.blocks.1.ffn.2.lora_{half}.weight"] for half in "AB")
    assert_close(models.transformer.state_dict()["blocks.1.ffn.2.weight"], changed + up @ down)
    assert models.words.encode(["a red ball"]).shape == (1, 512, made.TEXT)
    assert listing(cache) == before


def test_by_name_alone_when_everything_is_there(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(downloads.constants, "HF_HUB_CACHE", str(cache))
    model = LongVie.from_pretrained("longlive-1.3b", device="cpu", dtype=torch.float32)
    assert model.card == LONGLIVE_1_3B
    with pytest.raises(WeightsError, match=r"longlive-1\.3b is not complete"):
        _ = model.models
    assert state(capsys) == "needs your own downloads"
    network = made.transformer()
    made.wan_diffusers(made.cached(cache, DIFFUSERS))
    made.longlive(Path("models/LongLive-1.3B"), network, made.adapter(network))
    assert isinstance(model.models, Models)
    assert state(capsys) == "ready"


def state(capsys: pytest.CaptureFixture[str]) -> str:
    """What `models list` says of the model."""
    assert cli.run(["models", "list"]) == 0
    assert "longlive-1.3b" in capsys.readouterr().out
    return catalogue.state_of("longlive-1.3b")[-1]


def test_a_pickle_that_is_named_is_answered_with_its_command(cache: Path, tmp_path: Path) -> None:
    base, ours = made.cached(cache, DIFFUSERS), tmp_path / "LongLive"
    touched(base / "vae/x.safetensors", base / "text_encoder/x.safetensors", base / "tokenizer/tokenizer.json")
    touched(ours / "base.pt", ours / "lora.safetensors", ours / "longlive_base.pt")
    section = ModelSection(ckpt="longlive-1.3b", live=str(ours / "base.pt"))
    with pytest.raises(WeightsError) as caught:
        catalogue.longlive_files(section, cache=cache)
    command = f"longvie models convert {ours / 'base.pt'} {ours / 'base.safetensors'} --part generator"
    assert str(caught.value).endswith(f"must be converted first: {command}")
    section = ModelSection(ckpt="longlive-1.3b", live=str(ours / "mine.safetensors"))  # as it is to be called
    with pytest.raises(WeightsError) as caught:
        catalogue.longlive_files(section, cache=cache)
    command = f"longvie models convert {ours / 'longlive_base.pt'} {ours / 'mine.safetensors'} --part generator"
    assert str(caught.value).endswith(command)


def test_no_process_is_started_and_nothing_is_asked_of_the_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was asked"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    refused(cache=cache)
