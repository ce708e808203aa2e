"""Where what one frame shows lies in another, by commanded depth and cameras.

Inside, space is as OpenCV has it: x right, y down, z forward, whole numbers are pixel centres. Commanded poses have
their columns right, up, forward, eye; `between` turns one into the other.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from longvie.evaluation.metric import Facts, Moment

HEIGHT = 256  # pixels: larger pictures are made smaller first, for speed and so that sizes can be compared
SAME = 0.03  # relative difference of depth up to which two frames show the same surface
UP = np.diag([1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class View:
    """A frame with its depth and its camera, at the size to work at."""

    picture: UInt8[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]  # metres along the camera's axis; inf is sky
    pose: Float[np.ndarray, "4 4"]
    focal: float  # pixels of `picture`

    @cached_property
    def points(self) -> Float[np.ndarray, "h w 3"]:
        """Where what its pixels show is, in metres as its camera has them; depth 1 where none is known."""
        known = np.isfinite(self.depth) & (self.depth > 0)
        return rays(self.size, self.focal) * np.where(known, self.depth, np.float32(1))[..., None]

    @cached_property
    def disparity(self) -> Float[np.ndarray, "h w"]:
        """1 / depth; 0 where none is known. Linear on planes, so it may be sampled between pixels."""
        known = np.isfinite(self.depth) & (self.depth > 0)
        return np.where(known, 1 / np.where(known, self.depth, np.float32(1)), np.float32(0))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.depth.shape[0], self.depth.shape[1]

    def showing(self, picture: UInt8[np.ndarray, "y x 3"]) -> "View":
        """Another picture from the same place, of any size."""
        return replace(self, picture=smaller(picture, self.depth.shape[0]))


def view(moment: Moment, facts: Facts) -> View | None:
    """What a moment shows and from where; None where depth or pose are not known."""
    if moment.depth is None or moment.pose is None or facts.focal is None:
        return None
    height = min(HEIGHT, moment.picture.shape[0])
    picture = smaller(moment.picture, height)
    size = (picture.shape[1], picture.shape[0])
    # A mean of depths lies on no surface, so one of them is taken.
    depth = cv2.resize(moment.depth.astype(np.float32), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return View(picture, depth, moment.pose.astype(np.float64), facts.focal * height / moment.picture.shape[0])


def between(start: Float[np.ndarray, "4 4"], end: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The matrix that takes points as the camera `start` sees them to how `end` sees them."""
    return UP @ np.linalg.inv(end) @ start @ UP


@lru_cache(maxsize=8)
def rays(size: tuple[int, int], focal: float) -> Float[np.ndarray, "h w 3"]:
    """Points at depth 1 behind every pixel centre; not to be written to, for all have the same."""
    height, width = size
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    points = np.stack([x / focal, y / focal, np.ones_like(x)], axis=-1).astype(np.float32)
    points.flags.writeable = False
    return points


def projected(
    points: Float[np.ndarray, "*n 3"], focal: float, size: tuple[int, int]
) -> tuple[Float[np.ndarray, "*n 2"], Float[np.ndarray, "*n"]]:
    """Places in the picture, and depths. What is behind the camera has no place: its depth tells."""
    depth = points[..., 2]
    per = points.dtype.type(focal) / np.maximum(depth, points.dtype.type(1e-6))
    places = np.empty((*depth.shape, 2), points.dtype)
    places[..., 0] = points[..., 0] * per + (size[1] - 1) / 2
    places[..., 1] = points[..., 1] * per + (size[0] - 1) / 2
    return places, depth


def reproject(start: View, end: View) -> tuple[Float[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
    """Where every pixel of `start` lies in `end`; and whether both see that point and it stood still in between.

    A point that moved, or is hidden in `end`, or left the picture, does not lie at the depth that is commanded there.
    """
    motion = between(start.pose, end.pose)[:3].astype(np.float32)
    places, depth = projected(cv2.transform(start.points, motion), start.focal, start.size)
    there = sampled(end.disparity, places)
    same = np.abs(there * depth - 1) <= SAME
    return places, (start.disparity > 0) & inside(places) & (depth > 0) & same


def inside(places: Float[np.ndarray, "h w 2"]) -> Bool[np.ndarray, "h w"]:
    """Which places of a whole grid lie in a picture of the grid's size."""
    height, width = places.shape[:2]
    x, y = places[..., 0], places[..., 1]
    return (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)


def sampled(image: np.ndarray, places: Float[np.ndarray, "h w 2"]) -> np.ndarray:
    """An image at other places, bilinear; beyond its borders their values go on."""
    x, y = cv2.split(places.astype(np.float32, copy=False))
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def smaller(picture: np.ndarray, height: int = HEIGHT) -> np.ndarray:
    """A picture, grey or in colours, at this height; as it is if it is no higher. Every pixel is a mean."""
    if picture.shape[0] <= height:
        return picture
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
