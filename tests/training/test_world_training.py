"""The embedded model from nothing, all stages in a row at tiny sizes: what comes out is a model that runs."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from longvie.controls.guides import COUNT
from longvie.data import clips, latents
from longvie.engine.clip import ClipEngine
from longvie.errors import ConfigError, InputError
from longvie.models import models
from longvie.models.tae import TinyAutoencoder
from longvie.training import rolled, world
from longvie.training.world import STAGES, Plan, Sizes, train
from made import rendered
from small import full_script

PLAN = Plan(
    clips=2,
    played=1,
    rolled=1,
    variants=2,
    sizes=Sizes(width=72, layers=1, ffn=64, control_layers=1, control_width=72, control_ffn=64),
    steps=2,
).lasting(dict.fromkeys(world.PACES, 60.0))
LEARNING = [name for name in world.PACES if name not in world.ALONE]


class Narrow:
    """The autoencoder that is trained, with few channels."""

    def __new__(cls, **blocks: Any) -> TinyAutoencoder:  # type: ignore[misc]
        return TinyAutoencoder(encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8), **blocks)

    from_pretrained = TinyAutoencoder.from_pretrained


@pytest.fixture(scope="module", autouse=True)
def tiny_world() -> Iterator[None]:
    """Few channels, one held-out clip, few captions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "TinyAutoencoder", Narrow)
        patch.setattr(world, "HELD_OUT", 1)
        patch.setattr(world, "HELD_OUT_LONG", 1)
        patch.setattr(world, "HELD_OUT_VARIANTS", 2)
        patch.setattr(rolled, "BLOCKS", 4)
        patch.setattr(world, "CAPTIONS", 40)
        yield


