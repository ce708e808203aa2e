"""Arrays, EXR and folders as frames: the same numbers in any order of reading, in any order of bytes."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numbered import Make, numbered, numbers_in
from PIL import Image

from longvie.errors import LimitError, MediaError
from longvie.limits import Limits
from longvie.media import (
    ArrayFile,
    FrameSource,
    array_names,
    open_frames,
    read_array,
    read_arrays,
    read_exr,
    write_picture,
)

DEPTH = np.random.default_rng(0).random((9, 6, 8)).astype(np.float32)
SAVED = {
    "plain.npy": lambda path: np.save(path, DEPTH),
    "fortran.npy": lambda path: np.save(path, np.asfortranarray(DEPTH)),
    "big-endian.npy": lambda path: np.save(path, DEPTH.astype(">f4")),
    "one-channel.npy": lambda path: np.save(path, DEPTH[..., None]),
    "stored.npz": lambda path: np.savez(path, DEPTH),
    "packed.npz": lambda path: np.savez_compressed(path, depth=DEPTH),
    "packed-fortran.npz": lambda path: np.savez_compressed(path, depth=np.asfortranarray(DEPTH)),
}


@pytest.mark.parametrize("name", SAVED)
def test_spans_are_the_whole(tmp_path: Path, name: str) -> None:
    SAVED[name](tmp_path / name)
    with open_frames(tmp_path / name, fps=16) as source:
        assert isinstance(source, FrameSource)
        assert (source.frames, source.height, source.width, source.fps, source.values) == (9, 6, 8, 16.0, "numbers")
        for start, stop in [(2, 5), (5, 9), (0, 1), (8, 9), (4, 4), (0, 9)]:
            span = source.read(start, stop)
            assert np.array_equal(span, DEPTH[start:stop]), (start, stop)
            assert span.dtype == np.dtype(np.float32) and span.dtype.isnative and span.flags.writeable
        with pytest.raises(MediaError, match="has 9 rows; 5 to 10 were asked for"):
            source.read(5, 10)


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int64", "float16", "float64"])
def test_kinds_of_numbers_are_kept(tmp_path: Path, kind: str) -> None:
    values = (DEPTH * 100).astype(kind)
    np.save(tmp_path / "a.npy", values)
    assert read_array(tmp_path / "a.npy").dtype == np.dtype(kind)
    assert np.array_equal(read_array(tmp_path / "a.npy"), values)


@pytest.mark.parametrize("shape", [(), (5,), (6, 8), (9, 6, 8, 2), (9, 6, 8, 4), (1, 2, 3, 4, 5), (0, 6, 8), (9, 0, 8)])
def test_wrong_ranks(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    assert read_array(tmp_path / "a.npy").shape == shape
    with pytest.raises(MediaError, match="needed: \\(frames, height, width\\)"):
        open_frames(tmp_path / "a.npy")


def test_several_arrays_must_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", tracks=DEPTH[..., :2], visible=DEPTH[..., 0] > 0.5, fps=16.0)
    assert array_names(tmp_path / "t.npz") == ["tracks", "visible", "fps"]
    arrays = read_arrays(tmp_path / "t.npz")
    assert arrays["visible"].dtype == bool and float(arrays["fps"]) == 16.0
    assert np.array_equal(read_array(tmp_path / "t.npz", member="tracks"), DEPTH[..., :2])
    with pytest.raises(MediaError, match="holds 3 arrays \\('tracks', 'visible', 'fps'\\); say which one"):
        read_array(tmp_path / "t.npz")
    with pytest.raises(MediaError, match="holds no array 'depth'"):
        read_array(tmp_path / "t.npz", member="depth")
    with pytest.raises(LimitError, match="in memory at once"):
        read_arrays(tmp_path / "t.npz", limits=Limits(array_bytes=DEPTH[..., :2].nbytes + 10))


def test_a_file_that_shrinks_while_open(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.repeat(DEPTH, 100, axis=2))
    with ArrayFile(tmp_path / "a.npy") as array:
        with (tmp_path / "a.npy").open("r+b") as file:
            file.truncate(90_000)
        with pytest.raises(MediaError, match="ends within rows 4 to 9"):
            array.read(4, 9)


def test_colours_and_what_was_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "rgb.npy", numbered(range(5)))
    np.save(tmp_path / "float.npy", numbered(range(5)).astype(np.float32))
    np.save(tmp_path / "depth.npy", DEPTH)
    with open_frames(tmp_path / "rgb.npy", size=(16, 32)) as source:
        assert (source.values, numbers_in(source.read(1, 5))) == ("rgb", [1, 2, 3, 4])
    for name, asked, said in [
        ("float.npy", None, "colours of type float32"),
        ("rgb.npy", "numbers", "has 3 channels, which are not numbers"),
        ("depth.npy", "rgb", "has 1 channels, which are not rgb"),
        ("depth.npy", "labels", "labels are whole numbers"),
    ]:
        with pytest.raises(MediaError, match=said):
            open_frames(tmp_path / name, values=asked)


# Folders


def test_a_folder_is_read_by_number(tmp_path: Path) -> None:
    for number, frame in enumerate(numbered(range(12))):
        write_picture(tmp_path / f"shot-{number}.png", frame)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_bytes(b"")
    with open_frames(tmp_path) as source:
        assert (source.frames, source.fps, source.values) == (12, None, "rgb")
        assert numbers_in(source.read(0, 12)) == list(range(12))
        assert source.read(3, 3).shape == (0, 32, 64, 3)
        with pytest.raises(MediaError, match="12 frames; 11 to 13"):
            source.read(11, 13)
    with open_frames(tmp_path, size=(16, 32)) as source:
        assert numbers_in(source.read(9, 11)) == [9, 10]
    with pytest.raises(LimitError, match="6 frames, at most 5"):
        open_frames(tmp_path, limits=Limits(frames=5))


def test_depth_and_labels_in_folders(tmp_path: Path) -> None:
    deep = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1000
    (tmp_path / "deep").mkdir()
    (tmp_path / "labels").mkdir()
    for number in range(3):
        Image.fromarray(deep + number).save(tmp_path / "deep" / f"{number}.png")
        Image.fromarray((deep // 1000).astype(np.uint8)).save(tmp_path / "labels" / f"{number}.png")
    with open_frames(tmp_path / "deep") as source:
        assert source.values == "numbers"
        assert np.array_equal(source.read(1, 3), np.stack([deep + 1, deep + 2]))
    with open_frames(tmp_path / "labels", values="labels") as source:
        assert np.array_equal(source.read(2, 3)[0], deep // 1000)


def test_folders_that_are_not_one_video(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="holds no pictures"):
        open_frames(tmp_path)
    write_picture(tmp_path / "0.png", numbered([0])[0])
    write_picture(tmp_path / "1.png", numbered([1], height=64)[0])
    with open_frames(tmp_path) as source, pytest.raises(MediaError, match="is 64×64 pixels, the first picture"):
        source.read(0, 2)
    (tmp_path / "2.jpg").write_bytes(b"x")
    with pytest.raises(MediaError, match=r"several kinds \(.jpg, .png\)"):
        open_frames(tmp_path)


def test_a_video_is_a_source_too(make: Make) -> None:
    with open_frames(make(), fps=8) as source:
        assert isinstance(source, FrameSource)
        assert (source.fps, source.values, numbers_in(source.read(0, 6))) == (8.0, "rgb", [0, 2, 4, 6, 8, 10])
    with pytest.raises(MediaError, match="is a video, which holds no numbers"):
        open_frames(make(), values="numbers")


# EXR, written here by the published layout


def exr(channels: dict[str, np.ndarray], compression: int = 3, flags: int = 0, top: int = 0) -> bytes:
    height, width = next(iter(channels.values())).shape
    kinds = {"u4": 0, "f2": 1, "f4": 2}
    names = sorted(channels)
    listed = b"".join(
        name.encode() + b"\0" + struct.pack("<iIii", kinds[channels[name].dtype.str[1:]], 0, 1, 1) for name in names
    )
    window = struct.pack("<4i", 0, top, width - 1, top + height - 1)
    attributes = [
        ("channels", "chlist", listed + b"\0"),
        ("compression", "compression", bytes([compression])),
        ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window),
        ("lineOrder", "lineOrder", b"\0"),
    ]
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2 | flags)
    head += b"".join(k.encode() + b"\0" + t.encode() + b"\0" + struct.pack("<I", len(v)) + v for k, t, v in attributes)
    lines = {0: 1, 2: 1, 3: 16}.get(compression, 32)
    chunks = []
    for first in range(0, height, lines):
        rows = range(first, min(height, first + lines))
        data = b"".join(channels[name][row].tobytes() for row in rows for name in names)
        packed = data if compression == 0 else _zipped(data)
        chunks.append(struct.pack("<iI", top + first, min(len(packed), len(data))) + min(packed, data, key=len))
    offsets, at = b"", len(head) + 1 + 8 * len(chunks)
    for chunk in chunks:
        offsets, at = offsets + struct.pack("<Q", at), at + len(chunk)
    return head + b"\0" + offsets + b"".join(chunks)


def _zipped(data: bytes) -> bytes:
    apart = np.frombuffer(data[0::2] + data[1::2], np.uint8).astype(np.int64)
    steps = np.concatenate([apart[:1], apart[1:] - apart[:-1] + 128])
    return zlib.compress(steps.astype(np.uint8).tobytes())


@pytest.mark.parametrize("compression", [0, 2, 3])
@pytest.mark.parametrize("kind", ["f4", "f2", "u4"])
def test_exr_gives_the_depth_channel(tmp_path: Path, compression: int, kind: str) -> None:
    smooth = (np.add.outer(np.arange(37), np.arange(21)) % 50 * 4).astype(kind)
    colour = np.random.default_rng(1).random((37, 21)).astype("f2")
    (tmp_path / "a.exr").write_bytes(exr({"Z": smooth, "A": colour, "R": colour}, compression, top=-3))
    assert np.array_equal(read_exr(tmp_path / "a.exr"), smooth.astype(np.float32))
    assert np.array_equal(read_exr(tmp_path / "a.exr", channel="A"), colour.astype(np.float32))
    with open_frames(tmp_path / "a.exr") as source:
        assert (source.frames, source.values, source.read(0, 1).dtype) == (1, "numbers", np.float32)


def test_exr_that_is_not_read_says_why(tmp_path: Path) -> None:
    flat = {"Z": np.zeros((4, 4), "f4")}
    two = {"P": flat["Z"], "Q": flat["Z"]}
    cases = {
        "is packed by PIZ; save it with ZIP or none": exr(flat, compression=4),
        "tiled, deep or several-part": exr(flat, flags=0x200),
        "has the channels P, Q; say which one is depth": exr(two),
        "not an OpenEXR picture": b"EXR",
        "is damaged": exr(flat)[:-10],
        "pixels, at most": exr(flat).replace(struct.pack("<4i", 0, 0, 3, 3), struct.pack("<4i", 0, 0, 2**30, 2**30)),
    }
    for said, data in cases.items():
        (tmp_path / "a.exr").write_bytes(data)
        with pytest.raises((MediaError, LimitError), match=said):
            read_exr(tmp_path / "a.exr")


def test_damaged_exr_is_refused_or_read(tmp_path: Path) -> None:
    whole = exr({"Z": DEPTH[0], "R": DEPTH[1]})
    rng = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole)
        data[rng.integers(len(data))] = rng.integers(256)
        (tmp_path / "a.exr").write_bytes(data)
        try:
            assert read_exr(tmp_path / "a.exr").ndim == 2
        except (MediaError, LimitError):
            continue
