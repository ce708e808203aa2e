"""One moment of a scene under several captions, as files: the same place, at another hour, in other weather, on another
ground, with things of other colours. From these a network learns what other words make of a picture.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longvie.data.clips import claimed, path, split_of
from longvie.data.render import FIRST, render
from longvie.data.world import COLOURS, FPS, GROUNDS, TIMES, WEATHERS, Scene, Split, held_out, scene
from longvie.errors import InputError

VARIANTS = 4  # captions of a moment
LIGHT, COLOUR, GROUND = 0.65, 0.6, 0.12  # how often light, a thing's colour and the ground become another
TOLD = 4  # things that a caption tells of at most
UNTOLD = 255  # number of all that is none of them


@dataclass(frozen=True)
class Variants:
    """A moment under some captions: where things are is the same in all of them."""

    pictures: UInt8[Tensor, "k h w 3"]
    disparity: Float[Tensor, "h w"]  # 1 / metres, 0 = sky; half precision
    things: UInt8[Tensor, "h w"]  # which thing of the captions is there, the first that is told is 0
    captions: tuple[str, ...]


def make(number: int, *, split: Split = "train", size: tuple[int, int] = (96, 176), device: str = "cpu") -> Variants:
    """Moment `number`: its scene, its time within a minute and its captions all follow from the number."""
    random = np.random.Generator(np.random.PCG64([number, 11]))
    first = int(random.integers(0, 60 * FPS))
    worlds = [_still(scene(number, split), first / FPS)]
    worlds.append(_coloured(worlds[0], random))
    while len(worlds) < VARIANTS:
        worlds.append(_other(worlds[int(random.integers(len(worlds)))], random))
    drawn = render(worlds, range(first, first + 1), size=size, device=device)
    pictures = torch.cat([it.picture for it in drawn], dim=1)
    return Variants(
        pictures=((pictures + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().contiguous(),
        disparity=(1.0 / drawn[0].depth[0]).half().cpu(),
        things=_numbered(drawn[0].labels[0].cpu(), _told(worlds[0])),
        captions=tuple(world.caption(0.0) for world in worlds),
    )


def _still(world: Scene, time: float) -> Scene:
    """The same, as it is at a time, and never anything else."""
    hour, weather = world.sky_at(time)
    bodies = tuple(replace(body, colour=world.colour_at(at, time)) for at, body in enumerate(world.bodies))
    return replace(world, bodies=bodies, hour=hour, weather=weather, events=())


def _other(world: Scene, random: np.random.Generator) -> Scene:
    """The same with one or some of what words say changed: seldom all."""
    light, colour, ground = random.random(3) < (LIGHT, COLOUR, GROUND)
    if light or not (colour or ground):
        both = random.random()  # the hour, the weather, or both
        hour = str(random.choice(TIMES)) if both < 0.7 else world.hour
        weather = str(random.choice(WEATHERS)) if both > 0.3 else world.weather
        world = replace(world, hour=hour, weather=weather)
    if ground:
        world = replace(world, ground=str(random.choice(list(GROUNDS))))
    for _ in range(int(random.integers(1, 3)) if colour else 0):
        world = _coloured(world, random)
    return world


def _coloured(world: Scene, random: np.random.Generator) -> Scene:
    """The same with one of the things that words tell of in another colour, if not the same again."""
    at = int(random.choice(_told(world)))
    allowed = [name for name in COLOURS if not held_out(world.bodies[at].shape, name)]
    bodies = list(world.bodies)
    bodies[at] = replace(bodies[at], colour=str(random.choice(allowed)))
    return replace(world, bodies=tuple(bodies))


def _told(world: Scene) -> list[int]:
    """The things that a caption tells of, in its order."""
    return sorted(sorted(range(len(world.bodies)), key=lambda i: -float(np.prod(world.bodies[i].half)))[:TOLD])


def _numbered(labels: Int[Tensor, "h w"], told: list[int]) -> UInt8[Tensor, "h w"]:
    found = torch.full(labels.shape, UNTOLD, dtype=torch.uint8)
    for number, body in enumerate(told):
        found[labels == FIRST + body] = number
    return found


def save(file: Path, variants: Variants) -> None:
    """Writes a moment; another process never sees half of it."""
    draft = file.with_suffix(".part")
    tensors = {"pictures": variants.pictures, "disparity": variants.disparity, "things": variants.things}
    save_file(tensors, draft, metadata={"captions": json.dumps(variants.captions)})
    draft.rename(file)


def load(file: Path) -> Variants:
    """Reads a moment that `save` wrote."""
    with safe_open(file, "pt") as opened:
        captions = tuple(json.loads(opened.metadata()["captions"]))
        pictures, disparity, things = (opened.get_tensor(name) for name in ("pictures", "disparity", "things"))
        return Variants(pictures, disparity, things, captions)


def fill(folder: Path, numbers: range, *, split: Split | None = None, device: str = "cpu") -> Iterator[int]:
    """Renders the moments of `numbers` that are not there yet; yields each number when it is done, or another process
    has it. Without a split, every other one is of a scene `around` the test's.
    """
    for number in numbers:
        with claimed(path(folder, number)) as ours:
            if ours:
                made = make(number, split=split_of(number) if split is None else split, device=device)
                save(path(folder, number), made)
        yield number


def read(folder: Path) -> list[Variants]:
    """All moments of a folder, in memory (0.2 MB each).

    Raises:
        InputError: there are none.
    """
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise InputError("there are no moments under several captions yet; run the stage 'variants' first")
    return [load(file) for file in files]
