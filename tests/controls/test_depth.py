"""Depth: what the numbers mean, one range for the whole signal, what is refused."""

import struct
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from longvie.controls import depth as module
from longvie.controls.depth import Depth, DepthRange
from longvie.controls.published import depth_normalised, depth_uint8
from longvie.controls.signals import ArraySignal, LoadReport, Signal
from longvie.errors import ControlError
from longvie.media import VideoWriter, resize_frames, write_picture

SIZE = (12, 20)


def metres(frames: int = 5, seed: int = 0) -> np.ndarray:
    """From 2 m below to 40 m above, uneven."""
    rng = np.random.default_rng(seed)
    return (np.linspace(40, 2, 12)[:, None] * rng.uniform(0.9, 1.1, (frames, 12, 20))).astype(np.float32)


def load(folder: Path, values: np.ndarray, content: str | None = "metric", **declared: float) -> Signal:
    path = folder / "depth.npy"
    np.save(path, values)
    given = {"content": content, **declared} if content else declared
    return Depth().load(path, size=SIZE, fps=16, declared=given)


def rendered(signal: Signal, control: Depth | None = None) -> np.ndarray:
    """Grey in 0 to 1, (f, h, w)."""
    control = control or Depth()
    video = control.render(signal.read(0, signal.frames), control.fit(signal))
    assert torch.equal(video[0], video[1])
    return ((video[0] + 1) / 2).numpy()


def test_near_is_dark_and_far_is_bright(tmp_path: Path) -> None:
    grey = rendered(load(tmp_path, metres()))
    assert grey[:, -1].mean() < 0.1
    assert grey[:, 0].mean() > 0.9


def test_the_range_is_the_5th_and_95th_percentile_of_the_whole_signal(tmp_path: Path) -> None:
    values = metres()
    signal = load(tmp_path, values)
    far, near = np.percentile((1 / values).astype(np.float32), [5, 95])
    assert Depth().fit(signal) == DepthRange(float(far), float(near))
    expected = np.clip((near - 1 / values) / (near - far), 0, 1)
    assert np.abs(rendered(signal) - expected).max() < 1e-6


def test_metres_and_their_disparity_look_the_same(tmp_path: Path) -> None:
    one = rendered(load(tmp_path, metres()))
    two = rendered(load(tmp_path, 1 / metres(), "disparity"))
    assert np.abs(one - two).max() < 1e-5
    affine = rendered(load(tmp_path, 3 / metres() + 2, "disparity"))
    assert np.abs(one - affine).max() < 1e-5


def test_sky_is_as_far_as_can_be(tmp_path: Path) -> None:
    values = metres()
    values[:, :2] = np.inf
    signal = load(tmp_path, values)
    assert (signal.read(0, 5)[:, :2] == 0).all()
    assert (rendered(signal)[:, :2] == 1).all()
    assert "filled" not in str(signal.report)
    disparity = signal.read(0, 5)
    values[:, :2] = 0
    assert np.array_equal(load(tmp_path, values, sky=0.0).read(0, 5), disparity)


def test_a_wall_before_the_sky_is_something(tmp_path: Path) -> None:
    values = np.full((2, 12, 20), 5, np.float32)
    values[:, :4] = np.inf
    grey = rendered(load(tmp_path, values))
    assert (grey[:, :4] == 1).all()
    assert (grey[:, 4:] == 0).all()


def test_a_drawn_picture_is_shown_all_the_time(tmp_path: Path) -> None:
    levels = np.linspace(0, 255, 12 * 20).reshape(12, 20).astype(np.uint8)
    write_picture(tmp_path / "drawn.png", levels)
    signal = Depth().load(tmp_path / "drawn.png", size=SIZE, fps=16, frames=5, declared={"content": "picture"})
    assert np.array_equal(signal.read(4, 5)[0, ..., 1], levels)


