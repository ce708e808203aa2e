"""Worse controls are worse by exactly what was asked, the rest is as it was, and every control can still be read."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from items import ITEM, LONG, SIZE

from longvie import controls
from longvie.controls.conditions import read_conditions
from longvie.controls.trackfile import TracksDeclared, read_tracks
from longvie.controls.trackset import TrackSignal
from longvie.errors import ConfigError, InputError
from longvie.evaluation.corrupt import (
    LEVELS,
    TABLE_8,
    Corruption,
    corrupt,
    corrupt_file,
    corrupt_suite,
    factors,
    ladder,
    shown_frames,
)
from longvie.evaluation.suite import Manifest
from longvie.media import read_array, read_video

FRAMES, ITEM = LONG, replace(ITEM, frames=LONG)


@pytest.fixture(scope="module")
def suite(long_suite: Path) -> Path:
    return long_suite


@pytest.fixture(scope="module")
def files(suite: Path) -> Path:
    return suite / ITEM.id


def tracks_of(path: Path) -> TrackSignal:
    return read_tracks(path, TracksDeclared(), fps=16)


def spoilt(files: Path, out: Path, name: str, corruption: Corruption, seed: int = 0) -> Path:
    control = {"depth.npz": "depth", "tracks.npz": "tracks", "segmentation.npz": "segmentation"}.get(name, "sketch")
    corrupt_file(files / name, out / name, corruption, control=control, seed=seed)
    return out / name


# points


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_asked_share_of_every_set_of_points_is_masked(files: Path, tmp_path: Path, share: float) -> None:
    before, path = tracks_of(files / "tracks.npz"), spoilt(files, tmp_path, "tracks.npz", Corruption("mask", share))
    after = tracks_of(path)
    assert after.frames == FRAMES and after.size == SIZE
    for start in np.unique(before.starts):
        count = int((before.starts == start).sum())
        shown = int(
            ((after.starts == start) & (after.points[..., 2] != 0).any(0) & (after.points[..., 0] != 0).any(0)).sum()
        )
        assert shown == count - round(share * count)


def test_points_that_are_left_are_as_they_were(files: Path, tmp_path: Path) -> None:
    before = tracks_of(files / "tracks.npz")
    after = tracks_of(spoilt(files, tmp_path, "tracks.npz", Corruption("mask", 0.2)))
    known = {column.tobytes() for column in before.points.transpose(1, 0, 2)}
    assert all(column.tobytes() in known for column in after.points.transpose(1, 0, 2))


def test_a_higher_share_masks_the_same_points_and_more_and_a_seed_others(files: Path, tmp_path: Path) -> None:
    left = []
    for number, (share, seed) in enumerate(((0.2, 0), (0.4, 0), (0.2, 1), (0.2, 0))):
        (tmp_path / str(number)).mkdir()
        path = spoilt(files, tmp_path / str(number), "tracks.npz", Corruption("mask", share), seed)
        left.append({column.tobytes() for column in tracks_of(path).points.transpose(1, 0, 2)})
    assert left[1] < left[0] and left[2] != left[0] and left[3] == left[0]
    assert (tmp_path / "0" / "tracks.npz").read_bytes() == (tmp_path / "3" / "tracks.npz").read_bytes()


@pytest.mark.parametrize("corruption", [Corruption("lag", 4), Corruption("drop", 0.5), Corruption("lag", 85)], ids=str)
def test_points_come_late_or_are_held(files: Path, tmp_path: Path, corruption: Corruption) -> None:
    """At every moment those points are seen, and there, that were at the moment that is shown."""
    before = tracks_of(files / "tracks.npz")
    after = tracks_of(spoilt(files, tmp_path, "tracks.npz", corruption))
    assert after.frames == FRAMES
    for frame, seen in enumerate(shown_frames(corruption, FRAMES)):
        was, now = before.read(int(seen), int(seen) + 1), after.read(frame, frame + 1)
        assert {p.tobytes() for p in was.points[0, was.visible[0]]} == {
            p.tobytes() for p in now.points[0, now.visible[0]]
        }


# depth


@pytest.mark.parametrize("width", [1, 5, 9])
def test_depth_is_blurred_by_a_kernel_of_that_width(files: Path, tmp_path: Path, width: int) -> None:
    before = read_array(files / "depth.npz", member="disparity")
    path = spoilt(files, tmp_path, "depth.npz", Corruption("blur", width))
    after = read_array(path, member="disparity")
    border = cv2.BORDER_REPLICATE
    wanted = [cv2.GaussianBlur(frame, (width, width), 0, borderType=border) for frame in before.astype(np.float32)]
    assert np.array_equal(after, np.stack(wanted).astype(np.float16))
    assert float(read_array(path, member="fps")) == 16


@pytest.mark.parametrize("kind", ["scale", "drift"])
def test_distances_are_wrong_by_a_factor(files: Path, tmp_path: Path, kind: str) -> None:
    corruption = Corruption(kind, 1.5)  # type: ignore[arg-type]
    before = read_array(files / "depth.npz", member="disparity").astype(np.float64)
    after = read_array(spoilt(files, tmp_path, "depth.npz", corruption), member="disparity").astype(np.float64)
    wrong = np.full(FRAMES, 1.5) if kind == "scale" else 1.5 ** (np.arange(FRAMES) / (FRAMES - 1))
    assert np.allclose(factors(corruption, FRAMES), wrong)
    assert np.allclose(after * wrong[:, None, None], before, rtol=2e-3, atol=1e-4)
    points, worse = tracks_of(files / "tracks.npz"), tracks_of(spoilt(files, tmp_path, "tracks.npz", corruption))
    frame = points.starts + np.arange(len(points.points))[:, None]
    assert np.allclose(worse.points[..., 2], points.points[..., 2] * wrong[frame], rtol=1e-5)
    assert np.array_equal(worse.points[..., :2], points.points[..., :2])


def test_metric_depth_is_treated_as_disparity_is(tmp_path: Path) -> None:
    metres = np.random.default_rng(0).uniform(1, 5, (4, 16, 20)).astype(np.float32)
    metres[:, :3] = np.inf
    np.savez(tmp_path / "metric.npz", metric=metres, sky=np.asarray(0.0))
    np.savez(tmp_path / "disparity.npz", disparity=1 / metres)
    for corruption in (Corruption("scale", 2.0), Corruption("blur", 5)):
        for name in ("metric", "disparity"):
            corrupt_file(tmp_path / f"{name}.npz", tmp_path / f"{name}-worse.npz", corruption, control="depth")
        one = read_array(tmp_path / "metric-worse.npz", member="metric")
        other = read_array(tmp_path / "disparity-worse.npz", member="disparity")
        assert np.allclose(1 / one, other, rtol=1e-5)
        assert np.isinf(one[:, 0]).all()


# time


def test_a_lag_shows_what_was_and_the_first_frame_before_that() -> None:
    assert shown_frames(Corruption("lag", 3), 6).tolist() == [0, 0, 0, 0, 1, 2]
    assert shown_frames(Corruption("lag", 0), 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 1.0])
def test_the_asked_share_of_frames_is_dropped_and_never_the_first(share: float) -> None:
    seen = shown_frames(Corruption("drop", share), 101)
    assert seen[0] == 0 and len(np.unique(seen)) == 1 + 100 - round(share * 100)
    assert (np.diff(seen) >= 0).all() and (seen <= np.arange(101)).all()
    came = np.isin(np.arange(101), seen)
    assert np.array_equal(seen, np.maximum.accumulate(np.where(came, np.arange(101), 0)))


def test_a_higher_share_drops_the_same_frames_and_more_and_a_seed_others() -> None:
    few, more, others = (
        set(shown_frames(Corruption("drop", share), 200, seed=seed).tolist())
        for share, seed in ((0.2, 0), (0.4, 0), (0.2, 1))
    )
    assert more < few and few != others


@pytest.mark.parametrize("corruption", [Corruption("lag", 5), Corruption("drop", 0.4)], ids=str)
def test_frames_of_every_control_are_late_together(files: Path, tmp_path: Path, corruption: Corruption) -> None:
    seen = shown_frames(corruption, FRAMES)
    for name, member in (("depth.npz", "disparity"), ("segmentation.npz", "labels")):
        after = read_array(spoilt(files, tmp_path, name, corruption), member=member)
        assert np.array_equal(after, read_array(files / name, member=member)[seen])
    before, after = read_video(files / "sketch.mp4"), read_video(spoilt(files, tmp_path, "sketch.mp4", corruption))
    assert np.abs(before[seen].astype(float) - after).mean() < 2


def test_drawn_depth_is_spoilt_too(files: Path, tmp_path: Path) -> None:
    drawn = files / "conditions" / "depth_00.mp4"
    for corruption in (Corruption("blur", 9), Corruption("scale", 2.0), Corruption("lag", 3)):
        corrupt_file(drawn, tmp_path / "worse.mp4", corruption, control="depth")
        before, after = read_video(drawn).astype(np.float32), read_video(tmp_path / "worse.mp4").astype(np.float32)
        wanted = {
            "blur": np.stack([cv2.GaussianBlur(f, (9, 9), 0, borderType=cv2.BORDER_REPLICATE) for f in before]),
            "scale": 255 - (255 - before) / 2,
            "lag": before[shown_frames(corruption, len(before))],
        }[corruption.kind]
        assert np.abs(after - wanted).mean() < 2


# whole items


@pytest.mark.parametrize("corruption", [*TABLE_8, Corruption("lag", 4), Corruption("drift", 1.5)], ids=str)
def test_a_worse_item_has_all_that_a_model_may_be_given(suite: Path, tmp_path: Path, corruption: Corruption) -> None:
    out = tmp_path / "worse"
    changed = corrupt(suite, ITEM, out, corruption)
    given = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    had = {path.relative_to(suite / ITEM.id).as_posix() for path in (suite / ITEM.id).rglob("*") if path.is_file()}
    assert given == had - {"truth.mp4", "cameras.json", "scene.json"} | {"corruption.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["worse"]
    hit = {"mask": {"tracks.npz"}, "blur": {"depth.npz"}, "drift": {"depth.npz", "tracks.npz"}}
    everything = {"depth.npz", "segmentation.npz", "sketch.mp4", "tracks.npz"}
    assert {name for name in changed if name in everything} == hit.get(corruption.kind, everything)
    if corruption in TABLE_8:  # clips of the other control are the item's own
        drawn = {name for name in changed if name.startswith("conditions/")}
        assert {name[11:16] for name in drawn} == {"track" if corruption.kind == "mask" else "depth"}
    assert json.loads((out / "corruption.json").read_text())["level"] == corruption.level
    clips = read_conditions(out / "conditions.json")
    for name in ("depth", "tracks"):
        signal = clips.signal(controls.get(name), size=SIZE, fps=16)
        assert signal.frames == 161
    for name in ("depth", "segmentation", "tracks"):
        signal = controls.get(name).load(out / f"{name}.npz", size=SIZE, fps=16, frames=FRAMES)
        assert not signal.report.notes


def test_drawn_clips_of_a_worse_item_are_drawn_from_what_is_worse(suite: Path, tmp_path: Path) -> None:
    first, then = "conditions/depth_00.mp4", "conditions/depth_01.mp4"
    before = [read_video(suite / ITEM.id / name).astype(float) for name in (first, then)]
    corrupt(suite, ITEM, tmp_path / "late", Corruption("lag", 4))
    late = [read_video(tmp_path / "late" / name).astype(float) for name in (first, then)]
    assert np.abs(late[0][4:] - before[0][:-4]).mean() < 2 and np.abs(late[0][:4] - before[0][0]).mean() < 2
    assert np.abs(late[1][:4] - before[0][76:80]).mean() < 2  # what the clip before drew
    assert np.abs(late[1][4:10] - before[1][:6]).mean() < 2
    assert np.abs(late[1][10:] - before[1][5]).mean() < 2  # the last frame that is seen, held
    corrupt(suite, ITEM, tmp_path / "soft", Corruption("blur", 15))
    soft = read_video(tmp_path / "soft" / first).astype(float)
    edges = [np.abs(np.diff(video, axis=2)).mean() for video in (soft, before[0])]
    assert edges[0] < 0.6 * edges[1]
    corrupt(suite, ITEM, tmp_path / "none", Corruption("mask", 1))
    assert read_video(tmp_path / "none" / "conditions" / "track_01.mp4").max() < 20


def test_a_suite_is_spoilt_item_by_item_and_what_is_there_stays(suite: Path, tmp_path: Path) -> None:
    manifest = Manifest(0, "test", 5.6, SIZE, 16.0, 1, (7,), (ITEM,))
    made = corrupt_suite(suite, manifest, tmp_path / "out", Corruption("mask", 0.2))
    assert made == [tmp_path / "out" / ITEM.id]
    (made[0] / "tracks.npz").write_bytes(b"kept")
    corrupt_suite(suite, manifest, tmp_path / "out", Corruption("mask", 0.2))
    assert (made[0] / "tracks.npz").read_bytes() == b"kept"
    for other, seed in ((Corruption("mask", 0.4), 0), (Corruption("mask", 0.2), 1)):
        with pytest.raises(ConfigError, match="another corruption"):
            corrupt_suite(suite, manifest, tmp_path / "out", other, seed=seed)
    with pytest.raises(ConfigError, match="exists"):
        corrupt(suite, ITEM, made[0], Corruption("mask", 0.2))


def test_the_table_of_the_paper_is_on_the_ladders() -> None:
    assert [step.name for step in TABLE_8] == ["mask-0.2", "blur-5"]
    assert all(step in ladder(step.kind) for step in TABLE_8)
    assert all(tuple(sorted(levels)) == levels and len(levels) == 5 for levels in LEVELS.values())


@pytest.mark.parametrize(
    ("kind", "level"),
    [("mask", 1.1), ("mask", -0.1), ("blur", 4), ("blur", 2.5), ("blur", 0), ("lag", 0.5), ("lag", -1), ("scale", 0)],
)
def test_levels_that_mean_nothing_are_refused(kind: str, level: float) -> None:
    with pytest.raises(ConfigError):
        Corruption(kind, level)  # type: ignore[arg-type]


def test_what_a_control_does_not_feel_is_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="blur does not concern tracks"):
        corrupt_file(files / "tracks.npz", tmp_path / "a.npz", Corruption("blur", 5), control="tracks")
    with pytest.raises(ConfigError, match="is drawn"):
        corrupt_file(
            files / "conditions" / "track_00.mp4", tmp_path / "a.mp4", Corruption("mask", 0.2), control="tracks"
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no array"])
@pytest.mark.parametrize("name", ["depth.npz", "tracks.npz", "sketch.mp4"])
def test_broken_files_are_named_and_nothing_is_left_behind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        spoilt(tmp_path / "in", tmp_path / "out", name, Corruption("lag", 1))
    assert not list((tmp_path / "out").iterdir())


def test_arrays_that_are_no_control_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "many.npz", disparity=np.ones((2, 4, 4)), metric=np.ones((2, 4, 4)))
    np.savez(tmp_path / "flat.npz", disparity=np.ones((4, 4)))
    for name in ("many.npz", "flat.npz"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            corrupt_file(tmp_path / name, tmp_path / "out.npz", Corruption("blur", 5), control="depth")
