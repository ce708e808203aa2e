"""The command line and a scene for all rows."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from reliability_command import Command

from longvie.data.export import Export, export
from longvie.models.models import Models


@pytest.fixture
def longvie(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: Models
) -> Iterator[Command]:
    """The command line, with weights that are made once."""
    del models  # loading everything once, so that no test pays for it
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.chdir(room)
    threads = torch.get_num_threads()
    yield Command(capsys, monkeypatch, room)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of a scene, as files."""
    folder = tmp_path_factory.mktemp("scene")
    export(Export(seed=7, frames=17, size=(32, 48), points=40), folder)
    return folder


@pytest.fixture
def depth(tmp_path: Path) -> Callable[..., Path]:
    """A depth file with any values."""

    def build(values: np.ndarray, name: str = "depth.npy") -> Path:
        path = tmp_path / name
        np.save(path, values)
        return path

    return build
