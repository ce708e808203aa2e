"""The synthetic benchmark: classes mean what they say, shares hold from the first item on, and nothing is by chance."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from longvie.controls.conditions import read_conditions
from longvie.data import world
from longvie.data.export import Export, export
from longvie.data.render import FIRST, render
from longvie.data.world import GROUNDS, Event, scene
from longvie.errors import ConfigError, InputError
from longvie.evaluation import make as module
from longvie.evaluation.make import (
    SHARES,
    Kind,
    category,
    choose,
    hidden,
    light,
    lookalikes,
    make,
    missed,
    occluders,
    plan,
    scenes,
)
from longvie.evaluation.suite import FILE, Manifest, Part
from longvie.media import probe_video, read_video

SMALL = {"seconds": 1, "size": (16, 32), "seed": 3}  # a seed whose first scenes are found soon
FRAMES = 17
AGAIN = 2  # scenes that are looked for again; the third of the test scenes is behind a thousand others


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("suite") / "four"
    return folder, make(folder, videos=4, **SMALL)


def bytes_in(folder: Path) -> dict[str, bytes]:
    """Every file by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# classes


def test_the_ground_decides_the_category() -> None:
    found = {ground: category(replace(scene(0, "test"), ground=ground)) for ground in GROUNDS}
    assert found == {
        "grass": "natural",
        "sand": "natural",
        "water": "natural",
        "stone": "natural",
        "tiles": "game-like",
        "clay": "game-like",
    }


def test_night_is_what_holds_for_half_of_the_time() -> None:
    falls = replace(scene(0, "test"), hour="day", events=(Event(4.0, "time", -1, "night"),))
    assert [light(falls, seconds) for seconds in (3.0, 7.9, 8.0, 60.0)] == ["day", "day", "night", "night"]
    passes = replace(
        falls, events=(*falls.events, Event(10.0, "time", -1, "dawn"), Event(11.0, "weather", -1, "foggy"))
    )
    assert light(passes, 11.9) == "night" and light(passes, 60.0) == "day"
    assert light(replace(falls, hour="night", events=()), 1.0) == "night"


def test_lookalikes_differ_in_size_and_place_alone() -> None:
    body = replace(scene(0, "test").bodies[0], shape="ball", colour="red", texture="plain", second="blue")
    pairs = {
        "same": replace(body, size=body.size + 0.1, home=(3.0, 3.0), second="green"),
        "colour": replace(body, colour="pink"),
        "shape": replace(body, shape="cube"),
        "texture": replace(body, texture="striped"),
    }
    found = {name: lookalikes(replace(scene(0, "test"), bodies=(body, other))) for name, other in pairs.items()}
    assert found == {"same": True, "colour": False, "shape": False, "texture": False}
    striped = replace(body, texture="striped")
    assert not lookalikes(replace(scene(0, "test"), bodies=(striped, replace(striped, second="green"))))


def test_what_is_hidden_is_what_the_picture_does_not_show() -> None:
    """Where a body's middle is hidden, the pixel there shows another body; save where the pixel lies on an edge."""
    agree = []
    for number in range(6):
        of = scene(number, "test")
        times = np.arange(8.0)
        labels = render([of], range(8), size=(90, 160), fps=1.0, smooth=False)[0].labels
        state = of.state(times)
        local = (state.place - state.eye[:, None]) @ state.turn
        for moment, slot in np.argwhere(hidden(of, times)):
            x = 80 + 45 * local[moment, slot, 0] / local[moment, slot, 2] / state.view[moment]
            y = 45 - 45 * local[moment, slot, 1] / local[moment, slot, 2] / state.view[moment]
            shown = int(labels[moment, int(y), int(x)])
            agree.append(shown >= FIRST and shown != FIRST + int(state.label[moment, slot]))
    assert len(agree) > 10 and np.mean(agree) > 0.9


def test_a_lone_body_hides_nothing() -> None:
    of = scene(0, "test")
    assert not occluders(replace(of, bodies=of.bodies[:1]), 4.0)


# shares


@pytest.mark.parametrize("seed", [0, 3])
def test_every_beginning_of_the_plan_holds_every_share(seed: int) -> None:
    chosen = plan(100, seed)
    for count in range(1, 101):
        for name, shares in SHARES.items():
            had = Counter(getattr(kind, name) for kind in chosen[:count])
            assert all(abs(had[value] - share * count) <= 1 for value, share in shares.items()), (count, name)
    assert Counter(kind.category for kind in chosen) == {"natural": 65, "game-like": 35}
    assert Counter(kind.light for kind in chosen) == {"day": 80, "night": 20}
    assert set(Counter(kind.camera for kind in chosen).values()) == {12, 13}
    assert sum(bool(kind.lookalikes) for kind in chosen) == sum(bool(kind.occluders) for kind in chosen) == 25


def test_classes_do_not_go_in_step() -> None:
    """Night falls on every camera, and look-alikes are of both categories and both lights."""
    chosen = plan(100, 0)
    assert len({kind.camera for kind in chosen if kind.light == "night"}) == 8
    assert len({(kind.category, kind.light) for kind in chosen if kind.lookalikes}) == 4


def test_a_shorter_plan_is_the_beginning_of_a_longer_one_and_a_seed_makes_another() -> None:
    assert plan(20, 5) == plan(100, 5)[:20]
    assert plan(20, 5) != plan(20, 6)


def test_chosen_scenes_are_what_was_wished_for() -> None:
    wished = [*plan(6, 3)[:3], Kind(light="night"), Kind(camera="loop")]
    numbers = choose(wished, 3 * module.SPAN, "test", 2.0)
    assert len(set(numbers)) == 5
    for wish, number in zip(wished, numbers, strict=True):
        of = scene(number, "test")
        assert wish.category in (None, category(of)) and wish.light in (None, light(of, 2.0))
        assert wish.camera in (None, of.camera.family) and wish.lookalikes in (None, lookalikes(of))
        assert not wish.occluders or occluders(of, 2.0)


def test_the_first_scene_that_fits_is_taken_and_none_twice() -> None:
    numbers = choose([Kind(), Kind(), Kind(camera="loop"), Kind()], 0, "test", 2.0)
    assert numbers[:2] == (0, 1) and numbers[3] == min(set(range(5)) - set(numbers[:3]))


def test_what_the_world_does_not_supply_is_given_up_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A world without nights and look-alikes, as far as one looks."""
    monkeypatch.setattr(module, "light", lambda _world, _seconds: "day")
    monkeypatch.setattr(module, "lookalikes", lambda _world: False)
    wished = [Kind("natural", "night", lookalikes=True), Kind("natural", "day"), Kind(light="night")]
    module._described.cache_clear()
    try:
        numbers = choose(wished, 1, "test", 2.0, search=20)
        found = [module._described(number, "test", 2.0) for number in numbers]
    finally:
        module._described.cache_clear()
    lost = [missed(*pair) for pair in zip(wished, found, strict=True)]
    assert lost == [("lookalikes: true", "light: night"), (), ("light: night",)]
    assert [kind.category for kind in found[:2]] == ["natural", "natural"]
    assert len(set(numbers)) == 3


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_scenes_that_are_known_are_those_that_are_found(split: Part, monkeypatch: pytest.MonkeyPatch) -> None:
    """All hundred fit; the first of them are looked for again."""
    suite = Manifest(0, split, 60.0, (96, 176), 16.0, 100)
    known = tuple(json.loads(module.KNOWN.read_text())[split])
    monkeypatch.setattr(module, "choose", lambda *_: pytest.fail("some do not fit"))
    assert scenes(suite) == known and len(set(known)) == 100
    assert scenes(replace(suite, asked=3)) == known[:3]
    of, begin = module.WORLDS[split]
    assert choose(plan(AGAIN, 0), begin, of, 60.0) == known[:AGAIN]


@pytest.mark.slow
@pytest.mark.parametrize("split", ["dev", "test"])
def test_all_known_scenes_are_those_that_are_found(split: Part) -> None:
    of, begin = module.WORLDS[split]
    assert list(choose(plan(100, 0), begin, of, 60.0)) == json.loads(module.KNOWN.read_text())[split]


def test_known_scenes_that_do_not_fit_the_world_are_looked_for_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = plan(1, 0)[0]
    wrong = next(number for number in range(100) if missed(wanted, module._described(number, "test", 60.0)))
    (tmp_path / "known.json").write_text(json.dumps({"test": [wrong]}))
    monkeypatch.setattr(module, "KNOWN", tmp_path / "known.json")
    found = scenes(Manifest(0, "test", 60.0, (96, 176), 16.0, 1))
    assert found == choose([wanted], 0, "test", 60.0) != (wrong,)


def test_dev_scenes_are_of_other_ranges_and_seeds_share_none() -> None:
    for split, other in (("dev", "test"), ("test", "dev")):
        ours, theirs = (scenes(Manifest(seed, split, 2.0, (16, 32), 16.0, 2)) for seed in (0, 1))
        assert not set(ours) & set(theirs)
        of = [scene(number, module.WORLDS[split][0]) for number in ours]
        train = [0.8 < world.camera.height < 3.4 and 44 <= np.degrees(world.camera.view) <= 66 for world in of]
        assert all(train) if split == "dev" else not any(train), other


# the suite


def test_the_suite_is_whole_and_its_items_are_of_their_classes(suite: tuple[Path, Manifest]) -> None:
    folder, manifest = suite
    assert manifest.complete and not manifest.shortfall
    assert Manifest.load(folder) == manifest
    assert len({item.camera for item in manifest.items}) == 4
    counts = manifest.counts()
    assert counts["night"] == 1 and counts["look-alikes"] == 1 and counts["occluders"] >= 1
    for place, item in enumerate(manifest.items):
        of = scene(item.number, "test")
        assert item.id == f"{place:03d}-{item.category}-{item.light}-{item.camera}"
        assert (item.category, item.light, item.camera) == (category(of), light(of, 1.0), of.camera.family)
        assert (item.lookalikes, item.occluders) == (lookalikes(of), occluders(of, 1.0))
        assert (item.frames, item.size, item.fps) == (FRAMES, (16, 32), 16.0)
        assert [words for _, words in item.prompts] == [words for _, words in of.captions(FRAMES / 16 - 0.001)]
        assert len(item.prompts) == 1 + len(item.switches)


def test_an_items_files_are_those_of_an_export(suite: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, manifest = suite
    item = manifest.items[2]
    export(Export(item.number, FRAMES, size=(16, 32)), tmp_path / "scene")
    drawn = {name: data for name, data in bytes_in(folder / item.id).items() if not name.startswith("conditions")}
    assert drawn == bytes_in(tmp_path / "scene")
    assert {path.name for path in folder.iterdir()} == {FILE, *(each.id for each in manifest.items)}


def test_conditions_are_clips_of_81_frames_that_can_be_read_as_such(suite: tuple[Path, Manifest]) -> None:
    folder, manifest = suite
    inside = folder / manifest.items[0].id
    clips = read_conditions(inside / "conditions.json")
    assert clips.frames == 81 and clips.prompts == (manifest.items[0].prompts[0][1],)
    for name in ("depth", "tracks"):
        path = clips.files[name][0]
        info = probe_video(path)
        assert (info.frames, info.height, info.width, info.fps) == (81, 16, 32, 16)
        frames = read_video(path).astype(float)
        assert frames.std() > 5
        held, moved = np.abs(frames[16] - frames[80]).mean(), np.abs(frames[0] - frames[16]).mean()
        assert held < 6 and held < moved  # the last frame is held


def test_two_makes_are_the_same_whoever_makes_them(suite: tuple[Path, Manifest], tmp_path: Path) -> None:
    """One item in this process, then one in another; the first items alone or with the rest."""
    folder, manifest = suite
    heard: list[tuple[int, int]] = []
    make(tmp_path / "again", videos=1, **SMALL)
    again = make(tmp_path / "again", videos=2, workers=2, tell=lambda *now: heard.append(now), **SMALL)
    assert again.sha256 == manifest.first(2).sha256
    for item in again.items:
        assert bytes_in(tmp_path / "again" / item.id) == bytes_in(folder / item.id)
    assert heard == [(1, 2), (2, 2)]


def test_a_suite_grows_and_what_is_there_stays(suite: tuple[Path, Manifest], tmp_path: Path) -> None:
    """One item is copied; the longer suite keeps it as it is and equals the one that was made at once."""
    folder, manifest = suite
    grown = tmp_path / "grown"
    shutil.copytree(folder / manifest.items[0].id, grown / manifest.items[0].id)
    manifest.first(1).save(grown)
    before = (grown / manifest.items[0].id / "truth.mp4").stat().st_mtime_ns
    made = make(grown, videos=2, **SMALL)
    assert made.sha256 == manifest.first(2).sha256
    assert (grown / manifest.items[0].id / "truth.mp4").stat().st_mtime_ns == before


def test_the_first_videos_of_a_longer_suite_can_be_made_alone(suite: tuple[Path, Manifest], tmp_path: Path) -> None:
    """Of four there is the last one only; two are asked for, and the rest of the suite stays what it is."""
    folder, manifest = suite
    part = tmp_path / "part"
    for item in manifest.items[1:]:
        shutil.copytree(folder / item.id, part / item.id)
    replace(manifest, items=manifest.items[3:]).save(part)
    assert make(part, videos=2, **SMALL).sha256 == manifest.first(2).sha256
    left = Manifest.load(part)
    assert left.asked == 4 and left.items == (*manifest.items[:2], manifest.items[3])


@pytest.mark.parametrize("damage", ["gone", "changed", "half made"])
def test_what_is_missing_or_differs_is_made_again(
    suite: tuple[Path, Manifest], tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, manifest = suite
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    broken = copy / manifest.items[1].id
    if damage == "gone":
        shutil.rmtree(broken)
    if damage == "changed":
        (broken / "depth.npz").write_bytes(b"no depth")
    if damage == "half made":  # killed while it was being made
        broken.rename(copy / f".{broken.name}.part")
        (copy / f".{broken.name}.part" / "scene.json").unlink()
        replace(manifest, items=manifest.items[:1] + manifest.items[2:]).save(copy)
    made: list[int] = []
    original = module._make_item
    monkeypatch.setattr(module, "_make_item", lambda *asked: made.append(asked[1].asked.seed) or original(*asked))
    again = make(copy, videos=4, **SMALL)
    assert made == [manifest.items[1].number]
    assert again.sha256 == manifest.sha256
    assert Manifest.load(copy) == again
    assert {path.name for path in copy.iterdir()} == {path.name for path in folder.iterdir()}


def test_whenever_it_stops_the_folder_is_a_suite_of_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = module._make_item, []

    def stops(*asked: object) -> object:
        calls.append(asked)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_make_item", stops)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "suite", videos=2, **SMALL)
    left = Manifest.load(tmp_path / "suite")
    assert len(left.items) == 1 and left.asked == 2 and not left.complete
    monkeypatch.setattr(module, "scenes", lambda *_: pytest.fail("the scenes are chosen already"))
    assert make(tmp_path / "suite", videos=2, **SMALL).complete


def test_another_suite_or_something_else_is_left_alone(suite: tuple[Path, Manifest], tmp_path: Path) -> None:
    folder, _ = suite
    for other in ({"seed": 4}, {"seconds": 3}, {"size": (32, 32)}, {"fps": 8}, {"split": "dev"}):
        with pytest.raises(ConfigError, match="other numbers"):
            make(folder, videos=4, **(SMALL | other))  # type: ignore[arg-type]
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="something else"):
        make(tmp_path, videos=4, **SMALL)
    (tmp_path / FILE).write_text(json.dumps({"version": 1}))
    with pytest.raises(InputError, match="damaged"):
        make(tmp_path, videos=4, **SMALL)
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE, "mine.txt"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"videos": 0},
        {"videos": 1001},
        {"seconds": 0},
        {"seconds": float("nan")},
        {"seconds": 4000},
        {"fps": 0},
        {"fps": 2000},
        {"size": (31, 48)},
        {"seed": -1},
        {"seed": 2**22},
        {"workers": 0},
    ],
    ids=str,
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        make(tmp_path / "suite", **({"videos": 1} | SMALL | wrong))  # type: ignore[arg-type]
    assert not (tmp_path / "suite").exists()


def test_the_last_seed_can_still_be_drawn(tmp_path: Path) -> None:
    number = (module.SEEDS - 1) * module.SPAN + module.SEARCH
    export(Export(number, 1, size=(16, 16), points=4), tmp_path / "scene")


def test_the_world_has_not_gained_a_ground_that_nobody_classified() -> None:
    assert {GROUNDS[name][2] for name in GROUNDS} <= {*module.RULED, "noise", "ripple"}
    assert set(SHARES["camera"]) == set(world.CAMERAS)
