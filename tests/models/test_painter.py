"""Things seen as wholes: with all of their pixels, their words, and nothing of other things."""

import pytest
import torch

from longvie.models.painter import FAINT, OWN, STATISTICS, Painter, see
from longvie.models.recolourer import Looked
from longvie.models.repainter import Repainter, meant

WIDTH, TEXT = 16, 12


def repainter(*, wholes: bool = True) -> Repainter:
    torch.manual_seed(2)
    made = Repainter(width=WIDTH, layers=2, heads=2, text_width=TEXT, fine_width=4, wholes=wholes).eval()
    torch.nn.init.normal_(made.things.answer.weight, std=0.3)
    return made


def asked(count: int = 1) -> tuple[torch.Tensor, ...]:
    source = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=source)  # noqa: E731
    texts = draw(count, 7, TEXT), draw(count, 7, TEXT)
    return draw(count, 3, 16, 24).tanh(), draw(count, 16, 24).abs(), *texts, torch.zeros(count)


def two() -> torch.Tensor:
    pieces = torch.zeros(1, 16, 24, dtype=torch.long)
    pieces[:, 2:10, 2:10], pieces[:, 4:12, 12:20] = 1, 2
    return pieces


def looked(model: Repainter, told: tuple[torch.Tensor, ...]) -> Looked:
    with torch.no_grad():
        return model.things.look(*told)


def painted(model: Repainter, told: tuple[torch.Tensor, ...]) -> torch.Tensor:
    with torch.no_grad():
        return model(*told, pieces=two())


def stir(model: Repainter) -> None:
    assert model.painter is not None
    torch.nn.init.normal_(model.painter.answer[-1].weight, std=0.2)


def test_untrained_it_leaves_things_as_they_are() -> None:
    told = asked()
    assert float((painted(repainter(), told) - told[0]).abs().max()) < 0.1  # but for what is nearly black or white
    assert float((painted(repainter(), told) - told[0]).abs().mean()) < 1e-3


def test_it_paints_the_things_that_are_meant_and_nothing_else() -> None:
    model, told = repainter(), asked()
    stir(model)
    with torch.no_grad():
        light = model.light(*told)
        places = looked(model, told)
        after = ((told[0] + 1) * places.gain - 1 + places.offset).clamp(-1, 1)
        _, _, where = model.maps(*told, pieces=two())
    made, there = painted(model, told), meant(told[0], after, two())
    assert torch.equal(where, there) and 0 < float(there.float().mean()) < 1
    assert torch.allclose(made[:, :, ~there[0]], (told[0] * light[0])[:, :, ~there[0]], atol=1e-5)
    assert float((made - told[0])[:, :, there[0]].abs().mean()) > 0.02


@torch.no_grad()
def test_stripes_of_a_thing_stay_apart_and_turn_together() -> None:
    """One matrix for a thing: pixels of one colour stay of one colour."""
    model, told = repainter(), asked()
    stir(model)
    picture = torch.where((torch.arange(24) % 2 == 0), 0.5, -0.5).expand(1, 3, 16, 24).clone()
    made = painted(model, (picture, *told[1:]))
    (where,) = ((two() == number)[0] for number in (1,))
    for stripe in (0.5, -0.5):
        own = made[0][:, where & (picture[0, 0] == stripe)]
        assert torch.allclose(own, own[:, :1].expand_as(own), atol=1e-5)


def test_what_is_seen_of_a_thing_is_of_it_alone() -> None:
    model, (picture, disparity, before, now, along) = repainter(), asked()
    places, where = looked(model, (picture, disparity, before, now, along)), two()[0] == 1
    texts = torch.cat([before, now], dim=-1)[0]
    one = see(picture[0], picture[0], disparity[0], [where, two()[0] == 2], places, texts)
    assert one.features.shape == (2, STATISTICS + WIDTH + OWN) and one.pointed.shape == (2, 8)
    colours = (picture[0][:, where] + 1) / 2
    assert torch.allclose(one.features[0, :3], colours.mean(1)) and torch.allclose(one.features[0, 3:6], colours.std(1))
    assert torch.equal(one.features[0, -5:-1], torch.zeros(4)), "its places answer nothing here"
    assert float(one.features[0, -1]) == pytest.approx(64 / (16 * 24))
    other = picture[0].clone()
    other[:, two()[0] == 2] = 0.9  # not beside the first
    again = see(other, other, disparity[0], [where], places, texts)
    assert torch.allclose(again.features[0, :22], one.features[0, :22])


def test_a_thing_smaller_than_a_place_is_seen_where_it_lies() -> None:
    model, told = repainter(), asked()
    where = torch.zeros(16, 24, dtype=torch.bool)
    where[4, 4:6] = True  # of no middle of a place
    seen = see(told[0][0], told[0][0], told[1][0], [where], looked(model, told), torch.cat(told[2:4], dim=-1)[0])
    assert bool(seen.features.isfinite().all()) and bool((seen.pointed >= FAINT).all())


def test_words_that_are_not_there_are_not_read() -> None:
    model, told = repainter(), asked()
    assert model.painter is not None
    stir(model)
    seen = see(told[0][0], told[0][0], told[1][0], [two()[0] == 1], looked(model, told), torch.cat(told[2:4], -1)[0])
    longer = type(seen)(
        seen.features,
        torch.cat([seen.pointed[:, :-1], torch.full((1, 3), FAINT), seen.pointed[:, -1:]], dim=1),
        *(torch.nn.functional.pad(it, (0, 0, 0, 3)) for it in (seen.words, seen.texts)),
    )
    with torch.no_grad():
        (one, _, few), (other, _, many) = model.painter(seen), model.painter(longer)
    assert torch.allclose(one, other, atol=1e-6) and bool((many[:, 7:10] < -1e3).all())
    assert torch.allclose(few[:, -1], many[:, -1], atol=1e-5)


def test_it_is_kept_in_a_file_and_older_ones_have_none(tmp_path: object) -> None:
    for wholes in (True, False):
        model = repainter(wholes=wholes)
        if model.painter is not None:
            model.painter.measure(torch.rand(9, STATISTICS + WIDTH + OWN))
        model.save_pretrained(f"{tmp_path}/{wholes}")
        again = Repainter.from_pretrained(f"{tmp_path}/{wholes}")
        assert (again.painter is not None) == wholes
        assert all(torch.equal(it, again.state_dict()[name]) for name, it in model.state_dict().items())


def test_features_are_measured_once_for_all() -> None:
    painter, features = Painter(WIDTH, TEXT), 5 + 3 * torch.randn(400, STATISTICS + WIDTH + OWN)
    painter.measure(features)
    assert torch.allclose(painter.mean, features.mean(0)) and torch.allclose(painter.deviation, features.std(0) + 1e-3)
