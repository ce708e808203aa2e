"""A checkpoint brings everything back, to the bit, and is never taken for another's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from longvie.errors import WeightsError
from longvie.training import checkpoint
from made import Line


def optimizer_of(stage: Line) -> torch.optim.AdamW:
    return torch.optim.AdamW([p for p in stage.parameters() if p.requires_grad], lr=0.1)


def average_of(stage: Line) -> dict[str, Tensor]:
    return {k: p.detach().clone() for k, p in stage.named_parameters() if p.requires_grad}


def written(folder: Path, steps: int = 3) -> tuple[Line, dict[str, Tensor], torch.optim.AdamW]:
    """A stage with some history in its optimiser, and its checkpoint."""
    stage = Line()
    optimizer, average = optimizer_of(stage), {k: v + 1 for k, v in average_of(stage).items()}
    for _ in range(steps):
        stage.line(torch.ones(1, stage.line.in_features)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    position = checkpoint.Position("line", steps, 12.5, {"rate": 0.1, "steps": None, "betas": (0.9, 0.98)})
    weights = {k: p for k, p in stage.named_parameters() if p.requires_grad}
    checkpoint.save(folder, position, weights, average, [optimizer])
    return stage, average, optimizer


def test_weights_average_optimiser_and_position_come_back(tmp_path: Path) -> None:
    stage, average, optimizer = written(tmp_path)
    again = Line()
    mean, other = average_of(again), optimizer_of(again)
    position = checkpoint.load(tmp_path, again, mean, [other])
    assert position is not None
    assert (position.stage, position.step, position.seconds) == ("line", 3, 12.5)
    assert position.recipe["steps"] is None
    assert torch.equal(again.line.weight, stage.line.weight)
    assert all(torch.equal(mean[name], average[name]) for name in average)
    for (_, ours), (_, theirs) in zip(other.state_dict()["state"].items(), optimizer.state_dict()["state"].items()):  # noqa: B905
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])) for name in ours)


def test_each_optimiser_gets_its_own_back(tmp_path: Path) -> None:
    """The second one holds other numbers under the same index."""
    stage, average, first = written(tmp_path)
    second = torch.optim.SGD([torch.nn.Parameter(torch.ones(5))], lr=0.1, momentum=0.9)
    second.param_groups[0]["params"][0].sum().backward()
    second.step()
    position = checkpoint.Position("line", 3, 1.0, {})
    weights = {k: p for k, p in stage.named_parameters() if p.requires_grad}
    checkpoint.save(tmp_path, position, weights, average, [first, second])
    again, other = optimizer_of(stage), torch.optim.SGD([torch.nn.Parameter(torch.ones(5))], lr=0.1, momentum=0.9)
    checkpoint.load(tmp_path, stage, average, [again, other])
    assert torch.equal(other.state_dict()["state"][0]["momentum_buffer"], torch.ones(5))
    assert again.state_dict()["state"].keys() == first.state_dict()["state"].keys()


def test_only_what_is_trained_is_kept(tmp_path: Path) -> None:
    written(tmp_path)
    from safetensors import safe_open

    with safe_open(tmp_path / "training.safetensors", "pt") as file:
        assert not [name for name in file.keys() if "frozen" in name]  # noqa: SIM118


def test_no_checkpoint_is_no_position(tmp_path: Path) -> None:
    stage = Line()
    assert checkpoint.load(tmp_path, stage, average_of(stage), [optimizer_of(stage)]) is None


def test_a_write_that_is_killed_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path)
    before = (tmp_path / "training.safetensors").read_bytes()

    def killed(_tensors: object, path: Path, **_metadata: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", killed)
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path, steps=1)
    assert (tmp_path / "training.safetensors").read_bytes() == before


@pytest.mark.parametrize("width", [2, 5])
def test_a_checkpoint_of_other_sizes_is_refused(tmp_path: Path, width: int) -> None:
    written(tmp_path)
    stage = Line(width=width)
    with pytest.raises(WeightsError, match=r"another training \(line\): 1 tensors do not fit, line.weight for one"):
        checkpoint.load(tmp_path, stage, average_of(stage), [optimizer_of(stage)])


def test_a_checkpoint_with_more_or_fewer_tensors_is_refused(tmp_path: Path) -> None:
    written(tmp_path)
    more, fewer = Line(), Line()
    more.frozen.requires_grad_(True)
    fewer.line.requires_grad_(False)
    fewer.frozen.requires_grad_(True)
    for stage in (more, fewer):
        with pytest.raises(WeightsError, match="do not fit"):
            checkpoint.load(tmp_path, stage, average_of(stage), [optimizer_of(stage)])
