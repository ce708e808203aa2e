"""What came out of measuring a set of videos, as JSON Lines: the same bytes for the same inputs, but for one line.

The lines, by `kind`:

- `run`: what was asked, and where everything comes from (`provenance`); the only line that holds a time;
- `source`: of a video, its SHA-256, size, rate and length, and what was cut or scaled; or why it could not be read;
- `window`: a metric of one part of a video, from `second` on;
- `video`: a metric of a whole video with `n`, or why it was `refused`;
- `suite`: a metric over all videos: mean with its 95 % interval by bootstrap over videos (`low`, `high`), `n` of
  videos, and how many `refused`. Of distances between sets the number is of all videos at once, the interval its own.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from longvie.errors import InputError
from longvie.evaluation.metric import Gathered, Metric, Refused, Value
from longvie.limits import Limits
from longvie.media import open_regular
from longvie.media.files import shown

FILE = "results.jsonl"
DRAWS = 2000  # of the bootstrap
SEED = 0
LARGE = Limits(document_bytes=512 * 2**20)

Line = dict[str, Any]
Numbers = Sequence[float] | np.ndarray


def interval(values: Numbers, draws: int = DRAWS) -> tuple[float, float] | None:
    """95 % of the means of samples drawn with replacement; None of fewer than two, of which nothing is known."""
    if len(values) < 2:
        return None
    random, values = np.random.default_rng(SEED), np.asarray(values, dtype=np.float64)
    means = values[random.integers(0, len(values), (draws, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


# --------------------------------------------------------------------------------------------------------------
# lines


def video_lines(video: str, metric: Metric, found: Value | Gathered | Refused) -> Iterator[Line]:
    """Of one metric of one video; windows first. What is gathered for a set has no number of its own."""
    line: Line = {"kind": "video", "video": video, "metric": metric.name, "version": metric.version}
    if isinstance(found, Gathered):
        yield {**line, "gathered": [len(found.made), len(found.truth)]}
        return
    if isinstance(found, Refused):
        yield {**line, "refused": found.reason}
        return
    for second, number in found.windows:
        yield {
            "kind": "window",
            "video": video,
            "metric": metric.name,
            "second": _round(second),
            "value": _round(number),
        }
    curve = {"curve": [[_round(at), _round(number)] for at, number in found.curve]} if found.curve else {}
    yield {**line, "value": _round(found.number), "n": found.n, **curve}


def suite_line(metric: Metric, values: Numbers, refused: int, counts: Sequence[int] | None = None) -> Line:
    """A metric over all videos that have a number; with the `counts` of their samples every sample counts the same in
    the mean, and there is no interval.
    """
    line: Line = {"kind": "suite", "metric": metric.name, "version": metric.version, "n": len(values)}
    if len(values):
        between = interval(values) if counts is None else None
        line |= {"mean": _round(float(np.average(values, weights=counts)))}
        line |= {} if between is None else {"low": _round(between[0]), "high": _round(between[1])}
    return line | {"refused": refused}


def set_line(metric: Metric, found: Value | Refused, refused: int) -> Line:
    """A metric about the whole set at once."""
    line: Line = {"kind": "suite", "metric": metric.name, "version": metric.version, "of": "set"}
    if isinstance(found, Refused):
        return {**line, "n": 0, "why": found.reason, "refused": refused}
    between = {} if found.interval is None else dict(zip(("low", "high"), map(_round, found.interval), strict=True))
    return {**line, "n": found.n, "mean": _round(found.number), **between, "refused": refused}


def written(lines: Iterable[Line]) -> bytes:
    """One JSON object a line, keys in order, no NaN."""
    return "".join(f"{json.dumps(line, sort_keys=True, allow_nan=False)}\n" for line in lines).encode()


def parsed(data: bytes, name: str) -> list[Line]:
    """The lines of a file.

    Raises:
        InputError: what is not one JSON object a line with a `kind`.
    """
    found = []
    for number, text in enumerate(data.splitlines(), start=1):
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as reason:
            raise InputError(f"line {number} of {name} is not JSON") from reason
        if not isinstance(line, dict) or not isinstance(line.get("kind"), str):
            raise InputError(f"line {number} of {name} is not one of our results")
        found.append(line)
    return found


def _round(number: float) -> float:
    """To nine digits: what differs after them is the order of additions, not the video."""
    return float(f"{float(number):.9g}")


# --------------------------------------------------------------------------------------------------------------
# a finished file


@dataclass(frozen=True)
class Results:
    """The lines of a whole file, by what one asks of them."""

    lines: tuple[Line, ...]

    @classmethod
    def read(cls, path: Path) -> "Results":
        """From a file, or from the folder that a run wrote.

        Raises:
            InputError: it is not there, or not ours.
        """
        file = path / FILE if path.is_dir() else path
        with open_regular(file, limits=LARGE, error=InputError) as opened:
            found = cls(tuple(parsed(opened.read(), shown(file))))
        if not any(line["kind"] == "run" for line in found.lines):
            raise InputError(f"{shown(file)} does not say what was measured: is it whole?")
        return found

    @cached_property
    def run(self) -> Line:
        """What was asked, and where everything comes from."""
        return next(line for line in self.lines if line["kind"] == "run")

    @cached_property
    def suite(self) -> Mapping[str, Line]:
        """By metric."""
        return {line["metric"]: line for line in self.lines if line["kind"] == "suite"}

    @cached_property
    def sources(self) -> Mapping[str, Line]:
        """By video."""
        return {line["video"]: line for line in self.lines if line["kind"] == "source"}

    @cached_property
    def videos(self) -> Mapping[str, Mapping[str, Line]]:
        """By metric, then by video."""
        found: dict[str, dict[str, Line]] = {}
        for line in self.lines:
            if line["kind"] == "video":
                found.setdefault(line["metric"], {})[line["video"]] = line
        return found

    @cached_property
    def windows(self) -> Mapping[tuple[str, str], list[tuple[float, float]]]:
        """(second, value) by video and metric."""
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for line in self.lines:
            if line["kind"] == "window":
                found.setdefault((line["video"], line["metric"]), []).append((line["second"], line["value"]))
        return found

    def numbers(self, metric: str) -> dict[str, float]:
        """By video, of those that have one."""
        lines = self.videos.get(metric, {})
        return {video: line["value"] for video, line in lines.items() if "value" in line}
