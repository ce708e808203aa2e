"""What the decoder may look at."""

import pytest
import torch

from longvie.controls.guides import CHANNELS, COUNT, guides
from longvie.controls.moved import Moved

SIZE = (8, 16)


def test_each_part_has_its_channels_and_the_rest_is_zero() -> None:
    moved = Moved(torch.rand(3, 2, *SIZE), torch.ones(1, 2, *SIZE, dtype=torch.bool))
    sketch, labels = torch.rand(3, 2, *SIZE), torch.rand(3, 2, *SIZE)
    made = guides(2, SIZE, moved, {"sketch": sketch, "segmentation": labels})
    picture, seen, depth, line, colours = made.split(tuple(CHANNELS.values()))
    assert torch.equal(picture, moved.pictures) and (seen == 1).all() and not depth.any()
    assert torch.equal(line, sketch[:1]) and torch.equal(colours, labels)


def test_nothing_known_is_nothing_shown() -> None:
    assert torch.equal(guides(3, SIZE, None, {}), torch.zeros(COUNT, 3, *SIZE))


def test_another_number_of_frames_is_refused() -> None:
    with pytest.raises(RuntimeError):
        guides(3, SIZE, Moved(torch.zeros(3, 2, *SIZE), torch.zeros(1, 2, *SIZE, dtype=torch.bool)), {})
