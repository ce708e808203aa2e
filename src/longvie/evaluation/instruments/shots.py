"""What the instruments learn from and are tried on: windows of the world with what is true of their frames.

A window is what `frechet.windows` looks at: 16 frames spread evenly over 5 s, 30 s or 2 min of one scene. They lie in
shards, files of a few windows that depend on their number alone, so that a run that was stopped renders no shard twice.
Training windows are of the world's training scenes; those on which errors are measured are of its test scenes, whose
cameras, suns and pairs of shape and colour no training scene has, at numbers where `make` never looks for a suite's.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int8, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor

from longvie.data.render import FIRST, render
from longvie.data.world import CAMERAS, COLOURS, FPS, GROUNDS, SHAPES, TIMES, WEATHERS, Event, Scene, Split, scene
from longvie.evaluation.frechet import LOOKS, WINDOWS, windows
from longvie.evaluation.instruments.depth import commanded
from longvie.evaluation.instruments.nets import SIZE
from longvie.evaluation.make import SEARCH, SPAN

LAST = 600.0  # seconds: events of a scene end there
WITHIN = 12 * SEARCH  # number within a seed from which on scenes are ours: suites take them from below `SEARCH`
SHARD = 24  # windows of a file
TURNING = -1  # an hour or a weather that is on its way to another


@dataclass(frozen=True)
class Shots:
    """Windows, and the truth of their frames."""

    picture: UInt8[Tensor, "n f h w 3"]
    disparity: Float[Tensor, "n f y x"]  # what `depth.commanded` makes of it
    shape: UInt8[Tensor, "n f v u"]  # in the middle of cells of 4×4 pixels: 0 is no object, else 1 + place in SHAPES
    colour: UInt8[Tensor, "n f v u"]  # the same, in COLOURS
    hour: Int8[Tensor, "n f"]  # place in TIMES, or `TURNING`
    weather: Int8[Tensor, "n f"]  # place in WEATHERS, or `TURNING`
    ground: Int8[Tensor, " n"]  # place in GROUNDS
    camera: Int8[Tensor, " n"]  # place in CAMERAS
    bodies: Int8[Tensor, " n"]  # how many objects there are
    motion: Float[Tensor, "n 2"]  # of the camera between two looks, mean: metres, radians

    def __len__(self) -> int:
        return len(self.picture)

    def asked(self, rows: Int[np.ndarray, " n"]) -> dict[str, Tensor]:
        """What is true of windows, for every head of the feature net but those of damage: classes, numbers near ±1."""
        middle = self.hour.shape[1] // 2
        return {
            "camera": self.camera[rows].long(),
            "hour": self.hour[rows, middle].long(),
            "weather": self.weather[rows, middle].long(),
            "ground": self.ground[rows].long(),
            "bodies": (self.bodies[rows].float() - 4) / 2,
            "step": (self.motion[rows, 0] + 0.05).log(),
            "turn": (self.motion[rows, 1] + 0.02).log() + 2,
        }


def shard(number: int, split: Split, seed: int = 0) -> Shots:
    """The windows of one shard, rendered; lengths take turns."""
    first = seed * SPAN + WITHIN + number * SHARD
    return joined([_window(first + place, split, WINDOWS[place % len(WINDOWS)]) for place in range(SHARD)])


def path(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / f"{number:03d}.safetensors"


def fill(folder: Path, count: int, split: Split, seed: int = 0) -> Iterator[int]:
    """Renders the shards below `count` that are not there yet; yields each number when its file is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        target = path(folder, number)
        if not target.exists():
            made = shard(number, split, seed)
            draft = target.with_suffix(".part")
            save_file({field.name: getattr(made, field.name) for field in fields(made)}, draft)
            draft.rename(target)
        yield number


def load(folder: Path, count: int) -> Shots:
    """The shards below `count`, in order."""
    return joined([Shots(**load_file(path(folder, number))) for number in range(count)])


def joined(parts: list[Shots]) -> Shots:
    """One after another."""
    return Shots(**{field.name: torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Shots)})


def _window(number: int, split: Split, seconds: float) -> Shots:
    """A window of one scene, at a moment that follows from its number."""
    world = scene(number, split)
    start = int(np.random.Generator(np.random.PCG64([number, 11])).integers(0, round((LAST - seconds) * FPS)))
    looks = windows(round(seconds * FPS), float(FPS), seconds, LOOKS)[0]
    when = range(start + looks[0], start + looks[-1] + 1, looks[1] - looks[0])
    drawn = render([world], when, size=SIZE, chunk=8)[0]
    times = np.array(when) / FPS
    shape, colour = _cells(world, times, drawn.labels)
    hour, weather = _air(world, times)
    return Shots(
        picture=((drawn.picture + 1) * 127.5).round().byte().permute(1, 2, 3, 0)[None].contiguous(),
        disparity=torch.from_numpy(np.stack([commanded(depth) for depth in drawn.depth.numpy()])).half()[None],
        shape=shape[None],
        colour=colour[None],
        hour=hour[None],
        weather=weather[None],
        ground=_place(list(GROUNDS), world.ground),
        camera=_place(list(CAMERAS), world.camera.family),
        bodies=torch.tensor([len(world.bodies)], dtype=torch.int8),
        motion=_motion(drawn.poses)[None],
    )


def _cells(world: Scene, times: np.ndarray, labels: Tensor) -> tuple[UInt8[Tensor, "f v u"], UInt8[Tensor, "f v u"]]:
    """Shape and colour in the middle of every cell; a colour that turns is that which it is nearer to."""
    half_way = Event.TURN["colour"] / 2
    of = (labels[:, 2::4, 2::4] - FIRST + 1).clamp(min=0)  # 0 none, 1 + index of the body
    shapes = torch.tensor([0, *(1 + list(SHAPES).index(body.shape) for body in world.bodies)], dtype=torch.uint8)
    names = [[world.colour_at(index, time - half_way) for index in range(len(world.bodies))] for time in times]
    colours = torch.tensor([[0, *(1 + list(COLOURS).index(name) for name in row)] for row in names], dtype=torch.uint8)
    return shapes[of], torch.stack([row[at] for row, at in zip(colours, of, strict=True)])


def _air(world: Scene, times: np.ndarray) -> tuple[Int8[Tensor, " f"], Int8[Tensor, " f"]]:
    """Hour and weather of each moment; `TURNING` while one gives way to another."""
    rows = []
    for kind, names, which in (("time", TIMES, 0), ("weather", WEATHERS, 1)):
        now = [(world.sky_at(time)[which], world.sky_at(time - Event.TURN[kind])[which]) for time in times]
        rows.append([names.index(name) if name == before else TURNING for name, before in now])
    hour, weather = torch.tensor(rows, dtype=torch.int8)
    return hour, weather


def _motion(poses: Float[Tensor, "f 4 4"]) -> Float[Tensor, " 2"]:
    step = (poses[1:, :3, 3] - poses[:-1, :3, 3]).norm(dim=-1).mean()
    turned = poses[1:, :3, :3].transpose(1, 2) @ poses[:-1, :3, :3]
    angle = ((turned.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2).clamp(-1, 1).acos().mean()
    return torch.stack([step, angle])


def _place(names: list[str], name: str) -> Int8[Tensor, " 1"]:
    return torch.tensor([names.index(name)], dtype=torch.int8)


@cache
def held_out(windows_wanted: int, seed: int = 0) -> Shots:
    """The first windows of the test scenes that no suite uses, without files: for tests that need a few."""
    first = seed * SPAN + WITHIN
    return joined([_window(first + at, "test", WINDOWS[at % len(WINDOWS)]) for at in range(windows_wanted)])
