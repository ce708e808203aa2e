"""How the three instruments are made: windows of training worlds rendered once, then one network after another.

What was done is kept: shards as they are rendered, every network's state every two minutes. A run that was stopped goes
on from there, with the batches that it would have had.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional

from longvie.data.export import write_json
from longvie.errors import ConfigError
from longvie.evaluation.instruments import shots as footage
from longvie.evaluation.instruments import trial
from longvie.evaluation.instruments.attributes import AttributeNet
from longvie.evaluation.instruments.damage import KINDS, damaged
from longvie.evaluation.instruments.depth import DepthNet
from longvie.evaluation.instruments.nets import unit
from longvie.evaluation.instruments.shots import TURNING, Shots
from longvie.evaluation.instruments.store import CARD, keep
from longvie.evaluation.instruments.windows import HEADS, WindowNet
from longvie.media import replace_atomically
from longvie.runtime import checked_seed, seed_everything

SHARDS, HELD_OUT = 17, 3  # files of 24 windows, to learn from and to measure errors on
KEEP = 120.0  # seconds between states that are kept
WARM = 0.03  # share of the time in which the rate grows; it falls as a cosine for the rest
NOTHING = 0.2  # weight of a cell without an object, of which there are ten for one with
WHOLE = 0.3  # share of windows that the feature net sees undamaged

Loss = Callable[[nn.Module, Shots, np.random.Generator], Tensor]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One network: what it is, how it learns, how its errors are measured."""

    name: str
    what: str
    network: Callable[[], nn.Module]
    loss: Loss
    errors: Callable[[Any, Shots], dict[str, float]]
    rate: float = 3e-3  # of AdamW, at most


def train_instruments(
    folder: Path, minutes: int | float = 30, seed: int = 0, tell: Tell = lambda _line: None
) -> dict[str, Any]:
    """Make all instruments: `folder/instruments` then holds what belongs into `weights/instruments`.

    Rendering, about 7,700 frames, comes on top of the minutes. What is left of them when it is started again is what
    the first run left; more minutes than before train further. On another machine the same minutes are another number
    of steps, and so other weights: the card says how many there were.

    Args:
        folder: for shards, states and results.
        minutes: of training, all three together, as this process computes: waiting for a busy machine is not counted.
        tell: told a line now and then.

    Returns:
        The card.

    Raises:
        ConfigError: no time, or a seed out of range.
    """
    if not 0 < minutes <= 10_000:
        raise ConfigError(f"{minutes} minutes of training: use more than 0 and up to 10,000")
    seed_everything(checked_seed(seed))
    seen, unseen = folder / "shots" / "train", folder / "shots" / "held_out"
    for number in footage.fill(seen, SHARDS, "train", seed):
        tell(f"training windows: {number + 1} of {SHARDS} files")
    for number in footage.fill(unseen, HELD_OUT, "test", seed):
        tell(f"held-out windows: {number + 1} of {HELD_OUT} files")
    known, held_out = footage.load(seen, SHARDS), footage.load(unseen, HELD_OUT)
    card: dict[str, Any] = {}
    for task in TASKS:
        network, facts = learned(task, known, folder / "states", 60 * minutes / len(TASKS), seed, tell)
        file = keep(network, task.name, folder / "instruments")
        card[task.name] = {
            "what": task.what,
            "parameters": sum(parameter.numel() for parameter in network.parameters()),
            "trained_on": f"{len(known)} windows of 16 frames of training worlds, seed {seed}",
            **facts,
            "held_out": {
                "on": f"{len(held_out)} windows of 16 frames of test worlds, seed {seed}",
                **{name: round(number, 4) for name, number in task.errors(network, held_out).items()},
            },
            "sha256": file,
        }
        tell(f"{task.name}: {card[task.name]['held_out']}")
    write_json(folder / "instruments" / CARD, card)
    return card


def learned(
    task: Task, known: Shots, folder: Path, seconds: float, seed: int, tell: Tell
) -> tuple[nn.Module, dict[str, int]]:
    """A network after so many seconds of training, those of earlier runs counted; and how many, with how many steps."""
    network = task.network()
    optimiser = torch.optim.AdamW(network.parameters(), task.rate, weight_decay=0.01)
    state = folder / f"{task.name}.pt"
    step, used = _restored(state, network, optimiser)
    kept = time.perf_counter()
    while used < seconds:
        begun = time.process_time()
        for group in optimiser.param_groups:
            group["lr"] = task.rate * rate(used / seconds)
        loss = task.loss(network.train(), known, np.random.Generator(np.random.PCG64([seed, step])))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step, used = step + 1, used + time.process_time() - begun
        if time.perf_counter() - kept >= KEEP or used >= seconds:
            _save(state, network, optimiser, (step, used))
            kept = time.perf_counter()
            tell(f"{task.name}: {used:.0f} of {seconds:.0f} s, step {step}, loss {float(loss.detach()):.3f}")
    if isinstance(network, WindowNet):
        _settle(network.eval(), known)
    return network.eval().requires_grad_(False), {"steps": step, "seconds": round(used)}


def rate(share: float) -> float:
    """Of the highest rate, after this share of the time."""
    return min(1.0, (share + 1e-3) / WARM) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _restored(state: Path, network: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[int, float]:
    """Steps and seconds that were done."""
    if not state.is_file():
        return 0, 0.0
    kept = torch.load(state, weights_only=True)
    network.load_state_dict(kept["network"])
    optimiser.load_state_dict(kept["optimiser"])
    return kept["done"]


def _save(state: Path, network: nn.Module, optimiser: torch.optim.Optimizer, done: tuple[int, float]) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    facts = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "done": done}
    with replace_atomically(state) as part:
        torch.save(facts, part)


