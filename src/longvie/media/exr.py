"""OpenEXR in: one channel of a scan-line picture, as renderers write depth.

Read here in full, since the OpenCV wheels are built without OpenEXR: uncompressed, ZIPS and ZIP pictures of 16-bit or
32-bit floats or whole numbers. Tiles, deep pixels, several parts and the other compressions are refused by name.
Layout: the OpenEXR technical introduction and file layout documents.
"""

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from longvie.errors import MediaError
from longvie.limits import LOCAL, Limits
from longvie.media.files import file_size, open_regular, shown

EXR = b"\x76\x2f\x31\x01"
DEPTH_NAMES = ("Z", "depth.Z", "Depth.Z", "ViewLayer.Depth.Z", "Y", "V", "depth", "R")  # the first that is there
_TILED, _DEEP, _PARTS = 0x200, 0x800, 0x1000
_TYPES = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LINES = {0: 1, 2: 1, 3: 16}  # compression: scan lines in a chunk (none, ZIPS, ZIP)
_OTHERS = {1: "RLE", 4: "PIZ", 5: "PXR24", 6: "B44", 7: "B44A", 8: "DWAA", 9: "DWAB"}


@dataclass(frozen=True)
class _Header:
    height: int
    width: int
    top: int
    channels: tuple[tuple[str, np.dtype], ...]  # in the order in which they lie in each line
    compression: int


def read_exr(path: Path, *, channel: str | None = None, limits: Limits = LOCAL) -> Float[np.ndarray, "h w"]:
    """One channel in float32.

    Args:
        channel: its name; by default the first of `DEPTH_NAMES` that is there, or the only one.

    Raises:
        MediaError: damaged, or of a kind that is not read; says which.
        LimitError: more pixels than `limits.picture_pixels`.
    """
    name = shown(path)
    with open_regular(path, limits=limits) as file:
        limits.check("picture_bytes", file_size(file), name)
        data = file.read()
    try:
        header, at = _header(data, name, limits)
        wanted = _choose(header, channel, name)
        return _lines(data, at, header, wanted)
    except (struct.error, zlib.error, ValueError, IndexError, UnicodeDecodeError):
        raise MediaError(f"{name} is damaged or not an OpenEXR picture") from None


def _header(data: bytes, name: str, limits: Limits) -> tuple[_Header, int]:
    """The attributes that matter, and where the table of chunks begins."""
    if data[:4] != EXR:
        raise MediaError(f"{name} is not an OpenEXR picture, whatever its name says")
    (version,) = struct.unpack_from("<I", data, 4)
    if version & 0xFF != 2 or version & (_TILED | _DEEP | _PARTS):
        raise MediaError(f"{name} is a tiled, deep or several-part OpenEXR picture; save it as plain scan lines")
    attributes, at = {}, 8
    while data[at] != 0:
        key, at = _text(data, at)
        _, at = _text(data, at)
        (size,) = struct.unpack_from("<I", data, at)
        attributes[key], at = data[at + 4 : at + 4 + size], at + 4 + size
    try:
        left, top, right, bottom = struct.unpack("<4i", attributes["dataWindow"])
        compression, channels = attributes["compression"][0], _channels(attributes["channels"], name)
    except KeyError as missing:
        raise MediaError(f"{name} lacks the OpenEXR attribute {missing}") from None
    height, width = bottom - top + 1, right - left + 1
    if min(height, width) < 1:
        raise MediaError(f"{name} is {height}×{width} pixels")
    limits.check("picture_pixels", height * width, name)
    if compression not in _LINES:
        raise MediaError(f"{name} is packed by {_OTHERS.get(compression, 'an unknown way')}; save it with ZIP or none")
    return _Header(height, width, top, channels, compression), at + 1


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at, at + 256)
    return data[at:end].decode("ascii"), end + 1


def _channels(data: bytes, name: str) -> tuple[tuple[str, np.dtype], ...]:
    channels, at = [], 0
    while data[at] != 0:
        key, at = _text(data, at)
        kind, _, across, down = struct.unpack_from("<iIii", data, at)
        if (across, down) != (1, 1) or kind not in _TYPES:
            raise MediaError(f"{name} holds a channel of reduced size or unknown type; save it at full size")
        channels.append((key, _TYPES[kind]))
        at += 16
    return tuple(channels)


def _choose(header: _Header, channel: str | None, name: str) -> str:
    there = [key for key, _ in header.channels]
    wanted = (channel,) if channel is not None else (*DEPTH_NAMES, *(there if len(there) == 1 else ()))
    for key in wanted:
        if key in there:
            return key
    raise MediaError(f"{name} has the channels {', '.join(there[:8])}; say which one is depth")


def _lines(data: bytes, at: int, header: _Header, wanted: str) -> Float[np.ndarray, "h w"]:
    """Unpack every chunk and cut the wanted channel out of its lines."""
    lines = _LINES[header.compression]
    chunks = -(-header.height // lines)
    line_bytes = header.width * sum(kind.itemsize for _, kind in header.channels)
    before = header.width * sum(kind.itemsize for key, kind in header.channels if key < wanted)
    kind = dict(header.channels)[wanted]
    out = np.full((header.height, header.width), np.nan, np.float32)
    for offset in struct.unpack_from(f"<{chunks}Q", data, at):
        first, size = struct.unpack_from("<iI", data, offset)
        first -= header.top
        count = min(lines, header.height - first)
        if not 0 <= first < header.height:
            raise ValueError("a chunk outside the picture")
        block = _unpack(data[offset + 8 : offset + 8 + size], count * line_bytes, header.compression)
        rows = np.frombuffer(block, np.uint8).reshape(count, line_bytes)
        cut = rows[:, before : before + header.width * kind.itemsize]
        out[first : first + count] = np.ascontiguousarray(cut).view(kind)
    return out


def _unpack(packed: bytes, size: int, compression: int) -> bytes:
    """Undo ZIP: inflate, sum up the differences, and weave the two halves together again."""
    if compression == 0 or len(packed) == size:  # a chunk that would have grown is stored as it was
        return packed
    inflater = zlib.decompressobj()
    flat = np.frombuffer(inflater.decompress(packed, size), np.uint8).astype(np.int64)
    if len(flat) < size:
        raise ValueError("a chunk is too short")
    flat[1:] -= 128
    flat = np.cumsum(flat).astype(np.uint8)
    woven = np.empty(size, np.uint8)
    woven[0::2], woven[1::2] = flat[: (size + 1) // 2], flat[(size + 1) // 2 :]
    return woven.tobytes()
