"""Measure a set of videos: each once, in one pass, in processes of their own; a run that was cut off goes on.

A run is a folder: `results.jsonl` (see `results`), and in `videos` a part for each video, which is kept when the same
video is measured again in the same way. Memory does not grow with the length of the videos.
"""

import hashlib
import importlib.metadata
import io
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from longvie.errors import InputError, LongVieError
from longvie.evaluation import registry
from longvie.evaluation.instruments import store
from longvie.evaluation.layout import official, read_layout
from longvie.evaluation.measure import measure
from longvie.evaluation.metric import Family, Gathered, Metric
from longvie.evaluation.results import FILE, Line, Results, parsed, set_line, suite_line, video_lines, written
from longvie.evaluation.runlog import logged
from longvie.evaluation.sources import Align, Source, made, plain
from longvie.evaluation.suite import FILE as SUITE
from longvie.evaluation.suite import Item, Manifest
from longvie.evaluation.weights import sha256
from longvie.media.files import shown, write_bytes_atomically

PARTS = "videos"
PACKAGES = ("longvie", "numpy", "opencv-python-headless", "scikit-image", "torch", "torchmetrics", "av")

Tell = Callable[[int, int, str], None]
SHOWS = (  # what makes videos, or says numbers; all else decides them
    "human", "baselines.py", "calibrate.py", "charts.py", "compare.py", "corrupt.py", "draw.py", "make.py", "markup.py",
    "obedience.py", "reconstruction.py", "report", "sheet.py", "speed.py", "table.py",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One video to measure.

    Attributes:
        name: in the results.
        suite, item: the folder of the suite, or of a benchmark in LongVGenBench's layout, and the id of the item (the
            name of the entry) that the video was made of; None where nothing is known of it.
        borders: first frames of the clips but the first.
    """

    name: str
    video: Path
    suite: Path | None = None
    item: str | None = None
    borders: tuple[int, ...] = ()
    align: Align = "error"

    def open(self) -> Source:
        """With all that is known of it."""
        if self.suite is None or self.item is None:
            return plain(self.video, borders=self.borders)
        if (self.suite / SUITE).is_file():
            return made(self.video, self.suite, self._of(), borders=self.borders, align=self.align)
        return official(self.video, read_layout(self.suite).entry(self.item), align=self.align)

    def _of(self) -> Item:
        """The item; its files are as they are, the suite was checked before."""
        assert self.suite is not None and self.item is not None
        return Manifest.load(self.suite, files=False).item(self.item)

    def truth(self) -> dict[str, str]:
        """SHA-256 of the files that the video is measured against, by their names."""
        if self.suite is None or self.item is None:
            return {}
        if (self.suite / SUITE).is_file():
            return dict(self._of().files)
        entry = read_layout(self.suite).entry(self.item)
        return {path.name: sha256(path) for path in (*entry.videos, *entry.depth)}


@dataclass(frozen=True)
class Asked:
    """What to measure, and what is said of it in the results.

    Attributes:
        title: whose videos they are.
        families: by name.
        weights: paths of official files that were found, by their names in `weights.OFFICIAL`.
        facts: more for the first line, such as the hash of the suite.
        compat: VBench as its programs do it, where its papers are silent.
    """

    title: str
    families: tuple[str, ...]
    weights: Mapping[str, str]
    facts: Mapping[str, Any]
    compat: bool = False


def run(
    jobs: Sequence[Job], asked: Asked, out: Path, *, workers: int = 1, tell: Tell = lambda _done, _of, _name: None
) -> Results:
    """Measure the videos and write the folder.

    A video that cannot be used is noted with the reason, and the others are measured.

    Raises:
        InputError: two videos have the same name.
        ResourceError: no room.
    """
    names = [job.name for job in jobs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"two videos are called {twice[:60]}")
    begun = time.time()
    for done, name in enumerate(_each(jobs, asked, out, workers), start=1):
        tell(done, len(jobs), name)
    lines = [_run_line(asked, names, begun)]
    gathered: dict[str, list[Gathered]] = {}
    for name in names:
        lines += _part(out, name)[1]
        for metric, features in _features(out, name).items():
            gathered.setdefault(metric, []).append(features)
    lines += _suite(lines, _metrics(asked), gathered, compat=asked.compat)
    write_bytes_atomically(out / FILE, written(lines))
    return Results(tuple(lines))


def _each(jobs: Sequence[Job], asked: Asked, out: Path, workers: int) -> Iterator[str]:
    """The names of the videos, as they are done."""
    if workers <= 1 or len(jobs) <= 1:
        for job in jobs:
            yield measured(job, asked, out)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measured, job, asked, out) for job in jobs]):
            yield future.result()


def measured(job: Job, asked: Asked, out: Path) -> str:
    """Measure one video into its part, unless it is there already; its name."""
    torch.set_num_threads(1)  # numbers do not depend on how many there are, and processes do not hinder each other
    cv2.setNumThreads(1)
    key = _key(job, asked)
    if _part_or_none(out, job.name, key) is None:
        lines, features = _measured(job, asked)
        (out / PARTS).mkdir(parents=True, exist_ok=True)
        _write_features(out, job.name, features)
        write_bytes_atomically(_path(out, job.name), written([{"kind": "key", "key": key}, *lines]))
    return job.name


def _measured(job: Job, asked: Asked) -> tuple[list[Line], dict[str, Gathered]]:
    families = _families(asked)
    try:
        with job.open() as source:
            facts = logged(replace(source.facts, weights=dict(asked.weights), compat=asked.compat), job.video)
            found = measure(facts, source.moments(), families)
            line = _source_line(job, source)
    except LongVieError as error:
        return [{"kind": "source", "video": job.name, "file": job.video.name, "error": str(error)}], {}
    known = registry.metrics(families)
    lines = [line for name, value in found.items() for line in video_lines(job.name, known[name], value)]
    return [line, *lines], {name: value for name, value in found.items() if isinstance(value, Gathered)}


def _source_line(job: Job, source: Source) -> Line:
    height, width = source.facts.size
    facts = {"file": job.video.name, "sha256": sha256(job.video), "frames": source.facts.frames}
    facts |= {"fps": float(source.facts.fps), "size": [height, width], "notes": list(source.notes)}
    return {"kind": "source", "video": job.name, **facts} | ({} if job.item is None else {"item": job.item})


# --------------------------------------------------------------------------------------------------------------
# parts: one file a video


def _path(out: Path, name: str) -> Path:
    """Names are of strangers: a hash stands for what no file name can hold."""
    return out / PARTS / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.jsonl"


def _key(job: Job, asked: Asked) -> str:
    """Of everything that decides what comes out."""
    said = [sha256(job.video) if job.video.is_file() else None, job.name, job.item, job.borders, job.align]
    said += [[metric.name, metric.version] for metric in _metrics(asked)]
    said += [
        {name: sha256(Path(path)) for name, path in asked.weights.items()},
        code(),
        job.truth(),
    ] + ["compat"] * asked.compat
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _part(out: Path, name: str) -> tuple[str, list[Line]]:
    path = _path(out, name)
    lines = parsed(path.read_bytes(), shown(path))
    return str(lines[0].get("key")), lines[1:]


def _part_or_none(out: Path, name: str, key: str) -> list[Line] | None:
    try:
        found, lines = _part(out, name)
    except (OSError, InputError, IndexError):
        return None
    return lines if found == key else None


def _write_features(out: Path, name: str, features: Mapping[str, Gathered]) -> None:
    path = _path(out, name).with_suffix(".npz")
    if not features:
        path.unlink(missing_ok=True)
        return
    arrays = {
        f"{metric}/{side}": getattr(rows, side) for metric, rows in features.items() for side in ("made", "truth")
    }
    held = io.BytesIO()
    np.savez(held, **arrays)
    write_bytes_atomically(path, held.getvalue())


def _features(out: Path, name: str) -> dict[str, Gathered]:
    path = _path(out, name).with_suffix(".npz")
    if not path.exists():
        return {}
    with np.load(path) as held:
        metrics = sorted({key.rpartition("/")[0] for key in held.files})
        return {metric: Gathered(held[f"{metric}/made"], held[f"{metric}/truth"]) for metric in metrics}


# --------------------------------------------------------------------------------------------------------------
# the whole


def _suite(
    lines: Sequence[Line], metrics: Sequence[Metric], gathered: Mapping[str, list[Gathered]], *, compat: bool
) -> list[Line]:
    videos = [line for line in lines if line["kind"] == "video"]
    found = []
    for metric in metrics:
        mine = [line for line in videos if line["metric"] == metric.name]
        refused = sum("refused" in line for line in mine)
        if metric.combine is None:
            known = [line for line in mine if "value" in line]
            counts = [it["n"] for it in known] if compat and metric.name.startswith("vbench") else None
            found.append(suite_line(metric, [it["value"] for it in known], refused, counts))
        elif metric.name in gathered:
            found.append(set_line(metric, metric.combine(gathered[metric.name]), refused))
        else:
            found.append(suite_line(metric, [], refused))
    return found


def _run_line(asked: Asked, names: list[str], begun: float) -> Line:
    return {
        "kind": "run",
        "title": asked.title,
        "videos": names,
        "families": list(asked.families),
        "provenance": provenance(asked),
        **asked.facts,
        **({"vbench_compat": True} if asked.compat else {}),
        "time": {"begun": int(begun), "seconds": round(time.time() - begun, 1), "command": sys.argv[1:]},
    }


def provenance(asked: Asked) -> Line:
    """Of code, libraries and weights: what must be equal for numbers to be."""
    return {
        "code": code(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": "cpu",
        "metrics": {metric.name: metric.version for metric in _metrics(asked)},
        "weights": {name: sha256(Path(path)) for name, path in sorted(asked.weights.items())},
        "intervals": "95 %, bootstrap over videos, 2000 draws, seed 0",
    }


@cache
def code() -> str:
    """SHA-256 of everything that measures: source, and the weights of our instruments."""
    total, here = hashlib.sha256(), Path(__file__).parent
    for path in sorted(here.rglob("*.py")):
        if path.relative_to(here).parts[0] not in SHOWS:
            total.update(path.name.encode() + path.read_bytes())
    for path in sorted(store.FOLDER.glob("*.safetensors")):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def _families(asked: Asked) -> tuple[Family, ...]:
    return tuple(family for family in registry.all_families() if family.name in asked.families)


def _metrics(asked: Asked) -> list[Metric]:
    return list(registry.metrics(_families(asked)).values())
