"""What our MP4s are: whole, equal byte for byte, readable after a kill, and honest about a full disk."""

import errno
import json
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numbered import Make, numbered, numbers_in

from longvie.errors import ConfigError, LimitError, MediaError, ResourceError, ShapeError
from longvie.limits import Limits
from longvie.media import VideoWriter, join_segments, key_seconds, probe_video, quality, read_video, to_unit

SIZE = (32, 64)


def write(path: Path, frames: np.ndarray, **options: object) -> Path:
    with VideoWriter(path, fps=16, size=SIZE, **options) as out:
        out.write(frames)
    return path


@pytest.mark.parametrize("fragmented", [True, False])
def test_the_same_frames_give_the_same_bytes_however_they_are_given(tmp_path: Path, fragmented: bool) -> None:
    frames = numbered(range(40))
    whole = write(tmp_path / "whole.mp4", frames, fragmented=fragmented)
    with VideoWriter(tmp_path / "parts.mp4", fps=16, size=SIZE, fragmented=fragmented) as out:
        out.write(frames[:7])
        out.write(to_unit(frames[7:30]))
        out.write(frames[30:])
        assert out.frames == 40
    assert whole.read_bytes() == (tmp_path / "parts.mp4").read_bytes()
    assert numbers_in(read_video(whole)) == list(range(40))


def test_the_same_frames_give_the_same_bytes_whatever_lay_in_memory_before(tmp_path: Path) -> None:
    """Left to itself, x264 codes about one in thirty of these videos another way."""
    random = np.random.default_rng(0)
    y, x, t = np.mgrid[:16, :32, :17]
    colours = [128 + 100 * np.sin(x / 5 + t / 3), 128 + 90 * np.sin(y / 4 - t / 4), 100 + 3.0 * x]
    frames = np.stack(colours, -1).astype(np.uint8).transpose(2, 0, 1, 3)
    found = set()
    for _ in range(120):
        used = [random.random(int(random.integers(200_000))) for _ in range(int(random.integers(1, 6)))]
        with VideoWriter(tmp_path / "a.mp4", fps=16, size=(16, 32), fragmented=False) as out:
            out.write(frames)
        found.add((tmp_path / "a.mp4").read_bytes())
        del used
    assert len(found) == 1


def test_what_a_browser_needs(tmp_path: Path) -> None:
    path = write(tmp_path / "plain.mp4", numbered(range(20)), fragmented=False, metadata={"title": "Ümläut"})
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.profile) == ("h264", "yuv420p", "High")
        assert (stream.colorspace, stream.color_range, stream.average_rate) == (1, 1, 16)
        assert all(packet.pts == packet.dts for packet in video.demux(stream) if packet.size)
        assert video.metadata["title"] == "Ümläut"


def test_neither_path_nor_time_nor_library_is_written(tmp_path: Path) -> None:
    path = write(tmp_path / "secret-name.mp4", numbered(range(3)), fragmented=False)
    data = path.read_bytes()
    assert b"secret" not in data and b"Lavf" not in data and b"Lavc" not in data
    with av.open(str(path)) as video:
        assert not {"creation_time", "encoder"} & set(video.metadata)


@pytest.mark.parametrize("fps", [16, 29.97, Fraction(24000, 1001), 12.5])
def test_rates_are_kept(tmp_path: Path, fps: int | float | Fraction) -> None:
    with VideoWriter(tmp_path / "r.mp4", fps=fps, size=SIZE) as out:
        out.write(numbered(range(9)))
    assert probe_video(tmp_path / "r.mp4").fps == pytest.approx(float(fps), rel=1e-4)


def test_a_frame_that_is_not_finite_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    clip = torch.zeros(3, 5, *SIZE)
    clip[1, 3, 4, 5] = torch.nan
    with VideoWriter(tmp_path / "n.mp4", fps=16, size=SIZE) as out:
        out.write(numbered([1, 2]))
        with pytest.raises(MediaError, match="frame 5 holds NaN") as refused:
            out.write(clip)
        assert refused.value.code == "frame_not_finite"
        out.write(numbered([3]))
    assert numbers_in(read_video(tmp_path / "n.mp4")) == [1, 2, 3]


def test_a_small_video_shows_no_key_frames_when_it_is_coded_as_fits_its_size(tmp_path: Path) -> None:
    """Hills of grey that move slowly: one frame in sixteen is coded anew, and must not differ from those around."""
    assert quality((480, 832)) == 18 and quality((96, 176)) < 10
    y, x = np.mgrid[:96, :240]
    hills = 128 + 40 * np.sin(x / 3 + np.sin(y / 7)) + 30 * np.cos(y / 4 + x / 11)
    wide = np.repeat(hills[..., None], 3, axis=2).astype(np.uint8)
    frames = np.stack([wide[:, k : k + 176] for k in range(48)])
    jolts = []
    for crf in (quality((96, 176)), 18):
        with VideoWriter(tmp_path / f"{crf}.mp4", fps=16, size=(96, 176), crf=crf) as out:
            out.write(frames)
        off = np.abs(read_video(tmp_path / f"{crf}.mp4").astype(int) - frames).mean((1, 2, 3))
        jolts.append(abs(float(off[16::16].mean() - off[15::16].mean())))
    assert jolts[0] < 0.6 * jolts[1], jolts


