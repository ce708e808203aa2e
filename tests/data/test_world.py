"""The world is exact: what one output says of a pixel, every other output says too."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from longvie.data import clips
from longvie.data.render import FIRST, GROUND, SKY, Rendered, flow, origins, render, track
from longvie.data.world import COLOURS, FPS, HEIGHTS, VIEWS, Event, Scene, held_out, scene

SIZE = (48, 88)
SEEDS = (3, 11, 28)


def alone(world: Scene, frames: range, **options: object) -> Rendered:
    return render([world], frames, **({"size": SIZE} | options))[0]  # type: ignore[arg-type]


def calm(world: Scene) -> Scene:
    """The same scene with nothing that happens: no events, deaf and still objects."""
    still = tuple(replace(body, motion="still", answers=0.0) for body in world.bodies)
    return replace(world, bodies=still, events=())


def biggest(drawn: Rendered) -> int:
    """The object that covers most pixels of the first frame, by its place in the scene."""
    return int(torch.bincount(drawn.labels[0].flatten(), minlength=FIRST + 1)[FIRST:].argmax())


def around(labels: Int[Tensor, "h w"], x: float, y: float, reach: float) -> Int[Tensor, " n"]:
    """All labels of pixels whose centre lies within `reach` pixels of a point."""
    height, width = labels.shape
    rows = torch.arange(height)[:, None] + 0.5 - y
    columns = torch.arange(width)[None] + 0.5 - x
    return labels[rows.square() + columns.square() <= reach * reach]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_track_point_drawn_again_lies_on_its_object_within_half_a_pixel(seed: int) -> None:
    world, finer = scene(seed, "test"), 4
    frames = range(40, 57)
    followed = track(world, frames, points=60, seed=1, size=SIZE)
    fine = alone(world, frames, size=(SIZE[0] * finer, SIZE[1] * finer), smooth=False).labels
    checked = 0
    for point in range(followed.points.shape[1]):
        x, y, _ = followed.points[0, point].tolist()
        begun = around(fine[0], x * finer, y * finer, 1.5).unique()
        if len(begun) != 1 or begun.item() == SKY:  # on an edge: whose point it is cannot be read off the picture
            continue
        for at in torch.nonzero(followed.visible[:, point])[:, 0].tolist():
            x, y, _ = followed.points[at, point].tolist()
            assert begun in around(fine[at], x * finer, y * finer, 0.5 * finer)
            checked += 1
    assert checked > 200


@pytest.mark.parametrize("seed", SEEDS)
def test_hidden_points_have_something_before_them_and_visible_ones_have_not(seed: int) -> None:
    world, frames, finer = scene(seed, "test"), range(40, 57), 4
    followed = track(world, frames, points=120, seed=2, size=SIZE)
    depth = alone(world, frames, size=(SIZE[0] * finer, SIZE[1] * finer), smooth=False).depth
    nearest = -torch.nn.functional.max_pool2d(-depth[:, None], 5, 1, 2)[:, 0]  # within half a pixel
    x, y, far = followed.points.unbind(-1)
    inside = (x >= 0) & (x < SIZE[1]) & (y >= 0) & (y < SIZE[0]) & (far > 0)
    moment = torch.arange(len(frames))[:, None].expand_as(x)[inside]
    row, column = (y[inside] * finer).long(), (x[inside] * finer).long()
    seen, far = followed.visible[inside], far[inside]
    assert not followed.visible[~inside].any()
    assert ((depth[moment, row, column] / far)[seen] - 1).abs().median() < 0.005
    assert ((depth[moment, row, column] / far)[seen] > 0.95).float().mean() > 0.97
    assert ((nearest[moment, row, column] / far)[~seen] < 1.001).all()


def test_origins_bring_back_the_first_frame_and_fit_tracks() -> None:
    """A tracked point's pixel comes from where the point was; nothing moved in the first frame itself."""
    world, size = scene(5, "test"), (48, 88)
    places, visible = origins(world, range(0, 9, 4), size=size)
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(88) + 0.5, indexing="ij")
    assert torch.allclose(places[0], torch.stack([x, y], dim=-1), atol=0.01)
    assert visible[0].float().mean() > 0.98
    points = track(world, range(9), size=size)
    checked = 0
    for here, there, seen in zip(points.points[8], points.points[0], points.visible[8], strict=True):
        column, row = int(here[0]), int(here[1])
        if seen and visible[2, row, column]:
            checked += int((places[2, row, column] - there[:2]).abs().max() < 1.5)
    assert checked > 0.9 * int(points.visible[8].sum()) > 50


