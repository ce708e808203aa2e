"""I3D: how the published program is called, and what is refused where a file is another program."""

from pathlib import Path

import pytest
import torch
from networks_made import archived
from torch import Tensor, nn

from longvie.errors import WeightsError
from longvie.evaluation.networks.i3d import I3d
from longvie.evaluation.networks.shelf import Shelf


class Published(nn.Module):
    """Has the arguments of the published program; says by its numbers which were given."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        means = x.mean(dim=[1, 2, 3, 4])[:, None].expand(-1, 400)
        if rescale or resize:
            means = means + 1000
        return means if return_features else means.softmax(dim=-1)


class Narrow(nn.Module):
    """Another program with the same arguments."""

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        return x.mean(dim=[2, 3, 4]) * float(return_features) + float(rescale) + float(resize)


class Bare(nn.Module):
    """Another program."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def taken(program: nn.Module, path: Path) -> I3d:
    (network,) = Shelf({"i3d-stylegan-v": str(archived(program, path))}).take("i3d")
    return network


def test_it_is_asked_for_features_and_nothing_is_scaled_again(tmp_path: Path) -> None:
    windows = torch.stack([torch.full((3, 4, 6, 6), value) for value in (-0.5, 0.25)])
    features = taken(Published(), tmp_path / "i3d_torchscript.pt")(windows)
    assert features.shape == (2, 400)
    assert features[:, 7].tolist() == [-0.5, 0.25]


@pytest.mark.parametrize(("program", "words"), [(Narrow(), "gave no 400 features"), (Bare(), "failed on a window")])
def test_other_programs_are_refused(tmp_path: Path, program: nn.Module, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        taken(program, tmp_path / f"{type(program).__name__}.pt")(torch.zeros(1, 3, 4, 6, 6))
