"""The first picture: what the video begins with, at the model's size."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.controls.signals import Crop, Size, crop_box, place
from longvie.errors import MediaError
from longvie.media import read_picture, to_unit

NARROWEST = 8  # pixels on the shorter side


def first_picture(
    source: Path | UInt8[np.ndarray, "height width 3"], *, size: Size, crop: Crop = "cover"
) -> Float[Tensor, "3 1 h w"]:
    """A picture in [-1, 1] at the model's size.

    `cover` keeps the middle in the model's shape and resizes it (averaging by area when it shrinks); `stretch` resizes
    all of it by Pillow's bicubic filter, as the released LongVie weights know it.

    Args:
        source: a PNG, JPEG or WebP file, or 8-bit RGB.
        size: height and width of the model.

    Raises:
        MediaError: cannot be read, or is smaller than `NARROWEST` pixels.
    """
    picture = read_picture(source) if isinstance(source, Path) else source
    height, width = picture.shape[:2]
    if min(height, width) < NARROWEST:
        raise MediaError(f"the picture has {height}×{width} pixels: give one of at least {NARROWEST}×{NARROWEST}")
    return to_unit(place(picture[None], size, crop=crop, how="bicubic" if crop == "stretch" else "area"))


def left_out(came: Size, size: Size) -> float:
    """Share of a picture that `cover` cuts off."""
    _, _, height, width = crop_box(came, size, "cover")
    return 1 - height * width / (came[0] * came[1])
