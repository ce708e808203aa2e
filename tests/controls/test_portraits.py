"""Things look under other words as their portraits do, whatever earlier turns have left of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from longvie.controls import portraits
from longvie.controls.carried import Carrying
from longvie.controls.familiar import Familiar
from longvie.controls.looks import GAINS, Look
from longvie.controls.paths import Paths
from longvie.controls.portraits import PORTRAIT, Portrait, dressed, forgotten, looks, met
from longvie.controls.things import REST, SKY

SIZE = (48, 88)
WORDS = torch.ones(1, 4, 8)
RED, GREEN, GREY = torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.8, 0.2]), torch.tensor([0.4, 0.38, 0.38])
RANDOM = np.random.Generator(np.random.PCG64(0))


def scene(box: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A box on a green floor: colours, disparity, and where the box is."""
    y, x = torch.meshgrid(torch.arange(SIZE[0]) + 0.5, torch.arange(SIZE[1]) + 0.5, indexing="ij")
    ground = (0.02 * (y - 8)).clamp(min=0)  # the sky ends in row 8
    inside = (x > 30) & (x < 56) & (y > 12) & (y < 40)
    colours = torch.where(inside, box[:, None, None], GREEN[:, None, None])
    return colours, torch.where(inside, torch.full_like(ground, 0.7), ground), inside


