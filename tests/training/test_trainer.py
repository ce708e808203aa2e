"""The loop: its schedule, its average, what it refuses; and stopped and resumed is never stopped."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from longvie.errors import LongVieError
from longvie.training.trainer import EXPORTED, LOG, Averaged, Recipe, Trainer, curve, shorten
from made import Line, recipe


def trained(folder: Path, steps: int, *, stage: Line | None = None, disturbed: bool = False, **changes: float) -> Line:
    """A stage after so many steps in all, on from what lies in the folder."""
    stage = stage or Line()
    trainer = Trainer(stage, recipe(steps, **changes), folder)
    if disturbed:
        torch.randn(17)
    trainer.run()
    return stage


def test_the_rate_warms_up_holds_falls_as_a_cosine_and_ends_at_its_floor() -> None:
    plan = Recipe(minutes=1.0, rate=0.4, warmup=10, hold=0.3, floor=0.1)
    assert plan.rate_at(0, 0.0) == pytest.approx(0.04)
    assert plan.rate_at(4, 0.0) == pytest.approx(0.2)
    assert plan.rate_at(9, 0.0) == plan.rate_at(50, 0.29) == pytest.approx(0.4)
    assert plan.rate_at(50, 0.65) == pytest.approx(0.4 * (0.1 + 0.9 / 2))  # half way down
    assert plan.rate_at(50, 1.0) == plan.rate_at(50, 1.5) == pytest.approx(0.04)
    falling = [plan.rate_at(50, share / 20) for share in range(6, 21)]
    assert falling == sorted(falling, reverse=True)


def test_a_rate_that_is_held_to_the_end_or_has_no_way_to_fall_is_constant() -> None:
    for plan in (
        Recipe(minutes=1.0, rate=0.4, warmup=1, hold=1.0),
        Recipe(minutes=1.0, rate=0.4, warmup=1, floor=1.0),
    ):
        assert {plan.rate_at(step, step / 10) for step in range(11)} == {0.4}


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_stopped_and_resumed_is_never_stopped(tmp_path: Path, stop: int) -> None:
    """The first session ends in the midst of its plan, as one that is killed does."""
    whole = Trainer(Line(), recipe(6), tmp_path / "whole")
    whole.run()
    first = Trainer(Line(), recipe(6), tmp_path / "parts")
    first.folder.mkdir()
    for step in range(stop):
        first._step(step, step / 6)
    first._save(stop, 0.0)
    second = Trainer(Line(), recipe(6), tmp_path / "parts")
    torch.randn(17)  # other draws in the process change nothing
    second.run()
    for name, weight in whole.stage.state_dict().items():
        assert torch.equal(weight, second.stage.state_dict()[name]), name
    assert all(torch.equal(whole.ema[name], second.ema[name]) for name in whole.ema)
    assert torch.equal(torch.load(tmp_path / "whole/line.pt"), torch.load(tmp_path / "parts/line.pt"))


class Square(Line):
    """Its weight is a matrix between layers."""

    def matrices(self) -> list[nn.Parameter]:
        return [self.line.weight]


@pytest.mark.parametrize("stop", [2])
def test_with_two_optimisers_too(tmp_path: Path, stop: int) -> None:
    """Matrices move by Muon, the rest by AdamW, and both go on where they stopped."""
    plan = replace(recipe(6), matrices=0.1)
    whole = Trainer(Square(), plan, tmp_path / "whole")
    assert [type(o.optimizer).__name__ for o in whole.optimizers] == ["AdamW", "Muon"]
    whole.run()
    first = Trainer(Square(), plan, tmp_path / "parts")
    first.folder.mkdir()
    for step in range(stop):
        first._step(step, step / 6)
    first._save(stop, 0.0)
    second = Trainer(Square(), plan, tmp_path / "parts")
    second.run()
    assert torch.equal(whole.stage.line.weight, second.stage.line.weight)
    assert not torch.equal(whole.stage.line.weight, trained(tmp_path / "adam", 6).line.weight)


def test_another_seed_is_another_training(tmp_path: Path) -> None:
    one, other = trained(tmp_path / "1", 3), trained(tmp_path / "2", 3, seed=1)
    assert not torch.equal(one.line.weight, other.line.weight)


def test_it_learns_and_frozen_weights_stay(tmp_path: Path) -> None:
    stage = trained(tmp_path, 120)
    assert (stage.line.weight - 1).abs().max() < 0.15
    assert (stage.frozen.weight == 0.5).all()


def test_more_steps_go_on_and_no_more_steps_leave_all_as_it_is(tmp_path: Path) -> None:
    first = trained(tmp_path, 4)
    again = trained(tmp_path, 4)
    assert (first.calls, first.exports, again.calls, again.exports) == (4, 1, 0, 0)
    assert torch.equal(again.line.weight, first.line.weight)
    longer = trained(tmp_path, 6)
    assert (longer.calls, longer.exports) == (2, 1)
    assert json.loads((tmp_path / EXPORTED).read_text()) == {"step": 6}


def test_a_stage_that_ended_before_its_models_were_written_writes_them(tmp_path: Path) -> None:
    trained(tmp_path, 4)
    (tmp_path / EXPORTED).unlink()
    (tmp_path / "line.pt").unlink()
    again = trained(tmp_path, 4)
    assert (again.calls, again.exports) == (0, 1)
    assert (tmp_path / "line.pt").exists()


def test_the_clock_counts_over_all_sessions(tmp_path: Path) -> None:
    stage = Line()
    trainer = Trainer(stage, Recipe(minutes=1.0, rate=0.05), tmp_path)
    trainer.folder.mkdir(exist_ok=True)
    (tmp_path / LOG).write_text(json.dumps({"step": 1, "minutes": 0.0, "loss": 1.0}) + "\n")
    trainer._save(7, 61.0)
    again = Line()
    Trainer(again, Recipe(minutes=1.0, rate=0.05), tmp_path).run()
    assert (again.calls, again.exports) == (0, 1)


def test_averaged_weights_are_swapped_in_and_out_again(tmp_path: Path) -> None:
    trainer = Trainer(Line(), recipe(5), tmp_path)
    trainer.run()
    own = trainer.stage.line.weight.detach().clone()
    mean = trainer.ema["line.weight"].clone()
    assert not torch.equal(own, mean)
    with trainer.averaged():
        assert torch.equal(trainer.stage.line.weight, mean)
    assert torch.equal(trainer.stage.line.weight, own)
    assert torch.equal(trainer.ema["line.weight"], mean)
    assert torch.equal(torch.load(tmp_path / "line.pt"), mean)  # what is exported


def test_averaged_weights_are_swapped_out_after_an_error() -> None:
    stage = Line()
    with pytest.raises(ZeroDivisionError), Averaged(stage, {"line.bias": torch.zeros(1)}):
        assert stage.line.bias == 0
        raise ZeroDivisionError
    assert stage.line.bias == 0.5


def test_no_average_is_the_weights_themselves(tmp_path: Path) -> None:
    trainer = Trainer(Line(), recipe(3, ema=0.0), tmp_path)
    trainer.run()
    assert torch.equal(trainer.ema["line.weight"], trainer.stage.line.weight)


def test_the_gradient_is_limited_unless_there_is_no_limit(tmp_path: Path) -> None:
    tight, free = (trained(tmp_path / str(clip), 1, clip=clip) for clip in (1e-12, math.inf))
    assert (tight.line.weight - 0.5).abs().max() < (free.line.weight - 0.5).abs().max()
    row = json.loads((tmp_path / "inf" / LOG).read_text().splitlines()[0])
    assert row["norm"] > 0


def test_a_loss_that_is_no_number_is_refused_and_its_step_named(tmp_path: Path) -> None:
    with pytest.raises(LongVieError, match="line: the loss at step 2 is not a number"):
        trained(tmp_path, 6, stage=Line(breaks_at=2))
    assert not (tmp_path / "line.pt").exists()


def test_it_leaves_a_log_a_curve_and_a_sheet(tmp_path: Path) -> None:
    told: list[str] = []
    Trainer(Line(), recipe(22), tmp_path).run(told.append)
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 21]
    assert {"minutes", "loss", "share", "norm", "rate"} <= rows[0].keys()
    assert len(told) == 2 and told[1].startswith("line: step 21, ")
    assert (tmp_path / "curve.png").stat().st_size > 1000
    assert (tmp_path / "sheet_000022.png").exists()


def test_steps_that_are_done_again_are_logged_once(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text("".join(json.dumps({"step": step, "minutes": step, "loss": 1.0}) + "\n" for step in (1, 21, 41)))
    shorten(log, 30)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 21]
    curve(log, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").exists()
