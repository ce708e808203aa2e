"""How fast a video came, from the request to the last frame in its file, by the log of its run."""

from collections.abc import Mapping

from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value


class Speed:
    """Nothing of the pictures."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def see(self, moment: Moment) -> None:
        pass

    def values(self) -> Mapping[str, Value | Refused]:
        frames, seconds = self.facts.frames, self.facts.spent
        if not seconds:
            why = Refused("its log does not tell how long it took")
            return {metric.name: why for metric in FAMILY.metrics}
        rate = frames / seconds
        return {"speed.to_file": Value(rate, frames), "speed.real_time": Value(rate / self.facts.fps, frames)}


FORMULA = (
    "frames of the video, over the seconds of the wall clock from the request to the last frame in its file, by the "
    "run's log; pauses between a stop and going on are left out"
)
NEEDS: frozenset[Need] = frozenset({"log"})
FAMILY = Family(
    "speed",
    (
        Metric("speed.to_file", 1, "speed, end to end", FORMULA, "frames/s", "higher", (0.0, 1e6), NEEDS),
        Metric("speed.real_time", 1, "speed, of real time", f"{FORMULA}; over the video's frames a second", "",
               "higher", (0.0, 1e5), NEEDS),
    ),
    Speed,
)  # fmt: skip