def paths(disparity: torch.Tensor, frames: int = 3) -> Paths:
    """Nothing moves; points on the floor tell so."""
    spots = torch.rand(60, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([SIZE[1], 6.0])
    spots[:, 1] += 41
    points = spots.expand(frames, -1, -1)
    seen = torch.ones(points.shape[:2], dtype=torch.bool)
    return Paths(points, seen, SIZE, disparity.expand(frames, -1, -1))


def portrayed(box: torch.Tensor) -> Familiar:
    """What is known where the box was seen."""
    colours, disparity, _ = scene(box)
    way = paths(disparity)
    list(way.take(3))
    known = Familiar.beginning(None, colours, way, disparity, WORDS)
    assert known is not None
    return known


class Dusk:
    """Halves all light; paints a thing, or none."""

    def __init__(self, paints: torch.Tensor | None = None, *, also: bool = False) -> None:
        self.paints = torch.zeros(SIZE, dtype=torch.bool) if paints is None else paints
        self.also = self.paints if also else torch.zeros_like(self.paints)

    def begun_with(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.on(picture, None), self.paints

    def on(self, picture: torch.Tensor, disparity: torch.Tensor | None) -> torch.Tensor:  # noqa: ARG002
        return 0.5 * (picture + 1) - 1

    def portrayed(self, portrait: Portrait) -> tuple[torch.Tensor, torch.Tensor]:
        return self.on(portrait.picture.float(), None), self.also


def test_a_look_is_brought_to_another_and_stays_as_bright() -> None:
    stripes = np.where(RANDOM.random(400) > 0.5, 0.5, 0.1)
    one = np.stack([stripes, 0.5 * stripes, 0.5 * stripes])
    other = np.stack([0.5 * stripes, stripes + 0.1, 0.5 * stripes])
    gain, offset = Look.of(one).to(Look.of(other)).T[..., None]
    made = Look.of(gain * one + offset)
    assert (made.mean + 1).mean() == pytest.approx((Look.of(one).mean + 1).mean(), rel=1e-5)
    assert np.argmax(made.mean) == 1
    shares = (made.mean + 1) / (Look.of(other).mean + 1)
    assert shares.tolist() == pytest.approx([shares[0]] * 3, rel=1e-5)
    gain, _ = Look.of(0 * one).to(Look.of(5 * other)).T
    assert gain.max() <= GAINS[1] + 1e-6


def test_a_weight_says_how_much_a_pixel_counts() -> None:
    colours = np.array([[0.0, 1.0], [0.0, 0.5], [0.0, 0.0]])
    assert Look.of(colours, np.array([1.0, 3.0])).mean.tolist() == pytest.approx([0.75, 0.375, 0.0])


def test_each_thing_has_one_portrait_the_first_in_which_it_is_seen_well() -> None:
    picture, near = torch.zeros(3, *SIZE), torch.ones(SIZE)
    numbers = torch.full(SIZE, -1, dtype=torch.long)
    numbers[:8], numbers[10:30, 10:30], numbers[40:43, 10:13], numbers[10:30, 60:80] = SKY, 3, 5, REST
    (first,) = known = met((), picture, near, numbers, WORDS)
    assert first.of == {3}, "neither the sky, nor what is too small to be told apart, nor of what little is seen"
    assert met(known, picture, near, numbers, WORDS) == known
    numbers[35:45, 40:60] = 5
    assert [it.of for it in met(known, picture, near, numbers, WORDS)] == [{3}, {5}]
    assert set(first.pieces.unique().tolist()) == {0, 4, 6}, "all things are told apart, if only some are portrayed"


def test_there_are_not_more_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portraits, "MOST", 2)
    known, picture, near = (), torch.zeros(3, *SIZE), torch.ones(SIZE)
    for number in range(1, 5):
        known = met(known, picture, near, torch.full(SIZE, number), WORDS)
    assert [it.of for it in known] == [{1}, {2}]
    assert [it.of for it in forgotten(known, [1])] == [{2}], "a number that means another thing has none"


def test_the_portrait_is_of_the_thing_and_looks_like_it() -> None:
    (portrait,) = portrayed(RED).portraits
    (look,) = looks(portrait, portrait.picture).values()
    assert look.mean.tolist() == pytest.approx(RED.tolist(), abs=0.01)
    again = Portrait.restored(portrait.tensors())
    assert all(torch.equal(getattr(again, name), getattr(portrait, name)) for name in PORTRAIT if name != "of")
    assert again.of == portrait.of


def test_nothing_is_portrayed_while_words_are_on_their_way() -> None:
    colours, disparity, _ = scene(RED)
    way = paths(disparity)
    assert Familiar.beginning(None, colours, way, disparity, WORDS) is None, "no frame was taken"
    list(way.take(3))
    assert Familiar.beginning(None, colours, way, disparity, None) is None
    assert Familiar.beginning(None, colours, way, None, WORDS) is None


def test_a_thing_that_has_worn_takes_the_colours_of_its_portrait_in_another_light() -> None:
    """Its hue comes back, what is around it stays as it is; and so does what is hidden of it."""
    colours, disparity, inside = scene(GREY)
    known = portrayed(RED)
    shown = {}
    for name, familiar in (("known", known), ("unknown", replace(known, portraits=()))):
        carrying = Carrying(colours, paths(disparity), familiar=familiar)
        carrying.take(2)
        carrying.light(Dusk())
        shown[name] = carrying.again().pictures[3:, -1]
        assert torch.equal(carrying.picture[:3], colours)
        faces = carrying.familiar([1.0])
        assert faces is not None
        (face,) = (faces.faces[number] for number in known.portraits[0].of)
        colour = face.mean()
        assert (colour[0] - colour[1] > 0.2) == (name == "known")
        assert colour.mean() == pytest.approx(float(0.5 * (GREY.mean() + 1) - 1), abs=0.03), "as dark as all else"
    middle = {name: picture[:, inside].median(1).values for name, picture in shown.items()}
    assert float(middle["known"][0] - middle["known"][1]) > 0.3
    assert float((middle["unknown"][0] - middle["unknown"][1]).abs()) < 0.05
    assert float(middle["known"].mean()) == pytest.approx(float(middle["unknown"].mean()), abs=0.03)
    away = torch.nn.functional.max_pool2d(inside[None].float(), 5, 1, 2)[0] == 0  # but for the outline
    assert torch.allclose(shown["known"][:, away], shown["unknown"][:, away], atol=1e-5)


def test_words_that_paint_a_thing_take_its_portrait_away() -> None:
    """What it looks like now, its portrait does not tell."""
    colours, disparity, inside = scene(GREY)
    known = portrayed(RED)
    carrying = Carrying(colours, paths(disparity), familiar=known)
    carrying.take(2)
    carrying.light(Dusk(inside))
    assert carrying.portraits == () and torch.allclose(carrying.picture[3:] + 1, 0.5 * (colours + 1), atol=1e-6)
    carrying = Carrying(colours, paths(disparity), familiar=known)
    carrying.take(2)
    carrying.light(Dusk(inside, also=True))  # unless that is painted too
    assert carrying.portraits == known.portraits and float(carrying.picture[3:, inside].mean(1)[:2].diff()) < -0.3


def test_a_thing_of_which_too_little_is_seen_is_left_as_it_is() -> None:
    picture, numbers = torch.zeros(3, *SIZE), torch.full(SIZE, -1, dtype=torch.long)
    numbers[10:14, 10:14] = 3
    assert torch.equal(dressed(picture, numbers, {3: Look.of(np.ones((3, 4)))}), picture)
