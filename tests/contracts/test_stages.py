"""What every stage of training must do, whichever it is: a new one is tested here on its first day."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from longvie import LongVie
from longvie.controls.guides import COUNT
from longvie.data import clips, variants
from longvie.data.footage import Footage
from longvie.data.latents import encode
from longvie.data.streams import Store
from longvie.data.world import scene
from longvie.models.repainter import Repainter
from longvie.models.tae import TinyAutoencoder
from longvie.training.played import play
from longvie.training.rolled import Shelf, roll
from longvie.training.stages.autoencoder import AutoencoderStage, grown
from longvie.training.stages.base import BaseStage
from longvie.training.stages.causal import CausalStage
from longvie.training.stages.control import ControlStage
from longvie.training.stages.distill import DistillStage
from longvie.training.stages.finish import FinishStage, LikelyStage, Room
from longvie.training.stages.history import HistoryStage
from longvie.training.stages.long import LongStage
from longvie.training.stages.match import MatchStage
from longvie.training.stages.paint import PaintStage
from longvie.training.trainer import Recipe, Stage, Trainer
from made import noisy_pool, rendered, small_models, write_footage

Build = Callable[[Path], Stage]
STEPS = Recipe(minutes=60.0, rate=1e-3, warmup=1, steps=2)


def autoencoder(folder: Path) -> Stage:
    return AutoencoderStage(small_models().autoencoder, Store.open(folder / "clips"))


def base(folder: Path) -> Stage:
    models = small_models()
    return BaseStage(models.transformer, models.words, models.autoencoder, noisy_pool(folder), noisy_pool(folder, 1))


def history(folder: Path) -> Stage:
    models = small_models()
    return HistoryStage(models.transformer, models.words, models.autoencoder, noisy_pool(folder), noisy_pool(folder, 1))


def causal(folder: Path) -> Stage:
    models = small_models()
    return CausalStage(models.transformer, models.words, models.autoencoder, noisy_pool(folder), noisy_pool(folder, 1))


def distill(folder: Path) -> Stage:
    models = small_models()
    return DistillStage(models.transformer, models.words, models.autoencoder, noisy_pool(folder), noisy_pool(folder, 1))


def long(folder: Path) -> Stage:
    models = small_models()
    shelf = Shelf((roll(models, scene(1), blocks=4),))
    pools = noisy_pool(folder), noisy_pool(folder, 1)
    return LongStage(models.transformer, models.words, models.autoencoder, *pools, shelf=shelf, unknown=shelf)


def match(folder: Path) -> Stage:
    models = small_models()
    teacher = small_models().transformer
    pools = noisy_pool(folder), noisy_pool(folder, 1)
    return MatchStage(models.transformer, models.words, models.autoencoder, *pools, teacher=teacher)


def control(folder: Path) -> Stage:
    models = small_models()
    models = replace(models, card=replace(models.card, frames=9))
    footage = Footage.open(write_footage(folder / "footage", 9), frames=9, size=(32, 48), fps=16)
    return ControlStage(models, footage)


def paint(folder: Path) -> Stage:  # noqa: ARG001 - moments are made, not read
    torch.manual_seed(4)
    words = LongVie.from_pretrained("world").models.words.float()
    model = Repainter(width=8, layers=2, text_width=words.width, fine_width=2, wholes=True)
    moments = [variants.make(number, size=(48, 88)) for number in range(6)]
    return PaintStage(model, words, moments, moments[:3])


def finish(folder: Path) -> Stage:
    return FinishStage(looking(), *(played(folder, kind) for kind in ("clips", "held_out")))


def likely(folder: Path) -> Stage:
    torch.manual_seed(0)  # of the judge
    return LikelyStage(looking(), *(played(folder, kind) for kind in ("clips", "held_out")))


def looking() -> TinyAutoencoder:
    small = small_models().autoencoder
    return grown(small, tuple(small.config["decoder_blocks"]), guides=COUNT)


def played(folder: Path, kind: str) -> Room:
    """What a model that knows nothing makes of the clips."""
    root = folder if kind == "clips" else folder / kind
    stage = base(folder)
    for number in range(2 if kind == "clips" else 1):
        file = clips.path(root / "guessed", number)
        if not file.exists():
            clip = clips.load(clips.path(root / "clips", number))
            play(stage, clip, encode(clip, stage.autoencoder))[0].save(file)
    return Room.open(root, "guessed")


@pytest.fixture(
    params=[autoencoder, finish, likely, base, history, causal, distill, match, long, control, paint],
    ids=lambda build: build.__name__,
)
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Stage]:
    folder = rendered(tmp_path_factory)
    return lambda: request.param(folder)


def weights(stage: Stage) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in stage.named_parameters()}


def test_two_steps_move_what_is_trained_and_leave_what_is_frozen(build: Callable[[], Stage], tmp_path: Path) -> None:
    stage = build()
    before = weights(stage)
    trained = {name for name, weight in stage.named_parameters() if weight.requires_grad}
    trainer = Trainer(stage, STEPS, tmp_path)
    figures = [trainer._step(step, step / 2) for step in range(2)]
    assert all(np.isfinite(list(row.values())).all() for row in figures)
    assert all(row["norm"] > 0 for row in figures)
    after = weights(stage)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and moved <= trained
    assert len(moved) > len(trained) / 4


def test_the_same_seed_and_step_give_the_same_loss_and_another_step_another(build: Callable[[], Stage]) -> None:
    stage = build()

    def loss(step: int) -> float:
        torch.manual_seed(step)
        with torch.no_grad():
            return float(stage(np.random.Generator(np.random.PCG64([0, step])), 0.3)[0])

    assert loss(1) == loss(1)
    assert loss(1) != loss(2)


def test_a_whole_run_leaves_a_sheet_and_models_and_is_the_same_when_resumed(
    build: Callable[[], Stage], tmp_path: Path
) -> None:
    whole, first = Trainer(build(), STEPS, tmp_path / "whole"), Trainer(build(), STEPS, tmp_path / "parts")
    whole.run()
    first.folder.mkdir()
    first._step(0, 0.0)
    first._save(1, 0.0)
    second = Trainer(build(), STEPS, tmp_path / "parts")
    second.run()
    for name, weight in weights(whole.stage).items():
        assert torch.equal(weight, weights(second.stage)[name]), name
    made = {file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*.safetensors")}
    assert len(made) >= 2  # the checkpoint and at least one network
    for file in made - {Path("training.safetensors")}:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "parts" / file).read_bytes()
    assert (tmp_path / "whole" / "sheet_000002.png").exists()


def test_its_sheet_is_a_picture_of_something(build: Callable[[], Stage]) -> None:
    with torch.no_grad():
        sheet = build().sheet()
    assert sheet.dtype == np.uint8 and sheet.ndim == 3
    assert sheet.shape[0] > 32 and sheet.shape[1] >= 48
    assert len(np.unique(sheet)) > 8


def test_its_name_is_its_own() -> None:
    stages = (AutoencoderStage, FinishStage, LikelyStage, BaseStage, HistoryStage, ControlStage)
    assert len({stage.name for stage in stages}) == len(stages)
