"""How far a set of videos is from its truths as windows of 5 s, 30 s and 2 min, in the features of a small network of
ours. It orders models on the world; its numbers mean nothing beside those of FVD, which has other features."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import torch

from longvie.evaluation.frechet import LOOKS, WINDOWS, Interval, compare, videos_of
from longvie.evaluation.instruments.windows import WIDTH, Reader
from longvie.evaluation.metric import Better, Facts, Family, Gathered, Metric, Moment, Refused, Value

LEAST = 8  # windows on each side
RESAMPLES = 200  # of the interval
FAULTS = ("frozen", "blur", "noise")  # tried on films of ten seconds, so on the shortest windows alone

Distance = Literal["frechet", "mmd"]


class FvdMini:
    """Windows of every length, of the video and of its truth, in one pass."""

    def __init__(self, facts: Facts) -> None:
        self.seconds = facts.frames / facts.fps
        self.made, self.truth = (Reader(facts.frames, facts.fps, WINDOWS) for _ in range(2))

    def see(self, moment: Moment) -> None:
        self.made.see(moment.number, moment.picture)
        self.truth.see(moment.number, moment.true.picture)

    def values(self) -> Mapping[str, Gathered | Refused]:
        return {name: self._gathered(length) for length in WINDOWS for name in _names(length)}

    def _gathered(self, length: float) -> Gathered | Refused:
        made, truth = (reader.features(length) for reader in (self.made, self.truth))
        if not len(made):
            return Refused(
                f"no window of {length:g} s with {LOOKS} frames to look at fits a video of {self.seconds:.3g} s"
            )
        return Gathered(made, truth)


def distance(rows: Sequence[Gathered], of: Distance) -> Value | Refused:
    """Of the windows of all videos to those of all truths."""
    sides = [np.concatenate([getattr(row, side) for row in rows]) if rows else [] for side in ("made", "truth")]
    counts = [len(side) for side in sides]
    if min(counts) < LEAST:
        return Refused(f"{counts[0]} windows of videos and {counts[1]} of truths; {LEAST} of each are needed")
    made, truth = (torch.from_numpy(np.asarray(side)) for side in sides)
    found: Interval = getattr(compare(made, truth, videos=videos_of(rows), resamples=RESAMPLES), of)
    return Value(found.number, counts[0], interval=(found.low, found.high))


def _names(length: float) -> tuple[str, str]:
    return f"fvd_mini.{length:g}", f"fvd_mini.{length:g}.mmd"


def _metrics(length: float) -> tuple[Metric, ...]:
    """Both distances of one length."""
    looked = (
        f"{WIDTH} features, mean 0 and deviation 1 on training worlds, of windows of {length:g} s, {LOOKS} frames each "
        "in the middles of equal parts, hop half a window, of all videos and of all truths; interval: 95 % bootstrap "
        f"over videos ({RESAMPLES}); n: windows of the videos"
    )
    told = (
        f"squared Frechet distance of {looked}. Too large by an amount that depends on n, the more the fewer there are",
        f"unbiased squared MMD, kernel (x.y / {WIDTH} + 1)^3, of {looked}",
    )
    bounds, titles = ((0.0, 1e6), (-1e6, 1e6)), ("Frechet distance", "polynomial MMD")
    better: Better = "lower"
    combines: list[Callable[[Sequence[Gathered]], Value | Refused]] = [
        partial(distance, of="frechet"),
        partial(distance, of="mmd"),
    ]
    return tuple(
        Metric(
            name, 2, f"{title} of windows of {length:g} s", formula, "", better, bound, frozenset({"truth"}),
            tier="W1", sees=FAULTS if length == min(WINDOWS) else (), combine=combine,
        )
        for name, title, formula, bound, combine in zip(
            _names(length), titles, told, bounds, combines, strict=True
        )
    )  # fmt: skip


FAMILY = Family("fvd_mini", tuple(metric for length in WINDOWS for metric in _metrics(length)), FvdMini)
