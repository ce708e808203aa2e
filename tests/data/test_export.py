"""A scene as files: what the controls read back is what the renderer knew."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from longvie import controls
from longvie.controls.beats import read_beats, strengths
from longvie.controls.keyframes import read_keyframes
from longvie.controls.text import read_timeline
from longvie.data.export import LIFE, Export, export
from longvie.data.render import render
from longvie.data.world import scene
from longvie.errors import ConfigError, LimitError
from longvie.media import probe_video, read_picture, read_video

SIZE, FRAMES = (32, 48), 100
ASKED = Export(seed=7, frames=FRAMES, size=SIZE, points=40, with_flow=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene that is longer than the life of a point."""
    out = tmp_path_factory.mktemp("world") / "scene"
    export(ASKED, out)
    return out


@pytest.fixture(scope="module")
def truth() -> object:
    return render([scene(7, "test")], range(FRAMES), size=SIZE)[0]


def test_everything_is_there_and_the_list_says_so(folder: Path) -> None:
    files = export(ASKED, folder)  # finds everything and does nothing
    names = {file.name for file in files}
    assert names == {
        "truth.mp4", "sketch.mp4", "depth.npz", "segmentation.npz", "tracks.npz", "flow.npz", "first.png",
        "prompts.json", "keyframes.json", "beats.json", "cameras.json", "scene.json",
    }  # fmt: skip
    assert files[-1].name == "scene.json"
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_the_video_is_the_rendered_one(folder: Path, truth: object) -> None:
    info = probe_video(folder / "truth.mp4")
    assert (info.frames, info.height, info.width, info.fps) == (FRAMES, *SIZE, 16)
    seen = read_video(folder / "truth.mp4", stop=9).astype(float)
    picture = (truth.picture[:, :9].permute(1, 2, 3, 0).numpy() + 1) * 127.5
    assert np.abs(seen - picture).mean() < 6
    assert np.abs(read_picture(folder / "first.png") - picture[0]).max() <= 0.51


@pytest.mark.parametrize("name", ["depth", "sketch", "segmentation", "tracks"])
def test_every_control_reads_its_file_as_it_is(folder: Path, name: str) -> None:
    control = controls.get(name)
    file = folder / (f"{name}.mp4" if name == "sketch" else f"{name}.npz")
    signal = control.load(file, size=SIZE, fps=16.0, frames=FRAMES)  # no align: the length agrees
    scale = control.fit(signal)
    drawn = control.render(signal.read(0, FRAMES), scale)
    assert drawn.shape == (3, FRAMES, *SIZE)
    assert drawn.std() > 0.05
    assert not signal.report.notes


def test_depth_and_labels_are_the_rendered_ones(folder: Path, truth: object) -> None:
    depth = np.load(folder / "depth.npz")["disparity"].astype(np.float32)
    assert np.allclose(depth, 1 / truth.depth.numpy(), rtol=2e-3, atol=1e-4)
    assert np.array_equal(np.load(folder / "segmentation.npz")["labels"], truth.labels.numpy())


def test_points_live_for_81_frames_and_lie_where_the_depth_says(folder: Path, truth: object) -> None:
    with np.load(folder / "tracks.npz") as file:
        points, visible, starts = (file[name] for name in ("points", "visible", "starts"))
    assert points.shape[0] == LIFE
    assert starts.max() + LIFE == FRAMES
    age, column = np.nonzero(visible)
    frame = starts[column] + age
    x, y, far = points[age, column].T
    shown = truth.depth.numpy()[frame, y.astype(int), x.astype(int)]
    assert np.median(np.abs(shown / far - 1)) < 0.02
    for number in range(FRAMES):  # somebody is always seen, and nobody twice at the border
        assert (frame == number).any()
    second = starts > 0
    assert frame[second[column]].min() == LIFE


def test_words_pictures_and_beats_are_those_of_the_scene(tmp_path: Path) -> None:
    out = tmp_path / "long"
    export(Export(seed=7, frames=24 * 4, fps=4.0, size=(16, 16), points=4), out)
    world, rate = scene(7, "test"), 4.0
    lines = read_timeline(out / "prompts.json").within(24.0).lines
    assert [line.prompt for line in lines] == [words for _, words in world.captions(24.0)]
    keys = read_keyframes(out / "keyframes.json", frames=96, fps=rate)
    assert [key.time for key in keys] == [10.0, 20.0]
    assert np.array_equal(read_picture(keys[0].image), np.asarray(read_picture(out / "keyframes" / "001.png")))
    felt = strengths(read_beats(out / "beats.json"), frames=96, fps=rate)
    assert np.allclose(felt, world.beats(np.arange(96) / rate), atol=2e-3)


def test_poses_place_the_camera(folder: Path, truth: object) -> None:
    cameras = json.loads((folder / "cameras.json").read_text())
    assert torch.allclose(torch.tensor(cameras["poses"]), truth.poses, atol=1e-6)
    assert cameras["focal"] == pytest.approx(truth.focal)
    assert np.load(folder / "flow.npz")["flow"].shape == (FRAMES, *SIZE, 2)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    asked = Export(seed=2, frames=5, size=(16, 32), points=8)
    one, two = export(asked, tmp_path / "one"), export(asked, tmp_path / "two")
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in two]


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    export(Export(seed=2, frames=20, size=(16, 16), points=4), tmp_path / "a", tell=lambda *now: heard.append(now))
    assert heard == [(8, 20), (16, 20), (20, 20)]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="--force"):
        export(Export(seed=2, frames=1, size=(16, 16), points=4), tmp_path)
    out = tmp_path / "scene"
    export(Export(seed=2, frames=1, size=(16, 16), points=4), out)
    with pytest.raises(ConfigError, match="--force"):
        export(Export(seed=3, frames=1, size=(16, 16), points=4), out)
    export(Export(seed=3, frames=1, size=(16, 16), points=4), out, force=True)
    assert json.loads((out / "scene.json").read_text())["asked"]["seed"] == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"frames": 0},
        {"size": (15, 16)},
        {"size": (16, 17)},
        {"fps": 0.0},
        {"fps": float("nan")},
        {"points": 0},
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Export(**({"seed": 1, "frames": 1} | wrong))  # type: ignore[arg-type]


def test_more_than_we_accept_is_refused() -> None:
    with pytest.raises(LimitError):
        Export(seed=1, frames=10**6)
    with pytest.raises(LimitError):
        Export(seed=1, frames=1, size=(10_000, 10_000))
