"""Events of a run, one line each, added and never changed; and the lock that says who may add."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from longvie.errors import InputError, RunLocked
from longvie.media.files import flush_to_disk, room_for, shown

if sys.platform != "win32":
    import fcntl

Event = dict[str, Any]
DIGITS = 16  # of the checksum, in hex


class Journal:
    """A file of JSON lines. Each carries a checksum over itself and the line before, and is on the disk when `add`
    returns; a last line that was cut off by a crash is ignored, and removed before the next one is added.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def events(self) -> list[Event]:
        """All events, oldest first.

        Raises:
            InputError: a line before the last is not what was written (`run_damaged`).
        """
        return [event for event, _ in self._read()]

    def add(self, event: str, **facts: Any) -> None:
        """Add an event with the time of day, and wait until it has reached the disk.

        Raises:
            ResourceError: no room, or the file cannot be written.
        """
        read = self._read()
        before, whole = (read[-1][0]["sum"], read[-1][1]) if read else ("", 0)
        line = {"event": event, "time": now(), **facts}
        line["sum"] = checksum(before, line)
        data = (_text(line) + "\n").encode()
        new = not self.path.exists()
        with room_for(len(data), self.path.parent), self.path.open("ab") as file:
            file.truncate(whole)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if new:
            flush_to_disk(self.path.parent)

    def _read(self) -> list[tuple[Event, int]]:
        """Events, and where in the file each one ends."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        lines, found, end = data.split(b"\n"), [], 0
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end is torn, or nothing
            event = _event(line)
            if event is None or event["sum"] != checksum(found[-1][0]["sum"] if found else "", event):
                if number == len(lines) - 1 and not lines[-1]:
                    break  # the last line's bytes reached the disk out of order
                raise InputError(
                    f"line {number} of {shown(self.path)} is not what was written: this run is damaged; begin another",
                    code="run_damaged",
                )
            end += len(line) + 1
            found.append((event, end))
        return found


def now() -> str:
    """The time of day as events have it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


def checksum(before: str, event: Event) -> str:
    """Over an event without its own checksum, and over the line before."""
    bare = {name: value for name, value in event.items() if name != "sum"}
    return hashlib.sha256((before + _text(bare)).encode()).hexdigest()[:DIGITS]


def _text(event: Event) -> str:
    return json.dumps(event, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _event(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event and "sum" in event else None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, in which the owner's process number and the second of its start stand.

    The system drops the lock when its owner ends, however it ends. Where a file system knows no locks, the owner is
    believed to live as long as a process of that number and start does.

    Raises:
        RunLocked: somebody else holds it.
        ResourceError: the folder cannot be written.
    """
    with room_for(4096, path.parent):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        if not _taken(handle):
            owner = _owner(handle)
            who = f"process {owner[0]}" if owner else "another process"
            raise RunLocked(f"{who} is working on {shown(path.parent)}: wait for it, or stop it")
        with room_for(4096, path.parent):
            mine = {"pid": os.getpid(), "started": psutil.Process().create_time()}
            os.ftruncate(handle, 0)
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, json.dumps(mine).encode())
        yield
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    """Whether the lock is ours now."""
    if sys.platform != "win32":
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False
        except OSError:  # this file system has no locks
            pass
    owner = _owner(handle)
    return owner is None or not _lives(*owner)


def _owner(handle: int) -> tuple[int, float] | None:
    """Number and start of the process that the file names."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        named = json.loads(os.read(handle, 4096))
        return int(named["pid"]), float(named["started"])
    except (ValueError, KeyError, TypeError):
        return None


def _lives(pid: int, started: float) -> bool:
    """Whether that very process still runs: numbers are used again, so its start must agree to the second."""
    try:
        return abs(psutil.Process(pid).create_time() - started) < 1
    except psutil.Error:
        return False
