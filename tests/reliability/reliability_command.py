"""The command line in this process, and a guard that no weight is read where a request is to be refused."""

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from longvie import api, cli

MIB = 2**20
LEAKS = re.compile(r"Traceback|avcodec|libav|FFmpeg|Errno|(?<!\d)0x[0-9a-f]{6}|File \"", re.IGNORECASE)


@dataclass(frozen=True)
class Said:
    """What a command line did."""

    code: int
    out: str
    err: str
    seconds: float
    grown: int  # bytes by which the process grew at most


@dataclass
class Command:
    """`longvie …` without a new process."""

    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    room: Path

    def __call__(self, *arguments: str | Path) -> Said:
        """Run it, whatever comes of it."""
        begun = time.process_time()  # a neighbour on the machine is no fault of ours
        with watched() as grown:
            code = cli.run([str(argument) for argument in arguments])
        seconds = time.process_time() - begun
        out, err = self.capsys.readouterr()
        assert not LEAKS.search(out + err)
        return Said(code, out, err, seconds, grown())

    def refused(self, *arguments: str | Path, codes: tuple[int, ...] = (2, 3)) -> str:
        """It must end with one line that says why, before any weight is read; that line."""
        with self.monkeypatch.context() as guard:
            guard.setattr(api, "load_models", lambda *_: pytest.fail("weights were read before the refusal"))
            said = self(*arguments)
        assert said.code in codes, said.err
        lines = [line for line in said.err.splitlines() if not line.startswith(("warning: ", "depth: ", "tracks: "))]
        assert len(lines) == 1, said.err
        assert lines[0].startswith("error: ")
        assert len(lines[0]) < 500
        assert lines[0].isprintable()
        assert str(self.room.parent) not in lines[0]
        assert said.seconds < 10
        assert said.grown < 64 * MIB
        return lines[0]

    def generate(self, *arguments: str | Path) -> list[str]:
        """A command line that asks the tiny model for a video with a prompt of its own unless one is given."""
        said = {"--prompt", "--prompts", "--conditions"} & {str(argument) for argument in arguments}
        words = [] if said else ["--prompt", "a ball"]
        out = [] if "--out" in arguments else ["--out", str(self.room / "video.mp4")]
        return ["generate", "--model", "tiny", *words, *map(str, arguments), *out]

    def refuses(self, *arguments: str | Path, codes: tuple[int, ...] = (2, 3)) -> str:
        """The same for `longvie generate`; and nothing is left behind."""
        line = self.refused(*self.generate(*arguments), codes=codes)
        assert not (self.room / "video.mp4").exists()
        assert not (self.room / "video.run").exists()
        return line

    def accepts(self, *arguments: str | Path) -> Said:
        """`longvie generate` that must succeed."""
        said = self(*self.generate(*arguments))
        assert said.code == 0, said.err
        return said


class watched:  # noqa: N801 - used as a word
    """By how many bytes the process grew at most while the block ran."""

    def __enter__(self) -> Callable[[], int]:
        self._process, self._over = psutil.Process(), threading.Event()
        self._begun = self._most = self._process.memory_info().rss
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()
        return lambda: self._most - self._begun

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self._most = max(self._most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()
