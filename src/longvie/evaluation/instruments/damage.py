"""Faults that the feature net learns to tell, on windows of 16 frames: of the pictures, and of their order."""

from collections.abc import Callable

import cv2
import numpy as np
from jaxtyping import UInt8

Window = UInt8[np.ndarray, "f h w 3"]
Random = np.random.Generator


def damaged(window: Window, other: Window, kind: str, strength: float, random: Random) -> Window:
    """A window with one fault.

    Args:
        other: another window, for what is swapped in.
        kind: of `KINDS`.
        strength: in [0, 1]; what has none is done wholly.
    """
    return window if kind == "none" else FAULTS[kind](window, other, strength, random)


def _noise(window: Window, _other: Window, strength: float, random: Random) -> Window:
    grain = random.normal(0, 4 + 20 * strength, window.shape[1:]).astype(np.float32)
    return _bytes(np.stack([frame + np.roll(grain, random.integers(0, 96, 2), (0, 1)) for frame in window]))


def _blur(window: Window, _other: Window, strength: float, _random: Random) -> Window:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 0.6 + 3.4 * strength) for frame in window])


def _growing_blur(window: Window, _other: Window, strength: float, _random: Random) -> Window:
    widths = np.linspace(0.01, 1 + 4 * strength, len(window))
    return np.stack([cv2.GaussianBlur(frame, (0, 0), width) for frame, width in zip(window, widths, strict=True)])


def _drift(window: Window, _other: Window, strength: float, random: Random) -> Window:
    """Colours away from or towards grey, and a tint that grows."""
    share = np.linspace(0, 1, len(window), dtype=np.float32)[:, None, None, None]
    grey = window.mean(-1, keepdims=True, dtype=np.float32)
    gain = 1 + share * (0.2 + 0.8 * strength) * random.choice([-1, 1])
    return _bytes(grey + (window - grey) * gain + share * strength * random.normal(0, 25, 3).astype(np.float32))


def _flicker(window: Window, _other: Window, strength: float, random: Random) -> Window:
    return _bytes(window * (1 + random.normal(0, 0.04 + 0.2 * strength, (len(window), 1, 1, 1)).astype(np.float32)))


def _frozen(window: Window, _other: Window, strength: float, _random: Random) -> Window:
    return window[np.minimum(np.arange(len(window)), round((1 - strength) * (len(window) - 2)))]


def _shuffled(window: Window, _other: Window, _strength: float, random: Random) -> Window:
    return window[random.permutation(len(window))]


def _swapped(window: Window, other: Window, strength: float, _random: Random) -> Window:
    """From some frame on, another scene."""
    at = round((0.25 + 0.5 * strength) * len(window))
    return np.concatenate([window[:at], other[at:]])


def _bent(window: Window, _other: Window, strength: float, random: Random) -> Window:
    """Every frame warped by a smooth field of its own: geometry that wobbles."""
    height, width = window.shape[1:3]
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    frames = []
    for frame in window:
        coarse = random.normal(0, 2 + 6 * strength, (3, 4, 2)).astype(np.float32)
        field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        where = (columns + field[..., 0], rows + field[..., 1])
        frames.append(cv2.remap(frame, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    return np.stack(frames)


def _blocky(window: Window, _other: Window, strength: float, _random: Random) -> Window:
    """Coded as JPEG of low quality."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(30 - 26 * strength)]
    coded = [cv2.imencode(".jpg", frame, quality)[1] for frame in window]
    return np.stack([np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR)) for code in coded])


def _bytes(values: np.ndarray) -> Window:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


FAULTS: dict[str, Callable[[Window, Window, float, Random], Window]] = {
    "noise": _noise, "blur": _blur, "growing blur": _growing_blur, "drift": _drift, "flicker": _flicker,
    "frozen": _frozen, "shuffled": _shuffled, "swapped": _swapped, "bent": _bent, "blocky": _blocky,
}  # fmt: skip
KINDS = ("none", *FAULTS)
