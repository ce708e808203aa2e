"""Numbers at the door: 8 bits and [-1, 1], other sizes, other rates."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from numbered import numbered, numbers_in
from PIL import Image

from longvie.errors import MediaError, ShapeError
from longvie.media import adapt_frames, resample_indices, resize_frames, to_bytes, to_unit

LEVELS = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)


def test_every_level_survives() -> None:
    unit = to_unit(LEVELS)
    assert unit.shape == (3, 1, 16, 16) and unit.dtype == torch.float32
    assert (float(unit.min()), float(unit.max())) == (-1.0, 1.0)
    assert np.array_equal(to_bytes(unit), LEVELS)


def test_reading_does_not_write_into_its_source() -> None:
    frozen = LEVELS.copy()
    frozen.flags.writeable = False
    to_unit(frozen).zero_()
    own = LEVELS.copy()
    to_unit(own).zero_()
    assert np.array_equal(own, LEVELS)


def test_rounding_and_clipping() -> None:
    values = torch.tensor([-7.0, -1.0, 0.0, 0.999, 1.0, 7.0]).reshape(1, 1, 1, 6).expand(3, 1, 1, 6)
    assert to_bytes(values)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]
    assert to_bytes(values, rounding="truncate")[0, 0, :, 0].tolist() == [0, 0, 127, 254, 255, 255]
    half = torch.linspace(-1, 1, 64).reshape(1, 1, 1, 64).expand(3, 1, 1, 64).bfloat16()
    published = ((half + 1) * 127.5).clamp(0, 255).to(torch.uint8)  # LongVie converts in bfloat16
    assert np.array_equal(to_bytes(half, rounding="truncate"), published.permute(1, 2, 3, 0).numpy())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_never_silently_black(bad: float) -> None:
    video = torch.zeros(3, 4, 2, 2)
    video[2, 2, 1, 0] = bad
    with pytest.raises(MediaError, match="frame 102 holds NaN or infinity"):
        to_bytes(video, first=100)


def test_resizing_keeps_means_types_and_labels() -> None:
    noise = np.random.default_rng(0).random((2, 32, 64)).astype(np.float32)
    small = resize_frames(noise, (16, 32))
    assert small.dtype == np.float32
    assert np.allclose(small, noise.reshape(2, 16, 2, 32, 2).mean(axis=(2, 4)), atol=1e-6)
    labels = np.random.default_rng(1).integers(0, 9, (2, 32, 64)).astype(np.uint16)
    assert set(np.unique(resize_frames(labels, (13, 29), "nearest"))) <= set(range(9))
    assert resize_frames(numbered([3]), (32, 64)).shape == (1, 32, 64, 3)
    assert resize_frames(noise[..., None], (8, 8)).shape == (2, 8, 8, 1)


def test_bicubic_is_pillows() -> None:
    frame = np.random.default_rng(0).integers(0, 255, (1, 30, 50, 3), dtype=np.uint8)
    pillow = Image.fromarray(frame[0]).resize((21, 17), Image.Resampling.BICUBIC)
    assert np.array_equal(resize_frames(frame, (17, 21), "bicubic")[0], np.asarray(pillow))
    with pytest.raises(ShapeError, match="bicubic resizing takes 8-bit frames"):
        resize_frames(frame.astype(np.float32), (17, 21), "bicubic")
    with pytest.raises(ShapeError, match="cannot resize"):
        resize_frames(frame, (0, 21))


def test_rates() -> None:
    assert resample_indices(6, 30, 15).tolist() == [0, 2, 4]
    assert resample_indices(3, 8, 16).tolist() == [0, 0, 1, 1, 2, 2]
    assert resample_indices(4, 16, 24).tolist() == [0, 0, 1, 2, 2, 3]
    assert resample_indices(4, 16, 16, count=7).tolist() == [0, 1, 2, 3, 3, 3, 3]
    ntsc = resample_indices(30_000, Fraction(30_000, 1001), Fraction(30_000, 1001))
    assert np.array_equal(ntsc, np.arange(30_000))
    for fps in (0, -1, float("nan"), 1e9):
        with pytest.raises(MediaError):
            resample_indices(4, 16, fps)


@pytest.mark.parametrize("to_fps", [5, 12.5, 16, 24, 29.97, 60])
@pytest.mark.parametrize("cuts", [[50], [1, 2, 3, 20, 50], list(range(1, 51))])
def test_adapting_in_chunks_is_adapting_whole(to_fps: int | float, cuts: list[int]) -> None:
    frames = numbered(range(50), height=8, width=32)
    chunks = np.split(frames, cuts[:-1])
    adapted = np.concatenate(list(adapt_frames(chunks, from_fps=16, to_fps=to_fps, size=(4, 16))))
    assert numbers_in(adapted) == resample_indices(50, 16, to_fps).tolist()
    assert adapted.shape[1:] == (4, 16, 3)
