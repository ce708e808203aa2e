"""Does every metric see what it must and ignore what it must? Twelve faults at five levels on worlds of ten seconds.

For each metric and fault there is a curve over levels 0 (the truth) to 5, the mean over the worlds in which all levels
have a number. A metric *follows* a fault if the curve is monotone in the direction that is worse (Spearman's rank
correlation of level and value at least 0.9); it is *flat* if no level moves it by more than a tenth of its range here,
the largest move under any fault. Its *floor* is the value of the truth itself.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.stats import spearmanr

from longvie.data.world import scene
from longvie.evaluation import registry
from longvie.evaluation.faults import FAULTS, spoilt
from longvie.evaluation.film import Film, filmed
from longvie.evaluation.measure import measure
from longvie.evaluation.metric import Gathered, Metric, Value
from longvie.media import write_bytes_atomically

WORLDS = 8
FIRST = 700_000_001  # number of the first world; those of suites and of training are far below
FRAMES = 160  # ten seconds
BORDERS = (40, 80, 120)  # where the seams of the fault are
LEVELS = 5
MONOTONE = 0.9
FLAT = 0.1

Tell = Callable[[int, int, str], None]
Row = dict[str, Any]  # world, fault, level, metric, value (None where it was refused) or what was gathered


def ladder(
    out: Path, worlds: int = WORLDS, *, families: Sequence[str] | None = None, workers: int = 1,
    tell: Tell = lambda _done, _of, _what: None,
) -> list[Row]:  # fmt: skip
    """All numbers of all faults and levels; world by world, each kept in `out`, so that it can go on.

    Args:
        families: names; all that need no weights of others, if none are given.
    """
    names = tuple(sorted(families or registry.own()))
    out.mkdir(parents=True, exist_ok=True)
    numbers = [FIRST + place for place in range(worlds)]
    rows: list[Row] = []
    for done, found in enumerate(_each(numbers, names, out, workers), start=1):
        rows += found
        tell(done, worlds, f"world {done}")
    return rows


def _each(numbers: list[int], names: tuple[str, ...], out: Path, workers: int) -> Iterator[list[Row]]:
    if workers <= 1:
        yield from (world(number, names, out) for number in numbers)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(world, numbers, [names] * len(numbers), [out] * len(numbers))


def world(number: int, names: tuple[str, ...], out: Path) -> list[Row]:
    """All faults of one world; from its file, if the same was measured before."""
    path = out / f"{number}.json"
    versions = {metric.name: metric.version for metric in _metrics(names).values()}
    if path.exists():
        kept = json.loads(path.read_text())
        if kept["versions"] == versions:
            return kept["rows"]
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    film = filmed(scene(number, "test"), FRAMES, borders=BORDERS)
    rows = [*_rows(film, names, "none", 0)]
    for fault in FAULTS:
        for level in range(1, LEVELS + 1):
            rows += _rows(film, names, fault, level)
    write_bytes_atomically(path, json.dumps({"versions": versions, "rows": rows}).encode())
    return rows


def _rows(film: Film, names: tuple[str, ...], fault: str, level: int) -> Iterator[Row]:
    video = film.pictures if fault == "none" else spoilt(film, fault, level)
    families = [family for family in registry.all_families() if family.name in names]
    for name, found in measure(film.facts, film.moments(video), families).items():
        row = {"world": film.scene.seed, "fault": fault, "level": level, "metric": name}
        if isinstance(found, Gathered):
            yield {**row, "made": found.made.tolist(), "truth": found.truth.tolist()}
        else:
            yield {**row, "value": found.number if isinstance(found, Value) else None}


def together(rows: Sequence[Row], metrics: Mapping[str, Metric]) -> list[Row]:
    """The rows, with one of all worlds together in place of what was gathered for distances of sets."""
    sets: dict[tuple[str, str, int], list[Gathered]] = {}
    for row in rows:
        if "made" in row:
            features = (np.array(row[side], dtype=np.float64) for side in ("made", "truth"))
            sets.setdefault((row["metric"], row["fault"], row["level"]), []).append(Gathered(*features))
    found = [row for row in rows if "made" not in row]
    for (name, fault, level), gathered in sets.items():
        combine = metrics[name].combine
        value = None if combine is None else combine(gathered)
        number = value.number if isinstance(value, Value) else None
        found.append({"world": 0, "fault": fault, "level": level, "metric": name, "value": number})
    return found


def _metrics(names: Sequence[str]) -> dict[str, Metric]:
    return registry.metrics([family for family in registry.all_families() if family.name in names])


# --------------------------------------------------------------------------------------------------------------
# verdicts


@dataclass(frozen=True)
class Curve:
    """A metric under a fault.

    Attributes:
        means: at levels 0 to 5, over `worlds`; empty where no world has a number at all levels.
        spearman: of level and mean; positive rises. 0 where nothing changes.
        each: mean over the worlds of each one's own Spearman.
        move: the largest change from level 0, over the metric's range.
    """

    metric: str
    fault: str
    means: tuple[float, ...]
    worlds: int
    spearman: float
    each: float
    move: float


def curves(rows: Sequence[Row]) -> dict[tuple[str, str], Curve]:
    """By metric and fault."""
    table: dict[tuple[str, str], dict[int, dict[int, float | None]]] = {}
    truth: dict[tuple[str, int], float | None] = {}
    for row in rows:
        if row["fault"] == "none":
            truth[row["metric"], row["world"]] = row["value"]
        else:
            levels = table.setdefault((row["metric"], row["fault"]), {}).setdefault(row["world"], {})
            levels[row["level"]] = row["value"]
    found = {key: _means(key[0], worlds, truth) for key, worlds in table.items()}
    spans: dict[str, float] = {}
    for (metric, _), (values, _) in found.items():
        if len(values):
            means = values.mean(0)
            spans[metric] = max(spans.get(metric, 0.0), float(np.abs(means - means[0]).max()))
    return {key: _curve(key, values, count, spans.get(key[0], 0.0)) for key, (values, count) in found.items()}


def _means(
    metric: str, worlds: Mapping[int, Mapping[int, float | None]], truth: Mapping[tuple[str, int], float | None]
) -> tuple[np.ndarray, int]:
    """(world, level) of the worlds in which no level was refused."""
    whole = []
    for world, levels in worlds.items():
        line = [truth.get((metric, world)), *(levels.get(level) for level in range(1, LEVELS + 1))]
        if all(value is not None for value in line):
            whole.append(line)
    return np.array(whole, dtype=np.float64).reshape(-1, LEVELS + 1), len(whole)


def _curve(key: tuple[str, str], values: np.ndarray, count: int, span: float) -> Curve:
    if not count:
        return Curve(*key, (), 0, 0.0, 0.0, 0.0)
    means = values.mean(0)
    move = float(np.abs(means - means[0]).max()) / span if span > 0 else 0.0
    each = float(np.mean([_rank(line) for line in values]))
    return Curve(*key, tuple(means.tolist()), count, _rank(means), each, move)


def _rank(values: np.ndarray) -> float:
    """Spearman's correlation with the level; 0 of what does not change."""
    if np.ptp(values) <= 1e-9 * max(1.0, float(np.abs(values).max())):
        return 0.0
    return float(spearmanr(np.arange(len(values)), values)[0])  # type: ignore[arg-type]


