"""Where the instruments lie: one file of weights each, and a card that says what they are and how much they err."""

from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from longvie.documents import read_json
from longvie.errors import WeightsError
from longvie.evaluation.weights import sha256

Network = TypeVar("Network", bound=nn.Module)

FOLDER = Path(__file__).parents[2] / "weights" / "instruments"
CARD = "card.json"


@cache
def card(folder: Path = FOLDER) -> dict[str, Any]:
    """What each instrument is, what it was trained on and for how long, its errors on held-out worlds, its hash.

    Raises:
        WeightsError: there is none.
    """
    if not (folder / CARD).is_file():
        raise WeightsError(f"{folder} holds no {CARD}: train the instruments, or install the package anew")
    return read_json(folder / CARD)


def restored(network: Network, name: str, folder: Path = FOLDER) -> Network:
    """The network with its trained weights, ready to read.

    Raises:
        WeightsError: the file is missing, is not the one of the card, or does not fit the network.
    """
    file = folder / f"{name}.safetensors"
    told = card(folder).get(name, {}).get("sha256")
    if not file.is_file() or sha256(file) != told:
        raise WeightsError(f"{file} is missing or is not the one of its card; train it again, or install it anew")
    try:
        network.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as reason:
        raise WeightsError(f"{file} does not fit ({str(reason)[:120]}); train it again") from reason
    return network.eval().requires_grad_(False)


def keep(network: nn.Module, name: str, folder: Path) -> str:
    """Writes the weights of a network; returns the file's SHA-256."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.safetensors"
    draft = file.with_suffix(".part")
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, draft)
    draft.chmod(0o644)  # it is written for its owner alone, and goes into a package
    draft.rename(file)
    return sha256(file)
