"""Training of control branches for foreign weights, from footage: see `stages/control.py`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from longvie.data.footage import Footage
from longvie.models.models import Models
from longvie.training.stages.control import FILE, RECIPE, ControlStage, with_branches
from longvie.training.trainer import Recipe, Trainer


def train_control(
    models: Models,
    metadata: Path,
    folder: Path,
    recipe: Recipe = RECIPE,
    report: Callable[[str], None] = lambda _: None,
    *,
    fresh: bool = True,
) -> Path:
    """Trains the branches of `models` on footage and writes `control.safetensors`; one that was stopped goes on.

    Args:
        models: on the device that is to compute; the transformer may have no branches yet.
        metadata: LongVie's JSON list of `video`, `depth`, `track`, `text`.
        folder: of the training: checkpoint, log, sheets, result.
        fresh: whether branches start from the trunk's first layers; otherwise from what they are.

    Returns:
        The written file.

    Raises:
        InputError: metadata or footage that cannot be read.
        ConfigError: branches that are asked to go on and are not there, or do not fit the trunk's heads.
    """
    torch.manual_seed(recipe.seed)
    card = models.card
    footage = Footage.open(metadata, frames=card.frames, size=card.size, fps=card.fps)
    if fresh:
        models = replace(models, transformer=with_branches(models.transformer))
    stage = ControlStage(models, footage)
    Trainer(stage, recipe, folder, cpu=stage.place.type == "cpu").run(report)
    return folder / FILE
