"""Words by time: `a red ball[5s] | the red ball in a storm[10s]`, or JSON with times, cleaned and checked."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import pairwise
from math import isfinite
from pathlib import Path

from longvie.documents import read_json
from longvie.errors import LongVieError, ScriptError

LONGEST_PROMPT = 4096  # characters
MOST_LINES = 1000

_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?|\.\d+)\s*(?P<unit>ms|sec|s|min|m)?", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0}
_BRACKET = re.compile(r"\[(?P<inside>\s*[-+]?[\d.][^\[\]]*)\]\s*$")
_BAR = re.compile(r"(?<!\\)\|")

# Words that say nothing about who or what is shown; what is left of a line stands for its subjects.
_PLAIN = frozenset(
    re.findall(
        r"\w+",
        """a an the this that these those its his her their our your my is are was were be been being and or but then
        now while with without of in on at to into onto from by for over under near behind above below around along
        across through between before after as it he she they there here very more most less slowly quickly suddenly
        still camera view shot scene video image picture frame close wide up down left right front back side one two
        three red orange yellow green teal blue purple pink white grey gray black brown golden silver dark bright light
        big small large little tall short old new""",
    )
)


@dataclass(frozen=True)
class Line:
    """One prompt and the second at which it begins."""

    time: float
    prompt: str


@dataclass(frozen=True)
class Timeline:
    """What is said, in order of time; the first line begins at 0.

    `duration` is the second at which the last line ends, None where it goes on for as long as the video does.
    `warnings` are sentences for the user.
    """

    lines: tuple[Line, ...]
    duration: float | None = None
    warnings: tuple[str, ...] = field(default=(), compare=False)

    def at(self, time: float) -> str:
        """The prompt that holds at this second."""
        said = self.lines[0].prompt
        for line in self.lines:
            if line.time > time:
                break
            said = line.prompt
        return said

    def within(self, duration: float) -> "Timeline":
        """The same timeline, once it is known how long the video is.

        Raises:
            ScriptError: a line begins at or after the end of the video.
        """
        late = [line for line in self.lines if line.time >= duration]
        if late:
            raise ScriptError(
                f"{_brief(late[0].prompt)} begins at {late[0].time:g} s, the video ends at {duration:g} s: "
                f"make the video longer than {late[-1].time:g} s, or drop {_count(len(late), 'line')}",
                code="script_past_end",
            )
        return self


def clean(prompt: str) -> str:
    """One prompt, safe to log and to tokenise: NFC, no control or direction characters, no edge spaces.

    Raises:
        ScriptError: empty, longer than `LONGEST_PROMPT` characters, or not valid Unicode.
    """
    if len(prompt) > 4 * LONGEST_PROMPT:  # before any work is done on it
        raise _too_long(len(prompt))
    if any("\ud800" <= char <= "\udfff" for char in prompt):
        raise ScriptError(
            "the prompt holds half of a surrogate pair, which is no character: save the text as UTF-8",
            code="prompt_unreadable",
        )
    said = unicodedata.normalize("NFC", prompt)
    said = "".join(_visible(char) for char in said).strip()
    if not said:
        raise ScriptError("the prompt is empty: say what the video shows", code="prompt_empty")
    if len(said) > LONGEST_PROMPT:
        raise _too_long(len(said))
    return said


def parse(text: str) -> Timeline:
    """A string as a timeline: lines apart by `|`, each ending in how long it lasts, as in `a red ball[5s]`.

    A bracket that ends a line and begins with a digit is the **duration of that line**, in seconds unless it says
    `ms`, `s`, `min`; other brackets belong to the words. The last line may leave it out and then goes on to the end of
    the video. `\\|` is a bar that belongs to the words.

    Raises:
        ScriptError: an empty line, a missing or unreadable duration, too many lines.
    """
    parts = _BAR.split(text)
    if len(parts) > MOST_LINES:
        raise _too_many(len(parts))
    lines: list[Line] = []
    now = 0.0
    for number, part in enumerate(parts, start=1):
        words, lasts = _lasting(part.replace("\\|", "|"))
        if len(parts) > 1 and not words.strip():
            raise ScriptError(f"line {number} of {len(parts)} says nothing: put words before and after each |")
        if lasts is None and number < len(parts):
            raise ScriptError(
                f"line {number} of {len(parts)} ({_brief(clean(words))}) does not say how long it lasts: "
                "end it with a duration such as [5s]; only the last line may go without",
                code="duration_missing",
            )
        lines.append(Line(now, clean(words)))
        now += lasts or 0.0
    return Timeline(tuple(lines), now if lasts is not None else None, _warn(lines))


def from_entries(entries: Sequence[object], *, first: str | None = None) -> Timeline:
    """A list such as `[{"time": 0, "prompt": "…"}, {"time": 5, "prompt": "…"}]`, times in seconds, rising.

    Args:
        entries: as read from JSON; each has exactly `time` and `prompt`.
        first: the prompt from 0 on; an entry at time 0 replaces it.

    Raises:
        ScriptError: a field is missing, unknown or of the wrong type; times fall or repeat; nothing is said at 0.
    """
    if len(entries) > MOST_LINES:
        raise _too_many(len(entries))
    lines = [_entry(entry, f"prompts[{index}]") for index, entry in enumerate(entries)]
    for index, (before, after) in enumerate(pairwise(lines), start=1):
        if after.time == before.time:
            raise ScriptError(
                f"prompts[{index - 1}] and prompts[{index}] both begin at {after.time:g} s: keep one",
                code="script_overlap",
            )
        if after.time < before.time:
            raise ScriptError(
                f"prompts[{index}] begins at {after.time:g} s, before prompts[{index - 1}] at {before.time:g} s: "
                "sort the list by time",
                code="script_unsorted",
            )
    if not lines or lines[0].time > 0:
        if first is None:
            raise ScriptError('nothing is said at 0 s: add {"time": 0, "prompt": "…"}, or give a prompt as well')
        lines.insert(0, Line(0.0, clean(first)))
    return Timeline(tuple(lines), None, _warn(lines))


def read_timeline(path: Path, *, first: str | None = None) -> Timeline:
    """A timeline from a JSON file that holds the list of `from_entries`."""
    entries = read_json(path, error=ScriptError)
    if not isinstance(entries, list):
        raise ScriptError(f'{path.name} holds no list: write [{{"time": 0, "prompt": "…"}}]')
    return from_entries(entries, first=first)


def _lasting(part: str) -> tuple[str, float | None]:
    """A line and its duration in seconds."""
    bracket = _BRACKET.search(part)
    if bracket is None:
        return part, None
    read = _DURATION.fullmatch(bracket["inside"].strip())
    seconds = float(read["number"]) * _SECONDS[(read["unit"] or "s").lower()] if read else 0.0
    if not (isfinite(seconds) and seconds > 0):
        raise ScriptError(
            f"[{_printable(bracket['inside'])}] is no duration: write a positive number of seconds, such as [5s] or "
            "[2.5s]",
            code="duration_invalid",
        )
    return part[: bracket.start()], seconds


def _entry(entry: object, name: str) -> Line:
    """One entry of a JSON timeline."""
    if not isinstance(entry, Mapping):
        raise ScriptError(f'{name} is {type(entry).__name__}: write {{"time": 0, "prompt": "…"}}')
    check_fields(entry, required=("time", "prompt"), optional=(), name=name)
    prompt = entry["prompt"]
    if not isinstance(prompt, str):
        raise ScriptError(f"{name}.prompt is {type(prompt).__name__}, needed is text")
    try:
        return Line(seconds(entry["time"], f"{name}.time"), clean(prompt))
    except LongVieError as error:
        if str(error).startswith(name):
            raise
        raise ScriptError(f"{name}: {error}", code=error.code) from error


def check_fields(entry: Mapping, *, required: Iterable[str], optional: Iterable[str], name: str) -> None:
    """Exactly the fields that are known.

    Raises:
        ScriptError: one is missing, or unknown, with the nearest known name.
    """
    required, known = tuple(required), (*required, *optional)
    for key in entry:
        if key not in known:
            near = get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
            raise ScriptError(f"{name} has no field {_printable(str(key))!r}{hint}", code="field_unknown")
    for key in required:
        if key not in entry:
            raise ScriptError(f"{name} lacks {key!r}", code="field_missing")


def seconds(value: object, name: str) -> float:
    """A point in time: a finite number of seconds from 0 on; text and true or false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < 0:
        raise ScriptError(f"{name} is {_printable(repr(value))}, needed is a number of seconds from 0 on")
    return float(value)


