"""Which frames come out of a video file, and when a file is refused."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numbered import Make, numbered, numbers_in

from longvie.errors import LimitError, MediaError
from longvie.limits import Limits
from longvie.media import VideoFrames, VideoWriter, iter_video, probe_video, read_video

CODERS = {
    "h264.mp4": ("libx264", "yuv420p", {"bf": "3"}),
    "h264-10.mp4": ("libx264", "yuv420p10le", {"bf": "2"}),
    "open-gop.mkv": ("libx264", "yuv420p", {"bf": "2", "x264-params": "open-gop=1"}),
    "vp8-unseen.webm": ("libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "10"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"lag-in-frames": "8"}),
    "mjpeg.mov": ("mjpeg", "yuvj420p", {}),
    "prores.mov": ("prores_ks", "yuv422p10le", {}),
    "ffv1.mkv": ("ffv1", "yuv420p", {}),
    "fragmented.mp4": ("libx264", "yuv420p", {"bf": "2"}),
}


@pytest.fixture(params=CODERS)
def coded(request: pytest.FixtureRequest, make: Make) -> Path:
    codec, pixels, coding = CODERS[request.param]
    fragments = {"movflags": "frag_keyframe+empty_moov"} if "fragmented" in request.param else {}
    return make(request.param, numbered(range(23)), codec=codec, pixels=pixels, coding=coding, container=fragments)


def test_frames_come_in_the_order_of_showing_from_any_place(coded: Path) -> None:
    whole = read_video(coded)
    assert numbers_in(whole) == list(range(23))
    with VideoFrames(coded) as video:
        assert (video.frames, video.height, video.width, video.fps) == (23, 32, 64, 16.0)
        for start, stop in [(20, 23), (3, 9), (9, 12), (0, 2), (11, 11), (22, 23), (6, 7)]:
            assert np.array_equal(video.read(start, stop), whole[start:stop]), (start, stop)
    assert [numbers_in(frame[None])[0] for frame in iter_video(coded, start=4, stop=7)] == [4, 5, 6]


def test_probe_measures(make: Make) -> None:
    info = probe_video(make(fps=Fraction(30000, 1001)))
    assert (info.frames, info.height, info.width, info.codec, info.constant_rate) == (12, 32, 64, "h264", True)
    assert info.fps == pytest.approx(29.97002997)
    assert info.duration_s == pytest.approx(12 * 1001 / 30000, abs=2e-3)


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_rotation_is_applied(make: Make, degrees: int, turns: int) -> None:
    path = make("turned.mp4", numbered([5]), rotation=degrees)
    upright = read_video(make("straight.mp4", numbered([5])))
    with VideoFrames(path) as video:
        assert (video.info.rotation % 360) == degrees % 360
        assert (video.height, video.width) == ((64, 32) if turns % 2 else (32, 64))
        assert np.array_equal(video.read(0, 1)[0], np.rot90(upright[0], turns))


def test_an_edit_list_hides_frames(make: Make) -> None:
    """Frames before time 0 are decoded and not shown; the list of those that are was written down by hand."""
    path = make(
        "edited.mp4",
        times=list(range(-3, 9)),
        coding={"bf": "2", "g": "12"},
        container={"avoid_negative_ts": "disabled"},
    )
    assert numbers_in(read_video(path)) == [3, 4, 5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("name", ["late.mp4", "late.mkv"])
def test_times_may_begin_anywhere(make: Make, name: str) -> None:
    path = make(name, times=list(range(40, 52)), coding={"bf": "2"})
    assert numbers_in(read_video(path)) == list(range(12))
    assert numbers_in(read_video(path, start=7, stop=9)) == [7, 8]


def test_variable_rate_is_resampled_by_time(make: Make) -> None:
    """Milliseconds of showing: 0 100 150 400 500 900; at 10 a second each tick shows the nearest earlier frame."""
    path = make("variable.mp4", numbered(range(6)), fps=10, tick=Fraction(1, 1000), times=[0, 100, 150, 400, 500, 900])
    assert not probe_video(path).constant_rate
    assert numbers_in(read_video(path)) == list(range(6))
    assert numbers_in(read_video(path, fps=10))[:10] == [0, 1, 2, 2, 3, 4, 4, 4, 4, 5]
    assert numbers_in(read_video(path, fps=10, start=3, stop=6)) == [2, 3, 4]


def test_constant_rate_is_resampled_exactly(make: Make) -> None:
    path = make(fps=30, frames=numbered(range(15)))
    assert numbers_in(read_video(path, fps=16)) == [0, 1, 3, 5, 7, 9, 11, 13]
    assert numbers_in(read_video(path, fps=60))[:6] == [0, 0, 1, 1, 2, 2]


def test_equal_times_fall_back_to_the_order_in_the_file(make: Make) -> None:
    times = [0, 600, 603, 1200, 1800, 2400]  # Matroska counts milliseconds
    tick = Fraction(1, 10_000)
    path = make("same.mkv", numbered(range(6)), tick=tick, times=times, codec="mjpeg", pixels="yuvj420p")
    assert numbers_in(read_video(path)) == list(range(6))
    with VideoFrames(path) as video:
        assert numbers_in(video.read(4, 6)) == [4, 5]
        assert numbers_in(video.read(1, 3)) == [1, 2]


def test_colours_follow_the_declared_matrix(tmp_path: Path) -> None:
    """Ours is tagged BT.709; a reader that took BT.601 would be off by far more than rounding."""
    colours = np.zeros((1, 32, 64, 3), np.uint8)
    colours[:, :, :32], colours[:, :, 32:] = (210, 40, 30), (20, 200, 60)
    with VideoWriter(tmp_path / "c.mp4", fps=16, size=(32, 64), crf=0) as out:
        out.write(colours)
    off = np.abs(read_video(tmp_path / "c.mp4").astype(int) - colours)
    assert off[:, :, 4:28].max() <= 3 and off[:, :, 36:60].max() <= 3


def test_one_frame_is_a_video(make: Make) -> None:
    with VideoFrames(make(frames=numbered([9]))) as video:
        assert (video.frames, video.info.duration_s) == (1, pytest.approx(1 / 16))
        assert numbers_in(video.read(0, 1)) == [9]


def test_size_is_averaged_and_kept_by_source(make: Make) -> None:
    with VideoFrames(make(), size=(16, 32)) as video:
        assert (video.height, video.width) == (16, 32)
        assert video.read(2, 5).shape == (3, 16, 32, 3)
        assert numbers_in(video.read(0, 12)) == list(range(12))


def test_frames_outside_are_refused(make: Make) -> None:
    with VideoFrames(make()) as video, pytest.raises(MediaError, match="has 12 frames; 5 to 13 were asked for"):
        video.read(5, 13)


# What is refused


def test_no_frames(make: Make) -> None:
    path = make(frames=numbered([]))
    with pytest.raises(MediaError):
        read_video(path)


def test_a_cut_plain_mp4_names_both_counts(make: Make) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 32, 64, 3), dtype=np.uint8)
    path = make(frames=noise, container={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(MediaError, match=r"promises 40 frames, \d+ are there") as refused:
        probe_video(path)
    assert refused.value.code == "media_unreadable"


def test_a_cut_matroska_is_noticed(make: Make) -> None:
    path = make("cut.mkv")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MediaError, match=r"promises \d+ bytes, \d+ are there"):
        probe_video(path)


def test_a_damaged_frame_is_not_shown(make: Make) -> None:
    path = make(coding={"bf": "0"})
    with av.open(str(path)) as intact:
        at = [packet.pos for packet in intact.demux(video=0)][7]
    data = bytearray(path.read_bytes())
    data[at + 5 : at + 25] = b"\xff" * 20  # behind the length and the type of the slice
    path.write_bytes(data)
    shown = []
    with pytest.raises(MediaError, match=r"promises 12 frames, only 7|is damaged"):
        shown.extend(iter_video(path))
    assert numbers_in(np.array(shown)) == list(range(7))


def _jpegs(path: Path, declared: tuple[int, int], sizes: list[tuple[int, int]]) -> Path:
    """A Motion JPEG video whose pictures have sizes of their own, whatever the header declares."""
    from PIL import Image

    with av.open(str(path), "w", format="mov") as out:
        stream = out.add_mux_stream("mjpeg", 16, width=declared[1], height=declared[0], time_base=Fraction(1, 16))
        for index, (height, width) in enumerate(sizes):
            picture = path.with_suffix(f".{index}.jpg")
            Image.new("RGB", (width, height), (90, 90, 90)).save(picture)
            packet = av.Packet(picture.read_bytes())
            packet.stream, packet.time_base = stream, Fraction(1, 16)
            packet.pts = packet.dts = index
            packet.is_keyframe, packet.duration = True, 1
            out.mux(packet)
    return path


def test_a_header_that_lies_about_the_size(tmp_path: Path) -> None:
    """The size of the pictures counts, for the limits as well, and not what the header says of them."""
    path = _jpegs(tmp_path / "lie.mov", (16, 16), [(1024, 2048)] * 2)
    assert probe_video(path).width == 2048
    with pytest.raises((LimitError, MediaError)):
        probe_video(path, limits=Limits(video_pixels=1024 * 1024))


def test_a_change_of_size_stops_at_the_first_such_frame(tmp_path: Path) -> None:
    path = _jpegs(tmp_path / "change.mov", (32, 64), [(32, 64), (32, 64), (64, 64), (32, 64)])
    shown = []
    with pytest.raises(MediaError, match="changes size from 32×64 to 64×64"):
        shown.extend(iter_video(path))
    assert len(shown) == 2


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(frames=11), "12 frames, at most 11"),
        (Limits(seconds=0.7), r"0\.75\d* seconds, at most 0.7"),
        (Limits(video_pixels=2047), "2,048 pixels in a frame, at most 2,047"),
        (Limits(frames_per_second=15), "frames a second, at most 15"),
        (Limits(file_bytes=100), "bytes on disk, at most 100"),
        (Limits(array_bytes=2048 * 36 - 1), "73,728 bytes in memory at once"),
        (Limits(decoded_bytes=2048 * 30), "decoded bytes, at most 61,440"),
    ],
)
@pytest.mark.parametrize("name", ["video.mp4", "video.mkv"])
def test_each_limit_is_named(make: Make, name: str, limits: Limits, said: str) -> None:
    with pytest.raises(LimitError, match=said) as refused:
        read_video(make(name), limits=limits)
    assert refused.value.exit_code == 3


@pytest.mark.parametrize("fps", [0, -16, float("nan"), 1e6])
def test_rates_that_cannot_be_asked_for(make: Make, fps: int | float) -> None:
    with pytest.raises(MediaError, match="frames a second"):
        read_video(make(), fps=fps)


def test_limits_count_ticks_after_resampling(make: Make) -> None:
    with pytest.raises(LimitError, match="at 240 frames a second: 180 frames, at most 100"):
        VideoFrames(make(), fps=240, limits=Limits(frames=100))
