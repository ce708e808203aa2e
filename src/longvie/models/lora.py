"""Low-rank additions to a network's weights (LoRA, arXiv 2106.09685), merged into them while they are read.

A layer's weight W (out, in) becomes W + alpha/rank · B·A, with A (rank, in) and B (out, rank). Files have PEFT's form
over any layout that `names.py` knows: LongLive's adapter, once it is safetensors, and other adapters for Wan.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.documents import read_json
from longvie.errors import WeightsError
from longvie.models import names
from longvie.models.weights import Needed, Report, Shapes, matched, none, open_checkpoint, renamed

DOWN, UP, ALPHA = "lora_A.weight", "lora_B.weight", "alpha"
CONFIG = "adapter_config.json"  # beside the weights, as PEFT saves
METADATA = "lora_adapter_metadata"  # the same in the file itself, as diffusers saves
UNREAD = ("use_dora", "alpha_pattern", "layer_replication")  # options that would change what is added


def merge(
    weight: Float[Tensor, "out in"], down: Float[Tensor, "rank in"], up: Float[Tensor, "out rank"], scale: float
) -> Float[Tensor, "out in"]:
    """W + scale·B·A (arXiv 2106.09685, section 4.1), in float32."""
    return torch.addmm(weight.float(), up.float(), down.float(), alpha=scale)


@dataclass(frozen=True)
class Scaling:
    """How much additions count.

    Attributes:
        alpha: None is each layer's rank, so that B·A is added as it is.
        rank: of all layers, where the file declares one.
        rooted: divided by the root of the rank instead of by the rank (rsLoRA, arXiv 2312.03732).
    """

    alpha: float | None = None
    rank: float | None = None
    rooted: bool = False

    def of(self, rank: int, own: float | None = None) -> float:
        """Of a layer of this rank, with an alpha of its own if it has one."""
        alpha = self.alpha if own is None else own
        return (rank if alpha is None else alpha) / (math.sqrt(rank) if self.rooted else rank)


@dataclass(frozen=True)
class Adapter:
    """Additions of which every pair has found its layer.

    Attributes:
        report: how their names and shapes met those of the network.
        tensors: A, B and where it has one alpha of each layer, as `names.adapter` calls them.
    """

    report: Report
    tensors: Mapping[str, Tensor]
    scaling: Scaling

    def merged(self, name: str, weight: Tensor) -> Tensor:
        """A weight of ours with what is added to it, in float32; one to which nothing is added as it is."""
        layer = name.removesuffix("weight")
        down, up, own = (self.tensors.get(f"{layer}{part}") for part in (DOWN, UP, ALPHA))
        if down is None or up is None:
            return weight
        return merge(weight, down, up, self.scaling.of(down.shape[0], None if own is None else own.item()))


def in_blocks(name: str) -> bool:
    """An adapter must add to every layer inside the trunk's blocks, as LongLive's does."""
    return name.startswith("blocks.")


def read_adapter(path: Path, shapes: Shapes, *, needed: Needed = none) -> Adapter:
    """Additions to a network whose weights, under our names, have these shapes.

    Args:
        path: a `.safetensors` file, or a folder with one and PEFT's `adapter_config.json`.
        needed: to which of our weights something must be added; of every other layer, both halves or neither.

    Raises:
        WeightsError: a half is missing, foreign or of another shape, a layer that must have a pair has none, or an
            option says that more than B·A is meant; names the first of each kind.
    """
    checkpoint = open_checkpoint(path)
    given = renamed(checkpoint, names.adapter)

    def wanted(half: str) -> bool:
        layer = half.removesuffix(DOWN).removesuffix(UP)
        return needed(f"{layer}weight") or any(f"{layer}{part}" in given for part in (DOWN, UP, ALPHA))

    report = matched(pairs(shapes, given), checkpoint, names.adapter).require(wanted)
    scaling = read_scaling(path, checkpoint.about)
    for name in report.loaded:
        if name.endswith(DOWN) and scaling.rank not in (None, given[name][0]):
            raise WeightsError(f"{path.name} declares rank {scaling.rank:g}, but {name} has {given[name][0]}")
    tensors = {
        name: half for theirs, tensor in checkpoint.tensors() for name, half in names.adapter(theirs, tensor).items()
    }
    return Adapter(report, tensors, scaling)


def pairs(shapes: Shapes, given: Shapes) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what may be added to the layers of a network, with the ranks that an adapter has.

    Args:
        shapes: of the network's weights.
        given: of the adapter's tensors.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        if name.endswith(".weight") and len(shape) == 2:
            down, up, alpha = (name.removesuffix("weight") + part for part in (DOWN, UP, ALPHA))
            rows = given.get(down) or given.get(up, ())[::-1] or (1,)  # A's own, else as many as B has columns
            rank = max(1, rows[0])
            found |= {down: (rank, shape[1]), up: (shape[0], rank)}
            if alpha in given:  # one number, which some write as a row of one
                found[alpha] = (1,) if given[alpha] == (1,) else ()
    return found


def read_scaling(path: Path, about: Mapping[str, str]) -> Scaling:
    """What an adapter's config, or else its file's own metadata, says of alpha and rank.

    Raises:
        WeightsError: it is no LoRA, has an option that is not read here, or a number that is none.
    """
    config = (path if path.is_dir() else path.parent) / CONFIG
    given: Any = about
    if config.is_file():
        given = read_json(config.resolve(), error=WeightsError)
    elif METADATA in about:
        given = read_json(about[METADATA].encode(), error=WeightsError)
    if not isinstance(given, Mapping):
        raise WeightsError(f"the options of {path.name} are no table: save the adapter again")
    options = {str(name).removeprefix("transformer."): value for name, value in given.items()}
    unread = [name for name in UNREAD if options.get(name)]
    if unread or options.get("peft_type", "LORA") != "LORA":
        what = f"sets {unread[0]}" if unread else f"is of the kind {str(options['peft_type'])[:40]!r}"
        raise WeightsError(f"{path.name} {what}, which is more than is read here: merge it where it was made")
    rank = None if options.get("rank_pattern") else _number(options, "r", path)
    return Scaling(_number(options, "lora_alpha", path), rank, rooted=bool(options.get("use_rslora")))


def _number(options: Mapping[str, Any], name: str, path: Path) -> float | None:
    value = options.get(name)
    if value is None:
        return None
    try:
        number = float(value)  # of a file's metadata it is text
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise WeightsError(f"{path.name} declares {name} as {str(value)[:40]!r}; a number above 0 is needed")
    return number
