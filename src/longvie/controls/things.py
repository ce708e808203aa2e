"""Which thing a pixel belongs to, by depth alone: pieces that no jump in depth divides, known again in later frames.

What stands on the floor is cut where disparity jumps; each piece that is left is a thing, or several that touch. A
piece takes the number of the one that was last where it is now, so a number outlives that something else passes in
front. Numbers are few and used again; who keeps something by them is told when one is given to another thing.
"""

from copy import deepcopy

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

NUMBERS = 28  # the first is the sky, the last holds what is too small to be told apart
SKY, REST = 0, NUMBERS - 1
LEAST = 1e-4  # of the largest disparity: infinitely far
JUMP = 0.06  # relative step of disparity between neighbours that divides things
NOISE = 0.004  # step that divides nothing, of the largest disparity
SMALL = 6  # pixels of a piece that are not worth a number
SHARE = 0.25  # of a piece's pixels that must have been of a thing for it to be that thing
ALIKE = 0.25  # relative difference in disparity from which on it is another thing
MOST_OF = 0.5  # of a thing's pixels that must be in a piece for it to be there, beside the piece's own
BESIDE = 8  # pixels around a piece in which the rest of its thing may be
FLOOR = -1


class Things:
    """The numbers of one video's things, frame after frame."""

    def __init__(self) -> None:
        self._last: Int[np.ndarray, "h w"] | None = None  # the number that was last at each pixel
        self._left = np.zeros(NUMBERS, np.int64)  # frames since a number was there
        self._given = np.zeros(NUMBERS, bool)
        self._given[[SKY, REST]] = True
        self._near = np.zeros(NUMBERS)  # disparity of each, as it was last
        self._area = np.zeros(NUMBERS)  # pixels of each, in the last frame

    def copy(self) -> "Things":
        """The same, which goes its own way from here on."""
        return deepcopy(self)

    def take(
        self, disparity: Float[Tensor, "f h w"], flat: Bool[Tensor, "f h w"]
    ) -> tuple[Int[Tensor, "f h w"], Bool[Tensor, "f numbers"]]:
        """The number of each pixel, `FLOOR` where it is `flat`; and which numbers are given to a new thing there."""
        numbers, new = [], []
        for depth, floor in zip(disparity.cpu().numpy(), flat.cpu().numpy(), strict=True):
            one, fresh = self._frame(depth, floor)
            numbers.append(one)
            new.append(fresh)
        return torch.from_numpy(np.stack(numbers)).to(disparity.device), torch.from_numpy(np.stack(new))

    def _frame(self, depth: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        pieces, count = _pieces(depth, floor)
        stands = ~floor & (depth > LEAST)
        found = np.full(depth.shape, REST, np.int64)
        last = np.full(depth.shape, FLOOR, np.int64) if self._last is None else self._last
        fresh, here, unknown, claimed = np.zeros(NUMBERS, bool), {SKY, REST}, [], []
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        for piece in np.argsort(-sizes[1:], kind="stable") + 1:
            if sizes[piece] < SMALL:
                break
            inside = pieces == piece
            near = float(depth[inside].mean())
            number = self._same(last[inside], near, SHARE) or self._same(last[_around(inside)], near, 0.0)
            if number:
                found[inside] = number
                here.add(number)
                self._near[number] = near
                claimed.append(inside)
            else:
                unknown.append((inside, near))
        for inside in claimed:
            self._parted(inside, last, depth, found, here)
        for inside, near in unknown:
            free = [number for number in range(NUMBERS) if number not in here]
            if not free:
                break  # those that are left are the smallest
            number = min(free, key=lambda it: (bool(self._given[it]), -int(self._left[it]), it))
            found[inside] = number
            here.add(number)
            fresh[number] = self._given[number] = True
            self._near[number] = near
        found[floor], found[depth <= LEAST] = FLOOR, SKY
        self._area = np.bincount(found[found > SKY], minlength=NUMBERS)
        self._left += 1
        self._left[list(here)] = 0
        again = fresh[np.clip(last, 0, None)] & (last >= 0)
        self._last = np.where(stands, found, np.where(again, FLOOR, last))
        return found, fresh

    def _parted(
        self,
        inside: Bool[np.ndarray, "h w"],
        last: Int[np.ndarray, "h w"],
        depth: Float[np.ndarray, "h w"],
        found: Int[np.ndarray, "h w"],
        here: set[int],
    ) -> None:
        """Things that touch are one piece: what was another one a moment ago, and is nowhere else, is that still."""
        counts = np.bincount(last[inside & (last > SKY)], minlength=NUMBERS)
        for number in np.flatnonzero(counts > MOST_OF * np.maximum(self._area, SMALL)).tolist():
            if number in here:
                continue
            mine = inside & (last == number)
            near = float(depth[mine].mean())
            if abs(self._near[number] - near) < ALIKE * max(self._near[number], near):
                found[mine] = number
                here.add(number)
                self._near[number] = near

    def _same(self, last: np.ndarray, near: float, share: float) -> int:
        """Which thing a piece is that is so near, by the numbers that were last there; 0 is none of them."""
        counts = np.bincount(last[last > SKY], minlength=NUMBERS)
        alike = np.abs(self._near - near) < ALIKE * np.maximum(self._near, near)
        counts = np.where(alike, counts, 0)
        counts[[SKY, REST]] = 0
        number = int(counts.argmax())
        return number if counts[number] > share * len(last) else 0


def _around(inside: np.ndarray) -> tuple[slice, slice]:
    """The box about a piece, and a little more."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    return (
        slice(max(0, rows[0] - BESIDE), rows[-1] + 1 + BESIDE),
        slice(max(0, columns[0] - BESIDE), columns[-1] + 1 + BESIDE),
    )


def _pieces(depth: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, int]:
    """What stands on the floor, cut where disparity jumps: the piece of each pixel, from 1 on, and their number."""
    stands = ~floor & (depth > LEAST)
    cut = np.zeros(depth.shape, bool)
    for axis in (0, 1):
        one, other = (depth[:-1], depth[1:]) if axis == 0 else (depth[:, :-1], depth[:, 1:])
        jump = np.abs(one - other) > JUMP * np.maximum(one, other) + NOISE
        farther = jump & (one < other)
        nearer = jump & ~farther
        if axis == 0:  # the farther of the two pixels is cut out, and found its piece again below
            cut[:-1] |= farther
            cut[1:] |= nearer
        else:
            cut[:, :-1] |= farther
            cut[:, 1:] |= nearer
    count, pieces = cv2.connectedComponents((stands & ~cut).astype(np.uint8), connectivity=4)
    for _ in range(2):
        pieces = _grown(pieces, depth, stands & (pieces == 0))
    return pieces, count - 1


def _grown(pieces: np.ndarray, depth: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Pixels that are wanted join the piece of the neighbour that is most nearly as far away."""
    height, width = depth.shape
    wide, deep = np.pad(pieces, 1), np.pad(depth, 1, constant_values=np.inf)
    best, chosen = np.full(depth.shape, np.inf), pieces.copy()
    for down, across in ((0, 1), (2, 1), (1, 0), (1, 2)):
        piece = wide[down : down + height, across : across + width]
        away = np.abs(deep[down : down + height, across : across + width] - depth)
        better = wanted & (piece > 0) & (away < best)
        best[better], chosen[better] = away[better], piece[better]
    return chosen
