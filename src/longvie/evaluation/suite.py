"""What a benchmark is: videos to make, the files that a model may be given for each, and what is true of them.

A suite is a folder with `manifest.json` and one folder for each item, named by the item's id. The manifest says of
every file what its SHA-256 is, and has one itself: two people who see the same one measure the same thing, to the byte.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args

from longvie.data.export import write_json
from longvie.documents import read_json
from longvie.errors import InputError
from longvie.limits import Limits
from longvie.media import open_regular
from longvie.media.files import shown

VERSION = 1  # grows with every change that makes other items out of the same numbers
FILE = "manifest.json"

Part = Literal["dev", "test"]  # to develop against, and to report on
Category = Literal["natural", "game-like"]
Light = Literal["day", "night"]

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_HASH = re.compile(r"[0-9a-f]{64}")
_LARGE = Limits(document_bytes=64 * 2**20)  # a thousand items of a minute take about 8 MiB
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Switch:
    """A moment at which something else is asked for; the words from then on are the prompt of the same second."""

    time: float  # seconds at which it begins
    kind: str  # colour, weather or time (of day)
    target: int  # body in its scene, -1 for the sky
    value: str  # what it turns into
    lasts: float  # seconds from old to new


@dataclass(frozen=True)
class Item:
    """A video to make.

    Attributes:
        id: name of its folder: place in the suite, then its classes.
        number, split: the world's scene, `world.scene(number, split)`; dev items are of the ranges of training.
        category, light, camera, occluders, lookalikes: its classes; `make` says how they are decided.
        frames: how many there are, 1 + seconds · fps.
        size: height and width of truth and controls in pixels.
        missed: classes that it was to be of and is not, since the world supplied none, such as "light: night".
        files: SHA-256 by path inside the item's folder, parts apart by "/".
        prompts: (second, words), from each second on.
        beats: seconds.
    """

    id: str
    number: int
    split: str
    category: Category
    light: Light
    camera: str
    occluders: bool
    lookalikes: bool
    seconds: float
    frames: int
    size: tuple[int, int]
    fps: float
    missed: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    prompts: tuple[tuple[float, str], ...] = ()
    switches: tuple[Switch, ...] = ()
    beats: tuple[float, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """A whole suite.

    Attributes:
        asked: how many items it is to have; while it is being made there are fewer.
        scenes: numbers of the scenes chosen for all of them, in order.
    """

    seed: int
    split: Part
    seconds: float
    size: tuple[int, int]
    fps: float
    asked: int
    scenes: tuple[int, ...] = ()
    items: tuple[Item, ...] = ()
    version: int = VERSION

    @property
    def complete(self) -> bool:
        """All items that were asked for are there."""
        return len(self.items) == self.asked

    @property
    def sha256(self) -> str:
        """Of everything the manifest says, and so, through their hashes, of every file."""
        return hashlib.sha256(json.dumps(_plain(self), sort_keys=True).encode()).hexdigest()

    @property
    def shortfall(self) -> dict[str, int]:
        """By class, how many items were to be of it and are not."""
        return dict(sorted(Counter(name for item in self.items for name in item.missed).items()))

    def item(self, name: str) -> Item:
        """The item of this id.

        Raises:
            InputError: there is none (`item_unknown`).
        """
        found = next((item for item in self.items if item.id == name), None)
        if found is None:
            raise InputError(f"the suite has no item '{name[:60]}'", code="item_unknown")
        return found

    def first(self, count: int) -> "Manifest":
        """The suite of the first items alone: as fair a sample as the whole, since the classes alternate.

        Raises:
            InputError: not all of them are there.
        """
        scenes = self.scenes[:count]
        items = tuple(item for item in self.items if item.number in scenes)
        if not 1 <= count == len(items):
            raise InputError(f"the first {count} items are asked for, the suite has {len(items)} of them")
        return replace(self, asked=count, scenes=scenes, items=items)

    def counts(self) -> dict[str, int]:
        """How many items there are of each class."""
        return dict(sorted(Counter(name for item in self.items for name in classes(item)).items()))

    def save(self, folder: Path) -> None:
        """Write it into the suite's folder, whole or not at all."""
        write_json(folder / FILE, {**_plain(self), "sha256": self.sha256})

    @classmethod
    def load(cls, folder: Path, *, files: bool = True) -> "Manifest":
        """The manifest of a folder, with every file compared to its hash unless `files` is false.

        Raises:
            InputError: there is none (`suite_unknown`), it is of another version (`suite_format`), it or a file differs
                from what was made (`suite_changed`), a field is wrong or names a place outside (`suite_damaged`).
        """
        if not (folder / FILE).is_file():
            raise InputError(f"{shown(folder)} is no suite: it has no {FILE}", code="suite_unknown")
        manifest = _built(read_json(folder / FILE, limits=_LARGE, error=InputError), folder)
        for item in manifest.items:
            for name in item.files:
                place(folder, item, name)
            if files and (wrong := differing(folder, item)):
                raise InputError(
                    f"{wrong[0]} of item {item.id} is missing or was changed since the suite was made; make the suite "
                    "again, it repairs what differs",
                    code="suite_changed",
                )
        return manifest


