"""The shipped instruments: the files are those of the card, they err on held-out worlds no more than it says, and what
they are built of keeps its laws."""

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from longvie.data.render import FIRST, render
from longvie.data.world import COLOURS, FPS, SHAPES, TIMES, WEATHERS, scene
from longvie.errors import ConfigError, InputError, WeightsError
from longvie.evaluation import make
from longvie.evaluation.frechet import LOOKS, polynomial_mmd, windows
from longvie.evaluation.instruments import attributes, depth, shots, store, train, trial
from longvie.evaluation.instruments.attributes import Named, named
from longvie.evaluation.instruments.damage import FAULTS, KINDS, damaged
from longvie.evaluation.instruments.nets import seen
from longvie.evaluation.instruments.windows import WIDTH, Reader, WindowNet, instrument

NAMES = ("depth", "attributes", "windows")


@cache
def held_out() -> shots.Shots:
    torch.set_num_threads(1)
    return shots.held_out(6)


# --------------------------------------------------------------------------------------------------------------
# files


def test_the_files_are_those_of_the_card_and_small() -> None:
    files = {file.stem: file for file in store.FOLDER.glob("*.safetensors")}
    assert sorted(files) == sorted(NAMES)
    assert sum(file.stat().st_size for file in files.values()) < 5 * 2**20
    for name, facts in store.card().items():
        assert facts["sha256"] == hashlib.sha256(files[name].read_bytes()).hexdigest()
        assert facts["steps"] > 0 and facts["held_out"] and facts["what"] and "training worlds" in facts["trained_on"]


