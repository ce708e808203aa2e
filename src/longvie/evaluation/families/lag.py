"""How late is the video? What changes in it is compared with what changes in the truth, shifted in time.

What a place of the picture shows dates a moment better than how fast it moves: a camera that moves evenly still passes
one thing after another, and neither noise nor flickering light looks like that.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float

from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value

SECONDS = 2.0  # of a window
MOST = 0.75  # seconds that a video may be late or early
CELLS = (4, 6)  # rows and columns of the picture: where it changes says more than how much it changes as a whole
LOUD = 3.0  # times the median change, as which a frame that changes more than that counts: a jump is no motion
ALIKE = 0.4  # correlation at the best lag below which a video does not change as the truth does at any lag
EVEN = 0.98  # correlation of the truth with itself two frames later above which its changes have no date


class Lag:
    """Changes of one window of the video and of the truth in memory, and a number for every window."""

    def __init__(self, facts: Facts) -> None:
        self.fps = facts.fps
        self.frames = max(8, round(SECONDS * facts.fps))
        self.most = min(max(2, round(MOST * facts.fps)), self.frames // 2)
        self.before: np.ndarray | None = None
        self.made: list[np.ndarray] = []
        self.true: list[np.ndarray] = []
        self.found: list[tuple[float, float]] = []
        self.likeness = np.zeros(2 * self.most + 1)
        self.even = self.unlike = 0

    def see(self, moment: Moment) -> None:
        if moment.truth is None:
            return
        now = np.stack([_light(moment), _light(moment.true)])
        before, self.before = self.before, now
        if before is None:
            return
        self.made.append(now[0] - before[0])
        self.true.append(now[1] - before[1])
        if len(self.made) == self.frames:
            begin = moment.time - (self.frames - 1) / self.fps
            self._judge(_steady(self.made), _steady(self.true), begin)
            self.made, self.true = [], []

    def _judge(self, made: Float[np.ndarray, "f n"], true: Float[np.ndarray, "f n"], begin: float) -> None:
        if correlation(true, true, 2) > EVEN or not true.std(0).any():
            self.even += 1
            return
        likeness = np.array([correlation(made, true, lag) for lag in range(-self.most, self.most + 1)])
        if likeness.max() < ALIKE or likeness.argmax() in (0, len(likeness) - 1):  # at an end it is no peak
            self.unlike += 1
            return
        self.likeness += likeness
        self.found.append((begin, float(likeness.argmax() - self.most)))

    def values(self) -> Mapping[str, Value | Refused]:
        if not self.found:
            return {"ctl.lag": Refused(self._why())}
        late = np.array([lag for _, lag in self.found])
        seconds = np.arange(-self.most, self.most + 1) / self.fps
        curve = tuple(zip(seconds.tolist(), (self.likeness / len(late)).tolist(), strict=True))
        return {"ctl.lag": Value(float(np.abs(late).mean()), len(late), tuple(self.found), curve)}

    def _why(self) -> str:
        if self.unlike:
            return f"the video changes as the truth does at no lag, in {self.unlike} windows"
        if self.even:
            return f"the truth changes too evenly to tell a lag, in {self.even} windows"
        return f"no {self.frames + 1} frames with their truth: there is no whole window"


def correlation(made: Float[np.ndarray, "f n"], true: Float[np.ndarray, "f n"], lag: int) -> float:
    """Of what the truth does with what the video does `lag` frames later, every cell about its own mean; 0 where
    nothing changes.
    """
    made, true = made[max(lag, 0) : len(made) + min(lag, 0)], true[max(-lag, 0) : len(true) - max(lag, 0)]
    made, true = made - made.mean(0), true - true.mean(0)
    size = np.sqrt((made**2).sum() * (true**2).sum())
    return float((made * true).sum() / size) if size > 0 else 0.0


def _steady(changes: list[np.ndarray]) -> Float[np.ndarray, "f n"]:
    """With no frame that changes far more than the usual one: a jump at a seam, or of the light, is not motion."""
    rows = np.stack(changes)
    sizes = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(1.0, LOUD * np.median(sizes) / np.maximum(sizes, 1e-12))


def _light(moment: Moment) -> Float[np.ndarray, " n"]:
    """Mean grey of every cell, of the mean of all: light that changes everywhere at once changes nothing."""
    cells = cv2.resize(moment.small_grey.astype(np.float32), CELLS[::-1], interpolation=cv2.INTER_AREA)
    return cells.ravel().astype(np.float64) / max(1.0, float(cells.mean()))


NEEDS: frozenset[Need] = frozenset({"truth"})
FAMILY = Family(
    "lag",
    (
        Metric(
            "ctl.lag", 1, "frames that the video is late, or early",
            "mean over windows of 2 s of |l|, l the lag up to 0.75 s that maximises the correlation of the changes of "
            "V from frame to frame (mean grey of each of 4 x 6 cells over the mean of all, less that of the frame "
            f"before, {LOUD:g} times the median at most) at t + l with those of the truth at t; windows whose truth is "
            f"not even (correlation to itself 2 frames later at most {EVEN:g}) and that correlate by {ALIKE:g} at some "
            "lag, not the longest; parts have their sign, positive is late",
            "frames", "lower", (0.0, 100.0), NEEDS,
            sees=("lag",), ignores=("noise", "blur", "saturation", "flicker", "seam", "swap", "geometry"),
        ),
    ),
    Lag,
)  # fmt: skip
