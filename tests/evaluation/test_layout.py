"""The official layout is read in both forms; what is odd in it is left out and said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from items import ITEM, SIZE, noise, truth_of, video

from longvie.errors import InputError
from longvie.evaluation.layout import Entry, official, read_layout
from longvie.media import read_video


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture
def benchmark(tmp_path: Path) -> Iterator[Path]:
    """Two videos by a list, one clip by clip; one entry leads out, one file is missing."""
    folder = tmp_path / "bench"
    (folder / "clips").mkdir(parents=True)
    for name in ("one", "two"):
        video(folder / f"{name}.mp4", noise(48, seed=len(name)))
    for number, count in enumerate((81, 81)):
        video(folder / "clips" / f"video_{number}.mp4", noise(count, seed=number))
        video(folder / "clips" / f"depth_{number}.mp4", noise(count))
    entries = [
        {"video": "one.mp4", "depth": "none.mp4", "track": "two.mp4", "text": "a ball", "more": 1},
        {"video": "../secret.mp4", "text": "a cube"},
        {"video": "two.mp4"},
    ]
    write(folder / "metadata.json", entries)
    clips = [
        {"text": f"part {number}", "video": f"video_{number}.mp4", "depth": f"depth_{number}.mp4"} for number in (0, 1)
    ]
    write(folder / "clips" / "cond.json", clips)
    yield folder


def test_the_official_layout_is_read_and_what_is_odd_is_noted(benchmark: Path) -> None:
    layout = read_layout(benchmark)
    assert [entry.name for entry in layout.entries] == ["one", "metadata-002", "clips"]
    one, outside, clips = layout.entries
    assert one == Entry("one", ("a ball",), (benchmark / "one.mp4",), (), (benchmark / "two.mp4",))
    assert outside.videos == () and clips.texts == ("part 0", "part 1") and len(clips.videos) == len(clips.depth) == 2
    said = " | ".join(layout.notes)
    assert "depth of entry 1" in said and "is not there" in said and "leads out of the folder" in said
    assert "entry 3 of metadata.json has no text" in said


def test_clips_of_the_official_layout_are_one_truth(benchmark: Path, tmp_path: Path) -> None:
    entry = read_layout(benchmark).entries[2]
    with official(video(tmp_path / "made.mp4", noise(161, seed=5)), entry) as source:
        facts = source.facts
        truths = np.stack([moment.truth for moment in source.moments() if moment.truth is not None])
    first, second = (read_video(path) for path in entry.videos)
    assert np.array_equal(truths, np.concatenate([first, second[1:]]))
    assert facts.borders == (81,) and facts.prompts == ((0.0, "part 0"), (81 / 16, "part 1"))
    assert facts.known == {"truth", "borders", "prompts", "events"}
    assert "drawn" in source.notes[0]


def test_a_whole_truth_is_seen_at_the_videos_rate(benchmark: Path, tmp_path: Path) -> None:
    entry = read_layout(benchmark).entries[0]
    truth = read_video(entry.videos[0])
    with official(video(tmp_path / "made.mp4", noise(24), 8), entry) as source:
        seen = np.stack([moment.truth for moment in source.moments() if moment.truth is not None])
    assert np.array_equal(seen, truth[::2])
    assert any("8 frames a second" in note for note in source.notes)


def test_an_entry_without_truth_still_has_words(benchmark: Path, tmp_path: Path) -> None:
    entry = read_layout(benchmark).entries[1]
    with official(video(tmp_path / "made.mp4", noise(5)), entry) as source:
        assert source.facts.known == {"prompts"}
        assert len(list(source.moments())) == 5


def test_an_exported_item_is_in_the_official_layout_too(long_suite: Path) -> None:
    layout = read_layout(long_suite)
    assert [entry.name for entry in layout.entries] == [ITEM.id] and not layout.notes
    entry = layout.entries[0]
    assert entry.videos == (truth_of(long_suite),) and len(entry.texts) == len(entry.depth) == len(entry.tracks) == 2
    with official(truth_of(long_suite), entry) as source:
        moment = next(source.moments())
        assert np.array_equal(moment.picture, moment.truth)  # type: ignore[arg-type]


def test_metric_depth_of_the_official_layout_is_used(tmp_path: Path) -> None:
    metres = np.full((4, *SIZE), 2.0, np.float32)
    metres[:, :4] = np.inf
    np.savez(tmp_path / "depth.npz", metric=metres)
    path = video(tmp_path / "a.mp4", noise(4))
    with official(path, Entry("a", ("a ball",), (path,), (tmp_path / "depth.npz",))) as source:
        assert "depth" in source.facts.known and not source.notes
        for moment in source.moments():
            assert np.array_equal(moment.depth, metres[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "{}", "[]", '["a"]', '[{"text": 3}]', '[{"text": "  "}]'])
def test_a_folder_with_nothing_of_it_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.json").write_text(text)
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "cond.json").write_text(text)
    with pytest.raises(InputError, match="no benchmark"):
        read_layout(tmp_path)
    with pytest.raises(InputError, match="no folder"):
        read_layout(tmp_path / "none")
