"""The table: makers and items, every video made and measured, and the page that says it.

A table is a folder: `suite`, the items; `made/<maker>`, the videos; `measured/<maker>`, the results of each. What is
there already is kept, so the same command goes on, and a table of fewer videos can be made longer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import torch

from longvie.evaluation import registry
from longvie.evaluation.baselines import MAKERS, Order, maker
from longvie.evaluation.metric import Metric
from longvie.evaluation.results import Line, Results
from longvie.evaluation.run import Asked, Job, run
from longvie.evaluation.suite import Manifest
from longvie.media import replace_atomically

FIRST = ("ssim", "ctl.depth", "ctl.track", "ctl.pose.rotation", "ctl.pose.translation", "tc", "lvc", "id.colour",
         "drift.colour", "seam.z", "guard.motion_ratio", "guard.sharpness_ratio", "guard.frozen")  # fmt: skip

Tell = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Wanted:
    """A table to be made.

    Attributes:
        folder: where all of it lies; `suite` may lie elsewhere.
        makers: names, in the order of the columns.
        families: what is measured.
        model: name or folder, of the makers that use one.
    """

    folder: Path
    suite: Path
    makers: tuple[str, ...] = tuple(MAKERS)
    families: tuple[str, ...] = ()
    model: str = "world"
    seed: int = 0

    def video(self, name: str, item: str) -> Path:
        """Of a maker and an item."""
        return self.folder / "made" / name / f"{item}.mp4"


def table(
    wanted: Wanted, manifest: Manifest, *, workers: int = 1, tell: Tell = lambda _done, _of, _what: None
) -> dict[str, Results]:
    """Make and measure all; results by maker."""
    _make(wanted, manifest, workers, tell)
    found = {}
    for name in wanted.makers:
        jobs = [
            Job(item.id, wanted.video(name, item.id), wanted.suite, item.id, borders=maker(name).seams(item))
            for item in manifest.items
        ]
        asked = Asked(
            maker(name).title,
            wanted.families or registry.own(),
            {},
            {"suite": manifest.sha256, "maker": name, "model": wanted.model if maker(name).trained else None,
             "seed": wanted.seed},
        )  # fmt: skip
        told = lambda done, of, what, name=name: tell(done, of, f"measure {name}: {what}")  # noqa: E731
        found[name] = run(jobs, asked, wanted.folder / "measured" / name, workers=workers, tell=told)
    return found


def _make(wanted: Wanted, manifest: Manifest, workers: int, tell: Tell) -> None:
    missing = [
        (wanted, name, item.id)
        for name in wanted.makers
        for item in manifest.items
        if not wanted.video(name, item.id).exists()
    ]
    for done, (_, name, item) in enumerate(_each(missing, workers), start=1):
        tell(done, len(missing), f"make {name}: {item}")


Task = tuple[Wanted, str, str]


def _each(tasks: list[Task], workers: int) -> Iterator[Task]:
    if workers <= 1:
        for task in tasks:
            yield make_one(task)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(make_one, task) for task in tasks]):
            yield future.result()


def make_one(task: Task) -> Task:
    """One video, whole or not at all."""
    wanted, name, item = task
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    out = wanted.video(name, item)
    out.parent.mkdir(parents=True, exist_ok=True)
    order = Order(wanted.suite, Manifest.load(wanted.suite, files=False).item(item), wanted.model, wanted.seed)
    maker(name).make(order, out)
    return task


# --------------------------------------------------------------------------------------------------------------
# as a page


def page(found: Mapping[str, Results], manifest: Manifest, command: str) -> str:
    """Markdown: what the makers are, the numbers that matter most, all of them, and where they come from."""
    known = registry.metrics()
    names = [name for name in known if any(name in results.suite for results in found.values())]
    some = next(iter(found.values()))
    lines = [
        "# Results",
        "",
        "This page is made, not written. The command, which goes on where it was stopped:",
        "",
        "```bash",
        command,
        "```",
        "",
        f"{len(manifest.items)} worlds of the `{manifest.split}` split, seed {manifest.seed}, {manifest.seconds:g} s "
        f"each at {manifest.size[1]}×{manifest.size[0]} and {manifest.fps:g} frames/s; manifest "
        f"`{manifest.sha256[:16]}`, code `{some.run['provenance']['code'][:16]}`. In brackets: 95 % interval by "
        "bootstrap over videos. `of 80%`: the metric refused the other videos, for what they show, so it speaks of the "
        "better ones alone. What a metric is: `longvie eval describe NAME`; what it follows and ignores: "
        "[the damage ladder](ladder.md).",
        "",
        *(f"- **{name}**: {maker(name).title}" for name in found),
        "",
        "## In short",
        "",
        *_rows([name for name in FIRST if name in names], known, found, brief=True),
        "",
        "## Everything",
        "",
        *_rows(names, known, found, brief=False),
        "",
        "## What was refused",
        "",
        *_refusals(names, known, found),
        "",
    ]
    return "\n".join(lines)


def _rows(
    names: Sequence[str], known: Mapping[str, Metric], found: Mapping[str, Results], *, brief: bool
) -> Iterator[str]:
    yield "| metric | " + " | ".join(found) + " |"
    yield "|---|" + "---:|" * len(found)
    for name in names:
        cells = [_cell(results.suite.get(name), brief=brief) for results in found.values()]
        if brief or any(cell != "–" for cell in cells):
            arrow = {"higher": " ↑", "lower": " ↓", "neither": ""}[known[name].better]
            unit = f", {known[name].unit}" if known[name].unit else ""
            yield f"| {known[name].title} `{name}`{unit}{arrow} | " + " | ".join(cells) + " |"


def _cell(line: Line | None, *, brief: bool) -> str:
    if line is None or "mean" not in line:
        return "–"
    text = f"{line['mean']:.3g}"
    if "low" in line:
        text += f" [{line['low']:.3g}, {line['high']:.3g}]"
    refused = int(line.get("refused", 0))
    if not refused or line.get("of") == "set":
        return text
    return f"{text} of {line['n'] / (line['n'] + refused):.0%}" if brief else f"{text}, n={line['n']}"


def _refusals(names: Sequence[str], known: Mapping[str, Metric], found: Mapping[str, Results]) -> Iterator[str]:
    """By maker and metric, how often and why first."""
    for maker_name, results in found.items():
        for name in names:
            if known[name].tier == "W2":
                continue
            why = [line["refused"] for line in results.videos.get(name, {}).values() if "refused" in line]
            if why and not why[0].startswith("needs "):
                yield f"- {maker_name}, `{name}`: {len(why)} of {len(results.videos[name])} videos ({why[0]})"


def save(text: str, path: Path) -> None:
    """Whole or not at all."""
    with replace_atomically(path) as part:
        part.write_text(text)
