"""What comes back into the picture is what it was: found in pictures of before, if it has not moved meanwhile."""

from dataclasses import replace

import pytest
import torch

from longvie.controls.carried import Carrying
from longvie.controls.floor import floor
from longvie.controls.passage import passed
from longvie.controls.paths import Paths
from longvie.controls.sights import Sight, found, passed_on
from longvie.data import clips
from longvie.data.render import render
from longvie.data.streams import pictures
from longvie.data.world import scene

SIZE, FPS = (96, 176), 16


def seen_from(number: int, frame: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Picture, disparity and the matrix from world to picture of a scene whose things all stand still."""
    world = scene(number, "test")
    bodies = tuple(replace(body, motion="still", answers=0.0) for body in world.bodies)
    camera = replace(world.camera, family="pan", shake=0.0)
    made = render([replace(world, bodies=bodies, camera=camera, events=())], range(frame, frame + 1), size=SIZE)[0]
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = made.poses[0, :3, :3].double() @ torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    pose[:3, 3] = made.poses[0, :3, 3].double()
    lens = torch.diag(torch.tensor([made.focal, made.focal, 1.0, 1.0], dtype=torch.float64))
    return made.picture[:, 0], 1 / made.depth[0], lens @ torch.linalg.inv(pose)


def asked(number: int, now: int, then: int) -> tuple[torch.Tensor, torch.Tensor, Sight, torch.Tensor]:
    picture, disparity, here = seen_from(number, now)
    before, near, there = seen_from(number, then)
    sight = replace(Sight.of(before, near, 0), back=there @ torch.linalg.inv(here))
    return picture, disparity, sight, here


def lies(disparity: torch.Tensor) -> torch.Tensor:
    return floor(disparity[None] / disparity.max())


@pytest.mark.parametrize("number", [2, 5])
def test_what_was_seen_is_found_with_its_colours_and_nothing_else(number: int) -> None:
    picture, disparity, sight, _ = asked(number, 60, 0)
    missing = torch.ones(1, *SIZE, dtype=torch.bool)
    back = torch.eye(4, dtype=torch.float64)[None]
    shown, there = found([sight], back, disparity[None], lies(disparity), missing)
    assert 0.1 < float(there.float().mean()) < 1.0
    off = (shown[0] - picture).abs().mean(0)[there[0]]
    assert float(off.mean()) < 0.08 and float(off.median()) < 0.03
    none, nowhere = found([sight], back, disparity[None], lies(disparity), ~missing)
    assert not bool(nowhere.any()) and float(none.abs().sum()) == 0


def test_which_of_two_a_place_is_taken_from_does_not_depend_on_the_frames_that_are_asked_for() -> None:
    """The earlier one shows more of what the first frame misses, the later one of the second: it goes first."""
    _, disparity, early, _ = asked(5, 60, 0)
    late = asked(5, 60, 20)[2]
    early, late = (replace(it, picture=torch.full_like(it.picture, k)) for it, k in ((early, -1), (late, 1)))
    back, missing = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1), torch.ones(2, *SIZE, dtype=torch.bool)
    given = disparity.expand(2, -1, -1), lies(disparity).expand(2, -1, -1)
    missing[0] = found([early], back[:1], *(it[:1] for it in given), missing[:1])[1]
    (both, there), (alone, _) = (
        found([early, late], back[at], *(it[at] for it in given), missing[at]) for at in (slice(0, 2), slice(1, 2))
    )
    assert torch.equal(both[1], alone[0])
    shown = found([late], back[1:], *(it[1:] for it in given), missing[1:])[1][0]
    assert bool((both[0, 0][shown & missing[0]] > 0.9).all()) and bool((both[1, 0][shown] > 0.9).all())
    assert int((there[1] & ~shown).sum()) > 1000 and bool((both[1, 0][there[1] & ~shown] < -0.9).all())


def test_what_has_moved_meanwhile_is_not_found() -> None:
    _, disparity, sight, _ = asked(2, 60, 0)
    missing = torch.ones(1, *SIZE, dtype=torch.bool)
    box = (slice(40, 70), slice(60, 110))
    disparity = disparity.clone()
    disparity[box] = 2 * disparity.max()
    _, there = found([sight], torch.eye(4, dtype=torch.float64)[None], disparity[None], lies(disparity), missing)
    assert not bool(there[0][box].any())


def test_the_sights_that_show_something_of_their_own_are_kept() -> None:
    """Three from the same place and one from elsewhere: of those three the one that was last stays."""
    here = seen_from(2, 0)
    sights: tuple[Sight, ...] = ()
    last = here[2]
    for light, frame in enumerate((0, 90, 0, 0)):
        picture, disparity, pose = seen_from(2, frame)
        sights = passed_on(sights, Sight.of(picture, disparity, light), torch.eye(4, dtype=torch.float64), 4)
        sights = (*sights[:-1], replace(sights[-1], back=pose @ torch.linalg.inv(last)))
    picture, disparity, _ = seen_from(2, 0)
    kept = passed_on(sights[:3], sights[3], torch.eye(4, dtype=torch.float64), 2)
    assert [sight.light for sight in kept] == [1, 3]


def test_a_sight_goes_on_with_the_picture_that_moves() -> None:
    _, _, sight, here = asked(2, 60, 0)
    _, _, later = seen_from(2, 75)
    total = here @ torch.linalg.inv(later)
    (first, latest) = passed_on([sight], Sight.of(sight.picture, sight.disparity, 9), total, 5)
    assert torch.equal(latest.back, total) and latest.light == 9
    places, near = passed(first.back, torch.zeros(1, 2), torch.tensor([0.2]))
    wanted, also = passed(seen_from(2, 0)[2] @ torch.linalg.inv(later), torch.zeros(1, 2), torch.tensor([0.2]))
    assert torch.allclose(places, wanted, atol=0.01) and torch.allclose(near, also, atol=1e-4)


def test_a_sight_to_which_nobody_knows_the_way_any_more_is_let_go() -> None:
    picture, disparity, _ = seen_from(2, 0)
    sight, lost = Sight.of(picture, disparity, 0), torch.diag(torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64))
    assert passed_on([sight], sight, lost, 4) == ()
    assert len(passed_on([replace(sight, back=lost)], sight, torch.eye(4, dtype=torch.float64), 1)) == 1


@pytest.mark.parametrize("number", [3, 7])
def test_a_moved_picture_takes_what_it_does_not_show_from_them(number: int) -> None:
    """A clip from its frame 32 back to its beginning, whose first frame was seen before."""
    clip = clips.make(number, split="test", frames=33)
    video, points, disparity = pictures(clip, "picture").flip(1), clip.points.flip(0), clip.disparity.float().flip(0)
    paths = [Paths(points, clip.visible.flip(0), SIZE, disparity) for _ in range(2)]
    back = paths[0].back
    assert back is not None
    sight = replace(Sight.of(video[:, 32], disparity[32], 0), back=torch.linalg.inv(back[32]))
    plain, helped = (
        Carrying(video[:, 0], way, sights).take(33) for way, sights in zip(paths, ((), (sight,)), strict=True)
    )
    assert bool((helped.seen | ~plain.seen).all())
    new = (helped.seen & ~plain.seen)[0, 24:]
    assert float(new.float().mean()) > 0.01
    before, after = ((made.pictures - video).abs().mean(0)[24:][new].mean() for made in (plain, helped))
    assert float(after) < 0.6 * float(before)
    assert torch.equal(plain.pictures[:, plain.seen[0]], helped.pictures[:, plain.seen[0]])
