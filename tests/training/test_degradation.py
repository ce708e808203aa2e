"""Degradations leave what they should leave, and their draws follow from the generator alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from longvie.engine import flow
from longvie.training import degradation
from longvie.training.degradation import DegradationConfig

ALWAYS = DegradationConfig(control=1.0, blur=1.0, feature=1.0)
NEVER = DegradationConfig(control=0.0, feature=0.0)


def video(height: int = 16, width: int = 24) -> Tensor:
    return torch.rand(2, 3, 4, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_fusion_at_scale_1_changes_nothing() -> None:
    assert_close(degradation.fused(video(), (1.0,), torch.tensor([3.0])), video())


def test_fusion_and_blur_keep_what_is_flat() -> None:
    flat = torch.full((1, 3, 2, 32, 48), 0.3)
    assert_close(degradation.fused(flat, degradation.SCALES, torch.rand(6)), flat)
    assert_close(degradation.blurred(flat, 5)[..., 2:-2, 2:-2], flat[..., 2:-2, 2:-2])


def test_blur_darkens_the_border_as_published() -> None:
    white = torch.ones(1, 3, 1, 9, 9)
    corner = degradation.blurred(white, 3)[0, 0, 0, 0, 0]
    assert_close(corner, torch.tensor(2 * 4 / 9 - 1))


def test_fusion_loses_detail() -> None:
    def detail(x: Tensor) -> Tensor:
        return (x[..., 1:] - x[..., :-1]).abs().mean()

    assert detail(degradation.fused(video(), degradation.SCALES, torch.ones(6))) < 0.5 * detail(video())


def test_frames_and_samples_are_degraded_alone() -> None:
    whole = degradation.blurred(video(), 5)
    assert_close(degradation.blurred(video()[1:, :, 2:3], 5), whole[1:, :, 2:3])


@pytest.mark.parametrize("size", [(16, 24), (3, 40), (1, 5)])
def test_drift_is_towards_the_tint_and_no_more_than_its_strength(size: tuple[int, int]) -> None:
    clip = video(*size)
    noise = torch.rand(size, generator=generator())
    offset = torch.tensor([0.1, 0.0, -0.1], dtype=torch.float64)
    drifted = degradation.colour_drift(clip, offset, noise, strength=0.2, variation=0.3)
    tint = (((clip + 1) / 2).mean(dim=(2, 3, 4)) + offset.float()).clamp(0, 1) * 2 - 1
    share = (drifted - clip) / (tint[:, :, None, None, None] - clip)
    known = share[(tint[:, :, None, None, None] - clip).abs() > 0.05]
    assert known.min() >= 0.2 * 0.85 - 1e-3
    assert known.max() <= 0.2 * 1.15 + 1e-3
    assert_close(degradation.colour_drift(clip, offset, noise, strength=0.0, variation=0.3), clip)


def test_drift_keeps_the_range() -> None:
    drifted = degradation.draw_colour_drift(video(), (0.1, 0.3), generator())
    assert drifted.abs().max() <= 1
    assert not torch.equal(drifted, video())


DRAWS: dict[str, Callable[[torch.Generator], Tensor]] = {
    "control": lambda g: degradation.draw_control(video(), g, ALWAYS),
    "fused": lambda g: degradation.draw_fused(video(), g),
    "blurred": lambda g: degradation.draw_blurred(video(), g),
    "drift": lambda g: degradation.draw_colour_drift(video(), (0.1, 0.2), g),
    "gain": lambda g: degradation.draw_gain(8, g, ALWAYS),
    "trips": lambda g: degradation.draw_round_trips(video(), lambda x: x * 0.9, g),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_follow_from_the_generator_alone(name: str) -> None:
    torch.manual_seed(5)
    first = DRAWS[name](generator(3))
    torch.manual_seed(6)
    assert_close(DRAWS[name](generator(3)), first, atol=0, rtol=0)
    assert any(not torch.equal(DRAWS[name](generator(seed)), first) for seed in range(4, 9))


def test_probability_0_changes_nothing() -> None:
    for seed in range(5):
        assert torch.equal(degradation.draw_control(video(), generator(seed), NEVER), video())
    assert torch.equal(degradation.draw_gain(8, generator(), NEVER), torch.ones(8))


def test_draws_come_as_often_as_said() -> None:
    source = generator()
    hits = sum(degradation.chance(0.25, source) for _ in range(4000))
    assert 850 < hits < 1150
    gains = degradation.draw_gain(4000, generator(), DegradationConfig(feature=0.25))
    assert 850 < int((gains != 1).sum()) < 1150
    assert gains.min() >= 0.8
    assert gains.max() <= 1.2


def test_round_trips_are_one_to_five_fewer_likelier() -> None:
    source = generator()
    trips = torch.tensor(
        [float(degradation.draw_round_trips(torch.zeros(1, 1, 1, 1, 1), lambda x: x + 1, source)) for _ in range(600)]
    )
    counts = [int((trips == times).sum()) for times in range(1, 6)]
    assert sum(counts) == 600
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 3 * counts[4]


def test_latents_are_sampled_again_from_a_late_level() -> None:
    latents, table = torch.randn(1, 16, 1, 2, 3, generator=generator(1)), flow.times(50)
    seen: list[Tensor] = []

    def denoise(x: Tensor, levels: Tensor) -> Tensor:
        seen.append(levels)
        return flow.euler(lambda now, t: flow.velocity_from_x0(latents, now, t), x, levels)

    for seed in range(12):
        again = degradation.draw_reimagined(latents, denoise, table, generator(seed))
        assert_close(again, latents, atol=1e-5, rtol=1e-5)  # a model that knows the truth finds it again
    steps = {len(levels) - 1 for levels in seen}
    assert steps <= {1, 2, 3, 4, 6}
    assert len(steps) > 1
    for levels in seen:
        assert_close(levels, table[-len(levels) :], atol=0, rtol=0)
