"""All that is needed to go on training as if nothing had happened, in one safetensors file and one JSON file.

The position in the data is the step: every batch is drawn from the seed and the step, so nothing else is kept of it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from longvie.errors import WeightsError


@dataclass(frozen=True)
class Position:
    """Where a training is."""

    stage: str
    step: int
    seconds: float  # of training so far, over all its sessions
    recipe: dict[str, float]


def save(
    folder: Path,
    position: Position,
    weights: Mapping[str, Tensor],
    ema: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Writes a checkpoint by rename: a training that is killed meanwhile keeps the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"weights.{k}": v.detach().contiguous() for k, v in weights.items()}
    tensors |= {f"ema.{k}": v.contiguous() for k, v in ema.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors["random"] = torch.get_rng_state()
    draft = folder / "training.part"
    save_file(
        {k: v.cpu().clone() for k, v in tensors.items()}, draft, metadata={"position": json.dumps(asdict(position))}
    )
    draft.rename(folder / "training.safetensors")


def load(folder: Path, module: nn.Module, ema: dict[str, Tensor], optimizer: torch.optim.Optimizer) -> Position | None:
    """Puts a checkpoint back into what is given; None where there is none.

    Raises:
        WeightsError: the checkpoint holds other weights.
    """
    file = folder / "training.safetensors"
    if not file.exists():
        return None
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        position = Position(**json.loads(opened.metadata()["position"]))
    tensors = load_file(file)
    part = lambda name: {k[len(name) :]: v for k, v in tensors.items() if k.startswith(name)}  # noqa: E731
    weights = part("weights.")
    own = dict(module.named_parameters())
    missing = [k for k, p in own.items() if p.requires_grad and k not in weights]
    if missing:
        raise WeightsError(
            f"the checkpoint in {folder.name} lacks {len(missing)} tensors, first {missing[0]}; begin anew"
        )
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)
        for name, value in part("ema.").items():
            ema[name].copy_(value)
    layout, held = optimizer.state_dict(), part("optimizer.")
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in held.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": layout["param_groups"]})
    torch.set_rng_state(tensors["random"])
    return position
