"""New words turn the picture that is moved: light slowly, a thing at once, however a run is cut."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longvie import LongVie
from longvie.controls import paths, portraits
from longvie.controls.carried import Carrying
from longvie.controls.moved import Moved
from longvie.controls.passage import Points
from longvie.controls.paths import Paths
from longvie.controls.portraits import Portrait
from longvie.data import variants
from longvie.engine import light
from longvie.engine.blocks import LiveState
from longvie.engine.clip import ClipEngine
from longvie.engine.light import Said, Turn, lights, lit, settled
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.state import ClipState
from longvie.models.models import Models
from longvie.models.relighter import GAIN
from longvie.models.repainter import Repainter
from small import direction, picture, script

WORDS = torch.randn(2, 1, 8, 16, generator=torch.Generator().manual_seed(4))
BEFORE, NOW = WORDS


@pytest.fixture
def repainter() -> Repainter:
    """One that halves all light."""
    made = Repainter(width=8, layers=2, heads=2, text_width=16, fine_width=2)
    gain = float(torch.atanh(torch.tensor(-1 / GAIN)))  # of some octaves one down
    with torch.no_grad():
        made.light.answer.bias[:3] = gain
    return made.eval()


@pytest.fixture(scope="module")
def world() -> Models:
    return LongVie.from_pretrained("world").models


def lit_from(repainter: Repainter | None, frames: int, turn: Turn, picked: int) -> torch.Tensor:
    """A picture that rests from the frame on at which it was taken, under words that change."""
    by = lights(repainter, [turn], picked, None)
    looks = torch.cat(
        [resting(frames).pictures, *(light.on(PICTURE, None)[:, None].expand(-1, frames, -1, -1) for light in by)]
    )
    return lit(replace(resting(frames), pictures=looks), by, picked)[0].pictures


PICTURE = picture()[:, 0]


def resting(frames: int) -> Moved:
    return Moved.resting(PICTURE, frames)


def test_words_are_heard_slowly_from_the_frame_at_which_they_changed(repainter: Repainter) -> None:
    turn, shown = Turn(BEFORE, NOW, 10, 8), resting(24)
    dark = lit_from(repainter, 24, turn, 0)
    assert torch.equal(dark[:, :11], shown.pictures[:, :11])
    assert torch.allclose(dark[:, 18:] + 1, 0.5 * (shown.pictures[:, 18:] + 1), atol=1e-5)
    means = dark.mean((0, 2, 3))
    assert torch.all(means[10:19].diff() < 0)
    assert float(means[10:19].diff().abs().max()) < 0.25 * float(means[0] - means[-1]) + 0.05
    assert torch.equal(lit_from(None, 24, turn, 0), shown.pictures), "no network, no other words"


def test_a_picture_taken_on_the_way_is_known_to_be_there(repainter: Repainter, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from where it is, and the network is told where that is; one taken at the end stays as it is."""
    told = []
    plain = light.painting

    def seen(*given: object) -> tuple[torch.Tensor, torch.Tensor]:
        told.append(given[-1])
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(light, "painting", seen)
    turn = Turn(BEFORE, NOW, 10, 8)
    rest = lit_from(repainter, 17, turn, 14)
    assert torch.equal(rest[:, 0], PICTURE) and told == [pytest.approx(0.5)] * 2, "for the first frame and the last"
    assert torch.allclose(rest[:, 4:] + 1, 0.5 * (resting(13).pictures + 1), atol=1e-5)
    assert turn.over(18) and not turn.over(17)
    assert torch.equal(lit_from(repainter, 4, turn, 18), resting(4).pictures) and len(told) == 2


def test_a_portrait_turns_once_from_its_own_words_to_those_now(repainter: Repainter) -> None:
    """However many turns lie between; and not at all if its words are in force again."""
    portrait = Portrait(PICTURE.bfloat16(), torch.ones(PICTURE.shape[1:]), torch.zeros(PICTURE.shape[1:]).short(),
                        BEFORE, frozenset({1}))  # fmt: skip
    (by,) = lights(repainter, [Turn(torch.zeros_like(NOW), NOW, 10, 8)], 14, None)
    own = portrait.picture.float()
    assert torch.allclose(by.portrayed(portrait)[0] + 1, 0.5 * (own + 1), atol=1e-5)
    assert by.portrayed(replace(portrait, of=frozenset({2})))[0] is by.portrayed(portrait)[0], "asked for once"
    assert by.portrayed(replace(portrait, picture=portrait.picture.clone()))[0] is not by.portrayed(portrait)[0]
    again, painted = by.portrayed(replace(portrait, words=NOW))
    assert torch.equal(again, own) and not bool(painted.any())


def test_a_picture_on_its_way_to_other_words_is_under_none() -> None:
    turn = Turn(BEFORE, NOW, 10, 8)
    assert settled((), None, 5) is None
    for frame, words in ((9, BEFORE), (12, None), (18, BEFORE)):
        said = Said(BEFORE, NOW)
        found = settled((turn,), said, frame)
        assert (found is None) == (words is None) and (found is None or torch.equal(found, BEFORE))


