"""Rows 13 to 30 of the reliability table: media and control inputs; each through the command line."""

import io
import os
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from reliability_command import MIB, Command

from longvie.api import LongVie
from longvie.media import VideoWriter, join_segments, read_picture
from longvie.presets import LongVieConfig, apply
from longvie.request import Inputs, prepare
from longvie.runs import Run

SIZE = (32, 48)
FRAMES = 9
Depth = Callable[..., Path]


def ramp(frames: int = FRAMES) -> np.ndarray:
    """A depth in metres that has something near and something far in every frame."""
    return np.broadcast_to(np.linspace(1, 9, SIZE[1], dtype=np.float32), (frames, *SIZE)).copy()


def video(path: Path, frames: int = FRAMES, *, fps: float = 16, size: tuple[int, int] = SIZE) -> Path:
    """A short video of a grey ramp that moves."""
    with VideoWriter(path, fps=fps, size=size, fragmented=False) as out:
        for number in range(frames):
            row = (np.arange(size[1]) * 4 + number * 8) % 256
            out.write(np.broadcast_to(row[None, None, :, None], (1, *size, 3)).astype(np.uint8))
    return path


def metric(path: Path) -> tuple[str, ...]:
    """Options that use a file as metric depth for a short video."""
    return ("--frames", str(FRAMES), "--depth", str(path), "--depth-content", "metric")


def drawn(path: Path) -> tuple[str, ...]:
    """Options that use a file as a drawn depth."""
    return ("--frames", str(FRAMES), "--depth", str(path))


# 13: videos that are none


@pytest.mark.parametrize("damage", ["empty", "random", "truncated", "flipped head", "no frames"])
def test_row_13_damaged_videos_are_refused_at_once(longvie: Command, damage: str) -> None:
    path = video(longvie.room / "depth.mp4", 40)
    whole = path.read_bytes()
    at = whole.find(b"stbl")
    path.write_bytes(
        {
            "empty": b"",
            "random": random.Random(0).randbytes(5000),
            "truncated": whole[: len(whole) // 2],
            "flipped head": whole[:at] + bytes(byte ^ 0x55 for byte in whole[at : at + 40]) + whole[at + 40 :],
            "no frames": whole[: whole.find(b"moov") - 4],
        }[damage]
    )
    longvie.refuses(*drawn(path))
    longvie.accepts("--frames", "1")  # the process is none the worse


def test_row_13_flipped_bits_are_refused_or_read_but_never_more(longvie: Command) -> None:
    path = video(longvie.room / "depth.mp4", FRAMES)
    whole, rng = path.read_bytes(), random.Random(1)
    for _ in range(12):
        data = bytearray(whole)
        for _ in range(8):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(data))
        said = longvie(*longvie.generate(*drawn(path), "--force"))
        assert said.code in (0, 2, 3)
        assert said.seconds < 10


# 14: bombs


def test_row_14_a_bomb_is_read_frame_by_frame(longvie: Command) -> None:
    with VideoWriter(longvie.room / "s.mp4", fps=16, size=(2160, 3840), preset="ultrafast") as out:
        out.write(np.zeros((2, 2160, 3840, 3), np.uint8))
    join_segments([longvie.room / "s.mp4"] * 12, longvie.room / "bomb.mp4", fps=16)  # 600 MB as RGB
    assert (longvie.room / "bomb.mp4").stat().st_size < MIB
    said = longvie(*longvie.generate("--frames", "24", "--depth", longvie.room / "bomb.mp4"))
    assert said.code in (2, 3)
    assert said.grown < 400 * MIB  # a few 4K frames, not 24


def test_row_14_a_hundred_thousand_frames_and_an_hour(longvie: Command) -> None:
    one = longvie.room / "s.mp4"
    with VideoWriter(one, fps=16, size=(16, 16)) as out:
        out.write(np.zeros((1000, 16, 16, 3), np.uint8))
    join_segments([one] * 100, longvie.room / "many.mp4", fps=16)
    assert "frames" in longvie.refuses(*drawn(longvie.room / "many.mp4"), codes=(3,))
    with VideoWriter(one, fps=1, size=(16, 16)) as out:
        out.write(np.zeros((600, 16, 16, 3), np.uint8))
    join_segments([one] * 6, longvie.room / "hour.mp4", fps=1)
    assert "seconds" in longvie.refuses(*drawn(longvie.room / "hour.mp4"), codes=(3,))


