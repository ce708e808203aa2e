"""Designs are balanced, what is shown is blind, and a folder that makes no study is refused."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from longvie.errors import ConfigError, InputError, MediaError
from longvie.evaluation.human.server import task_of
from longvie.evaluation.human.study import ASPECTS, Study, differences, make, plan, williams
from longvie.evaluation.human.votes import Votes
from longvie.media import VideoWriter, probe_video

SIZE = (32, 48)


def clip(path: Path, grey: int, frames: int = 3) -> Path:
    """A tiny video of one grey, whose file says whose it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with VideoWriter(path, fps=8, size=SIZE, fragmented=False, metadata={"title": f"by {path.parent.name}"}) as out:
        out.write(np.full((frames, *SIZE, 3), grey, np.uint8))
    return path


def folders(root: Path, systems: int = 2, tasks: int = 2) -> dict[str, Path]:
    """A folder for each system."""
    for system in range(systems):
        for task in range(tasks):
            clip(root / f"secret{system}" / f"scene{task}.mp4", 20 * (1 + system * tasks + task))
    return {f"secret{system}": root / f"secret{system}" for system in range(systems)}


@pytest.mark.parametrize("n", range(1, 12))
def test_each_thing_stands_equally_often_everywhere_and_follows_each_other_equally_often(n: int) -> None:
    rows = williams(n)
    times = 1 if n % 2 == 0 or n == 1 else 2
    assert len(rows) == n * times
    for place in range(n):
        assert Counter(row[place] for row in rows) == dict.fromkeys(range(n), times)
    neighbours = Counter(pair for row in rows for pair in pairwise(row))
    assert neighbours == {(a, b): times for a in range(n) for b in range(n) if a != b}


