"""A thing that was out of the picture when another one began to move comes back as it was."""

from dataclasses import replace

import torch

from longvie.controls.carried import Carrying
from longvie.controls.faces import Face
from longvie.controls.familiar import Familiar
from longvie.controls.moved import Moved
from longvie.controls.paths import Paths

SIZE = (48, 88)
RED, GREEN = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.8, 0.2])
LEFT = (30, 15, 0, -15, -30, -30, -15, 0, 15)  # of the box, frame by frame; in the fourth it has left the picture


def frames(at: range) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A red box that glides over a green floor, out of the picture and back: colours, disparity, the box."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    ground = (0.02 * (y - 8)).clamp(min=0)  # the sky ends in row 8
    boxes = torch.stack([(x > LEFT[k]) & (x < LEFT[k] + 20) & (y > 12) & (y < 40) for k in at])
    colours = torch.where(boxes[:, None], RED[:, None, None], GREEN[:, None, None])
    return colours, torch.where(boxes, torch.full_like(ground, 0.7), ground), boxes


def paths(at: range, familiar: Familiar | None = None) -> Paths:
    """Of points on the floor alone."""
    spots = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([SIZE[1], 6.0])
    spots[:, 1] += 41
    points = spots.expand(len(at), -1, -1)
    seen = torch.ones(points.shape[:2], dtype=torch.bool)
    return Paths(points, seen, SIZE, frames(at)[1], None if familiar is None else familiar.things)


def begun() -> Familiar:
    """What is known when the box has left."""
    at = range(5)
    carrying = Carrying(frames(at)[0][0], paths(at))
    carrying.take(len(at))
    familiar = carrying.familiar([])
    assert familiar is not None
    return familiar


def returned(familiar: Familiar | None) -> Moved:
    """The rest of it, from a picture in which the box is not."""
    at = range(4, len(LEFT))
    return Carrying(frames(at)[0][0], paths(at, familiar), familiar=familiar).take(len(at))


def redness(moved: Moved) -> float:
    """How red the box is at last, from 0 (green) to 1."""
    inside = frames(range(len(LEFT)))[2][-1]
    found = moved.pictures[:, -1, inside].mean(1)
    return float((found[0] - found[1] - (GREEN[0] - GREEN[1])) / (RED[0] - RED[1] - GREEN[0] + GREEN[1]))


def test_a_thing_that_comes_back_has_its_colour() -> None:
    assert redness(returned(None)) < 0.2
    moved = returned(begun())
    assert redness(moved) > 0.9
    inside = frames(range(len(LEFT)))[2][-1]
    assert bool(moved.kept[0, -1][inside].float().mean() > 0.8)  # and is to be believed


def test_it_is_the_same_from_a_file() -> None:
    familiar = begun()
    again = Familiar.restored(familiar.tensors())
    assert again is not None and again.faces.keys() == familiar.faces.keys()
    assert torch.equal(returned(again).pictures, returned(familiar).pictures)
    assert Familiar.restored({}) is None


def test_without_depth_nothing_is_familiar() -> None:
    carrying = Carrying(frames(range(2))[0][0], Paths(torch.zeros(2, 3, 2), torch.ones(2, 3, dtype=torch.bool), SIZE))
    carrying.take(2)
    assert carrying.familiar([]) is None


def test_on_the_way_from_light_to_light_it_has_the_colours_of_that_moment() -> None:
    face = Face.unknown()
    face = replace(face, cells=face.cells + 1)
    lit = face.with_light(torch.tensor([[0.5, 0.0]] * 3).numpy())
    assert torch.allclose(torch.from_numpy(lit.shone([0.0]).cells), torch.from_numpy(face.cells))
    assert float(lit.shone([1.0]).cells[0, 0, 0]) == 0.5
    assert float(lit.shone([0.5]).cells[0, 0, 0]) == 0.75