@pytest.mark.parametrize("seed", SEEDS)
def test_flow_carries_one_frame_onto_the_next(seed: int) -> None:
    world, frame, size = scene(seed, "test"), 30, (96, 176)
    motion, seen = flow(world, frame, size=size)
    drawn = alone(world, range(frame, frame + 2), size=size)
    now, then = drawn.picture[:, 0], drawn.picture[:, 1]
    carried = sampled(then, motion)
    inner = seen & (drawn.labels[0] == sampled_labels(drawn.labels[1], motion))
    assert inner.float().mean() > 0.3
    still, moved = (now - then).abs().mean(0)[inner].mean(), (now - carried).abs().mean(0)[inner].mean()
    assert moved < 0.02
    assert moved < 0.7 * still or still < 0.01
    disagree = (drawn.labels[0] != sampled_labels(drawn.labels[1], motion)) & seen
    assert disagree.float().mean() < 0.02  # edges only


def sampled(picture: Float[Tensor, "3 h w"], motion: Float[Tensor, "h w 2"]) -> Float[Tensor, "3 h w"]:
    """The picture read at each pixel's centre + motion, bilinearly."""
    height, width = picture.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    grid = torch.stack([(columns + motion[..., 0]) / width, (rows + motion[..., 1]) / height], -1) * 2 - 1
    return torch.nn.functional.grid_sample(picture[None], grid[None], padding_mode="border", align_corners=False)[0]


def sampled_labels(labels: Int[Tensor, "h w"], motion: Float[Tensor, "h w 2"]) -> Int[Tensor, "h w"]:
    height, width = labels.shape
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    y = (rows + motion[..., 1]).long().clamp(0, height - 1)
    x = (columns + motion[..., 0]).long().clamp(0, width - 1)
    return labels[y, x]


@pytest.mark.parametrize("seed", SEEDS)
def test_poses_and_depth_reproject_into_a_later_frame(seed: int) -> None:
    """By formulas of the test's own: p = eye + depth·(right·x + up·y + forward), x and y over the focal length."""
    drawn = alone(scene(seed, "test"), range(20, 25), smooth=False)
    height, width = SIZE
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    ground = drawn.labels[0] == GROUND
    across, down = (columns - width / 2)[ground] / drawn.focal, (rows - height / 2)[ground] / drawn.focal
    camera = torch.stack([across, -down, torch.ones_like(across), torch.zeros_like(across)], -1)
    camera = camera * drawn.depth[0][ground][:, None]
    camera[:, 3] = 1
    world = camera @ drawn.poses[0].T
    near = drawn.depth[0][ground] < 30  # further out a millimetre of float error is many metres along the ray
    assert world[near][:, 1].abs().max() < 2e-3  # the ground is y = 0

    later = (world @ torch.linalg.inv(drawn.poses[4]).T)[near]
    x = width / 2 + drawn.focal * later[:, 0] / later[:, 2]
    y = height / 2 - drawn.focal * later[:, 1] / later[:, 2]
    inside = (later[:, 2] > 0.1) & (x >= 0.5) & (x < width - 0.5) & (y >= 0.5) & (y < height - 0.5)
    left, top = (x - 0.5).floor().long()[inside], (y - 0.5).floor().long()[inside]
    right, below = x[inside] - 0.5 - left, y[inside] - 0.5 - top
    nearness, same = 1 / drawn.depth[4], drawn.labels[4] == GROUND
    corners = [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]
    shares = [(1 - below) * (1 - right), (1 - below) * right, below * (1 - right), below * right]
    flat = torch.stack([same[corner] for corner in corners]).all(0)
    found = sum(share * nearness[corner] for share, corner in zip(shares, corners, strict=True))
    assert flat.sum() > 50
    assert torch.allclose(found[flat], 1 / later[inside][flat][:, 2], atol=1e-4)  # 1/depth is linear on a plane


def test_rendering_in_spans_is_rendering_whole() -> None:
    world = scene(5, "test")
    whole = alone(world, range(100, 109))
    parts = [alone(world, span) for span in (range(100, 103), range(103, 108), range(108, 109))]
    for name in ("depth", "labels", "sketch", "poses"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))
    picture = torch.cat([part.picture for part in parts], dim=1)
    assert ((picture - whole.picture).abs() < 1e-5).float().mean() > 0.9999


def test_stacking_scenes_is_rendering_each_alone() -> None:
    worlds = [scene(seed, "test") for seed in range(4)]
    assert len({len(world.bodies) for world in worlds}) > 1
    together = render(worlds, range(8, 11), size=SIZE)
    for world, stacked in zip(worlds, together, strict=True):
        single = alone(world, range(8, 11))
        assert ((stacked.picture - single.picture).abs() < 1e-3).float().mean() > 0.999
        assert (stacked.labels == single.labels).float().mean() > 0.999
        same = stacked.labels == single.labels
        assert torch.allclose(stacked.depth[same], single.depth[same], rtol=1e-3, atol=1e-3)
        assert (stacked.sketch == single.sketch).float().mean() > 0.999
        assert stacked.focal == pytest.approx(single.focal)