# 15: headers that lie


def test_row_15_a_size_that_changes_on_the_way(longvie: Command) -> None:
    one, two = video(longvie.room / "one.mkv.mp4", 4), video(longvie.room / "two.mp4", 4, size=(64, 96))
    path = longvie.room / "depth.mkv"
    with av.open(str(path), "w", format="matroska") as out, av.open(str(one)) as small, av.open(str(two)) as large:
        stream = out.add_stream_from_template(small.streams.video[0])
        bitstream = [av.BitStreamFilterContext("h264_mp4toannexb", s.streams.video[0]) for s in (small, large)]
        at = 0
        for source, annexb in zip((small, large), bitstream, strict=True):
            for packet in source.demux(source.streams.video[0]):
                for piece in annexb.filter(packet) if packet.size else []:
                    piece.stream, piece.pts, piece.dts, piece.time_base = stream, at, at, Fraction(1, 16)
                    at += 1
                    out.mux(piece)
    longvie.refuses("--frames", "8", "--depth", path)


def test_row_15_a_container_that_declares_another_size(longvie: Command) -> None:
    path = video(longvie.room / "depth.mp4", FRAMES)
    data = bytearray(path.read_bytes())
    entry = data.find(b"avc1", data.find(b"stsd"))
    struct.pack_into(">HH", data, entry + 28, 8192, 8192)
    path.write_bytes(bytes(data))
    said = longvie(*longvie.generate(*drawn(path)))
    assert said.code in (0, 2, 3)  # the coded size counts; what the container says is not believed
    assert said.grown < 64 * MIB
    if said.code == 0:
        assert "32×48" in said.err


# 16: playlists


