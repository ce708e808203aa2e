"""Lines: drawn, or found in a film."""

from pathlib import Path

import numpy as np
import pytest
import torch

from longvie.controls.sketch import Edges, Sketch, SketchScale, find_edges
from longvie.errors import ControlError
from longvie.media import VideoWriter, write_picture

SIZE = (24, 40)


def crosses(frames: int = 4) -> np.ndarray:
    """White on black, (f, h, w)."""
    drawing = np.zeros((frames, *SIZE), np.uint8)
    drawing[:, 11:13] = 255
    for frame in range(frames):
        drawing[frame, :, 4 + 5 * frame : 6 + 5 * frame] = 255
    return drawing


def load(folder: Path, drawing: np.ndarray, control: Sketch | None = None, **declared: str):  # noqa: ANN201
    np.save(folder / "sketch.npy", drawing)
    return (control or Sketch()).load(folder / "sketch.npy", size=SIZE, fps=16, declared=declared)


def test_white_lines_on_black_pass_as_they_are(tmp_path: Path) -> None:
    control, signal = Sketch(), load(tmp_path, crosses())
    assert control.fit(signal) == SketchScale(inverted=False)
    video = control.render(signal.read(0, 4), control.fit(signal))
    assert torch.equal(video[2], torch.from_numpy(crosses()).float() / 127.5 - 1)
    assert signal.report.notes == ()


def test_dark_lines_on_white_are_turned_and_reported(tmp_path: Path) -> None:
    control, signal = Sketch(), load(tmp_path, 255 - crosses())
    scale = control.fit(signal)
    assert scale.inverted
    assert "dark lines on white" in str(signal.report)
    video = control.render(signal.read(0, 4), scale)
    assert torch.allclose(video[0], torch.from_numpy(crosses()).float() / 127.5 - 1, atol=1e-6)


def test_the_whole_signal_decides_not_the_frame(tmp_path: Path) -> None:
    drawing = crosses(6)
    drawing[2] = 255  # one white frame is no white paper
    control, signal = Sketch(), load(tmp_path, drawing)
    scale = control.fit(signal)
    assert not scale.inverted
    assert (control.render(signal.read(2, 3), scale) == 1).all()


@pytest.mark.parametrize("scaled", [crosses() > 0, crosses() / 255, (crosses() // 255).astype(np.uint8)])
def test_true_and_false_and_shares_are_levels(tmp_path: Path, scaled: np.ndarray) -> None:
    assert np.array_equal(load(tmp_path, scaled).read(0, 4), crosses())


def test_a_picture_is_shown_all_the_time(tmp_path: Path) -> None:
    write_picture(tmp_path / "sketch.png", crosses(1)[0])
    signal = Sketch().load(tmp_path / "sketch.png", size=SIZE, fps=16, frames=17)
    assert signal.frames == 17
    assert np.array_equal(signal.read(16, 17)[0], crosses(1)[0])


@pytest.mark.parametrize("edges", ["canny", "sobel"])
def test_edges_of_a_film_are_white_on_black(tmp_path: Path, edges: Edges) -> None:
    film = np.full((4, *SIZE, 3), 220, np.uint8)
    film[:, 8:16, 10:30] = (200, 30, 30)
    with VideoWriter(tmp_path / "film.mp4", fps=16, size=SIZE, crf=1) as writer:
        writer.write(film)
    control = Sketch(edges=edges)
    signal = control.load(tmp_path / "film.mp4", size=SIZE, fps=16, declared={"content": "video"})
    assert "edges" in signal.report.content
    scale = control.fit(signal)
    assert not scale.inverted
    video = control.render(signal.read(0, 4), scale)
    assert (video[:, :, 11, 15:25] == -1).all()  # inside
    assert (video[:, :, 2:4, 5:35] == -1).all()  # outside
    assert video[0, 0, 6:10, 20].max() > 0.5  # on the border


def test_edges_know_nothing_where_nothing_is() -> None:
    for edges in ("canny", "sobel"):
        assert not find_edges(np.full(SIZE, 99, np.uint8), edges, 80.0, 160.0).any()


def test_a_sketch_without_lines_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="draw white lines on black") as error:
        load(tmp_path, np.full((3, *SIZE), 7, np.uint8))
    assert error.value.code == "sketch_empty"
    with pytest.raises(ControlError, match="up to 4096"):
        load(tmp_path, np.full((3, *SIZE), 4096, np.uint16))
    with pytest.raises(ControlError, match="declare content='lines' or 'video'"):
        load(tmp_path, crosses(), content="film")
