"""What a thing looks like goes where the thing goes, and is not taken from what it touches."""

import numpy as np
import pytest
import torch

from longvie.controls.faces import CELLS, Face, inner, spread
from longvie.controls.filling import fill_things
from longvie.controls.things import FLOOR, NUMBERS

H, W = 24, 40


def mask(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    inside = np.zeros((H, W), bool)
    inside[top:bottom, left:right] = True
    return inside


def film(*boxes: tuple[int, int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Disparity and numbers of one thing on a floor, frame by frame."""
    depth, numbers = torch.full((len(boxes), H, W), 0.1), torch.full((len(boxes), H, W), FLOOR)
    for frame, box in enumerate(boxes):
        inside = torch.from_numpy(mask(*box))
        depth[frame][inside], numbers[frame][inside] = 0.5, 1
    return depth, numbers


def test_a_face_goes_where_its_thing_goes() -> None:
    """Left half red, right half blue; seen once, then hidden, elsewhere, and again larger."""
    boxes = ((4, 4, 16, 16), (8, 22, 20, 34), (2, 10, 22, 30))
    depth, numbers = film(*boxes)
    video, visible = torch.zeros(3, 3, H, W), torch.ones(3, 1, H, W)
    video[0, 0, 4:16, 4:10], video[0, 2, 4:16, 10:16] = 1.0, 1.0
    for frame, (top, left, bottom, right) in list(enumerate(boxes))[1:]:
        visible[frame, :, top:bottom, left:right] = 0
    none = torch.zeros(3, NUMBERS, dtype=torch.bool)
    made, known, _ = fill_things(video, visible, depth, numbers, none)
    for frame, (top, left, bottom, right) in list(enumerate(boxes))[1:]:
        y, quarter = (top + bottom) // 2, (right - left) // 4
        assert made[frame, 0, y, left + quarter] > 0.8 and made[frame, 2, y, left + quarter] < 0.2
        assert made[frame, 2, y, right - quarter] > 0.8 and made[frame, 0, y, right - quarter] < 0.2
        assert known[frame, y, left + quarter]


def test_what_comes_from_another_thing_says_nothing_of_this_one() -> None:
    depth, numbers = film((4, 4, 16, 16), (4, 4, 16, 16), (4, 4, 16, 16))
    video, visible = torch.zeros(3, 3, H, W), torch.ones(3, 1, H, W)
    video[0, 2, 4:16, 4:16], video[1, 0, 4:16, 4:16] = 1.0, 1.0
    visible[2, :, 4:16, 4:16] = 0
    own = torch.ones(3, H, W, dtype=torch.bool)
    own[1] = False
    none = torch.zeros(3, NUMBERS, dtype=torch.bool)
    made, _, _ = fill_things(video, visible, depth, numbers, none, own)
    assert made[2, 2, 10, 10] > 0.9 and made[2, 0, 10, 10] < 0.1
    mixed, _, _ = fill_things(video, visible, depth, numbers, none)
    assert mixed[2, 0, 10, 10] > 0.7


def test_a_thing_that_is_cut_off_keeps_its_size() -> None:
    face, depth = Face.unknown(), np.full((H, W), 0.1, np.float32)
    whole = mask(6, 10, 16, 20)
    depth[whole] = 0.5
    assert face.box(whole, depth) == (6, 10, 10, 10) and face.size == (20, 20)
    for part, box in ((mask(6, 0, 16, 4), (6, -6, 10, 10)), (mask(6, 36, 16, 40), (6, 36, 10, 10))):
        depth[:] = 0.1
        depth[part] = 0.5
        assert face.box(part, depth) == pytest.approx(box)
    depth[:] = 0.1
    depth[mask(6, 10, 16, 14)], depth[mask(0, 14, 24, 30)] = 0.5, 0.9  # something nearer stands before the rest
    assert face.box(mask(6, 10, 16, 14), depth) == pytest.approx((6, 10, 10, 10))
    near = mask(2, 2, 22, 22)
    depth[:] = 0.1
    depth[near] = 1.0
    assert face.box(near, depth) == (2, 2, 20, 20)


def test_colours_spread_from_what_is_known() -> None:
    cells = np.zeros((4, CELLS, CELLS), np.float32)
    cells[:, 0, 0] = (0.5, 0.0, 0.0, 1.0)
    cells[:, -1, -1] = (0.0, 0.5, 0.0, 1.0)
    shown = spread(cells)
    assert shown[:, 0, 0] == pytest.approx([0.5, 0, 0]) and shown[:, -1, -1] == pytest.approx([0, 0.5, 0])
    assert shown[0, 1, 1] > shown[1, 1, 1] and shown[1, -2, -2] > shown[0, -2, -2]


def test_outlines_do_not_count() -> None:
    clear = inner(mask(4, 4, 12, 12).astype(np.int64))
    assert clear[6, 6] and clear[0, 0] and not clear[4, 6] and not clear[3, 6]
