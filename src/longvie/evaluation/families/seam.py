"""Whether one sees where a clip ends and the next begins: each border against its own neighbourhood."""

import cv2
import numpy as np

from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value

AROUND = 12  # frames on each side that a border is compared with
FLOOR = 0.05  # added to the spread, so that a still video has no infinite seams
ALARM = 2.0  # z from which a border counts as seen


class Seam:
    """Residuals after motion compensation near the borders; a few numbers a border, whatever the length."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.near = {at for border in facts.borders for at in range(border - AROUND, border + AROUND + 1)}
        self.residuals: dict[int, float] = {}
        self.speeds: dict[int, np.ndarray] = {}

    def see(self, moment: Moment) -> None:
        if moment.number not in self.near or moment.before is None:
            return
        self.residuals[moment.number] = residual(moment)
        self.speeds[moment.number] = moment.flow.reshape(-1, 2).mean(0) / min(moment.small.shape[:2])

    def values(self) -> dict[str, Value | Refused]:
        found = {border: self._z(border) for border in self.facts.borders}
        scores = {border: z for border, z in found.items() if z is not None}
        if not scores:
            why = "no clip borders are known" if not self.facts.borders else "too few frames around the borders"
            return {metric.name: Refused(why) for metric in FAMILY.metrics}
        curve = tuple((border / self.facts.fps, z) for border, z in scores.items())
        jumps = [
            float(np.linalg.norm(self.speeds[border + 1] - self.speeds[border - 1]))
            for border in scores
            if border + 1 in self.speeds and border - 1 in self.speeds
        ]
        z = np.array(list(scores.values()))
        return {
            "seam.z": Value(float(z.mean()), len(z), curve=curve),
            "seam.worst": Value(float(z.max()), len(z)),
            "seam.seen": Value(float((z > ALARM).mean()), len(z)),
            "seam.jump": Value(float(np.mean(jumps)), len(jumps)) if jumps else Refused("no frames beside the borders"),
        }

    def _z(self, border: int) -> float | None:
        around = [self.residuals[at] for at in range(border - AROUND, border + AROUND + 1)
                  if at in self.residuals and at not in self.facts.borders]  # fmt: skip
        if border not in self.residuals or len(around) < AROUND:
            return None
        median = float(np.median(around))
        spread = 1.4826 * float(np.median(np.abs(np.array(around) - median))) + FLOOR
        return (self.residuals[border] - median) / spread


def residual(moment: Moment) -> float:
    """Mean delta E76 between the frame before and this one, moved back along the flow."""
    if moment.before is None:
        return 0.0
    height, width = moment.small.shape[:2]
    x = moment.flow[..., 0] + np.arange(width, dtype=np.float32)
    y = moment.flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    off = cv2.remap(moment.lab, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - moment.before.lab
    return float(np.sqrt((off * off).sum(-1)).mean())


BORDERS: frozenset[Need] = frozenset({"borders"})
FORMULA = (
    "z = (r_b - median r) / (1.4826 MAD + 0.05), r the mean delta E76 of a frame to the one before after DIS motion "
    "compensation at 128 px height at most, median and MAD over the 12 frames on each side"
)
FAMILY = Family(
    "seam",
    (
        Metric("seam.z", 1, "seams, mean", f"mean over borders of {FORMULA}", "z", "lower", (-50.0, 1000.0), BORDERS,
               sees=("seam",), ignores=("noise", "blur", "saturation", "frozen")),
        Metric("seam.worst", 1, "seams, worst", f"largest over borders of {FORMULA}", "z", "lower", (-50.0, 1000.0),
               BORDERS, sees=("seam",)),
        Metric("seam.seen", 1, "seams that are seen", f"share of borders above {ALARM:g} of {FORMULA}", "", "lower",
               (0.0, 1.0), BORDERS),
        Metric("seam.jump", 1, "jump of motion at borders",
               "mean over borders of the length of the difference of the mean flows after and before, over the shorter "
               "side", "sides", "lower", (0.0, 10.0), BORDERS),
    ),
    Seam,
)  # fmt: skip
