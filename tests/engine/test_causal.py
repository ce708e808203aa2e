"""Masks of whole clips say what the memory's window says."""

import pytest
import torch

from longvie.engine.causal import block_causal, blocks, teacher_forcing
from longvie.engine.memory import Window


def drawn(mask: torch.Tensor) -> list[str]:
    return ["".join("#" if seen else "." for seen in row) for row in mask.tolist()]


def test_blocks_cover_a_clip_once() -> None:
    assert [list(own) for own in blocks(5, 2)] == [[0, 1], [2, 3], [4]]
    assert [list(own) for own in blocks(6, 2, first_alone=True)] == [[0], [1, 2], [3, 4], [5]]
    assert [list(own) for own in blocks(1, 3, first_alone=True)] == [[0]]


def test_a_block_sees_itself_and_those_before() -> None:
    assert drawn(block_causal(4, 2)) == ["##..", "##..", "####", "####"]
    assert drawn(block_causal(4, 2, first_alone=True)) == ["#...", "###.", "###.", "####"]


def test_a_window_counts_from_the_block_and_keeps_its_sink() -> None:
    assert drawn(block_causal(6, 2, window=Window(0, 1)))[-1] == "...###"
    assert drawn(block_causal(6, 2, window=Window(1, 1)))[-1] == "#..###"


@pytest.mark.parametrize(("frames", "block", "local"), [(9, 3, 4), (9, 3, 3), (12, 2, 5), (7, 3, 6)])
def test_self_forcings_own_rule(frames: int, block: int, local: int) -> None:
    """Key i for the queries of a block that ends before `end`: end - local <= i < end (reference §1.7)."""
    mask = block_causal(frames, block, window=Window(0, local - block))
    for row in range(frames // block * block):
        end = (row // block + 1) * block
        assert [i for i in range(frames) if mask[row, i]] == list(range(max(0, end - local), end))


def test_teacher_forcing_reads_clean_frames_but_not_its_own() -> None:
    wanted = ["##......", "##......", "####....", "####....", "....##..", "....##..", "##....##", "##....##"]
    assert drawn(teacher_forcing(4, 2)) == wanted
    assert drawn(teacher_forcing(4, 2, window=Window(0, 1)))[-1] == ".#....##"
