"""Arrays in: `.npy` and `.npz`, frame by frame, never with objects in them.

The header is believed only as far as the file bears it out: shape × type must be the bytes that are there. Frames are
read from the open file (or unpacked from it) a span at a time, in the machine's own byte order.
"""

import io
import math
import mmap
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
from numpy.lib import format as npy

from longvie.errors import MediaError
from longvie.limits import LOCAL, Limits
from longvie.media.files import file_size, open_regular, shown

NPY = b"\x93NUMPY"
ZIP = b"PK\x03\x04"
_END_OF_ZIP, _END_OF_ZIP64 = b"PK\x05\x06", b"PK\x06\x07"
_MOST_MEMBERS = 256
# What NumPy's header parser and zipfile raise for bytes that are not theirs.
_FAILURES = (ValueError, OSError, EOFError, LookupError, RuntimeError, TypeError, SyntaxError, struct.error, zlib.error)
_FAILURES += (zipfile.BadZipFile, tokenize.TokenError)
_KINDS = "biuf"  # true or false, whole numbers, floating point


class ArrayFile:
    """One array in a file, read along its first axis; use it in a `with`.

    Args:
        member: which array of an `.npz`; may be left out when it holds one.

    Attributes: `shape` and `dtype` (native byte order).

    Raises:
        MediaError: not an array of numbers, or the header does not fit the file.
        LimitError: larger than `limits.decoded_bytes`.
    """

    def __init__(self, path: Path, *, member: str | None = None, limits: Limits = LOCAL) -> None:
        self._name, self._limits = shown(path), limits
        with ExitStack() as opened:
            file = opened.enter_context(open_regular(path, limits=limits))
            self._stream, size = _array_in(file, member, self._name, limits, opened)
            with _readable(self._name):
                self.shape, self._fortran, self._stored = _header(self._stream)
            self._begin = self._stream.tell()
            self.dtype = self._stored.newbyteorder("=")
            self._check(size)
            self._mapped = self._map(file) if self._fortran else None
            self._opened = opened.pop_all()

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._mapped = None
        self._opened.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the first axis, as an array of one's own.

        Raises:
            MediaError: outside the array, or the file has become shorter.
            LimitError: larger than `limits.array_bytes`.
        """
        if not self.shape or not 0 <= start <= stop <= self.shape[0]:
            rows = self.shape[0] if self.shape else 0
            raise MediaError(f"{self._name} has {rows} rows; {start} to {stop} were asked for")
        row = self._stored.itemsize * math.prod(self.shape[1:])
        self._limits.check("array_bytes", (stop - start) * row, self._name)
        if self._mapped is not None:
            return np.array(self._mapped[start:stop], self.dtype, order="C")
        with _readable(self._name):
            self._stream.seek(self._begin + start * row)
            data = self._stream.read((stop - start) * row)
        if len(data) < (stop - start) * row:
            raise MediaError(f"{self._name} ends within rows {start} to {stop}; it is cut short, write it again")
        rows = np.frombuffer(data, self._stored).reshape(stop - start, *self.shape[1:])
        return rows.astype(self.dtype)

    def all(self) -> np.ndarray:
        """The whole array, also one without axes."""
        self._limits.check("array_bytes", self._stored.itemsize * math.prod(self.shape), self._name)
        if self.shape:
            return self.read(0, self.shape[0])
        with _readable(self._name):
            self._stream.seek(self._begin)
            return np.frombuffer(self._stream.read(self._stored.itemsize), self._stored).astype(self.dtype).reshape(())

    def _check(self, size: int) -> None:
        if self._stored.kind not in _KINDS or self._stored.itemsize > 8:
            raise MediaError(f"{self._name} holds {_type_name(self._stored)}; numbers of up to 64 bits are read")
        if any(extent < 0 for extent in self.shape):
            raise MediaError(f"{self._name} declares the shape {self.shape}")
        declared, there = self._stored.itemsize * math.prod(self.shape), size - self._begin
        if declared != there:
            raise MediaError(f"{self._name} declares {declared:,} bytes of numbers and holds {there:,}; write it again")
        self._limits.check("decoded_bytes", declared, self._name)

    def _map(self, file: BinaryIO) -> np.ndarray:
        """Fortran order scatters a frame over the file: mapped where it lies open, unpacked once where it is packed."""
        if self._stream is file and math.prod(self.shape):
            data: mmap.mmap | bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return np.ndarray(self.shape, self._stored, data, self._begin, order="F")
        self._limits.check("array_bytes", self._stored.itemsize * math.prod(self.shape), self._name)
        with _readable(self._name):
            data = self._stream.read()
        return np.frombuffer(data, self._stored).reshape(self.shape, order="F")


def read_array(path: Path, *, member: str | None = None, limits: Limits = LOCAL) -> np.ndarray:
    """One whole array; errors as in `ArrayFile`, and LimitError above `limits.array_bytes`."""
    with ArrayFile(path, member=member, limits=limits) as array:
        return array.all()


def read_arrays(path: Path, *, limits: Limits = LOCAL) -> dict[str, np.ndarray]:
    """All arrays of an `.npz` by name; together at most `limits.array_bytes`."""
    arrays, held = {}, 0
    for member in array_names(path, limits=limits):
        arrays[member] = read_array(path, member=member, limits=limits)
        held += arrays[member].nbytes
        limits.check("array_bytes", held, shown(path))
    return arrays


def array_names(path: Path, *, limits: Limits = LOCAL) -> list[str]:
    """The names of the arrays in an `.npz`."""
    with open_regular(path, limits=limits) as file, ExitStack() as opened:
        return [name.removesuffix(".npy") for name in _unzip(file, shown(path), limits, opened).namelist()]


def _array_in(
    file: BinaryIO, member: str | None, name: str, limits: Limits, opened: ExitStack
) -> tuple[io.BufferedIOBase, int]:
    """The bytes of one array from its own magic on, and how many they claim to be."""
    head = file.read(6)
    file.seek(0)
    if head == NPY:
        if member is not None:
            raise MediaError(f"{name} is one array without a name; leave out '{member}'")
        return cast("io.BufferedIOBase", file), file_size(file)
    if head[:4] != ZIP:
        raise MediaError(f"{name} is neither an .npy nor an .npz file, whatever its name says")
    archive = _unzip(file, name, limits, opened)
    found = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
    if member is None and len(found) > 1:
        raise MediaError(f"{name} holds {len(found)} arrays ({_listed(found)}); say which one")
    if not found or (member is not None and member not in found):
        asked = "" if member is None else " " + shown(Path(member))
        raise MediaError(f"{name} holds no array{asked}; there are: {_listed(found) or 'none'}")
    entry = next(iter(found.values())) if member is None else found[member]
    with _readable(name):
        return cast("io.BufferedIOBase", opened.enter_context(archive.open(entry))), entry.file_size


def _unzip(file: BinaryIO, name: str, limits: Limits, opened: ExitStack) -> zipfile.ZipFile:
    """The archive, once its table of contents is known to be small and harmless."""
    tail = min(file_size(file), 22 + 65_535)  # the end record and its longest comment (APPNOTE 4.3.16)
    file.seek(-tail, io.SEEK_END)
    end = file.read(tail)
    at = end.rfind(_END_OF_ZIP)
    if at < 0 or len(end) < at + 22:
        raise MediaError(f"{name} is cut short: the table of contents of its arrays is missing")
    members, size = struct.unpack_from("<HI", end, at + 10)
    if end[max(0, at - 20) :].startswith(_END_OF_ZIP64) or members > _MOST_MEMBERS or size > limits.metadata_bytes:
        raise MediaError(f"{name} is too large an archive; save fewer arrays, or one .npy each")
    with _readable(name):
        archive = opened.enter_context(zipfile.ZipFile(file))
    for entry in archive.infolist():
        if not entry.filename.endswith(".npy") or entry.flag_bits & 1 or entry.compress_type not in (0, 8):
            raise MediaError(f"{name} holds something else than arrays as numpy.savez writes them")
        limits.check("decoded_bytes", entry.file_size, name)
    return archive


def _header(stream: io.BufferedIOBase) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("unknown version")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    return read(stream, max_header_size=10_000)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Whatever NumPy and zipfile have against a file becomes one plain sentence."""
    try:
        yield
    except _FAILURES:
        raise MediaError(f"{name} is damaged or not an array of numbers") from None


def _type_name(dtype: np.dtype) -> str:
    return "objects" if dtype.hasobject else "records" if dtype.fields else f"values of type {dtype.name[:40]}"


def _listed(names: dict[str, zipfile.ZipInfo]) -> str:
    return ", ".join(shown(Path(name)) for name in list(names)[:8])
