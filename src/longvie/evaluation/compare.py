"""Is one set of videos better than another? Metric by metric, between videos of the same name.

What is said of a metric is said of its differences, video by video, so that how much videos differ among themselves has
no part in it. A difference is shown when two tests agree: the 95 % interval of its mean leaves out 0, by bootstrap over
videos, and so large a mean is rarer than 5 % when the signs of the differences are flipped by chance (Fisher 1935). The
second holds for a handful of videos too, where the first is too narrow: of five or fewer nothing can be shown. Of many
metrics some differ by chance; what is `firm` differs after Holm's correction for their number (Holm 1979).

A metric that refuses a video refuses it for what it shows: nothing moves, nothing is found. So no set is called better
in a metric that has numbers for fewer of its videos, or its worst ones would have no part in the verdict.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from longvie.errors import ConfigError, InputError
from longvie.evaluation import registry
from longvie.evaluation.metric import Better, Metric
from longvie.evaluation.results import DRAWS, SEED, Results, interval

Word = Literal["better", "worse", "differs", "no difference shown", "not compared"]
Differing = Literal["metrics", "suite", "code", "weights"]

LEVEL = 0.05
EXACT = 13  # pairs up to which every flip of signs is tried
FLIPS = 10_000  # beyond
RATIOS = frozenset({"drift.contrast", "drift.sharpness", "guard.motion_ratio", "guard.sharpness_ratio"})  # ideal: 1


@dataclass(frozen=True)
class Verdict:
    """What can be said of one metric, of `b` against `a`.

    Attributes:
        pairs: videos that have a number in both; means and difference are of these.
        mean_a, mean_b: of the values; None where there is no pair.
        distance: difference and interval are of how far values are from 1, their ideal, and not of the values.
        difference: mean of b - a.
        interval: 95 % of the difference; None of fewer than two pairs.
        chance: that flipped signs give so large a difference or a larger one.
        corrected: the same by Holm, for all metrics of the comparison.
        firm: what the verdict says holds after the correction.
        only_a, only_b: videos that have a number in one alone.
        why: it was not compared, or which videos keep a difference from being called one.
    """

    metric: str
    title: str
    unit: str
    better: Better
    pairs: int
    mean_a: float | None = None
    mean_b: float | None = None
    distance: bool = False
    difference: float | None = None
    interval: tuple[float, float] | None = None
    chance: float | None = None
    corrected: float | None = None
    verdict: Word = "not compared"
    firm: bool = False
    only_a: int = 0
    only_b: int = 0
    why: str = ""


def compare(
    a: Results, b: Results, *, allow: Collection[str] = (), known: Mapping[str, Metric] | None = None
) -> list[Verdict]:
    """A verdict on `b` against `a` for every metric that either has, in the order of the register.

    Args:
        allow: what may differ in how they were measured; see `differing`.
        known: metrics by name, by default all of the register; of others it is not known which way is better.

    Raises:
        InputError: they were not measured alike, in a way that is not allowed.
        ConfigError: no such difference to allow.
    """
    unknown = set(allow) - set(get_args(Differing))
    if unknown:
        raise ConfigError(f"{min(unknown)[:40]!r} cannot be allowed; there are {', '.join(get_args(Differing))}")
    found = {name: says for name, says in differing(a, b).items() if name not in allow}
    if found:
        raise InputError(
            f"they were not measured alike: {'; '.join(found.values())}; measure both again in the same way, or allow "
            f"{', '.join(found)} to differ",
            code="not_comparable",
        )
    metrics = registry.metrics() if known is None else known
    both = set(a.suite) | set(b.suite) | set(a.videos) | set(b.videos)
    names = [name for name in metrics if name in both] + sorted(both - set(metrics))
    return corrected([_verdict(name, metrics.get(name), a, b) for name in names])


def differing(a: Results, b: Results) -> dict[Differing, str]:
    """In what the two were measured differently, each with a sentence that names it.

    `metrics` are versions of metrics that both have, `suite` the hash of the manifest, `code` that of the source that
    measures, `weights` the hashes of official files that both used.
    """
    before, after = (results.run.get("provenance", {}) for results in (a, b))
    found: dict[Differing, str] = {}
    versions, weights = (_unlike(before.get(name, {}), after.get(name, {})) for name in ("metrics", "weights"))
    if versions:
        found["metrics"] = f"versions of metrics ({_listed(versions)})"
    for name in ("suite", "code"):
        of = (a.run, b.run) if name == "suite" else (before, after)
        one, other = (source.get(name) for source in of)
        if one != other:
            found[name] = f"{name} ({_short(one)} and {_short(other)})"
    if weights:
        found["weights"] = f"weights ({_listed(weights)})"
    return found


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {name: (one[name], other[name]) for name in sorted(set(one) & set(other)) if one[name] != other[name]}


def _listed(unlike: Mapping[str, tuple[Any, Any]], most: int = 3) -> str:
    said = [f"{name[:40]}: {_short(one)} and {_short(other)}" for name, (one, other) in unlike.items()]
    return ", ".join(said[:most]) + (f" and {len(said) - most} more" if len(said) > most else "")


def _short(value: object) -> str:
    return "none" if value is None else str(value)[:12]


# --------------------------------------------------------------------------------------------------------------
# one metric


def _verdict(name: str, metric: Metric | None, a: Results, b: Results) -> Verdict:
    before, after = a.numbers(name), b.numbers(name)
    videos = [video for video in before if video in after]
    bare = Verdict(
        name,
        "" if metric is None else metric.title,
        "" if metric is None else metric.unit,
        "neither" if metric is None else metric.better,
        len(videos),
        distance=name in RATIOS,
        only_a=len(before) - len(videos),
        only_b=len(after) - len(videos),
    )
    if not videos:
        whole = any(results.suite.get(name, {}).get("of") == "set" for results in (a, b))
        return replace(bare, why="one number of all videos together" if whole else "no video has a number in both")
    return withheld(judged(bare, [before[video] for video in videos], [after[video] for video in videos]))


def withheld(it: Verdict) -> Verdict:
    """The verdict, unless the set that it calls better has numbers for fewer videos than the other."""
    lacks = {"better": it.only_a - it.only_b, "worse": it.only_b - it.only_a}.get(it.verdict, 0)
    if lacks <= 0:
        return it
    side = "b" if it.verdict == "better" else "a"
    why = f"{side} would be better, but has no number for {lacks} more of its videos"
    return replace(it, verdict="no difference shown", why=why)


def judged(bare: Verdict, before: Sequence[float], after: Sequence[float]) -> Verdict:
    """The verdict on pairs of values, not corrected yet."""
    a, b = np.asarray(before, np.float64), np.asarray(after, np.float64)
    differences = np.abs(b - 1) - np.abs(a - 1) if bare.distance else b - a
    between, chance, mean = interval(differences), sign_flips(differences), float(differences.mean())
    shown = between is not None and not between[0] <= 0 <= between[1] and chance <= LEVEL
    return replace(
        bare,
        mean_a=float(a.mean()),
        mean_b=float(b.mean()),
        difference=mean,
        interval=between,
        chance=chance,
        verdict=_word(bare, mean) if shown else "no difference shown",
    )


def _word(bare: Verdict, mean: float) -> Word:
    if bare.better == "neither" and not bare.distance:
        return "differs"
    return "better" if (mean > 0) == (bare.better == "higher" and not bare.distance) else "worse"


def sign_flips(differences: Float[np.ndarray, " n"]) -> float:
    """The share of all ways to flip signs whose mean is as far from 0 as that of the differences, or farther.

    If the two do not differ, a difference is as likely with the other sign, and the share is below 5 % in 5 % of cases
    at most, however few there are and however they are spread. Beyond `EXACT` pairs, of `FLIPS` seeded ways.
    """
    count = len(differences)
    sums = np.abs(_signs(count) @ differences)
    extreme = int((sums >= np.abs(differences.sum()) - 1e-12 * np.abs(differences).sum()).sum())
    return extreme / len(sums) if count <= EXACT else (extreme + 1) / (len(sums) + 1)


@lru_cache(maxsize=8)
def _signs(count: int) -> Float[np.ndarray, "k n"]:
    """Rows of 1 and -1."""
    if count <= EXACT:
        bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    else:
        bits = np.random.default_rng(SEED).integers(0, 2, (FLIPS, count), dtype=np.int8)
    return (1 - 2 * bits).astype(np.float64)


def corrected(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """With Holm's correction: the smallest of m chances counts m times, the next m - 1 times, and none less than it."""
    tested = [(verdict.chance, at) for at, verdict in enumerate(verdicts) if verdict.chance is not None]
    found, most = list(verdicts), 0.0
    for rank, (chance, at) in enumerate(sorted(tested)):
        most = max(most, min(1.0, (len(tested) - rank) * chance))
        firm = most <= LEVEL and verdicts[at].verdict != "no difference shown"
        found[at] = replace(found[at], corrected=most, firm=firm)
    return found


