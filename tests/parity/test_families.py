"""No golden file may lie where nobody looks."""

from pathlib import Path

import pytest
from golden import parity_dir

FAMILIES = {  # folder -> the module that checks its files
    "longlive": "test_longlive.py",
    "longvie": "test_longvie.py",
    "taehv": "test_taehv.py",
}


def golden_files() -> list[Path]:
    return sorted(path for path in parity_dir().rglob("*") if path.suffix in (".safetensors", ".json"))


def test_there_are_golden_files() -> None:
    assert golden_files(), f"{parity_dir()} holds no golden file, so nothing would be checked"


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: str(path.relative_to(parity_dir())))
def test_every_file_belongs_to_a_family_that_is_checked(path: Path) -> None:
    family = path.relative_to(parity_dir()).parts[0]
    assert family in FAMILIES, f"{path}: {family!r} is no known family; known: {sorted(FAMILIES)}"
    assert (Path(__file__).parent / FAMILIES[family]).is_file(), f"{FAMILIES[family]} does not exist"
