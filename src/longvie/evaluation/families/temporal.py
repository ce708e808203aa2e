"""What changes from frame to frame: flickering, motion, frozen frames; and sharpness. The guards of every coherence
number: a frozen or blurred video must not win."""

import cv2
import numpy as np

from longvie.evaluation.metric import Facts, Family, Metric, Moment, Refused, Value
from longvie.evaluation.tally import Tally

TOP = 0.05  # share of the pixels that count as what moves
STILL = 0.25  # mean difference of 8-bit values up to which a frame repeats the one before


class Temporal:
    """Pairs of neighbouring frames, and the gradients of every frame."""

    def __init__(self, facts: Facts) -> None:
        self.fps, self.known = facts.fps, "truth" in facts.known
        self.flicker, self.flow, self.true_flow = (Tally(facts.fps) for _ in range(3))
        self.frozen, self.sharp, self.true_sharp = (Tally(facts.fps) for _ in range(3))

    def see(self, moment: Moment) -> None:
        self.sharp.add(moment.time, moment.sharpness)
        if self.known:
            self.true_sharp.add(moment.time, moment.true.sharpness)
        if moment.before is None:
            return
        change = cv2.norm(moment.picture, moment.before.picture, cv2.NORM_L1) / moment.picture.size
        self.flicker.add(moment.time, (255 - change) / 255)
        self.frozen.add(moment.time, float(change <= STILL))
        self.flow.add(moment.time, self._motion(moment))
        if self.known:
            self.true_flow.add(moment.time, self._motion(moment.true))

    def _motion(self, moment: Moment) -> float:
        """Mean of the largest flows, in shares of the shorter side a second."""
        sizes = cv2.magnitude(moment.flow[..., 0], moment.flow[..., 1]).ravel()
        most = max(1, int(TOP * sizes.size))
        return float(np.partition(sizes, -most)[-most:].mean()) * self.fps / min(moment.small.shape[:2])

    def values(self) -> dict[str, Value | Refused]:
        none = Refused("no truth is known for this video")
        return {
            "temporal.flickering": self.flicker.mean(),
            "guard.motion": self.flow.mean(),
            "guard.motion_ratio": _ratio(self.flow, self.true_flow, 1e-3) if self.known else none,
            "guard.frozen": self.frozen.mean(),
            "guard.sharpness": self.sharp.mean(),
            "guard.sharpness_ratio": _ratio(self.sharp, self.true_sharp, 1e-6) if self.known else none,
        }


def _ratio(made: Tally, truth: Tally, least: float) -> Value | Refused:
    if not truth.n or truth.total / truth.n < least:
        return Refused("there is nothing of it in the truth to compare with")
    parts = dict(truth.windows())
    windows = tuple((at, mean / parts[at]) for at, mean in made.windows() if parts.get(at, 0.0) >= least)
    return Value(made.total / truth.total, made.n, windows)


FAMILY = Family(
    "temporal",
    (
        Metric(
            "temporal.flickering", 1, "temporal flickering",
            "mean over pairs of neighbours of (255 - mean absolute difference of 8-bit values) / 255; as VBench's, "
            "without its filter for static videos, so motion lowers it",
            "", "higher", (0.0, 1.0), sees=("flicker", "noise", "shuffled"), ignores=("blur",),
        ),
        Metric(
            "guard.motion", 1, "dynamic degree by flow",
            "mean over pairs of the mean of the largest 5 % of DIS flow (at 128 px height at most), times frames a "
            "second, over the shorter side",
            "sides/s", "neither", (0.0, 10.0), ignores=("saturation",),
        ),
        Metric(
            "guard.motion_ratio", 1, "motion, of the truth's", "guard.motion over that of the truth",
            "", "neither", (0.0, 10.0), frozenset({"truth"}), sees=("shuffled",), ignores=("saturation",),
        ),
        Metric(
            "guard.frozen", 1, "share of frozen frames",
            f"share of frames whose mean absolute difference to the one before is at most {STILL} of 255",
            "", "lower", (0.0, 1.0), ignores=("saturation", "camera", "geometry"),
        ),
        Metric(
            "guard.sharpness", 1, "sharpness",
            "mean absolute difference of neighbouring grey values, both axes, white = 1",
            "", "neither", (0.0, 2.0), sees=("blur", "noise"),
        ),
        Metric(
            "guard.sharpness_ratio", 1, "sharpness, of the truth's", "guard.sharpness over that of the truth",
            "", "neither", (0.0, 10.0), frozenset({"truth"}), sees=("blur", "noise"), ignores=("frozen", "lag"),
        ),
    ),
    Temporal,
)  # fmt: skip