def test_exr_is_metric_when_it_is_declared(tmp_path: Path) -> None:
    for number, frame in enumerate(metres(2)):
        (tmp_path / f"{number}.exr").write_bytes(exr(frame))
    signal = Depth().load(tmp_path, size=SIZE, fps=16, declared={"content": "metric"})
    assert np.allclose(signal.read(0, 2), 1 / metres(2))


def exr(values: np.ndarray) -> bytes:
    """One channel Z, 32-bit floats, uncompressed scan lines."""
    height, width = values.shape

    def attribute(name: bytes, kind: bytes, data: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<I", len(data)) + data

    box = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = b"\x76\x2f\x31\x01" + struct.pack("<I", 2)
    head += attribute(b"channels", b"chlist", b"Z\0" + struct.pack("<iB3xii", 2, 0, 1, 1) + b"\0")
    head += attribute(b"compression", b"compression", b"\0") + attribute(b"lineOrder", b"lineOrder", b"\0")
    head += attribute(b"dataWindow", b"box2i", box) + attribute(b"displayWindow", b"box2i", box)
    head += attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1))
    head += attribute(b"screenWindowCenter", b"v2f", bytes(8))
    head += attribute(b"screenWindowWidth", b"float", struct.pack("<f", 1)) + b"\0"
    lines = [struct.pack("<iI", y, width * 4) + values[y].astype("<f4").tobytes() for y in range(height)]
    first = len(head) + 8 * height
    offsets = struct.pack(f"<{height}Q", *(first + y * len(lines[0]) for y in range(height)))
    return head + offsets + b"".join(lines)


def test_what_numbers_mean_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="declare content='metric'") as error:
        load(tmp_path, metres(), None)
    assert error.value.code == "depth_content"
    with pytest.raises(ControlError, match="declare one of metric, disparity, picture"):
        load(tmp_path, metres(), "meters")
    with pytest.raises(ControlError, match="holds numbers"):
        load(tmp_path, metres(), "picture")


def test_an_npz_says_what_it_holds_by_the_name_of_its_array(tmp_path: Path) -> None:
    path = tmp_path / "depth.npz"
    np.savez(path, metric=metres(), fps=8)
    signal = Depth().load(path, size=SIZE, fps=16)
    assert signal.report.content == "metric"
    assert signal.report.fps == 8
    np.savez(path, disparity=1 / metres())
    assert Depth().load(path, size=SIZE, fps=16).report.content == "disparity"
    np.savez(path, depth=metres())
    with pytest.raises(ControlError, match="does not say"):
        Depth().load(path, size=SIZE, fps=16)
    np.savez(path, a=metres(), b=metres())
    with pytest.raises(ControlError, match="holds the arrays a, b"):
        Depth().load(path, size=SIZE, fps=16)


@pytest.mark.parametrize(
    ("value", "share", "code"),
    [
        (np.nan, 0.05, "depth_nonfinite"),
        (-np.inf, 0.05, "depth_nonfinite"),
        (-1.0, 0.05, "depth_negative"),
        (0.0, 0.05, "depth_zero"),
        (7.0, 1.0, "depth_constant"),
        (0.0, 1.0, "depth_constant"),
        (np.nan, 1.0, "depth_nonfinite"),
        (np.inf, 1.0, "depth_constant"),
    ],
)
def test_what_is_no_depth_is_refused(tmp_path: Path, value: float, share: float, code: str) -> None:
    values = metres()
    values.reshape(-1)[: int(share * values.size)] = value
    with pytest.raises(ControlError) as error:
        load(tmp_path, values)
    assert error.value.code == code
    assert any(word in str(error.value) for word in ("declare", "fill", "give", "shift"))


def test_a_flat_disparity_is_refused_however_it_is_flat(tmp_path: Path) -> None:
    values = np.zeros((5, 12, 20), np.float32)
    values[0, 0, 0] = 1  # not constant, and still nothing to draw
    with pytest.raises(ControlError, match="5th and 95th percentile"):
        Depth().fit(load(tmp_path, values, "disparity"))


