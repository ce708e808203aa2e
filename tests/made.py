"""Small clips of the world, models and a stage with a known answer, for the tests of training."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from longvie.data import clips
from longvie.data.latents import STILLS, ClipLatents, Pool
from longvie.data.streams import STREAMS
from longvie.media import VideoWriter
from longvie.models.models import Models, tiny
from longvie.training.trainer import Recipe, Stage

SIZE = (32, 48)
FOOTAGE = (40, 60)  # has to be cropped to SIZE
LATENTS = 25  # of 97 frames
GRID = (4, 6)


def rendered(temporary: pytest.TempPathFactory) -> Path:
    """A training folder with three small clips of the world and one that is held out; rendered once per session."""
    folder = temporary.getbasetemp() / "rendered_clips"
    for split, where, count in (("train", folder / "clips", 3), ("test", folder / "held_out" / "clips", 1)):
        for _ in clips.fill(where, range(count), size=SIZE, split=split):
            pass
    return folder


def write_footage(folder: Path, frames: int) -> Path:
    """Metadata of two clips of noise, larger than the models' pictures; the second is two frames longer."""
    folder.mkdir(exist_ok=True)
    listed = []
    for number in range(2):
        files = {key: f"{number}_{key}.mp4" for key in ("video", "depth", "track")}
        for at, name in enumerate(files.values()):
            pixels = np.random.default_rng(10 * number + at).integers(
                0, 255, (frames + 2 * number, *FOOTAGE, 3), dtype=np.uint8
            )
            with VideoWriter(folder / name, fps=8, size=FOOTAGE, fragmented=False) as out:
                out.write(pixels)
        listed.append({**files, "text": f"clip {number}"})
    (folder / "metadata.json").write_text(json.dumps(listed))
    return folder / "metadata.json"


def clip_latents(number: int) -> ClipLatents:
    """An encoded clip whose every value says which stream and latent frame it belongs to: 100·stream + frame."""
    ramp = torch.arange(LATENTS).float()[None, :, None, None].expand(16, LATENTS, *GRID)
    streams = {name: (100.0 * at + ramp).clone() for at, name in enumerate(STREAMS)}
    stills = torch.tensor(STILLS).float()[None, :, None, None].expand(16, len(STILLS), *GRID) + 1000.0
    beats = torch.arange(4 * LATENTS).float().unflatten(0, (LATENTS, 4)) + 1
    captions = ((0, f"clip {number} begins"), (40, f"clip {number} goes on"))
    return ClipLatents(streams, stills.clone(), beats, captions)


def noisy_pool(folder: Path, count: int = 2) -> Pool:
    """Encoded clips of random numbers, as large as real latents are."""
    source = torch.Generator().manual_seed(1)
    items = []
    for number in range(count):
        clip = clip_latents(number)
        streams = {k: torch.randn(v.shape, generator=source) for k, v in clip.streams.items()}
        stills = torch.randn(clip.stills.shape, generator=source)
        items.append(ClipLatents(streams, stills, clip.beats / 100, clip.captions))
    return Pool(folder, range(count), items, set())


def small_models() -> Models:
    """The tiny models, fresh, so that a test may train them."""
    return tiny(seed=4)


class Line(Stage):
    """Learns a line from noisy points: a stage that costs nothing, uses both kinds of random numbers, and can fail."""

    name: ClassVar[str] = "line"

    def __init__(self, *, breaks_at: int | None = None, width: int = 3) -> None:
        super().__init__()
        self.line = nn.Linear(width, 1)
        self.frozen = nn.Linear(width, 1).requires_grad_(False)
        self.breaks_at, self.calls, self.exports = breaks_at, 0, 0
        with torch.no_grad():
            for weight in self.parameters():
                weight.fill_(0.5)

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:
        x = torch.from_numpy(random.normal(size=(8, self.line.in_features))).float()
        wanted = x.sum(1, keepdim=True) + 0.1 * torch.randn(8, 1)
        loss = (self.line(x).float() - wanted).square().mean()
        if self.calls == self.breaks_at:
            loss = loss * float("nan")
        self.calls += 1
        return loss, {"share": share}

    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        return np.full((4, 4, 3), int(255 * float(self.line.bias.detach().clamp(0, 1))), np.uint8)

    def export(self, folder: Path) -> None:
        self.exports += 1
        torch.save(self.line.weight.detach().clone(), folder / "line.pt")


def recipe(steps: int, **changes: float) -> Recipe:
    """So many steps, whatever time they take."""
    return Recipe(minutes=60.0, rate=0.05, warmup=2, steps=steps, **changes)
