"""What can be computed at the same time, on two cores: what the next part of a video needs and does not depend on this
one; and pieces of this one.

Two threads with half of the cores each do more than one with all: small tensors gain little from a second core. Both
compute with the same number of threads, and each piece is the same call whoever makes it, so a video does not depend
on which of the two made what.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, TypeVar

import torch

from longvie import runtime

Made = TypeVar("Made")
Found = TypeVar("Found")


class Piece(Generic[Found]):
    """A piece of work, made once, by whoever comes first."""

    def __init__(self, work: Callable[[], Found], of: "Pieces") -> None:
        self._work, self._of = work, of
        self._taken = threading.Lock()
        self._made = Future[Found]()

    def make(self) -> None:
        """Makes it, unless somebody has, or is at it."""
        if not self._taken.acquire(blocking=False):
            return
        try:
            self._made.set_result(_plainly(self._work))
        except BaseException as reason:
            self._made.set_exception(reason)
        self._of.tell()

    def result(self) -> Found:
        """What was made; made now, if nobody is at it. Pieces that follow each other are asked for in their order.

        Raises:
            whatever the work raised.
        """
        self.make()
        self._of.make(until=self._made.done)
        return self._made.result()


class Pieces:
    """Those that nobody has begun, the oldest first."""

    def __init__(self) -> None:
        self._waiting, self._changed = deque[Piece[Any]](), threading.Condition()

    def offer(self, piece: Piece[Any]) -> None:
        """One more."""
        with self._changed:
            self._waiting.append(piece)
            self._changed.notify_all()

    def tell(self) -> None:
        """What somebody waits for may be there."""
        with self._changed:
            self._changed.notify_all()

    def make(self, until: Callable[[], bool]) -> None:
        """Makes those that there are, and those that come, until something is so."""
        while not until():
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting) or until())
                piece = self._waiting.popleft() if self._waiting and not until() else None
            if piece is not None:
                piece.make()

    def make_one(self) -> bool:
        """Makes the oldest; whether there was one."""
        with self._changed:
            piece = self._waiting.popleft() if self._waiting else None
        if piece is not None:
            piece.make()
        return piece is not None


class Ahead(Generic[Made]):
    """Work that is begun before it is needed: for later, one at a time; and pieces of what is being made.

    Args:
        pool: of the one who does it; None: there is but one thread, and nothing is begun.
    """

    def __init__(self, pool: ThreadPoolExecutor | None) -> None:
        self._pool, self._pieces = pool, Pieces()
        self._begun: tuple[Hashable, Future[Made]] | None = None

    def begin(self, what: Hashable, work: Callable[[], Made]) -> None:
        """Starts it, where there is a core for it. What it reads must stay as it is until `take`."""
        if self._pool is not None:
            self._begun = what, self._submitted(self._pool, work)

    def take(self, what: Hashable) -> Made | None:
        """What was begun under this name, once it is there; None if nothing was, or something else.

        Raises:
            whatever the work raised.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            return None
        named, future = begun
        self._pieces.make(until=future.done)
        if named == what:
            return future.result()
        future.exception()  # it may still have been at what it changes; and what went wrong with it concerns nobody
        return None

    def beside(self, work: Callable[[], Found], meanwhile: Callable[[], object]) -> Found:
        """What the work makes, while something else is done here; one after the other where there is but one core."""
        future = None if self._pool is None else self._submitted(self._pool, work)
        meanwhile()
        if future is None:
            return _plainly(work)
        self._pieces.make(until=future.done)
        return future.result()

    def piece(self, work: Callable[[], Found], *, own: bool = False) -> Piece[Found]:
        """A piece of what is being made, for whoever has time first; where there is but one core, that is when its
        result is asked for.

        Args:
            own: not to be given away: the result will be asked for next.
        """
        made = Piece(work, self._pieces)
        if self._pool is not None and not own:
            self._pieces.offer(made)
            self._pool.submit(self._pieces.make_one)
        return made

    def give_way(self) -> None:
        """Makes all pieces that wait: they are needed sooner than what is begun for later."""
        while self._pieces.make_one():
            pass

    def _submitted(self, pool: ThreadPoolExecutor, work: Callable[[], Found]) -> Future[Found]:
        future = pool.submit(_plainly, work)
        future.add_done_callback(lambda _future: self._pieces.tell())
        return future


_here = threading.local()  # .ahead: what the video that this thread works at has begun


def piece(work: Callable[[], Found], *, own: bool = False) -> Piece[Found]:
    """`Ahead.piece` of the video that this thread works at."""
    found: Ahead[Any] | None = getattr(_here, "ahead", None)
    return (found or Ahead(None)).piece(work, own=own)


def give_way() -> None:
    """`Ahead.give_way` of the video that this thread works at, now and then in long work for later."""
    found: Ahead[Any] | None = getattr(_here, "ahead", None)
    if found is not None:
        found.give_way()


@contextmanager
def ahead(*, wanted: bool = True) -> Iterator[Ahead[Any]]:
    """While this lasts there are two who compute, with half of the threads each; where there is but one thread, one."""
    if not wanted or runtime.threads() < 2:
        yield Ahead(None)
        return
    join = partial(setattr, _here, "ahead")
    with runtime.half_the_threads():
        pool = ThreadPoolExecutor(1, thread_name_prefix="longvie-ahead", initializer=lambda: join(made))
        made, before = Ahead[Any](pool), getattr(_here, "ahead", None)
        join(made)
        try:
            yield made
        finally:
            join(before)
            pool.shutdown(cancel_futures=True)


def _plainly(work: Callable[[], Found]) -> Found:
    with torch.no_grad():
        return work()