def test_a_few_broken_values_are_filled_and_reported(tmp_path: Path) -> None:
    values = metres()
    values[0, 3, 4], values[2, 5, 6], values[3, 1, 1] = np.nan, -4, 0
    signal = load(tmp_path, values)
    notes = str(signal.report)
    assert "1 NaN or infinite values filled (0.08%)" in notes
    assert "1 negative values filled" in notes
    assert "1 zero values filled" in notes
    assert np.isfinite(signal.read(0, 5)).all()
    assert (signal.read(0, 5) > 0).all()


def test_a_depth_that_is_nearer_above_than_below_is_pointed_out(tmp_path: Path) -> None:
    assert "check that content is declared right" in str(load(tmp_path, metres(), "disparity").report)
    assert "check" not in str(load(tmp_path, metres(), "metric").report)


def test_a_file_that_changes_after_it_was_checked_is_refused(tmp_path: Path) -> None:
    signal = load(tmp_path, metres())
    load(tmp_path, metres(seed=1))
    with pytest.raises(ControlError, match=r"'depth\.npy' has changed since it was checked"):
        signal.read(0, 5)


def test_odd_arrays_are_read_or_refused(tmp_path: Path) -> None:
    plain = load(tmp_path, metres()).read(0, 5)
    for same in (np.asfortranarray(metres()), metres().astype(">f4"), metres()[..., None]):
        assert np.array_equal(load(tmp_path, same).read(0, 5), plain)
    assert load(tmp_path, metres()[0]).frames == 1
    for shape in ((5,), (0, 12, 20), (5, 12, 20, 2), (1, 5, 12, 20, 1)):
        with pytest.raises(ControlError, match="needed is"):
            load(tmp_path, np.ones(shape, np.float32))


def test_a_single_depth_is_shown_all_the_time(tmp_path: Path) -> None:
    path = tmp_path / "one.npy"
    np.save(path, metres()[0])
    signal = Depth().load(path, size=SIZE, fps=16, frames=81, declared={"content": "metric"})
    assert signal.frames == 81
    assert "one picture, shown for 81 frames" in str(signal.report)


def test_a_folder_of_16_bit_pictures_is_numbers(tmp_path: Path) -> None:
    for number, frame in enumerate(metres()):
        millimetres = (frame * 1000).astype(np.uint16)
        assert cv2.imwrite(str(tmp_path / f"{number:03d}.png"), millimetres)
    with pytest.raises(ControlError, match="declare content"):
        Depth().load(tmp_path, size=SIZE, fps=16)
    signal = Depth().load(tmp_path, size=SIZE, fps=16, declared={"content": "metric"})
    assert signal.frames == 5
    assert np.abs(rendered(signal) - rendered(load(tmp_path, metres()))).max() < 0.01


def test_pictures_in_a_folder_must_have_one_size(tmp_path: Path) -> None:
    write_picture(tmp_path / "0.png", np.zeros((12, 20), np.uint8))
    write_picture(tmp_path / "1.png", np.ones((12, 22), np.uint8))
    with pytest.raises(ControlError, match=r"'1\.png' has 12×22 pixels, the first picture 12×20"):
        Depth().load(tmp_path, size=SIZE, fps=16, declared={"content": "metric"})


def video(path: Path, levels: np.ndarray, comment: str = "") -> Path:
    with VideoWriter(path, fps=16, size=levels.shape[1:3], crf=1, metadata={"comment": comment}) as writer:
        writer.write(np.repeat(levels[..., None], 3, axis=-1))
    return path


