"""How far what is seen of a thing reaches, and where it may go on behind something or past the picture's border."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

BEFORE = 1.05  # ratio of disparity from which on what lies beside it stands before it


@dataclass(frozen=True)
class Side:
    """Rows or columns.

    Attributes:
        low, high: the first of them and the one behind the last.
        opens: whether it may go on below the first, and past the last.
    """

    low: int
    high: int
    opens: tuple[bool, bool]

    @property
    def length(self) -> int:
        return self.high - self.low

    @property
    def middle(self) -> float:
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class Extent:
    """Of one thing in a picture."""

    rows: Side
    columns: Side

    @classmethod
    def of(cls, inside: Bool[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"], near: float) -> "Extent":
        """Of the pixels that are `inside`, on average of the disparity `near`."""
        return cls(_side(inside, depth, 0, near), _side(inside, depth, 1, near))

    @property
    def whole(self) -> bool:
        """Whether nothing cuts it off."""
        return not any((*self.rows.opens, *self.columns.opens))


def _side(inside: Bool[np.ndarray, "h w"], depth: Float[np.ndarray, "h w"], axis: int, near: float) -> Side:
    at = np.flatnonzero(inside.any(1 - axis))
    low, high = int(at[0]), int(at[-1]) + 1
    return Side(low, high, (_open(inside, depth, axis, low, -1, near), _open(inside, depth, axis, high - 1, 1, near)))


def _open(inside: np.ndarray, depth: np.ndarray, axis: int, at: int, step: int, near: float) -> bool:
    """Does a thing go on past its first or last row? Where the picture ends, or where something stands before it."""
    beside = at + step
    if not 0 <= beside < inside.shape[axis]:
        return True
    mine, next_ = (np.take(it, where, axis) for it, where in ((inside, at), (depth, beside)))
    return bool(np.mean(next_[mine] > BEFORE * near) > 0.5)
