"""The streams of a clip: its picture, and every control drawn as a user's file would be drawn. And a folder of clips.

Drawing goes through the controls' own functions, so that what the model learns is what it will be given.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from longvie.controls.segmentation import PALETTE
from longvie.controls.tracks import dot_colours, paint_dots
from longvie.data.clips import Clip, load
from longvie.errors import InputError

COLOURS = torch.tensor(PALETTE)
STREAMS = ("picture", "depth", "sketch", "segmentation", "tracks")


def pictures(clip: Clip, stream: str) -> Float[Tensor, "3 f h w"]:
    """One stream of a clip as RGB in [-1, 1]."""
    if stream == "picture":
        return _unit(clip.picture)
    if stream == "depth":
        q = clip.disparity.float()
        far, near = (float(np.percentile(q.numpy(), p)) for p in (5, 95))
        shade = ((near - q) / (near - far)).clamp(0, 1)
        return (shade * 2 - 1).expand(3, *shade.shape)
    if stream == "sketch":
        line = clip.sketch.float() * 2 - 1
        return line.expand(3, *line.shape)
    if stream == "segmentation":
        return _unit(COLOURS[clip.labels.long() % len(COLOURS)])
    if stream == "tracks":
        return _unit(_dots(clip))
    raise InputError(f"no stream {stream!r}; there are {', '.join(STREAMS)}")


def _dots(clip: Clip) -> Tensor:
    """Tracks as dots: a colour for life, from the frame in which a point is first seen."""
    first = clip.visible.byte().argmax(0)  # (p,)
    start = clip.points[first, torch.arange(clip.points.shape[1])].numpy().astype(np.float64)
    shown = clip.visible.any(0).numpy()
    far, near = np.percentile(1 / start[shown, 2], [2, 98]) if shown.any() else (0.0, 0.0)
    start[~shown, 2] = 1.0
    height, width = clip.labels.shape[1:]
    size = (height, width)
    colours = torch.from_numpy(dot_colours(start, size, float(far), float(near)))
    return paint_dots(clip.points, clip.visible, colours, size)


def _unit(pixels: Tensor) -> Float[Tensor, "3 f h w"]:
    return pixels.permute(3, 0, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class Store:
    """A folder of clips that `clips.fill` wrote, or is still writing."""

    files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path) -> "Store":
        """All clips that are there now.

        Raises:
            InputError: there is none.
        """
        files = tuple(sorted(folder.glob("*/*.safetensors")))
        if not files:
            raise InputError(f"no clips in {folder.name}; render some first")
        return cls(files)

    def clip(self, index: int) -> Clip:
        """A whole clip."""
        return load(self.files[index])

    def part(self, random: np.random.Generator, frames: int) -> Clip:
        """Some frames of some clip; only they are read."""
        file = self.files[int(random.integers(len(self.files)))]
        with safe_open(file, "pt") as opened:
            total = opened.get_slice("beats").get_shape()[0]
            at = int(random.integers(0, total - frames + 1))
            cut = {k: opened.get_slice(k)[at : at + frames] for k in opened.keys()}  # noqa: SIM118
            return Clip(number=int(opened.metadata()["number"]), captions=(), **cut)
