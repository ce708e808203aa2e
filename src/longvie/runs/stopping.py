"""How a run is asked to stop: by a signal, or by whoever holds it."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LASTING_S = 5.0  # how long a run that is asked to stop may go on to finish the part whose frames are coming


class Stop:
    """Whether somebody asked to stop, and how long ago."""

    def __init__(self) -> None:
        self._asked: float | None = None

    def ask(self) -> None:
        self._asked = time.monotonic()

    @property
    def asked(self) -> bool:
        return self._asked is not None

    @property
    def overdue(self) -> bool:
        """Whether the time to finish something is over."""
        return self._asked is not None and time.monotonic() - self._asked > LASTING_S


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """SIGINT or SIGTERM asks to stop; a second one ends the process at once, which no run minds."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the system's signature
        stop.ask()
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
