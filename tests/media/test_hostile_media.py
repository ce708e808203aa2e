"""Files made to hurt: each is refused with the right exit code, quickly, in little memory, and without decoder text."""

import hashlib
import io
import os
import random
import re
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numbered import Make, numbered, numbers_in
from PIL import Image

from longvie.errors import InputError, LimitError, LongVieError, MediaError
from longvie.limits import UPLOADS, Limits
from longvie.media import (
    VideoFrames,
    VideoWriter,
    join_segments,
    open_frames,
    private_copy,
    read_array,
    read_picture,
    read_video,
)

SECONDS_EACH = 1.0


def refused(read: Callable[[], object]) -> LongVieError:
    """Run something that must be refused; how long that takes and what is said are checked here for all."""
    began = time.process_time()
    with pytest.raises((InputError, LimitError)) as info:
        read()
    assert time.process_time() - began < SECONDS_EACH
    said = str(info.value)
    assert len(said) < 300 and said.isprintable() and "/tmp" not in said
    assert not re.search(r"avcodec|av_|ffmpeg|errno|traceback|0x[0-9a-f]{4}", said, re.IGNORECASE)
    assert info.value.exit_code == (3 if isinstance(info.value, LimitError) else 2)
    return info.value


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *extra: bytes, bits: int = 1, kind: int = 0) -> bytes:
    """A grey PNG whose pixels are one long run of zeros."""
    row = 1 + -(-width * bits // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(row)) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# Videos that are none


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
NOT_VIDEOS = {
    "empty": b"",
    "one-byte": b"\0",
    "random": random.Random(0).randbytes(100_000),
    "zeros": bytes(100_000),
    "hls": PLAYLIST.encode(),
    "concat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "subfile": b"subfile,,start,0,end,100,,:/etc/passwd",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "lavfi": b"testsrc=size=320x240:rate=1",
    "script": b"#!/bin/sh\nrm -rf /\n",
    "only-boxes": b"\0\0\0\x08free" * 1000,
    "boxes-without-end": (b"\0\0\0\x18ftypisom\0\0\0\0isommp41" + b"\0\0\0\x08free" * 300_000),
    "box-of-everything": b"\0\0\0\x18ftypisom\0\0\0\0isommp41" + b"\0\0\0\1moov" + b"\xff" * 8,
    "heif": b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(200),
    "ebml": b"\x1a\x45\xdf\xa3" + b"\xff" * 200,
    "zip": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", NOT_VIDEOS)
def test_what_is_not_a_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / "movie.mp4"
    path.write_bytes(NOT_VIDEOS[name])
    assert refused(lambda: read_video(path)).code in ("media_unreadable", "limit_exceeded")


@pytest.mark.parametrize("name", ["movie.mp4", "movie.mkv"])
def test_truncated_anywhere(make: Make, name: str) -> None:
    path = make(name)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 8, len(whole) // 40):
        path.write_bytes(whole[:size])
        refused(lambda: read_video(path))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".mov", ".png", ".jpg", ".webp", ".npy", ".npz"])
def test_damaged_files_never_do_worse_than_be_refused(make: Make, tmp_path: Path, suffix: str) -> None:
    """Bits flipped, numbers made huge, ends cut off: frames of the declared size, or a refusal; never a hang."""
    frames = numbered(range(6))
    path = tmp_path / f"damaged{suffix}"
    if suffix in (".mp4", ".mkv", ".mov", ".webm"):
        codec = {".webm": "libvpx", ".mov": "mpeg4"}.get(suffix, "libx264")
        path = make(path.name, frames, codec=codec)
    elif suffix == ".npy":
        np.save(path, frames)
    elif suffix == ".npz":
        np.savez_compressed(path, frames)
    else:
        Image.fromarray(frames[5]).save(path)
    whole, rng = path.read_bytes(), random.Random(suffix)
    outcomes = set()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 8])):
            at = rng.randrange(rng.choice([min(600, len(data)), len(data)]))
            data[at : at + 1] = rng.choice([bytes([data[at] ^ 1 << rng.randrange(8)]), b"\xff", b"\x7f\xff\xff\xff"])
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        began = time.process_time()
        try:
            with open_frames(path, limits=Limits(decoded_bytes=2**26, array_bytes=2**24)) as source:
                assert source.read(0, 1).shape[1:3] == (source.height, source.width)
                source.read(0, source.frames)
            outcomes.add("read")
        except (InputError, LimitError):
            outcomes.add("refused")
        assert time.process_time() - began < SECONDS_EACH
    assert "refused" in outcomes


# Bombs: little on the disk, much in memory


