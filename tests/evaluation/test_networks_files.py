"""Official files become tensors, tensors a network; what does not fit is refused with a sentence."""

import pickle
from pathlib import Path

import pytest
import torch
from networks_made import Archive, archived
from torch import nn

from longvie.errors import ConfigError, WeightsError
from longvie.evaluation.networks import files
from longvie.evaluation.networks.shelf import KINDS, Shelf
from longvie.evaluation.weights import OFFICIAL


def test_tensors_are_read_by_name(tmp_path: Path) -> None:
    tree = {"model": {"weight": torch.ones(2, 3), "steps": 4}, "epoch": 7}
    torch.save(tree, tmp_path / "a.pth")
    assert list(files.tensors(tmp_path / "a.pth", "model")) == ["weight"]
    with pytest.raises(WeightsError, match=r"a\.pth holds no tensors by name$"):
        files.tensors(tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="under 'ema'"):
        files.tensors(tmp_path / "a.pth", "ema")


class Unwelcome:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple:
        return (print, ("code was run",))


def test_no_code_is_run_by_reading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": Unwelcome()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Unwelcome()))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(WeightsError, match="damaged, or holds more than tensors"):
            files.tensors(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"<html>not found</html>"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"a\.pt cannot be read"):
        files.tensors(path)
    with pytest.raises(WeightsError, match=r"a\.pt cannot be read.*TorchScript"):
        files.program(path)


def test_programs_are_read_with_their_tensors(tmp_path: Path) -> None:
    path = archived(
        Archive({"visual.proj": torch.ones(2, 3).half(), "visual.a.0.b": torch.zeros(1)}), tmp_path / "a.pt"
    )
    named = files.program(path).state_dict()
    assert {name: tuple(it.shape) for name, it in named.items()} == {"visual.proj": (2, 3), "visual.a.0.b": (1,)}


def test_a_network_gets_its_tensors_in_float32_and_is_not_trained() -> None:
    with torch.device("meta"):
        empty = nn.Linear(3, 2)
    named = {"weight": torch.ones(2, 3).half(), "bias": torch.zeros(2), "extra": torch.zeros(1)}
    network = files.fit(empty, named, spare={"extra"})
    assert network.weight.dtype == torch.float32 and not network.weight.requires_grad and not network.training
    assert network(torch.ones(1, 3)).tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"weight": torch.ones(2, 3)}, "Linear: bias is missing"),
        ({"weight": torch.ones(2, 4), "bias": torch.zeros(2)}, r"weight is \(2, 4\) and should be \(2, 3\)"),
        ({"weight": torch.ones(2, 3), "bias": torch.zeros(2), "gain": torch.zeros(2)}, "gain is unknown"),
        ({f"w{number}": torch.zeros(1) for number in range(3)}, "and 2 more"),
    ],
)
def test_what_does_not_fit_is_named(named: dict, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        files.fit(nn.Linear(3, 2), named)


@pytest.mark.parametrize("name", KINDS)
def test_every_network_says_its_files_and_what_it_does(name: str) -> None:
    kind = KINDS[name]
    assert kind.title and "→" in kind.does
    assert all(file in OFFICIAL for file in kind.files) and kind.weights


def test_all_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(WeightsError) as said:
        Shelf({"clip-l14": "/anywhere"}).take("clip-l14", "aesthetic", "amt", "raft")
    words = str(said.value)
    for name in ("aesthetic", "amt", "raft"):
        weights = OFFICIAL[name]
        assert weights.file in words and weights.source in words and weights.licence in words
    assert "ViT-L-14.pt" not in words


def test_ones_own_takes_the_place_of_the_official() -> None:
    assert Shelf({}, {"amt": max}).take("amt") == [max]
    with pytest.raises(ConfigError, match="no network 'vgg'; there are dino"):
        Shelf({}, {"vgg": max})
