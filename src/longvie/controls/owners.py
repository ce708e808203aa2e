"""Which thing each point of the tracks is on, so that a thing is known wherever its points go."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from longvie.controls.faces import inner


@dataclass(frozen=True)
class Spots:
    """Points that a frame shows: their places among all of them, and their pixels."""

    points: Int[np.ndarray, " n"]
    y: Int[np.ndarray, " n"]
    x: Int[np.ndarray, " n"]

    @classmethod
    def of(
        cls, places: Float[np.ndarray, "n 2"], seen: Bool[np.ndarray, " n"], pieces: Int[np.ndarray, "h w"]
    ) -> "Spots":
        """Those that are inside of a piece: on outlines nobody knows what a point is on.

        Args:
            places, seen: x and y in pixels, and where they count.
            pieces: the piece of each pixel; 0 is none.
        """
        height, width = pieces.shape
        points = np.flatnonzero(seen & (places >= 0).all(1) & (places < (width, height)).all(1))
        x, y = places[points].astype(np.int64).T
        inside = (inner(pieces) & (pieces > 0))[y, x]
        return cls(points[inside], y[inside], x[inside])

    @classmethod
    def none(cls) -> "Spots":
        """Nothing is told of points."""
        return cls(*np.zeros((3, 0), np.int64))

    def part(self, which: Bool[np.ndarray, " n"]) -> "Spots":
        """Some of them."""
        return Spots(self.points[which], self.y[which], self.x[which])


class Owners:
    """The number of the thing of each point, 0 is not known yet; and since which frame that is known."""

    def __init__(self, points: int) -> None:
        self._numbers, self._since = np.zeros((2, points), np.int64)

    def on(self, spots: Spots) -> Int[np.ndarray, " n"]:
        """Of these points."""
        return self._numbers[spots.points]

    def votes(
        self, spots: Spots, pieces: Int[np.ndarray, "h w"], count: int, numbers: int
    ) -> Int[np.ndarray, "pieces numbers"]:
        """How many points each of `count` pieces shows of each thing."""
        votes = np.zeros((count + 1, numbers), np.int64)
        owners = self.on(spots)
        np.add.at(votes, (pieces[spots.y, spots.x][owners > 0], owners[owners > 0]), 1)
        return votes

    def since(self, spots: Spots, number: int) -> int:
        """The frame in which the first of these points was known to be of a thing, of which there must be one."""
        return int(self._since[spots.points[self.on(spots) == number]].min())

    def join(self, spots: Spots, parts: Sequence[int], number: int) -> None:
        """Some of these points were of things that are but parts of this one."""
        points = spots.points[np.isin(self.on(spots), parts)]
        self._numbers[points] = number

    def learn(
        self, spots: Spots, found: Int[np.ndarray, "h w"], fresh: Bool[np.ndarray, " numbers"], frame: int
    ) -> None:
        """Points that nobody knew are on what they are seen on; those of a thing whose number another one has now are
        nobody's.
        """
        self._numbers[fresh[self._numbers]] = 0
        new = spots.part(self.on(spots) == 0)
        self._numbers[new.points], self._since[new.points] = found[new.y, new.x], frame


def nearest(spots: Spots, owners: Int[np.ndarray, " n"], y: np.ndarray, x: np.ndarray) -> Int[np.ndarray, " pixels"]:
    """Of some pixels, whose point is nearest."""
    return owners[((y[:, None] - spots.y) ** 2 + (x[:, None] - spots.x) ** 2).argmin(1)]
