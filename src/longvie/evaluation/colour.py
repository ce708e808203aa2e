"""Colours as the eye measures them: CIE L*a*b* of sRGB under D65, fast enough for every frame of a long video."""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

# sRGB to XYZ (IEC 61966-2-1), of the white of D65 at 2 degrees; as in scikit-image.
WHITE = np.array([0.95047, 1.0, 1.08883])
XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
TO_XYZ = (XYZ / WHITE[:, None]).astype(np.float32)
TO_LAB = np.array([[0, 116, 0, -16], [500, -500, 0, 0], [0, 200, -200, 0]], np.float32)


def lab(picture: UInt8[np.ndarray, "h w 3"] | Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w 3"]:
    """L*, a* and b* of a picture in bytes, or in [0, 1]."""
    light = cv2.LUT(picture, LIGHT) if picture.dtype == np.uint8 else _linear(picture)
    share = cv2.transform(light, TO_XYZ)
    return cv2.transform(np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116), TO_LAB)


def _linear(values: np.ndarray) -> np.ndarray:
    """Light of sRGB values in [0, 1]."""
    values = np.asarray(values, np.float32)
    return np.where(values > 0.04045, ((values + 0.055) / 1.055) ** np.float32(2.4), values / 12.92)


LIGHT = _linear(np.arange(256, dtype=np.float32) / 255)
