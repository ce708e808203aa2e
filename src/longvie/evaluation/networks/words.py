"""CLIP's tokens: words cut into byte pairs, as the vocabulary that was published with it says.

Source: Radford et al. 2021, section 2.4, after Sennrich et al. 2015 (arXiv 1508.07909). The file is gzipped text: a
line about itself, then a pair to merge on each line, the first 48,894 of which are used.
"""

import gzip
import itertools
import zlib
from pathlib import Path

import torch
from jaxtyping import Int64
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from torch import Tensor

from longvie.errors import InputError, WeightsError
from longvie.models.encoders import clean

MERGES = 48894  # with 512 bytes and two marks they are 49,408 tokens
START, END = "<|startoftext|>", "<|endoftext|>"
LAST = "</w>"  # what the last piece of a word ends with
PIECES = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+")
MOST = 1 << 24  # bytes that the unpacked file may have; the published one has 3 MB


class Words:
    """Texts to rows of tokens.

    Args:
        path: `bpe_simple_vocab_16e6.txt.gz`.

    Raises:
        WeightsError: the file is not such a vocabulary.
    """

    def __init__(self, path: Path) -> None:
        merges = _merges(path)
        singles = _letters()
        names = [*singles, *(single + LAST for single in singles), *("".join(pair) for pair in merges), START, END]
        self.ids = {name: number for number, name in enumerate(names)}
        try:
            self.tokenizer = Tokenizer(models.BPE(self.ids, merges, end_of_word_suffix=LAST))
        except Exception as reason:  # whatever the library dislikes about a pair
            raise WeightsError(f"{path.name} is not the vocabulary of CLIP") from reason
        self.tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(PIECES, behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )

    def __call__(self, texts: list[str], length: int) -> Int64[Tensor, "s n"]:
        """Each between the mark of its start and that of its end, cut where it is longer, filled up with zeros.

        Raises:
            InputError: no texts.
        """
        if not texts:
            raise InputError("no text came")
        rows = torch.zeros(len(texts), length, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            inner = self.tokenizer.encode(clean(text).lower(), add_special_tokens=False).ids[: length - 2]
            row[: len(inner) + 2] = torch.tensor([self.ids[START], *inner, self.ids[END]])
        return rows


def _merges(path: Path) -> list[tuple[str, str]]:
    try:
        with gzip.open(path) as file:
            lines = file.read(MOST).decode().split("\n")[1 : 1 + MERGES]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as reason:
        raise WeightsError(f"{path.name} cannot be read: it is damaged, or no gzipped text") from reason
    pairs = [tuple(line.split()) for line in lines if line]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise WeightsError(f"{path.name} is not the vocabulary of CLIP: it should have a pair on each line")
    return [(pair[0], pair[1]) for pair in pairs]


def _letters() -> list[str]:
    """A printable letter for every byte, in the published order: those that are printable, then the rest, which are
    spelt with the letters from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = itertools.count(256)
    return [*map(chr, printable), *(chr(next(others)) for byte in range(256) if byte not in printable)]
