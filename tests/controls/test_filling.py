"""What is not seen is filled from around: from what is as far away, and from a moment ago."""

import torch

from longvie.controls.filling import Remembered, fill, fill_things
from longvie.controls.things import FLOOR, NUMBERS


def halves() -> torch.Tensor:
    """Black on the left, white on the right."""
    video = torch.zeros(1, 3, 16, 16)
    video[..., 8:] = 1.0
    return video


def hole(*where: slice) -> torch.Tensor:
    visible = torch.ones(1, 1, 16, 16)
    visible[(..., *where)] = 0
    return visible


def on_the_ground(
    video: torch.Tensor, visible: torch.Tensor, depth: torch.Tensor, earlier: Remembered | None = None
) -> tuple[torch.Tensor, Remembered]:
    """Filled where nothing stands on it."""
    none = torch.zeros(len(video), NUMBERS, dtype=torch.bool)
    pictures, seen, known = fill_things(video, visible, depth, torch.full(depth.shape, FLOOR), none, None, earlier)
    assert not seen.any()
    return pictures, known


def test_what_is_unknown_is_filled_from_around() -> None:
    visible = hole(slice(6, 10), slice(2, 5))
    made = fill(halves() + 5 * (1 - visible), visible, torch.zeros(3, 16, 16))
    assert torch.equal(made[visible.expand_as(made) > 0], halves()[visible.expand_as(halves()) > 0])
    assert made[..., 6:10, 2:5].abs().max() < 0.35
    nothing = fill(halves(), torch.zeros_like(visible), torch.full((3, 16, 16), 0.5))
    assert torch.allclose(nothing, torch.full_like(nothing, 0.5))


def test_with_depth_it_is_filled_from_what_is_as_far_away() -> None:
    """The hole lies in the white half, but as far away as the black one."""
    visible = hole(slice(6, 10), slice(9, 12))
    depth = torch.full((1, 16, 16), 0.8)
    depth[..., :8] = 0.2
    depth[..., 6:10, 9:12] = 0.2
    made, _ = on_the_ground(halves(), visible, depth)
    assert made[..., 6:10, 9:12].max() < 0.1
    depth[..., 6:10, 9:12] = 0.8
    made, _ = on_the_ground(halves(), visible, depth)
    assert made[..., 6:10, 9:12].min() > 0.9


def test_where_nothing_is_as_far_away_the_next_nearest_counts() -> None:
    visible = hole(slice(6, 10), slice(2, 5))
    depth = torch.full((1, 16, 16), 0.8)
    depth[..., :8] = 0.1
    depth[..., 6:10, 2:5] = 0.13
    made, _ = on_the_ground(halves(), visible, depth)
    assert made[..., 6:10, 2:5].max() < 0.1
    depth[..., 6:10, 2:5] = 0.0  # sky, of which nothing is seen: still a colour of the picture
    made, _ = on_the_ground(halves(), visible, depth)
    assert made.min() >= 0 and made.max() <= 1


def test_the_floor_is_filled_from_the_floor() -> None:
    visible = hole(slice(6, 10), slice(9, 12))
    depth, things = torch.full((1, 16, 16), 0.5), torch.ones(1, 16, 16, dtype=torch.long)
    things[..., :8] = FLOOR
    things[..., 6:10, 9:12] = FLOOR
    none = torch.zeros(1, NUMBERS, dtype=torch.bool)
    made, _, _ = fill_things(halves(), visible, depth, things, none)
    assert made[..., 6:10, 9:12].max() < 0.1


def test_what_was_seen_a_moment_ago_is_remembered_and_in_pieces_as_in_one() -> None:
    """Frame 0 shows a red patch, later frames hide it: its place stays red for a while, not for ever."""
    video, visible = halves().repeat(40, 1, 1, 1), torch.ones(40, 1, 16, 16)
    video[0, :, 4:8, 4:8] = torch.tensor([1.0, 0.0, 0.0])[:, None, None]
    visible[1:, :, 4:8, 4:8] = 0
    depth = torch.full((40, 16, 16), 0.5)
    depth[:, 4:8, 4:8] = 0.9
    whole, _ = on_the_ground(video, visible, depth)
    red = whole[:, 0, 4:8, 4:8].mean((1, 2)) - whole[:, 1, 4:8, 4:8].mean((1, 2))
    assert red[1] > 0.9
    assert torch.all(red[1:].diff() <= 1e-6)
    first, remembered = on_the_ground(video[:7], visible[:7], depth[:7])
    rest, _ = on_the_ground(video[7:], visible[7:], depth[7:], remembered)
    assert torch.allclose(torch.cat([first, rest]), whole, atol=1e-6)