def classes(item: Item) -> tuple[str, ...]:
    """The names of the classes that an item belongs to."""
    also = (("occluders", item.occluders), ("look-alikes", item.lookalikes))
    return (item.category, item.light, f"camera {item.camera}", *(name for name, has in also if has))


def place(folder: Path, item: Item, name: str) -> Path:
    """Where a file of an item lies.

    Raises:
        InputError: the name or a link leads out of the suite's folder (`suite_damaged`).
    """
    path = folder / item.id / name
    if not path.resolve().is_relative_to(folder.resolve() / item.id):
        raise _damaged(folder, f"a file of item {item.id} lies outside its folder")
    return path


def differing(folder: Path, item: Item) -> list[str]:
    """Names of files that are missing or hold other bytes than they should."""
    return [name for name, hashed in item.files.items() if _hash_or_none(place(folder, item, name)) != hashed]


def sha256_of(path: Path) -> str:
    """Of a whole file, in hexadecimal; errors as in `media.open_regular`."""
    digest = hashlib.sha256()
    with open_regular(path, error=InputError) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _hash_or_none(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except InputError:  # not there, or no regular file
        return None


def _plain(manifest: Manifest) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(asdict(manifest), allow_nan=False))


# --------------------------------------------------------------------------------------------------------------
# reading what may have been written by anybody


def _built(facts: Any, folder: Path) -> Manifest:
    if not isinstance(facts, dict) or facts.get("version") != VERSION:
        raise InputError(f"{shown(folder)} was made by another version of the suite: make it anew", code="suite_format")
    said = facts.pop("sha256", None)
    try:
        items = tuple(_item(entry, folder) for entry in facts.pop("items"))
        scenes = tuple(_whole(number) for number in facts["scenes"])
        counts = {key: _whole(facts[key]) for key in ("seed", "asked")}
        rates = {"fps": _number(facts["fps"]), "seconds": _number(facts["seconds"])}
        manifest = Manifest(
            **{**facts, **counts, **rates, "size": _size(facts["size"]), "scenes": scenes, "items": items}
        )
        came = manifest.sha256
    except (KeyError, TypeError, ValueError, AttributeError) as reason:
        raise _damaged(folder, f"a field is missing or wrong ({str(reason)[:80]})") from None
    if came != said:
        raise InputError(f"the manifest of {shown(folder)} was changed since it was made", code="suite_changed")
    _check(manifest, folder)
    return manifest


def _check(manifest: Manifest, folder: Path) -> None:
    if len({item.id for item in manifest.items}) != len(manifest.items) or len(manifest.items) > manifest.asked:
        raise _damaged(folder, "two items have one id, or there are more than were asked for")
    if manifest.split not in get_args(Part):
        raise _damaged(folder, f"there is no split '{str(manifest.split)[:20]}'")
    if len(set(manifest.scenes)) != manifest.asked or {item.number for item in manifest.items} - {*manifest.scenes}:
        raise _damaged(folder, f"the scenes chosen for {manifest.asked} items are not those of its items")


def _item(facts: Any, folder: Path) -> Item:
    """One item; everything is checked before it is built, since a path or a count may be anything."""
    name = facts["id"]
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise _damaged(folder, f"'{str(name)[:60]}' is no id of an item")
    if not isinstance(facts["files"], dict) or not facts["files"]:
        raise _damaged(folder, f"item {name} has no files")
    for file, hashed in facts["files"].items():
        if not _inside(file) or not isinstance(hashed, str) or not _HASH.fullmatch(hashed):
            raise _damaged(folder, f"{file[:60]!r} of item {name} is no file inside its folder with a SHA-256")
    if facts["category"] not in get_args(Category) or facts["light"] not in get_args(Light):
        raise _damaged(folder, f"item {name} is of an unknown class")
    counts = {key: _whole(facts[key]) for key in ("number", "frames")}
    lists = {
        "prompts": tuple((_number(time), _text(words)) for time, words in facts["prompts"]),
        "switches": tuple(Switch(**switch) for switch in facts["switches"]),
        "beats": tuple(_number(beat) for beat in facts["beats"]),
        "missed": tuple(_text(name) for name in facts["missed"]),
    }
    rates = {"fps": _number(facts["fps"]), "seconds": _number(facts["seconds"])}
    if min(counts["frames"], *rates.values()) <= 0:
        raise _damaged(folder, f"item {name} has no frames")
    return Item(**{**facts, **counts, **rates, **lists, "size": _size(facts["size"])})


def _inside(name: str) -> bool:
    """A relative path of plain parts, the same on every system."""
    odd = "\\" in name or ":" in name or not name.isprintable()
    return not odd and PurePosixPath(name).as_posix() == name and not {"", ".", ".."} & set(name.split("/"))


def _size(value: Any) -> tuple[int, int]:
    height, width = value
    if type(height) is not int or type(width) is not int or min(height, width) < 1:
        raise ValueError(f"size is {value}")
    return height, width


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:40]} is no whole number from 0 on")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{str(value)[:40]} is no number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]} is no text")
    return value


def _damaged(folder: Path, why: str) -> InputError:
    return InputError(f"the suite in {shown(folder)} is damaged: {why}; make it anew", code="suite_damaged")