def test_the_same_number_gives_the_same_bytes_and_a_file_gives_them_back(tmp_path: Path) -> None:
    assert list(clips.fill(tmp_path, range(4, 6), frames=9, size=(32, 56))) == [4, 5]
    again, made = clips.load(clips.path(tmp_path, 4)), clips.make(4, frames=9, size=(32, 56))
    for name in ("picture", "disparity", "labels", "sketch", "points", "visible", "beats"):
        assert torch.equal(getattr(again, name), getattr(made, name))
    assert again.captions == made.captions
    before = clips.path(tmp_path, 4).stat().st_mtime_ns
    assert list(clips.fill(tmp_path, range(4, 6), frames=9, size=(32, 56))) == [4, 5]  # what is there stays
    assert clips.path(tmp_path, 4).stat().st_mtime_ns == before


def test_a_clip_that_another_process_makes_is_left_to_it(tmp_path: Path) -> None:
    mine, theirs = clips.path(tmp_path, 4), clips.path(tmp_path, 5)
    with clips.claimed(theirs) as ours:
        assert ours
        assert list(clips.fill(tmp_path, range(4, 6), frames=9, size=(32, 56))) == [4, 5]
        assert mine.exists() and not theirs.exists()
    assert list(clips.fill(tmp_path, range(4, 6), frames=9, size=(32, 56))) == [4, 5]
    assert theirs.exists() and sorted(file.suffix for file in mine.parent.iterdir()) == [".safetensors"] * 2


def test_a_clip_says_what_its_scene_says() -> None:
    clip = clips.make(12, frames=33, size=(32, 56))
    assert clip.picture.shape == (33, 32, 56, 3)
    assert clip.captions[0][0] == 0
    assert clip.caption(32) == clip.captions[-1][1]
    sky = clip.labels == SKY
    assert (clip.disparity[sky] == 0).all()
    assert (clip.disparity[~sky] > 0).all()
    assert clip.beats.min() > 0
    assert clip.beats.max() <= 1


def test_joined_tracks_share_one_frame_and_each_point_lives_in_its_own_part() -> None:
    world = scene(7, "test")
    parts = [track(world, range(0, 9), points=20, size=SIZE), track(world, range(8, 13), points=30, size=SIZE)]
    joined = clips.joined(parts)
    first = parts[0].points.shape[1]
    assert joined.points.shape[0] == 13
    assert torch.equal(joined.points[:9, :first], parts[0].points)
    assert torch.equal(joined.points[9:, first:], parts[1].points[1:])
    assert not joined.visible[9:, :first].any()
    assert not joined.visible[:9, first:].any()


def test_training_scenes_hold_no_pair_that_was_held_out() -> None:
    for seed in range(120):
        world = scene(seed, "train")
        for time in (0.0, *(event.at for event in world.events)):
            for index, body in enumerate(world.bodies):
                assert not held_out(body.shape, world.colour_at(index, time))


def test_test_scenes_do_hold_such_pairs_and_look_from_elsewhere() -> None:
    training, testing = ([scene(seed, split) for seed in range(100)] for split in ("train", "test"))
    assert any(held_out(body.shape, body.colour) for world in testing for body in world.bodies)
    assert not {world.sun_angle for world in training} & {world.sun_angle for world in testing}
    assert max(world.sun_angle for world in training) < min(world.sun_angle for world in testing)
    views = sorted(world.camera.view for world in training)
    heights = sorted(world.camera.height for world in training)
    assert not any(views[0] < world.camera.view < views[-1] for world in testing)
    assert not any(heights[0] < world.camera.height < heights[-1] for world in testing)


def test_scenes_around_the_tests_lie_on_both_sides_of_them_and_never_among_them() -> None:
    scenes = [scene(seed, "around") for seed in range(200)]
    views, heights = [math.degrees(s.camera.view) for s in scenes], [s.camera.height for s in scenes]
    for values, ranges in ((views, VIEWS["test"]), (heights, HEIGHTS["test"])):
        for low, high in ranges:
            assert not any(low < value < high for value in values)
        assert min(values) < ranges[0][0] < ranges[-1][1] < max(values)
    assert all(not held_out(body.shape, body.colour) for s in scenes for body in s.bodies)
    assert all(s.sun_angle <= 1.6 * math.pi for s in scenes)