def test_a_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    for file in store.FOLDER.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert isinstance(store.restored(depth.DepthNet(), "depth", tmp_path), depth.DepthNet)
    with (tmp_path / "depth.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(WeightsError, match="not the one of its card"):
        store.restored(depth.DepthNet(), "depth", tmp_path)
    with pytest.raises(WeightsError, match="does not fit"):
        store.restored(WindowNet(), "attributes", store.FOLDER)
    with pytest.raises(WeightsError, match=r"no card\.json"):
        store.card(tmp_path / "nowhere")


# --------------------------------------------------------------------------------------------------------------
# errors on worlds that nothing was trained on


def test_depth_is_read_far_better_than_a_plane_would_be() -> None:
    found = trial.depth_errors(depth.instrument(), held_out())
    assert found["absrel"] < 0.2 and found["absrel"] < 0.6 * found["absrel_of_a_plane"]
    assert found["delta"] > 0.7


def test_words_are_told() -> None:
    found = trial.attribute_errors(attributes.instrument(), held_out())
    assert found["ground"] > 0.7 and found["weather"] > 0.4 and found["hour"] > 0.6
    assert found["objects_found"] > 5 * found["objects_found_that_are_not_there"]


def test_features_tell_damaged_windows_from_whole_ones() -> None:
    random, net = np.random.Generator(np.random.PCG64(0)), instrument()
    whole = trial.features(net, held_out().picture)
    assert whole.shape == (6, WIDTH)
    for kind in ("noise", "blur"):
        mild, strong = (
            polynomial_mmd(trial.features(net, trial.broken_windows(held_out().picture, kind, at, random)), whole)
            for at in (0.0, 1.0)
        )
        assert strong > mild + 1


# --------------------------------------------------------------------------------------------------------------
# laws


def test_depth_is_fitted_by_one_scale_and_one_shift() -> None:
    true = np.random.default_rng(0).uniform(0.06, 0.6, 500).astype(np.float32)
    error, right = depth.errors(depth.fitted(3 * true - 0.1, true), true)
    assert error.max() < 1e-4 and right.all()
    halves = np.where(np.arange(500) < 250, true, 2 * true)
    assert depth.errors(depth.fitted(halves, true), true)[0].mean() > 0.1


def test_commanded_depth_leaves_out_sky_and_what_is_far() -> None:
    metres = np.full((96, 176), 5.0, np.float32)
    metres[:30], metres[60:, :44] = np.inf, 25.0
    cells = depth.commanded(metres)
    assert cells.shape == depth.GRID
    assert not cells[:8].any() and not cells[15:, :11].any()
    assert np.allclose(cells[8:15], 0.2) and np.allclose(cells[:, 11:][8:], 0.2)
    assert np.allclose(depth.commanded(np.full((192, 352), 4.0, np.float32)), 0.25)


def test_words_of_a_prompt_are_found_with_the_colours_that_belong_to_them() -> None:
    words = "a red striped ball bouncing, a Grey tower, a cube and a white two-tone cube on sand, a stormy night"
    assert [(it.kind, it.value) for it in named(words)] == [
        ("object", "red ball"), ("object", "grey tower"), ("object", "cube"), ("object", "white cube"),
        ("ground", "sand"), ("weather", "stormy"), ("hour", "night"),
    ]  # fmt: skip
    assert named("an orange sky over the sea") == ()


@pytest.mark.parametrize("number", range(0, 40, 4))
def test_every_caption_of_the_world_names_ground_weather_hour_and_objects(number: int) -> None:
    world = scene(number, "test")
    found = named(world.caption(0.0))
    assert {it.value for it in found if it.kind != "object"} == {world.ground, world.weather, world.hour}
    here = {f"{body.colour} {body.shape}" for body in world.bodies}
    objects = {it.value for it in found if it.kind == "object"}
    assert objects and objects <= here


def test_a_score_needs_words_that_are_known() -> None:
    frames = held_out().picture[0, :2].numpy()
    assert attributes.score(frames, "a red ball").shape == (2,)
    with pytest.raises(InputError, match="name no object"):
        attributes.score(frames, "an orange sky over the sea")


def test_a_reading_finds_objects_where_one_cell_is_both_shape_and_colour() -> None:
    shape, colour = torch.zeros(1, 6, 24, 44), torch.zeros(1, 12, 24, 44)
    shape[:, 0], colour[:, 0] = 1.0, 1.0
    shape[0, :, :4, :4], colour[0, :, :4, :4] = torch.eye(6)[1, :, None, None], torch.eye(12)[3, :, None, None]
    whole = [torch.full((1, count), 1 / count) for count in (6, 5, 4)]
    reading = attributes.Reading(shape, colour, *whole)
    first, other, *_ = SHAPES
    red, _, _, green, *_ = COLOURS
    shown = {(a, b): bool(reading.shows(Named("object", "", a, b))) for a in (first, other) for b in (green, red, "")}
    assert [key for key, value in shown.items() if value] == [(first, green), (first, "")]


def test_features_of_a_stream_are_those_of_its_windows() -> None:
    torch.manual_seed(0)
    net = WindowNet().eval()
    video = np.random.default_rng(0).integers(0, 256, (48, 24, 44, 3), dtype=np.uint8)
    reader = Reader(48, 4.0, (5.0, 120.0), net)
    for number, picture in enumerate(video):
        reader.see(number, picture)
        assert all(len(held) <= 3 * LOOKS // 2 for held in reader.held.values())
    rows = [seen(video[list(window)]) for window in windows(48, 4.0, 5.0)]
    with torch.inference_mode():
        whole = torch.cat([net.features(net.maps(row)[None]) for row in rows])
    assert len(whole) == 3
    assert np.allclose(reader.features(5.0), whole.numpy(), atol=1e-5)
    assert reader.features(120.0).shape == (0, WIDTH)


@pytest.mark.parametrize("kind", KINDS)
def test_every_damage_keeps_the_shape_and_changes_the_window(kind: str) -> None:
    window, other = held_out().picture[0].numpy(), held_out().picture[1].numpy()
    broken = damaged(window, other, kind, 0.8, np.random.Generator(np.random.PCG64(1)))
    assert broken.shape == window.shape and broken.dtype == np.uint8
    assert np.array_equal(broken, window) == (kind not in FAULTS)


# --------------------------------------------------------------------------------------------------------------
# what they learn from


def test_windows_are_of_scenes_that_no_suite_uses() -> None:
    assert make.SEARCH < shots.WITHIN < make.SPAN - shots.SHARD * (train.SHARDS + train.HELD_OUT)


def test_the_truth_of_a_window_is_that_of_its_scene() -> None:
    number, seconds = shots.WITHIN + 1, 30.0
    known, world = held_out(), scene(number, "test")
    start = int(np.random.Generator(np.random.PCG64([number, 11])).integers(0, round((600 - seconds) * FPS)))
    looks = [start + look for look in windows(round(seconds * FPS), float(FPS), seconds)[0]]
    drawn = render([world], range(looks[3], looks[3] + 1))[0]
    assert np.allclose(known.picture[1, 3].numpy() / 127.5 - 1, drawn.picture[:, 0].permute(1, 2, 0), atol=0.005)
    hour, weather = world.sky_at(looks[3] / FPS)
    assert known.hour[1, 3] in (shots.TURNING, TIMES.index(hour))
    assert known.weather[1, 3] in (shots.TURNING, WEATHERS.index(weather))
    labels = drawn.labels[0, 2::4, 2::4]
    assert torch.equal(known.shape[1, 3] > 0, labels >= FIRST)
    for index, body in enumerate(world.bodies):
        mine = known.shape[1, 3][labels == FIRST + index]
        assert (mine == 1 + list(SHAPES).index(body.shape)).all()


def test_training_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    known, task = held_out(), train.TASKS[0]
    before, facts = train.learned(task, known, tmp_path, 0.3, 0, lambda _line: None)
    again, same = train.learned(task, known, tmp_path, 0.3, 0, lambda _line: None)
    assert same == facts and facts["steps"] > 0
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), again.parameters(), strict=True))
    _, more = train.learned(task, known, tmp_path, 0.6, 0, lambda _line: None)
    assert more["steps"] > facts["steps"]


@pytest.mark.parametrize("task", train.TASKS, ids=lambda task: task.name)
def test_every_task_has_a_loss_that_moves_all_its_weights(task: train.Task) -> None:
    torch.manual_seed(0)
    network = task.network().train()
    task.loss(network, held_out(), np.random.Generator(np.random.PCG64(0))).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
        assert weight.grad.any() or name.endswith("bias"), name  # as many rows too high as too low: a bias stays


def test_training_takes_some_time(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 minutes"):
        train.train_instruments(tmp_path, minutes=0)
