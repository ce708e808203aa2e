"""Points followed through a video, from frame to frame (Lucas and Kanade 1981, pyramids as in Bouguet 2000)."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from longvie.evaluation.reprojection import smaller

SMOOTH = 0.7  # pixels: deviation of the Gaussian that takes noise away first
WINDOW = (9, 9)  # pixels: at 96 px height a larger one holds more than one motion
LEVELS = 3  # of the pyramid above the picture itself
BACK = 1.0  # pixels that a point may miss itself by when it is followed there and back
CORNER = 1e-4  # smaller eigenvalue of the gradients around a point, white = 1, from which it can be followed
STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.01)

Places = Float[np.ndarray, "n 2"]  # x, y; whole numbers are pixel centres, as OpenCV has it
Grey = UInt8[np.ndarray, "h w"]


def ready(grey: Grey) -> UInt8[np.ndarray, "y x"]:
    """A frame as points are followed in it: no higher than 256 pixels, without noise."""
    return cv2.GaussianBlur(smaller(grey), (0, 0), SMOOTH)


@dataclass
class Paths:
    """Points on their way: where they are now, and which of them are not lost."""

    places: Places
    alive: Bool[np.ndarray, " n"] = field(init=False)

    def __post_init__(self) -> None:
        self.alive = np.ones(len(self.places), bool)

    def step(self, before: Grey, now: Grey) -> None:
        """To the next frame. A point that does not come back to where it was is lost for good, and stays there."""
        some = np.flatnonzero(self.alive)
        self.places = self.places.copy()
        self.places[some], self.alive[some] = follow(before, now, self.places[some])

    def keep(self, which: Bool[np.ndarray, " n"]) -> None:
        """Only these."""
        self.places, self.alive = self.places[which], self.alive[which]

    def join(self, places: Places) -> None:
        """More of them, at the end."""
        self.places = np.concatenate([self.places, places])
        self.alive = np.concatenate([self.alive, np.ones(len(places), bool)])


def follow(before: Grey, now: Grey, places: Places) -> tuple[Places, Bool[np.ndarray, " n"]]:
    """Where points have gone, and which of them can be believed: those that come back within `BACK` pixels."""
    if not len(places):
        return places, np.zeros(0, bool)
    start, now = places.astype(np.float32)[:, None], _as_bright(now, before)
    there, found = _lucas_kanade(before, now, start)
    back, returned = _lucas_kanade(now, before, there)
    near = np.linalg.norm(back - start, axis=-1) <= BACK
    return there[:, 0], ((found > 0) & (returned > 0) & near)[:, 0]


def corners(grey: Grey, places: Places) -> Bool[np.ndarray, " n"]:
    """Which places have gradients in both directions around them (Shi and Tomasi 1994)."""
    strength = cv2.cornerMinEigenVal(grey.astype(np.float32) / 255, 7, ksize=3)
    height, width = grey.shape
    x, y = (np.clip(np.rint(places[:, k]).astype(int), 0, side - 1) for k, side in ((0, width), (1, height)))
    return strength[y, x] >= CORNER


def _as_bright(grey: Grey, as_that: Grey) -> Grey:
    """With the mean and the spread of another frame: followed points must keep their brightness, flicker takes it."""
    (mean, spread), (wanted, wide) = ([float(it[0, 0]) for it in cv2.meanStdDev(frame)] for frame in (grey, as_that))
    table = (np.arange(256) - mean) * ((wide + 1e-3) / (spread + 1e-3)) + wanted
    return cv2.LUT(grey, np.clip(np.rint(table), 0, 255).astype(np.uint8))


def _lucas_kanade(before: Grey, now: Grey, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before, now, places, np.empty_like(places), winSize=WINDOW, maxLevel=LEVELS, criteria=STOP
    )
    return there, found
