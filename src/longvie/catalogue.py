"""Which models there are: known names, folders with a card, and the user's own downloads; and how they are read."""

from pathlib import Path

import torch
from transformers.utils import logging

from longvie.errors import ConfigError, WeightsError
from longvie.models.downloads import LongLive, longlive
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
    tiny,
)
from longvie.models.weights import PICKLES, conversion
from longvie.presets import ModelSection, nearest
from longvie.request import local

WEIGHTS = Path(__file__).parent / "weights"
EMBEDDED = ("world",)
CARDS = {card.name: card for card in (TINY, LONGVIE_2, LONGLIVE_1_3B)}  # of the models that are no folder of ours
NAMES = (*EMBEDDED, *CARDS)


def folder_of(model: ModelSection) -> Path | None:
    """Where the weights of a name or folder lie; None for those that are no folder of ours.

    Raises:
        ConfigError: neither a known name nor a folder, with the nearest name.
        WeightsError: a pickle, or an embedded model that this copy of the package does not hold.
    """
    name = model.ckpt
    if name in EMBEDDED:
        folder = WEIGHTS / name
        if not (folder / CARD).is_file():
            raise WeightsError(
                f"this copy of longvie holds no weights for {name!r}: train them with `longvie train {name} --stage "
                "all`, or try everything else with the random weights of --model tiny",
                code="weights_missing",
            )
        return folder
    if name in NAMES:
        return None
    folder = local(name)
    if folder.suffix.lower() in PICKLES:
        raise WeightsError(
            f"{folder.name} is a pickle, which can run code and is never opened; convert it and give it to the model "
            f"that it is a part of, as configs/longlive-1.3b.yaml does: {conversion(folder)}"
        )
    if not folder.is_dir():
        raise ConfigError(f"no model {name[:80]!r}: neither a name nor a folder; {nearest(name, NAMES)}")
    return folder


def card_of(model: ModelSection) -> Card:
    """What a model was made for, without its weights; errors as `folder_of`."""
    folder = folder_of(model)
    if folder is not None:
        return read_card(folder)
    return CARDS[model.ckpt]


def load_models(model: ModelSection, place: torch.device, dtype: torch.dtype) -> Models:
    """The weights, checked against their card, on a device.

    Raises:
        WeightsError: missing, damaged, or other ones than the card names; of longlive-1.3b with the way to get them.
        ConfigError: longvie-2 without its three files.
    """
    folder = folder_of(model)
    logging.disable_progress_bar()  # a library does not draw on its caller's terminal
    if folder is not None:
        return load(folder, dtype=dtype).to(place)
    if model.ckpt == "tiny":
        return tiny().to(place)
    if model.ckpt == LONGLIVE_1_3B.name:
        return read_longlive(longlive_files(model), dtype=dtype).to(place)
    if model.base is None or model.control is None:
        raise ConfigError(
            "longvie-2 is made of your own downloads: set model.base to the folder of Wan2.1-I2V-14B-480P, "
            "model.control to control.safetensors and model.attention to dit.safetensors"
        )
    base, control, attention, lora = map(_named, (model.base, model.control, model.attention, model.lora))
    assert base is not None and control is not None
    return read_longvie(base, control, attention, lora, dtype=dtype).to(place)


def longlive_files(model: ModelSection, *, cache: Path | None = None) -> LongLive:
    """Where the parts of longlive-1.3b lie: where the options say, else in `models/` or a cache of the hub.

    Raises:
        WeightsError: see `downloads.longlive`.
    """
    return longlive(_named(model.base), _named(model.live), _named(model.lora), cache=cache)


def _named(source: str | None) -> Path | None:
    return None if source is None else local(source)


def state_of(name: str) -> tuple[str, str, str, str]:
    """Name, form, controls and state of a model that is known by name, in words."""
    section = ModelSection(ckpt=name)
    try:
        card = card_of(section)
    except WeightsError as reason:
        return name, "", "", "trained weights are not in this copy" if reason.code == "weights_missing" else str(reason)
    height, width = card.size
    state = (
        "random weights, for tests" if card.random else "ready" if _complete(section) else "needs your own downloads"
    )
    return name, f"{width}x{height}, {card.fps} frames/s", ", ".join(card.controls) or "words alone", state


def _complete(model: ModelSection) -> bool:
    """Whether a model's files are there, as far as its name alone tells."""
    if model.ckpt != LONGLIVE_1_3B.name:
        return model.ckpt in EMBEDDED
    try:
        longlive_files(model)
    except WeightsError:
        return False
    return True


def verify(model: ModelSection) -> int:
    """Compare every file of a folder with its card, however large; how many were compared.

    Raises:
        WeightsError: one is missing or another one.
    """
    folder = folder_of(model)
    if folder is None:
        return 0
    card = read_card(folder)
    check_files(folder, card)
    return len(card.files)