def _visible(char: str) -> str:
    """Line ends and tabs stay, other control characters become a space, marks that turn the direction go."""
    if char in "\n\t":
        return char
    if unicodedata.category(char) == "Cc":
        return " "
    if char in "\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff":
        return ""
    return char


def _warn(lines: Sequence[Line]) -> tuple[str, ...]:
    """A line that shares no subject with the line before it changes everything at once."""
    warnings = []
    for number, (before, after) in enumerate(pairwise(lines), start=1):
        old, new = _subjects(before.prompt), _subjects(after.prompt)
        if old and new and not old & new:
            warnings.append(
                f"lines {number} and {number + 1} name nothing in common "
                f"({_brief(before.prompt)}, {_brief(after.prompt)}): "
                "repeat the subject in every line, or the picture may change wholly"
            )
    return tuple(warnings)


def _subjects(prompt: str) -> set[str]:
    """Words that may be nouns, in the singular as far as an `s` tells; nothing for scripts without spaces."""
    words = re.findall(r"[^\W\d_]+", prompt.casefold())
    if any("\u2e80" <= char <= "\uffdc" for word in words for char in word):
        return set()
    return {_singular(word) for word in words if len(word) > 2 and word not in _PLAIN}


def _singular(word: str) -> str:
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def _brief(prompt: str) -> str:
    """A prompt short enough for a message."""
    flat = _printable(" ".join(prompt.split()))
    return f"“{flat}”" if len(flat) <= 40 else f"“{flat[:39]}…”"


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:200])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _too_long(length: int) -> ScriptError:
    return ScriptError(
        f"the prompt has {length} characters, at most {LONGEST_PROMPT} are read: shorten it", code="prompt_too_long"
    )


def _too_many(lines: int) -> ScriptError:
    return ScriptError(f"{lines} lines, at most {MOST_LINES} are allowed: join some", code="script_too_many")
