"""Clips of the world as files: pixels and exact truth first, latents of every stream later.

A clip file is safetensors: what the renderer knows, compact, before any control is drawn from it. So a change in how
a control looks needs no new rendering. Writing is atomic and a clip depends on its number alone, so that any number
of processes may fill one folder, stop, and go on.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longvie.data.render import Tracks, render, track
from longvie.data.world import FPS, Scene, Split, scene
from longvie.errors import RunLocked
from longvie.journal import locked

TENSORS = ("picture", "disparity", "labels", "sketch", "points", "visible", "beats")
POINTS = 256  # tracks that are followed at a time
TOLD = 0.6  # share of the clips `around` at whose beginning, or at a border soon after, the words change
BEFORE = ((0, 12), (17, 28))  # frames from the clip's first to that change


@dataclass(frozen=True)
class Clip:
    """What is known of some frames of a scene."""

    number: int
    picture: UInt8[Tensor, "f h w 3"]
    disparity: Float[Tensor, "f h w"]  # 1 / metres, 0 = sky; half precision
    labels: UInt8[Tensor, "f h w"]
    sketch: UInt8[Tensor, "f h w"]  # 0 or 1
    points: Float[Tensor, "f p 3"]  # x, y in pixels, depth in metres
    visible: Bool[Tensor, "f p"]
    beats: Float[Tensor, " f"]
    captions: tuple[tuple[int, str], ...]  # (first frame, words)

    def caption(self, frame: int) -> str:
        """The words in force at a frame of the clip."""
        return [words for first, words in self.captions if first <= frame][-1]

    def part(self, span: slice) -> "Clip":
        """Some of its frames; the captions stay as they are."""
        return replace(self, **{name: getattr(self, name)[span] for name in TENSORS})


def make(
    number: int, *, frames: int = 97, split: Split = "train", size: tuple[int, int] = (96, 176), device: str = "cpu"
) -> Clip:
    """Clip `number`: its scene, its moment within the scene's first minute, and its tracks all follow from the number.

    Tracks are seeded at the first frame and once more at a latent frame further on, where a next clip might begin.
    """
    rng = np.random.Generator(np.random.PCG64([number, 7]))
    world = scene(number, split)
    first = moment(world, rng)
    when = range(first, first + frames)
    truth = render([world], when, size=size, device=device, chunk=8 if device == "cpu" else 97)[0]
    renewed = 4 * int(rng.integers(2, max(3, frames // 4 - 2)))
    tracks = joined(
        [
            track(world, range(a, b), points=POINTS, seed=number, size=size)
            for a, b in ((first, first + renewed + 1), (first + renewed, first + frames))
        ]
    )
    captions = {0: world.caption(first / FPS)}
    for event in world.events:
        at = round((event.at + 0.3) * FPS) - first
        if 0 < at < frames:
            captions[at] = world.caption(event.at + 1e-6)
    return Clip(
        number=number,
        picture=((truth.picture + 1) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().contiguous(),
        disparity=(1.0 / truth.depth).half().cpu(),
        labels=truth.labels.byte().cpu(),
        sketch=truth.sketch.byte().cpu(),
        points=tracks.points,
        visible=tracks.visible,
        beats=torch.from_numpy(world.beats(np.array(when) / FPS)).float(),
        captions=tuple(sorted(captions.items())),
    )


def moment(world: Scene, rng: np.random.Generator) -> int:
    """The first frame of a clip of a scene, within its first minute. In many clips of scenes `around` the words change
    soon after it: what is given is then as it was before, and what is asked for as it is after.
    """
    first = int(rng.integers(0, 60 * FPS))
    if world.split != "around" or rng.random() >= TOLD:
        return first
    event = world.events[int(rng.integers(4))]
    return max(0, round(event.at * FPS) - int(rng.integers(*BEFORE[int(rng.integers(2))])))


def joined(parts: list[Tracks]) -> Tracks:
    """Spans of tracks as one: each part's points live in its own frames; parts share one frame at their border."""
    total = sum(len(p.points) - 1 for p in parts) + 1
    count = sum(p.points.shape[1] for p in parts)
    points, visible = torch.zeros(total, count, 3), torch.zeros(total, count, dtype=torch.bool)
    frame = column = 0
    for k, part in enumerate(parts):
        length, width = part.visible.shape
        skip = int(k > 0)  # the shared frame belongs to the part before
        points[frame + skip : frame + length, column : column + width] = part.points[skip:]
        visible[frame + skip : frame + length, column : column + width] = part.visible[skip:]
        frame, column = frame + length - 1, column + width
    return Tracks(points, visible)


def split_of(number: int) -> Split:
    """Of which scenes a training's clip is: every other one of those around the test's."""
    return "around" if number % 2 else "train"


def path(folder: Path, number: int) -> Path:
    """Where clip `number` lies."""
    return folder / f"{number // 1000:03d}" / f"{number:06d}.safetensors"


def save(folder: Path, clip: Clip) -> None:
    """Writes a clip; another process never sees half of it."""
    target = path(folder, clip.number)
    target.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: getattr(clip, name) for name in TENSORS}
    draft = target.with_suffix(".part")
    save_file(tensors, draft, metadata={"number": str(clip.number), "captions": json.dumps(clip.captions)})
    draft.rename(target)


def load(file: Path) -> Clip:
    """Reads a clip that `save` wrote."""
    with safe_open(file, "pt") as opened:
        meta = opened.metadata()
        captions = tuple((int(at), words) for at, words in json.loads(meta["captions"]))
        return Clip(number=int(meta["number"]), captions=captions, **{k: opened.get_tensor(k) for k in opened.keys()})  # noqa: SIM118


def fill(folder: Path, numbers: range, **options: int | str | tuple[int, int]) -> Iterator[int]:
    """Renders the clips of `numbers` that are not there yet; yields each number when it is done, or another process has
    it.
    """
    for number in numbers:
        with claimed(path(folder, number)) as ours:
            if ours:
                save(folder, make(number, **options))  # type: ignore[arg-type]
        yield number


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Whether a file is ours to make: it is not there, and no other process is at it."""
    if file.exists():
        yield False
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = file.with_suffix(".lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(lock))
        except RunLocked:
            yield False
            return
        yield not file.exists()
        lock.unlink(missing_ok=True)
