"""Which thing a pixel belongs to, by depth and points: pieces that no jump in depth divides, known again later.

What stands on the floor is cut where disparity jumps; each piece that is left is a thing, or several that touch. A
piece takes the number of those whose points of the tracks it shows; without any, of the one that was last where it is
now, so a number outlives that something else passes in front, or of the one that stood where it stands
(`controls.places`). A thing that comes back elsewhere is known by how tall it is, which its disparity tells. Numbers
are few and used again; who keeps something by them is told when one is given to another thing.
"""

from collections.abc import Mapping
from copy import deepcopy

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longvie.controls.extent import Extent
from longvie.controls.owners import Owners, Spots, nearest
from longvie.controls.places import Places

NUMBERS = 28  # the first is the sky, the last holds what is too small to be told apart
SKY, REST = 0, NUMBERS - 1
LEAST = 1e-4  # of the largest disparity: infinitely far
JUMP = 0.06  # relative step of disparity between neighbours that divides things
NOISE = 0.004  # step that divides nothing, of the largest disparity
SMALL = 6  # pixels of a piece that are not worth a number
SHARE = 0.25  # of a piece's pixels that must have been of a thing for it to be that thing
ALIKE, PART = 0.12, 0.03  # relative difference in disparity from which on it is another thing, or no part of one
MOST_OF = 0.5  # of a thing's pixels that must be in a piece for it to be there, beside the piece's own
BESIDE = 8  # pixels around a piece in which the rest of its thing may be
AWAY = 16  # frames from which on a thing that is where one was might be another
AS_TALL = 0.12  # difference of the logarithm of heights up to which it may be the same thing
AS_WIDE = 0.2  # the same of widths, which change a little while it turns
AFAR = 0.1  # how much another distance counts beside that, where a thing is seen whole
MEASURED = 8  # frames from one look at how large things are to the next
KEPT = 0.7  # of what was known of that, where a thing is looked at again
SOME = 2  # points of a thing that are enough to tell it from another one that touches it
FEW = 0.5  # of a thing's points, at most, that a splinter of it has
FLOOR = -1
KNOWN = ("last", "left", "given", "near", "area", "size", "top", "place", "guessed", "from", "frames")
SPACE = ("spot", "area")  # of places


