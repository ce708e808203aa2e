"""Steering a video while it is made: wishes (`engine.changes`), and what became of each. No threads, no sockets.

A wish waits until the next block begins (pending), then it is applied, or refused with the reason. Every one that was
applied can be written down as JSON and played again, so that a steered run makes the same bytes a second time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from longvie.engine.changes import Change
from longvie.engine.script import Script
from longvie.errors import LongVieError


@dataclass(frozen=True)
class Outcome:
    """What became of a wish.

    Attributes:
        number: of the wish.
        state: it waits, it holds from `block` (and `frame`) on, or it was refused: `reason`.
        again: it was recorded in an earlier run, and is played again.
    """

    number: int
    state: Literal["pending", "applied", "rejected"]
    change: Change
    block: int | None = None
    frame: int | None = None
    reason: str = ""
    code: str = ""
    again: bool = False


Tell = Callable[[Outcome], None]
Recorded: TypeAlias = tuple[int, Change]
"""A change that held from this frame of the video on."""


class Steering:
    """The wishes for one video, in order. `ask` may be called from another thread than the one that makes it.

    Args:
        recorded: changes of an earlier run, which hold from the same frames on again.
        tell: told every outcome.
    """

    def __init__(self, recorded: Iterable[Recorded] = (), *, tell: Tell = lambda _outcome: None) -> None:
        self._recorded: deque[Recorded] = deque()
        self._waiting: deque[Outcome] = deque()
        self._asked = 0
        self._tell = [tell]
        self.record(recorded)

    def listen(self, tell: Tell) -> None:
        """Somebody else who is told every outcome from now on."""
        self._tell.append(tell)

    def record(self, recorded: Iterable[Recorded]) -> None:
        """More changes of an earlier run."""
        self._recorded = deque(sorted((*self._recorded, *recorded), key=lambda change: change[0]))

    def ask(self, change: Change) -> Outcome:
        """A wish, to be heard when the next block begins."""
        wish = Outcome(self._asked, "pending", change)
        self._asked += 1
        self._say(wish)
        self._waiting.append(wish)
        return wish

    @property
    def waiting(self) -> tuple[Change, ...]:
        """What is wished for and no block has heard."""
        return tuple(wish.change for wish in tuple(self._waiting))

    def applied(self, script: Script, block: int, frame: int, check: Callable[[Script], None]) -> Script:
        """The script from a block on. What cannot be is refused, and changes nothing.

        Args:
            check: raises where the engine cannot follow a script.
        """
        for wish in self._due(frame):
            first = frame if wish.frame is None else wish.frame
            try:
                changed = wish.change.applied(script, first)
                check(changed)
            except LongVieError as reason:
                self._say(replace(wish, state="rejected", reason=str(reason), code=reason.code))
                continue
            script = changed
            self._say(replace(wish, state="applied", block=block, frame=first))
        return script

    def _due(self, frame: int) -> Iterator[Outcome]:
        while self._recorded and self._recorded[0][0] <= frame:
            at, change = self._recorded.popleft()
            yield Outcome(self._asked, "pending", change, frame=at, again=True)
            self._asked += 1
        for _ in range(len(self._waiting)):
            yield self._waiting.popleft()

    def _say(self, outcome: Outcome) -> None:
        for tell in self._tell:
            tell(outcome)
