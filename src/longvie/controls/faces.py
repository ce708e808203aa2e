"""What each thing looks like, remembered in its own box: so it goes where the thing goes, and grows as it comes nearer.

A face is a coarse picture: colours with weights, over the rectangle that holds a thing. What is seen of the thing takes
the place of what was known there; what is not seen is read from it. A thing that is cut off by the border of the
picture, or by what stands before it, has the box that it had, as large as its nearness says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int

from longvie.controls.extent import Extent
from longvie.controls.looks import Look

CELLS = 16  # of a face, on each side
WHOLE = 0.85  # of its known size: a smaller one is cut off
EVIDENCE = 6.0  # pixels that must have been seen for a face to be known


@dataclass
class Face:
    """One thing.

    Attributes:
        cells: colours times weights, and weights.
        size: height and width over its disparity, of when it was whole; None before.
        seen: pixels by which it is known.
        level: how far away it was last (`filling`).
    """

    cells: Float[np.ndarray, "_ rows columns"]
    size: tuple[float, float] | None = None
    seen: float = 0.0
    level: float = 0.0

    @classmethod
    def unknown(cls, colours: int = 3) -> "Face":
        """One of which nothing has been seen."""
        return cls(np.zeros((colours + 1, CELLS, CELLS), np.float32))

    def with_light(self, light: Float[np.ndarray, "3 2"]) -> "Face":
        """The same, with three colours more: the last three in another light, of this gain and offset for each."""
        more = self.cells[-4:-1] * light[:, :1, None] + self.cells[-1:] * light[:, 1:, None]
        cells = np.concatenate([self.cells[:-1], more, self.cells[-1:]]).astype(np.float32)
        return Face(cells, self.size, self.seen, self.level)

    def shone(self, shares: Sequence[float]) -> "Face":
        """The same in one light, with three colours: so far on the way from each light to the next."""
        colours, weight = self.cells[:3], self.cells[-1:]
        for at, share in enumerate(shares, start=1):
            colours = (1 - share) * colours + share * self.cells[3 * at : 3 * at + 3]
        return Face(np.concatenate([colours, weight]).astype(np.float32), self.size, self.seen, self.level)

    @property
    def known(self) -> bool:
        return self.seen >= EVIDENCE

    def copy(self) -> "Face":
        """The same, which goes its own way from here on."""
        return Face(self.cells.copy(), self.size, self.seen, self.level)

    def box(
        self, inside: Bool[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"]
    ) -> tuple[float, float, float, float]:
        """Top, left, height and width of the whole thing, of which these pixels are shown."""
        near = float(depth[inside].mean())
        shown, spans = Extent.of(inside, depth, near), []
        for axis, side in enumerate((shown.rows, shown.columns)):
            wanted = side.length if self.size is None else max(side.length, self.size[axis] * near)
            if self.size is not None and side.length < WHOLE * wanted and any(side.opens):
                spans.append((side.high - wanted if side.opens == (True, False) else side.low, wanted, False))
            else:
                spans.append((side.low, side.length, not any(side.opens)))
        (top, height, tall), (left, width, wide) = spans
        if tall and wide:
            self.size = height / near, width / near
        return float(top), float(left), float(height), float(width)

    def see(
        self, colours: Float[np.ndarray, "n c"], v: Float[np.ndarray, " n"], u: Float[np.ndarray, " n"], area: float
    ) -> None:
        """Pixels of it, at these places of its box (0 to 1).

        Args:
            area: pixels of a cell.
        """
        rows, columns = (np.clip((it * CELLS).astype(np.int64), 0, CELLS - 1) for it in (v, u))
        index = rows * CELLS + columns
        new = np.stack([
            np.bincount(index, weight, CELLS * CELLS) for weight in (*colours.T, np.ones(len(colours)))
        ]).reshape(-1, CELLS, CELLS) / max(area, 1e-6)  # fmt: skip
        self.cells = (new + (1 - np.minimum(new[-1:], 1)) * self.cells).astype(np.float32)
        self.seen += len(colours)

    def shown(self, v: Float[np.ndarray, " n"], u: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n c"]:
        """Its colours at places of its box, smooth between cells."""
        picture = np.ascontiguousarray(spread(self.cells).transpose(1, 2, 0))
        x, y = ((it * CELLS - 0.5).astype(np.float32)[None] for it in (u, v))
        looks = [
            cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
            for part in (np.ascontiguousarray(picture[..., at : at + 3]) for at in range(0, picture.shape[2], 3))
        ]
        return np.concatenate(looks, axis=1)

    def look(self) -> Look | None:
        """Its last three colours on the whole; None if too little of it has been seen."""
        weight = self.cells[-1].ravel()
        if not self.known:
            return None
        return Look.of(self.cells[-4:-1].reshape(3, -1) / np.maximum(weight, 1e-6), np.minimum(weight, 1))

    def mean(self) -> Float[np.ndarray, " c"]:
        """Its colour on the whole."""
        return self.cells[:-1].sum((1, 2)) / max(float(self.cells[-1].sum()), 1e-6)


def spread(cells: Float[np.ndarray, "_ rows columns"]) -> Float[np.ndarray, "c rows columns"]:
    """Colours in every cell, from the nearest that are known (pull, push)."""
    levels, now = [], cells
    while now.shape[1] > 1:
        levels.append(now)
        now = now.reshape(len(now), now.shape[1] // 2, 2, now.shape[2] // 2, 2).mean((2, 4))
        now = now * np.minimum(4 * now[-1:], 1) / np.maximum(now[-1:], 1e-9)
    found = now[:-1] / np.maximum(now[-1:], 1e-9)
    for level in reversed(levels):
        wide = cv2.resize(
            np.ascontiguousarray(found.transpose(1, 2, 0)), level.shape[:0:-1], interpolation=cv2.INTER_LINEAR
        )
        weight = np.minimum(level[-1:], 1)
        found = level[:-1] / np.maximum(level[-1:], 1) + (1 - weight) * wide.reshape(*level.shape[1:], -1).transpose(
            2, 0, 1
        )
    return found


def inner(things: Int[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Pixels whose neighbours are of the same thing: on its outline colours are mixed."""
    wide = np.pad(things, 1, mode="edge")
    height, width = things.shape
    same = np.ones(things.shape, bool)
    for down, across in ((0, 1), (2, 1), (1, 0), (1, 2)):
        same &= wide[down : down + height, across : across + width] == things
    return same