class Things:
    """The numbers of one video's things, frame after frame."""

    def __init__(self) -> None:
        self._last: Int[np.ndarray, "h w"] | None = None  # the number that was last at each pixel
        self._left = np.zeros(NUMBERS, np.int64)  # frames since a number was there
        self._given = np.zeros(NUMBERS, bool)
        self._given[[SKY, REST]] = True
        self._near = np.zeros(NUMBERS)  # disparity of each, as it was last
        self._area = np.zeros(NUMBERS)  # pixels of each, in the last frame
        self._size = np.zeros((NUMBERS, 2))  # height and width over disparity of each that was seen whole
        self._top = np.full(NUMBERS, np.nan)  # how high it reaches, from the middle of the picture and over disparity
        self._place = np.zeros(NUMBERS)  # column of its middle, of the picture's width, as it was last
        self._guessed = np.zeros(NUMBERS, bool)  # by a part of it
        self._from = np.zeros(NUMBERS, np.int64)  # frame of that guess
        self._places = Places(NUMBERS)
        self._frames = self._height = self._width = 0
        self._owners = Owners(0)
        self._back: Float[np.ndarray, "4 4"] | None = None  # of the frame that is looked at

    def follow(self, points: int) -> None:
        """From here on so many points are told of, whatever those before were."""
        self._owners = Owners(points)

    def copy(self) -> "Things":
        """The same, which goes its own way from here on."""
        return deepcopy(self)

    def scaled(self, by: float) -> "Things":
        """The same, for disparities that are so many times as large."""
        other = self.copy()
        other._near, other._size, other._top = self._near * by, self._size / by, self._top / by
        other._places = self._places.scaled(by)
        return other

    def seen_from(self, back: Float[Tensor, "4 4"] | None) -> "Things":
        """The same, for frames after another first one, of which this matrix tells where it would be in the one before;
        without it nobody knows where things are.
        """
        other = self.copy()
        other._places = self._places.seen_from(None if back is None else back.numpy())
        return other

    def tensors(self) -> dict[str, Tensor]:
        """All that it knows, for a file."""
        known = {name: np.asarray(getattr(self, f"_{name}")) for name in KNOWN if getattr(self, f"_{name}") is not None}
        known |= {f"places.{name}": getattr(self._places, name) for name in SPACE}
        return {name: torch.from_numpy(it.astype(np.int8) if name == "last" else it) for name, it in known.items()}

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor]) -> "Things":
        """From `tensors`."""
        made = cls()
        for name in (name for name in KNOWN if name in tensors):
            kept = tensors[name].cpu().numpy()
            setattr(made, f"_{name}", kept.astype(np.int64) if name == "last" else kept.copy())
        for name in SPACE:
            setattr(made._places, name, tensors[f"places.{name}"].cpu().numpy().copy())
        made._frames = int(made._frames)
        return made

    def take(
        self,
        disparity: Float[Tensor, "f h w"],
        flat: Bool[Tensor, "f h w"],
        points: Float[Tensor, "f n 2"] | None = None,
        seen: Bool[Tensor, "f n"] | None = None,
        back: Float[Tensor, "f 4 4"] | None = None,
    ) -> tuple[Int[Tensor, "f h w"], Bool[Tensor, "f numbers"]]:
        """The number of each pixel, `FLOOR` where it is `flat`; and which numbers are given to a new thing there.

        Args:
            points, seen: of the tracks that it was told to `follow`: x and y in pixels, and where they count.
            back: matrices by which what stands still passes to the first frame (`controls.passage`).
        """
        numbers, new = [], []
        for at, (depth, floor) in enumerate(zip(disparity.cpu().numpy(), flat.cpu().numpy(), strict=True)):
            pieces, count = _pieces(depth, floor)
            spots = Spots.none()
            if points is not None and seen is not None:
                spots = Spots.of(points[at].cpu().numpy(), seen[at].cpu().numpy(), pieces)
            self._back = None if back is None else back[at].numpy()
            one, fresh = self._frame(depth, floor, pieces, count, spots)
            numbers.append(one)
            new.append(fresh)
        return torch.from_numpy(np.stack(numbers)).to(disparity.device), torch.from_numpy(np.stack(new))

    def _frame(
        self, depth: np.ndarray, floor: np.ndarray, pieces: np.ndarray, count: int, spots: Spots
    ) -> tuple[np.ndarray, np.ndarray]:
        self._height, self._width = depth.shape
        votes = self._owners.votes(spots, pieces, count, NUMBERS)
        stands = ~floor & (depth > LEAST)
        found = np.full(depth.shape, REST, np.int64)
        last = np.full(depth.shape, FLOOR, np.int64) if self._last is None else self._last
        fresh, here, unknown, claimed = np.zeros(NUMBERS, bool), {SKY, REST}, [], []
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)
        for piece in (np.argsort(-sizes[1:], kind="stable") + 1).tolist():
            if sizes[piece] < SMALL:
                break
            inside = pieces == piece
            near = float(depth[inside].mean())
            told = _elected(votes[piece])
            number = told or self._same(last[inside], near, SHARE, here)
            number = number or self._same(last[_around(inside)], near, 0.0, here)
            stood = 0
            if not told and (not number or self._left[number]):
                stood = self._there(inside, near, here)
                number = stood or number
            if told:
                on = spots.part(inside[spots.y, spots.x])
                self._guessed[number] &= self._owners.since(on, number) >= self._from[number]  # known before the guess
            elif number and not stood and self._left[number] > AWAY:
                self._guess(number)
            if number:
                found[inside] = number
                here.add(number)
                self._near[number] = near
                claimed.append((number, inside, near))
            else:
                unknown.append((inside, near))
        for number, inside, _ in claimed:
            parts = self._divided(number, inside, votes, spots, depth, found, here)
            last[inside & np.isin(last, parts)] = number
            self._parted(inside, last, depth, found, here)
        for number, inside, near in claimed:
            if self._guessed[number] or not self._size[number, 0] or not self._frames % MEASURED:
                seen = Extent.of(inside, depth, near)
                if not seen.rows.opens[0] and not self._guessed[number]:
                    self._top[number] = _top(seen, near, len(depth))
                self._measured(number, inside, near, seen, found, here, fresh)
        for inside, near in unknown:
            seen = Extent.of(inside, depth, near)
            number = self._again(seen, near, here)
            if not number:
                free = [it for it in range(NUMBERS) if it not in here]
                if not free:
                    break  # those that are left are the smallest
                number = min(free, key=lambda it: (bool(self._given[it]), -int(self._left[it]), it))
                fresh[number] = self._given[number] = True
                self._size[number], self._top[number] = _size(seen, near) if seen.whole else 0.0, np.nan
            self._guessed[number] = False
            if not seen.whole:
                self._guess(number)
            found[inside] = number
            here.add(number)
            self._near[number] = near
        self._owners.learn(spots, np.where(found == REST, 0, found), fresh, self._frames)
        self._frames += 1
        found[floor], found[depth <= LEAST] = FLOOR, SKY
        self._placed(found, depth)
        self._area = np.bincount(found[found > SKY], minlength=NUMBERS)
        self._left += 1
        self._left[list(here)] = 0
        again = fresh[np.clip(last, 0, None)] & (last >= 0)
        self._last = np.where(stands, found, np.where(again, FLOOR, last))
        return found, fresh

    def _divided(
        self,
        number: int,
        inside: Bool[np.ndarray, "h w"],
        votes: Int[np.ndarray, "pieces numbers"],
        spots: Spots,
        depth: Float[np.ndarray, "h w"],
        found: Int[np.ndarray, "h w"],
        here: set[int],
    ) -> list[int]:
        """Things that touch are one piece: another one that shows the most of its points here has what is nearest to
        them. Which others turn out to be but parts of this one.
        """
        spots = spots.part(inside[spots.y, spots.x])
        owners = self._owners.on(spots)
        counts = np.bincount(owners, minlength=NUMBERS)
        others = [it for it in np.flatnonzero(counts >= SOME).tolist() if it and counts[it] == votes[:, it].max()]
        parts = [it for it in others if it != number and self._is_part(it, number, counts)]
        self._owners.join(spots, parts, number)
        owners = np.where(np.isin(owners, parts), number, owners)
        others = [it for it in others if it not in parts]
        told = np.isin(owners, [number, *others])
        if not set(others) - {number}:
            return parts
        y, x = np.nonzero(inside)
        found[y, x] = whose = nearest(spots.part(told), owners[told], y, x)
        for other in np.unique(whose).tolist():
            here.add(other)
            self._near[other] = depth[y, x][whose == other].mean()
        return parts

    def _is_part(self, other: int, number: int, counts: Int[np.ndarray, " numbers"]) -> bool:
        """Whether another thing in the piece of this one is but a part of it: one that was only ever guessed, as far
        away, of few of its points. A thing that comes out from behind another comes in pieces.
        """
        near, here = self._near[[other, number]]
        few = counts[other] < FEW * counts[number]
        return bool(self._guessed[other] and few and abs(near - here) < PART * max(near, here))

    def _guess(self, number: int) -> None:
        """By a part of it, for lack of anything better."""
        self._from[number] = self._from[number] if self._guessed[number] else self._frames
        self._guessed[number] = True

    def _placed(self, found: Int[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"]) -> None:
        y, x = np.nonzero(found > SKY)
        weights = None, x + 0.5 - self._width / 2, y + 0.5 - self._height / 2, depth[y, x]
        counts, *sums = (np.bincount(found[y, x], weight, NUMBERS) for weight in weights)
        there = np.flatnonzero(counts)
        across, down, near = (it[there] / counts[there] for it in sums)
        self._place[there] = across / self._width + 0.5
        self._places.learn(there, counts[there], np.stack([across, down], axis=1), near, self._back)

    def _there(self, inside: Bool[np.ndarray, "h w"], near: float, here: set[int]) -> int:
        """Which thing that is not here stood there; 0 is none."""
        known = self._given & (self._size[:, 0] > 0)
        known[[SKY, REST, *here]] = False
        return self._places.there(inside, near, known, self._size, self._back)

    def _measured(
        self,
        number: int,
        inside: Bool[np.ndarray, "h w"],
        near: float,
        seen: Extent,
        found: Int[np.ndarray, "h w"],
        here: set[int],
        fresh: Bool[np.ndarray, " numbers"],
    ) -> None:
        """How large a thing is, if it is seen whole; one that was taken for another by a part of it is that or another
        or a new one.
        """
        if not seen.whole or bool((found[inside] != number).any()):
            return
        size, known = _size(seen, near), self._size[number]
        if known[0] and abs(np.log(size[0] / known[0])) < AS_TALL:
            self._size[number] = KEPT * known + (1 - KEPT) * size
        elif not known[0] or self._guessed[number]:
            other = self._again(seen, near, here)
            if other:
                found[inside] = other
                here.symmetric_difference_update({number, other})
                self._near[other] = near
            else:
                fresh[number] |= bool(known[0])
                self._size[number] = size
        self._guessed[number] = False

    def _again(self, seen: Extent, near: float, here: set[int]) -> int:
        """Which thing that is not here this may be: one as large, if it is seen whole, else one at least as large, that
        was last about as high up and as far away, and there; 0 is none of them.
        """
        known = self._given & (self._size[:, 0] > 0)
        known[[SKY, REST, *here]] = False
        off = np.full(NUMBERS, np.inf)
        tall, wide = (np.log(self._size[known] / _size(seen, near))).T
        away = np.abs(np.log(self._near[known] / near))
        elsewhere = np.abs(self._place[known] - seen.columns.middle / self._width)
        if seen.whole:
            alike = (np.abs(tall) < AS_TALL) & (np.abs(wide) < AS_WIDE)
            off[known] = np.where(alike, np.abs(tall) + AFAR * away + elsewhere, np.inf)
        else:
            alike = (tall > -AS_TALL) & (wide > -AS_WIDE)
            off[known] = np.where(alike, np.abs(tall) + away + elsewhere, np.inf)
        if not seen.rows.opens[0]:
            higher = np.abs(_top(seen, near, self._height) - self._top[known]) / self._size[known, 0]
            off[known] += np.nan_to_num(np.minimum(higher, 1))
        return int(off.argmin()) if np.isfinite(off).any() else 0

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

    def _same(self, last: np.ndarray, near: float, share: float, here: set[int]) -> int:
        """Which thing a piece is that is so near, by the numbers that were last there; 0 is none of them. Of one that
        is here already it may be another part.
        """
        counts = np.bincount(last[last > SKY], minlength=NUMBERS)
        within = np.full(NUMBERS, ALIKE)
        within[list(here)] = PART
        alike = np.abs(self._near - near) < within * np.maximum(self._near, near)
        counts = np.where(alike, counts, 0)
        counts[[SKY, REST]] = 0
        number = int(counts.argmax())
        return number if counts[number] > share * len(last) else 0


def _elected(votes: Int[np.ndarray, " numbers"]) -> int:
    """Whose points most of those on a piece are; 0 if there are none."""
    number = int(votes.argmax())
    return number if 2 * votes[number] > votes.sum() else 0


def _size(seen: Extent, near: float) -> Float[np.ndarray, "2"]:
    """Height and width of a thing, which is the same however far away it is."""
    return np.array([seen.rows.length, seen.columns.length]) / near


def _top(seen: Extent, near: float, rows: int) -> float:
    """How high a thing reaches, from the middle of the picture."""
    return (rows / 2 - seen.rows.low) / near


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
