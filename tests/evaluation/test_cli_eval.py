"""`longvie eval`: every verb once, what it prints, what it leaves, and its exit code."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longvie import cli
from longvie.evaluation.make import make
from longvie.evaluation.results import Results
from longvie.evaluation.suite import Manifest
from longvie.media import VideoWriter, read_video

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def longvie(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """`longvie eval …`: exit code, what it printed, what it said beside."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LONGVIE_EVAL_WEIGHTS", raising=False)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = cli.run(["eval", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """Two worlds of three seconds."""
    folder = tmp_path_factory.mktemp("eval") / "suite"
    return folder, make(folder, videos=2, seconds=3, size=(32, 48))


@pytest.fixture
def made(suite: tuple[Path, Manifest], tmp_path: Path) -> Path:
    """A video for each world: the truth, darker."""
    folder, manifest = suite
    (tmp_path / "made").mkdir()
    for item in manifest.items:
        pictures = (read_video(folder / item.id / "truth.mp4") * 0.8).astype(np.uint8)
        with VideoWriter(tmp_path / "made" / f"{item.id}.mp4", fps=16, size=(32, 48), fragmented=False) as writer:
            writer.write(pictures)
    return tmp_path / "made"


def test_list_names_every_metric_with_what_it_needs(longvie: Call) -> None:
    code, out, _ = longvie("list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and rows["ssim"]["needs"] == ["truth"] and rows["ssim"]["better"] == "higher"
    assert {row["tier"] for row in rows.values()} == {"W0", "W1", "W2"}
    assert "ssim" in longvie("list")[1]


def test_describe_says_the_formula(longvie: Call) -> None:
    code, out, _ = longvie("describe", "drift.colour")
    assert code == 0 and "15 %" in " ".join(out.split()) and "saturation" in out
    code, _, said = longvie("describe", "drift.color")
    assert code == 2 and "did you mean 'drift.colour'" in said


def test_doctor_says_what_is_missing(longvie: Call) -> None:
    code, out, _ = longvie("doctor", "--json")
    state = {row[0]: row[2] for row in json.loads(out)["metrics"]}
    assert code == 0 and state["ssim"] == "runs" and state["lpips"].startswith("needs alexnet")


def test_make_says_the_manifest(longvie: Call) -> None:
    asked = ("--videos", 1, "--seconds", 1, "--size", "48x32", "--quiet")
    code, out, _ = longvie("make", "--out", "suite", *asked)
    assert code == 0 and Manifest.load(Path("suite")).sha256 in out
    assert longvie("make", "--out", "other", *asked)[1].split()[-1] == out.split()[-1]
    code, _, said = longvie("make", "--out", "third", "--split", "exam")
    assert code == 2 and "use test or dev" in said


def test_run_measures_against_the_suite_and_writes_a_report(
    longvie: Call, suite: tuple[Path, Manifest], made: Path
) -> None:
    code, out, _ = longvie("run", "--videos", made, "--of", suite[0], "--out", "r", "--metrics", "quick", "--quiet")
    assert code == 0 and "ssim" in out
    results = Results.read(Path("r"))
    assert results.suite["ssim"]["n"] == 2 and results.run["suite"] == suite[1].sha256
    page = Path("r/report.html").read_text()
    assert "ssim" in page and "<script src" not in page


def test_a_folder_of_which_nothing_is_known_is_measured_by_itself(longvie: Call, made: Path) -> None:
    code, _, _ = longvie("run", "--videos", made, "--out", "r", "--metrics", "temporal", "--quiet")
    results = Results.read(Path("r"))
    assert code == 0 and results.suite["guard.sharpness"]["n"] == 2
    assert results.videos["guard.sharpness_ratio"][f"{next(made.iterdir()).name}"]["refused"]


def test_the_official_layout_is_measured_clip_after_clip(
    longvie: Call, suite: tuple[Path, Manifest], made: Path, tmp_path: Path
) -> None:
    item = suite[1].items[0]
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "metadata.json").write_text(json.dumps([{"text": "a ball", "video": f"{item.id}.mp4"}]))
    (tmp_path / "bench" / f"{item.id}.mp4").write_bytes((suite[0] / item.id / "truth.mp4").read_bytes())
    asked = ("run", "--videos", made, "--of", tmp_path / "bench", "--out", "r", "--metrics", "similarity", "--quiet")
    assert longvie(*asked)[0] == 0
    assert Results.read(Path("r")).suite["ssim"]["n"] == 1
    (tmp_path / "bench" / "metadata.json").write_text(json.dumps([{"text": "a ball", "video": "no.mp4"}]))
    code, _, said = longvie(*asked)
    assert code == 2 and "no video is called like an entry" in said


def test_missing_weights_are_said_and_the_exit_code_tells(
    longvie: Call, suite: tuple[Path, Manifest], made: Path
) -> None:
    asked = ("run", "--videos", made, "--of", suite[0], "--out", "r", "--quiet", "--metrics")
    code, _, said = longvie(*asked, "lpips,guard.frozen")
    assert code == 2 and "alexnet-owt-7be5be79.pth" in said
    assert "mean" not in Results.read(Path("r")).suite["lpips"]
    assert longvie(*asked, "lpips", "--allow-missing")[0] == 0
    code, _, said = longvie(*asked, "aesthetic")
    assert code == 2 and "no metric 'aesthetic'" in said


def test_a_video_that_cannot_be_read_is_named(longvie: Call, made: Path) -> None:
    (made / "zz.mp4").write_bytes(b"nothing")
    code, _, said = longvie("run", "--videos", made, "--out", "r", "--metrics", "temporal", "--quiet")
    assert code == 2 and "zz.mp4" in said
    assert Results.read(Path("r")).suite["guard.sharpness"]["n"] == 2


def test_compare_finds_what_is_worse(longvie: Call, suite: tuple[Path, Manifest], made: Path) -> None:
    longvie("run", "--videos", made, "--of", suite[0], "--out", "dark", "--metrics", "similarity", "--quiet")
    for video in made.iterdir():
        video.write_bytes((suite[0] / video.stem / "truth.mp4").read_bytes())
    longvie("run", "--videos", made, "--of", suite[0], "--out", "true", "--metrics", "similarity", "--quiet")
    code, out, _ = longvie("compare", "dark", "true", "--json")
    verdicts = {it["metric"]: it for it in json.loads(out)["verdicts"]}
    assert code == 0 and verdicts["psnr"]["difference"] > 10
    longvie("run", "--videos", made, "--out", "alone", "--metrics", "temporal", "--quiet")
    code, _, said = longvie("compare", "dark", "alone")
    assert code == 2 and "not measured alike" in said


def test_calibrate_writes_the_ladder_and_names_claims_that_do_not_hold(
    longvie: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    from longvie.evaluation import calibrate
    from longvie.evaluation.families import similarity

    monkeypatch.setattr(calibrate, "FRAMES", 6)
    monkeypatch.setattr(calibrate, "BORDERS", (3,))
    wrong = replace(similarity.FAMILY, metrics=tuple(replace(it, ignores=("blur",), sees=("noise",))
                                                     for it in similarity.FAMILY.metrics))  # fmt: skip
    monkeypatch.setattr(similarity, "FAMILY", wrong)
    asked = ("calibrate", "--out", "l", "--worlds", 1, "--metrics", "psnr", "--docs", "l.md", "--quiet")
    code, out, said = longvie(*asked)
    row = next(line for line in Path("l.md").read_text().splitlines() if line.startswith("| `psnr`"))
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2] == "100" and cells[4].startswith("**-1.00") and "✗" not in cells[4] and "✗" in cells[5]
    assert code == 2 and "blur" in out and "not borne out" in said


def test_table_makes_measures_and_says(longvie: Call) -> None:
    asked = ("table", "--out", "t", "--videos", 1, "--seconds", 1, "--makers", "renderer,frozen")
    code, _, said = longvie(*asked, "--metrics", "similarity", "--docs", "t.md", "--quiet")
    assert code == 0, said
    assert "| renderer | frozen |" in Path("t.md").read_text()
    assert Path("t/measured/frozen/report.html").exists()
