"""What every control must do, whichever it is: a new one is tested here on its first day."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from longvie import controls
from longvie.controls.control import DENSE_KINDS, Control, Scale
from longvie.controls.signals import Signal
from longvie.errors import InputError
from longvie.media import VideoWriter

SIZE = (24, 40)  # of the model
FRAMES = 33


def _depth(folder: Path, frames: int) -> tuple[Path, dict]:
    """Metres, falling downwards, with sky and something that moves."""
    rows = np.linspace(40, 2, 30, dtype=np.float32)[:, None]
    depth = np.broadcast_to(rows, (frames, 30, 50)).copy()
    depth[:, :4] = np.inf
    for frame in range(frames):
        depth[frame, 10:20, frame % 40 : frame % 40 + 8] = 3
    np.save(folder / "depth.npy", depth)
    return folder / "depth.npy", {"content": "metric"}


def _sketch(folder: Path, frames: int) -> tuple[Path, dict]:
    """Dark lines on white."""
    lines = np.full((frames, 30, 50), 255, np.uint8)
    for frame in range(frames):
        lines[frame, 5:25, 5 + frame % 40] = 0
    np.save(folder / "sketch.npy", lines)
    return folder / "sketch.npy", {}


def _segmentation(folder: Path, frames: int) -> tuple[Path, dict]:
    labels = np.zeros((frames, 30, 50), np.uint8)
    labels[:, 15:] = 1
    for frame in range(frames):
        labels[frame, 8:18, frame % 40 : frame % 40 + 8] = 2 + frame % 5
    np.savez(folder / "labels.npz", labels=labels)
    return folder / "labels.npz", {}


def _tracks(folder: Path, frames: int) -> tuple[Path, dict]:
    """Points that come, drift and go."""
    rng = np.random.default_rng(0)
    start, drift = rng.uniform([0, 0], [50, 30], (40, 2)), rng.uniform(-0.5, 0.5, (40, 2))
    far = np.broadcast_to(rng.uniform(1, 20, (40, 1)), (frames, 40, 1))
    points = np.concatenate([start + drift * np.arange(frames)[:, None, None], far], axis=-1)
    visible = rng.random((frames, 40)) > 0.2
    np.savez(folder / "tracks.npz", points=points, visible=visible, size=[30, 50])
    return folder / "tracks.npz", {}


SOURCES = {"depth": _depth, "sketch": _sketch, "segmentation": _segmentation, "tracks": _tracks}


@pytest.fixture(params=controls.names())
def name(request: pytest.FixtureRequest) -> str:
    assert request.param in SOURCES, f"give {request.param} a source here, so that it is held to the contract"
    return request.param


@pytest.fixture
def control(name: str) -> Control:
    return controls.get(name)


@pytest.fixture
def signal(control: Control, tmp_path: Path) -> Signal:
    return load(control, tmp_path)


def load(control: Control, folder: Path, *, have: int = FRAMES, **how: object) -> Signal:
    source, declared = SOURCES[control.name](folder, have)
    return control.load(source, size=SIZE, fps=16, declared=declared, **how)


def test_it_says_which_branch_takes_it(name: str, control: Control) -> None:
    assert control.name == name
    assert control.branch in ("dense", "sparse")
    if control.branch == "dense":
        assert control.kind is not None
        assert DENSE_KINDS[control.kind] == name
    else:
        assert control.kind is None


def test_loading_reports_size_rate_length_and_range(control: Control, signal: Signal) -> None:
    assert (signal.frames, signal.height, signal.width, signal.fps) == (FRAMES, *SIZE, 16)
    report = signal.report
    assert (report.control, report.frames, report.height, report.width, report.fps) == (
        control.name,
        FRAMES,
        30,
        50,
        16,
    )
    assert report.low is not None
    assert report.high is not None
    assert report.low < report.high
    for part in (control.name, str(FRAMES), "30×50", "16 fps"):
        assert part in str(report)


def test_rendering_gives_pictures_of_the_models_size(control: Control, signal: Signal) -> None:
    video = control.render(signal.read(0, FRAMES), control.fit(signal))
    assert video.shape == (3, FRAMES, *SIZE)
    assert video.dtype == torch.float32
    assert video.min() >= -1
    assert video.max() <= 1
    assert video.std() > 0.01


@pytest.mark.parametrize("step", [1, 5, 8])
def test_rendering_in_spans_is_rendering_whole(control: Control, signal: Signal, step: int) -> None:
    scale = control.fit(signal)
    spans = list(controls.rendered_spans(control, signal, scale, step=step))
    assert_close(torch.cat(spans, dim=1), control.render(signal.read(0, FRAMES), scale), rtol=0, atol=0)


def test_spans_may_be_read_in_any_order(control: Control, signal: Signal) -> None:
    scale = control.fit(signal)
    whole = control.render(signal.read(0, FRAMES), scale)
    for start, stop in ((20, 24), (3, 9), (32, 33), (0, 1)):
        assert_close(control.render(signal.read(start, stop), scale), whole[:, start:stop], rtol=0, atol=0)


def test_a_scale_survives_json(control: Control, signal: Signal) -> None:
    scale = control.fit(signal)
    assert isinstance(scale, control.scale)
    assert issubclass(control.scale, Scale)
    again = control.scale.from_json(json.loads(json.dumps(scale.to_json(), allow_nan=False)))
    assert again == scale
    assert_close(control.render(signal.read(0, 3), again), control.render(signal.read(0, 3), scale), rtol=0, atol=0)


def test_fitting_and_rendering_twice_is_the_same(control: Control, signal: Signal) -> None:
    first, second = control.fit(signal), control.fit(signal)
    assert first == second
    assert torch.equal(control.render(signal.read(2, 7), first), control.render(signal.read(2, 7), second))


@pytest.mark.parametrize(("have", "fix"), [(31, 'add 2, or use align="pad-last"'), (35, 'drop 2, or use align="trim"')])
def test_another_length_names_both_and_the_fix(control: Control, tmp_path: Path, have: int, fix: str) -> None:
    with pytest.raises(InputError, match=f"{control.name} covers {have} frames, the clip needs {FRAMES}: {fix}"):
        load(control, tmp_path, have=have, frames=FRAMES)


@pytest.mark.parametrize(("have", "align"), [(31, "pad-last"), (35, "trim"), (20, "resample"), (50, "resample")])
def test_lengths_are_aligned_when_asked(control: Control, tmp_path: Path, have: int, align: str) -> None:
    signal = load(control, tmp_path, have=have, frames=FRAMES, align=align)
    assert signal.frames == FRAMES
    assert signal.report.notes
    scale = control.fit(signal)
    whole = control.render(signal.read(0, FRAMES), scale)
    spans = list(controls.rendered_spans(control, signal, scale, step=7))
    assert_close(torch.cat(spans, dim=1), whole, rtol=0, atol=0)


def test_clips_are_joined_over_one_shared_frame(control: Control, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    parts = [load(control, folder, have=9) for folder in folders]
    joined = control.join(parts)
    assert joined.frames == 17
    scale = control.fit(joined)
    whole = control.render(joined.read(0, 17), scale)
    assert_close(torch.cat(list(controls.rendered_spans(control, joined, scale, step=4)), dim=1), whole, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (b"", ".mp4"),
        (b"nonsense" * 99, ".mp4"),
        (b"", ".npy"),
        (b"nonsense" * 99, ".npz"),
        (b"", ".png"),
        (b"x", ".txt"),
    ],
)
def test_bytes_that_are_nothing_are_refused(control: Control, tmp_path: Path, content: bytes, ending: str) -> None:
    path = tmp_path / f"in{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="in"):
        control.load(path, size=SIZE, fps=16)


def test_an_empty_folder_and_a_missing_file_are_refused(control: Control, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"):
        control.load(tmp_path, size=SIZE, fps=16)
    with pytest.raises(InputError, match="there is no file"):
        control.load(tmp_path / "nowhere.mp4", size=SIZE, fps=16)


def test_a_misspelt_declaration_is_refused(control: Control, tmp_path: Path) -> None:
    source, _ = SOURCES[control.name](tmp_path, 3)
    with pytest.raises(InputError, match="did you mean 'fps'"):
        control.load(source, size=SIZE, fps=16, declared={"fsp": 3})


@pytest.mark.parametrize("fps", ["16", True, 0, -3, float("nan"), float("inf"), 1e9])
def test_a_rate_that_is_none_is_refused(control: Control, tmp_path: Path, fps: object) -> None:
    source, declared = SOURCES[control.name](tmp_path, 3)
    with pytest.raises(InputError, match="give a number above 0"):
        control.load(source, size=SIZE, fps=16, declared=declared | {"fps": fps})


def test_a_video_of_one_frame_is_not_a_picture(control: Control, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (1, *SIZE, 3), dtype=np.uint8)
    with VideoWriter(tmp_path / "one.mp4", fps=16, size=SIZE) as writer:
        writer.write(levels)
    with pytest.raises(InputError, match="covers 1 frame, the clip needs 81: add 80"):
        control.load(tmp_path / "one.mp4", size=SIZE, fps=16, frames=81)


def test_a_drawn_video_passes_at_the_models_size(control: Control, tmp_path: Path) -> None:
    """Drawn once by the control itself, written, and loaded again."""
    signal = load(control, tmp_path, have=9)
    drawn = control.render(signal.read(0, 9), control.fit(signal))
    with VideoWriter(tmp_path / "drawn.mp4", fps=16, size=SIZE, crf=1, metadata={"comment": "depth=picture"}) as writer:
        writer.write(drawn)
    again = control.load(tmp_path / "drawn.mp4", size=SIZE, fps=16, frames=9)
    assert (again.frames, again.height, again.width) == (9, *SIZE)
    rendered = control.render(again.read(0, 9), control.fit(again))
    assert (rendered - drawn).abs().mean() < 0.15
