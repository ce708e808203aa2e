"""One moment under several captions: the same place, and pictures that differ where the words do."""

from pathlib import Path

import pytest
import torch

from longvie.data import variants
from longvie.errors import InputError

SIZE = (32, 48)


def test_a_moment_depends_on_its_number_alone_and_holds_what_its_captions_say() -> None:
    one, again = (variants.make(3, size=SIZE) for _ in range(2))
    assert torch.equal(one.pictures, again.pictures) and one.captions == again.captions
    assert one.pictures.shape == (variants.VARIANTS, *SIZE, 3) and one.disparity.shape == SIZE
    for at, words in enumerate(one.captions):
        for other, others in enumerate(one.captions[:at]):
            alike = torch.equal(one.pictures[at], one.pictures[other])
            assert alike or words != others, "other pictures, and nothing is said of it"
    told = one.captions[0].split(" on ")[0].replace(" and ", ", ").split(", ")
    shown = set(one.things.unique().tolist()) - {variants.UNTOLD}
    assert shown and max(shown) < len(told) <= variants.TOLD
    changed = (one.pictures[0].int() - one.pictures[1]).abs().sum(-1) > 24
    (other,) = [
        at
        for at, (a, b) in enumerate(
            zip(told, one.captions[1].split(" on ")[0].replace(" and ", ", ").split(", "), strict=True)
        )
        if a != b
    ]
    assert float((one.things == other)[changed].float().mean()) > 0.7, "the rest is what mirrors it, and edges"
    assert len({words.rpartition(", ")[2] for words in one.captions}) == 1, "the camera is the same"


def test_all_that_words_say_changes_somewhere() -> None:
    hours, grounds, things = 0, 0, 0
    for number in range(24):
        made = variants.make(number, size=(8, 16))
        parts = [words.split(" on ", 1) for words in made.captions]
        things += len({first for first, _ in parts}) > 1
        grounds += len({rest.split(",")[0] for _, rest in parts}) > 1
        hours += len({rest.split(", ")[1] for _, rest in parts}) > 1
    assert hours >= 16 and things >= 16 and grounds >= 2


def test_files_hold_what_was_made(tmp_path: Path) -> None:
    assert list(variants.fill(tmp_path, range(2), split="test")) == [0, 1]
    files = sorted(tmp_path.rglob("*.safetensors"))
    before = [file.read_bytes() for file in files]
    assert list(variants.fill(tmp_path, range(2), split="test")) == [0, 1]
    assert [file.read_bytes() for file in files] == before
    kept, made = variants.read(tmp_path)[1], variants.make(1, split="test")
    assert torch.equal(kept.pictures, made.pictures) and torch.equal(kept.disparity, made.disparity)
    assert torch.equal(kept.things, made.things)
    assert kept.captions == made.captions
    with pytest.raises(InputError, match="variants"):
        variants.read(tmp_path / "nothing")