@pytest.mark.parametrize(("systems", "tasks", "raters"), [(2, 3, 6), (4, 8, 8), (5, 10, 20), (3, 6, 12)])
def test_orders_are_balanced_for_each_task_and_for_each_rater(systems: int, tasks: int, raters: int) -> None:
    planned = plan(systems, tasks, raters, seed=3)
    rows = systems if systems % 2 == 0 else 2 * systems
    by_task: dict[int, list[tuple[int, ...]]] = {}
    for mine, orders in planned:
        assert sorted(mine) == list(range(tasks))
        for task, order in zip(mine, orders, strict=True):
            by_task.setdefault(task, []).append(order)
        if tasks % rows == 0:
            assert set(Counter(orders).values()) == {tasks // rows}
    for orders in by_task.values():
        if raters % rows == 0:
            assert len(set(orders)) == rows
            assert set(Counter(orders).values()) == {raters // rows}
        for place in range(systems):
            counts = Counter(order[place] for order in orders).values()
            assert max(counts) - min(counts) <= 1 if raters % rows else len(set(counts)) == 1


@pytest.mark.parametrize(("tasks", "raters"), [(8, 8), (8, 24), (7, 14), (12, 12)])
def test_each_task_comes_equally_often_at_each_place(tasks: int, raters: int) -> None:
    planned = plan(3, tasks, raters, seed=1)
    for place in range(tasks):
        assert set(Counter(mine[place] for mine, _ in planned).values()) == {raters // tasks}


@pytest.mark.parametrize(
    ("tasks", "raters", "each"), [(80, 60, 20), (8, 4, 4), (6, 6, 4), (9, 6, 3), (10, 5, 4), (7, 7, 3)]
)
def test_who_sees_a_part_sees_every_task_as_often_as_others(tasks: int, raters: int, each: int) -> None:
    planned = plan(5, tasks, raters, per_rater=each, seed=2)
    seen = Counter(task for mine, _ in planned for task in mine)
    assert all(len(set(mine)) == each for mine, _ in planned)
    assert seen == dict.fromkeys(range(tasks), raters * each // tasks)


def test_the_seed_says_the_orders() -> None:
    assert plan(4, 6, 5, seed=1) == plan(4, 6, 5, seed=1)
    assert plan(4, 6, 5, seed=1) != plan(4, 6, 5, seed=2)


@pytest.mark.parametrize("numbers", [(0, 1, 1, 1), (2, 0, 1, 0), (2, 1, 0, 1), (2, 3, 1, 4), (2, 3, 1, 0)])
def test_plans_of_nothing_are_refused(numbers: tuple[int, int, int, int]) -> None:
    systems, tasks, raters, each = numbers
    with pytest.raises(ConfigError):
        plan(systems, tasks, raters, per_rater=each)
    with pytest.raises(ConfigError):
        williams(0)


def test_a_study_is_opened_as_it_was_made_and_tells_a_browser_no_name(tmp_path: Path) -> None:
    systems = folders(tmp_path / "videos")
    conditions = tmp_path / "given"
    for task in range(2):
        clip(conditions / f"scene{task}.mp4", 5 + task)
    told: list[tuple[int, int, str]] = []
    made = make(
        tmp_path / "study",
        systems,
        raters=3,
        prompts={"scene0": "a red ball", "scene1": "a blue ball"},
        conditions=conditions,
        tell=lambda *line: told.append(line),
    )
    study = Study.open(tmp_path / "study")
    assert study == made
    assert study.aspects == tuple(ASPECTS)
    assert [done for done, _, _ in told] == [1, 2, 3, 4, 5, 6]
    assert {path.name for path in study.folder.iterdir()} == {"study.json", "videos"}, "nothing else is left"
    votes = Votes(study)
    sent = json.dumps([task_of(study, votes, rater.code, at) for rater in study.raters for at in range(2)])
    for hidden in ("secret", "scene", str(tmp_path), ".mp4"):
        assert hidden not in sent
    for token in study.tokens():
        assert b"secret" not in study.video(token).read_bytes(), "metadata is not handed on"
        assert probe_video(study.video(token)).frames == 3
    assert sorted(study.tokens()) == sorted(path.stem for path in (study.folder / "videos").iterdir())
    assert differences(study) == []


def test_tokens_follow_from_no_seed_but_orders_do(tmp_path: Path) -> None:
    systems = folders(tmp_path, tasks=1)
    one, other = (make(tmp_path / name, systems, raters=2, aspects=["visual"], seed=4) for name in ("a", "b"))
    assert [rater.orders for rater in one.raters] == [rater.orders for rater in other.raters]
    assert not one.tokens() & other.tokens()
    assert not {rater.code for rater in one.raters} & {rater.code for rater in other.raters}


def test_systems_may_be_named_file_by_file_and_their_differences_are_told(tmp_path: Path) -> None:
    here = {"x": clip(tmp_path / "a" / "1.mp4", 10)}
    there = {"x": clip(tmp_path / "b" / "other.mp4", 90, frames=5)}
    study = make(tmp_path / "study", {"one": here, "two": there}, raters=1, aspects=["visual"])
    assert [task.name for task in study.tasks] == ["x"]
    (line,) = differences(study)
    assert "0.4 s" in line
    assert "0.6 s" in line


def test_what_makes_no_study_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    two, out = folders(tmp_path / "v", tasks=1), tmp_path / "out" / "study"
    (first, second), free = two.values(), ["visual"]
    lonely, empty, torn = tmp_path / "lonely", tmp_path / "empty", tmp_path / "torn"
    clip(lonely / "elsewhere.mp4", 7)
    empty.mkdir()
    torn.mkdir()
    (torn / "scene0.mp4").write_bytes(b"no video")
    refused = [
        (ConfigError, {"a": first}, {}),
        (ConfigError, {str(number): first for number in range(10)}, {}),
        (ConfigError, {" ": first, "b": second}, {}),
        (InputError, {"a": first, "b": lonely}, {}),
        (InputError, {"a": first, "b": tmp_path / "none"}, {}),
        (InputError, {"a": empty, "b": empty}, {}),
        (InputError, {"a": first, "b": first}, {}),  # the same pictures
        (MediaError, {"a": first, "b": torn}, {}),
        (ConfigError, two, {"aspects": []}),
        (ConfigError, two, {"aspects": ["visual", "visual"]}),
        (ConfigError, two, {"aspects": ["beauty"]}),
        (InputError, two, {"aspects": ["prompt"]}),  # nobody can judge what is not shown
        (InputError, two, {"aspects": ["condition"]}),
        (InputError, two, {"prompts": {"scene0": "x" * 5000}}),
        (ConfigError, two, {"raters": 0}),
        (ConfigError, two, {"raters": 200_001}),
        (ConfigError, two, {"per_rater": 2}),
    ]
    for error, systems, given in refused:
        with pytest.raises(error):
            make(out, systems, **{"raters": 1, "aspects": free, **given})
    assert not out.exists()
    assert not list(tmp_path.glob("out/.part-*")), "a study appears whole or not at all"
    clip(first / "scene0.mov", 9)
    with pytest.raises(InputError, match="two videos"):
        make(out, two, raters=1, aspects=free)
    with pytest.raises(InputError) as told:
        make(first, two | {"secret0": {"scene0": first / "scene0.mp4"}}, raters=1, aspects=free)
    assert told.value.code == "study_exists"


def test_a_study_that_is_none_or_was_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        Study.open(tmp_path)
    assert told.value.code == "study_unknown"
    study = make(tmp_path / "study", folders(tmp_path, tasks=1), raters=1, aspects=["visual"])
    with pytest.raises(InputError) as told:
        study.rater("somebody")
    assert told.value.code == "rater_unknown"
    path = study.folder / "study.json"
    facts = json.loads(path.read_text())

    def code(**changes: object) -> str:
        path.write_text(json.dumps(facts | changes))
        with pytest.raises(InputError) as told:
            Study.open(study.folder)
        return told.value.code

    assert code(format=2) == "study_format"
    task, rater = facts["tasks"][0], facts["raters"][0]
    assert code(raters=3) == "study_damaged"
    assert code(aspects=["beauty"]) == "study_damaged"
    assert code(tasks=[task | {"videos": ["../../etc/passwd", task["videos"][0]]}]) == "study_damaged"
    assert code(tasks=[task | {"videos": task["videos"][:1]}]) == "study_damaged"
    assert code(raters=[rater | {"orders": [[0, 0]]}]) == "study_damaged"
    assert code(raters=[rater | {"tasks": [7]}]) == "study_damaged"
    path.write_text(json.dumps(facts))
    study.video(task["videos"][0]).unlink()
    assert code() == "study_damaged"
