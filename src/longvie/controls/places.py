"""Where things stand in space, by depth and the motion of the camera: what stood still is there when it is seen again.

A place is x, y (pixels from the middle) and 1, times the distance, as the camera of one frame has it, which stays the
same while others look (`controls.passage`). A thing fills a box about it, as large as its nearness says, so a strip of
it at the border of the picture tells it as well as the whole.
"""

from copy import deepcopy

import numpy as np
from jaxtyping import Bool, Float, Int

STOOD = 0.15  # how far it may be off its old place, nearer or farther, or of half its size, to be that thing again
NEARLY = 0.8  # of a thing's pixels that must be seen for its place to be known
FORGET = 0.98  # of how large a thing is, a frame later
LEAST = 1e-4  # of the largest disparity: infinitely far
BEHIND = 1e-3  # distance before a camera from which on something may be seen

Matrix = Float[np.ndarray, "4 4"]


class Places:
    """Those of things by their numbers; not a number where nobody knows.

    Args:
        numbers: how many there are.
    """

    def __init__(self, numbers: int) -> None:
        self.spot = np.full((numbers, 3), np.nan)  # as the first frame's camera has them
        self.area = np.zeros(numbers)  # pixels over squared disparity

    def copy(self) -> "Places":
        """The same, which goes its own way from here on."""
        return deepcopy(self)

    def scaled(self, by: float) -> "Places":
        """The same, for disparities that are so many times as large."""
        other = self.copy()
        other.spot, other.area = self.spot / by, self.area / by**2
        return other

    def seen_from(self, back: Matrix | None) -> "Places":
        """The same for another first frame, of which this matrix tells where it would be in the one before; without it
        nobody knows any of them.
        """
        other = self.copy()
        other.spot = np.full_like(self.spot, np.nan) if back is None else _from(back, self.spot)
        return other

    def learn(
        self,
        numbers: Int[np.ndarray, " n"],
        counts: Int[np.ndarray, " n"],
        middles: Float[np.ndarray, "n 2"],
        near: Float[np.ndarray, " n"],
        back: Matrix | None,
    ) -> None:
        """What is seen in a frame: these things, how many pixels of each, and their middles.

        Args:
            middles: x and y, from the middle of the picture.
            near: disparity.
            back: matrix that takes what the frame shows to the first one.
        """
        area = counts / np.maximum(near, LEAST) ** 2
        whole = area >= NEARLY * self.area[numbers]  # a part of a thing is not where the thing is
        self.area[numbers] = np.maximum(area, FORGET * self.area[numbers])
        rows = np.concatenate([middles, np.ones((len(near), 1)), near[:, None]], axis=1)
        spots = np.full((len(near), 3), np.nan) if back is None else rows @ back[:3].T
        self.spot[numbers[whole]] = (spots / np.maximum(near, LEAST)[:, None])[whole]

    def there(
        self,
        inside: Bool[np.ndarray, "h w"],
        near: float,
        known: Bool[np.ndarray, " numbers"],
        size: Float[np.ndarray, "numbers 2"],
        back: Matrix | None,
    ) -> int:
        """Which of the things that are `known` would fill a place of which this is a part, had it stood still; 0 is
        none of them.

        Args:
            size: height and width of each, over its disparity.
        """
        known = known & np.isfinite(self.spot[:, 0])
        if back is None or not known.any():
            return 0
        x, y, away = _from(back, self.spot[known]).T
        distance, beyond = np.maximum(away, BEHIND), np.zeros(len(away))
        for axis, across in ((0, y), (1, x)):
            centre = across / distance + inside.shape[axis] / 2
            half = size[known, axis] / 2 / distance + 1
            shown = np.flatnonzero(inside.any(1 - axis))
            beyond += np.maximum(np.maximum(centre - half - shown[0], shown[-1] + 1 - centre - half), 0) / half
        off = np.where(away > 0, np.abs(np.log(near * distance)) + beyond, np.inf)
        return int(np.flatnonzero(known)[off.argmin()]) if off.min() < STOOD else 0


def _from(back: Matrix, spots: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """Places as the camera has them that this matrix leads back from."""
    return np.linalg.solve(back[:3, :3], (spots - back[:3, 3]).T).T
