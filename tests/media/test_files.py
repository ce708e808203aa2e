"""Files appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from longvie.errors import ConfigError, LimitError, ResourceError
from longvie.limits import Limits
from longvie.media import replace_atomically, write_bytes_atomically


def test_written_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for data in (b"one", b"", b"three" * 100):
        write_bytes_atomically(path, data)
        assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["a.json"]  # noqa: PTH208 - hidden ones count
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert path.stat().st_mode == plain.stat().st_mode


def test_the_order_in_which_a_crash_is_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The data reaches the disk before the name does, and the name before we say so."""
    done = []
    fsync, replace = os.fsync, Path.replace

    def note_fsync(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        fsync(handle)

    def note_replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr("os.fsync", note_fsync)
    monkeypatch.setattr(Path, "replace", note_replace)
    write_bytes_atomically(tmp_path / "x", b"data")
    assert done == ["file", "rename", "folder"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), replace_atomically(path) as part:
        part.write_bytes(b"half")
        raise KeyError
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "not_writable")])
def test_a_disk_that_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(ResourceError) as refused:
        write_bytes_atomically(path, b"x" * 1234)
    assert (refused.value.code, refused.value.exit_code) == (code, 4)
    assert code != "disk_full" or "1,234 bytes are needed" in str(refused.value)
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_limits_are_checked_themselves() -> None:
    for bad in (0, -1, float("nan"), float("inf"), True):
        with pytest.raises(ConfigError, match="limit 'seconds'"):
            Limits(seconds=bad)
    with pytest.raises(LimitError, match="nan points, at most 100,000"):
        Limits().check("points", float("nan"), "tracks")
