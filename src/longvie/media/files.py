"""Files in and out: only regular files are opened, and what is written appears whole or not at all."""

import errno
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from longvie.errors import InputError, MediaError, ResourceError
from longvie.limits import LOCAL, Limits

# A symbolic link as last component is refused, and a pipe without a writer does not block the open.
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_BLOCK = 1 << 20
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_HANDLES = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def shown(path: Path) -> str:
    """The last component of a path, safe in a message: no folders, no control characters, at most 80 characters."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in path.name)
    return f"'{name if len(name) <= 80 else name[:40] + '…' + name[-39:]}'"


def open_regular(path: Path, *, limits: Limits = LOCAL, error: type[InputError] = MediaError) -> BinaryIO:
    """Open a regular file for reading; every later check and read is of this one open file.

    Raises:
        InputError: of the class `error`, when there is no such file, it may not be read, or it is a link, pipe,
            device or folder.
        LimitError: the file is larger than `limits.file_bytes`.
        ResourceError: the process has no file handles left.
    """
    try:
        handle = os.open(path, _READ)
    except (OSError, ValueError) as reason:
        raise _open_failed(path, reason, error) from None
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise error(f"{shown(path)} is {_kind(about.st_mode)}; give a regular file")
        limits.check("file_bytes", about.st_size, shown(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _kind(mode: int) -> str:
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((name for test, name in kinds.items() if test(mode)), "a device")


def _open_failed(path: Path, reason: OSError | ValueError, error: type[InputError]) -> InputError | ResourceError:
    number = reason.errno if isinstance(reason, OSError) else None
    if number in _NO_HANDLES:
        return ResourceError("no file handle or memory is left in this process; close something and try again")
    if number in {errno.ELOOP, errno.EMLINK}:
        return error(f"{shown(path)} is a symbolic link; name the file that it points to")
    if number in {errno.ENOENT, errno.ENOTDIR}:
        return error(f"there is no file {shown(path)}")
    if number in {errno.EACCES, errno.EPERM}:
        return error(f"{shown(path)} may not be read by this user")
    return error(f"{shown(path)} cannot be opened; give the name of a regular file")


def file_size(file: BinaryIO) -> int:
    """Bytes in an open file."""
    return os.fstat(file.fileno()).st_size


def private_copy(path: Path, folder: Path, *, limits: Limits = LOCAL) -> tuple[Path, str]:
    """Read a file once into `folder` under a name of our own; later changes of the original do not matter.

    Returns:
        Where the copy is, and its SHA-256 in hexadecimal (of the copy, so it is what will be used).

    Raises:
        MediaError, LimitError: see `open_regular`; the ceiling is checked again while reading.
        ResourceError: no room.
    """
    digest, done = hashlib.sha256(), 0
    with open_regular(path, limits=limits) as source, room_for(file_size(source), folder):
        handle, name = tempfile.mkstemp(prefix="in-", dir=folder)
        try:
            with os.fdopen(handle, "wb") as copy:
                while block := source.read(_BLOCK):
                    done += len(block)
                    limits.check("file_bytes", done, shown(path))
                    digest.update(block)
                    copy.write(block)
        except BaseException:
            Path(name).unlink()
            raise
    return Path(name), digest.hexdigest()


@contextmanager
def room_for(needed: int, folder: Path) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written, into a ResourceError that says how much was needed."""
    try:
        yield
    except OSError as reason:
        if reason.errno in _NO_ROOM:
            wanted = f": up to {needed:,} bytes are needed" if needed else ""
            message = f"no room in {shown(folder)}{wanted}; free some and try again"
            raise ResourceError(message, code="disk_full") from None
        if reason.errno in _NO_HANDLES:
            raise ResourceError("no file handle or memory is left in this process") from None
        message = f"{shown(folder)} cannot be written ({errno.errorcode.get(reason.errno or 0, 'unknown')})"
        raise ResourceError(message, code="not_writable") from None


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write a file so that after a crash at any moment there is the old one or the new one, never a part.

    Raises:
        ResourceError: no room, or the folder cannot be written; what was there before stays.
    """
    with replace_atomically(path, needed=len(data)) as part:
        part.write_bytes(data)


@contextmanager
def replace_atomically(path: Path, *, needed: int = 0) -> Iterator[Path]:
    """A temporary name beside `path` to write to; on success it is flushed to the disk and renamed to `path`.

    Args:
        path: the name that appears at the end.
        needed: bytes that will be written, for the message when the disk is full.

    Raises:
        ResourceError: no room, or the folder cannot be written; the temporary file is removed.
    """
    with room_for(needed, path.parent):
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        part.touch(exist_ok=False)
        try:
            yield part
            flush_to_disk(part)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        flush_to_disk(path.parent)


def flush_to_disk(path: Path) -> None:
    """Wait until a file, or the names in a folder, have reached the disk."""
    if path.is_dir() and os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