def test_every_frame_of_a_small_video_is_coded_alike(tmp_path: Path) -> None:
    """Key frames among others are off the truth in another way, as a still scene shows, however finely coded."""
    size = (96, 176)
    y, x = np.mgrid[: size[0], : size[1]]
    moving = [x + 0.01 * k for k in range(48)]
    hills = [128 + 40 * np.sin(x / 9 + np.sin(y / 7)) + 30 * np.cos(y / 14 + x / 11) for x in moving]
    frames = np.repeat(np.stack(hills)[..., None].round().astype(np.uint8), 3, axis=3)

    def coded(seconds: int) -> tuple[list[int], np.ndarray]:
        path = tmp_path / f"{seconds}.mp4"
        with VideoWriter(path, fps=16, size=size, crf=quality(size), seconds_per_key=seconds) as out:
            out.write(frames)
        with av.open(str(path)) as file:
            keys = [number for number, packet in enumerate(file.demux(video=0)) if packet.is_keyframe]
        off = read_video(path).astype(float) - frames
        return keys, np.abs(np.diff(off, axis=0)).mean((1, 2, 3))

    assert key_seconds((480, 832)) == 1
    (alike, steady), (mixed, jolting) = coded(key_seconds(size)), coded(1)
    assert alike == list(range(48)) and mixed == [0, 16, 32]
    jolts = [float(change[[15, 31]].mean() - np.median(change)) for change in (steady, jolting)]
    assert abs(jolts[0]) < 0.3 * jolts[1], jolts


def test_sizes_rates_and_options_that_cannot_be(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    for size in [(31, 64), (32, 63), (0, 64), (-2, 2)]:
        with pytest.raises(ShapeError, match="must be even"):
            VideoWriter(path, fps=16, size=size)
    for fps in [0, -1, 1e6, float("nan"), float("inf")]:
        with pytest.raises(MediaError, match="frames a second"):
            VideoWriter(path, fps=fps, size=SIZE)
    with pytest.raises(ConfigError, match="crf is 52"):
        VideoWriter(path, fps=16, size=SIZE, crf=52)
    with pytest.raises(ConfigError, match="keeps no 'seed'"):
        VideoWriter(path, fps=16, size=SIZE, metadata={"seed": "1"})
    assert not list(tmp_path.iterdir())
    with VideoWriter(path, fps=16, size=SIZE) as out:
        with pytest.raises(ShapeError, match="frames of 64×64 pixels were given to a video of 32×64"):
            out.write(numbered([1], height=64))
        out.write(numbered([1]))


@pytest.mark.parametrize("fragmented", [True, False])
def test_after_an_exception_fragments_stay_and_plain_files_do_not(tmp_path: Path, fragmented: bool) -> None:
    with pytest.raises(KeyError), VideoWriter(tmp_path / "e.mp4", fps=16, size=SIZE, fragmented=fragmented) as out:
        out.write(numbered(range(5)))
        raise KeyError
    if fragmented:
        assert numbers_in(read_video(tmp_path / "e.mp4")) == list(range(5))
    else:
        assert not list(tmp_path.iterdir())


def test_a_plain_file_replaces_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "p.mp4"
    path.write_bytes(b"old")
    with VideoWriter(path, fps=16, size=SIZE, fragmented=False) as out:
        out.write(numbered(range(5)))
        assert path.read_bytes() == b"old"
    assert numbers_in(read_video(path)) == list(range(5))
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.mp4"]


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "c.mp4", fps=16, size=SIZE) as out:
        out.write(numbered(range(5)))
        out.close()
        assert numbers_in(read_video(tmp_path / "c.mp4")) == list(range(5))


def test_a_video_without_frames_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame was written"), VideoWriter(tmp_path / "0.mp4", fps=16, size=SIZE):
        pass


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from numbered import numbered
from longvie.media import VideoWriter
out = VideoWriter(Path(sys.argv[1]), fps=16, size=(32, 64))
for number in range(200):
    out.write(numbered([number]))
    print(number, flush=True)
