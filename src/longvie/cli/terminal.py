"""What commands say: one line for an error, a meter, a table. The one place that prints what strangers wrote."""

import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.table import Table
from rich.text import Text as RichText

from longvie.errors import LongVieError

if TYPE_CHECKING:  # torch takes seconds to load, and `longvie --help` does not need it
    from longvie.engine.stream import Progress as EngineProgress


def option(name: str, help_text: str) -> Any:
    """An option without a default worth telling."""
    return typer.Option(name, help=help_text, show_default=False)


def said(error: LongVieError, *, trace: bool = False) -> int:
    """Print an error as one line; its exit code."""
    if trace:
        traceback.print_exc()
    print(f"error: {printable(str(error))}", file=sys.stderr)
    return error.exit_code


def printable(text: str) -> str:
    """Text of strangers on one line, without control characters that a terminal would obey."""
    return "".join(
        char if char.isprintable() else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def warned(text: str) -> None:
    """Print a warning as one line."""
    print(f"warning: {printable(text)}", file=sys.stderr)


def note(text: str, quiet: bool) -> None:
    """Print a remark as one line, unless silence is asked for."""
    if not quiet:
        print(printable(text), file=sys.stderr)


class Meter:
    """A line with frames, rate and time left; silent where nobody watches."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeLeft(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task(what, total=None, rate="")
        self._begun: tuple[float, int] | None = None

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def at(self, done: int, of: int, what: str | None = None) -> None:
        """So many frames of so many; the rate counts from the first call, so that a resumed run tells the truth."""
        if self._begun is None:
            self._begun = (time.perf_counter(), done)
        seconds, made = time.perf_counter() - self._begun[0], done - self._begun[1]
        rate = f"{made / seconds:.1f} frames/s" if made and seconds > 0 else ""
        self._bar.update(self._task, completed=done, total=of, rate=rate, description=what)

    def engine(self, progress: "EngineProgress") -> None:
        """Progress of an engine."""
        what = f"clip {progress.part + 1}/{progress.parts} step {progress.step}/{progress.steps}"
        self.at(progress.frames, progress.total, what)


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A plain table; nothing in it is taken as markup."""
    drawn = Table(*heads, box=None, pad_edge=False, show_header=any(heads))
    for row in rows:
        drawn.add_row(*(RichText(printable(cell)) for cell in row))
    Console(markup=False, highlight=False, soft_wrap=True).print(drawn)
