"""The one loop: batch → loss → step → log → save. It knows no stage; a stage is a module that gives its loss.
Several processes (`torchrun`, `accelerate launch`) each draw their own batches and share their gradients.

A schedule is a share of the time allowed, not a number of steps: the same recipe makes the best of a laptop's hour
and of a GPU's quarter of an hour. A training that is stopped goes on from its last checkpoint, clock included.
"""

import importlib.util
import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor, nn

from longvie import runtime
from longvie.errors import LongVieError, ResourceError
from longvie.training import checkpoint

LOG, EXPORTED = "log.jsonl", "exported.json"


@dataclass(frozen=True)
class Recipe:
    """How long and how fast."""

    minutes: float  # wall clock, over all sessions
    rate: float  # highest learning rate
    matrices: float = 0.0  # the same of a stage's `matrices`, which Muon trains; 0 leaves them to AdamW as well
    warmup: int = 100  # steps to it
    hold: float = 0.3  # share of the time before the cosine begins
    floor: float = 0.02  # of `rate` at the end
    decay: float = 0.01  # weight decay
    betas: tuple[float, float] = (0.9, 0.98)  # of AdamW
    momentum: float = 0.95  # of Muon
    clip: float = 1.0  # norm of the gradient
    ema: float = 0.998  # of the weights that are kept
    seed: int = 0
    save_minutes: float = 3.0
    sheet_minutes: float = 10.0
    steps: int | None = None  # stop earlier, for a dry run

    def rate_at(self, step: int, share: float) -> float:
        """AdamW's learning rate at a step and a share of the time."""
        return self.rate * self.height(step, share)

    def height(self, step: int, share: float) -> float:
        """Of the learning rates at a step and a share of the time: 1 is the highest."""
        warm = min(1.0, (step + 1) / self.warmup)
        along = (share - self.hold) / (1 - self.hold) if share > self.hold else 0.0
        cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, along))
        return warm * (self.floor + (1 - self.floor) * cosine)


class Stage(nn.Module, ABC):
    """What a stage gives to the loop. Sub-modules whose parameters need no gradient are frozen and not saved."""

    name: ClassVar[str]

    @abstractmethod
    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:
        """Draws a batch from `random` at a share of the schedule; its loss, and figures for the log."""

    def matrices(self) -> list[nn.Parameter]:
        """Weights between hidden layers, (out, in): what an optimizer for matrices may train."""
        return []

    def figures(self) -> dict[str, float]:
        """How good it is on clips that it is not trained on, for the log; made with the averaged weights."""
        return {}

    @abstractmethod
    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """A picture by which a person sees how far it is; made with the averaged weights."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Writes the finished models, averaged weights in place."""