@pytest.fixture(scope="module")
def trained(tiny_world: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:  # noqa: ARG001
    """A training folder in which all stages have run, and what they told. Its clips were there before, and small."""
    folder, told = tmp_path_factory.mktemp("trained") / "runs", []
    shutil.copytree(rendered(tmp_path_factory), folder)
    train(folder, "all", PLAN, report=told.append)
    return folder, told


def test_the_result_is_a_model_folder_that_the_engine_runs(trained: tuple[Path, list[str]]) -> None:
    made = models.load(trained[0] / "world")
    assert (made.card.name, made.card.predicts, made.card.size, made.card.random) == ("world", "x0", (96, 176), False)
    assert made.card.files
    engine = ClipEngine(made)
    asked = full_script(21)
    video = torch.cat([chunk.frames for chunk in engine.run(asked)], dim=1)
    assert video.shape == (3, 21, 32, 48)
    assert video.isfinite().all() and video.std() > 0
    without = torch.cat([chunk.frames for chunk in engine.run(replace(asked, controls=()))], dim=1)
    assert without.shape == video.shape


def test_the_packed_transformer_is_that_of_the_last_stage(trained: tuple[Path, list[str]]) -> None:
    folder, told = trained
    assert told[-1].startswith("pack: world holds history and long, ")
    packed = models.load(folder / "world").transformer.state_dict()
    decoder = TinyAutoencoder.from_pretrained(folder / "likely" / "autoencoder").state_dict()
    shipped = models.load(folder / "world").autoencoder
    assert shipped.guides == COUNT
    assert all(torch.allclose(shipped.state_dict()[name], decoder[name], atol=1e-2) for name in decoder)
    last = world._trained(folder / "history")[0].state_dict()
    before = world._trained(folder / "base")[0].state_dict()
    assert all(torch.equal(packed[name], last[name].bfloat16().float()) for name in last)
    assert any(not torch.equal(last[name], before[name]) for name in last)


def test_each_stage_leaves_what_is_needed_to_see_and_to_go_on(trained: tuple[Path, list[str]]) -> None:
    for name in LEARNING:
        folder = trained[0] / name
        for file in ("training.safetensors", "log.jsonl", "curve.png", "sheet_000002.png", "exported.json"):
            assert (folder / file).stat().st_size > 0, f"{name}/{file}"
        assert json.loads((folder / "log.jsonl").read_text().splitlines()[0])["step"] == 1
    assert len(list((trained[0] / "latents").rglob("*.safetensors"))) == 3
    for room in ("made", "worn", "held_out/made"):
        assert [int(file.stem) for file in (trained[0] / room).rglob("*.safetensors")] == [
            0 if "held_out" in room else 2
        ]
    continued = [latents.load(file) for file in (trained[0] / "continued").rglob("*.safetensors")]
    assert len(continued) == 1 and all(set(clip.worn) == {5, 13} for clip in continued)


def test_running_it_again_changes_nothing(trained: tuple[Path, list[str]]) -> None:
    """Not even when there are more clips by now: the autoencoder that encoded the latents stays what it was."""
    folder = trained[0]
    shutil.copy(clips.path(folder / "clips", 1), clips.path(folder / "clips", 7))
    rooms = (*LEARNING, "latents", "made", "worn", "continued", "rolled", "variants")
    watched = [file for name in rooms for file in (folder / name).rglob("*.*")]
    before = {file: file.read_bytes() for file in watched if file.is_file()}
    for stage in STAGES[1:-1]:
        train(folder, stage, PLAN)
    assert {file for name in LEARNING for file in (folder / name).rglob("*.safetensors")} <= {*before}
    for file, content in before.items():
        assert file.read_bytes() == content, file.name


def test_an_autoencoder_that_is_put_there_is_kept(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    given = trained[0] / "autoencoder" / "autoencoder"
    shutil.copytree(given, tmp_path / "autoencoder" / "autoencoder")
    told: list[str] = []
    train(tmp_path, "autoencoder", PLAN, report=told.append)  # there are not even clips
    assert told == ["autoencoder: it is there, without its training; kept as it is"]
    for file in given.iterdir():
        assert (tmp_path / "autoencoder" / "autoencoder" / file.name).read_bytes() == file.read_bytes()


def test_a_training_that_begins_from_a_model_packs_what_it_has_not_trained(
    trained: tuple[Path, list[str]], tmp_path: Path
) -> None:
    train(tmp_path / "more", "pack", replace(PLAN, origin=trained[0] / "world"))
    before, after = (models.load(folder / "world") for folder in (trained[0], tmp_path / "more"))
    held = after.transformer.state_dict()
    assert all(torch.equal(weight, held[name]) for name, weight in before.transformer.state_dict().items())
    assert after.autoencoder.guides == COUNT and after.live is None
    assert before.repainter is not None and after.repainter is not None
    held = after.repainter.state_dict()
    assert all(torch.equal(weight, held[name]) for name, weight in before.repainter.state_dict().items())


def test_another_plan_in_the_same_folder_is_refused(trained: tuple[Path, list[str]]) -> None:
    with pytest.raises(InputError, match=r"another training \(base\).*another folder"):
        train(trained[0], "base", replace(PLAN, sizes=replace(PLAN.sizes, ffn=96)))


def test_a_stage_that_is_unknown_or_comes_too_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no stage 'bass'; there are clips, autoencoder, decoder"):
        train(tmp_path, "bass", PLAN)
    for stage, said in (
        ("autoencoder", "no clips in clips"),
        ("latents", "run the stage 'autoencoder' first"),
        ("history", "no trained 'base'"),
        ("pack", "no trained 'base'"),
    ):
        with pytest.raises(InputError, match=said):
            train(tmp_path, stage, PLAN)
    assert set(STAGES) == set(world._RUN)


def test_the_plan_of_a_large_gpu_has_the_sizes_of_the_shipped_form() -> None:
    """Heads stay 72 wide, whatever the plan."""
    for plan in (Plan(), Plan.gpu()):
        with torch.device("meta"):
            model = plan.sizes.transformer(128)
        config = model.config
        assert config["width"] == 72 * config["heads"] and config["control_width"] == 72 * config["control_heads"]
        assert config["dense_kinds"] == 3 and config["beats"] and config["branch_positions"] == "clip"
    assert Plan.gpu().scale > Plan().scale
