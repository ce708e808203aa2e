"""What a video file is by its outermost boxes, read here before FFmpeg sees a byte of it.

The format is told by content. A finished file must be as long as it says; a fragmented MP4 whose writer was killed ends
where its last whole fragment ends, and FFmpeg is shown no more than that.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

from longvie.errors import MediaError
from longvie.media.files import file_size

_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"}  # those that a movie may begin with
_PICTURES = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif", b"avis"}  # the same boxes hold HEIF and AVIF
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_MOST_BOXES = 200_000  # two for each fragment of a second: more than a day


class Front(io.RawIOBase):
    """The first `end` bytes of an open file, as a file that ends there."""

    def __init__(self, file: BinaryIO, end: int) -> None:
        self._file, self._end, self._at = file, end, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._end}[whence]
        self._at = max(0, begin + offset)
        return self._at

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._end - self._at)
        self._file.seek(self._at)
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data


def open_front(file: BinaryIO, name: str) -> tuple[str, Front]:
    """The name of the demuxer for a file, and as much of the file as is whole.

    Raises:
        MediaError: neither MP4, MOV, Matroska nor WebM, or cut short.
    """
    head, there = file.read(512), file_size(file)
    if head[:4] == _EBML:
        promised = _segment_end(head)
        if promised is None or promised > there:
            raise MediaError(f"{name} promises {promised or 'more'} bytes, {there} are there; it is cut short")
        return "matroska", Front(file, there)
    if head[4:8] in _BOXES and head[8:12] not in _PICTURES:
        return "mov", Front(file, _whole_fragments(file, there, name))
    if not head:
        raise MediaError(f"{name} is empty; give an MP4, MOV, MKV or WebM video")
    raise MediaError(f"{name} is not an MP4, MOV, MKV or WebM video, whatever its name says")


def _whole_fragments(file: BinaryIO, there: int, name: str) -> int:
    """Where the last fragment that is whole ends; the file's end if there are none (ISO 14496-12, 8.8)."""
    end, fragmented = 0, False
    for count, (kind, begin, after) in enumerate(_boxes(file, there)):
        if count > _MOST_BOXES:
            raise MediaError(f"{name} is in more than {_MOST_BOXES:,} pieces; write it again in one")
        fragmented = fragmented or kind == b"moof"
        if kind == b"moov" and after > there:
            raise MediaError(f"{name} promises {after:,} bytes, {there:,} are there; it is cut short, write it again")
        if after > there:
            break
        end = begin if kind == b"moof" else after  # a description without its frames is not whole
    return end if fragmented else there


def _boxes(file: BinaryIO, there: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of each outermost box."""
    at = 0
    while at < there:
        file.seek(at)
        head = file.read(16)
        size, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        after = there if size == 0 else at + size
        if len(head) < 8 or 0 < size < 8:
            return
        yield kind, at, after
        at = after


def _segment_end(head: bytes) -> int | None:
    """Where a Matroska file says that it ends; 0 when it does not say, None when it cannot be told (RFC 8794, 4)."""
    end = 0
    for element in (_EBML, _SEGMENT):
        at = end + 4
        if head[end:at] != element:
            return 0
        if at + 8 > len(head) or head[at] == 0:
            return None
        length = 9 - head[at].bit_length()  # leading zero bits count the bytes that follow
        every_bit = (1 << 7 * length) - 1
        size = int.from_bytes(head[at : at + length], "big") & every_bit
        if size == every_bit:  # still being written
            return 0
        end = at + length + size
    return end
