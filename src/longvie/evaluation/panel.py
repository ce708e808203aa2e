"""Measures side by side: what the families that look with networks share.

Frames come in small batches, each measure sees all of them, and one that fails, or whose networks are not there, is
refused with the reason while the others go on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.errors import ConfigError, InputError
from longvie.evaluation.metric import Facts, Family, Found, Metric, Moment, Refused, Value
from longvie.evaluation.networks.shelf import KINDS, NONE, Network, Shelf

FRAMES = 8  # of a batch

Picture = UInt8[np.ndarray, "h w 3"]
Frame = tuple[float, Picture, Picture | None]  # seconds, made, truth: all that is kept of a moment


@dataclass(frozen=True, eq=False)
class Batch:
    """Some frames, in order: RGB from 0 to 255."""

    times: tuple[float, ...]  # seconds
    made: Float[Tensor, "n 3 h w"]
    truth: Float[Tensor, "n 3 h w"] | None

    def true(self) -> Float[Tensor, "n 3 h w"]:
        """Raises InputError where no truth is known."""
        if self.truth is None:
            raise InputError("no truth is known for this video")
        return self.truth


@runtime_checkable
class Measure(Protocol):
    """One or several metrics at work on one video."""

    def see(self, batch: Batch, /) -> None:
        """The next frames. What raises an InputError is refused with its words."""

    def values(self) -> Sequence[Found | Refused]:
        """One for each of its metrics, in their order."""
        ...


@dataclass(frozen=True)
class Entry:
    """Metrics that one measure gives.

    Attributes:
        metrics: with all but tier and weights, which follow from the networks.
        networks: names on the shelf.
        open: what is known of a video, then the networks in that order → the measure.
    """

    metrics: tuple[Metric, ...]
    networks: tuple[str, ...]
    open: Callable[..., Measure]


@dataclass(frozen=True)
class Derived:
    """A metric that follows from others of its family, such as a total.

    Attributes:
        metric: with all but tier and weights.
        parts: the names of the others; where one of them is refused, so is this.
        make: their numbers by name → its own.
    """

    metric: Metric
    parts: tuple[str, ...]
    make: Callable[[Mapping[str, float]], float]

    def value(self, found: Mapping[str, Found | Refused], prefix: str) -> Value | Refused:
        """From what was found of the family, whose names begin with the prefix."""
        parts = {name: found[prefix + name] for name in self.parts}
        refused = [name for name, it in parts.items() if not isinstance(it, Value)]
        if refused:
            return Refused(f"is of all of its parts, and of these there is no number: {', '.join(refused)}")
        values = {name: it for name, it in parts.items() if isinstance(it, Value)}
        return Value(self.make({name: it.number for name, it in values.items()}), min(it.n for it in values.values()))


def family(
    name: str,
    entries: Sequence[Entry],
    label: str = "",
    own: Mapping[str, Network] = NONE,
    *,
    derived: Sequence[Derived] = (),
) -> Family:
    """The family of these metrics.

    Args:
        label: put in front of every name where networks are the caller's own, for other networks give other numbers.
        own: such networks, by names in `networks.shelf.KINDS`.

    Raises:
        ConfigError: networks of one's own without a label, or under a name that is none.
    """
    if own and not label:
        raise ConfigError("other networks give other numbers: a label must tell them from the official ones")
    Shelf({}, own)  # refuses unknown names now, not at the first video
    known = tuple(replace(it, metrics=tuple(_metric(m, it.networks, label, own) for m in it.metrics)) for it in entries)
    networks = {metric.name: it.networks for it in entries for metric in it.metrics}
    totals = []
    for it in derived:
        all_of_them = tuple(dict.fromkeys(network for part in it.parts for network in networks[part]))
        totals.append(replace(it, metric=_metric(it.metric, all_of_them, label, own)))
    metrics = tuple(metric for entry in known for metric in entry.metrics) + tuple(it.metric for it in totals)
    prefix = f"{label}." if label else ""
    return Family(prefix + name, metrics, lambda facts: Panel(facts, known, own, tuple(totals), prefix))


def _metric(metric: Metric, networks: Sequence[str], label: str, own: Mapping[str, Network]) -> Metric:
    theirs = [name for name in networks if name in own]
    files = dict.fromkeys(it for name in networks if name not in own for it in KINDS[name].weights)
    formula = f"{metric.formula}; {', '.join(theirs)} given by the caller" if theirs else metric.formula
    return replace(
        metric,
        name=f"{label}.{metric.name}" if label else metric.name,
        formula=formula,
        tier="W2" if networks else "W0",
        weights=tuple(files),
    )


class Panel:
    """The entries of a family at work on one video."""

    def __init__(
        self,
        facts: Facts,
        entries: Sequence[Entry],
        own: Mapping[str, Network] = NONE,
        derived: Sequence[Derived] = (),
        prefix: str = "",
    ) -> None:
        self.derived, self.prefix = derived, prefix
        self.with_truth = any("truth" in m.needs for it in entries for m in it.metrics) and "truth" in facts.known
        self.found: dict[str, Found | Refused] = {}
        self.running: list[tuple[Entry, Measure]] = []
        self.waiting: list[Frame] = []
        shelf = Shelf(facts.weights, own)
        for entry in entries:
            missing = sorted({need for metric in entry.metrics for need in facts.missing(metric)})
            if missing:
                self._refuse(entry, f"needs {', '.join(missing)}")
                continue
            try:
                self.running.append((entry, _opened(entry, facts, shelf)))
            except InputError as reason:
                self._refuse(entry, str(reason))

    def see(self, moment: Moment) -> None:
        """Kept until a batch is full."""
        if self.running:
            self.waiting.append((moment.time, moment.picture, moment.truth if self.with_truth else None))
            if len(self.waiting) == FRAMES:
                self._show()

    @torch.no_grad()
    def _show(self) -> None:
        if not self.waiting:
            return
        batch = self._batch()
        self.waiting = []
        for entry, measure in tuple(self.running):
            try:
                measure.see(batch)
            except InputError as reason:
                self._refuse(entry, str(reason))
                self.running.remove((entry, measure))

    def _batch(self) -> Batch:
        times, pictures, truths = zip(*self.waiting, strict=True)
        known = [truth for truth in truths if truth is not None]
        return Batch(times, _frames(pictures), _frames(known) if len(known) == len(times) else None)

    @torch.no_grad()
    def values(self) -> Mapping[str, Found | Refused]:
        """Of all metrics, by name."""
        self._show()
        for entry, measure in self.running:
            try:
                values = measure.values()
            except InputError as reason:
                self._refuse(entry, str(reason))
            else:
                self.found |= dict(zip((metric.name for metric in entry.metrics), values, strict=True))
        self.found |= {it.metric.name: it.value(self.found, self.prefix) for it in self.derived}
        return self.found

    def _refuse(self, entry: Entry, reason: str) -> None:
        self.found |= {metric.name: Refused(reason) for metric in entry.metrics}


@torch.no_grad()
def _opened(entry: Entry, facts: Facts, shelf: Shelf) -> Measure:
    return entry.open(facts, *shelf.take(*entry.networks))


def _frames(pictures: Sequence[Picture]) -> Float[Tensor, "n 3 h w"]:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().contiguous()