class Trainer:
    """Trains one stage in one folder: `training.safetensors`, `log.jsonl`, `curve.png`, `sheet_*.png`, the models."""

    def __init__(
        self, stage: Stage, recipe: Recipe, folder: Path, *, cpu: bool = True, mixed: bool | None = None
    ) -> None:
        """`mixed`: bfloat16 where it is safe; by default where this machine is faster with it."""
        if mixed is None:  # a CPU without such instructions takes several times as long
            mixed = not cpu or runtime.bf16_speedup() > runtime.FASTER
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # of controls that a batch does not have
        self.accelerator = Accelerator(cpu=cpu, mixed_precision="bf16" if mixed else "no", kwargs_handlers=[unused])
        self.stage, self.recipe, self.folder = stage, recipe, folder
        self.wrapped, *self.optimizers = self.accelerator.prepare(stage, *optimizers(stage, recipe))
        self.rates = [group["lr"] for optimizer in self.optimizers for group in optimizer.param_groups]
        self.ema = {k: p.detach().clone() for k, p in stage.named_parameters() if p.requires_grad}

    def run(self, report: Callable[[str], None] = lambda _: None) -> None:
        """Until the time is up; then the averaged weights are exported.

        A stage that has been exported and has no time left stays as it is: what was made with its models still fits.

        Raises:
            LongVieError: the loss is not a number.
            WeightsError: the folder holds a training of another stage or of other sizes.
            ResourceError: the extra for training is not installed.
        """
        _check_extra()
        self.folder.mkdir(parents=True, exist_ok=True)
        position = checkpoint.load(self.folder, self.stage, self.ema, self.optimizers)
        step, before = (position.step, position.seconds) if position else (0, 0.0)
        if self._share(step, before) >= 1 and (self.folder / EXPORTED).exists():
            return
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shorten(self.folder / LOG, step)
            (self.folder / EXPORTED).unlink(missing_ok=True)
        start = saved = drawn = self._clock()
        while True:
            now = self._clock()
            seconds = before + now - start
            share = self._share(step, seconds)
            if share >= 1:
                break
            figures = self._step(step, min(share, 1.0))
            step += 1
            if step % 20 == 1:
                self._log({"step": step, "minutes": round(seconds / 60, 2), **figures})
                report(
                    f"{self.stage.name}: step {step}, {seconds / 60:.1f} min, "
                    + ", ".join(f"{k} {v:.4g}" for k, v in figures.items())
                )
            if now - saved > 60 * self.recipe.save_minutes:
                self._judge(step, seconds)
                self._save(step, seconds)
                saved = now
            if now - drawn > 60 * self.recipe.sheet_minutes:
                self._sheet(step)
                drawn = now
        seconds = before + self._clock() - start
        self._judge(step, seconds)
        self._save(step, seconds)
        self._sheet(step)
        if self.accelerator.is_main_process:
            with self.averaged():
                self.stage.export(self.folder)
            (self.folder / EXPORTED).write_text(json.dumps({"step": step}) + "\n")
        self.accelerator.wait_for_everyone()

    def _clock(self) -> float:
        """Seconds, as the first process counts them: all must stop after the same step."""
        if self.accelerator.num_processes == 1:
            return time.monotonic()
        now = torch.tensor([time.monotonic()], dtype=torch.float64, device=self.accelerator.device)
        torch.distributed.broadcast(now, 0)
        return float(now)

    def _share(self, step: int, seconds: float) -> float:
        """Of the schedule that is behind us."""
        share = seconds / (60 * self.recipe.minutes)
        return share if self.recipe.steps is None else max(share, step / self.recipe.steps)

    def _step(self, step: int, share: float) -> dict[str, float]:
        height = self.recipe.height(step, share)
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * height
        random = np.random.Generator(np.random.PCG64([self.recipe.seed, step, self.accelerator.process_index]))
        torch.manual_seed(int(random.integers(2**63)))  # of every device: noise depends on seed and step alone
        with self.accelerator.autocast():
            loss, figures = self.wrapped(random, share)
        if not bool(loss.isfinite()):
            raise LongVieError(f"{self.stage.name}: the loss at step {step} is not a number; lower the rate")
        self.accelerator.backward(loss)
        trained = [p for p in self.stage.parameters() if p.requires_grad]
        norm = self.accelerator.clip_grad_norm_(trained, self.recipe.clip) or 0.0
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._average(step)
        return {
            "loss": float(loss.detach()),
            **figures,
            "norm": float(norm),
            "rate": self.recipe.rate_at(step, share),
        }

    @torch.no_grad()
    def _average(self, step: int) -> None:
        keep = min(self.recipe.ema, (1 + step) / (10 + step))
        for name, parameter in self.stage.named_parameters():
            if parameter.requires_grad:
                self.ema[name].lerp_(parameter.to(self.ema[name]), 1 - keep)

    def averaged(self) -> "Averaged":
        """The averaged weights in place, for as long as the block lasts."""
        return Averaged(self.stage, self.ema)

    def _save(self, step: int, seconds: float) -> None:
        if self.accelerator.is_main_process:
            weights = {k: p for k, p in self.stage.named_parameters() if p.requires_grad}
            position = checkpoint.Position(self.stage.name, step, seconds, asdict(self.recipe))
            checkpoint.save(self.folder, position, weights, self.ema, self.optimizers)

    def _log(self, figures: dict[str, float | int]) -> None:
        if self.accelerator.is_main_process:
            with (self.folder / LOG).open("a") as file:
                file.write(json.dumps(figures) + "\n")

    def _judge(self, step: int, seconds: float) -> None:
        if not self.accelerator.is_main_process:
            return
        with self.averaged(), torch.no_grad(), self.accelerator.autocast():
            figures = self.stage.figures()
        if figures:
            self._log({"step": step, "minutes": round(seconds / 60, 2), **figures})

    def _sheet(self, step: int) -> None:
        if self.accelerator.is_main_process:
            with self.averaged(), torch.no_grad(), self.accelerator.autocast():
                Image.fromarray(self.stage.sheet()).save(self.folder / f"sheet_{step:06d}.png")
            curve(self.folder / LOG, self.folder / "curve.png")


def optimizers(stage: Stage, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """AdamW for all that is trained; where the recipe says so, Muon for the matrices.

    Muon makes every direction of a matrix's step equally long (Jordan 2024; scaled as in arXiv 2502.16982, so that its
    rates compare with AdamW's).
    """
    trained = [p for p in stage.parameters() if p.requires_grad]
    matrices = [p for p in stage.matrices() if p.requires_grad] if recipe.matrices else []
    known = {id(p) for p in matrices}
    adam = torch.optim.AdamW(
        [p for p in trained if id(p) not in known], lr=recipe.rate, betas=recipe.betas, weight_decay=recipe.decay
    )
    if not matrices:
        return [adam]
    muon = torch.optim.Muon(
        matrices,
        lr=recipe.matrices,
        momentum=recipe.momentum,
        weight_decay=recipe.decay,
        adjust_lr_fn="match_rms_adamw",
    )
    return [adam, muon]


class Averaged:
    """Swaps averaged weights in, and out again."""

    def __init__(self, module: nn.Module, ema: dict[str, Tensor]) -> None:
        self.module, self.ema = module, ema

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.module.named_parameters():
            if name in self.ema:
                held = parameter.detach().clone()
                parameter.copy_(self.ema[name])
                self.ema[name].copy_(held)


def shorten(log: Path, step: int) -> None:
    """Leave out what was logged after the checkpoint that training goes on from: those steps are done again."""
    if log.exists():
        rows = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= step]
        log.write_text("".join(line + "\n" for line in rows))


def _check_extra() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise ResourceError('training draws its curves with matplotlib: pip install "longvie[train]"')


def curve(log: Path, out: Path) -> None:
    """The loss over minutes, logarithmic, as a picture."""
    from matplotlib.figure import Figure

    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for key in ("loss", "held_out"):
        points = [(row["minutes"], row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=key, linewidth=1)
    axes.set(xlabel="minutes of training", yscale="log")
    if axes.lines:
        axes.legend()
    figure.savefig(out, dpi=110)
