"""The child process of `convert.py`: a pickled checkpoint in, safetensors out. Run by its path, never imported.

It imports nothing of the package, has an empty environment, and unpickles tensors and plain containers only
(`weights_only=True`), with no way around it. Answers in one line of JSON; exit 2 with a sentence if it cannot.
"""

import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

ITSELF = "."  # the part of the tensors that lie in none
NAMED = 8  # parts that a refusal lists; a trainer's checkpoint has thousands, one for each state of its optimisers


def parts(tree: Any) -> dict[str, dict[str, Tensor]]:
    """Mappings of names to tensors in the tree, by where they lie, dots between levels."""
    return dict(_parts(tree, ""))


def _parts(tree: Any, place: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    if not isinstance(tree, Mapping):
        return
    own = {str(name): value for name, value in tree.items() if isinstance(value, Tensor)}
    if own:
        yield place or ITSELF, own
    for name, value in tree.items():
        yield from _parts(value, f"{place}.{name}" if place else str(name))


def main(source: Path, target: Path, part: str) -> str:
    """Writes one part of the checkpoint; with an empty `part` there must be one only."""
    tree = torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    found = parts(tree)
    if not found:
        raise ValueError("it holds no named tensors")
    if not part and len(found) == 1:
        part = next(iter(found))
    if part not in found:
        raise ValueError(f"it holds {_listed(found)}; say which with --part")
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in found[part].items()}
    save_file(tensors, target)
    return json.dumps({"part": part, "tensors": len(tensors)})


def _listed(found: Mapping[str, Mapping[str, Tensor]]) -> str:
    """The parts, those with the most tensors first."""
    by_size = sorted(found, key=lambda name: -len(found[name]))
    listed = ", ".join(f"{name} ({len(found[name])} tensors)" for name in by_size[:NAMED])
    return listed if len(found) <= NAMED else f"{listed}, and {len(found) - NAMED} parts more"


if __name__ == "__main__":
    try:
        answer = main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except Exception as reason:  # whatever it is, the parent needs one sentence of it
        sys.stderr.write(str(reason).strip().splitlines()[0] if str(reason).strip() else type(reason).__name__)
        sys.exit(2)
    sys.stdout.write(answer)
