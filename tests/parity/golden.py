"""Golden files: tensors recorded from published code, and the rule that nothing in them goes unlooked at.

The folder is `tests/parity/data`, or whatever the variable LONGVIE_PARITY_DIR names; in it one folder per family of
files. Sizes and options come out of each file's own metadata, so that any other recording of the same calls is checked
as well. A test module of a family says `FAMILY = "…"`, and asks for `fixture_file` (each `.safetensors`) or
`keys_file` (each `.json`); `check_file` finds the check for a file by the beginning of its name.
"""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

PARITY_DIR_VARIABLE = "LONGVIE_PARITY_DIR"
OWN_DIR = Path(__file__).parent / "data"


@dataclass
class Fixture:
    """One golden file: how it was made, what went in, what came out, and what has been compared so far."""

    path: Path
    config: dict[str, Any]
    description: str
    weights: dict[str, Tensor]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    checked: set[str] = field(default_factory=set)

    @classmethod
    def load(cls, path: Path) -> "Fixture":
        """Reads the file; a tensor outside `weights.`, `inputs.` and `outputs.` fails, for nobody would look at it."""
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "inputs": {}, "outputs": {}}
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118 - an open safetensors file is no mapping
                part, _, rest = name.partition(".")
                if part not in parts:
                    pytest.fail(f"{path.name}: the tensor {name!r} is neither weight nor input nor output")
                parts[part][rest] = file.get_tensor(name)
        if "config" not in metadata:
            pytest.fail(f"{path.name} has no config in its metadata")
        config = {key: parsed(value) for key, value in json.loads(metadata["config"]).items()}
        return cls(path, config, metadata.get("description", ""), **parts)

    def check(self, name: str, got: Tensor, *, atol: float, rtol: float = 0.0) -> None:
        """Compares with `outputs.<name>`, shape and values (dtype is not part of it), and notes that it was done."""
        if name not in self.outputs:
            pytest.fail(f"{self.path.name} has no outputs.{name}; there are {sorted(self.outputs)}")
        self.checked.add(name)
        wanted = self.outputs[name]
        torch.testing.assert_close(
            got.detach().to(wanted.dtype),
            wanted,
            atol=atol,
            rtol=rtol,
            msg=lambda text: f"{self.path.name} {name}: {text}",
        )

    def finish(self) -> None:
        """Fails if an output was never compared."""
        forgotten = sorted(set(self.outputs) - self.checked)
        if not self.outputs or forgotten:
            pytest.fail(f"{self.path.name}: no check looked at {forgotten or 'anything, for there are no outputs'}")


def parsed(value: Any) -> Any:
    """Some recordings wrote a table inside the config as text."""
    return json.loads(value) if isinstance(value, str) and value[:1] in ("{", "[") else value


def parity_dir() -> Path:
    """Where the golden files are."""
    return Path(os.environ.get(PARITY_DIR_VARIABLE) or OWN_DIR)


def files(family: str, suffix: str = ".safetensors") -> list[Path]:
    """The golden files of one family, in order of name."""
    return sorted(path for path in (parity_dir() / family).rglob(f"*{suffix}") if path.is_file())


def check_file(path: Path, checks: Mapping[str, Callable[[Fixture], None]]) -> None:
    """Runs the check whose name begins the file's (the longest); none, or an output left over, fails."""
    known = [name for name in checks if path.stem.startswith(name)]
    if not known:
        pytest.fail(f"{path} is a golden file that no check knows; known beginnings: {sorted(checks)}")
    fixture = Fixture.load(path)
    checks[max(known, key=len)](fixture)
    fixture.finish()
