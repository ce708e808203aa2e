"""What creeps in over minutes: colour, contrast, sharpness, against the truth's own change where there is one."""

from itertools import combinations

import cv2
import numpy as np

from longvie.evaluation.metric import Facts, Family, Metric, Moment, Refused, Value
from longvie.evaluation.tally import Tally

END = 0.15  # share of the video that is its beginning, and its end (FramePack)
LEAST = 2.0  # seconds: shorter videos have no drift
DIM = 1e-3  # of a contrast or a sharpness, below which there is no ratio


class Drift:
    """Of every frame the mean colour, the spread of lightness and the sharpness; of the truth's as well."""

    def __init__(self, facts: Facts) -> None:
        self.facts, self.known = facts, "truth" in facts.known
        self.ends = Ends(facts.frames, 5)  # three of colour, contrast, sharpness: logarithms of the last two
        self.plain = Ends(facts.frames, 5)
        self.series = [Tally(facts.fps) for _ in range(5)]
        self.sharp = Tally(facts.fps)

    def see(self, moment: Moment) -> None:
        own = _look(moment)
        self.plain.add(moment.number, own)
        self.sharp.add(moment.time, float(np.exp(own[4])))
        against = own - _look(moment.true) if self.known else own
        self.ends.add(moment.number, against)
        for tally, number in zip(self.series, against, strict=True):
            tally.add(moment.time, float(number))

    def values(self) -> dict[str, Value | Refused]:
        names = [metric.name for metric in FAMILY.metrics]
        if self.facts.frames / self.facts.fps < LEAST or not self.ends.complete():
            return {name: Refused(f"shorter than {LEAST:g} s: there is no beginning and no end") for name in names}
        change, n = self.ends.change(), self.ends.n
        windows = [tally.windows() for tally in self.series]
        slope = [_theil_sen(part) for part in windows]
        first = [part[0][1] for part in windows]
        colour = tuple(
            (parts[0][0], float(np.linalg.norm([part[1] - was for part, was in zip(parts, first[:3], strict=True)])))
            for parts in zip(*windows[:3], strict=True)
        )
        slopes: Value | Refused = Refused("two parts of 5 s are needed")
        if all(part is not None for part in slope[:3]):
            slopes = Value(float(np.linalg.norm([part for part in slope[:3] if part is not None])), n)
        return {
            "drift.colour": Value(float(np.linalg.norm(change[:3])), n, colour),
            "drift.colour_slope": slopes,
            "drift.contrast": Value(float(np.exp(change[3])), n, _grown(windows[3])),
            "drift.sharpness": Value(float(np.exp(change[4])), n, _grown(windows[4])),
            "drift.start_end": Value(float(np.linalg.norm(self.plain.change()[:3])), n),
            "drift.sharpness_course": _course(self.sharp.windows()),
        }


class Ends:
    """Means over the first and the last frames."""

    def __init__(self, frames: int, width: int) -> None:
        self.frames, self.n = frames, max(1, round(END * frames))
        self.first, self.last, self.seen = np.zeros(width), np.zeros(width), [0, 0]

    def add(self, number: int, values: np.ndarray) -> None:
        if number < self.n:
            self.first, self.seen[0] = self.first + values, self.seen[0] + 1
        if number >= self.frames - self.n:
            self.last, self.seen[1] = self.last + values, self.seen[1] + 1

    def complete(self) -> bool:
        """Whether all those frames have come."""
        return self.seen == [self.n, self.n]

    def change(self) -> np.ndarray:
        """From the first to the last."""
        return (self.last - self.first) / self.n


def _look(moment: Moment) -> np.ndarray:
    """Mean L*, a*, b*; logarithms of the spread of L* and of the sharpness."""
    mean, spread = (it.ravel() for it in cv2.meanStdDev(moment.lab))
    return np.array([*mean, np.log(max(DIM, spread[0])), np.log(max(DIM, moment.sharpness))])


def _theil_sen(windows: tuple[tuple[float, float], ...]) -> float | None:
    """Median slope of all pairs of parts, a minute."""
    slopes = [60 * (b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(windows, 2)]
    return float(np.median(slopes)) if slopes else None


def _grown(windows: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    return tuple((at, float(np.exp(value - windows[0][1]))) for at, value in windows)


def _course(windows: tuple[tuple[float, float], ...]) -> Value | Refused:
    """Relative change of later parts to the first, weighted N - i + 1, the weights made to sum to 1."""
    if len(windows) < 2 or windows[0][1] < DIM:
        return Refused("two parts of 5 s with something sharp in the first are needed")
    first, later = windows[0][1], np.array([value for _, value in windows[1:]])
    weights = np.arange(len(later), 0, -1.0)
    return Value(float((weights * np.abs(later - first) / first).sum() / weights.sum()), len(windows), windows)


FAMILY = Family(
    "drift",
    (
        Metric(
            "drift.colour", 1, "colour drift",
            "delta E76 between the mean Lab (of the video less the truth, where it is known; at 128 px height at most) "
            "of the first and of the last 15 % of the frames",
            "delta E", "lower", (0.0, 100.0), sees=("saturation",), ignores=("noise", "flicker", "lag"),
        ),
        Metric(
            "drift.colour_slope", 1, "colour drift a minute",
            "length of the Theil-Sen slopes of the mean L*, a* and b* (less the truth's) of parts of 5 s",
            "delta E/min", "lower", (0.0, 1000.0), ignores=("noise",),
        ),
        Metric(
            "drift.contrast", 1, "contrast at the end, of that at the start",
            "ratio of the spreads of L* (over the truth's) of the last and the first 15 %, geometric means",
            "", "neither", (0.0, 10.0), sees=("saturation",), ignores=("lag",),
        ),
        Metric(
            "drift.sharpness", 1, "sharpness at the end, of that at the start",
            "ratio of guard.sharpness (over the truth's) of the last and the first 15 %, geometric means",
            "", "neither", (0.0, 10.0), sees=("blur",), ignores=("flicker", "lag"),
        ),
        Metric(
            "drift.start_end", 1, "start-end contrast of colour",
            "delta E76 between the mean Lab of the first and of the last 15 % of the video itself (FramePack's form)",
            "delta E", "neither", (0.0, 100.0),
        ),
        Metric(
            "drift.sharpness_course", 1, "sharpness of later parts, against the first",
            "sum of w_i |m_i - m_1| / m_1 over parts of 5 s, w_i = N - i + 1 over their sum, m the mean sharpness; in "
            "the manner of LV-Bench's VDE, whose sharpness is another",
            "", "lower", (0.0, 10.0), sees=("blur",),
        ),
    ),
    Drift,
)  # fmt: skip
