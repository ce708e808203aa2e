"""Other words for a picture: what the network is asked, and how it is told which word a place belongs to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from longvie import LongVie
from longvie.data import variants
from longvie.models.relighter import PATCH
from longvie.models.repainter import Repainter
from longvie.training.stages import recolour
from longvie.training.stages.recolour import RecolourStage


@pytest.fixture(scope="module")
def stage() -> RecolourStage:
    moments = [variants.make(number, size=(32, 48)) for number in range(6)]
    torch.manual_seed(4)
    words = LongVie.from_pretrained("world").models.words.float()
    return RecolourStage(Repainter(width=8, layers=2, text_width=words.width, fine_width=2), words, moments, moments)


def test_the_token_of_a_thing_is_its_colour(stage: RecolourStage) -> None:
    for moment in stage.moments:
        for caption in moment.captions:
            tokens, ids = recolour.tokens(stage.words, caption), stage.words.ids(caption)
            things = caption.split(" on ")[0].replace(" and ", ", ").split(", ")
            for number, thing in enumerate(things):
                assert stage.words.tokenizer.decode([ids[int(tokens[number])]]).strip() == thing.split()[1]
            assert int(tokens[variants.UNTOLD]) == -1


def test_pointing_costs_nothing_where_it_is_right() -> None:
    words = torch.full((1, 8, 12), -1)
    words[:, :, 8:] = 3
    places = words[:, ::PATCH, ::PATCH].flatten()
    right = torch.full((1, len(places), 6), -20.0)
    right[0, torch.arange(len(places)), torch.where(places < 0, 5, places)] = 20.0
    assert float(recolour._belongs([right, right], words)) < 1e-3
    assert float(recolour._belongs([right, -right], words)) > 5


def test_faded_pictures_lose_as_much_as_they_are_told_to() -> None:
    pictures = torch.rand(2, 3, 16, 24) * 2 - 1
    faded = recolour.faded(pictures, torch.tensor([0.0, 1.0]), 3)
    assert torch.equal(faded[0], pictures[0])
    spread = lambda picture: float(picture.std(0).mean())  # noqa: E731
    assert spread(faded[1]) < 0.5 * spread(pictures[1])


def test_it_learns_from_a_batch_and_points(stage: RecolourStage) -> None:
    for share in (0.0, 0.9):  # at half the size, at the whole
        loss, figures = stage(np.random.default_rng(0), share)
        loss.backward()
        assert figures["pointed"] > 0
    for name in ("reader.enter.weight", "blocks.1.ask.weight", "none"):
        grad = stage.model.things.get_parameter(name).grad
        assert grad is not None and bool(grad.abs().sum() > 0), name


def test_moments_are_learnt_from_where_the_thing_is_seen(stage: RecolourStage) -> None:
    assert stage.moments
    for moment in stage.moments:
        before, after = moment.pictures[:2].int()
        assert bool(((before - after).abs().sum(-1) > 24).any())
        assert moment.captions[0].split(" on ")[1] == moment.captions[1].split(" on ")[1]
    moment = stage.moments[0]
    hidden = replace(moment, pictures=moment.pictures[[0, 0, 2, 3]])
    assert RecolourStage(stage.model, stage.words, [hidden, moment], [hidden]).moments == [moment]
