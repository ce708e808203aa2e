"""A suite of one small item, drawn from a scene of the world, for whoever reads or spoils items."""

from pathlib import Path

import numpy as np

from longvie.data.export import Export, export
from longvie.evaluation.draw import draw_conditions
from longvie.evaluation.suite import Item
from longvie.media import VideoWriter

SIZE = (16, 32)
NAMES = ("truth.mp4", "depth.npz", "segmentation.npz", "cameras.json", "tracks.npz")
SHORT, LONG = 24, 90  # frames; the long one outlives its first points and fills more than a clip
ITEM = Item(
    id="000-natural-day-loop",
    number=7,
    split="test",
    category="natural",
    light="day",
    camera="loop",
    occluders=False,
    lookalikes=False,
    seconds=1.4,
    frames=SHORT,
    size=SIZE,
    fps=16.0,
    files=dict.fromkeys(NAMES, "0" * 64),
    prompts=((0.0, "a ball"), (1.0, "a red ball"), (9.0, "too late")),
    beats=(0.5, 1.25, 9.0),
)


def exported(suite: Path, frames: int) -> Path:
    """The suite's folder, with the item drawn."""
    export(Export(ITEM.number, frames, size=SIZE, points=20), suite / ITEM.id)
    draw_conditions(suite / ITEM.id, frames=frames, size=SIZE, fps=16.0)
    return suite


def video(path: Path, frames: np.ndarray, fps: int | float = 16) -> Path:
    """Frames as a file of ours."""
    with VideoWriter(path, fps=fps, size=frames.shape[1:3], fragmented=False) as out:
        out.write(frames)
    return path


def noise(frames: int, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """Flat grey pictures, each its own, so that coding hardly changes them."""
    levels = np.random.default_rng(seed).integers(0, 256, frames, dtype=np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (frames, *size, 3)).copy()


def truth_of(suite: Path) -> Path:
    """The truth of the one item."""
    return suite / ITEM.id / "truth.mp4"
