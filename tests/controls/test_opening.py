"""Files of frames: open only while they are read, and not unpacked twice for what was just read."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from longvie.controls import opening
from longvie.controls.opening import FileSignal
from longvie.controls.signals import LoadReport


class Unpacking:
    """A packed file: what was unpacked cannot be had again but from the beginning."""

    def __init__(self, frames: np.ndarray) -> None:
        self.frames, self.at, self.begun = frames, 0, 0

    def read(self, start: int, stop: int) -> np.ndarray:
        self.begun += start < self.at
        self.at = stop
        time.sleep(0)  # somebody else may read meanwhile
        return self.frames[start:stop].copy()

    def close(self) -> None:
        pass


def unpacked(path: Path, frames: np.ndarray) -> tuple[FileSignal, Unpacking]:
    path.touch()
    file = Unpacking(frames)
    return FileSignal(path, lambda: file, LoadReport("depth", "metric", len(frames), 16, *frames.shape[1:3])), file


def test_a_file_is_not_unpacked_again_for_what_was_just_read(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).random((400, 6, 8))
    signal, file = unpacked(tmp_path / "depth.npz", frames)
    for start in range(0, 384, 12):
        for low, high in ((start, start + 12), (max(0, start - 1), start + 12), (max(0, start - 90), start + 4)):
            np.testing.assert_array_equal(signal.read(low, high), frames[low:high])
    assert file.begun == 0
    np.testing.assert_array_equal(signal.read(396, 400), frames[396:])
    np.testing.assert_array_equal(signal.read(0, 3), frames[:3])


def test_no_more_of_a_file_is_held_than_so_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.random.default_rng(0).random((64, 6, 8))
    monkeypatch.setattr(opening, "HELD", 10 * frames[0].nbytes)
    signal, file = unpacked(tmp_path / "depth.npz", frames)
    for start in range(0, 60, 5):
        np.testing.assert_array_equal(signal.read(start, start + 5), frames[start : start + 5])
    np.testing.assert_array_equal(signal.read(50, 60), frames[50:60])
    assert file.begun == 0
    np.testing.assert_array_equal(signal.read(40, 60), frames[40:60])
    assert file.begun == 1


def test_several_threads_may_read_a_file(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).random((300, 6, 8))
    signal, _ = unpacked(tmp_path / "depth.npz", frames)

    def looked(seed: int) -> bool:
        starts = np.random.default_rng(seed).integers(0, 290, 200).tolist()
        return all(np.array_equal(signal.read(at, at + 9), frames[at : at + 9]) for at in starts)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(looked, range(4)))
