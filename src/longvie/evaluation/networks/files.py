"""Official files → tensors by name, and tensors → a network that wants exactly these.

A pickle may run code, so only tensors and plain containers are taken from one. A TorchScript archive is a program: its
own sandboxed language can still exhaust the machine, so what is given here must have been found, and its hash compared
where one is known, by `weights.locate`.
"""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from longvie.errors import WeightsError

Module = TypeVar("Module", bound=nn.Module)
SHOWN = 3  # names that an error lists


def tensors(path: Path, part: str = "") -> dict[str, Tensor]:
    """What a pickled checkpoint holds, by name; `part` is the entry of it that holds the tensors.

    Raises:
        WeightsError: the file cannot be read without running code, or holds no such part.
    """
    try:
        tree: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # torch raises anything here: pickle, zip, runtime and key errors
        raise WeightsError(f"{path.name} cannot be read: it is damaged, or holds more than tensors") from reason
    held = tree.get(part) if part and isinstance(tree, Mapping) else tree
    named = {str(name): it for name, it in held.items() if isinstance(it, Tensor)} if isinstance(held, Mapping) else {}
    if not named:
        raise WeightsError(f"{path.name} holds no tensors by name" + (f" under {part!r}" if part else ""))
    return named


def program(path: Path) -> torch.jit.ScriptModule:
    """A TorchScript archive, as it is.

    Raises:
        WeightsError: it is none.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # nothing else reads what was published so
            return torch.jit.load(str(path), map_location="cpu")
    except Exception as reason:
        raise WeightsError(f"{path.name} cannot be read: it is damaged, or no TorchScript archive") from reason


def under(named: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins so, without the beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in named.items() if name.startswith(prefix)}


def size(named: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    """The shape of one of them.

    Raises:
        WeightsError: it is not there, or has another number of dimensions.
    """
    found = named.get(name)
    if found is None or found.ndim != dims:
        raise WeightsError(f"the checkpoint has no {name} of {dims} dimensions: it is that of another network")
    return tuple(found.shape)


def count(named: Mapping[str, Tensor], prefix: str) -> int:
    """How many blocks there are, numbered after the prefix."""
    return len({name.removeprefix(prefix).split(".")[0] for name in named if name.startswith(prefix)})


def fit(network: Module, named: Mapping[str, Tensor], spare: Collection[str] = ()) -> Module:
    """The network with these tensors in float32, not copied where they are that already, for use and not for training.

    Args:
        network: may lie on the meta device, for all that it holds is replaced.
        spare: names that the checkpoint may have and the network does not want.

    Raises:
        WeightsError: a tensor is missing, unknown or of another shape.
    """
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    came = {name: tensor for name, tensor in named.items() if name in wanted or name not in spare}
    wrong = [f"{name} is missing" for name in wanted if name not in came]
    wrong += [f"{name} is unknown" for name in came if name not in wanted]
    wrong += [
        f"{name} is {tuple(came[name].shape)} and should be {tuple(shape)}"
        for name, shape in wanted.items()
        if name in came and came[name].shape != shape
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise WeightsError(f"the checkpoint does not fit {type(network).__name__}: {'; '.join(wrong[:SHOWN])}{more}")
    full = {name: it.float() if it.is_floating_point() else it for name, it in came.items()}
    network.load_state_dict(full, assign=True)
    return network.eval().requires_grad_(False)
