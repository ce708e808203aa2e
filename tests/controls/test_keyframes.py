"""Pictures at given times."""

import json
from pathlib import Path

import numpy as np
import pytest

from longvie.controls.keyframes import latent_of, read_keyframes
from longvie.errors import InputError, MediaError, ScriptError
from longvie.media import write_picture

FRAMES, FPS = 81, 16.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name, np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8))
    return tmp_path


def read(folder: Path, entries: object) -> tuple:
    path = folder / "keyframes.json"
    path.write_text(json.dumps(entries))
    return read_keyframes(path, frames=FRAMES, fps=FPS)


def test_latent_frames_hold_one_frame_and_then_four() -> None:
    assert [latent_of(frame) for frame in (0, 1, 4, 5, 8, 80)] == [0, 1, 1, 2, 2, 20]


def test_keyframes_come_in_order_with_their_frames(folder: Path) -> None:
    entries = [{"time": 2.5, "image": "b.png", "strength": 0.5, "caption": "night"}, {"time": 0, "image": "a.png"}]
    first, second = read(folder, {"keyframes": entries})
    assert (first.frame, first.latent, first.strength, first.caption) == (0, 0, 1.0, None)
    assert (second.frame, second.latent, second.strength, second.caption) == (40, 10, 0.5, "night")
    assert first.picture((12, 20)).shape == (3, 1, 12, 20)
    assert read(folder, entries) == (first, second)


def test_the_end_counts_as_the_last_frame(folder: Path) -> None:
    assert read(folder, [{"time": FRAMES / FPS, "image": "a.png"}])[0].frame == 80


def test_absolute_paths_stay(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "c.png"
    write_picture(elsewhere, np.zeros((24, 40, 3), np.uint8))
    assert read(folder, [{"time": 0, "image": str(elsewhere)}])[0].image == elsewhere


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"keyframe": []}, "did you mean 'keyframes'"),
        ({"keyframes": 3}, "holds no list"),
        ([3], r"keyframes\[0\] is int"),
        ([{"time": 0}], "lacks 'image'"),
        ([{"time": 0, "image": "a.png", "strenght": 1}], "did you mean 'strength'"),
        ([{"time": 0, "image": "a.png", "strength": 2.0}], "strength is 2.0, needed is a number from 0 to 1"),
        ([{"time": 0, "image": "a.png", "strength": -0.1}], "from 0 to 1"),
        ([{"time": 0, "image": "a.png", "strength": True}], "from 0 to 1"),
        ([{"time": 5.2, "image": "a.png"}], "time is 5.2 s, the video ends at 5.0625 s"),
        ([{"time": -1, "image": "a.png"}], "seconds from 0 on"),
        ([{"time": 0, "image": ""}], "needs the name of a picture"),
        ([{"time": 0, "image": 7}], "needs the name of a picture"),
        ([{"time": 0, "image": "a.png", "caption": " "}], "caption: the prompt is empty"),
        ([{"time": 1, "image": "a.png"}, {"time": 1.01, "image": "b.png"}], "keep one, or move one"),
        ([{"time": 0, "image": "a.png"}] * 1001, "at most 1000"),
    ],
)
def test_what_cannot_be_followed_is_refused(folder: Path, entries: object, match: str) -> None:
    with pytest.raises(ScriptError, match=match):
        read(folder, entries)


def test_pictures_are_read_before_anything_else_happens(folder: Path) -> None:
    with pytest.raises(MediaError, match=r"there is no file 'missing\.png'"):
        read(folder, [{"time": 0, "image": "missing.png"}])
    with pytest.raises(InputError):
        read(folder, [{"time": 0, "image": "keyframes.json"}])
