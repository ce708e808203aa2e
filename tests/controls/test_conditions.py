"""LongVie's cond.json."""

import json
from pathlib import Path

import numpy as np
import pytest

from longvie import controls
from longvie.controls.conditions import read_conditions
from longvie.errors import ControlError, InputError, ScriptError
from longvie.media import VideoWriter

SIZE = (12, 20)


def clip(folder: Path, name: str, first: int, frames: int = 81) -> str:
    """Grey that rises from frame to frame, a gradient on top."""
    levels = np.arange(first, first + frames, dtype=np.uint8)[:, None, None] + np.arange(40, dtype=np.uint8)
    with VideoWriter(folder / name, fps=16, size=(24, 40), crf=1) as writer:
        writer.write(np.repeat(np.broadcast_to(levels, (frames, 24, 40))[..., None], 3, axis=-1))
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valley")
    for number in range(2):
        for kind in ("depth", "track"):
            clip(folder, f"{kind}_{number}.mp4", 80 * number)
    clip(folder, "short.mp4", 0, 79)
    return folder


def write(folder: Path, clips: object) -> Path:
    path = folder / "cond.json"
    path.write_text(json.dumps(clips))
    return path


def two(**changes: object) -> list[dict]:
    clips = [{"text": f"clip {n}", "depth": f"depth_{n}.mp4", "track": f"track_{n}.mp4"} for n in range(2)]
    clips[1] |= changes
    return clips


def test_clips_become_prompts_by_time_and_files_by_control(folder: Path) -> None:
    conditions = read_conditions(write(folder, two()))
    assert conditions.prompts == ("clip 0", "clip 1")
    assert conditions.frames == 161
    assert conditions.starts() == (0, 81)
    assert conditions.timeline(16).at(81 / 16) == "clip 1"
    assert conditions.timeline(16).at(80 / 16) == "clip 0"
    assert set(conditions.files) == {"depth", "tracks"}


@pytest.mark.parametrize("name", ["depth", "tracks"])
@pytest.mark.parametrize("quirks", [False, True])
def test_clips_are_joined_over_their_shared_frame(folder: Path, name: str, quirks: bool) -> None:
    conditions = read_conditions(write(folder, two()))
    control = controls.get(name, quirks=quirks)
    signal = conditions.signal(control, size=SIZE, fps=16)
    assert (signal.frames, signal.height, signal.width) == (161, *SIZE)
    levels = signal.read(0, 161)[:, :, 4:16].astype(float).mean(axis=(1, 2, 3))
    assert np.abs(np.diff(levels) - 1).max() < 0.75  # rises by one level a frame, over the seam too
    assert np.array_equal(signal.read(78, 84), signal.read(0, 161)[78:84])
    video = control.render(signal.read(79, 83), control.fit(signal))
    assert video.shape == (3, 4, *SIZE)


@pytest.mark.parametrize(
    ("clips", "match"),
    [
        ([], "holds no clips"),
        ({"text": "x"}, "holds no clips"),
        ([3], "clip 1 of cond.json is int"),
        ([{"depth": "a.mp4"}], "lacks 'text'"),
        ([{"text": " "}], "clip 1 of cond.json: the prompt is empty"),
        ([{"text": 3}], "needed is text"),
        (two(tracks="x.mp4"), "did you mean 'track'"),
        (two(depth=3), "depth of clip 2 of cond.json needs the name of a file"),
        ([two()[0], {"text": "x", "depth": "depth_1.mp4"}], "1 of 2 clips have tracks: give it for all"),
        ([{"text": "x"}] * 1001, "at most 1000"),
    ],
)
def test_what_is_no_list_of_clips_is_refused(folder: Path, clips: object, match: str) -> None:
    with pytest.raises(ScriptError, match=match):
        read_conditions(write(folder, clips))


def test_json_is_read_strictly(folder: Path) -> None:
    path = folder / "cond.json"
    path.write_text('[{"text": "a", "text": "b"}]')
    with pytest.raises(ScriptError, match="twice"):
        read_conditions(path)


def test_a_clip_of_another_length_says_which(folder: Path) -> None:
    conditions = read_conditions(write(folder, two(depth="short.mp4")))
    with pytest.raises(ControlError, match="clip 2: depth covers 79 frames, the clip needs 81: add 2"):
        conditions.signal(controls.get("depth"), size=SIZE, fps=16)
    conditions = read_conditions(write(folder, two(depth="gone.mp4")))
    with pytest.raises(InputError, match=r"clip 2: there is no file 'gone\.mp4'"):
        conditions.signal(controls.get("depth"), size=SIZE, fps=16)


def test_a_control_that_is_not_there_is_named(folder: Path) -> None:
    conditions = read_conditions(write(folder, two()))
    with pytest.raises(ScriptError, match="hold no sketch; there are depth, tracks"):
        conditions.signal(controls.get("sketch"), size=SIZE, fps=16)
