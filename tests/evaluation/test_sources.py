"""A source's moments are the exported truth, whatever the video's size; what does not fit is refused by name."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from items import ITEM, LONG, NAMES, SHORT, SIZE, noise, truth_of, video

from longvie.controls.trackfile import TracksDeclared, read_tracks
from longvie.data.render import render
from longvie.data.world import scene
from longvie.errors import InputError
from longvie.evaluation.metric import Event
from longvie.evaluation.sources import clip_borders, made, made_of, plain, videos_in
from longvie.evaluation.suite import Manifest
from longvie.media import read_array, read_video

FRAMES = SHORT


@pytest.fixture(scope="module")
def suite(short_suite: Path) -> Path:
    return short_suite


@pytest.fixture
def copied(suite: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    shutil.copytree(suite, tmp_path / "suite")
    return tmp_path / "suite"


# moments


def test_the_moments_of_an_item_are_its_exported_truth(suite: Path) -> None:
    drawn = render([scene(7, "test")], range(FRAMES), size=SIZE)[0]
    with made(truth_of(suite), suite, ITEM) as source:
        facts, moments = source.facts, list(source.moments())
    assert not source.notes
    assert (facts.frames, facts.fps, facts.size) == (FRAMES, 16.0, SIZE)
    assert [moment.number for moment in moments] == list(range(FRAMES))
    assert moments[16].time == 1.0
    disparity = read_array(suite / ITEM.id / "depth.npz", member="disparity").astype(np.float32)
    coded = read_video(truth_of(suite))
    for number, moment in enumerate(moments):
        assert moment.truth is not None and moment.depth is not None and moment.labels is not None
        assert np.array_equal(moment.picture, coded[number]) and np.array_equal(moment.truth, coded[number])
        with np.errstate(divide="ignore"):
            assert np.array_equal(moment.depth, 1 / disparity[number])
        assert np.array_equal(moment.labels, drawn.labels[number].numpy())
        assert np.allclose(moment.pose, drawn.poses[number].numpy(), atol=1e-6)
    picture = (drawn.picture.permute(1, 2, 3, 0).numpy() + 1) * 127.5
    assert np.abs(coded - picture).mean() < 8  # tiny pictures, and half as much colour
    far, was = np.stack([moment.depth for moment in moments]), drawn.depth.numpy()  # type: ignore[misc]
    assert np.array_equal(np.isinf(far), np.isinf(was))
    assert np.allclose(far[np.isfinite(far)], was[np.isfinite(was)], rtol=1e-3)
    assert facts.focal == pytest.approx(drawn.focal)


def test_facts_are_those_of_the_item_as_far_as_the_video_goes(suite: Path) -> None:
    with made(truth_of(suite), suite, ITEM, borders=(0, 9, 300)) as source:
        facts = source.facts
    assert facts.prompts == ITEM.prompts[:2] and facts.beats == (0.5, 1.25) and facts.borders == (9,)
    assert facts.events == (Event(1.0, "a red ball"),)
    all_needs = {"truth", "depth", "poses", "labels", "tracks", "borders", "events", "beats", "prompts"}
    assert facts.known == all_needs
    assert clip_borders(161) == (81,) and clip_borders(162) == (81, 161)


def test_two_moments_are_in_memory_at_a_time(suite: Path) -> None:
    last = None
    with made(truth_of(suite), suite, ITEM) as source:
        for moment in source.moments():
            assert moment.before is last
            assert last is None or last.before is None
            last = moment


def test_moments_can_be_asked_for_again_and_left_early(suite: Path) -> None:
    with made(truth_of(suite), suite, ITEM) as source:
        early = source.moments()
        first = next(early)
        early.close()  # type: ignore[attr-defined]
        again = list(source.moments())
        assert len(again) == FRAMES
        assert np.array_equal(first.picture, again[0].picture) and np.array_equal(first.depth, again[0].depth)


def test_points_are_where_the_file_says_over_the_whole_video(long_suite: Path) -> None:
    tracks = read_tracks(long_suite / ITEM.id / "tracks.npz", TracksDeclared(), fps=16)
    with made(truth_of(long_suite), long_suite, replace(ITEM, frames=LONG)) as source:
        points, visible = source.facts.tracks, source.facts.visible
        assert points is not None and visible is not None
        assert isinstance(points, np.memmap) and points.shape == (LONG, len(tracks.starts), 3)
        for frame in range(LONG):
            span = tracks.read(frame, frame + 1)
            seen = np.zeros(len(tracks.starts), bool)
            seen[span.ids] = span.visible[0]
            assert np.array_equal(visible[frame], seen)
            assert np.array_equal(points[frame, seen], span.points[0, span.visible[0]])


def test_the_truth_is_brought_to_the_videos_size(suite: Path, tmp_path: Path) -> None:
    large = (SIZE[0] * 2, SIZE[1] * 2)
    with made(video(tmp_path / "a.mp4", noise(FRAMES, large)), suite, ITEM) as source:
        moments = source.moments()
        moment, facts = next(moments), source.facts
        assert moment.truth is not None and moment.depth is not None and moment.labels is not None
        assert moment.truth.shape == (*large, 3) and moment.depth.shape == moment.labels.shape == large
        assert facts.size == large
        assert source.notes == ("the truth of 32×16 pixels was scaled to 64×32",)
        assert facts.tracks is not None
        bigger, focal = np.array(facts.tracks), facts.focal
    with made(truth_of(suite), suite, ITEM) as source:
        plain_moment = next(source.moments())
        assert plain_moment.depth is not None and source.facts.tracks is not None
        assert np.array_equal(moment.depth[::2, ::2], plain_moment.depth)
        assert np.array_equal(moment.labels[1::2, 1::2], plain_moment.labels)
        assert np.allclose(bigger[..., :2], 2 * np.array(source.facts.tracks)[..., :2])
        assert np.array_equal(bigger[..., 2], source.facts.tracks[..., 2])
        assert focal == pytest.approx(2 * source.facts.focal)  # type: ignore[operator]


# what does not fit


@pytest.mark.parametrize(
    ("frames", "size", "fps", "said"),
    [
        (FRAMES - 1, SIZE, 16, "23 frames, its truth 24"),
        (FRAMES + 1, SIZE, 16, "25 frames, its truth 24"),
        (1, SIZE, 16, "1 frames, its truth 24"),
        (FRAMES, (16, 16), 16, "are not scaled"),
        (FRAMES, SIZE, 15, "15 frames a second, its truth 16"),
    ],
)
def test_a_video_that_does_not_fit_is_refused_with_the_reason(
    suite: Path, tmp_path: Path, frames: int, size: tuple[int, int], fps: int, said: str
) -> None:
    path = video(tmp_path / "odd.mp4", noise(frames, size), fps)
    with pytest.raises(InputError, match=said) as caught:
        made(path, suite, ITEM)
    assert "'odd.mp4'" in str(caught.value)


@pytest.mark.parametrize("frames", [1, 10, 30])
def test_trimmed_only_what_both_have_is_seen(suite: Path, tmp_path: Path, frames: int) -> None:
    path = video(tmp_path / "a.mp4", noise(frames))
    with made(path, suite, ITEM, align="trim") as source:
        assert source.facts.frames == min(frames, FRAMES) == len(list(source.moments()))
        assert f"'a.mp4' has {frames} frames, its truth 24" in source.notes[0]
        assert source.facts.tracks is not None and len(source.facts.tracks) == min(frames, FRAMES)


def foreign(path: Path, codec: str, pixels: str, times: Sequence[int], turned: int = 0) -> Path:
    """Noise as another program codes it: 64 ticks a second, shown at `times`."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=16, width=SIZE[1], height=SIZE[0])
        stream.pix_fmt, stream.codec_context.time_base = pixels, Fraction(1, 64)
        if turned:
            stream.set_display_rotation(turned)
        for time, frame in zip(times, noise(len(times)), strict=True):
            picture = av.VideoFrame.from_ndarray(frame).reformat(format=pixels)
            picture.pts, picture.time_base = time, Fraction(1, 64)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def hostile(folder: Path, whole: Path) -> dict[str, str | None]:
    """Videos of every kind that may be in a folder, and what is said of each; None where it is as good as any."""
    even = range(0, 4 * FRAMES, 4)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    (folder / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "torn.mp4").write_bytes(whole.read_bytes()[:-200])
    (folder / "folder.mp4").mkdir()
    foreign(folder / "uneven.mkv", "libx264", "yuv420p", [time + 7 * (time > 40) for time in even])
    foreign(folder / "turned.mp4", "libx264", "yuv420p", even, turned=90)
    foreign(folder / "deep.mp4", "libx264", "yuv420p10le", even)
    foreign(folder / "clear.mov", "prores_ks", "yuva444p10le", even)
    video(folder / "one.mp4", noise(1))
    video(folder / "long.mp4", noise(FRAMES + 1))
    shutil.copy(whole, folder / "whole.mp4")
    return {
        "clear.mov": "is transparent: write it on the background",
        "cut.mp4": "promises 24 frames, 0 are there",
        "deep.mp4": "has 10 bits a colour: write it in 8",
        "empty.mp4": "empty",
        "long.mp4": "25 frames, its truth 24",
        "one.mp4": "1 frames, its truth 24",
        "text.mp4": "is not an MP4",
        "torn.mp4": "promises 24 frames, 18 are there",
        "turned.mp4": "shapes that differ",
        "uneven.mkv": "varying rate",
        "whole.mp4": None,
    }


