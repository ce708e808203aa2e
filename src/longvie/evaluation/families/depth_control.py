"""Does the video obey its depth? Parallax tells: a frame is looked for in a later one as if everything were nearer or
farther than commanded, and what fits best is the depth that the video shows."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float

from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value
from longvie.evaluation.reprojection import SAME, View, between, inside, projected, reproject, sampled, view
from longvie.evaluation.tally import Tally

STEP = 0.05  # of the logarithm of the scale
SCALES = np.exp(STEP * np.arange(-12, 13))  # tried on the commanded depth: 0.55 to 1.82
SECONDS = 0.5  # between the frames of a pair
LAGS = 2  # pairs with one first frame, one and two such spans long; then the next first frame
WINDOW = 9  # pixels that must fit together
SMOOTH = 1.0  # pixels: deviation of the Gaussian that keeps noise from passing for texture
PARALLAX = 1.0  # pixels that a tenth more depth must move a pixel
TEXTURE = 3.0  # grey levels that this must change it by, root mean square over the window
LEAST = 0.01  # share of the picture that must be measured, in a pair and in the mean of all pairs


class DepthControl:
    """Pairs of frames half a second and a second apart: one frame is kept."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.step = max(1, round(SECONDS * facts.fps))
        self.first: View | None = None
        self.error, self.coverage = Tally(facts.fps), Tally(facts.fps)

    def see(self, moment: Moment) -> None:
        if moment.number % self.step:
            return
        now = view(moment, self.facts)
        if now is None:
            return
        if self.first is not None:
            error, measured = depth_error(self.first, now)
            self.coverage.add(moment.time, float(measured.mean()))
            if measured.mean() >= LEAST:
                self.error.add(moment.time, float(error[measured].mean()))
        if moment.number // self.step % LAGS == 0:
            self.first = now

    def values(self) -> Mapping[str, Value | Refused]:
        coverage = self.coverage.mean()
        if isinstance(coverage, Refused):
            why = Refused(f"no two frames {SECONDS:g} s apart with depth, cameras and focal length")
            return {"ctl.depth": why, "ctl.depth.coverage": why}
        if coverage.number < LEAST or not self.error.n:
            share = f"{100 * coverage.number:.2g} % of the picture"
            return {
                "ctl.depth": Refused(f"depth can be told in {share}: too little texture or too little parallax"),
                "ctl.depth.coverage": coverage,
            }
        return {"ctl.depth": self.error.mean(), "ctl.depth.coverage": coverage}


def depth_error(start: View, end: View) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """|s - 1| of the scale s on the depth of every pixel of `start` that fits `end` best (plane sweep, Collins 1996);
    and which pixels can tell: static, textured, with parallax, and so is the whole window around them. Errors are of
    these pixels, 0 elsewhere and where they are too few.
    """
    motion = between(start.pose, end.pose)[:3].astype(np.float32)
    turned = cv2.transform(start.points, motion[:, :3])

    def places(scale: float) -> Float[np.ndarray, "h w 2"]:
        return projected(np.float32(scale) * turned + motion[:, 3], start.focal, start.size)[0]

    here = _grey(start)
    change = places(1.1) - places(1.0)
    static = reproject(start, end)[1].astype(np.uint8)
    able = cv2.erode(static, np.ones((WINDOW, WINDOW), np.uint8), borderType=cv2.BORDER_REPLICATE) > 0
    able &= (np.linalg.norm(change, axis=-1) >= PARALLAX) & (_texture(here, change) >= TEXTURE)
    error = np.zeros(start.size, np.float32)
    if able.mean() >= LEAST:
        flat, there = _flat(here), _grey(end)
        error[able] = np.abs(_best(np.stack([_likeness(flat, there, places(scale))[able] for scale in SCALES])) - 1)
    return error, able


def _grey(shown: View) -> Float[np.ndarray, "h w"]:
    grey = cv2.cvtColor(shown.picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), SMOOTH)


def _flat(grey: Float[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, "h w"], ...]:
    """With the mean and the variance of the window around every pixel."""
    mean = _mean(grey)
    return grey, mean, np.maximum(_mean(grey * grey) - mean * mean, 0)


def _likeness(
    here: tuple[Float[np.ndarray, "h w"], ...], there: Float[np.ndarray, "h w"], places: Float[np.ndarray, "h w 2"]
) -> Float[np.ndarray, "h w"]:
    """Zero-mean normalised cross-correlation of the windows; -1 where the place is outside."""
    (a, mean_a, spread_a), (b, mean_b, spread_b) = here, _flat(sampled(there, places))
    alike = (_mean(a * b) - mean_a * mean_b) / np.sqrt(spread_a * spread_b + np.float32(1e-2))
    return np.where(inside(places), alike, np.float32(-1))


def _mean(values: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return cv2.blur(values, (WINDOW, WINDOW))


def _texture(grey: Float[np.ndarray, "h w"], change: Float[np.ndarray, "h w 2"]) -> Float[np.ndarray, "h w"]:
    """How much the grey value would change: a stripe along the parallax has none that helps."""
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8) * change[..., 0]
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8) * change[..., 1]
    return np.sqrt(np.maximum(_mean((across + down) ** 2), 0))


def _best(likeness: Float[np.ndarray, "s n"]) -> Float[np.ndarray, " n"]:
    """The scale at the peak, a parabola through it and its neighbours making it finer than the steps."""
    at = likeness.argmax(0)
    middle = np.clip(at, 1, len(SCALES) - 2)
    left, peak, right = (np.take_along_axis(likeness, (middle + k)[None], 0)[0] for k in (-1, 0, 1))
    bend = np.minimum(left - 2 * peak + right, -1e-9)
    finer = np.where(at == middle, np.clip((left - right) / (2 * bend), -0.5, 0.5), 0.0)
    return SCALES[at] * np.exp(STEP * finer)


NEEDS: frozenset[Need] = frozenset({"depth", "poses"})
FAMILY = Family(
    "depth_control",
    (
        Metric(
            "ctl.depth", 1, "depth that the video shows, against the depth commanded",
            "mean |s - 1|, s of 25 scales in [e^-0.6, e^0.6] (refined by a parabola) that maximises the 9 px ZNCC of "
            "V_t (Gaussian 1 px) and V_t+k warped by depth s D_t and the commanded poses, t every second, k = 0.5 and "
            f"1 s, at 256 px height at most; where the whole window is static (its depth reprojects within "
            f"{100 * SAME:g} %) and a tenth more depth moves the pixel by 1 px and its grey by 3 levels; mean of pairs "
            "with 1 % such pixels",
            "", "lower", (0.0, float(SCALES[-1] - 1)), NEEDS,
            sees=("camera", "lag", "frozen", "unrelated", "shuffled"),
            ignores=("blur", "saturation", "flicker", "swap"),
        ),
        Metric(
            "ctl.depth.coverage", 1, "share of the picture whose depth can be told",
            "share of pixels that ctl.depth is the mean of, over all pairs",
            "", "neither", (0.0, 1.0), NEEDS,
        ),
    ),
    DepthControl,
)  # fmt: skip
