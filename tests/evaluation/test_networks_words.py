"""CLIP's tokens: as byte pairs are defined, on a small vocabulary."""

import gzip
import re
from pathlib import Path

import pytest
import torch
from networks_made import MERGES, vocabulary

from longvie.errors import InputError, WeightsError
from longvie.evaluation.networks.words import MERGES as PUBLISHED
from longvie.evaluation.networks.words import Words, _letters

LETTERS = _letters()
BYTE = {LETTERS.index(letter): letter for letter in LETTERS}


def letters_by_definition() -> dict[int, str]:
    """Printable bytes stand for themselves; the others are counted from 256."""
    found, other = {}, 256
    for byte in range(256):
        if chr(byte).isprintable() and byte not in (32, 160, 173):
            found[byte] = chr(byte)
        else:
            found[byte], other = chr(other), other + 1
    return found


def test_every_byte_has_its_letter() -> None:
    assert len(LETTERS) == len(set(LETTERS)) == 256
    assert set(LETTERS) == set(letters_by_definition().values())
    assert LETTERS[:94] == [chr(code) for code in range(33, 127)]  # ids of plain letters are the published ones
    assert 2 * 256 + PUBLISHED + 2 == 49_408


def pieces(word: str) -> list[str]:
    """Merged by definition: of all neighbours the pair that stands first in the vocabulary, again and again."""
    ranks = {tuple(merge.split()): rank for rank, merge in enumerate(MERGES)}
    spelt = [letters_by_definition()[byte] for byte in word.encode()]
    spelt[-1] += "</w>"
    while len(spelt) > 1:
        best = min(range(len(spelt) - 1), key=lambda at: ranks.get((spelt[at], spelt[at + 1]), len(ranks)))
        if (spelt[best], spelt[best + 1]) not in ranks:
            break
        spelt[best : best + 2] = ["".join(spelt[best : best + 2])]
    return spelt


def ids(text: str) -> list[int]:
    """By definition, of text in lower case."""
    names = [*LETTERS, *(letter + "</w>" for letter in LETTERS), *("".join(merge.split()) for merge in MERGES)]
    words = re.findall(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+", text)
    return [names.index(piece) for word in words for piece in pieces(word)]


@pytest.mark.parametrize(
    "text", ["a cat and the red cat", "the cat's hand; 12 cats!", "naïve cät — sits", "band", "it isn't 3 o'clock"]
)
def test_texts_are_cut_as_byte_pairs_are_defined(tmp_path: Path, text: str) -> None:
    words = Words(vocabulary(tmp_path / "words.gz"))
    inner = ids(text)
    row = words([text], 77)[0].tolist()
    start, end = 512 + len(MERGES), 513 + len(MERGES)
    assert row[: len(inner) + 2] == [start, *inner, end]
    assert row[len(inner) + 2 :] == [0] * (75 - len(inner))


def test_long_texts_are_cut_and_still_end(tmp_path: Path) -> None:
    words = Words(vocabulary(tmp_path / "words.gz"))
    rows = words(["the cat sat on the red mat and sat", "Ａ  CAT &amp; the"], 8)
    assert rows.shape == (2, 8) and rows.dtype == torch.int64
    assert rows[0, -1] == 513 + len(MERGES) and rows[0, 0] == 512 + len(MERGES)
    assert torch.equal(rows[1], words(["a cat & the"], 8)[0])  # cleaned as published: width, entities, blanks, case


def test_no_text_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no text"):
        Words(vocabulary(tmp_path / "words.gz"))([], 77)
    path = tmp_path / "wrong.gz"
    path.write_bytes(b"a b")
    with pytest.raises(WeightsError, match="cannot be read"):
        Words(path)
    path.write_bytes(gzip.compress(b"#version\na b c\n"))
    with pytest.raises(WeightsError, match="a pair on each line"):
        Words(path)
    path.write_bytes(gzip.compress(b"#version\nxx yy\n"))
    with pytest.raises(WeightsError, match="not the vocabulary of CLIP"):
        Words(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        Words(tmp_path / "missing.gz")
