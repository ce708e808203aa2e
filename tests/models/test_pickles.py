"""Pickled checkpoints become safetensors in a process of their own, and nothing in them ever runs."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from longvie.errors import WeightsError
from longvie.models.convert import convert
from longvie.models.weights import digest


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_tensors_come_out_as_they_went_in(tmp_path: Path) -> None:
    weights = {"a.weight": torch.randn(3, 4), "a.bias": torch.randn(3).bfloat16()}
    weights["tied"] = weights["a.weight"]
    torch.save({"model_state": weights, "step": 7}, tmp_path / "x.pth")
    done = convert(tmp_path / "x.pth", tmp_path / "x.safetensors")
    assert_close(load_file(tmp_path / "x.safetensors"), weights, atol=0, rtol=0)
    assert (done.part, done.tensors, done.sha256) == ("model_state", 3, digest(tmp_path / "x.safetensors"))
    with pytest.raises(WeightsError, match="exists already"):
        convert(tmp_path / "x.pth", tmp_path / "x.safetensors")


def test_of_several_parts_one_is_named(tmp_path: Path) -> None:
    torch.save({"generator": {"a": torch.ones(1)}, "critic": {"a": torch.zeros(1)}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match="generator, critic"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors", part="critic")
    assert load_file(tmp_path / "x.safetensors")["a"] == 0


@pytest.mark.parametrize("through", ["torch", "pickle"])
def test_what_would_run_is_refused_and_does_not_run(tmp_path: Path, through: str) -> None:
    marker = tmp_path / "ran"
    if through == "torch":
        torch.save({"a": torch.ones(1), "b": Bomb(marker)}, tmp_path / "x.pt")
    else:
        (tmp_path / "x.pt").write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(WeightsError, match="not converted"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert not marker.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pt"]


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no file"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
