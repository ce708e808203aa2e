"""What the log of a run tells about its video: where clips begin, how long it took, and when what was asked was seen.

A video made by us has its run beside it: `x.run` beside `x.mp4`, with `events.jsonl`. Its events `part` say which
frames were delivered when; an event `steered` says at which moment other words were asked for while it ran, and from
which frame on they were to hold.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from longvie.errors import InputError
from longvie.evaluation.metric import Event, Facts, Need
from longvie.journal import Event as Entry
from longvie.journal import Journal

FILE = "events.jsonl"
BEGINS = ("created", "resumed", "branched")  # from here on the clock runs


def logged(facts: Facts, video: Path) -> Facts:
    """The facts with what the run's log adds; as they are, where there is none.

    Raises:
        InputError: the log was changed.
    """
    folder = video.parent if (video.parent / FILE).is_file() else video.with_suffix(".run")
    if not (folder / FILE).is_file():
        return facts
    entries = Journal(folder / FILE).events()
    parts = [entry for entry in entries if entry["event"] == "part"]
    if not parts or max(int(entry["stop"]) for entry in parts) < facts.frames:
        raise InputError(f"the log of {video.name} ends before its frames do")
    borders = facts.borders or tuple(sorted({int(it["start"]) for it in parts if 0 < int(it["start"]) < facts.frames}))
    events = tuple(_events(entries, facts.fps)) or facts.events
    has: dict[Need, bool] = {"borders": bool(borders), "events": bool(events), "log": True}
    known = facts.known | {name for name, there in has.items() if there}
    return replace(facts, borders=borders, events=events, spent=spent(entries), known=known)


def spent(entries: Sequence[Entry]) -> float:
    """Seconds of work: from each beginning to the last thing done after it; the time in between is not counted."""
    total, last = 0.0, None
    for entry in entries:
        now = _seconds(entry)
        if entry["event"] not in BEGINS and last is not None:
            total += now - last
        last = now
    return total


def _events(entries: Sequence[Entry], fps: float) -> list[Event]:
    """What was asked on the way: shown when the first frame that it holds for was delivered."""
    found = []
    for place, entry in enumerate(entries):
        if entry["event"] != "steered" or entry["change"] != "words":
            continue
        frame, asked = int(entry["frame"]), _seconds({"time": entry["asked"]})
        after = (it for it in entries[place:] if it["event"] == "part" and int(it["stop"]) > frame)
        shown = next(after, None)
        found.append(Event(frame / fps, str(entry["prompt"]), asked, None if shown is None else _seconds(shown)))
    return found


def _seconds(entry: Entry) -> float:
    return datetime.fromisoformat(entry["time"]).timestamp()
