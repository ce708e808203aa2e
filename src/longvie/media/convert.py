"""Pictures as numbers: uint8 at the door, [-1, 1] within; other sizes and other rates."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from longvie.errors import MediaError, ShapeError

Size = tuple[int, int]  # height, width
Rate = int | float | Fraction
Resize = Literal["area", "bicubic", "nearest"]


def to_unit(frames: UInt8[np.ndarray, "f h w 3"]) -> Float[Tensor, "3 f h w"]:
    """8-bit frames to [-1, 1] in float32."""
    levels = torch.from_numpy(np.require(frames, requirements=["C", "W"]))
    return levels.permute(3, 0, 1, 2).float().mul_(2 / 255).sub_(1)


def to_bytes(
    video: Float[Tensor, "3 f h w"], *, rounding: Literal["nearest", "truncate"] = "nearest", first: int = 0
) -> UInt8[np.ndarray, "f h w 3"]:
    """[-1, 1] to 8 bits; values outside are clipped.

    Args:
        rounding: "truncate" is what LongVie's weights were trained and published with, in the type of `video`.
        first: number of the first frame in the whole video, for the message.

    Raises:
        MediaError: a frame holds NaN or infinity (it would silently become black).
    """
    finite = torch.isfinite(video).flatten(2).all(2).all(0)  # (f,)
    if not bool(finite.all()):
        broken = first + int((~finite).nonzero()[0])
        raise MediaError(f"frame {broken} holds NaN or infinity and cannot be shown", code="frame_not_finite")
    levels = video.detach() if rounding == "truncate" else video.detach().float()
    levels = (levels + 1).mul_(127.5).clamp_(0, 255)
    if rounding == "nearest":
        levels = levels.round_()
    return levels.to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()


def resize_frames(frames: np.ndarray, size: Size, how: Resize = "area") -> np.ndarray:
    """Frames (f, h, w) or (f, h, w, c) at another height and width; the aspect is not kept. The type stays.

    "area" averages what falls into a pixel (linear when it grows); "bicubic" is Pillow's, which the published
    pipelines use for pictures and controls, for uint8 only; "nearest" invents no values (labels).

    Raises:
        ShapeError: not frames, an empty size, or "bicubic" for other types than uint8.
    """
    height, width = size
    if frames.ndim not in (3, 4) or min(height, width) < 1:
        raise ShapeError(f"cannot resize an array of shape {frames.shape} to {height}×{width}")
    if frames.shape[1:3] == (height, width):
        return frames
    if how == "bicubic" and frames.dtype != np.uint8:
        raise ShapeError(f"bicubic resizing takes 8-bit frames, not {frames.dtype}; use how='area'")
    out = np.empty((len(frames), height, width, *frames.shape[3:]), frames.dtype)
    for index, frame in enumerate(frames):
        out[index] = _resize_one(frame, size, how)
    return out


def _resize_one(frame: np.ndarray, size: Size, how: Resize) -> np.ndarray:
    height, width = size
    if how == "bicubic":
        return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
    kind = cv2.INTER_AREA if how == "area" else cv2.INTER_NEAREST_EXACT
    return cv2.resize(frame, (width, height), interpolation=kind).reshape(height, width, *frame.shape[2:])


def exact_rate(fps: Rate) -> Fraction:
    """Frames a second as a fraction: 29.97 and 30000/1001 stay what they are.

    Raises:
        MediaError: not a number between 0 and 1000.
    """
    if not 0 < float(fps) <= 1000:
        raise MediaError(f"{fps} frames a second cannot be played; give a rate above 0 and up to 1000")
    return fps if isinstance(fps, Fraction) else Fraction(fps).limit_denominator(1001)


def resample_indices(frames: int, from_fps: Rate, to_fps: Rate, count: int | None = None) -> Int64[np.ndarray, " n"]:
    """Which frame is on the screen at each tick of another rate: the nearest earlier one.

    Args:
        frames: how many there are.
        count: how many to give; by default as long as the video lasts. Past its end the last frame stays.
    """
    ratio = exact_rate(from_fps) / exact_rate(to_fps)
    ticks = _ticks_before(frames, ratio) if count is None else count
    wanted = np.arange(ticks, dtype=np.int64) * ratio.numerator // ratio.denominator
    return np.minimum(wanted, frames - 1)


def _ticks_before(frame: int, ratio: Fraction) -> int:
    """How many ticks come before `frame` begins; `ratio` is frames per tick."""
    return -(-frame * ratio.denominator // ratio.numerator)


def adapt_frames(
    chunks: Iterable[UInt8[np.ndarray, "_ h w 3"]],
    *,
    from_fps: Rate,
    to_fps: Rate,
    size: Size | None = None,
    first: int = 0,
) -> Iterator[UInt8[np.ndarray, "_ _ _ 3"]]:
    """The same video at another rate and size, chunk by chunk, without looking ahead; equals converting it whole.

    Args:
        first: number of the first frame that is given, where the video is taken up in its midst.
    """
    ratio, begin = exact_rate(from_fps) / exact_rate(to_fps), first
    for chunk in chunks:
        end = begin + len(chunk)
        ticks = np.arange(_ticks_before(begin, ratio), _ticks_before(end, ratio), dtype=np.int64)
        wanted = chunk[ticks * ratio.numerator // ratio.denominator - begin]
        begin = end
        if len(wanted):
            yield wanted if size is None else resize_frames(wanted, size)