def follows(metric: Metric, curve: Curve) -> bool:
    """Whether it gets worse with the level; either way, where neither is better."""
    if not curve.means:
        return False
    rank = {"higher": -curve.spearman, "lower": curve.spearman, "neither": abs(curve.spearman)}[metric.better]
    return rank >= MONOTONE


def flat(curve: Curve) -> bool:
    """Whether no level moves it by more than a tenth of its range."""
    return bool(curve.means) and curve.move < FLAT


@dataclass(frozen=True)
class Broken:
    """A claim of a metric that the ladder does not bear out."""

    metric: str
    fault: str
    claim: str
    curve: Curve | None


def broken(metrics: Mapping[str, Metric], found: Mapping[tuple[str, str], Curve]) -> list[Broken]:
    """All of them."""
    wrong = []
    for name, metric in metrics.items():
        if not any(key[0] == name for key in found):
            continue
        for fault in metric.sees:
            curve = found.get((name, fault))
            if curve is None or not follows(metric, curve):
                wrong.append(Broken(name, fault, "sees", curve))
        for fault in metric.ignores:
            curve = found.get((name, fault))
            if curve is None or not flat(curve):
                wrong.append(Broken(name, fault, "ignores", curve))
    return wrong


# --------------------------------------------------------------------------------------------------------------
# as a page