# --------------------------------------------------------------------------------------------------------------
# what each of them is asked


def depth_loss(network: nn.Module, known: Shots, random: np.random.Generator) -> Tensor:
    """Mean distance of logarithms of disparity, as they are and with each picture's own scale taken out."""
    window, frame = _drawn(known, 16, random)
    pictures, true = worn(known.picture[window, frame], random), known.disparity[window, frame].float()
    pictures, true = _mirrored(random, pictures, true)
    counts = true > 0
    apart = (network(pictures) - true.clamp(min=1e-3).log()) * counts  # (b, y, x)
    scale = apart.sum((1, 2), keepdim=True) / counts.sum((1, 2), keepdim=True).clamp(min=1)
    return (apart.abs().sum() + ((apart - scale) * counts).abs().sum()) / counts.sum().clamp(min=1)


def attribute_loss(network: nn.Module, known: Shots, random: np.random.Generator) -> Tensor:
    """Cross entropy of every cell's shape, of the colour of cells that hold an object, and of the whole picture."""
    window, frame = _drawn(known, 16, random)
    pictures, shapes, colours = _mirrored(
        random,
        worn(known.picture[window, frame], random),
        known.shape[window, frame].long(),
        known.colour[window, frame].long(),
    )
    shape, colour, (ground, weather, hour) = network(pictures)
    whole = [
        functional.cross_entropy(ground, known.ground[window].long()),
        _entropy(weather, known.weather[window, frame].long()),
        _entropy(hour, known.hour[window, frame].long()),
    ]
    rare = torch.tensor([NOTHING, *[1.0] * (shape.shape[1] - 1)])
    cells = functional.cross_entropy(shape, shapes, rare)
    return torch.stack([3 * cells, 2 * _entropy(colour, colours - 1), *whole]).sum()


def window_loss(network: nn.Module, known: Shots, random: np.random.Generator) -> Tensor:
    """All heads: cross entropy of classes, distance of numbers."""
    rows, others = random.integers(len(known), size=(2, 6))
    kinds = np.where(random.random(6) < WHOLE, 0, random.integers(1, len(KINDS), 6))
    strengths = random.random(6)
    broken = [
        damaged(known.picture[row].numpy(), known.picture[other].numpy(), KINDS[kind], strength, random)
        for row, other, kind, strength in zip(rows, others, kinds, strengths, strict=True)
    ]
    pictures = torch.stack([unit(torch.from_numpy(np.ascontiguousarray(window))) for window in broken])
    if random.random() < 0.5:
        pictures = pictures.flip(-1)
    said, true = network(pictures), known.asked(rows)
    true["damage"] = torch.from_numpy(kinds)
    true["strength"] = torch.from_numpy(strengths * (kinds > 0)).float()
    losses = [
        _entropy(said[name], true[name]) if count else (said[name][:, 0] - true[name]).abs().mean()
        for name, count in HEADS.items()
    ]
    return torch.stack(losses).sum()


def _entropy(logits: Float[Tensor, "n k ..."], true: Int[Tensor, "n ..."]) -> Tensor:
    """Mean cross entropy of what is not `TURNING`; 0 where all is."""
    counts = (true != TURNING).sum().clamp(min=1)
    return functional.cross_entropy(logits, true, ignore_index=TURNING, reduction="sum") / counts


def _settle(network: WindowNet, known: Shots) -> None:
    """Features of undamaged windows get mean 0 and deviation 1."""
    network.mean = torch.zeros_like(network.mean)
    network.deviation = torch.ones_like(network.deviation)
    network.settle(torch.cat([trial.features(network, known.picture[at : at + 1]) for at in range(len(known))]))


def _drawn(known: Shots, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Windows and frames in them."""
    return random.integers(len(known), size=count), random.integers(known.picture.shape[1], size=count)


def _mirrored(random: np.random.Generator, *maps: Tensor) -> list[Tensor]:
    """All turned left to right, or none."""
    turned = bool(random.random() < 0.5)
    return [of.flip(-1) if turned else of for of in maps]


def worn(pictures: UInt8[Tensor, "n y x 3"], random: np.random.Generator) -> Float[Tensor, "n 3 y x"]:
    """As made videos are: a little brighter or darker, some coarse or with noise; in [-1, 1]."""
    count = len(pictures)
    clear = unit(pictures)
    gain = torch.from_numpy(1 + random.normal(0, [0.06, 0.02, 0.02, 0.02], (count, 4))).float()
    clear = (clear + 1) * (gain[:, :1] * gain[:, 1:])[:, :, None, None] - 1
    for row, how in enumerate(random.random(count)):
        if how < 0.25:  # detail of half the side only
            small = functional.avg_pool2d(clear[row : row + 1], 2)
            share = float(random.random())
            rough = functional.interpolate(small, clear.shape[-2:], mode="bilinear", align_corners=False)[0]
            clear[row] = share * rough + (1 - share) * clear[row]
        elif how < 0.5:
            grain = random.standard_normal(clear.shape[1:], dtype=np.float32) * np.float32(0.08 * random.random())
            clear[row] += torch.from_numpy(grain)
    return clear.clamp(-1, 1)


TASKS = (
    Task(
        "depth",
        "inverse depth out of one picture: U-Net, 24×44 cells",
        DepthNet,
        depth_loss,
        trial.depth_errors,
    ),
    Task(
        "attributes",
        "words of the world in one picture: U-Net, shape and colour in 24×44 cells, ground, weather and hour",
        AttributeNet,
        attribute_loss,
        trial.attribute_errors,
    ),
    Task(
        "windows",
        "70 features of windows of 16 frames: 64 learned, by convolutions over frames, then time; 6 of fine detail",
        WindowNet,
        window_loss,
        trial.window_errors,
        1.5e-3,
    ),
)
