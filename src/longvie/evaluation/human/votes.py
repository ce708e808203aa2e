"""Votes in one SQLite file beside the study: a row per rater, task and aspect, with the whole ranking."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

from longvie.errors import InputError, ResourceError
from longvie.evaluation.human.study import Study

VERSION = 1  # of the schema, in SQLite's user_version
FILE = "votes.sqlite"
PATIENCE = 30.0  # seconds to wait for another writer
_SCHEMA = (
    "CREATE TABLE study (id TEXT NOT NULL)",
    "CREATE TABLE votes (rater TEXT NOT NULL, task INTEGER NOT NULL, aspect TEXT NOT NULL, ranking TEXT NOT NULL, "
    "time TEXT NOT NULL, PRIMARY KEY (rater, task, aspect)) WITHOUT ROWID",
    f"PRAGMA user_version = {VERSION}",
)
_CAST = (
    "INSERT INTO votes VALUES (?, ?, ?, ?, ?) ON CONFLICT (rater, task, aspect) DO UPDATE "
    "SET ranking = excluded.ranking, time = excluded.time WHERE ranking != excluded.ranking"
)


@dataclass(frozen=True)
class Vote:
    """One ranking by one rater."""

    rater: str  # code
    task: int
    aspect: str
    ranking: tuple[str, ...]  # tokens, best first
    time: str  # when it was cast or last changed, ISO 8601 in UTC


class Votes:
    """The votes of a study. Any number of threads and processes may read and cast at the same time.

    Raises:
        InputError: the file is of another study, another version, or none of ours (`votes_damaged`).
        ResourceError: it cannot be written.
    """

    def __init__(self, study: Study) -> None:
        self.study, self.path = study, study.folder / FILE
        with self._writing() as file:
            if file.execute("PRAGMA user_version").fetchone()[0] == 0:
                for line in _SCHEMA:
                    file.execute(line)
                file.execute("INSERT INTO study VALUES (?)", (study.id,))
            version = file.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION or file.execute("SELECT id FROM study").fetchall() != [(study.id,)]:
                raise InputError("the file of votes is of another study or version", code="votes_damaged")

    def cast(self, rater: str, task: int, rankings: Mapping[str, Sequence[str]]) -> int:
        """Keep rankings by aspect, all of them or none. The same again changes nothing; another one replaces the first.

        Args:
            rater: code.
            rankings: aspect → tokens of all videos of the task, best first.

        Returns:
            How many rows are new or changed.

        Raises:
            InputError: not a rater, not a task of this rater (`rater_unknown`, `task_unknown`), an aspect that is not
                asked, or a ranking that is not of all videos, each once (`vote_invalid`).
            ResourceError: no room, or others have kept the file busy for too long.
        """
        tokens = self.study.order(self.study.rater(rater), task)
        if not rankings:
            raise InputError("the vote ranks nothing; give at least one aspect", code="vote_invalid")
        for aspect, ranking in rankings.items():
            self._check(aspect, ranking, tokens)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        rows = [(rater, task, aspect, json.dumps(list(ranking)), now) for aspect, ranking in rankings.items()]
        with self._writing() as file:
            return sum(file.execute(_CAST, row).rowcount for row in rows)

    def of(self, rater: str, task: int) -> dict[str, tuple[str, ...]]:
        """What a rater has said of a task: aspect → tokens, best first."""
        return {vote.aspect: vote.ranking for vote in self._read("WHERE rater = ? AND task = ?", rater, task)}

    def finished(self, rater: str) -> set[int]:
        """Tasks that a rater has ranked by every aspect."""
        line = "SELECT task FROM votes WHERE rater = ? GROUP BY task HAVING COUNT(*) = ?"
        with self._open() as file:
            return {task for (task,) in file.execute(line, (rater, len(self.study.aspects)))}

    def all(self) -> list[Vote]:
        """Every vote, by rater, task and aspect."""
        return self._read("ORDER BY rater, task, aspect")

    def _read(self, which: str, *values: str | int) -> list[Vote]:
        with self._open() as file:
            rows = file.execute(f"SELECT rater, task, aspect, ranking, time FROM votes {which}", values).fetchall()
        return [Vote(rater, task, aspect, tuple(json.loads(text)), time) for rater, task, aspect, text, time in rows]

    def _check(self, aspect: str, ranking: Sequence[str], tokens: Sequence[str]) -> None:
        if aspect not in self.study.aspects:
            raise InputError("this aspect is not asked in this study", code="vote_invalid")
        if any(token not in tokens for token in ranking):
            raise InputError("the ranking names a video that is not of this task", code="vote_invalid")
        if len(set(ranking)) < len(ranking):
            raise InputError("the ranking names a video twice; ties are not allowed", code="vote_invalid")
        if len(ranking) < len(tokens):
            raise InputError(f"the ranking has {len(ranking)} videos; rank all {len(tokens)}", code="vote_invalid")

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own, so that threads share nothing."""
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as file:
                yield file
        except sqlite3.OperationalError as reason:
            raise ResourceError(f"the file of votes cannot be used: {reason}", code="votes_busy") from None
        except sqlite3.DatabaseError:
            raise InputError("the file of votes is damaged, or none of ours", code="votes_damaged") from None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is on the disk at the end, or none."""
        with self._open() as file:
            file.execute("BEGIN IMMEDIATE")  # the lock before the first read, so that two writers never deadlock
            try:
                yield file
            except BaseException:
                if file.in_transaction:  # on a full disk SQLite has already rolled back by itself
                    file.execute("ROLLBACK")
                raise
            file.execute("COMMIT")
