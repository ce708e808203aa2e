"""What becomes of unusual pictures, exactly."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from longvie.errors import LimitError, MediaError
from longvie.limits import Limits
from longvie.media import read_grey16, read_labels, read_picture, write_picture

RAMP = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_told_by_content_whatever_the_name(tmp_path: Path, kind: str, options: dict[str, bool]) -> None:
    Image.fromarray(RAMP).save(tmp_path / "x.jpg", kind, **options)
    assert np.array_equal(read_picture(tmp_path / "x.jpg"), RAMP)


def test_jpeg_and_size(tmp_path: Path) -> None:
    flat = np.full((32, 48, 3), (200, 100, 50), np.uint8)
    Image.fromarray(flat).save(tmp_path / "x.jpg", quality=95)
    read = read_picture(tmp_path / "x.jpg", size=(16, 20))
    assert read.shape == (16, 20, 3) and np.abs(read.astype(int) - (200, 100, 50)).max() <= 2


@pytest.mark.parametrize(("orientation", "turned"), [(3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))])
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int, turned: object) -> None:
    assert callable(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RAMP).save(tmp_path / "x.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "x.png"), turned(RAMP))


def test_sixteen_bits_keep_their_upper_eight(tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "rgb.png"), deep[..., ::-1])
    cv2.imwrite(str(tmp_path / "grey.png"), deep[..., 0])
    assert np.array_equal(read_picture(tmp_path / "rgb.png"), deep >> 8)
    assert np.array_equal(read_picture(tmp_path / "grey.png"), np.repeat(deep[..., :1] >> 8, 3, axis=2))
    assert np.array_equal(read_grey16(tmp_path / "grey.png"), deep[..., 0])


def test_grey_is_widened_to_sixteen_bits(tmp_path: Path) -> None:
    Image.fromarray(RAMP[..., 0]).save(tmp_path / "g.png")
    assert np.array_equal(read_grey16(tmp_path / "g.png"), RAMP[..., 0].astype(np.uint16) * 257)
    Image.fromarray(RAMP).save(tmp_path / "c.png")
    with pytest.raises(MediaError, match="not a grey PNG"):
        read_grey16(tmp_path / "c.png")


def test_transparency_lies_over_black(tmp_path: Path) -> None:
    clear = np.dstack([np.full((2, 2, 3), 200, np.uint8), np.array([[0, 255], [128, 64]], np.uint8)])
    Image.fromarray(clear).save(tmp_path / "rgba.png")
    assert read_picture(tmp_path / "rgba.png")[..., 0].tolist() == [[0, 200], [100, 50]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([250, 0, 0, 0, 250, 0])
    palette.putdata([0, 1])
    palette.save(tmp_path / "p.png", transparency=0)
    assert read_picture(tmp_path / "p.png").tolist() == [[[0, 0, 0], [0, 250, 0]]]


def test_palettes_give_colours_or_labels(tmp_path: Path) -> None:
    palette = Image.new("P", (3, 1))
    palette.putpalette([9, 9, 9, 0, 250, 0, 1, 2, 3])
    palette.putdata([2, 1, 0])
    palette.save(tmp_path / "p.png")
    assert read_picture(tmp_path / "p.png").tolist() == [[[1, 2, 3], [0, 250, 0], [9, 9, 9]]]
    assert read_labels(tmp_path / "p.png").tolist() == [[2, 1, 0]]
    Image.fromarray(RAMP).save(tmp_path / "c.png")
    with pytest.raises(MediaError, match="holds colours, not labels"):
        read_labels(tmp_path / "c.png")


def test_cmyk_and_profiles_are_converted_the_same_way_each_time(tmp_path: Path) -> None:
    inks = Image.fromarray(np.full((8, 8, 4), (0, 128, 255, 10), np.uint8), mode=None).convert("CMYK")
    inks.save(tmp_path / "c.jpg", quality=100)
    read = read_picture(tmp_path / "c.jpg")
    assert read.shape == (8, 8, 3) and np.array_equal(read, read_picture(tmp_path / "c.jpg"))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(RAMP).save(tmp_path / "i.png", icc_profile=profile)
    assert np.array_equal(read_picture(tmp_path / "i.png"), RAMP)


def test_the_first_view_of_a_telephone_is_the_picture(tmp_path: Path) -> None:
    grey, white = Image.new("RGB", (16, 16), (90, 90, 90)), Image.new("RGB", (16, 16), (255, 255, 255))
    grey.save(tmp_path / "x.jpg", "MPO", save_all=True, append_images=[white])
    assert abs(int(read_picture(tmp_path / "x.jpg").mean()) - 90) <= 1


def test_limits(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.png", RAMP)
    for limits in (Limits(picture_pixels=7), Limits(picture_bytes=30), Limits(file_bytes=30)):
        with pytest.raises(LimitError, match=r"'x.png': \d+ (pixels|bytes on disk), at most"):
            read_picture(tmp_path / "x.png", limits=limits)
    webp = io.BytesIO()
    Image.fromarray(RAMP).save(webp, "WEBP", exif=b"Exif\0\0" + bytes(2**20 + 1))
    (tmp_path / "x.webp").write_bytes(webp.getvalue())
    with pytest.raises(LimitError, match="bytes of metadata"):
        read_picture(tmp_path / "x.webp")


def test_written_pictures_come_back_and_are_equal_byte_for_byte(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", RAMP)
    write_picture(tmp_path / "b.png", RAMP.copy())
    assert np.array_equal(read_picture(tmp_path / "a.png"), RAMP)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    write_picture(tmp_path / "g.png", RAMP[..., 0])
    assert np.array_equal(read_picture(tmp_path / "g.png")[..., 1], RAMP[..., 0])
