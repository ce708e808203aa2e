"""A suite as it lies on disk: what was made comes back, what was changed is noticed, nothing leads outside."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longvie.errors import InputError
from longvie.evaluation.suite import FILE, Item, Manifest, Switch, classes, differing, place, sha256_of


def item(number: int = 0, **other: Any) -> Item:
    files = {"truth.mp4": hashlib.sha256(b"truth").hexdigest(), "conditions/a.mp4": hashlib.sha256(b"a").hexdigest()}
    facts = {
        "id": f"{number:03d}-natural-day-loop",
        "number": number,
        "split": "test",
        "category": "natural",
        "light": "day",
        "camera": "loop",
        "occluders": True,
        "lookalikes": False,
        "seconds": 2.0,
        "frames": 33,
        "size": (32, 48),
        "fps": 16.0,
        "files": files,
        "prompts": ((0.0, "a ball"), (1.5, "a red ball")),
        "switches": (Switch(1.5, "colour", 0, "red", 0.5),),
        "beats": (0.25, 1.0),
    }
    return Item(**(facts | other))


def write(folder: Path, items: tuple[Item, ...] | None = None) -> Manifest:
    items = (item(0), item(1)) if items is None else items
    for each in items:
        (folder / each.id / "conditions").mkdir(parents=True)
        (folder / each.id / "truth.mp4").write_bytes(b"truth")
        (folder / each.id / "conditions" / "a.mp4").write_bytes(b"a")
    numbers = tuple(range(len(items)))
    manifest = Manifest(0, "test", 2.0, (32, 48), 16.0, len(items), numbers, items)
    manifest.save(folder)
    return manifest


def rewrite(folder: Path, **fields: Any) -> None:
    """As somebody would who also knows how to write the hash anew."""
    facts = json.loads((folder / FILE).read_text())
    del facts["sha256"]
    facts["items"][0] |= fields
    sha256 = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    (folder / FILE).write_text(json.dumps(facts | {"sha256": sha256}))


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    made = write(tmp_path)
    read = Manifest.load(tmp_path)
    assert read == made and read.sha256 == made.sha256 and read.complete
    assert read.item("001-natural-day-loop").switches == (Switch(1.5, "colour", 0, "red", 0.5),)
    with pytest.raises(InputError, match="no item 'other'"):
        read.item("other")


def test_the_first_items_are_a_suite_of_their_own(tmp_path: Path) -> None:
    made = write(tmp_path)
    first = made.first(1)
    assert first.items == made.items[:1] and first.complete and first.sha256 != made.sha256
    for count in (0, 3):
        with pytest.raises(InputError, match="the suite has"):
            made.first(count)
    with pytest.raises(InputError, match="the suite has 0"):
        replace(made, items=made.items[1:]).first(1)


def test_what_was_missed_is_counted_over_the_items() -> None:
    items = (item(0, missed=("light: night", "lookalikes: true")), item(1, missed=("light: night",)))
    made = Manifest(0, "test", 2.0, (32, 48), 16.0, 2, (0, 1), items)
    assert made.shortfall == {"light: night": 2, "lookalikes: true": 1}
    assert not made.first(1).shortfall.keys() - {"light: night", "lookalikes: true"}


def test_classes_are_counted() -> None:
    assert classes(item()) == ("natural", "day", "camera loop", "occluders")
    made = Manifest(0, "test", 2.0, (32, 48), 16.0, 2, (0, 1), (item(0), item(1, light="night", lookalikes=True)))
    counted = {"camera loop": 2, "day": 1, "look-alikes": 1, "natural": 2, "night": 1, "occluders": 2}
    assert made.counts() == counted


def test_every_field_is_in_the_hash(tmp_path: Path) -> None:
    made = write(tmp_path)
    others = [
        replace(made, seed=1),
        replace(made, split="dev"),
        replace(made, items=(made.items[0], replace(made.items[1], beats=()))),
        replace(made, items=(made.items[0], replace(made.items[1], files=made.items[1].files | {"b": "0" * 64}))),
    ]
    assert len({made.sha256, *(other.sha256 for other in others)}) == 5


@pytest.mark.parametrize("change", ["content", "missing", "link"])
def test_a_file_that_differs_is_named(tmp_path: Path, change: str) -> None:
    made = write(tmp_path)
    file = tmp_path / made.items[1].id / "truth.mp4"
    file.unlink()
    if change == "content":
        file.write_bytes(b"another truth")
    if change == "link":
        file.symlink_to(tmp_path / made.items[0].id / "truth.mp4")
    with pytest.raises(InputError, match=r"truth\.mp4 of item 001|lies outside") as caught:
        Manifest.load(tmp_path)
    assert caught.value.code in ("suite_changed", "suite_damaged")


def test_files_need_not_be_read_to_read_the_manifest(tmp_path: Path) -> None:
    made = write(tmp_path)
    (tmp_path / made.items[1].id / "truth.mp4").write_bytes(b"")
    assert Manifest.load(tmp_path, files=False) == made
    assert differing(tmp_path, made.items[1]) == ["truth.mp4"] and not differing(tmp_path, made.items[0])


def test_a_changed_manifest_is_noticed(tmp_path: Path) -> None:
    write(tmp_path)
    facts = json.loads((tmp_path / FILE).read_text())
    facts["items"][0]["light"] = "night"
    (tmp_path / FILE).write_text(json.dumps(facts))
    with pytest.raises(InputError, match="was changed") as caught:
        Manifest.load(tmp_path)
    assert caught.value.code == "suite_changed"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../b", "a\\b", "c:x", "", ".", "a//b", "a/", "a\0b", "a\nb"]
)
def test_no_path_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    rewrite(tmp_path, files={name: "0" * 64})
    with pytest.raises(InputError, match="inside its folder") as caught:
        Manifest.load(tmp_path, files=False)
    assert caught.value.code == "suite_damaged"


@pytest.mark.parametrize("name", ["..", "../other", "a/b", "", "A", ".hidden", "a--b", 7])
def test_an_id_is_a_plain_name(tmp_path: Path, name: object) -> None:
    write(tmp_path)
    rewrite(tmp_path, id=name)
    with pytest.raises(InputError, match="is no id"):
        Manifest.load(tmp_path, files=False)


def test_a_folder_that_is_a_link_leads_nowhere(tmp_path: Path) -> None:
    made = write(tmp_path / "suite")
    outside = (tmp_path / "suite" / made.items[0].id).rename(tmp_path / "outside")
    (tmp_path / "suite" / made.items[0].id).symlink_to(outside)
    with pytest.raises(InputError, match="outside its folder"):
        Manifest.load(tmp_path / "suite")
    with pytest.raises(InputError, match="outside its folder"):
        place(tmp_path / "suite", made.items[0], "truth.mp4")


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0},
        {"frames": 1.5},
        {"fps": 0},
        {"fps": "16"},
        {"category": "other"},
        {"light": None},
        {"size": [32]},
        {"files": {}},
        {"files": {"a": "xyz"}},
        {"prompts": [[0, 7]]},
        {"switches": [{"time": 0}]},
        {"beats": [None]},
        {"missed": [1]},
        {"number": 9},
        {"more": 1},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    write(tmp_path)
    rewrite(tmp_path, **wrong)
    with pytest.raises(InputError) as caught:
        Manifest.load(tmp_path, files=False)
    assert caught.value.code == "suite_damaged"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 99}', '{"version": 1}', '{"version": 1, "items": 3}'])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(InputError):
        Manifest.load(tmp_path)


def test_two_items_of_one_id_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    rewrite(tmp_path, id="001-natural-day-loop")
    with pytest.raises(InputError, match="one id"):
        Manifest.load(tmp_path, files=False)


def test_a_folder_without_a_manifest_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no suite") as caught:
        Manifest.load(tmp_path)
    assert caught.value.code == "suite_unknown"


def test_a_file_is_hashed_as_everywhere(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    assert sha256_of(tmp_path / "a") == hashlib.sha256(bytes(3_000_000)).hexdigest()
    with pytest.raises(InputError, match="there is no file 'b'"):
        sha256_of(tmp_path / "b")
