"""New words turn the light of the picture that is moved: slowly, each region as what it is, however a run is cut."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from longvie import LongVie
from longvie.controls.moved import Moved
from longvie.engine import light
from longvie.engine.blocks import LiveState
from longvie.engine.clip import ClipEngine
from longvie.engine.light import NewWords, Turn, lit
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.state import ClipState
from longvie.models.models import Models
from small import direction, picture, script

NIGHT = torch.tensor([[[0.2, 0.0]] * 3, [[0.8, 0.0]] * 3, [[0.5, 0.1]] * 3])  # of the ground, of things, of the sky


def resting(frames: int) -> Moved:
    return Moved.resting(picture()[:, 0], frames)


def test_light_turns_slowly_from_the_frame_at_which_the_words_changed() -> None:
    turn, shown = Turn(NIGHT, 10, 8), resting(24)
    dark = lit(shown, [turn], 0, 0, None).pictures
    assert torch.allclose(dark[:, :11], shown.pictures[:, :11], atol=1e-6)
    assert torch.allclose((dark[:, 18:] + 1) / 2, 0.2 * (shown.pictures[:, 18:] + 1) / 2, atol=1e-5)
    means = dark.mean((0, 2, 3))
    assert (
        torch.all(means[10:19].diff() < 0)
        and float(means[10:19].diff().abs().max()) < 0.25 * float(means[0] - means[-1]) + 0.05
    )


def test_sky_ground_and_things_turn_each_as_what_they_are() -> None:
    rows = torch.arange(32.0)[:, None].expand(32, 48)
    disparity = torch.where(rows < 12, 0.0, (rows - 11) / 20)[None].clone()  # ground from row 12 on, nearer downwards
    disparity[0, 14:26, 20:28] = 0.9  # a thing that stands on it
    disparity[0, 11] = light.AIR * disparity.max()  # neither sky nor near
    shares = light.regions(7 * disparity)
    assert torch.allclose(shares.sum(0), torch.ones(1, 32, 48))
    assert torch.all(shares[light.SKY, 0, :11] == 1) and torch.all(shares[light.THINGS, 0, 15:25, 21:27] > 0.99)
    assert torch.all(shares[light.GROUND, 0, 20:, :16] > 0.99)
    shown = resting(6)
    dark = (lit(shown, [Turn(NIGHT, 0, 1)], 0, 0, disparity).pictures[:, -1] + 1) / 2
    plain = (shown.pictures[:, -1] + 1) / 2
    assert torch.allclose(dark[:, :11], 0.5 * plain[:, :11] + 0.1, atol=1e-5)
    ends = torch.stack([0.5 * plain[:, 11] + 0.1, 0.2 * plain[:, 11]])  # a line along the horizon is no thing
    assert torch.all((dark[:, 11] >= ends.amin(0) - 1e-5) & (dark[:, 11] <= ends.amax(0) + 1e-5))
    assert torch.allclose(dark[:, 26:, :16], 0.2 * plain[:, 26:, :16], atol=0.02)
    assert torch.allclose(dark[:, 15:25, 21:27], 0.8 * plain[:, 15:25, 21:27], atol=0.02)


def test_fog_is_added_and_a_lamp_multiplies() -> None:
    """The same brightness more: in a bright picture it is an offset, in a dark one a gain. Less light is a gain."""
    even = torch.full((3, 400), 0.4) + 0.01 * torch.randn(3, 400, generator=torch.Generator().manual_seed(1))
    fog = light._between(even, torch.full_like(even, 0.7))
    assert torch.all(fog[:, 0] <= 1) and torch.allclose(0.4 * fog[:, 0] + fog[:, 1], torch.tensor(0.7), atol=0.01)
    lamp = light._between(even / 8, torch.full_like(even, 0.3))
    assert torch.all(lamp[:, 0] > 1.3)
    shade = light._between(even, even / 4)
    assert torch.all((shade[:, 0] < 0.4) & (shade[:, 1].abs() < 0.05))


def test_a_picture_taken_on_the_way_goes_the_rest_of_it() -> None:
    """From frame 0 to 30 at once, or by way of a picture taken at frame 14: the same light, also of two turns."""
    turns = [Turn(NIGHT, 10, 8), Turn(torch.tensor([[[1.4, 0.05]] * 3] * 3), 13, 10)]
    whole = lit(resting(31), turns[:1], 0, 0, None).pictures
    half = whole[:, 14]
    rest = lit(Moved.resting(half, 17), turns[:1], 14, 14, None).pictures
    assert torch.allclose(rest[:, -1], whole[:, 30], atol=1e-5)
    assert not turns[0].over(17) and turns[0].over(18)
    assert not torch.equal(lit(resting(31), turns, 0, 0, None).pictures[:, 20], whole[:, 20])


def test_the_embedded_model_knows_night_from_day() -> None:
    model = LongVie.from_pretrained("world").models
    scene = "a red cube and a blue ball on grass, {}, the camera rests"
    noise = torch.randn(1, 16, 3, 12, 22, generator=torch.Generator().manual_seed(1))

    def turn(before: str, now: str) -> Turn | None:
        said = [model.words.encode([scene.format(words)]) for words in (before, now)]
        return NewWords(model, model.transformer, said[0], said[1], noise, 40).turn(81, (), None)

    night = turn("a clear day", "a clear night")
    assert night is not None and night.start == 81 and float(night.map[0, :, 0].mean()) < 0.6
    assert turn("a clear day", "a clear day") is None


@pytest.fixture
def moved(models: Models, monkeypatch: pytest.MonkeyPatch) -> Models:
    """A small model that moves its last picture, and whose light turns at any change of words."""
    monkeypatch.setattr(light, "LEAST", 0.0)
    return replace(models, card=replace(models.card, holds="moved"))


ASKED = "a red ball[5s] | night[6s] | a storm"


@pytest.mark.parametrize("kind", ["clip", "live"])
def test_cut_off_while_light_turns_and_taken_up_it_is_what_it_would_have_been(
    moved: Models, kind: str, tmp_path: Path
) -> None:
    controls = (direction("depth", 241), direction("tracks", 241))
    asked = script(241, ASKED, controls=controls, picture=picture(), seed=3)
    config = replace(LiveConfig.of(moved.card), renews=2)
    engine = ClipEngine(moved) if kind == "clip" else LiveEngine(moved, config)
    chunks = list(engine.run(asked))
    whole = torch.cat([chunk.frames for chunk in chunks], dim=1)
    states = [chunk.state for chunk in chunks if chunk.state is not None and chunk.state.turns]
    assert states, "no light was turning where a state was saved"
    for number, state in enumerate(states[:-1] or states):
        state.save(tmp_path / f"{number}.safetensors")
        again = engine.restore(tmp_path / f"{number}.safetensors")
        assert isinstance(again, LiveState if kind == "live" else ClipState)
        assert [(it.start, it.frames) for it in again.turns] == [(it.start, it.frames) for it in state.turns]
        rest = [chunk.frames for chunk in engine.run(asked, again)]
        if rest:
            assert torch.equal(torch.cat(rest, dim=1), whole[:, state.made :])


def test_light_that_does_not_turn_changes_nothing(moved: Models) -> None:
    """The same words said twice are no new words."""
    controls = (direction("tracks", 101),)
    one, two = (
        script(101, words, controls=controls, picture=picture(), seed=3) for words in ("a ball", "a ball[5s] | a ball")
    )
    first, second = (torch.cat([c.frames for c in ClipEngine(moved).run(it)], dim=1) for it in (one, two))
    assert torch.equal(first, second)