PLAYLISTS = {
    "hls": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "ffconcat": b"ffconcat version 1.0\nfile '/etc/passwd'\n",
    "subfile": b"subfile,,start,0,end,100,,:/etc/passwd",
    "sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "lavfi": b"testsrc=size=320x240:rate=1",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("option", ["--depth", "--sketch", "--tracks"])
def test_row_16_playlists_under_another_name(longvie: Command, kind: str, option: str) -> None:
    path = longvie.room / "movie.mp4"
    path.write_bytes(PLAYLISTS[kind])
    longvie.refuses("--frames", str(FRAMES), option, path)


ADDRESSES = [
    "http://169.254.169.254/latest",
    "https://example.com/a.mp4",
    "file:///etc/passwd",
    "concat:a.mp4|b.mp4",
    "subfile,,start,0,end,9,,:a.mp4",
    "lavfi:testsrc",
    "data:image/png;base64,AAAA",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("option", ["--depth", "--image", "--tracks", "--prompts", "--keyframes", "--conditions"])
def test_rows_16_and_30_addresses_are_never_opened(longvie: Command, option: str, address: str) -> None:
    longvie.refuses(option, address)


def test_row_30_addresses_within_scripts_are_never_opened(longvie: Command) -> None:
    script = longvie.room / "c.json"
    script.write_text(
        '[{"text": "a ball", "depth": "http://169.254.169.254/d.mp4", "track": "http://localhost/t.mp4"}]'
    )
    longvie.refuses("--conditions", script)
    script.write_text('{"keyframes": [{"time": 0, "image": "http://169.254.169.254/a.png"}]}')
    longvie.refuses("--keyframes", script)


# 17: pictures that are none, or too much


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int, *extra: bytes) -> bytes:
    """A black square of one bit per pixel."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(1 + -(-side // 8))) for _ in range(side)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(kind: str, **how: object) -> bytes:
    data = io.BytesIO()
    Image.new("P", (16, 16)).convert("RGB").save(data, kind, **how)
    return data.getvalue()


PICTURES: dict[str, Callable[[], bytes]] = {
    "bomb": lambda: png(9000),
    "text": lambda: png(8, chunk(b"tEXt", b"Comment\0" + bytes(64 * MIB - 1000))),
    "gif": lambda: saved(
        "GIF", save_all=True, append_images=[Image.new("RGB", (16, 16), (i, 0, 0)) for i in range(1, 99)]
    ),
    "tiff": lambda: saved("TIFF"),
    "bmp": lambda: saved("BMP"),
    "pdf": lambda: saved("PDF"),
    "eps": lambda: saved("EPS"),
    "svg": lambda: b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "fits": lambda: b"SIMPLE  =                    T".ljust(2880),
    "empty": lambda: b"",
    "half": lambda: saved("PNG")[:40],
    "tiny": lambda: png(2),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_row_17_pictures_that_are_none_or_too_much(longvie: Command, kind: str, name: str) -> None:
    (longvie.room / name).write_bytes(PICTURES[kind]())
    longvie.refuses("--frames", "1", "--image", name)


# 18: unusual pictures


def unusual(kind: str, path: Path) -> Path:
    base = Image.fromarray(np.broadcast_to(np.arange(48, dtype=np.uint8) * 5, (32, 48)).copy()).convert("RGB")
    if kind == "cmyk":
        base.convert("CMYK").save(path.with_suffix(".jpg"))
        return path.with_suffix(".jpg")
    if kind == "16 bit":
        Image.fromarray((np.arange(32 * 48).reshape(32, 48) * 40).astype(np.uint16)).save(path)
    elif kind == "palette and alpha":
        base.quantize(8).save(path, transparency=3)
    elif kind == "rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        base.save(path.with_suffix(".jpg"), exif=exif)
        return path.with_suffix(".jpg")
    elif kind == "profile":
        base.save(path, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    else:
        note = PngImagePlugin.PngInfo()
        note.add_text("Comment", "hello")
        base.save(path, pnginfo=note)
    return path


@pytest.mark.parametrize("kind", ["cmyk", "16 bit", "palette and alpha", "rotated", "profile", "noted"])
def test_row_18_unusual_pictures_are_converted_always_alike(longvie: Command, kind: str) -> None:
    path = unusual(kind, longvie.room / "first.png")
    longvie.accepts("--frames", "1", "--image", path)
    facts = Run.open(longvie.room / "video.run").facts["request"]["script"]["picture"]
    longvie.accepts("--frames", "1", "--image", path, "--force")
    assert Run.open(longvie.room / "video.run").facts["request"]["script"]["picture"] == facts
    assert read_picture(path).shape == ((48, 32, 3) if kind == "rotated" else (32, 48, 3))


# 19, 20: too short, too long


def test_row_19_a_video_of_one_frame_is_refused_with_the_needed_number(longvie: Command) -> None:
    line = longvie.refuses(*drawn(video(longvie.room / "depth.mp4", 1)))
    assert "1 frame" in line
    assert str(FRAMES) in line


def test_row_20_lengths_that_differ_are_refused_with_both(longvie: Command, scene: Path) -> None:
    line = longvie.refuses("--frames", "9", "--depth", scene / "depth.npz")
    assert "17" in line
    assert "9" in line
    other = video(longvie.room / "sketch.mp4", 9)
    line = longvie.refuses("--depth", scene / "depth.npz", "--sketch", other)
    assert "17" in line
    assert "9" in line


@pytest.mark.parametrize(("align", "frames"), [("trim", 9), ("pad-last", 21), ("resample", 25)])
def test_row_20_the_user_chooses_how_lengths_are_made_equal(
    longvie: Command, scene: Path, align: str, frames: int
) -> None:
    said = longvie.accepts("--frames", str(frames), "--depth", scene / "depth.npz", "--align", align)
    assert "warning: depth:" in said.err  # what was done is told
    assert Run.open(longvie.room / "video.run").facts["asked"]["controls"]["align"] == align


@pytest.mark.parametrize("frames", [80, 82])
def test_row_20_a_clip_of_conditions_has_81_frames(longvie: Command, frames: int) -> None:
    video(longvie.room / "d.mp4", frames)
    (longvie.room / "cond.json").write_text('[{"text": "a ball", "depth": "d.mp4"}]')
    line = longvie.refuses("--conditions", "cond.json")
    assert str(frames) in line
    assert "81" in line


# 21: times of frames


def test_row_21_frames_come_by_presentation_time(longvie: Command) -> None:
    """Variable rate with B-frames: read in order of showing. Golden lists are in tests/media."""
    path = longvie.room / "depth.mp4"
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=16, width=SIZE[1], height=SIZE[0])
        stream.pix_fmt, stream.options = "yuv420p", {"bf": "3", "g": "8"}
        stream.codec_context.time_base = Fraction(1, 160)
        for number, time in enumerate([0, 10, 20, 25, 45, 50, 60, 75, 90]):
            row = ((np.arange(SIZE[1]) * 4 + number * 8) % 256).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.broadcast_to(row[None, :, None], (*SIZE, 3)).copy())
            frame.pts, frame.time_base = time, Fraction(1, 160)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    longvie.accepts(*drawn(path))


# 22, 23: arrays


def test_row_22_arrays_that_are_refused(longvie: Command, depth: Depth) -> None:
    for values in (
        np.array([{}], dtype=object),
        ramp()[0, 0],
        np.zeros((2, 3, 4, 5, 6), np.float32),
        np.zeros((0, 32, 48), np.float32),
        ramp().astype(np.complex64),
        np.full((FRAMES, *SIZE), "a"),
    ):
        longvie.refuses(*metric(depth(values)))


@pytest.mark.parametrize("kind", ["fortran", "big-endian", "float64", "float16", "uint16", "int8"])
def test_row_22_arrays_of_any_number_type_are_read(longvie: Command, depth: Depth, kind: str) -> None:
    values = ramp()
    changed = {"fortran": np.asfortranarray(values), "big-endian": values.astype(">f4")}
    path = depth(changed[kind] if kind in changed else values.astype(kind))
    longvie.accepts(*metric(path))


def test_row_22_a_header_that_promises_200_gb(longvie: Command) -> None:
    head = io.BytesIO()
    shape = (100_000, 1000, 500)
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
    path = longvie.room / "depth.npy"
    path.write_bytes(head.getvalue() + bytes(900))
    longvie.refuses(*metric(path))


def test_row_22_a_pickle_in_an_array_never_runs(longvie: Command, depth: Depth) -> None:
    class Owned:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(longvie.room / "owned"),)

    path = depth(np.array([Owned()], dtype=object))
    longvie.refuses(*metric(path))
    assert not (longvie.room / "owned").exists()


@pytest.mark.parametrize("kind", ["zero", "equal", "nan", "inf disparity", "negative", "2 % nan"])
def test_row_23_depth_that_shows_nothing_is_refused(longvie: Command, depth: Depth, kind: str) -> None:
    values = ramp()
    if kind == "zero":
        values[:] = 0
    elif kind == "equal":
        values[:] = 3
    elif kind == "nan":
        values[:] = np.nan
    elif kind == "negative":
        values *= -1
    elif kind == "2 % nan":
        values[:, :, :1] = np.nan
    else:
        values[:] = np.inf
    content = "disparity" if kind == "inf disparity" else "metric"
    path = depth(values)
    longvie.refuses("--frames", str(FRAMES), "--depth", path, "--depth-content", content)


def test_row_23_a_few_broken_values_are_filled_and_told(longvie: Command, depth: Depth) -> None:
    values = ramp()
    values[0, 0, :5] = np.nan
    assert "filled" in longvie.accepts(*metric(depth(values))).err


def test_row_23_what_the_numbers_mean_is_asked_for(longvie: Command, depth: Depth) -> None:
    line = longvie.refuses("--frames", str(FRAMES), "--depth", depth(ramp()))
    assert "metric" in line
    assert "disparity" in line


# 24: tracks


def tracks(room: Path, points: np.ndarray, **more: object) -> tuple[str, ...]:
    np.savez(room / "tracks.npz", points=points, size=SIZE, **more)
    return ("--frames", str(FRAMES), "--tracks", str(room / "tracks.npz"))


def inside(count: int = 5) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.uniform(0, 1, (FRAMES, count, 2)) * [SIZE[1] - 1, SIZE[0] - 1]).astype(np.float32)


def test_row_24_no_points_leave_the_words_alone_and_are_told(longvie: Command) -> None:
    said = longvie.accepts(*tracks(longvie.room, np.zeros((FRAMES, 0, 2), np.float32)))
    assert "warning: tracks: no point is ever visible" in said.err


def test_row_24_tracks_that_are_refused(longvie: Command) -> None:
    broken = inside()
    broken[:, :3] = np.nan
    for points, more in (
        (inside() + 1000, {}),
        (broken, {"visible": np.ones((FRAMES, 5), bool)}),
        (inside(), {"ids": [1, 2, 3, 3, 4]}),
        (inside(), {"visible": np.ones((FRAMES, 4), bool)}),
        (inside()[..., :1], {}),
        (inside()[0], {}),
    ):
        longvie.refuses(*tracks(longvie.room, points, **more))


def test_row_24_ten_million_points_are_refused_before_they_are_read(longvie: Command) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (FRAMES, 10**7, 2)})
    (longvie.room / "tracks.npy").write_bytes(head.getvalue() + bytes(1000))
    longvie.refuses("--frames", str(FRAMES), "--tracks", longvie.room / "tracks.npy", "--tracks-size", "48x32")
    np.savez(longvie.room / "t.npz", points=np.zeros((1, 200_000, 2), np.float32), size=SIZE)
    longvie.refuses("--frames", "1", "--tracks", longvie.room / "t.npz", codes=(3,))


# 25, 26: controls that are not there yet say so


def test_rows_25_and_26_camera_files_and_audio_are_refused_by_name(longvie: Command, scene: Path) -> None:
    assert "the camera has no" in longvie.refuses("--camera", scene / "cameras.json")
    config = longvie.room / "c.yaml"
    config.write_text("model: {ckpt: tiny}\ncontrols: {audio: song.wav}\n")
    line = longvie.refuses("--config", config)
    assert "audio" in line
    assert "depth" in line  # what the model does know


# 27: names


def test_row_27_only_regular_files_are_opened(longvie: Command, scene: Path) -> None:
    room = longvie.room
    os.mkfifo(room / "pipe.npz")
    (room / "folder.npz").mkdir()
    (room / "link.npz").symlink_to(scene / "depth.npz")
    (room / "dangling.npz").symlink_to(room / "nothing")
    for name in (
        "pipe.npz",
        "folder.npz",
        "link.npz",
        "dangling.npz",
        "/dev/zero",
        "/dev/stdin",
        "a" * 300,
        "a\0b",
        "",
    ):
        longvie.refuses("--frames", "17", "--depth", name)
        longvie.refuses("--frames", "17", "--image", name)


@pytest.mark.parametrize("name", ["C:\\x.npz", "CON", "../../x.npz", "a\nb.npz", "\u202egnp.npz", "-rf.npz"])
def test_row_27_strange_names_are_refused_or_are_only_names(longvie: Command, name: str) -> None:
    longvie.refuses("--frames", "17", f"--depth={name}")


@pytest.mark.parametrize(
    "name", ["a" * 300 + ".mp4", "a\nb.mp4", "a\0.mp4", "", "video.avi", "video", "/dev/null", "."]
)
def test_row_27_names_that_no_video_can_have(longvie: Command, name: str) -> None:
    longvie.refused("generate", "--model", "tiny", "--prompt", "a ball", "--frames", "1", "--out", name)


def test_row_27_a_folder_or_a_file_of_another_is_not_replaced(longvie: Command) -> None:
    (longvie.room / "mine.mp4").write_bytes(b"mine")
    longvie.refused("generate", "--model", "tiny", "--prompt", "a", "--frames", "1", "--out", "mine.mp4")
    assert (longvie.room / "mine.mp4").read_bytes() == b"mine"
    (longvie.room / "folder.mp4").mkdir()
    longvie.refused("generate", "--model", "tiny", "--prompt", "a", "--frames", "1", "--out", "folder.mp4")


# 28: replaced between check and use


def test_row_28_what_was_checked_is_what_is_used(longvie: Command, depth: Depth) -> None:
    path = depth(ramp())
    given = {"depth": str(path), "depth_content": "metric"}
    config = apply(
        LongVieConfig(), {"prompt": "a ball", "model": {"ckpt": "tiny", "frames": FRAMES}, "controls": given}
    )
    model = LongVie(config)
    made = []
    for replaced in (False, True):
        depth(ramp())
        with Inputs() as inputs:
            request = prepare(config, model.card, inputs)
            if replaced:
                depth(ramp()[:, ::-1, ::-1] * 7)
            made.append(np.concatenate(list(model.frames(request))))
    assert np.array_equal(*made)
    assert longvie.room.exists()


# 29: archives


def zipped(names: Sequence[str]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name in names:
            archive.writestr(name, b"owned")
    return data.getvalue()


@pytest.mark.parametrize("name", ["a.zip", "a.npz", "a.png", "a.mp4", "a.json", "a.tar.gz"])
@pytest.mark.parametrize("option", ["--depth", "--image", "--tracks", "--config", "--keyframes"])
def test_row_29_archives_are_not_unpacked(longvie: Command, option: str, name: str) -> None:
    (longvie.room / name).write_bytes(zipped(["../../owned", "/tmp/longvie-owned", "depth.npy"]))
    longvie.refuses("--frames", "17", option, name)
    assert not (longvie.room.parent.parent / "owned").exists()
    assert not Path("/tmp/longvie-owned").exists()