def page(
    metrics: Mapping[str, Metric], found: Mapping[tuple[str, str], Curve], worlds: int, families: Sequence[str]
) -> str:
    """The ladder as Markdown: floors and ceilings, then for each metric and fault how far it moves and how surely."""
    faults = list(FAULTS)
    known = [metric for name, metric in metrics.items() if any(key[0] == name for key in found)]
    lines = [
        "# The damage ladder",
        "",
        f"Made on {worlds} test worlds of {FRAMES} frames at 96×176 by",
        "",
        "```bash",
        f"longvie eval calibrate --out ladder --worlds {worlds} --metrics {','.join(families)} --docs docs/ladder.md",
        "```",
        "",
        "Each cell: Spearman's rank correlation of the fault's level (0 to 5) and the metric's mean over the worlds",
        "that have a number at every level, and in brackets the largest move in percent of the metric's range here.",
        "**Bold**: the metric claims to follow the fault. _Slanted_: it claims to ignore it. ✗: the claim is not borne",
        "out. –: no world has a number at every level.",
        "",
        "| fault | levels 1 to 5 |",
        "|---|---|",
        *(
            f"| {it.name}: {it.title} | {', '.join(f'{x:g}' for x in it.levels)} ({it.unit}) |"
            for it in FAULTS.values()
        ),
        "",
        "| metric | truth | worst | " + " | ".join(faults) + " |",
        "|---|---:|---:|" + "---|" * len(faults),
    ]
    for metric in known:
        mine = {fault: found[metric.name, fault] for fault in faults if (metric.name, fault) in found}
        lines.append(_line(metric, mine, faults))
    wrong = broken(metrics, found)
    lines += ["", f"Claims: {_claims(known)}, of which {len(wrong)} are not borne out.", ""]
    return "\n".join(lines)


def _line(metric: Metric, mine: Mapping[str, Curve], faults: Sequence[str]) -> str:
    means = [curve.means for curve in mine.values() if curve.means]
    floor = f"{np.mean([it[0] for it in means]):.3g}" if means else "–"
    worst = max((value for it in means for value in it), key=lambda value: abs(value - means[0][0]), default=None)
    cells = [_cell(metric, fault, mine.get(fault)) for fault in faults]
    return f"| `{metric.name}` | {floor} | {'–' if worst is None else f'{worst:.3g}'} | " + " | ".join(cells) + " |"


def _cell(metric: Metric, fault: str, curve: Curve | None) -> str:
    if curve is None or not curve.means:
        text = "–"
        right = fault not in (*metric.sees, *metric.ignores)
    else:
        text = f"{curve.spearman:+.2f} ({100 * curve.move:.0f})"
        right = (fault not in metric.sees or follows(metric, curve)) and (fault not in metric.ignores or flat(curve))
    text = f"**{text}**" if fault in metric.sees else f"_{text}_" if fault in metric.ignores else text
    return text if right else f"{text} ✗"


def _claims(metrics: Sequence[Metric]) -> int:
    return sum(len(metric.sees) + len(metric.ignores) for metric in metrics)