def test_in_many_clips_around_the_words_change_soon_and_the_picture_is_older() -> None:
    first = [clips.moment(scene(n, "around"), np.random.Generator(np.random.PCG64(n))) for n in range(60)]
    waits = [
        min((event.at * FPS - at for event in scene(n, "around").events if event.at * FPS >= at - 1), default=1e9)
        for n, at in enumerate(first)
    ]
    assert 30 < sum(wait <= 29 for wait in waits) < 60
    assert {clips.split_of(number) for number in range(4)} == {"train", "around"}


def test_every_scene_has_objects_and_words_for_every_event() -> None:
    for seed in range(100):
        for split in ("train", "test"):
            world = scene(seed, split)
            assert 2 <= len(world.bodies) <= 6
            spans = world.captions(60.0)
            assert spans[0][0] == 0.0
            assert [at for at, _ in spans] == sorted({at for at, _ in spans})


def looping() -> Scene:
    return next(world for world in (scene(seed, "test") for seed in range(100)) if world.camera.family == "loop")


def test_loops_come_home() -> None:
    world = calm(looping())
    drawn = alone(world, range(5), fps=4 / world.camera.period, smooth=False)  # out, back, out the other way, home
    out, home = 1, 4
    same = drawn.labels[0] == drawn.labels[home]
    assert same.float().mean() > 0.999
    assert torch.allclose(1 / drawn.depth[0][same], 1 / drawn.depth[home][same], atol=1e-4)
    assert torch.allclose(drawn.poses[0], drawn.poses[home], atol=1e-4)
    assert (drawn.poses[0] - drawn.poses[out])[:3, 3].norm() > 1.0
    assert (drawn.labels[0] == drawn.labels[out]).float().mean() < 0.95


@pytest.mark.parametrize("seed", SEEDS)
def test_a_colour_event_changes_the_pixels_of_its_object_and_no_others(seed: int) -> None:
    world = calm(scene(seed, "test"))
    target = biggest(alone(world, range(64, 65)))
    far = max(
        COLOURS, key=lambda name: np.linalg.norm(np.subtract(COLOURS[name], COLOURS[world.bodies[target].colour]))
    )
    turned = replace(world, events=(Event(2.0, "colour", target, far),))
    before, after = (alone(turned, range(frame, frame + 1), smooth=False) for frame in (31, 64))
    plain = [alone(world, range(frame, frame + 1), smooth=False) for frame in (31, 64)]
    assert torch.equal(before.picture, plain[0].picture)
    changed = (after.picture - plain[1].picture).abs().amax(0)[0] > 1e-4
    mine = after.labels[0] == FIRST + target
    assert mine.sum() > 20
    assert not changed[~mine].any()
    assert changed[mine].float().mean() > 0.2  # the texture's other half keeps its colour
    assert turned.colour_at(target, 1.9) == world.bodies[target].colour
    assert turned.colour_at(target, 2.0) == far
    assert turned.caption(2.0) != turned.caption(1.9) or target not in range(4)


def test_the_sky_turns_with_weather_and_hour() -> None:
    world = replace(calm(scene(3, "test")), hour="day", weather="clear")
    night = replace(world, events=(Event(1.0, "time", -1, "night"),))
    frame = range(80, 81)
    assert alone(night, frame).picture.mean() < alone(world, frame).picture.mean() - 0.3
    assert night.sky_at(2.0) == ("night", "clear")
    assert "night" in night.caption(2.0)


def test_beats_swell_the_objects_that_answer() -> None:
    world = calm(scene(3, "test"))
    target = biggest(alone(world, range(0, 1)))
    bodies = [replace(body, answers=0.2 * (index == target)) for index, body in enumerate(world.bodies)]
    world = replace(world, bodies=tuple(bodies), downbeat=1.0, tempo=1.0)
    strengths = world.beats(np.array([1.0, 1.9]))
    assert strengths[0] == pytest.approx(1.0)
    assert strengths[1] < 0.02
    state = world.state(np.array([1.0, 1.9]))
    grown = (state.half[0] / state.half[1]).amax(-1)
    assert grown.max() == pytest.approx(1.2, abs=0.02)
    assert (grown > 1.01).sum() == 1
    loud, quiet = (int((alone(world, range(f, f + 1), fps=10.0).labels == FIRST + target).sum()) for f in (10, 19))
    assert loud > 1.1 * quiet


def test_sketch_lines_lie_between_different_things() -> None:
    drawn = alone(scene(3, "test"), range(10, 11), smooth=False)
    edge = torch.zeros(SIZE, dtype=torch.bool)
    labels = drawn.labels[0]
    edge[:-1] |= labels[:-1] != labels[1:]
    edge[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    assert (drawn.sketch[0][edge] == 1).all()
    assert set(drawn.sketch.unique().tolist()) <= {0.0, 1.0}
