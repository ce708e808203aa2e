"""A picture moved along tracks: as the points say, each thing by itself, and no more than is known."""

import pytest
import torch

from longvie.controls.carried import Carrying, carry
from longvie.controls.moved import Moved, remembered
from longvie.controls.paths import Paths
from longvie.data import clips
from longvie.data.render import render, track
from longvie.data.streams import pictures
from longvie.data.world import scene
from longvie.evaluation.fidelity import ssim

SIZE = (32, 48)


def picture() -> torch.Tensor:
    """Smooth, so that a shift by parts of a pixel is well defined."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    return torch.stack([torch.sin(x / 5), torch.cos(y / 4), torch.sin((x + y) / 7)])


def scattered(count: int = 40) -> torch.Tensor:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([SIZE[1], SIZE[0]])


def seen(*points: torch.Tensor) -> torch.Tensor:
    return torch.ones(len(points), len(points[0]), dtype=torch.bool)


def test_points_that_all_move_alike_move_the_whole_picture() -> None:
    points = scattered()
    later = torch.stack([points, points + torch.tensor([3.0, -2.0])])
    made = carry(picture(), later, seen(*later)).pictures
    assert torch.allclose(made[:, 0], picture(), atol=1e-3)
    assert torch.allclose(made[:, 1, :-2, 3:], picture()[:, 2:, :-3], atol=1e-3)  # 3 to the right, 2 up


def test_without_points_nothing_moves() -> None:
    made = carry(picture(), torch.zeros(3, 0, 2), torch.zeros(3, 0, dtype=torch.bool)).pictures
    assert torch.equal(made, picture()[:, None].expand(-1, 3, -1, -1))
    points = scattered()
    unseen = carry(picture(), torch.stack([points, points + 5]), torch.zeros(2, 40, dtype=torch.bool)).pictures
    assert torch.equal(unseen, picture()[:, None].expand(-1, 2, -1, -1))


def test_hidden_points_do_not_count_wherever_they_are_said_to_be() -> None:
    points = torch.stack([scattered(), scattered()])
    shown = seen(*points)
    points[1, ::3], shown[1, ::3] = float("nan"), False
    made = carry(picture(), points, shown).pictures
    assert torch.allclose(made[:, 1], picture(), atol=1e-3)


def test_when_all_points_are_gone_little_is_known() -> None:
    """What then stands there is smooth: the picture's blur."""
    points = torch.stack([scattered(), scattered()])
    shown = seen(*points)
    shown[1] = False
    made = carry(picture(), points, shown).pictures
    assert torch.allclose(made[:, 0], picture(), atol=1e-3)
    assert made[:, 1].diff(dim=-1).abs().mean() < 0.3 * picture().diff(dim=-1).abs().mean()
    assert torch.allclose(made[:, 1].mean((1, 2)), picture().mean((1, 2)), atol=0.1)


def test_a_part_moves_and_the_rest_stays() -> None:
    points = scattered(400)
    right = points[:, 0] > 24
    later = points + torch.where(right[:, None], torch.tensor([0.0, 8.0]), torch.zeros(2))
    made = carry(picture(), torch.stack([points, later]), seen(points, later)).pictures[:, 1]
    assert (made[:, :, :12] - picture()[:, :, :12]).abs().mean() < 0.02
    assert (made[:, 8:, 36:] - picture()[:, :-8, 36:]).abs().mean() < 0.02


def test_one_point_is_enough() -> None:
    point = torch.tensor([[10.0, 10.0]])
    made = carry(picture(), torch.stack([point, point + 2]), seen(point, point)).pictures[:, 1]
    assert torch.allclose(made[:, 2:, 2:], picture()[:, :-2, :-2], atol=1e-4)


def test_turning_and_growing_is_followed_as_well_as_shifting() -> None:
    points = scattered(60)
    middle, turn = torch.tensor([24.0, 16.0]), torch.tensor([[0.98, -0.17], [0.17, 0.98]])
    later = (points - middle) @ (1.2 * turn) + middle
    made = carry(picture(), torch.stack([points, later]), seen(points, later)).pictures[:, 1]
    y, x = torch.meshgrid(torch.arange(12, 20) + 0.5, torch.arange(18, 30) + 0.5, indexing="ij")
    was = (torch.stack([x, y], dim=-1) - middle) @ torch.linalg.inv(1.2 * turn) + middle
    wanted = torch.stack(
        [torch.sin(was[..., 0] / 5), torch.cos(was[..., 1] / 4), torch.sin((was[..., 0] + was[..., 1]) / 7)]
    )
    assert torch.allclose(made[:, 12:20, 18:30], wanted, atol=0.02)


