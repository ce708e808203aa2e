"""Steering a video while it is made: what may be changed, and what became of each wish. No threads, no sockets.

A wish waits until the next block begins (pending), then it is applied, or refused with the reason. Every one that was
applied can be written down as JSON and played again, so that a steered run makes the same bytes a second time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from longvie.controls.text import Line, Timeline, clean
from longvie.engine.script import Direction, Script
from longvie.errors import ConfigError, ControlError, LongVieError


@dataclass(frozen=True)
class Say:
    """Other words from here on, whatever the script would have said later."""

    prompt: str

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on."""
        second = frame / script.fps
        before = tuple(line for line in script.prompts.lines if line.time < second)
        return replace(script, prompts=Timeline((*before, Line(second, clean(self.prompt))), script.prompts.duration))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "words", "prompt": self.prompt}


@dataclass(frozen=True)
class Strength:
    """Another strength of a control from here on: 0 is off, 1 as trained."""

    control: str
    strength: int | float

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on."""
        old = direction_of(script, self.control)
        if frame <= old.start:
            return _exchanged(script, old, replace(old, strength=self.strength, turns=()))
        turns = tuple(turn for turn in old.turns if turn[0] < frame)
        return _exchanged(script, old, replace(old, turns=(*turns, (frame, self.strength))))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "strength", "control": self.control, "strength": self.strength}


@dataclass(frozen=True)
class Follow:
    """A control from here on, instead of the one that has its name so far: other tracks, another depth.

    Attributes:
        direction: its signal counts from the first frame of the video on, as all do.
        source: how whoever keeps the journal finds it again.
    """

    direction: Direction
    source: str = ""

    def applied(self, script: Script, frame: int) -> Script:
        """The script with the change from a frame on."""
        name = self.direction.name
        new = replace(self.direction, name=f"{name}@{frame}" if frame else name, start=frame)
        kept = []
        for old in script.controls:
            if old.name.split("@")[0] != name or old.ends(script.frames) <= frame:
                kept.append(old)
            elif old.start < frame:
                kept.append(replace(old, stop=frame, turns=tuple(turn for turn in old.turns if turn[0] < frame)))
        return replace(script, controls=(*kept, new))

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return {"change": "control", "control": self.direction.name, "source": self.source}


Change: TypeAlias = Say | Strength | Follow


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
Find = Callable[[str, str], Direction]
"""Opens a control by its name and by where it came from."""
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


def change_from(facts: Mapping[str, Any], find: Find | None = None) -> Change:
    """The change that `to_json` wrote.

    Args:
        find: opens a control by its name and source.

    Raises:
        ConfigError: no such change, or one that needs a file and nobody finds it.
    """
    kind = facts.get("change")
    if kind == "words":
        return Say(str(facts["prompt"]))
    if kind == "strength":
        return Strength(str(facts["control"]), float(facts["strength"]))
    if kind == "control" and find is not None:
        name, source = str(facts["control"]), str(facts["source"])
        return Follow(find(name, source), source)
    raise ConfigError(f"a recorded change of kind {str(kind)[:40]!r} cannot be made again")


def direction_of(script: Script, name: str) -> Direction:
    """The newest control of a name.

    Raises:
        ControlError: the video has none.
    """
    found = [direction for direction in script.controls if name in (direction.name, direction.name.split("@")[0])]
    if not found:
        known = ", ".join(direction.name for direction in script.controls) or "none"
        raise ControlError(f"the video has no control {name[:60]!r}; it has {known}", code="control_unknown")
    return found[-1]


def _exchanged(script: Script, old: Direction, new: Direction) -> Script:
    return replace(script, controls=tuple(new if it is old else it for it in script.controls))
