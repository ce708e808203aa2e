"""Other words for a picture: nothing at first, and what it sees is told truly."""

import torch

from longvie.models.recolourer import hues
from longvie.models.relighter import known
from longvie.models.repainter import Repainter, applied, evened, meant


def repainter() -> Repainter:
    torch.manual_seed(2)
    made = Repainter(width=16, layers=2, heads=2, text_width=12, fine_width=4).eval()
    for part in (made.light, made.things):
        torch.nn.init.normal_(part.answer.weight, std=0.3)
    return made


def asked(count: int = 3) -> tuple[torch.Tensor, ...]:
    source = torch.Generator().manual_seed(3)
    draw = lambda *shape: torch.randn(*shape, generator=source)  # noqa: E731
    pictures, disparity = draw(count, 3, 16, 24).tanh(), draw(count, 16, 24).abs()
    return pictures, disparity, draw(count, 7, 12), draw(count, 7, 12), torch.rand(count, generator=source)


def test_untrained_it_leaves_pictures_as_they_are() -> None:
    given = asked()
    assert torch.allclose(Repainter(width=16, layers=2, heads=2, text_width=12)(*given), given[0], atol=1e-6)


@torch.no_grad()
def test_pictures_of_a_batch_are_alone() -> None:
    model, given = repainter(), asked()
    whole = model(*given)
    for at in range(3):
        alone = model(*(it[at : at + 1] for it in given))
        assert torch.allclose(alone[0], whole[at], atol=1e-5)


@torch.no_grad()
def test_texts_count_and_what_lies_beyond_them_does_not() -> None:
    model, (pictures, disparity, before, now, along) = repainter(), asked(1)
    one = model(pictures, disparity, before, now, along)
    longer = [torch.cat([it, torch.zeros(1, 5, 12)], dim=1) for it in (before, now)]
    assert torch.allclose(model(pictures, disparity, *longer, along), one, atol=1e-5)
    assert not torch.allclose(model(pictures, disparity, now, before, along), one, atol=1e-3)
    assert not torch.allclose(model(pictures, disparity, before, now, 1 - along), one, atol=1e-4)


def test_depth_of_any_scale_is_the_same() -> None:
    pictures, disparity, *_ = asked()
    disparity[:, :5] = 0.0
    seen, far = known(pictures, disparity), known(pictures, 37 * disparity)
    assert torch.allclose(seen, far, atol=1e-4)
    assert torch.equal(seen[:, :3], pictures) and bool((seen[:, 7, :5] == 1).all())
    assert bool(seen.isfinite().all()) and bool(known(pictures, torch.zeros_like(disparity)).isfinite().all())


def test_a_colour_is_known_whatever_the_light() -> None:
    colours = torch.rand(1, 3, 8, 8) + 0.2
    day, night = (hues(light * colours - 1) for light in (1.0, 0.25))
    assert float((day - night).abs().mean()) < 0.1 * float((day - day.mean()).abs().mean())


@torch.no_grad()
def test_things_take_their_colours_in_the_light_of_now() -> None:
    model, (pictures, *told) = repainter(), asked()
    lit = applied(pictures, *model.light(pictures, *told)).clamp(-1, 1)
    both = applied(pictures, *model.maps(pictures, *told)[:2])
    inside = applied(pictures, *model.light(pictures, *told)).abs() <= 1
    assert torch.allclose(both[inside], applied(lit, *model.things(lit, *told))[inside], atol=1e-4)


def test_a_colour_changes_on_the_thing_that_is_meant_and_nowhere_else() -> None:
    """Three things on a ground: one turns wholly, one a little, one hardly; the ground turns too."""
    pieces = torch.zeros(1, 16, 24, dtype=torch.long)
    pieces[:, 2:8, 2:8], pieces[:, 2:8, 10:16], pieces[:, 10:14, 2:8] = 1, 2, 5
    before = torch.zeros(1, 3, 16, 24)
    after = before.clone()
    for number, change in ((0, 0.5), (1, 0.6), (2, 0.2), (5, 0.4)):
        after[:, 0] += 3 * change * (pieces == number)
    assert torch.equal(meant(before, after, pieces), (pieces == 1) | (pieces == 5))
    assert not bool(meant(before, before + 0.01, pieces).any())  # nobody meant that
    assert not bool(meant(before, after, torch.zeros_like(pieces)).any())


@torch.no_grad()
def test_pieces_hold_the_colours_of_things_and_not_the_light() -> None:
    model, told = repainter(), asked(1)
    pieces = torch.zeros(1, 16, 24, dtype=torch.long)
    pieces[:, 4:12, 4:12] = 1
    free, held, light = model(*told), model(*told, pieces=pieces), applied(told[0], *model.light(*told))
    inside = (pieces == 1)[:, None].expand(-1, 3, -1, -1)
    assert not torch.allclose(held[inside], light[inside], atol=1e-2)
    assert torch.allclose(held[~inside], light[~inside], atol=1e-5)
    assert not torch.allclose(free[~inside], light[~inside], atol=1e-2)


def test_a_thing_is_painted_as_a_whole_and_keeps_its_shading() -> None:
    """Half of a shaded thing has turned, the other half by a little: all of it turns, as the surer half says."""
    pieces = torch.zeros(1, 16, 24, dtype=torch.long)
    pieces[:, 2:10, 2:18] = 3
    before = torch.linspace(-0.5, 0.5, 16)[:, None].expand(1, 3, 16, 24).clone()
    wanted = (before + 1) * torch.tensor([0.5, 1.0, 1.5])[:, None, None] - 0.9
    after = before.lerp(wanted, torch.where(torch.arange(24) < 10, 1.0, 0.1))
    painted = applied(before, *evened(before, after, pieces))
    there = (pieces == 3).expand(1, 3, -1, -1)
    assert torch.allclose(painted[~there], before[~there], atol=1e-6)
    assert float((painted - wanted)[there].abs().mean()) < 0.4 * float((after - wanted)[there].abs().mean())
    assert float((painted - after)[0, 1, 2:10, 10:18].abs().max()) > 0.01


def test_of_several_pictures_each_thing_has_its_own_colour() -> None:
    pieces = torch.zeros(2, 16, 24, dtype=torch.long)
    pieces[0, 2:8, 2:8] = pieces[1, 6:12, 10:18] = 1
    before = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)) - 0.5
    after = before + torch.tensor([0.4, -0.3])[:, None, None, None]
    painted = applied(before, *evened(before, after, pieces))
    for picture in range(2):
        there = pieces[picture] == 1
        assert torch.allclose(painted[picture][:, there], after[picture][:, there], atol=0.02)
        assert torch.allclose(painted[picture][:, ~there], before[picture][:, ~there], atol=1e-6)