@pytest.mark.parametrize("later_set", [10, 20])
def test_points_that_begin_later_are_followed_back(later_set: int) -> None:
    """New points take over where the old ones end, with no frame in common: 0.25 pixels a frame all the way."""
    frames = 32
    moves = torch.arange(frames)[:, None, None] * torch.tensor([0.25, 0.0])
    both = scattered(120)[None] + moves
    shown = torch.zeros(frames, 120, dtype=torch.bool)
    shown[:later_set, :60] = True
    shown[later_set:, 60:] = True
    made = carry(picture(), both, shown).pictures[:, -1, :, 8:]
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(8, SIZE[1]) + 0.5 - 7.75, indexing="ij")
    wanted = torch.stack([torch.sin(x / 5), torch.cos(y / 4), torch.sin((x + y) / 7)])
    assert (made - wanted).abs().mean() < 0.03
    frozen = (picture()[:, :, 8:] - wanted).abs().mean()
    assert frozen > 0.3


def test_with_depth_a_scene_is_nearer_to_the_truth_than_without_and_than_the_frozen_picture() -> None:
    """Test scene 47 of the world: the camera moves on, things stand before others."""
    clip = clips.make(11, split="test", frames=33)
    video = (pictures(clip, "picture") + 1) / 2
    points, shown = clip.points[..., :2], clip.visible
    tracks = carry(video[:, 0], points, shown).pictures
    depth = carry(video[:, 0], points, shown, clip.disparity).pictures
    affine = carry(video[:, 0], points, shown, 3 * clip.disparity.float() + 0.0).pictures
    scores = [float(ssim(made.clamp(0, 1), video).mean()) for made in (video[:, :1].expand_as(video), tracks, depth)]
    assert scores[0] + 0.05 < scores[1] and scores[0] + 0.05 < scores[2], scores
    assert torch.allclose(depth, affine, atol=1e-3)  # the scale of a disparity does not matter


def test_the_sky_goes_with_the_camera_and_not_with_what_stands_before_it() -> None:
    """Test scene 6: the camera travels and turns among towers that move; no point is on the sky."""
    world, frames = scene(6, "test"), range(0, 25)
    truth, tracks = render([world], frames, size=(96, 176))[0], track(world, frames, points=256, seed=6, size=(96, 176))
    way = list(Paths(tracks.points, tracks.visible, (96, 176), 1 / truth.depth).take(25))
    grid, seen = torch.cat([it.grid for it in way]), torch.cat([it.visible for it in way])
    lens = torch.tensor([truth.focal, -truth.focal, 1.0])
    y, x = torch.meshgrid(torch.arange(96) + 0.5 - 48, torch.arange(176) + 0.5 - 88, indexing="ij")
    rays = torch.stack([x, y, torch.ones_like(x)], dim=-1) / lens
    for frame in (8, 16, 24):
        turned = rays @ truth.poses[frame, :3, :3].T @ truth.poses[0, :3, :3] * lens
        wanted = turned[..., :2] / turned[..., 2:]
        inside = (truth.labels[frame] == 0) & (wanted.abs() < torch.tensor([86.0, 46.0])).all(-1)
        off = (grid[frame] * torch.tensor([88.0, 48.0]) - wanted).norm(dim=-1)[inside]
        assert float(inside.float().mean()) > 0.05 and float(off.median()) < 1.5, (frame, float(off.median()))
        assert float(seen[frame][inside].float().mean()) > 0.6, "but for what a thing hid"


@pytest.mark.parametrize("step", [1, 7, 16])
def test_taken_in_pieces_it_is_the_whole(step: int) -> None:
    """New points begin at frame 16, in the midst of a piece."""
    clip = clips.make(3, split="test", frames=33, size=(48, 88))
    video = (pictures(clip, "picture") + 1) / 2
    given = video[:, 0], clip.points[..., :2], clip.visible, clip.disparity
    whole = carry(*given)
    carrying = Carrying(given[0], Paths(*given[1:3], (given[0].shape[1], given[0].shape[2]), *given[3:]))
    pieces = Moved.joined([carrying.take(step) for _ in range(0, 33, step)])
    assert pieces.pictures.shape == whole.pictures.shape == (3, 33, 48, 88)
    assert (pieces.seen == whole.seen).float().mean() > 0.999
    assert (pieces.pictures - whole.pictures).abs().amax(0)[pieces.seen[0] == whole.seen[0]].max() < 0.01  # sums differ