RSS = """
import resource, sys, time
from pathlib import Path
from longvie.errors import LimitError
from longvie.limits import Limits
from longvie.media import iter_video, open_frames, read_picture, read_video
path, budget = Path(sys.argv[1]), 96 * 2**20
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
for limits in (Limits(array_bytes=budget), Limits(decoded_bytes=budget), Limits(video_pixels=2**20)):
    try:
        read_video(path / "bomb.mp4", limits=limits)
    except LimitError:
        print("refused")
frames = 0
try:
    for frame in iter_video(path / "bomb.mp4", size=(96, 176), limits=Limits(decoded_bytes=budget)):
        frames += 1
except LimitError:
    print("refused")
assert frames == budget // (3840 * 2160 * 3), frames
for name in ("bomb.png", "text.png", "bomb16.png"):
    try:
        read_picture(path / name)
    except LimitError:
        print("refused")
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
assert grown <= budget + 64 * 2**20, f"{grown / 2**20} MiB"
assert time.process_time() - began < 4
"""


def test_bombs_stay_within_the_budget(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "s.mp4", fps=16, size=(2160, 3840), preset="ultrafast") as out:
        out.write(np.zeros((2, 2160, 3840, 3), np.uint8))
    join_segments([tmp_path / "s.mp4"] * 24, tmp_path / "bomb.mp4", fps=16)  # 48 frames: 1.2 GB of RGB
    assert (tmp_path / "bomb.mp4").stat().st_size < 1_000_000
    (tmp_path / "bomb.png").write_bytes(png(9000, 9000))
    (tmp_path / "bomb16.png").write_bytes(png(4097, 4096, bits=16, kind=0))
    (tmp_path / "text.png").write_bytes(png(8, 8, chunk(b"tEXt", b"Comment\0" + bytes(2**26 - 1000))))
    command = [sys.executable, "-c", RSS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"] * 7


def test_a_bomb_is_refused_as_an_upload(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "s.mp4", fps=16, size=(32, 64)) as out:
        out.write(numbered(range(100)))
    join_segments([tmp_path / "s.mp4"] * 101, tmp_path / "long.mp4", fps=16)
    assert "10,100 frames, at most 10,000" in str(refused(lambda: read_video(tmp_path / "long.mp4", limits=UPLOADS)))


# Pictures that are none, or too much


def _gif(frames: int) -> bytes:
    data = io.BytesIO()
    Image.new("P", (8, 8)).save(data, "GIF", save_all=True, append_images=[Image.new("P", (8, 8), 1)] * frames)
    return data.getvalue()


def _animated(kind: str) -> bytes:
    data = io.BytesIO()
    first, second = Image.new("RGB", (8, 8)), Image.new("RGB", (8, 8), (255, 0, 0))
    first.save(data, kind, save_all=True, append_images=[second])
    return data.getvalue()


NOT_PICTURES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "random": lambda: random.Random(1).randbytes(10_000),
    "gif": lambda: _gif(20),
    "animated-png": lambda: _animated("PNG"),
    "animated-webp": lambda: _animated("WEBP"),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "pdf": lambda: b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    "eps": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "fits": lambda: b"SIMPLE  =                    T" + b" " * 2850,
    "bmp": lambda: b"BM" + bytes(100),
    "tiff": lambda: b"II*\0" + bytes(100),
    "pixel-bomb": lambda: png(9000, 9000),
    "huge": lambda: png(30_000, 4),
    "declares-2-billion": lambda: (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 1, 1, 0, 0, 0, 0))
    ),
    "no-pixels": lambda: png(0, 4),
    "packed-text": lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**23)))),
    "packed-profile": lambda: png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**23)))),
    "many-texts": lambda: png(8, 8, *[chunk(b"tEXt", b"a\0b")] * 80_000),
    "chunk-past-the-end": lambda: png(8, 8)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT",
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_not_a_picture(tmp_path: Path, name: str) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(NOT_PICTURES[name]())
    if name == "huge":  # wide, but small enough in all
        assert read_picture(path).shape == (4, 30_000, 3)
    else:
        refused(lambda: read_picture(path))


# Arrays that are none, or lie


