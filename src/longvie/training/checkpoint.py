"""All that is needed to go on training as if nothing had happened, in one safetensors file and one JSON file.

The position in the data is the step: every batch and all noise are drawn from the seed and the step, so nothing else is
kept of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from longvie.errors import WeightsError

CHECKPOINT = "training.safetensors"


@dataclass(frozen=True)
class Position:
    """Where a training is."""

    stage: str
    step: int
    seconds: float  # of training so far, over all its sessions
    recipe: dict[str, Any]


def save(
    folder: Path,
    position: Position,
    weights: Mapping[str, Tensor],
    ema: Mapping[str, Tensor],
    optimizers: Sequence[torch.optim.Optimizer],
) -> None:
    """Writes a checkpoint by rename: a training that is killed meanwhile keeps the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"weights.{k}": v.detach().contiguous() for k, v in weights.items()}
    tensors |= {f"ema.{k}": v.contiguous() for k, v in ema.items()}
    for place, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{_optimizer(place)}{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    draft = folder / "training.part"
    save_file(
        {k: v.cpu().clone() for k, v in tensors.items()}, draft, metadata={"position": json.dumps(asdict(position))}
    )
    draft.rename(folder / CHECKPOINT)


def load(
    folder: Path, module: nn.Module, ema: dict[str, Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> Position | None:
    """Puts a checkpoint back into what is given; None where there is none.

    Raises:
        WeightsError: the checkpoint holds other weights.
    """
    file = folder / CHECKPOINT
    if not file.exists():
        return None
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        position = Position(**json.loads(opened.metadata()["position"]))
    tensors = load_file(file)
    part = lambda name: {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}  # noqa: E731
    weights = part("weights.")
    own = {k: p for k, p in module.named_parameters() if p.requires_grad}
    wanted, found = ({k: tuple(v.shape) for k, v in named.items()} for named in (own, weights))
    strange = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
    if strange:
        raise WeightsError(
            f"the checkpoint in {folder.name} is of another training ({position.stage}): {len(strange)} tensors do not "
            f"fit, {strange[0]} for one; use the sizes that it began with, or another folder"
        )
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
        for name, value in part("ema.").items():
            ema[name].copy_(value)
    for place, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in part(_optimizer(place)).items():
            index, key = name.split(".", 1)
            state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return position


def _optimizer(place: int) -> str:
    """What the names of an optimizer's tensors begin with."""
    return "optimizer." if place == 0 else f"optimizer{place}."
