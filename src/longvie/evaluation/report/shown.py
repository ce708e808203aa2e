"""What the page is made of, and which videos are the worst."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from longvie.evaluation import registry
from longvie.evaluation.compare import RATIOS
from longvie.evaluation.metric import Metric
from longvie.evaluation.results import Results

MEAN_PLACE = "mean place"


@dataclass(frozen=True)
class Shown:
    """What the page is made of, and what several parts of it need."""

    results: Results
    videos: Mapping[str, Path]
    truths: Mapping[str, Path]
    others: tuple[Results, ...]
    key: str | None

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        """All of the register that have a line."""
        lines = self.results.suite
        return {name: metric for name, metric in registry.metrics().items() if name in lines or name in self.numbers}

    @cached_property
    def families(self) -> list[tuple[str, list[str]]]:
        """Names of metrics by family; those that the register does not know come last."""
        there = set(self.results.suite) | set(self.numbers)
        found = [
            (it.name, [metric.name for metric in it.metrics if metric.name in there]) for it in registry.all_families()
        ]
        strange = sorted(there - set(self.metrics))
        return [(name, names) for name, names in [*found, ("other", strange)] if names]

    @cached_property
    def numbers(self) -> Mapping[str, dict[str, float]]:
        """By metric, then by video."""
        return {name: self.results.numbers(name) for name in self.results.videos}

    @cached_property
    def places(self) -> Mapping[str, dict[str, float]]:
        """By metric that has a direction, then by video: 0 is the best, 1 the worst; equal numbers share a place."""
        found = {}
        for name, metric in self.metrics.items():
            values = self.numbers.get(name, {})
            if len(values) > 1 and (metric.better != "neither" or name in RATIOS):
                bad = [badness(name, metric, value) for value in values.values()]
                found[name] = dict(zip(values, _places(bad), strict=True))
        return found

    @cached_property
    def orders(self) -> Mapping[str, dict[str, float]]:
        """Ways to put videos in order: by name, how bad each video is."""
        each: dict[str, list[float]] = {}
        for places in self.places.values():
            for video, place in places.items():
                each.setdefault(video, []).append(place)
        return {MEAN_PLACE: {video: sum(of) / len(of) for video, of in each.items()}, **self.places}

    @cached_property
    def ordered(self) -> list[str]:
        """Videos that were measured, worst first; those without a number in what orders them come last."""
        bad = self.orders[self.key or MEAN_PLACE]
        measured = [video for video, line in self.results.sources.items() if "error" not in line]
        there = measured or sorted({video for values in self.numbers.values() for video in values})
        return sorted(there, key=lambda video: (-bad.get(video, -1.0), video))


def badness(name: str, metric: Metric, value: float) -> float:
    if name in RATIOS:
        return abs(value - 1)
    return -value if metric.better == "higher" else value


def _places(bad: Sequence[float]) -> list[float]:
    """0 for the smallest to 1 for the largest; equal ones get the mean of their places."""
    values = np.asarray(bad)
    below, same = (values[:, None] > values).sum(1), (values[:, None] == values).sum(1)
    return [float(place) for place in (below + (same - 1) / 2) / (len(values) - 1)]


def counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
