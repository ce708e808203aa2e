"""Votes are kept whole, once each, however often and from however many sides they come."""

import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longvie.errors import InputError, ResourceError
from longvie.evaluation.human import votes as votes_file
from longvie.evaluation.human.study import Rater, Study, Task
from longvie.evaluation.human.votes import VERSION, Votes

ASPECTS = ("visual", "colour")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three systems, two tasks, eight raters; votes need no videos."""
    tasks = tuple(Task(f"t{task}", "", None, tuple(f"{task}{system}" * 16 for system in range(3))) for task in (0, 1))
    raters = tuple(Rater(f"rater{number}", (1, 0), ((0, 1, 2), (2, 1, 0))) for number in range(8))
    return Study(tmp_path, "an id", 0, ("a", "b", "c"), ASPECTS, tasks, raters)


def test_a_vote_comes_back_as_it_was_cast(study: Study) -> None:
    votes, (one, two, three) = Votes(study), study.tasks[0].videos
    assert votes.cast("rater0", 0, {"visual": [two, one, three], "colour": [one, two, three]}) == 2
    assert votes.of("rater0", 0) == {"visual": (two, one, three), "colour": (one, two, three)}
    assert votes.of("rater1", 0) == {}
    assert [(vote.rater, vote.task, vote.aspect) for vote in Votes(study).all()] == [
        ("rater0", 0, "colour"),
        ("rater0", 0, "visual"),
    ]


def test_the_same_vote_again_changes_nothing_and_another_replaces_it(study: Study) -> None:
    votes, (one, two, three) = Votes(study), study.tasks[0].videos
    votes.cast("rater0", 0, {"visual": [one, two, three]})
    with closing(sqlite3.connect(votes.path)) as file:
        file.execute("UPDATE votes SET time = 'before'")
        file.commit()
    assert votes.cast("rater0", 0, {"visual": [one, two, three]}) == 0
    assert votes.all()[0].time == "before", "what did not change keeps its time"
    assert votes.cast("rater0", 0, {"visual": [three, two, one]}) == 1
    (vote,) = votes.all()
    assert vote.ranking == (three, two, one)
    assert vote.time != "before"


def test_a_task_is_finished_when_every_aspect_is_ranked(study: Study) -> None:
    votes, tokens = Votes(study), study.tasks[1].videos
    votes.cast("rater0", 1, {"visual": tokens})
    assert votes.finished("rater0") == set()
    votes.cast("rater0", 1, {"colour": tokens})
    assert votes.finished("rater0") == {1}
    assert votes.finished("rater1") == set()


@pytest.mark.parametrize(
    ("code", "cast"),
    [
        ("rater_unknown", lambda one, two, three: ("nobody", 0, {"visual": [one, two, three]})),
        ("task_unknown", lambda one, two, three: ("rater0", 7, {"visual": [one, two, three]})),
        ("vote_invalid", lambda *_: ("rater0", 0, {})),
        ("vote_invalid", lambda one, two, three: ("rater0", 0, {"beauty": [one, two, three]})),
        ("vote_invalid", lambda one, two, _: ("rater0", 0, {"visual": [one, two]})),  # incomplete
        ("vote_invalid", lambda *_: ("rater0", 0, {"visual": []})),
        ("vote_invalid", lambda one, two, _: ("rater0", 0, {"visual": [one, two, two]})),  # repeated
        ("vote_invalid", lambda one, two, three: ("rater0", 0, {"visual": [one, two, three, one]})),
        ("vote_invalid", lambda one, two, _: ("rater0", 0, {"visual": [one, two, "11" * 16]})),  # of another task
    ],
)
def test_what_is_no_vote_is_refused(study: Study, code: str, cast: Callable[..., Any]) -> None:
    votes = Votes(study)
    with pytest.raises(InputError) as told:
        votes.cast(*cast(*study.tasks[0].videos))
    assert told.value.code == code
    assert votes.all() == []


def test_one_bad_ranking_keeps_the_others_out(study: Study) -> None:
    votes, tokens = Votes(study), study.tasks[0].videos
    with pytest.raises(InputError):
        votes.cast("rater0", 0, {"visual": tokens, "colour": tokens[:2]})
    assert votes.all() == []


def test_a_fault_in_the_middle_keeps_nothing(study: Study) -> None:
    votes, tokens = Votes(study), study.tasks[0].videos
    with closing(sqlite3.connect(votes.path)) as file:
        file.execute(
            "CREATE TRIGGER fault BEFORE INSERT ON votes WHEN new.aspect = 'colour' BEGIN SELECT RAISE(ABORT, 'x'); END"
        )
    with pytest.raises((ResourceError, InputError)):
        votes.cast("rater0", 0, {"visual": tokens, "colour": tokens})
    assert votes.all() == []


def test_raters_vote_at_the_same_time(study: Study) -> None:
    orders = [study.tasks[0].videos, study.tasks[0].videos[::-1]]

    def cast(number: int) -> None:
        ranking = orders[number // 8 % 2]
        Votes(study).cast(f"rater{number % 8}", 0, {"visual": ranking, "colour": ranking})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cast, range(32)))
    votes = Votes(study)
    assert len(votes.all()) == 8 * len(ASPECTS)
    for rater in study.raters:
        given = votes.of(rater.code, 0)
        assert given["visual"] == given["colour"], "a vote is never half of one and half of another"


def test_the_schema_has_a_version_and_belongs_to_one_study(study: Study) -> None:
    path = Votes(study).path
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (VERSION,)
    with pytest.raises(InputError, match="another study"):
        Votes(replace(study, id="another"))
    with closing(sqlite3.connect(path)) as file:
        file.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(InputError, match="version"):
        Votes(study)


def test_a_file_that_holds_no_votes_is_refused(study: Study) -> None:
    (study.folder / votes_file.FILE).write_bytes(json.dumps({"no": "database"}).encode() * 40)
    with pytest.raises(InputError) as told:
        Votes(study)
    assert told.value.code == "votes_damaged"


def test_whoever_waits_too_long_is_told(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    votes = Votes(study)
    monkeypatch.setattr(votes_file, "PATIENCE", 0.05)
    with closing(sqlite3.connect(votes.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ResourceError) as told:
            votes.cast("rater0", 0, {"visual": study.tasks[0].videos})
        other.execute("ROLLBACK")
    assert told.value.code == "votes_busy"