def test_what_lies_on_the_floor_and_what_stands_on_it_never_take_from_each_other() -> None:
    """A red box glides over a green floor: behind it the floor is green again, though it was never seen there."""
    y, x = torch.meshgrid(torch.arange(48) + 0.5, torch.arange(88) + 0.5, indexing="ij")
    ground = (0.02 * (y - 8)).clamp(min=0)  # the sky ends in row 8

    def at(left: int) -> tuple[torch.Tensor, torch.Tensor]:
        box = (x > left) & (x < left + 20) & (y > 12) & (y < 40)
        colours = torch.where(
            box, torch.tensor([0.9, 0.1, 0.1])[:, None, None], torch.tensor([0.1, 0.8, 0.2])[:, None, None]
        )
        return colours, torch.where(box, 0.7, ground)

    first, later = at(20), at(30)
    inside = torch.stack(
        torch.meshgrid(torch.arange(22.0, 38, 3), torch.arange(14.0, 39, 3), indexing="xy"), -1
    ).flatten(0, 1)
    outside = torch.stack(
        torch.meshgrid(torch.arange(2.0, 88, 6), torch.arange(42.0, 48, 2), indexing="xy"), -1
    ).flatten(0, 1)
    points = torch.stack([torch.cat([inside, outside]), torch.cat([inside + torch.tensor([10.0, 0.0]), outside])])
    made = carry(first[0], points, seen(*points), torch.stack([first[1], later[1]]))
    uncovered = made.pictures[:, 1, 14:39, 21:29]
    assert not made.seen[0, 1, 14:39, 22:28].any()
    assert (uncovered - torch.tensor([0.1, 0.8, 0.2])[:, None, None]).abs().max() < 0.1
    assert (made.pictures[:, 1, 14:39, 32:48] - later[0][:, 14:39, 32:48]).abs().max() < 0.1


def test_what_is_moved_says_what_it_shows() -> None:
    """Shifted by 8 to the right, the left of the picture was never seen; without points only the first frame was."""
    points = scattered(200)
    later = torch.stack([points, points + torch.tensor([8.0, 0.0])])
    made = carry(picture(), later, seen(*later))
    assert made.seen[:, 0].all() and made.seen[0, 1, 2:-2, 10:-2].all() and not made.seen[0, 1, 2:-2, :7].any()
    resting = carry(picture(), torch.zeros(3, 0, 2), torch.zeros(3, 0, dtype=torch.bool))
    assert resting.seen[:, 0].all() and not resting.seen[:, 1:].any()


def test_shares_of_cells_are_means_and_the_first_frame_stands_for_a_latent_frame() -> None:
    seen = torch.zeros(1, 5, 8, 16, dtype=torch.bool)
    seen[0, 0, :, :8] = True  # one of two cells
    seen[0, 3, :2, 8:] = True  # a quarter of the other, in one frame
    shares = Moved(torch.zeros(3, 5, 8, 16), seen).shares(4, 8)
    assert torch.equal(shares[:, 0], torch.tensor([[[1.0, 0.0]]]).expand(4, 1, 2))
    assert torch.equal(shares[:, 1, 0, 1], torch.tensor([0.0, 0.0, 0.25, 0.0])) and not shares[:, 1, 0, 0].any()


def test_past_its_end_it_rests_and_nothing_is_known_to_be_seen() -> None:
    short = Moved(torch.rand(3, 2, 8, 8), torch.ones(1, 2, 8, 8, dtype=torch.bool))
    longer = short.longer(5)
    assert torch.equal(longer.pictures[:, 2:], short.pictures[:, 1:].expand(-1, 3, -1, -1))
    assert longer.seen[:, :2].all() and not longer.seen[:, 2:].any()
    assert torch.equal(short.longer(2).pictures, short.pictures)


def known_and_made() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A picture, what was made of it (a little blurred, a thing washed out), and that all but the right is known."""
    shown, kept = picture() * 0.8, torch.ones(1, *SIZE, dtype=torch.bool)
    kept[..., 36:] = False
    made = 0.5 * shown + 0.5 * shown.roll(1, dims=-1)
    made[:, 10:16, 10:16] = 0.0
    return shown, made, kept


def test_what_is_known_stays_and_what_was_made_of_the_rest_is_known_now() -> None:
    shown, made, kept = known_and_made()
    after = remembered(made, shown, kept)
    assert torch.equal(after[:, :, :36], shown[:, :, :36])
    assert torch.equal(after[:, :, 36:], made[:, :, 36:])


def test_light_that_has_changed_is_taken_over_and_nothing_else() -> None:
    shown, made, kept = known_and_made()
    darker = (made * 0.5 - 0.3).clamp(-1, 1)
    after = remembered(darker, shown, kept)
    assert (after[:, :, :36] - (0.5 * shown - 0.3)[:, :, :36]).abs().mean() < 0.05
    assert (after[:, 10:16, 10:16] - darker[:, 10:16, 10:16]).abs().mean() > 0.1, "the thing is not washed out"


def test_where_hardly_anything_is_known_all_that_was_made_is_taken() -> None:
    shown, made, kept = known_and_made()
    assert torch.equal(remembered(made, shown, torch.zeros_like(kept)), made)


def test_filled_in_things_are_kept_and_so_are_pixels_that_are_seen() -> None:
    seen, things = torch.zeros(1, 2, 4, 4, dtype=torch.bool), torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    seen[..., 0], things[..., 1] = True, True
    moved = Moved(torch.zeros(3, 2, 4, 4), seen, things)
    assert moved.kept[..., :2].all() and not moved.kept[..., 2:].any()
    assert torch.equal(Moved(moved.pictures, seen).kept, seen)
    assert Moved.joined([moved, Moved(moved.pictures, seen)]).kept[:, 2:, :, 1].any().logical_not()
    assert not moved.unseen().kept.any() and not moved.longer(3).kept[:, 2].any()
