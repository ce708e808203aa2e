"""Things that lose their colours: these alone, each as a whole or in places, and not always."""

import numpy as np
import torch

from longvie.training.mending import worn

COUNT = 3


def scene(count: int = 24) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of two things on a ground; the second number of three is nowhere."""
    things = torch.full((count, 32, 48), 255)
    things[:, 4:20, 4:20], things[:, 8:28, 28:44] = 0, 2
    pictures = torch.rand(count, 3, 32, 48, generator=torch.Generator().manual_seed(0)) * 0.2 - 0.5
    pictures[:, 0] += 0.8 * (things == 0)
    pictures[:, 2] += 0.8 * (things == 2)
    return pictures, things


def test_things_alone_wear() -> None:
    pictures, things = scene()
    found = worn(pictures, things, COUNT, np.random.default_rng(0))
    off = (found - pictures).abs().sum(1)
    assert float(off[things == 255].max()) == 0
    assert float(off[things < COUNT].mean()) > 0.1
    assert float(found.abs().max()) <= 1


def test_some_things_stay_and_some_wear_wholly() -> None:
    pictures, things = scene(60)
    off = (worn(pictures, things, COUNT, np.random.default_rng(1)) - pictures).abs().sum(1)
    means = torch.stack([(off * (things == at)).sum((1, 2)) / (things == at).sum((1, 2)) for at in (0, 2)])
    assert 0.2 < float((means < 1e-6).float().mean()) < 0.7
    assert float(means.max()) > 0.5


def test_they_go_pale_and_take_colours_that_are_there() -> None:
    pictures, things = scene(60)
    found = worn(pictures, things, COUNT, np.random.default_rng(2))
    spread = lambda video: (video.std(1) * (things == 0)).sum((1, 2)) / (things == 0).sum((1, 2))  # noqa: E731
    assert float((spread(found) < 0.7 * spread(pictures)).float().mean()) > 0.1
    blue = (((found[:, 2] - found[:, 0]) * (things == 0)).sum((1, 2)) / (things == 0).sum((1, 2))) > 0.1
    assert bool(blue.any())  # a red thing that has become as blue as the other


def test_the_same_numbers_wear_the_same_way() -> None:
    pictures, things = scene(4)
    one, other = (worn(pictures, things, COUNT, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one, other)
