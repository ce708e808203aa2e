"""Things are told apart by jumps in depth and known again in later frames; each is filled with its own colours."""

import torch

from longvie.controls.filling import fill_things
from longvie.controls.things import AWAY, FLOOR, NUMBERS, REST, SKY, Things

H, W = 24, 40
Box = tuple[int, int, int, int, float]  # top, bottom, left, right, disparity


def scene(*boxes: Box) -> tuple[torch.Tensor, torch.Tensor]:
    """Disparity and floor of a frame: sky above, a floor below, boxes between."""
    depth, flat = torch.zeros(H, W), torch.zeros(H, W, dtype=torch.bool)
    depth[16:], flat[16:] = 0.4, True
    for top, bottom, left, right, near in boxes:
        depth[top:bottom, left:right], flat[top:bottom, left:right] = near, False
    return depth, flat


def film(*frames: tuple[Box, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    depth, flat = zip(*(scene(*boxes) for boxes in frames), strict=True)
    return torch.stack(depth), torch.stack(flat)


def test_things_sky_and_floor_are_told_apart() -> None:
    depth, flat = film(((8, 18, 4, 12, 0.5), (6, 16, 12, 20, 0.7), (2, 3, 30, 33, 0.5)))
    numbers, new = Things().take(depth, flat)
    near, far = int(numbers[0, 10, 15]), int(numbers[0, 12, 6])
    assert near != far and not {near, far} & {SKY, REST, FLOOR}, "they touch in the picture, not in depth"
    assert torch.all(numbers[0, 6:16, 12:20] == near) and torch.all(numbers[0, 8:18, 4:12] == far)
    assert numbers[0, 0, 0] == SKY and numbers[0, 22, 0] == FLOOR
    assert numbers[0, 2, 31] == REST, "too small to be told apart"
    assert set(new[0].nonzero()[:, 0].tolist()) == {near, far}


def test_a_thing_keeps_its_number_while_it_moves_and_where_another_stands_before_it() -> None:
    frames = [((6, 16, 4, 34, 0.5), (4, 16, 2 * k - 10, 2 * k - 4, 0.9)) for k in range(5, 20)]
    depth, flat = film(*frames)
    numbers, new = Things().take(depth, flat)
    wide = int(numbers[0, 10, 20])
    last = numbers[-1, 10]
    assert last[6] == wide and not new[1:].any(), "what passes splits it, and both parts stay the same thing"
    middle = numbers[8, 10]
    passing = int(middle[18])
    assert middle[8] == wide and middle[28] == wide and passing != wide and last[30] == passing


def test_another_thing_elsewhere_is_a_new_one_and_a_number_is_given_again_in_time() -> None:
    frames = [((2 + 4 * (k % 3), 16, 1 + 14 * (k % 3), 5 + 14 * (k % 3), 0.5),) for k in range(3 * NUMBERS)]
    numbers, new = Things().take(*film(*frames))
    first = [int(numbers[k, 10, 2 + 14 * (k % 3)]) for k in range(len(frames))]
    assert len(set(first[:3])) == 3 and new[:3].sum() == 3
    assert first[3:6] == first[:3] and not new[3:].any(), "where nothing has been since, it is the same again"
    assert set(range(NUMBERS)) >= set(first)


def test_in_pieces_as_in_one() -> None:
    frames = [((6, 16, k, k + 8, 0.5), (8, 16, 30 - k, 36 - k, 0.8)) for k in range(12)]
    depth, flat = film(*frames)
    whole, new = Things().take(depth, flat)
    things = Things()
    parts = [things.take(depth[at : at + 5], flat[at : at + 5]) for at in (0, 5, 10)]
    assert torch.equal(torch.cat([numbers for numbers, _ in parts]), whole)
    assert torch.equal(torch.cat([fresh for _, fresh in parts]), new)


def on(*boxes: tuple[Box, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Four points on each of the boxes of each frame, in the order of the boxes, all of them seen."""
    points = [
        [(left + across * (right - left), top + down * (bottom - top)) for top, bottom, left, right, _ in frame
         for across in (0.3, 0.6) for down in (0.3, 0.6)]
        for frame in boxes
    ]  # fmt: skip
    return torch.tensor(points), torch.ones(len(points), len(points[0]), dtype=torch.bool)


def test_things_that_pass_each_other_as_far_away_are_told_apart_by_their_points() -> None:
    frames = [((6, 16, 2 + k, 10 + k, 0.5), (6, 16, 28 - k, 38 - k, 0.5)) for k in range(27)]
    depth, flat = film(*frames)
    points, seen = on(*frames)

    def told(things: Things, *given: torch.Tensor) -> tuple[int, int, int, int]:
        things.follow(points.shape[1])
        numbers, _ = things.take(depth, flat, *given)
        return tuple(int(numbers[at, 10, x]) for at, x in ((0, 6), (0, 33), (26, 32), (26, 7)))  # type: ignore[return-value]

    one, other, one_later, other_later = told(Things(), points, seen)
    assert one != other and (one_later, other_later) == (one, other)
    alone = told(Things())
    assert alone[:2] == (one, other) and alone[2:] != (one, other), "depth alone takes the one for the other"


def test_things_that_touch_have_each_what_is_nearest_to_its_points() -> None:
    frames = [((6, 16, 4 + k, 14 + k, 0.5), (6, 16, 20, 30, 0.5)) for k in range(7)]
    points, seen = on(*frames)
    things = Things()
    things.follow(points.shape[1])
    numbers, new = things.take(*film(*frames), points, seen)
    one, other = int(numbers[0, 10, 8]), int(numbers[0, 10, 25])
    assert one != other and not new[1:].any()
    assert torch.all(numbers[6, 7:15, 11:19] == one) and torch.all(numbers[6, 7:15, 21:29] == other)


def test_points_that_count_in_no_frame_change_nothing() -> None:
    frames = [((6, 16, k, k + 8, 0.5), (8, 16, 30 - k, 36 - k, 0.8)) for k in range(12)]
    points, seen = on(*frames)
    things, plain = Things(), Things()
    things.follow(points.shape[1])
    found = things.take(*film(*frames), points.fill_(-1e6), seen)
    assert all(torch.equal(*both) for both in zip(found, plain.take(*film(*frames)), strict=True))


def filled(
    colours: tuple[tuple[float, float, float], ...], *, hidden: slice, frames: int = 1
) -> tuple[torch.Tensor, ...]:
    """Two boxes as far away, side by side with sky between; some columns of them are hidden."""
    depth, flat = film(*[((6, 16, 4, 14, 0.5), (6, 16, 16, 30, 0.5))] * frames)
    numbers, new = Things().take(depth, flat)
    video = torch.zeros(frames, 3, H, W)
    for (left, right), colour in zip(((4, 14), (16, 30)), colours, strict=True):
        video[:, :, 6:16, left:right] = torch.tensor(colour)[:, None, None]
    visible = torch.ones(frames, 1, H, W)
    visible[:, :, 6:16, hidden] = 0
    pictures, seen, _ = fill_things(video, visible, depth, numbers, new)
    return pictures, seen, numbers


def test_a_hidden_side_takes_the_colours_of_its_own_thing() -> None:
    """The hidden columns of the second box lie next to the first one."""
    red, blue = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)
    pictures, seen, _ = filled((red, blue), hidden=slice(16, 24))
    assert torch.allclose(pictures[0, :, 8:14, 17:24], torch.tensor(blue)[:, None, None].expand(-1, 6, 7), atol=0.05)
    assert seen[0, 6:16, 16:30].all() and not seen[0, 20:].any()


def test_of_a_thing_that_was_never_seen_that_is_said() -> None:
    red, blue = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)
    pictures, seen, _ = filled((red, blue), hidden=slice(16, 30))
    assert not seen[0, 6:16, 16:30].any() and seen[0, 6:16, 4:14].all()
    assert pictures[0, 0, 10, 22] > pictures[0, 2, 10, 22], "it looks like the next one that is as far away"


def test_colours_are_remembered_while_a_thing_is_hidden() -> None:
    red, blue = (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)
    depth, flat = film(*[((6, 16, 4, 14, 0.5), (6, 16, 16, 30, 0.5))] * 30)
    numbers, new = Things().take(depth, flat)
    video = torch.zeros(30, 3, H, W)
    video[:, :, 6:16, 4:14] = torch.tensor(red)[:, None, None]
    video[:, :, 6:16, 16:30] = torch.tensor(blue)[:, None, None]
    visible = torch.ones(30, 1, H, W)
    visible[1:, :, 6:16, 16:30] = 0
    whole, seen, _ = fill_things(video, visible, depth, numbers, new)
    assert torch.allclose(whole[-1, :, 10, 22], torch.tensor(blue), atol=0.05) and seen[-1, 10, 22]
    first, _, kept = fill_things(video[:7], visible[:7], depth[:7], numbers[:7], new[:7])
    rest, _, _ = fill_things(video[7:], visible[7:], depth[7:], numbers[7:], new[7:], None, kept)
    assert torch.allclose(torch.cat([first, rest]), whole, atol=1e-6)


def test_things_that_touch_stay_two() -> None:
    """Two boxes as far away move together until they touch, and apart again: no number changes hands."""
    steps = [0, 1, 2, 3, 4, 4, 4, 3, 2, 0]
    depth, flat = film(*[((6, 16, 4 + step, 12 + step, 0.5), (6, 16, 20 - step, 30 - step, 0.5)) for step in steps])
    numbers, new = Things().take(depth, flat)
    left, right = (int(numbers[0, 10, x]) for x in (8, 25))
    assert left != right and not new[1:].any()
    for frame, step in enumerate(steps):
        assert int(numbers[frame, 10, 6 + step]) == left and int(numbers[frame, 10, 27 - step]) == right


def test_a_thing_that_comes_back_elsewhere_is_known_by_its_size() -> None:
    tall, short = (2, 16, 2, 6, 0.5), (10, 16, 30, 36, 0.5)
    depth, flat = film((tall, short), (), (), ((2, 16, 16, 20, 0.5),), ((2, 16, 16, 20, 0.5), (10, 16, 1, 7, 0.5)))
    numbers, new = Things().take(depth, flat)
    first = int(numbers[0, 5, 3]), int(numbers[0, 12, 32])
    assert first[0] != first[1]
    assert int(numbers[3, 5, 17]) == first[0] and not bool(new[1:].any())


def test_one_twice_as_near_is_as_tall_and_one_as_large_in_the_picture_is_not() -> None:
    depth, flat = film(((8, 14, 2, 5, 0.4),), (), ((2, 14, 30, 36, 0.8),), (), ((8, 14, 14, 17, 0.8),))
    numbers, new = Things().take(depth, flat)
    assert int(numbers[2, 5, 32]) == int(numbers[0, 10, 3])
    assert bool(new[4].any()) and int(numbers[4, 10, 15]) != int(numbers[0, 10, 3])


def test_what_comes_out_from_behind_another_is_not_that_other() -> None:
    """The nearer one moves away to the left, and bares the one behind it, which was seen before."""
    frames = [((4, 16, 14, 20, 0.5), (4, 16, x, x + 10, 0.7)) for x in (0, 4, 8, 12, 12, 12, 8, 4, 0)]
    numbers, _ = Things().take(*film(*frames))
    behind, before = int(numbers[0, 10, 16]), int(numbers[0, 10, 4])
    assert behind != before
    assert int(numbers[-1, 10, 16]) == behind and int(numbers[-1, 10, 4]) == before


def test_a_wrong_guess_is_taken_back_when_the_thing_is_seen_whole() -> None:
    """A tall thing was there once; what enters at the border could be it, but turns out to be a low one."""
    away = [()] * (AWAY + 1)
    frames = [
        ((2, 16, 30, 36, 0.5),),
        *away,
        *[((10, 16, 38 - k, 40, 0.5),) for k in range(1, 6)],
        ((10, 16, 30, 38, 0.5),),
    ]
    numbers, new = Things().take(*film(*frames))
    tall, guessed = int(numbers[0, 5, 32]), int(numbers[-3, 12, 39])
    assert guessed == tall and bool(new[-1, int(numbers[-1, 12, 33])])


def test_what_is_known_of_things_outlives_a_file_and_another_scale() -> None:
    frames = [((2, 16, 4, 8, 0.5), (10, 16, 20, 26, 0.5)), (), ((2, 16, 30, 34, 0.5),)]
    depth, flat = film(*frames)
    whole, _ = Things().take(depth, flat)
    things = Things()
    things.take(depth[:2], flat[:2])
    again = Things.restored(things.tensors())
    assert torch.equal(again.take(depth[2:], flat[2:])[0], whole[2:])
    assert torch.equal(things.scaled(0.5).take(depth[2:] / 2, flat[2:])[0], whole[2:])


def panned(*shifts: int) -> torch.Tensor:
    """Matrices to the first frame of a camera that turns: frame by frame all is so many pixels further left."""
    back = torch.eye(4, dtype=torch.float64).repeat(len(shifts), 1, 1)
    back[:, 0, 2] = torch.tensor(shifts)
    return back


def turned(*shifts: int) -> list[tuple[Box, ...]]:
    """Two pillars that are alike stand still, the second a little lower; what such a camera shows of them."""
    frames = []
    for shift in shifts:
        boxes = [(4, 16, 6 - shift, 12 - shift, 0.5), (5, 16, 26 - shift, 32 - shift, 0.5)]
        frames.append(tuple((a, b, max(0, x), min(W, z), d) for a, b, x, z, d in boxes if z > 1 and x < W - 1))
    return frames


def test_what_stood_still_is_known_by_its_place_however_little_of_it_is_seen() -> None:
    """The camera turns away to the right until both are gone, and back: a strip of the second comes first."""
    shifts = (0, 2, 4, 40, 40, 30, 28, 26, 10, 2, 0)
    depth, flat = film(*turned(*shifts))
    numbers, new = Things().take(depth, flat, back=panned(*shifts))
    first, second = int(numbers[0, 10, 8]), int(numbers[0, 10, 28])
    assert first != second and not bool(new[1:].any())
    assert int(numbers[5, 10, 1]) == second == int(numbers[-1, 10, 28]) and int(numbers[-1, 10, 8]) == first
    unknown, _ = Things().take(depth, flat)
    assert int(unknown[5, 10, 1]) != second, "by its size alone it is taken for the first"


def test_where_things_stand_is_known_from_another_first_frame_too() -> None:
    shifts = (0, 2, 4, 40, 40, 30, 28)
    depth, flat = film(*turned(*shifts))
    things = Things()
    numbers, _ = things.take(depth[:5], flat[:5], back=panned(*shifts[:5]))
    later = things.seen_from(panned(40)[0]), panned(*(shift - 40 for shift in shifts[5:]))
    assert int(later[0].take(depth[5:], flat[5:], back=later[1])[0][0, 10, 1]) == int(numbers[0, 10, 28])
    again = Things.restored(later[0].tensors())
    assert int(again.take(depth[5:], flat[5:], back=later[1])[0][0, 10, 1]) == int(numbers[0, 10, 28])
    near = later[1].clone()  # as for disparities twice as large
    assert int(later[0].scaled(2.0).take(2 * depth[5:], flat[5:], back=near)[0][0, 10, 1]) == int(numbers[0, 10, 28])
    lost = things.seen_from(None)
    assert int(lost.take(depth[5:], flat[5:], back=later[1])[0][0, 10, 1]) != int(numbers[0, 10, 28])


def test_points_that_were_known_before_say_that_a_guess_was_right() -> None:
    """It comes back at the border, and seems taller than it was: its own points know it all the same."""
    away = [((0, 2, 0, 2, 0.5),)] * (AWAY + 1)  # far from where it was, and too small to be told apart
    boxes = [
        ((10, 16, 30, 36, 0.5),),
        *away,
        *[((6, 16, 38 - k, 40, 0.5),) for k in range(1, 6)],
        ((6, 16, 30, 38, 0.5),),
    ]
    points, seen = on(*boxes)
    seen[1 : len(away) + 3] = False  # also of the first strips
    assert bool(Things().take(*film(*boxes))[1][-1].any()), "without points it is another thing"
    things = Things()
    things.follow(points.shape[1])
    numbers, new = things.take(*film(*boxes), points, seen)
    assert not bool(new[1:].any()) and int(numbers[-1, 12, 33]) == int(numbers[0, 12, 33])


def test_a_thing_that_comes_out_from_behind_another_in_pieces_is_one() -> None:
    """Two parts of it are seen first, and each is taken for a thing; when it is seen to be one, it is the larger."""
    hides = (2, 16, 0, 14, 0.9)
    first = (hides, (3, 8, 14, 19, 0.5), (9, 16, 14, 19, 0.5))
    depth, flat = film(first, *[(hides, (3, 16, 14, 20 + k, 0.5)) for k in range(4)])
    above, below = [(16.5, 5.5), (17.5, 5.5)], [(x + 0.5, y + 0.5) for x in (15, 16, 17) for y in (11, 12, 13, 14)]
    points = torch.tensor([above + below] * len(depth))
    things = Things()
    things.follow(points.shape[1])
    numbers, _ = things.take(depth, flat, points, torch.ones(points.shape[:2], dtype=torch.bool))
    one, other = int(numbers[0, 12, 16]), int(numbers[0, 5, 16])
    assert one != other, "nothing tells yet that they are one"
    assert torch.all(numbers[1:, 4:15, 15:19] == one)
    assert other not in numbers[1:]