def test_what_a_turn_knows_of_how_near_places_are_is_of_the_picture_itself(repainter: Repainter) -> None:
    near, told = torch.rand(PICTURE.shape[1:]), []
    (by,) = lights(repainter, [Turn(BEFORE, NOW, 10, 8)], 0, near)
    repainter.light.register_forward_pre_hook(lambda _module, given: told.append(given[1]))
    by.begun_with(PICTURE)
    by.on(PICTURE, near + 1)
    assert torch.equal(told[0][0], near) and torch.equal(told[1][0], near + 1)


def test_what_has_come_into_the_picture_is_asked_for_again_and_brought_in_softly(repainter: Repainter) -> None:
    (by,) = lights(repainter, [Turn(BEFORE, NOW, 0, 8)], -1, None)
    grey = 0.3 * PICTURE
    looks = torch.cat([grey, grey])[:, None].repeat(1, 9, 1, 1)  # as if the light had not been known
    wanted, moved = by.on(grey, None), replace(resting(9), pictures=looks)
    first, off = lit(moved, [by], 0)
    assert off is None and torch.equal(first.pictures, looks[:3]), "not while words are new"
    second, off = lit(moved, [by], 9)
    assert off is not None
    third, off = lit(moved, [by], 18, None, off)
    away = [float((it.pictures[:, at] - wanted).mean().abs()) for it in (second, third) for at in (0, 4, 8)]
    assert away[0] > away[1] > away[2] and max(away[2:]) < 0.02


def test_words_that_change_twice_turn_the_picture_twice(repainter: Repainter) -> None:
    by = lights(repainter, [Turn(BEFORE, NOW, 2, 8), Turn(NOW, BEFORE, 12, 8)], 0, None)
    looks = [PICTURE]
    for it in by:
        looks.append(it.on(looks[-1], None))
    moved = replace(resting(30), pictures=torch.cat([look[:, None].expand(-1, 30, -1, -1) for look in looks]))
    made = (lit(moved, by, 0)[0].pictures + 1).mean((0, 2, 3)) / (PICTURE + 1).mean()
    assert made[[0, 11, 29]].tolist() == pytest.approx([1, 0.5, 0.25], abs=1e-4) and torch.all(made.diff() <= 1e-6)


def test_a_picture_that_moves_in_two_lights_moves_the_same_way_in_both(repainter: Repainter) -> None:
    """Begun in two, or turned on the way: what is seen is the same, and so is the first light."""
    points = torch.stack([torch.rand(40, 2) * torch.tensor([48.0, 32.0])] * 9) + torch.arange(9)[:, None, None]
    seen = torch.ones(9, 40, dtype=torch.bool)
    (by,) = lights(repainter, [Turn(BEFORE, NOW, 4, 8)], 0, None)
    plain, early, late = (Carrying(PICTURE, Paths(points, seen, (32, 48))) for _ in range(3))
    early.light(by)
    one = plain.take(4)
    both = early.take(4)
    late.take(4)
    late.light(by)
    again = late.again()
    assert torch.equal(both.pictures[:3], one.pictures) and torch.equal(both.seen, one.seen)
    dark = 0.5 * (one.pictures + 1)
    assert float((both.pictures[3:] + 1 - dark).abs().max()) < 0.02
    assert torch.equal(again.pictures, both.pictures)
    assert torch.equal(late.take(5).pictures[:3], plain.take(5).pictures)