# --------------------------------------------------------------------------------------------------------------
# to be read


HEADS = ("metric", "pairs", "a", "b", "difference", "95 %", "verdict", "after Holm", "only a", "only b")


def rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """A table under `HEADS`, one row a metric."""
    return [_row(verdict) for verdict in verdicts]


def _row(it: Verdict) -> tuple[str, ...]:
    difference = "–" if it.difference is None else f"{it.difference:+.4g}" + (" from 1" if it.distance else "")
    return (
        it.metric,
        str(it.pairs),
        _digits(it.mean_a),
        _digits(it.mean_b),
        difference,
        "–" if it.interval is None else f"{it.interval[0]:+.4g} to {it.interval[1]:+.4g}",
        f"{it.verdict}: {it.why}" if it.why else it.verdict,
        ("holds" if it.firm else "may be chance") if it.verdict in ("better", "worse", "differs") else "–",
        str(it.only_a),
        str(it.only_b),
    )


def _digits(number: float | None) -> str:
    return "–" if number is None else f"{number:.4g}"


def document(a: Results, b: Results, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All of it, for JSON."""
    return {
        "a": a.run.get("title", ""),
        "b": b.run.get("title", ""),
        "differing": differing(a, b),
        "interval": f"95 %, paired bootstrap over videos, {DRAWS} draws, seed {SEED}",
        "chance": f"flipped signs, all up to {EXACT} pairs, else {FLIPS} ways, seed {SEED}",
        "correction": "Holm",
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }
