"""The synthetic LongVGenBench: one-shot videos of the procedural world, chosen so that every kind has its share.

LongVGenBench (LongVie, arXiv 2508.03694, §4) is 100 videos of a minute and more, 65 of the real world and 35 of games,
80 by day and 20 by night; neither videos nor controls were released. Ours keeps these shares on scenes of which the
whole truth is known. How a scene is classified, from nothing but what the world says of it:

- **game-like** or natural: the ground is drawn by a rule, as in games (tiles, rows), or grows as it likes (grass, sand,
  water, stone). Materials and shapes are drawn alike for all grounds and tell nothing.
- **night** or day: the hour is night for at least half of the video, all turns of the hour counted.
- **camera**: the world's families in equal parts, among them `loop`, which comes home every 9 to 16 seconds.
- **look-alikes**: two bodies of the same shape, colours and texture at the start; only size and place tell them apart.
- **occluders**: in at least a quarter of the moments the middle of some body inside the picture (16:9) is hidden behind
  another one, with moments every half second (half of the world's scenes at a minute).

The same numbers give the same suite, every file to the byte, whatever the number of processes and threads; on other
machines or libraries, torch and zlib may differ.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations, product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float

from longvie import runtime
from longvie.controls.text import read_timeline
from longvie.data.export import Export, export
from longvie.data.render import cast, eyes
from longvie.data.world import CAMERAS, GROUNDS, Event, Scene, Split, scene
from longvie.documents import read_json
from longvie.errors import ConfigError
from longvie.evaluation.draw import draw_conditions
from longvie.evaluation.suite import FILE, Category, Item, Light, Manifest, Part, Switch, differing, sha256_of
from longvie.media.files import room_for, shown

RULED = ("checker", "rows")  # patterns of game-like grounds
HIDDEN = 0.25  # share of the moments in which something is hidden, from which on a scene has occluders
MOST = 1000  # videos: the shares are exact long before, and a manifest stays small
SPAN = 2**20  # scene numbers that belong to one seed, so that suites of two seeds share no scene
SEEDS = 2**22  # the world draws points by the scene's number times a million, in 64 bits
WORLDS: Mapping[Part, tuple[Split, int]] = {  # of which ranges, and from which number within the seed on
    "dev": ("train", 2**18),  # nobody trains on so many scenes
    "test": ("test", 0),
}
KNOWN = Path(__file__).parent / "suite_scenes.json"  # what `choose` finds for the usual suites, 40 s of looking
SEARCH = 40_000  # of them that are looked through; the rarest combination is about one scene in 8,000
RARE = ("lookalikes", "occluders", "light", "category", "camera")  # in which order wishes are given up
FIRM = 4  # how much the share of a class weighs against the share of a pair of classes

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Kind:
    """The classes of a scene; as a wish, None is "whatever comes"."""

    category: Category | None = None
    light: Light | None = None
    camera: str | None = None
    lookalikes: bool | None = None
    occluders: bool | None = None


SHARES: Mapping[str, Mapping[Any, float]] = {
    "category": {"natural": 0.65, "game-like": 0.35},
    "light": {"day": 0.8, "night": 0.2},
    "camera": {family: 1 / len(CAMERAS) for family in CAMERAS},
    "lookalikes": {False: 0.75, True: 0.25},
    "occluders": {None: 0.75, True: 0.25},  # at least a quarter: the others may have them or not
}


def make(
    folder: Path,
    *,
    videos: int = 100,
    seconds: int | float = 60,
    size: tuple[int, int] = (96, 176),
    fps: int | float = 16,
    seed: int = 0,
    split: Part = "test",
    workers: int = 1,
    tell: Tell = lambda _done, _of: None,
) -> Manifest:
    """Make the suite in a folder, or go on where it was left: items whose files fit their hashes are kept.

    Every item has the files of `data.export` and `conditions.json` with its clips. It lasts from second 0 to `seconds`,
    both included, so that a minute at 16 frames a second is 961 frames: twelve of LongVie's clips. The manifest is
    written after every item, so at any moment the folder is a suite of what is done.

    A suite of fewer videos is the beginning of one with more: it can be made longer, and in the folder of a longer one
    its first videos are seen to.

    Args:
        videos: how many.
        size: height and width in pixels.
        seed: another one, other scenes.
        workers: processes; above 1 they are started anew, so a script needs `if __name__ == "__main__"`.
        tell: told how many videos are done, and of how many.

    Returns:
        The manifest of these videos alone.

    Raises:
        ConfigError: numbers out of range; the folder holds another suite, or something else.
        InputError: its manifest is damaged or was changed.
        ResourceError: no room.
    """
    if not 1 <= videos <= MOST or not 0 <= seed < SEEDS or split not in WORLDS or workers < 1:
        raise ConfigError(
            f"{videos} videos of seed {seed}, split '{str(split)[:20]}', with {workers} workers: use 1 to {MOST:,} "
            f"videos, a seed below {SEEDS:,}, {' or '.join(get_args(Part))}, and at least 1 worker"
        )
    asked = Export(0, _frames(seconds, fps), WORLDS[split][0], size, float(fps))  # checks all other numbers
    manifest = _begun(folder, Manifest(seed, split, float(seconds), size, float(fps), videos))
    numbers = manifest.scenes[:videos]
    done = {item.number: item for item in manifest.items if item.number not in numbers or not differing(folder, item)}
    orders = [
        _Order(place, wish, replace(asked, seed=number), float(seconds))
        for place, (wish, number) in enumerate(zip(plan(videos, seed), numbers, strict=True))
        if number not in done
    ]
    left = len(orders)
    tell(videos - left, videos)
    for item in _made(folder, orders, workers):
        done[item.number], left = item, left - 1
        manifest = replace(manifest, items=tuple(done[number] for number in manifest.scenes if number in done))
        manifest.save(folder)
        tell(videos - left, videos)
    return manifest.first(videos)


def _frames(seconds: int | float, fps: int | float) -> int:
    """From second 0 to `seconds`, both included."""
    if not 0 < seconds <= 3600 or not 0 < fps <= 1000:
        raise ConfigError(f"{seconds:g} seconds at {fps:g} frames a second cannot be made; use up to an hour")
    return 1 + round(seconds * fps)


def _begun(folder: Path, wanted: Manifest) -> Manifest:
    """The manifest to fill: the folder's own where it is the same suite, else a new one with its scenes chosen."""
    items: tuple[Item, ...] = ()
    if (folder / FILE).is_file():
        before = Manifest.load(folder, files=False)
        if replace(before, asked=wanted.asked, scenes=(), items=()) != wanted:
            raise ConfigError(f"{shown(folder)} holds a suite made with other numbers; take another folder")
        if before.asked >= wanted.asked:
            return before
        items = before.items
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{shown(folder)} is there already and holds something else; take another folder")
    manifest = replace(wanted, scenes=scenes(wanted), items=items)
    with room_for(0, folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
    manifest.save(folder)
    return manifest


# --------------------------------------------------------------------------------------------------------------
# which scenes


def category(world: Scene) -> Category:
    """By the ground."""
    return "game-like" if GROUNDS[world.ground][2] in RULED else "natural"


def light(world: Scene, seconds: float) -> Light:
    """By the hour that holds for half of the time or more."""
    turns = [event.at for event in world.events if event.kind == "time" and event.at < seconds]
    starts = [0.0, *turns]
    dark = sum(
        stop - start for start, stop in zip(starts, [*turns, seconds], strict=True) if world.sky_at(start)[0] == "night"
    )
    return "night" if dark >= seconds / 2 else "day"


def lookalikes(world: Scene) -> bool:
    """Are there two bodies that only size and place tell apart?"""
    looks = [
        (body.shape, body.colour, body.texture, body.second if body.texture != "plain" else "") for body in world.bodies
    ]
    return len(set(looks)) < len(looks)


def occluders(world: Scene, seconds: float) -> bool:
    """Is something hidden behind something else for a good part of the time?"""
    times = np.linspace(0.0, seconds, max(9, 1 + round(2 * seconds)))
    return float(hidden(world, times).any(1).mean()) >= HIDDEN


def hidden(world: Scene, times: Float[np.ndarray, " g"]) -> Bool[np.ndarray, "g n"]:
    """Bodies whose middle is inside a picture of 16:9 and behind another body, at `times` seconds."""
    state = world.state(times)
    rays = state.place.permute(2, 0, 1) - eyes(state)  # (3, g, n), through the middles
    first = cast(state, eyes(state), rays).slot
    right, up, forward = ((state.place - state.eye[:, None]) @ state.turn).unbind(-1)  # (g, n) each
    reach = state.view[:, None] * forward
    inside = (forward > 0) & (up.abs() < reach) & (right.abs() < reach * 16 / 9)
    return (inside & (first >= 0) & (first != torch.arange(first.shape[1]))).numpy()


def plan(count: int, seed: int) -> list[Kind]:
    """The classes of each item, in order. The first n of a longer plan are the plan of n.

    Each item is of the kind that is furthest behind its share, so every beginning of the list holds each class to
    within one item, and pairs of classes (night and loop) nearly so. The seed breaks ties.
    """
    cells = list(product(*SHARES.values()))
    cells = [cells[index] for index in np.random.Generator(np.random.PCG64(seed)).permutation(len(cells))]
    places = range(len(SHARES))
    groups = [*((place,) for place in places), *combinations(places, 2)]
    weights = [FIRM if len(group) == 1 else 1 for group in groups]
    of = [{key: n for n, key in enumerate(dict.fromkeys(_part(cell, group) for cell in cells))} for group in groups]
    index = [np.array([known[_part(cell, group)] for cell in cells]) for known, group in zip(of, groups, strict=True)]
    values = list(SHARES.values())
    shares = [np.array([math.prod(values[p][cell[p]] for p in group) for cell in cells]) for group in groups]
    had = [np.zeros(len(known)) for known in of]
    chosen = []
    for number in range(1, count + 1):
        parts = zip(weights, shares, had, index, strict=True)
        behind = sum(weight * (share * number - have[mine]) for weight, share, have, mine in parts)
        best = int(np.argmax(np.round(behind, 9)))  # so that the order of summation breaks no ties
        for have, mine in zip(had, index, strict=True):
            have[mine[best]] += 1
        chosen.append(Kind(*cells[best]))
    return chosen


def _part(cell: tuple[Any, ...], group: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(cell[place] for place in group)


def scenes(wanted: Manifest) -> tuple[int, ...]:
    """Numbers of the scenes of a suite, in order: a function of its seed, split, seconds and count alone.

    What `choose` finds for the usual suites lies beside this file; it is used as far as it still fits the world.
    """
    split, begin = WORLDS[wanted.split]
    begin += wanted.seed * SPAN
    wishes = plan(wanted.asked, wanted.seed)
    known = json.loads(KNOWN.read_text()) if wanted.seed == 0 and wanted.seconds == 60 else {}
    numbers = tuple(known.get(wanted.split, ()))[: wanted.asked]
    if len(numbers) == len(wishes) and all(
        _fits(wish, number, split, wanted.seconds) for wish, number in zip(wishes, numbers, strict=True)
    ):
        return numbers
    return choose(wishes, begin, split, wanted.seconds)


def choose(wishes: list[Kind], begin: int, split: Split, seconds: float, *, search: int = SEARCH) -> tuple[int, ...]:
    """For each wish the first scene number from `begin` on that fulfils it and is not taken yet.

    Where none of `search` numbers does, the wish is given up a class at a time, in the order of `RARE`.

    Raises:
        ConfigError: fewer numbers are looked through than there are wishes.
    """
    if search < len(wishes):
        raise ConfigError(f"{len(wishes)} scenes cannot be chosen out of {search}")
    coming = iter(range(begin, begin + search))
    seen: list[int] = []  # looked at and free
    chosen: list[int] = []
    for wish in wishes:
        chosen.append(next(_found(wish, coming, seen, split, seconds)))
        seen.remove(chosen[-1])
    return tuple(chosen)


def _found(wish: Kind, coming: Iterator[int], seen: list[int], split: Split, seconds: float) -> Iterator[int]:
    """Free scenes for a wish, the best first; what has been looked at is added to `seen`."""
    for less in _less_and_less(wish):
        yield from (number for number in seen if _fits(less, number, split, seconds))
        for number in coming:
            seen.append(number)
            if _fits(less, number, split, seconds):
                yield number


def _less_and_less(wish: Kind) -> Iterator[Kind]:
    """The wish, and then with one class after another given up."""
    yield wish
    for name in RARE:
        if getattr(wish, name) is not None:
            wish = replace(wish, **{name: None})
            yield wish


def missed(wish: Kind, kind: Kind) -> tuple[str, ...]:
    """The classes that were wished for and are not there."""
    wanted = {name: getattr(wish, name) for name in RARE}
    return tuple(
        f"{name}: {str(value).lower()}" for name, value in wanted.items() if value not in (None, getattr(kind, name))
    )


@lru_cache(maxsize=2 * SEARCH)
def _described(number: int, split: Split, seconds: float) -> Kind:
    """All classes but the one that is dear."""
    world = scene(number, split)
    return Kind(category(world), light(world, seconds), world.camera.family, lookalikes(world))


@lru_cache(maxsize=2 * SEARCH)
def _hides(number: int, split: Split, seconds: float) -> bool:
    return occluders(scene(number, split), seconds)


def _fits(wish: Kind, number: int, split: Split, seconds: float) -> bool:
    if missed(replace(wish, occluders=None), _described(number, split, seconds)):
        return False
    return wish.occluders is None or _hides(number, split, seconds) == wish.occluders


# --------------------------------------------------------------------------------------------------------------
# items


@dataclass(frozen=True)
class _Order:
    """An item to make."""

    place: int  # in the suite
    wish: Kind
    asked: Export
    seconds: float


def _made(folder: Path, orders: list[_Order], workers: int) -> Iterator[Item]:
    """The items as they are finished, in any order."""
    if workers == 1 or not orders:
        for order in orders:
            with runtime.one_thread():
                item = _make_item(folder, order)
            yield item
        return
    count = min(workers, len(orders))
    with ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_alone) as pool:
        waiting = [pool.submit(_make_item, folder, order) for order in orders]
        try:
            for one in as_completed(waiting):
                yield one.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """A process of its own: one thread, and memory that stays, a third faster than giving it back."""
    runtime.threads(1)
    runtime.keep_memory()


def _make_item(folder: Path, order: _Order) -> Item:
    """Export a scene under another name, which becomes the item's own when everything is there."""
    asked, number, split = order.asked, order.asked.seed, order.asked.split
    hides = _hides(number, split, order.seconds)
    kind = replace(_described(number, split, order.seconds), occluders=hides)
    name = f"{order.place:03d}-{kind.category}-{kind.light}-{kind.camera}"
    part = folder / f".{name}.part"
    with room_for(0, folder):
        _clear(part)
        export(asked, part)
        draw_conditions(part, frames=asked.frames, size=asked.size, fps=asked.fps)
        files = {path.relative_to(part).as_posix(): path for path in sorted(part.rglob("*")) if path.is_file()}
        item = Item(
            id=name,
            number=number,
            split=split,
            category=kind.category,  # type: ignore[arg-type]  # None in wishes alone
            light=kind.light,  # type: ignore[arg-type]
            camera=str(kind.camera),
            occluders=hides,
            lookalikes=bool(kind.lookalikes),
            seconds=order.seconds,
            frames=asked.frames,
            size=asked.size,
            fps=asked.fps,
            missed=missed(order.wish, kind),
            files={file: sha256_of(path) for file, path in files.items()},
            prompts=tuple((line.time, line.prompt) for line in read_timeline(part / "prompts.json").lines),
            switches=_switches(scene(number, split), asked.frames / asked.fps),
            beats=tuple(float(beat) for beat in read_json(part / "beats.json")["beats"]),
        )
        _clear(folder / name)
        part.rename(folder / name)
    return item


def _clear(path: Path) -> None:
    """Away with what an interrupted run left, or with an item that does not fit its hashes."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _switches(world: Scene, duration: float) -> tuple[Switch, ...]:
    return tuple(
        Switch(event.at, event.kind, event.target, event.value, Event.TURN[event.kind])
        for event in world.events
        if 0 < event.at < duration - 0.001  # as the prompts are exported
    )