def test_hostile_videos_are_refused_with_the_reason_and_the_others_are_seen(suite: Path, tmp_path: Path) -> None:
    wanted = hostile(tmp_path, truth_of(suite))
    found = videos_in(tmp_path)
    assert [path.name for path in found] == list(wanted)
    for path in found:
        said = wanted[path.name]
        if said is None:
            with made(path, suite, ITEM) as source:
                levels = np.stack([moment.picture for moment in source.moments()]).mean((1, 2, 3))
            assert len(levels) == FRAMES
            assert path.name == "whole.mp4" or np.abs(levels - noise(FRAMES)[:, 0, 0, 0]).max() < 9
        else:
            with pytest.raises(InputError, match=said) as caught:
                made(path, suite, ITEM)
            assert f"'{path.name}'" in str(caught.value)


def rewrite(path: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(path) as file:
        fields = dict(file)
    change(fields)
    np.savez(path, **fields)


def _short(fields: dict[str, np.ndarray]) -> None:
    for name in ("disparity", "labels"):
        if name in fields:
            fields[name] = fields[name][:-1]


def _small(fields: dict[str, np.ndarray]) -> None:
    fields.update({name: values[:, ::2] for name, values in fields.items() if values.ndim == 3})


def _renamed(fields: dict[str, np.ndarray]) -> None:
    fields["other"] = fields.pop(next(name for name in fields if fields[name].ndim == 3))


@pytest.mark.parametrize("name", ["depth.npz", "segmentation.npz"])
@pytest.mark.parametrize("change", [_short, _small, _renamed], ids=["short", "small", "renamed"])
def test_arrays_that_do_not_fit_the_truth_are_named(copied: Path, name: str, change: Callable[..., None]) -> None:
    rewrite(copied / ITEM.id / name, change)
    with pytest.raises(InputError, match=f"'{name}'"):
        made(truth_of(copied), copied, ITEM)


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_what_is_no_depth_is_refused_where_it_stands(copied: Path, value: float) -> None:
    def change(fields: dict[str, np.ndarray]) -> None:
        fields["disparity"][10, 3, 3] = value

    rewrite(copied / ITEM.id / "depth.npz", change)
    with made(truth_of(copied), copied, ITEM) as source, pytest.raises(InputError, match=r"'depth\.npz'.* in frame 10"):
        list(source.moments())


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"{", b'{"poses": [[1]], "focal": 3}', b'{"poses": "x", "focal": 1}']
)
@pytest.mark.parametrize("name", NAMES)
def test_hostile_truth_is_refused_by_name(copied: Path, suite: Path, name: str, content: bytes) -> None:
    (copied / ITEM.id / name).write_bytes(content)
    with pytest.raises(InputError, match=f"'{name}'"), made(truth_of(suite), copied, ITEM) as source:
        list(source.moments())


