"""Frames that carry their number, so that a test can say which ones came out."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

Make = Callable[..., Path]
BITS = 8
HEIGHT, WIDTH = 32, 64


def numbered(numbers: Sequence[int], height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """(f, h, w, 3): each number as eight upright bars, black or white, that survive coarse coding."""
    bars = (np.asarray(numbers, int)[:, None] >> np.arange(BITS)) & 1  # (f, 8)
    rows = np.repeat(bars * 215 + 20, width // BITS, axis=1).astype(np.uint8)
    return np.broadcast_to(rows[:, None, :, None], (len(rows), height, width, 3)).copy()


def numbers_in(frames: np.ndarray) -> list[int]:
    """The numbers that frames of `numbered` show."""
    bars = frames.mean(axis=(1, 3)).reshape(len(frames), BITS, -1).mean(axis=2) > 128
    return [int(number) for number in bars @ (1 << np.arange(BITS))]
