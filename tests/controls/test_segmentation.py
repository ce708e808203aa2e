"""Labels in fixed colours."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from longvie.controls.segmentation import PALETTE, Segmentation, nearest_label
from longvie.errors import ControlError
from longvie.media import VideoWriter, write_picture

SIZE = (24, 40)


def fields(frames: int = 3) -> np.ndarray:
    """All 32 labels as tiles."""
    tiles = np.arange(32, dtype=np.uint8).reshape(4, 8)
    return np.repeat(np.kron(tiles, np.ones((6, 5), np.uint8))[None], frames, axis=0)


def load(folder: Path, labels: np.ndarray):  # noqa: ANN201
    np.save(folder / "labels.npy", labels)
    return Segmentation().load(folder / "labels.npy", size=SIZE, fps=16)


def test_the_palette_is_fixed_and_its_colours_lie_apart() -> None:
    assert PALETTE.shape == (32, 3)
    assert PALETTE.dtype == np.uint8
    assert not PALETTE.flags.writeable
    assert PALETTE[0].tolist() == [102, 153, 255]  # weights are trained on these: never change one
    assert PALETTE[1].tolist() == [102, 153, 51]
    assert PALETTE.astype(int).sum() == 12444
    apart = np.linalg.norm(PALETTE[:, None].astype(float) - PALETTE, axis=-1) + 1e9 * np.eye(32)
    assert apart.min() > 70


def test_labels_become_their_colours(tmp_path: Path) -> None:
    control, signal = Segmentation(), load(tmp_path, fields())
    video = control.render(signal.read(0, 3), control.fit(signal))
    levels = ((video + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
    assert np.array_equal(levels, PALETTE[fields()])


def test_resizing_invents_no_label(tmp_path: Path) -> None:
    labels = np.zeros((2, 37, 61), np.uint8)
    labels[:, ::2] = 9
    assert set(np.unique(load(tmp_path, labels).read(0, 2))) <= {0, 9}


def test_a_video_in_the_palette_gives_its_labels_back(tmp_path: Path) -> None:
    large = np.kron(fields(), np.ones((1, 4, 4), np.uint8))  # chroma is halved: tiles must be larger than a pixel
    with VideoWriter(tmp_path / "labels.mp4", fps=16, size=large.shape[1:], crf=18) as writer:
        writer.write(PALETTE[large])
    signal = Segmentation().load(tmp_path / "labels.mp4", size=SIZE, fps=16)
    assert (signal.read(0, 3) == fields()).mean() > 0.97
    assert signal.report.content == "labels"


def test_folders_of_pictures_hold_labels_or_colours(tmp_path: Path) -> None:
    grey, deep, drawn = tmp_path / "grey", tmp_path / "deep", tmp_path / "drawn"
    for folder in (grey, deep, drawn):
        folder.mkdir()
    for number, labels in enumerate(fields()):
        write_picture(grey / f"{number}.png", labels)
        assert cv2.imwrite(str(deep / f"{number}.png"), labels.astype(np.uint16))
        write_picture(drawn / f"{number}.png", PALETTE[labels])
    for folder in (grey, deep, drawn):
        signal = Segmentation().load(folder, size=SIZE, fps=16)
        assert np.array_equal(signal.read(0, 3), fields())
        assert (signal.report.low, signal.report.high) == (0, 31)


def test_whole_numbers_may_come_as_floats(tmp_path: Path) -> None:
    assert np.array_equal(load(tmp_path, fields().astype(np.float32)).read(0, 3), fields())


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        (fields().astype(np.int16) + 9, r"labels from 9 to 40, known are 0 to 31 .*: renumber them"),
        (fields().astype(np.int16) - 1, "labels from -1 to 30"),
        (fields() / 2, "holds fractions or NaN"),
        (np.full((2, *SIZE), np.nan), "holds fractions or NaN"),
        (np.full((2, *SIZE, 3), 128, np.uint8), "draw it in controls.segmentation.PALETTE"),
    ],
)
def test_what_are_no_labels_is_refused(tmp_path: Path, labels: np.ndarray, match: str) -> None:
    with pytest.raises(ControlError, match=match):
        load(tmp_path, labels)


def test_the_nearest_label_is_the_one_whose_colour_is_nearest() -> None:
    labels, away = nearest_label(PALETTE[fields()])
    assert np.array_equal(labels, fields())
    assert away == 0
