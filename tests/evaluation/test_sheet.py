"""A contact sheet shows the frame of each second, in its row and column."""

from pathlib import Path

import numpy as np
import pytest

from longvie.errors import InputError, MediaError
from longvie.evaluation.sheet import GAP, HEAD, MARGIN, sheet
from longvie.media import VideoWriter, read_picture

SIZE = (32, 48)


def greys(path: Path, levels: list[int], fps: float = 4.0) -> Path:
    """A video whose frames are one grey each."""
    with VideoWriter(path, fps=fps, size=SIZE, fragmented=False) as out:
        for level in levels:
            out.write(np.full((1, *SIZE, 3), level, np.uint8))
    return path


def test_rows_are_videos_and_columns_are_moments(tmp_path: Path) -> None:
    up = greys(tmp_path / "up.mp4", list(range(20, 220, 20)))
    down = greys(tmp_path / "down.mp4", list(range(200, 0, -20)))
    times = sheet({"up": up, "down": down}, tmp_path / "sheet.png", moments=4, height=32)
    assert times == [0.0, 0.75, 1.5, 2.25]
    page = read_picture(tmp_path / "sheet.png")
    for row, levels in enumerate(([20, 80, 140, 200], [200, 140, 80, 20])):
        for column, level in enumerate(levels):
            y, x = HEAD + row * (32 + GAP) + 16, MARGIN + column * (48 + GAP) + 24
            assert abs(int(page[y, x, 0]) - level) < 8


def test_the_shortest_video_or_the_caller_says_when_it_ends(tmp_path: Path) -> None:
    long, short = greys(tmp_path / "l.mp4", [9] * 17), greys(tmp_path / "s.mp4", [9] * 5)
    assert sheet({"a": long, "b": short}, tmp_path / "s.png", moments=2)[-1] == 1.0
    assert sheet({"a": long}, tmp_path / "s.png", moments=3, seconds=2.0) == [0.0, 1.0, 2.0]


def test_nothing_to_show_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        sheet({}, tmp_path / "s.png")
    with pytest.raises(MediaError):
        sheet({"a": tmp_path / "none.mp4"}, tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()
