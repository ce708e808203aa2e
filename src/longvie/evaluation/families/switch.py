"""What a change of words costs: how long until it is seen on the wall clock, and how much the video jumps there."""

from collections.abc import Mapping

import numpy as np

from longvie.evaluation.families.seam import residual
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Refused, Value

NEAR = 1.0  # seconds on each side of a change that it may cost something in
LEAST = 8  # frames elsewhere that the usual is known from


class Switch:
    """A residual for each frame within `NEAR` of a change, and a mean of the others."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.near: dict[float, list[float]] = {event.time: [] for event in facts.events}
        self.usual: list[float] = []

    def see(self, moment: Moment) -> None:
        if moment.before is None or not self.near:
            return
        found = residual(moment)
        if moment.truth is not None:
            found = max(0.0, found - residual(moment.true))
        close = [time for time in self.near if abs(moment.time - time) <= NEAR]
        for time in close:
            self.near[time].append(found)
        if not close:
            self.usual.append(found)

    def values(self) -> Mapping[str, Value | Refused]:
        return {"switch.wall": self._wall(), "switch.cost": self._cost()}

    def _wall(self) -> Value | Refused:
        waits = [
            (event.time, 1000 * (event.shown - event.asked))
            for event in self.facts.events
            if event.asked is not None and event.shown is not None
        ]
        if not waits:
            return Refused("the log holds no change that was asked for while the video ran")
        return Value(float(np.mean([wait for _, wait in waits])), len(waits), curve=tuple(waits))

    def _cost(self) -> Value | Refused:
        costs = [(time, float(np.max(found))) for time, found in self.near.items() if found]
        if not costs or len(self.usual) < LEAST:
            return Refused("no change of words, or no frames away from one")
        usual = float(np.percentile(self.usual, 95))
        curve = tuple((time, cost - usual) for time, cost in costs)
        return Value(float(np.mean([cost for _, cost in curve])), len(curve), curve=curve)


FAMILY = Family(
    "switch",
    (
        Metric(
            "switch.wall", 1, "from asking for other words to the first frame under them",
            "mean over changes asked for while the video ran of: time at which the first frame made under the new "
            "words was delivered, less time of the request, both by the run's log",
            "ms", "lower", (0.0, 1e7), frozenset({"events", "log"}),
        ),
        Metric(
            "switch.cost", 1, "jump at a change of words",
            "mean over changes of: largest r within 1 s of it, less the 95th percentile of r elsewhere; r the mean "
            "delta E76 of a frame to the one before after DIS motion compensation, less the truth's where it is known",
            "delta E", "lower", (-100.0, 200.0), frozenset({"events"}),
        ),
    ),
    Switch,
)  # fmt: skip
