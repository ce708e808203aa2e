"""Pictures in and out: PNG, JPEG and WebP, told by their bytes.

What becomes of the less usual ones, always the same way: EXIF rotation is applied; 16 bits keep their upper 8; palettes
are looked up; CMYK is converted without a profile; transparency is laid over black, as controls are drawn on black;
colour profiles are ignored, values count as sRGB. Animations are refused.
"""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image, ImageOps

from longvie.errors import LimitError, LongVieError, MediaError
from longvie.limits import LOCAL, Limits
from longvie.media.convert import Resize, Size, resize_frames
from longvie.media.files import file_size, open_regular, shown, write_bytes_atomically

PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IDAT", b"PLTE", b"tRNS"}
Result = TypeVar("Result")
FORMATS = ("PNG", "JPEG", "WEBP")


def read_picture(
    path: Path, *, size: Size | None = None, how: Resize = "bicubic", limits: Limits = LOCAL
) -> UInt8[np.ndarray, "h w 3"]:
    """One picture as 8-bit RGB, resized to `size` (height, width) when given.

    Raises:
        MediaError: not one whole PNG, JPEG or WebP picture.
        LimitError: more pixels or metadata than allowed, found before they are unpacked.
    """
    with open_regular(path, limits=limits) as file:
        picture = _open(file, shown(path), limits, _as_rgb)
    return picture if size is None else resize_frames(picture[None], size, how)[0]


def read_grey16(path: Path, *, limits: Limits = LOCAL) -> UInt16[np.ndarray, "h w"]:
    """A grey PNG with its own 16 bits (8-bit ones are widened, 255 becomes 65535), as depth is often stored.

    Raises:
        MediaError: not a grey PNG.
        LimitError: see `read_picture`.
    """
    with open_regular(path, limits=limits) as file:
        return _open(file, shown(path), limits, _as_grey16)


def read_labels(path: Path, *, limits: Limits = LOCAL) -> UInt16[np.ndarray, "h w"]:
    """A label map: the numbers in a palette or grey PNG, not the colours that stand for them.

    Raises:
        MediaError: not a palette or grey PNG.
        LimitError: see `read_picture`.
    """
    with open_regular(path, limits=limits) as file:
        return _open(file, shown(path), limits, _as_labels)


def picture_mode(path: Path, *, limits: Limits = LOCAL) -> str:
    """Pillow's name for how pixels are stored: "RGB", "L" (grey), "P" (palette), "I;16" (16-bit grey) …"""
    with open_regular(path, limits=limits) as file:
        return _open(file, shown(path), limits, lambda picture, _: picture.mode)


def write_picture(path: Path, picture: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w"]) -> None:
    """Write a PNG, whole or not at all; the same pixels give the same bytes.

    Raises:
        ResourceError: no room, or the folder cannot be written.
    """
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(data, format="PNG")
    write_bytes_atomically(path, data.getvalue())


def _open(file: BinaryIO, name: str, limits: Limits, use: Callable[[Image.Image, str], Result]) -> Result:
    """Check the header, then unpack; Pillow's own words are not passed on."""
    limits.check("picture_bytes", file_size(file), name)
    _check_png_chunks(file, name, limits)
    try:
        with Image.open(file, formats=FORMATS) as picture:
            limits.check("picture_pixels", picture.width * picture.height, name)
            limits.check("metadata_bytes", _metadata_bytes(picture), name)
            # Telephones append a second view to their JPEGs ("MPO"); the first is the picture.
            if getattr(picture, "is_animated", False) and picture.format != "MPO":
                raise MediaError(f"{name} is an animation; give one picture, or a video")
            return use(picture, name)
    except (LongVieError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise LimitError(f"{name} holds more pixels than the {limits.picture_pixels:,} that are accepted") from None
    except Exception:  # a parser of strangers' bytes: every way to fail means the same
        raise MediaError(f"{name} is damaged or not a PNG, JPEG or WebP picture") from None


def _check_png_chunks(file: BinaryIO, name: str, limits: Limits) -> None:
    """Add up what is not pixels before Pillow reads it into memory (PNG, section 5.3: length, type, data, CRC)."""
    total = 0
    if file.read(8) == PNG:
        while total <= limits.metadata_bytes and len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            (length,) = struct.unpack(">I", head[:4])
            total += 12 + (0 if head[4:] in _PNG_PIXELS else length)
            file.seek(length + 4, io.SEEK_CUR)
    limits.check("metadata_bytes", total, name)
    file.seek(0)


def _metadata_bytes(picture: Image.Image) -> int:
    return sum(len(item) for item in picture.info.values() if isinstance(item, bytes | str))


def _as_rgb(picture: Image.Image, name: str) -> UInt8[np.ndarray, "h w 3"]:  # noqa: ARG001 - as `_as_grey16`
    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):
        grey = np.asarray(upright).astype(np.int64).clip(0, 65535) >> 8
        return np.repeat(grey.astype(np.uint8)[:, :, None], 3, axis=2)
    if upright.has_transparency_data:
        black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
        upright = Image.alpha_composite(black, upright.convert("RGBA"))
    return np.array(upright.convert("RGB"))


def _as_labels(picture: Image.Image, name: str) -> UInt16[np.ndarray, "h w"]:
    if picture.format == "PNG" and picture.mode == "P":
        return np.asarray(picture).astype(np.uint16)
    if picture.format != "PNG" or picture.mode not in ("L", "1", "I;16", "I"):
        raise MediaError(f"{name} holds colours, not labels; labels are the numbers of a palette or grey PNG")
    return np.asarray(picture).astype(np.uint16)


def _as_grey16(picture: Image.Image, name: str) -> UInt16[np.ndarray, "h w"]:
    if picture.format != "PNG" or picture.mode not in ("I;16", "I", "L", "1"):
        raise MediaError(f"{name} is not a grey PNG; depth pictures have one channel of 8 or 16 bits")
    if picture.mode in ("I;16", "I"):
        return np.asarray(picture).astype(np.uint16)
    return np.asarray(picture.convert("L")).astype(np.uint16) * 257
