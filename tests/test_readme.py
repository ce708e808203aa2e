"""What the README says can be typed, and what it links to is there."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from longvie import cli
from longvie.catalogue import NAMES
from longvie.presets import LongVieConfig

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands() -> list[str]:
    lines = [line for block in blocks(ROOT / "README.md", "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("longvie ")]


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    assert '"world"' in block
    assert len(block.strip().splitlines()) <= 8
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace('"world"', '"tiny"'), "README.md", "exec"), {})
    assert (tmp_path / "ball.mp4").stat().st_size > 1000
    assert capsys.readouterr().out.count("(32, ") == 10


def test_the_commands_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(commands()) == 5
    for line in commands():
        words = shlex.split(line)[1:]
        tiny = ["--model", "tiny", "--quiet"] if words[0] == "generate" else []
        assert cli.run([*words, *tiny]) == 0, line
    assert (tmp_path / "scene.mp4").stat().st_size > 1000


def test_every_verb_of_the_readme_exists(capsys: pytest.CaptureFixture[str]) -> None:
    rows = re.findall(r"^\| (`[a-z].*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    verbs = [re.findall(r"`([^`]+)`", row) for row in rows if row.split("`")[1] not in NAMES]
    for first, *others in verbs:
        group = first.split()[:-1]
        for verb in (first, *(" ".join([*group, other]) for other in others)):
            words = [word for word in verb.split() if word != "world" or verb != "train world"]
            assert cli.run([*words, "--help"]) == 0, verb
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_pages_name_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = ("generate", "train", "world render", "control render", "models show", "runs replay", "runs branch")
    measured = (
        "bench speed",
        "bench controls",
        "eval run",
        "eval make",
        "eval table",
        "eval calibrate",
        "eval compare",
    )
    for verb in (*made, *measured):
        assert cli.run([*verb.split(), "--help"]) == 0
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) | {"--help"}
    foreign = {"--extra-index-url", "--verify", "--nproc-per-node"}
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text()):
        assert option in known | foreign, option


def test_configurations_that_pages_name_load() -> None:
    for name in re.findall(r"configs/[\w-]+\.yaml", "".join(page.read_text() for page in PAGES)):
        LongVieConfig.from_file(ROOT / name)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    given = {
        "demo.py": ["--model", "tiny", "--duration", "2", "--out", str(tmp_path)],
        "stream.py": ["tiny"],
        "steer.py": ["tiny"],
    }
    done = subprocess.run(
        [sys.executable, str(example), *given[example.name]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    if example.name == "demo.py":
        assert {"demo.mp4", "demo_sheet.png"} <= {path.name for path in tmp_path.iterdir()}
        assert "random" in done.stdout


def test_the_demo_says_honestly_that_there_are_no_weights(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py"), "--model", "nowhere", "--out", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "error: no model" in done.stderr
    assert not (tmp_path / "demo.mp4").exists()
