"""What the next part of a video needs and does not depend on this one, made beside it on another core.

Two threads with half of the cores each do more than one with all: small tensors gain little from a second core. Both
compute with the same number of threads, so a video does not depend on which of the two made what.
"""

from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

import torch

from longvie import runtime

Made = TypeVar("Made")
Found = TypeVar("Found")


class Ahead(Generic[Made]):
    """One piece of work at a time, begun before it is needed."""

    def __init__(self, pool: ThreadPoolExecutor | None) -> None:
        self._pool = pool
        self._begun: tuple[Hashable, Future[Made]] | None = None

    def begin(self, what: Hashable, work: Callable[[], Made]) -> None:
        """Starts it, where there is a core for it. What it reads must stay as it is until `take`."""
        if self._pool is not None:
            self._begun = what, self._pool.submit(_plainly, work)

    def take(self, what: Hashable) -> Made | None:
        """What was begun under this name, once it is there; None if nothing was, or something else.

        Raises:
            whatever the work raised.
        """
        begun, self._begun = self._begun, None
        if begun is None:
            return None
        named, future = begun
        if named == what:
            return future.result()
        future.exception()  # it may still be at what it changes; and what goes wrong with it concerns nobody
        return None

    def beside(self, work: Callable[[], Found], meanwhile: Callable[[], object]) -> Found:
        """What the work makes, while something else is done here; one after the other where there is but one core."""
        future = None if self._pool is None else self._pool.submit(_plainly, work)
        meanwhile()
        return _plainly(work) if future is None else future.result()


@contextmanager
def ahead(*, wanted: bool = True) -> Iterator[Ahead[Any]]:
    """While this lasts there are two who compute, with half of the threads each; where there is but one thread, one."""
    if not wanted or runtime.threads() < 2:
        yield Ahead(None)
        return
    with runtime.half_the_threads(), ThreadPoolExecutor(1, thread_name_prefix="longvie-ahead") as pool:
        yield Ahead(pool)


def _plainly(work: Callable[[], Found]) -> Found:
    with torch.no_grad():
        return work()
