"""Rigid motions from points: exact for planes and, with disparity, for any shape; each thing's points by themselves."""

import pytest
import torch

from longvie.controls import motion


def scene(count: int, *, flat: bool, turn: float = 0.2, moves: tuple[float, ...] = (0.3, -0.2, 0.5), seed: int = 0):  # noqa: ANN201
    """Points before two cameras: (x, y, disparity) in the second, x and y in the first."""
    random = torch.Generator().manual_seed(seed)
    x, y = torch.rand(2, count, generator=random, dtype=torch.float64) * 4 - 2
    z = 6 + 0.3 * x - 0.2 * y if flat else 4 + 4 * torch.rand(count, generator=random, dtype=torch.float64)
    now = torch.stack([x, y, z], dim=-1)
    angle = torch.tensor(turn, dtype=torch.float64)
    rotation = torch.eye(3, dtype=torch.float64)
    rotation[0, 0] = rotation[2, 2] = angle.cos()
    rotation[0, 2], rotation[2, 0] = angle.sin(), -angle.sin()
    before = now @ rotation.T + torch.tensor(moves, dtype=torch.float64)
    return now[:, :2] / z[:, None], 1 / z, before[:, :2] / before[:, 2:]


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("deep", [True, False])
def test_a_motion_is_exact_for_planes_and_with_disparity_for_all(flat: bool, deep: bool) -> None:
    now, disparity, before = scene(60, flat=flat)
    terms = motion.terms(now, 2.5 * disparity + 0.1 if deep else None)[None]  # any scale and offset
    found = motion.fit(terms, before[None], torch.ones(1, 60, dtype=torch.float64), rounds=8)
    off = (found(terms)[0][0] - before).abs().max()
    assert (off < 2e-3) == (flat or deep), off


def test_few_points_still_give_a_motion_and_none_gives_no_error() -> None:
    now, _, before = scene(3, flat=True, turn=0.0)
    terms, weight = motion.terms(now, None)[None], torch.ones(1, 3, dtype=torch.float64)
    found = motion.fit(terms, before[None], weight, rounds=8)
    assert (found(terms)[0][0] - before).abs().max() < 1e-3
    nothing = motion.fit(terms, before[None], 0 * weight)
    assert nothing(terms)[0].isfinite().all()


def test_points_far_off_do_not_bend_a_robust_motion() -> None:
    now, disparity, before = scene(80, flat=False)
    wrong = before.clone()
    wrong[::5] += 0.3
    terms, weight = motion.terms(now, disparity)[None], torch.ones(1, 80, dtype=torch.float64)
    plain = motion.fit(terms, wrong[None], weight)
    robust = motion.robust(terms, wrong[None], weight, weight, (0.05, 0.02, 0.01))
    kept = torch.arange(80) % 5 > 0
    off = [(it(terms)[0][0] - before)[kept].abs().mean() for it in (plain, robust)]
    assert off[1] < 0.1 * off[0] and off[1] < 2e-3


def test_points_of_two_things_are_told_apart_and_stray_ones_left_out() -> None:
    world, one = scene(60, flat=False), scene(25, flat=False, turn=-0.5, moves=(-0.5, 0.3, -0.5), seed=1)
    now = torch.cat([world[0], one[0] * 0.3 + 0.2])
    disparity = torch.cat([world[1], one[1] + 0.3])
    before = torch.cat([world[2], one[2] * 0.3 + 0.2])
    stray = torch.rand(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    now, before = torch.cat([now, stray]), torch.cat([before, stray + torch.linspace(0.2, 0.9, 6)[:, None]])
    disparity = torch.cat([disparity, torch.full((6,), 0.2, dtype=torch.float64)])
    frames = 3
    terms = motion.terms(now, disparity).expand(frames, -1, -1).float()
    seen = torch.ones(frames, len(now), dtype=torch.bool)
    apart = torch.cdist(before, before).square() * motion.step(disparity[:, None], disparity)
    label = motion.groups(terms, before.float(), seen, apart, 0.01)
    first = label[:60].mode().values
    second = label[60:85].mode().values
    assert first != second and min(first, second) >= 0
    assert (label[:60] == first).float().mean() > 0.9 and (label[60:85] == second).float().mean() > 0.8
    assert not set(label[85:].tolist()) & {int(first), int(second)}


def test_a_point_that_is_seldom_seen_is_judged_by_when_it_is_seen() -> None:
    now, _, before = scene(30, flat=True, turn=0.1)
    terms = motion.terms(now, None).expand(8, -1, -1).clone().float()
    seen = torch.ones(8, 30, dtype=torch.bool)
    seen[1:, 4] = False
    terms[1:, 4] = 99.0
    label = motion.groups(terms, before.float(), seen, torch.cdist(before, before), 0.02)
    assert (label == 0).all()


def test_everywhere_is_each_motion_where_it_counts() -> None:
    """Two frames, three motions: every pixel goes as its own one says."""
    random = torch.Generator().manual_seed(2)
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, 6), torch.linspace(-1, 1, 8), indexing="ij")
    depth, which = torch.rand(2, 6, 8, generator=random), torch.randint(0, 3, (2, 6, 8), generator=random)
    motions = []
    for _ in range(3):
        forms = 0.2 * torch.randn(4, 2, 4, generator=random)
        forms[2, :, 0] = torch.tensor([1.0, 0.05])  # the second is behind the camera in places
        motions.append(motion.Motion(*forms))
    places, near = motion.everywhere(motions, which, (x[None], y[None], depth))
    terms = motion.terms(torch.stack([x, y], dim=-1).expand(2, -1, -1, -1), depth)
    for number, one in enumerate(motions):
        wanted, below = one(terms)
        disparity = (terms * one.near[:, None, None]).sum(-1) / below
        assert torch.allclose(places[which == number], wanted[which == number], atol=1e-4)
        assert torch.allclose(near[which == number], disparity[which == number], atol=1e-4)
