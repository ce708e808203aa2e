"""Pickled checkpoints become safetensors in a process of their own, and nothing in them ever runs."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from longvie import cli
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
    with pytest.raises(WeightsError, match=r"generator \(1 tensors\), critic \(1 tensors\); say which with --part"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()
    convert(tmp_path / "x.pt", tmp_path / "x.safetensors", part="critic")
    assert load_file(tmp_path / "x.safetensors")["a"] == 0


def test_tensors_beside_the_parts_are_a_part_of_their_own(tmp_path: Path) -> None:
    """A trainer that keeps its step as a tensor does not make that the checkpoint."""
    torch.save({"step": torch.tensor(7), "generator": {"a": torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"holds .*generator"):
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert convert(tmp_path / "x.pt", tmp_path / "step.safetensors", part=".").tensors == 1
    assert convert(tmp_path / "x.pt", tmp_path / "x.safetensors", part="generator").part == "generator"


def test_a_refusal_does_not_list_every_state_of_an_optimiser(tmp_path: Path) -> None:
    states = {number: {"average": torch.zeros(1), "step": torch.zeros(1)} for number in range(500)}
    weights = {f"layer.{number}": torch.zeros(1) for number in range(9)}
    torch.save({"optimiser": {"state": states}, "generator": weights}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"holds generator \(9 tensors\), optimiser.*493 parts more") as refused:
        convert(tmp_path / "x.pt", tmp_path / "x.safetensors")
    assert len(str(refused.value)) < 500


def test_the_command_writes_it_into_a_new_folder_and_says_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {"model.a": torch.randn(2)}
    torch.save({"generator": weights, "critic": {"a": torch.ones(1)}, "step": 3}, tmp_path / "base.pt")
    target = tmp_path / "new" / "base.safetensors"
    arguments = ["models", "convert", str(tmp_path / "base.pt"), str(target)]
    assert cli.run(arguments) == 2
    assert "say which with --part" in capsys.readouterr().err
    assert cli.run([*arguments, "--part", "generator"]) == 0
    said = capsys.readouterr().out
    assert said == f"{target}: 1 tensors of part generator, sha256 {digest(target)}\n"
    assert_close(load_file(target), weights, atol=0, rtol=0)
    assert cli.run([*arguments, "--part", "generator"]) == 2
    assert "exists already" in capsys.readouterr().err


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
