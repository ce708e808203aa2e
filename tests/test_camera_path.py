"""A camera path as a control: from the first frame's depth, in both engines, refused where it cannot be gone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longvie import LongVie, LongVieConfig
from longvie.controls.diorama import DioramaDepth, DioramaTracks
from longvie.data.export import Export, export
from longvie.errors import ConfigError, ControlError, InputError, ScriptError
from longvie.models.models import LONGLIVE_1_3B, TINY
from longvie.request import Inputs, Request, prepare

WAY = "pan=10[1s] | forward=0.2,tilt=-2[500ms] | still"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene's files at the size of the tiny model."""
    folder = tmp_path_factory.mktemp("files") / "scene"
    export(Export(11, 33, fps=float(TINY.fps), size=TINY.size), folder)
    return folder


def asked(files: Path, camera: str, **controls: Any) -> Request:
    config = LongVieConfig.from_mapping({
        "model": {"ckpt": "tiny", "frames": 33},
        "prompt": "a red ball",
        "controls": {"image": str(files / "first.png"), "depth": str(files / "depth.npz"), "camera": camera} | controls,
    })  # fmt: skip
    with Inputs() as inputs:
        return prepare(config, TINY, inputs)


def test_depth_and_tracks_come_out_of_the_first_frame(files: Path) -> None:
    script = asked(files, WAY, tracks=str(files / "tracks.npz"), depth_strength=0.5).script
    tracks, depth = script.controls
    assert isinstance(tracks.signal, DioramaTracks) and isinstance(depth.signal, DioramaDepth)
    assert (tracks.name, depth.name, depth.strength, depth.start, depth.stop) == ("tracks", "depth", 0.5, 0, None)
    assert [frame for frame, _ in depth.signal.diorama.paces] == [0, 16, 24]
    first = np.load(files / "depth.npz")["disparity"][0]
    assert np.mean(np.abs(depth.signal.read(0, 1)[0] - first) < 0.05 * first + 1e-3) > 0.9
    assert not np.array_equal(depth.signal.read(0, 1), depth.signal.read(20, 21))


def test_one_frame_of_depth_is_enough_and_none_lets_it_turn(files: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", disparity=np.load(files / "depth.npz")["disparity"][:1])
    whole, one = (asked(files, WAY, depth=str(path)).script for path in (files / "depth.npz", tmp_path / "one.npz"))
    assert np.array_equal(*(it.controls[-1].signal.read(0, 33) for it in (whole, one)))
    turning = asked(files, "pan=10", depth=None).script
    assert [it.name for it in turning.controls] == ["tracks"]
    with pytest.raises(ControlError, match="how far away"):
        asked(files, "forward=0.1", depth=None)


@pytest.mark.parametrize(
    ("camera", "error", "said"),
    [
        ("spin=3", ControlError, "the camera has no 'spin'"),
        ("pan", ControlError, "write pan=0.2"),
        ("pan=1e9", ControlError, "use -90 to 90"),
        ("pan=1[9s] | still", ScriptError, "begins at 9 s"),
        ("", ScriptError, "empty"),
    ],
)
def test_a_way_that_cannot_be_gone_is_refused(files: Path, camera: str, error: type[InputError], said: str) -> None:
    with pytest.raises(error, match=said):
        asked(files, camera)


def test_models_without_tracks_and_wrong_views_are_refused(files: Path) -> None:
    config = LongVieConfig.from_mapping(
        {"model": {"ckpt": "longlive-1.3b"}, "prompt": "x", "controls": {"camera": "pan=1"}}
    )
    with Inputs() as inputs, pytest.raises(ControlError, match="was not trained on tracks"):
        prepare(config, LONGLIVE_1_3B, inputs)
    with pytest.raises(ConfigError, match="camera_view"):
        asked(files, "pan=1", camera_view=500.0)


@pytest.mark.parametrize("engine", ["clip", "live"])
def test_a_video_is_made_and_made_again_from_its_run(files: Path, tmp_path: Path, engine: str) -> None:
    model = LongVie.from_pretrained("tiny")
    how: dict[str, Any] = {
        "prompt": "a red ball",
        "duration_sec": 33 / 16,
        "image": files / "first.png",
        "engine": engine,
    }
    for name in ("a", "b"):
        model.generate(controls={"depth": files / "depth.npz", "camera": WAY}, out=tmp_path / f"{name}.mp4", **how)  # type: ignore[dict-item]
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_the_way_is_part_of_what_was_asked(files: Path) -> None:
    one, other = (asked(files, camera).script.facts()["controls"] for camera in (WAY, WAY.replace("10", "11")))
    assert one != other and one == asked(files, WAY).script.facts()["controls"]
    assert replace(asked(files, WAY).script, seed=1).facts()["controls"] == one