def test_light_takes_its_time_and_a_thing_does_not(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = replace(models, card=replace(models.card, holds="moved"))
    words, before = Said(BEFORE, NOW), picture()

    def turn(part: float) -> Turn:
        changed = before.clone()
        changed[..., : round(part * before.shape[-1])] += 0.3
        monkeypatch.setattr(light, "painting", lambda *_: (changed, torch.zeros(before.shape[1:], dtype=torch.bool)))
        return words.turn(moved, before, None, 81)

    whole, thing = turn(1.0), turn(0.1)
    assert whole.frames == 40 and whole.start == 81 and thing.frames == 8
    assert turn(0.0).frames == 8, "a thing that is out of the picture"


@pytest.mark.parametrize("number", range(3))
def test_the_embedded_model_knows_what_other_words_make_of_a_test_scene(world: Models, number: int) -> None:
    """A moment of the world under each of its captions, from the first: nearer to the truth than leaving it so."""
    moment = variants.make(number, split="test")
    pictures = moment.pictures.permute(3, 0, 1, 2).float() / 127.5 - 1
    said = [world.words.encode([caption]) for caption in moment.captions]
    assert world.repainter is not None
    left = made = 0.0
    for at in range(1, len(said)):
        near = moment.disparity[None].float()
        shown = light.painting(world.repainter, pictures[:, :1], near, said[0], said[at], 0.0)[0][:, 0]
        made += float((shown - pictures[:, at]).abs().mean())
        left += float((pictures[:, 0] - pictures[:, at]).abs().mean())
    assert made < 0.6 * left


def test_the_embedded_model_gives_the_thing_that_is_meant_another_colour(world: Models) -> None:
    """Moments of test scenes whose captions differ in the colour of one thing: it changes, and nothing else does."""
    assert world.repainter is not None
    parts, elsewhere = list[float](), list[float]()
    for number in range(30):
        moment = variants.make(number, split="test")
        before, after = moment.pictures[:2].permute(0, 3, 1, 2).float() / 127.5 - 1
        apart = (after - before).abs().mean(0)
        there = apart > 0.04
        if float(there.float().mean()) < 0.004:
            continue
        said = [world.words.encode([caption]) for caption in moment.captions[:2]]
        near = moment.disparity[None].float()
        made = light.painting(world.repainter, before[:, None], near, *said, 0.0)[0][:, 0]
        left = (made - after).abs().mean(0)
        parts.append(float(left[there].mean() / apart[there].mean()))
        elsewhere.append(float(left[~there].mean()))
    assert len(parts) > 12 and sum(parts) / len(parts) < 0.6 and sum(elsewhere) / len(elsewhere) < 0.02


def slides(points: Points) -> torch.Tensor:
    """A scene that goes a pixel to the left in four frames: what was seen leaves, and a sight shows it."""
    made = torch.eye(4, dtype=torch.float64).repeat(len(points.seen), 1, 1)
    made[:, 0, 2] = torch.arange(len(made)) / 4
    return made


@pytest.fixture
def moved(models: Models, monkeypatch: pytest.MonkeyPatch) -> Models:
    """A small model that moves its last picture, which turns at any change of words."""
    monkeypatch.setattr(light, "THING", 2.5)
    monkeypatch.setattr(portraits, "ENOUGH", 6)
    monkeypatch.setattr(paths, "passages", slides)
    assert models.repainter is not None
    torch.nn.init.normal_(models.repainter.light.answer.weight, std=0.5)
    return replace(models, card=replace(models.card, holds="moved"))


ASKED = "a red ball[5s] | night[6s] | a storm"


@pytest.mark.parametrize("kind", ["clip", "live"])
def test_cut_off_while_words_turn_and_taken_up_it_is_what_it_would_have_been(
    moved: Models, kind: str, tmp_path: Path
) -> None:
    controls = (direction("depth", 241), direction("tracks", 241))
    asked = script(241, ASKED, controls=controls, picture=picture(), seed=3)
    config = replace(LiveConfig.of(moved.card), renews=2)
    engine = ClipEngine(moved) if kind == "clip" else LiveEngine(moved, config)
    chunks = list(engine.run(asked))
    whole = torch.cat([chunk.frames for chunk in chunks], dim=1)
    states = [chunk.state for chunk in chunks if chunk.state is not None and chunk.state.turns]
    assert states, "nothing was turning where a state was saved"
    assert any(len(state.sights) > 1 for state in states)
    assert any(state.familiar is not None and state.familiar.portraits for state in states)
    for number, state in enumerate(states[:-1] or states):
        state.save(tmp_path / f"{number}.safetensors")
        again = engine.restore(tmp_path / f"{number}.safetensors")
        assert isinstance(again, LiveState if kind == "live" else ClipState)
        assert [(it.start, it.frames) for it in again.turns] == [(it.start, it.frames) for it in state.turns]
        rest = [chunk.frames for chunk in engine.run(asked, again)]
        if rest:
            assert torch.equal(torch.cat(rest, dim=1), whole[:, state.made :])


def test_the_same_words_said_twice_are_no_new_words(moved: Models) -> None:
    controls = (direction("tracks", 101),)
    one, two = (
        script(101, words, controls=controls, picture=picture(), seed=3) for words in ("a ball", "a ball[5s] | a ball")
    )
    first, second = (torch.cat([c.frames for c in ClipEngine(moved).run(it)], dim=1) for it in (one, two))
    assert torch.equal(first, second)


def test_sights_are_brought_under_new_words_with_the_picture_that_moves(moved: Models) -> None:
    asked = script(241, ASKED, controls=(direction("depth", 241), direction("tracks", 241)), picture=picture(), seed=3)
    for engine in (ClipEngine(moved), LiveEngine(moved, replace(LiveConfig.of(moved.card), renews=2))):
        states = [chunk.state for chunk in engine.run(asked) if chunk.state is not None]
        for state in states[:2]:
            assert 0 < len(state.sights) <= engine.config.places
            assert len({sight.light for sight in state.sights}) == 1, "all are in the light of one frame"
    engine = ClipEngine(moved, replace(ClipEngine(moved).config, places=0))
    assert not any(chunk.state.sights for chunk in engine.run(asked) if chunk.state is not None)
