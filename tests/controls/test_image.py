"""The first picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longvie.controls.image import first_picture, left_out
from longvie.errors import MediaError
from longvie.media import write_picture

SIZE = (24, 40)


def picture(height: int = 48, width: int = 120) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.kron(rng.integers(0, 256, (height // 6, width // 6, 3), dtype=np.uint8), np.ones((6, 6, 1), np.uint8))


def test_cover_keeps_the_middle_without_distortion(tmp_path: Path) -> None:
    write_picture(tmp_path / "first.png", picture())
    got = first_picture(tmp_path / "first.png", size=SIZE)
    assert got.shape == (3, 1, *SIZE)
    assert got.min() >= -1
    assert got.max() <= 1
    middle = picture()[:, 20:100].reshape(24, 2, 40, 2, 3).mean(axis=(1, 3))
    assert torch.allclose((got[:, 0] + 1) * 127.5, torch.from_numpy(middle).permute(2, 0, 1).float(), atol=0.51)
    assert left_out((48, 120), SIZE) == pytest.approx(1 / 3)


def test_stretch_is_pillows_bicubic_over_everything() -> None:
    got = first_picture(picture(), size=SIZE, crop="stretch")
    expected = np.asarray(Image.fromarray(picture()).resize((40, 24))).transpose(2, 0, 1)
    assert torch.equal(got[:, 0], torch.from_numpy(expected.copy()).float() * (2 / 255) - 1)


def test_a_picture_of_the_right_size_passes_untouched() -> None:
    exact = picture(24, 120)[:, :40]
    for crop in ("cover", "stretch"):
        levels = (first_picture(exact, size=SIZE, crop=crop)[:, 0] + 1) * 127.5
        assert np.array_equal(levels.round().permute(1, 2, 0).numpy(), exact)


def test_a_picture_too_small_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="give one of at least 8×8"):
        first_picture(np.zeros((7, 40, 3), np.uint8), size=SIZE)
    (tmp_path / "x.png").write_bytes(b"not really a picture")
    with pytest.raises(MediaError, match="not a PNG, JPEG or WebP"):
        first_picture(tmp_path / "x.png", size=SIZE)
