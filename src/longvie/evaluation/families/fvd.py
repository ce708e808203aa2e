"""How far a set of videos is from the true ones (FVD), by windows of 5 s, 30 s and 2 min: what a window shows, and in
which order. Rather what frames hold than how they move (Ge et al. 2024, arXiv 2404.12391)."""

from collections.abc import Sequence
from functools import partial

import torch

from longvie.errors import InputError
from longvie.evaluation.frechet import LEVEL, LOOKS, RESAMPLES, SIDE, WINDOWS, WindowFeatures, compare, videos_of
from longvie.evaluation.metric import Facts, Gathered, Metric, Refused, Value
from longvie.evaluation.networks.i3d import WIDTH
from longvie.evaluation.networks.shelf import Network
from longvie.evaluation.panel import Batch, Entry, family


class Windows:
    """The features of a video's windows, and of the truth's."""

    def __init__(self, facts: Facts, i3d: Network, *, seconds: float) -> None:
        self.made, self.truth = (WindowFeatures(i3d, facts.frames, facts.fps, seconds) for _ in range(2))

    def see(self, batch: Batch) -> None:
        self.made.see(batch.made)
        self.truth.see(batch.true())

    def values(self) -> tuple[Gathered]:
        return (Gathered(self.made.features().numpy(), self.truth.features().numpy()),)


def combine(gathered: Sequence[Gathered]) -> Value | Refused:
    """The Fréchet distance of all windows of all videos and its bootstrap interval; `n` is how many made windows."""
    if not gathered:
        return Refused("no video has a window of this length")
    made, truth = (torch.cat([torch.from_numpy(getattr(it, side)) for it in gathered]) for side in ("made", "truth"))
    try:
        found = compare(made, truth, videos=videos_of(gathered))
    except InputError as reason:
        return Refused(str(reason))
    distance = found.frechet
    return Value(distance.number, found.made, interval=(distance.low, distance.high))


def _entry(seconds: float) -> Entry:
    metric = Metric(
        f"fvd.{seconds:g}s", 2, f"Fréchet video distance of windows of {seconds:g} s",
        f"|m1 - m2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)) of the {WIDTH} features that I3D (Kinetics-400, StyleGAN-V's port) "
        f"gives for windows of all videos and of their truths: {LOOKS} frames in the middles of equal parts of "
        f"{seconds:g} s, hop half a window, bilinear to {SIDE} pixels a side, [-1, 1]; interval of {100 * LEVEL:g} %: "
        f"{RESAMPLES} bootstrap resamples of videos. With up to {WIDTH} windows a side it is too large by what hangs "
        "on their number: compare equal n only",
        "", "lower", (0.0, 1e5), frozenset({"truth"}), combine=combine,
    )  # fmt: skip
    return Entry((metric,), ("i3d",), partial(Windows, seconds=seconds))


ENTRIES = tuple(_entry(seconds) for seconds in WINDOWS)
FAMILY = family("fvd", ENTRIES)
