"""Pickled checkpoints (`.pt`, `.pth`, `.bin`, `.ckpt`) → safetensors, in a process of their own.

A pickle can run code when it is opened. Nothing else in the package opens one; here a child process does, with an empty
environment and torch's restricted unpickler, and there is no fallback when that refuses.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from longvie.errors import WeightsError
from longvie.models.weights import digest, open_checkpoint

CHILD = Path(__file__).with_name("unpickle.py")


@dataclass(frozen=True)
class Converted:
    """What was written: which part of the pickle ("." is what lies in none), how many tensors, the file's sha256."""

    target: Path
    part: str
    tensors: int
    sha256: str


def convert(source: Path, target: Path, *, part: str = "") -> Converted:
    """Write the tensors of a pickled checkpoint as safetensors.

    Args:
        target: must not exist, and appears when it is complete; its folder is made if need be.
        part: which mapping inside the pickle, dots between levels (`generator_ema`), "." for the tensors that lie in
            none; needed where there are several.

    Raises:
        WeightsError: no such file, a target that exists or is no `.safetensors`, a pickle that holds more than tensors
            and plain containers, or several parts and none named.
    """
    if not source.is_file():
        raise WeightsError(f"no file {source}")
    if target.suffix != ".safetensors" or target.exists():
        raise WeightsError(f"{target.name} exists already or does not end in .safetensors; name a new file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        draft = Path(folder) / target.name
        command = [sys.executable, "-I", str(CHILD), str(source.resolve()), str(draft.resolve()), part]
        child = subprocess.run(command, env={}, cwd=folder, capture_output=True, text=True, check=False)
        if child.returncode != 0:
            raise WeightsError(f"{source.name} was not converted: {child.stderr.strip() or 'the process died'}")
        answer = json.loads(child.stdout)
        open_checkpoint(draft)
        converted = Converted(target, answer["part"], answer["tensors"], digest(draft))
        draft.rename(target)
    return converted