def test_cameras_must_last_as_long_and_be_finite(copied: Path) -> None:
    path = copied / ITEM.id / "cameras.json"
    facts = json.loads(path.read_text())
    for wrong in ({"poses": facts["poses"][:-1]}, {"focal": 0}, {"poses": [[[1e300] * 4] * 4] * FRAMES}):
        path.write_text(json.dumps(facts | wrong))
        with np.errstate(over="ignore"), pytest.raises(InputError, match=r"'cameras\.json'"):
            made(truth_of(copied), copied, ITEM)


def test_tracks_must_last_as_long_and_have_a_distance(copied: Path) -> None:
    path = copied / ITEM.id / "tracks.npz"
    whole = path.read_bytes()
    short = lambda f: f.update(points=f["points"][1:], visible=f["visible"][1:])  # noqa: E731
    for change in (short, lambda f: f.update(points=f["points"][..., :2])):
        path.write_bytes(whole)
        rewrite(path, change)
        with pytest.raises(InputError, match=r"'tracks\.npz'"):
            made(truth_of(copied), copied, ITEM)


def test_an_item_knows_only_what_its_files_say(suite: Path) -> None:
    poor = replace(ITEM, files={"truth.mp4": "0" * 64}, prompts=(), beats=())
    with made(truth_of(suite), suite, poor) as source:
        assert source.facts.known == {"truth"} and source.facts.tracks is None and source.facts.focal is None
        moment = next(source.moments())
        assert moment.depth is None and moment.labels is None and moment.pose is None and moment.truth is not None


# folders


def test_videos_are_matched_to_items_by_name(tmp_path: Path) -> None:
    other = replace(ITEM, id="001-natural-night-pan", number=8)
    manifest = Manifest(0, "test", 1.4, SIZE, 16.0, 2, (7, 8), (ITEM, other))
    path = video(tmp_path / f"{ITEM.id}.mp4", noise(3))
    video(tmp_path / "unrelated.mp4", noise(3))
    assert made_of(tmp_path, manifest) == ({ITEM.id: path}, [other.id])


def test_a_plain_video_has_moments_and_what_the_caller_says(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mp4", noise(20), 10)
    with plain(path, prompts=((0, "a ball"), (1.0, "a cube"), (1.5, "a cube")), borders=(9,)) as source:
        facts = source.facts
        assert facts.known == {"prompts", "events", "borders"} and facts.events == (Event(1.0, "a cube"),)
        moments = list(source.moments())
    assert len(moments) == facts.frames == 20 and facts.fps == 10
    assert moments[0].truth is None and moments[3].time == pytest.approx(0.3)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    with plain(video(tmp_path / "a.mp4", noise(1))) as source:
        assert len(list(source.moments())) == 1


def test_folders_list_their_videos(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.webm", ".hidden.mp4", "c.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in videos_in(tmp_path)] == ["a.webm", "b.mp4"]
    for folder in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(InputError, match="folder"):
            videos_in(folder)
        (tmp_path / "empty").mkdir(exist_ok=True)