def test_a_video_is_drawn_already_unless_it_or_the_caller_says_otherwise(tmp_path: Path) -> None:
    levels = np.rint(255 * np.clip(2 / metres(), 0, 1)).astype(np.uint8)  # bright is near: disparity
    as_is = Depth().load(video(tmp_path / "a.mp4", levels), size=SIZE, fps=16)
    assert as_is.report.content == "picture"
    control = Depth()
    assert control.fit(as_is) == DepthRange()
    shown = control.render(as_is.read(0, 5), DepthRange())
    assert ((shown[0] + 1) / 2 * 255 - torch.from_numpy(levels)).abs().mean() < 3
    declared = Depth().load(tmp_path / "a.mp4", size=SIZE, fps=16, declared={"content": "disparity"})
    told = Depth().load(video(tmp_path / "b.mp4", levels, "depth=disparity"), size=SIZE, fps=16)
    assert told.report.content == "disparity"
    assert np.array_equal(rendered(told), rendered(declared))
    assert rendered(told)[:, -1].mean() < 0.15  # near is dark once drawn by us


def test_a_video_that_shows_something_only_once_is_accepted(tmp_path: Path) -> None:
    levels = np.full((90, 12, 20), 99, np.uint8)
    levels[1, :6] = 200  # between two of the frames that are looked at first
    signal = Depth().load(video(tmp_path / "a.mp4", levels), size=SIZE, fps=16)
    assert signal.report.high > 190


def test_a_video_of_one_grey_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="all grey levels are"):
        Depth().load(video(tmp_path / "a.mp4", np.full((5, 12, 20), 99, np.uint8)), size=SIZE, fps=16)


def test_numbers_are_not_drawn_without_their_range(tmp_path: Path) -> None:
    signal = load(tmp_path, metres())
    with pytest.raises(ControlError, match="fit it on the whole signal first"):
        Depth().render(signal.read(0, 1), DepthRange())


def test_percentiles_of_a_sample_are_near_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every 27th value of a structured signal: off by less than 1 % of the range, and the same each time."""
    rows = np.linspace(0.02, 0.5, 48, dtype=np.float32)[:, None]
    values = rows * (1 + 0.3 * np.sin(np.arange(88) / 9 + np.arange(40)[:, None, None] / 5)).astype(np.float32)
    signal = ArraySignal(values, 16.0, LoadReport("depth", "disparity", 40, 16.0, 48, 88))
    exact = Depth().fit(signal)
    monkeypatch.setattr(module, "EXACT", values.size // 26)
    sampled = Depth().fit(signal)
    assert sampled != exact
    span = exact.near - exact.far
    assert abs(sampled.near - exact.near) < 0.01 * span
    assert abs(sampled.far - exact.far) < 0.01 * span
    assert Depth().fit(signal) == sampled


def test_fitting_a_long_signal_holds_no_more_than_its_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thinned span that is kept as a view keeps the whole span alive: four minutes then took 260 MB."""
    whole = np.random.default_rng(0).gamma(2, 1, (32, 48, 88)).astype(np.float32)

    class Endless:
        frames, fps, height, width = 1280, 16.0, 48, 88
        report = LoadReport("depth", "disparity", 1280, 16.0, 48, 88)

        def read(self, start: int, stop: int) -> np.ndarray:
            return whole[: stop - start].copy()

    monkeypatch.setattr(module, "EXACT", 2**16)
    tracemalloc.start()
    try:
        Depth().fit(Endless())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * whole.nbytes  # 40 spans went by


def test_quirks_draw_in_8_bits_before_resizing(tmp_path: Path) -> None:
    """As published: range over 1 + 80·k frames, truncated to 8 bits, then Pillow's bicubic at another aspect."""
    disparity = np.random.default_rng(0).gamma(2, 1, (83, 20, 30)).astype(np.float32)
    np.save(tmp_path / "d.npy", disparity)
    control = Depth(quirks=True)
    signal = control.load(tmp_path / "d.npy", size=SIZE, fps=16, declared={"content": "disparity"})
    expected = np.repeat(depth_uint8(depth_normalised(disparity))[..., None], 3, axis=-1)
    drawn = control.render(signal.read(0, 81), control.fit(signal))
    levels = ((drawn + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
    assert np.array_equal(levels, resize_frames(expected, SIZE, "bicubic"))