def npy(header: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text + data


def _head(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def _objects() -> bytes:
    data = io.BytesIO()
    np.save(data, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    return data.getvalue()


def _zip(name: str, data: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(name, data)
    return archive.getvalue()


NOT_ARRAYS: dict[str, Callable[[], bytes]] = {
    "objects": _objects,
    "200 GB": lambda: npy(_head("(50_000_000, 1000)".replace("_", "")), bytes(900)),
    "too short": lambda: npy(_head("(2, 3, 4)"), bytes(95)),
    "too long": lambda: npy(_head("(2, 3, 4)"), bytes(97)),
    "negative": lambda: npy(_head("(-1, 3, 4)")),
    "overflow": lambda: npy(_head("(4294967296, 4294967296, 4294967296)")),
    "overflow to 0": lambda: npy(_head("(4294967296, 4294967296)"), b""),
    "records": lambda: npy(_head("(1,)", "[('a', '<f4'), ('b', '<f4')]"), bytes(8)),
    "text": lambda: npy(_head("(1,)", "'<U4'"), bytes(16)),
    "complex": lambda: npy(_head("(1,)", "'<c8'"), bytes(8)),
    "dates": lambda: npy(_head("(1,)", "'<M8[s]'"), bytes(8)),
    "long double": lambda: npy(_head("(1,)", "'<f16'"), bytes(16)),
    "code": lambda: npy("__import__('os').system('true')"),
    "not a dictionary": lambda: npy("[1, 2]"),
    "deep": lambda: npy("(" * 110),
    "long header": lambda: b"\x93NUMPY\x02\0" + struct.pack("<I", 2**31) + b" " * 1000,
    "version 9": lambda: npy(_head("(1,)"), bytes(4), version=(9, 0)),
    "zip of text": lambda: _zip("readme.txt", b"hello"),
    "zip slip": lambda: _zip("../../x.txt", b"hello"),
    "packed 200 GB": lambda: _zip("a.npy", npy(_head("(50000000, 1000)"))),
    "packed objects": lambda: _zip("a.npy", _objects()),
    "cut zip": lambda: _zip("a.npy", npy(_head("(1,)"), bytes(4)))[:-30],
    "zip of nothing": lambda: b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("name", NOT_ARRAYS)
def test_what_is_not_an_array(tmp_path: Path, name: str) -> None:
    path = tmp_path / "array.npy"
    path.write_bytes(NOT_ARRAYS[name]())
    refused(lambda: read_array(path))


def test_a_packed_array_that_would_fill_memory(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "z.npz", np.zeros((64, 512, 512), np.float32))  # 64 MiB in 65 kB
    with open_frames(tmp_path / "z.npz") as source:
        assert source.read(60, 62).shape == (2, 512, 512)
    assert "decoded bytes" in str(refused(lambda: open_frames(tmp_path / "z.npz", limits=Limits(decoded_bytes=2**25))))
    assert "in memory at once" in str(refused(lambda: read_array(tmp_path / "z.npz", limits=Limits(array_bytes=2**25))))


# Names that lead elsewhere


def test_only_regular_files_are_opened(tmp_path: Path, make: Make) -> None:
    video = make()
    (tmp_path / "link.mp4").symlink_to(video)
    os.mkfifo(tmp_path / "pipe.mp4")
    cases = {
        "link.mp4": "is a symbolic link; name the file that it points to",
        "pipe.mp4": "is a pipe",
        "gone.mp4": "there is no file 'gone.mp4'",
        "video.mp4/x": "there is no file 'x'",
        "a\nb\u202e.mp4": "there is no file 'a�b�.mp4'",
        "x" * 300: "cannot be opened",
        "nul\0.mp4": "cannot be opened",
    }
    for name, said in cases.items():
        assert said in str(refused(lambda name=name: read_video(tmp_path / name)))
    assert "is a folder" in str(refused(lambda: read_video(tmp_path)))
    assert "is a device" in str(refused(lambda: read_video(Path("/dev/zero"))))
    assert "is a device" in str(refused(lambda: read_picture(Path("/dev/null"))))


def test_a_file_changed_between_check_and_use(tmp_path: Path, make: Make) -> None:
    """What is open stays what it was, whatever is renamed over its name; a private copy withstands writing as well."""
    path = make(frames=numbered(range(12)))
    (tmp_path / "inside").mkdir()
    copy, digest = private_copy(path, tmp_path / "inside")
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert copy.parent.name == "inside" and "video" not in copy.name
    with VideoFrames(path) as video:
        other = make("other.mp4", numbered(range(50, 62)))
        other.rename(path)
        assert numbers_in(video.read(0, 12)) == list(range(12))
        assert numbers_in(video.read(3, 4)) == [3]
    assert numbers_in(read_video(copy)) == list(range(12))
    with pytest.raises(LimitError):
        private_copy(path, tmp_path / "inside", limits=Limits(file_bytes=10))
    with pytest.raises(MediaError):
        private_copy(tmp_path, tmp_path / "inside")
    assert len(list((tmp_path / "inside").iterdir())) == 1
