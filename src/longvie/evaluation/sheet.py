"""A contact sheet: several videos of the same seconds, one row each, one column per moment."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from longvie.errors import InputError
from longvie.media import VideoFrames, resize_frames, write_picture

GAP = 4  # pixels between pictures
MARGIN = 96  # pixels on the left, for the names of the rows
HEAD = 20  # pixels above, for the seconds
PAPER, INK = (250, 250, 248), (30, 30, 30)


def sheet(
    videos: Mapping[str, Path], out: Path, *, moments: int = 8, height: int = 96, seconds: float | None = None
) -> list[float]:
    """Draw the sheet into a PNG; memory for one frame of each video, whatever their length.

    Args:
        videos: name of a row → its file; the first gives the shape of the pictures.
        moments: columns, evenly spread from the first frame to the last.
        height: of one picture, in pixels.
        seconds: up to which second; by default as long as the shortest video lasts.

    Returns:
        The seconds that are shown.

    Raises:
        InputError: no video, or fewer than one moment.
        MediaError: a video cannot be read.
    """
    if not videos or moments < 1:
        raise InputError(f"a sheet of {len(videos)} videos at {moments} moments shows nothing; give at least 1 of each")
    with ExitStack() as stack:
        opened = {name: stack.enter_context(VideoFrames(path)) for name, path in videos.items()}
        first = next(iter(opened.values()))
        size = (height, max(1, round(height * first.width / first.height)))
        shortest = min((video.frames - 1) / video.info.fps for video in opened.values())
        end = shortest if seconds is None else min(shortest, seconds)
        times = [float(time) for time in np.linspace(0.0, end, moments)]
        rows = {name: [picture(video, time, size) for time in times] for name, video in opened.items()}
    write_picture(out, laid_out(rows, times, size))
    return times


def picture(video: VideoFrames, time: float, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """The frame that is on the screen at a second, resized."""
    frame = min(int(time * video.info.fps + 1e-6), video.frames - 1)
    return resize_frames(video.read(frame, frame + 1), size)[0]


def laid_out(
    rows: Mapping[str, Sequence[UInt8[np.ndarray, "h w 3"]]], times: Sequence[float], size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """Pictures in a grid, names on the left, seconds above."""
    height, width = size
    total = (MARGIN + len(times) * (width + GAP), HEAD + len(rows) * (height + GAP))
    page = Image.new("RGB", total, PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default()
    for column, time in enumerate(times):
        pen.text((MARGIN + column * (width + GAP), 4), f"{time:.1f} s", fill=INK, font=font)
    for row, (name, pictures) in enumerate(rows.items()):
        top = HEAD + row * (height + GAP)
        pen.text((6, top + height // 2 - 6), name, fill=INK, font=font)
        for column, pixels in enumerate(pictures):
            page.paste(Image.fromarray(pixels), (MARGIN + column * (width + GAP), top))
    return np.array(page)