sys.stdin.read()
"""


def test_what_a_killed_writer_leaves_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "killed.mp4"
    command = [sys.executable, "-c", KILLED, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert any(line.strip() == "199" for line in writer.stdout)
        writer.send_signal(signal.SIGKILL)
    left = numbers_in(read_video(path))
    assert left == list(range(len(left)))
    assert len(left) >= 200 - 16 - 50  # the open fragment of a second, and what x264 still looks ahead at
    cut = tmp_path / "torn.mp4"
    for size in range(path.stat().st_size - 900, path.stat().st_size - 1, 97):
        cut.write_bytes(path.read_bytes()[:size])
        torn = numbers_in(read_video(cut))
        assert torn == left[: len(torn)] and len(torn) >= len(left) - 32


# Joining


def segments(folder: Path, *lengths: int) -> list[Path]:
    paths, first = [], 0
    for index, length in enumerate(lengths):
        paths.append(write(folder / f"s{index}.mp4", numbered(range(first, first + length))))
        first += length
    return paths


def test_joining_keeps_every_frame_and_encodes_none(tmp_path: Path) -> None:
    parts = segments(tmp_path, 20, 1, 37)
    about = {"title": "Kettle & ball", "comment": json.dumps({"seed": 7, "ai_generated": True, "prompts": ["ö", "b"]})}
    assert join_segments(parts, tmp_path / "out.mp4", fps=16, metadata=about) == 58
    whole = read_video(tmp_path / "out.mp4")
    assert numbers_in(whole) == list(range(58))
    assert np.array_equal(whole, np.concatenate([read_video(part) for part in parts]))
    info = probe_video(tmp_path / "out.mp4")
    assert (info.fps, info.duration_s, info.constant_rate) == (16.0, 58 / 16, True)
    assert {name: info.metadata[name] for name in about} == about
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") and b"Lavf" not in data


def test_joining_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    parts = segments(tmp_path, 9, 9)
    (tmp_path / "elsewhere").mkdir()
    again = segments(tmp_path / "elsewhere", 9, 9)
    for name, given in [("a.mp4", parts), ("elsewhere/b.mp4", again)]:
        join_segments(given, tmp_path / name, fps=16, metadata={"title": "t"})
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "elsewhere/b.mp4").read_bytes()


def test_what_cannot_be_joined(tmp_path: Path, make: Make) -> None:
    good = segments(tmp_path, 5)[0]
    out = tmp_path / "out.mp4"
    with VideoWriter(tmp_path / "big.mp4", fps=16, size=(64, 64)) as big:
        big.write(numbered([1], height=64))
    (tmp_path / "junk.mp4").write_bytes(b"junk" * 100)
    looks_ahead = make("b-frames.mp4", coding={"bf": "2"})
    cases = [
        ([], "no segments"),
        ([good, tmp_path / "big.mp4"], "differs in size or coding"),
        ([good, tmp_path / "junk.mp4"], "is not an MP4"),
        ([good, tmp_path / "gone.mp4"], "there is no file"),
        ([looks_ahead], "is not a finished segment"),
    ]
    for given, said in cases:
        with pytest.raises(MediaError, match=said):
            join_segments(given, out, fps=16)
    assert not out.exists()
    assert not list(tmp_path.glob(".*"))


def test_a_long_video_is_refused_by_what_it_declares(tmp_path: Path) -> None:
    part = write(tmp_path / "s.mp4", numbered(range(250)))
    assert join_segments([part] * 9, tmp_path / "long.mp4", fps=16) == 2250
    with pytest.raises(LimitError, match="2,250 frames, at most 2,000"):
        probe_video(tmp_path / "long.mp4", limits=Limits(frames=2000))
    with pytest.raises(LimitError, match=r"140\.6 seconds, at most 120"):
        probe_video(tmp_path / "long.mp4", limits=Limits(seconds=120))


# A full disk


def test_a_full_disk_says_how_much_was_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = segments(tmp_path, 9, 9)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    needed = sum(part.stat().st_size for part in parts)
    with pytest.raises(ResourceError, match=f"up to {needed:,} bytes are needed") as refused:
        join_segments(parts, tmp_path / "out.mp4", fps=16)
    assert (refused.value.exit_code, refused.value.code) == (4, "disk_full")
    with pytest.raises(ResourceError, match="no room"):
        write(tmp_path / "w.mp4", numbered([1]))
    assert not (tmp_path / "out.mp4").exists() and not list(tmp_path.glob(".*"))


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from longvie.errors import ResourceError
from longvie.media import VideoWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
noise = np.random.default_rng(0).integers(0, 255, (120, 64, 64, 3), dtype=np.uint8)
for fragmented in (True, False):
    try:
        with VideoWriter(Path(sys.argv[1]) / f"{fragmented}.mp4", fps=16, size=(64, 64), fragmented=fragmented) as out:
            out.write(noise)
    except ResourceError as refused:
        print(refused.code, refused.exit_code)
"""


def test_a_disk_that_fills_while_writing(tmp_path: Path) -> None:
    """A ceiling on the size of files acts in the kernel as a full disk does; finished fragments stay readable."""
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["disk_full", "4"] * 2
    assert not (tmp_path / "False.mp4").exists()
    assert 16 <= len(read_video(tmp_path / "True.mp4")) < 120


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    for fragmented in (True, False):
        with pytest.raises(ResourceError, match="cannot be written"):
            VideoWriter(tmp_path / "gone" / "x.mp4", fps=16, size=SIZE, fragmented=fragmented)
