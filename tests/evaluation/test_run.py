"""Measuring a set: the same bytes each time, what was measured is kept, and one bad video does not stop the others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longvie.errors import InputError
from longvie.evaluation import run as runs
from longvie.evaluation.metric import Family, Gathered, Metric, Moment, Value
from longvie.evaluation.results import FILE, Results
from longvie.evaluation.run import Asked, Job, measured, run
from longvie.media import VideoWriter

ASKED = Asked("ours", ("temporal", "drift"), {}, {"suite": "none"})


def film(path: Path, seed: int = 0, frames: int = 40) -> Path:
    """A texture that moves."""
    wide = np.random.default_rng(seed).integers(0, 256, (12, 40, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    with VideoWriter(path, fps=16, size=(48, 64), fragmented=False) as writer:
        writer.write(np.stack([wide[:, at : at + 64] for at in range(frames)]))
    return path


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return [Job(name, film(tmp_path / f"{name}.mp4", seed)) for seed, name in enumerate("ab")]


def without_time(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    lines[0].pop("time")
    return lines


def test_the_same_videos_give_the_same_results(jobs: list[Job], tmp_path: Path) -> None:
    run(jobs, ASKED, tmp_path / "one")
    run(jobs, ASKED, tmp_path / "two")
    assert without_time(tmp_path / "one") == without_time(tmp_path / "two")
    first, *others = ((tmp_path / name / FILE).read_bytes().splitlines()[1:] for name in ("one", "two"))
    assert others == [first]


def test_results_have_every_kind_of_line(jobs: list[Job], tmp_path: Path) -> None:
    results = run(jobs, ASKED, tmp_path / "out")
    assert {line["kind"] for line in results.lines} == {"run", "source", "window", "video", "suite"}
    assert Results.read(tmp_path / "out").lines == results.lines
    line = results.suite["guard.sharpness"]
    assert line["n"] == 2 and line["low"] <= line["mean"] <= line["high"]
    assert results.suite["guard.motion_ratio"] == {"kind": "suite", "metric": "guard.motion_ratio", "n": 0,
                                                   "refused": 2, "version": line["version"]}  # fmt: skip
    assert len(results.sources["a"]["sha256"]) == 64
    assert len(results.run["provenance"]["code"]) == 64


def test_what_was_measured_is_kept_until_the_video_changes(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(jobs, ASKED, tmp_path / "out")
    seen: list[str] = []
    measure_one = runs._measured
    monkeypatch.setattr(runs, "_measured", lambda job, asked: (seen.append(job.name), measure_one(job, asked))[1])
    run(jobs, ASKED, tmp_path / "out")
    assert seen == []
    film(jobs[1].video, seed=7)
    run(jobs, ASKED, tmp_path / "out")
    assert seen == ["b"]
    run(jobs, replace(ASKED, families=("temporal",)), tmp_path / "out")
    assert seen == ["b", "a", "b"]


def test_a_damaged_part_is_measured_anew(jobs: list[Job], tmp_path: Path) -> None:
    run(jobs, ASKED, tmp_path / "out")
    part = next((tmp_path / "out" / "videos").glob("*.jsonl"))
    part.write_bytes(part.read_bytes()[:-20])
    before = without_time(tmp_path / "out")
    run(jobs, ASKED, tmp_path / "out")
    assert without_time(tmp_path / "out") == before


def test_a_bad_video_is_named_and_the_others_are_measured(jobs: list[Job], tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    whole = jobs[0].video.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    bad = [Job(name, tmp_path / f"{name}.mp4") for name in ("empty", "text", "cut", "missing")]
    results = run([*bad, *jobs], ASKED, tmp_path / "out")
    assert {name for name, line in results.sources.items() if "error" in line} == {"empty", "text", "cut", "missing"}
    assert all(line["error"] for name, line in results.sources.items() if name not in "ab")
    assert results.suite["guard.sharpness"]["n"] == 2


def test_two_processes_give_what_one_gives(jobs: list[Job], tmp_path: Path) -> None:
    run(jobs, ASKED, tmp_path / "one")
    run(jobs, ASKED, tmp_path / "two", workers=2)
    assert without_time(tmp_path / "one") == without_time(tmp_path / "two")


def test_two_videos_of_one_name_are_refused(jobs: list[Job], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two videos are called a"):
        run([jobs[0], jobs[0]], ASKED, tmp_path / "out")


def test_names_of_strangers_stay_in_the_folder(jobs: list[Job], tmp_path: Path) -> None:
    job = replace(jobs[0], name="../../<b>é")
    assert measured(job, ASKED, tmp_path / "deep" / "out") == job.name
    assert len(list((tmp_path / "deep" / "out" / "videos").iterdir())) == 1


class Half:
    """Takes the mean of every frame, for a distance of sets."""

    def __init__(self, _facts: object) -> None:
        self.rows: list[list[float]] = []

    def see(self, moment: Moment) -> None:
        self.rows.append([float(moment.picture.mean())])

    def values(self) -> dict[str, Gathered]:
        rows = np.array(self.rows, dtype=np.float64)
        return {"half": Gathered(rows, rows + 1)}


def test_a_metric_about_the_set_sees_all_videos_at_once(
    jobs: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def combine(sets: list[Gathered]) -> Value:
        made, truth = (np.concatenate([getattr(it, side) for it in sets]) for side in ("made", "truth"))
        return Value(float((truth - made).mean()), len(made), interval=(0.9, 1.1))

    metric = Metric("half", 1, "half", "mean difference", "", "lower", (0.0, 9.0), combine=combine)
    monkeypatch.setattr(runs.registry, "all_families", lambda: (Family("half", (metric,), Half),))
    asked = replace(ASKED, families=("half",))
    for _ in range(2):  # measured, then kept
        line = run(jobs, asked, tmp_path / "out").suite["half"]
        assert (line["mean"], line["n"], line["low"], line["of"]) == (1.0, 80, 0.9, "set")
