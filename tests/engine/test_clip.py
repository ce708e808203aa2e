"""The clip engine's own arithmetic: one noise, steps, guidance, conversions, and the published loop to the number."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.testing import assert_close

from longvie.engine import flow
from longvie.engine.clip import ClipConfig, ClipEngine, renoised
from longvie.engine.pixels import LONGVIE_2, NONE, PixelSeam, Quirks
from longvie.engine.seam import Given
from longvie.engine.stream import Progress
from longvie.errors import ConfigError
from longvie.models import names
from longvie.models.models import LONGVIE_2 as LONGVIE_CARD
from longvie.models.models import TINY, Models
from longvie.models.transformer import ControlInput, VideoTransformer
from small import full_script, picture, script

GOLDEN = Path(__file__).parents[1] / "parity" / "data" / "longvie" / "sampling.safetensors"
AT = Progress(0, 1, 0, 1, 0, 1)


def nothing(progress: Progress) -> None:
    """Nobody listens."""


class Guess(VideoTransformer):
    """A transformer whose guess is known; remembers what it was told."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__(width=12, layers=1, heads=1, ffn=12, text_width=32, time_width=12)
        self.answer = answer
        self.told: list[tuple[float, Tensor]] = []

    def read(self, words: Tensor, *_rest: Any) -> Tensor:
        return words

    def forward(self, noisy: Tensor, times: Tensor, words: Tensor, **given: Any) -> Tensor:
        assert given["controls"] == []
        self.told.append((float(times[0]), noisy))
        return self.answer * words.mean()


def engine_of(models: Models, answer: Tensor, predicts: str, **config: Any) -> tuple[ClipEngine, Guess]:
    guess = Guess(answer)
    card = replace(models.card, predicts=predicts)
    return ClipEngine(replace(models, card=card, transformer=guess), ClipConfig(**config)), guess


WORDS, OTHER = torch.ones(1, 4, 8), torch.full((1, 4, 8), 3.0)
NOISE = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(0))
ANSWER = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("sampling", ["deterministic", "stochastic"])
@pytest.mark.parametrize("steps", [1, 4])
def test_a_model_that_knows_the_clean_latents_gives_them(models: Models, sampling: str, steps: int) -> None:
    engine, guess = engine_of(models, ANSWER, "x0", steps=steps, sampling=sampling)
    assert_close(engine.sample(NOISE, [WORDS], Given(), 0, AT, nothing), ANSWER)
    assert_close(torch.tensor([time for time, _ in guess.told]), flow.times(steps, 5.0)[:-1])


def test_a_model_that_knows_the_velocity_arrives_in_any_number_of_steps(models: Models) -> None:
    for steps in (1, 3):
        engine, _ = engine_of(models, flow.velocity(ANSWER, NOISE), "velocity", steps=steps)
        assert_close(engine.sample(NOISE, [WORDS], Given(), 0, AT, nothing), ANSWER)


def test_stochastic_steps_see_fresh_noise_of_the_level_and_the_same_every_time(models: Models) -> None:
    seen = []
    for _ in range(2):
        engine, guess = engine_of(models, ANSWER, "x0", steps=3, sampling="stochastic")
        engine.sample(NOISE, [WORDS], Given(), 5, replace(AT, part=2), nothing)
        seen.append([noisy for _, noisy in guess.told])
    first, second = seen
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    level = float(flow.times(3, 5.0)[1])
    fresh = (first[1] - (1 - level) * ANSWER) / level
    assert abs(float(fresh.std()) - 1) < 0.1
    assert not torch.allclose(fresh, NOISE, atol=0.1)
    other, guess = engine_of(models, ANSWER, "x0", steps=3, sampling="stochastic")
    other.sample(NOISE, [WORDS], Given(), 5, replace(AT, part=3), nothing)
    assert not torch.equal(guess.told[1][1], first[1])


def test_renoising_goes_through_every_level() -> None:
    seen: list[float] = []

    def clean(x: Tensor, t: Tensor) -> Tensor:
        seen.append(float(t))
        return x * 0

    out = renoised(clean, NOISE, flow.times(3, 1.0), lambda like, step: torch.full_like(like, step + 1.0))
    assert seen == pytest.approx([1, 2 / 3, 1 / 3])
    assert not out.any()


def test_guidance_is_two_calls_and_one_when_it_is_one(models: Models) -> None:
    guided, guess = engine_of(models, ANSWER, "x0", steps=1, guidance=2.0)
    made = guided.sample(NOISE, [WORDS, OTHER], Given(), 0, AT, nothing)
    assert_close(made, ANSWER * (3 + 2 * (1 - 3)))
    assert len(guess.told) == 2
    plain, guess = engine_of(models, ANSWER, "x0", steps=1)
    list(plain.run(script(9)))  # 3 latent frames
    assert len(guess.told) == 1


def test_guidance_listens_to_the_negative_words(longvie_models: Models) -> None:
    engine = ClipEngine(longvie_models)
    (one,), (two,) = (list(engine.run(full_script(5, negative=words))) for words in ("grey", "a storm"))
    assert not torch.equal(one.frames, two.frames)


def test_times_are_rounded_for_weights_that_know_them_so(models: Models) -> None:
    engine, guess = engine_of(models, ANSWER, "x0", steps=4, quirks=replace(NONE, rounded_times=True))
    engine.sample(NOISE, [WORDS], Given(), 0, AT, nothing)
    assert [round(time * 1000, 3) for time, _ in guess.told] == [1000, 936, 832, 624]


def test_one_noise_for_all_clips_whatever_the_length(models: Models) -> None:
    engine = ClipEngine(models)
    noise = engine.noise(script(17, seed=4))
    assert noise.shape == (1, 16, 21, 4, 6)
    assert torch.equal(noise, engine.noise(script(961, seed=4)))
    assert not torch.equal(noise, engine.noise(script(17, seed=5)))


def test_clips_differ_though_their_noise_is_one(models: Models) -> None:
    """What came before is seen: clips 2 and 3 have the same noise, words and no controls."""
    video = torch.cat([chunk.frames for chunk in ClipEngine(models).run(script(241))], dim=1)
    assert not torch.equal(video[:, 81:161], video[:, 161:])


def test_history_is_seen(models: Models) -> None:
    base = script(161, picture=picture())
    videos = [
        torch.cat([chunk.frames for chunk in ClipEngine(models, ClipConfig(steps=1, recent=recent)).run(base)], dim=1)
        for recent in (0, 1, 4)
    ]
    for one, other in pairwise(videos):
        assert torch.equal(one[:, :81], other[:, :81])
        assert not torch.equal(one[:, 81:], other[:, 81:])


# --- the published loop ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the recorded tensors are not here")
def test_first_and_next_clip_are_the_published_ones(longvie_models: Models) -> None:
    """The engine's own sampling, not only its parts, against the loop that LongVie 2 published (relative L2 < 1e-4)."""
    with safe_open(GOLDEN, "pt") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    inputs = {name.removeprefix("inputs."): value for name, value in tensors.items() if name.startswith("inputs.")}
    engine = _recorded(longvie_models, config, tensors)
    ones = torch.ones(1, inputs["noise"].shape[2])
    controls = tuple(ControlInput(branch, inputs[branch], ones) for branch in ("dense", "sparse"))
    first = Given(condition=inputs["y"], pictures=inputs["clip_feature"], controls=controls)
    said = [inputs["context"], inputs["negative_context"]]
    made = engine.sample(inputs["noise"], said, first, 0, AT, nothing)
    assert_near(made, tensors["outputs.latents_first_clip"])

    past = inputs["history_latents"]
    later = replace(first, history=torch.cat((torch.ones_like(past), torch.ones_like(past[:, :4]), past), dim=1))
    span = script(161).spans(shared=True)[1]
    assert isinstance(engine.seam, PixelSeam)
    start = engine.seam.start(inputs["noise"], span, later)
    assert_near(start, tensors["outputs.next_clip_start"])
    assert_near(engine.sample(start, said, later, 0, AT, nothing), tensors["outputs.latents_next_clip"])


def _recorded(models: Models, config: dict[str, Any], tensors: dict[str, Tensor]) -> ClipEngine:
    transformer = VideoTransformer(
        width=config["dim"],
        layers=config["num_layers"],
        heads=config["num_heads"],
        ffn=config["ffn_dim"],
        text_width=config["text_dim"],
        time_width=config["freq_dim"],
        image_width=config["img_dim"],
        control_layers=config["control_layers"],
    )
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("weights."):
            state |= names.transformer(name.removeprefix("weights."), tensor)
    transformer.load_state_dict(state)
    # The recording rounds no times: it was made in float32.
    quirks = replace(LONGVIE_2, rounded_times=False)
    settings = ClipConfig(
        steps=config["num_inference_steps"],
        shift=config["shift"],
        guidance=config["cfg_scale"],
        seam="pixel",
        quirks=quirks,
    )
    return ClipEngine(replace(models, transformer=transformer.eval()), settings)


def assert_near(got: Tensor, wanted: Tensor) -> None:
    assert got.shape == wanted.shape
    assert float((got - wanted).norm() / wanted.norm()) < 1e-4


# --- settings -------------------------------------------------------------------------------------------------------


def test_a_card_says_how_its_weights_are_sampled() -> None:
    ours, theirs = ClipConfig.of(TINY), ClipConfig.of(LONGVIE_CARD)
    assert (ours.seam, ours.quirks, ours.clip, ours.guidance) == ("latent", Quirks(), 20, 1.0)
    assert (theirs.seam, theirs.quirks, theirs.clip, theirs.guidance) == ("pixel", LONGVIE_2, 20, 5.0)
    assert (theirs.steps, theirs.shift) == (50, 5.0)
    assert ClipConfig.of(TINY, steps=9).steps == 9


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"steps": 0}, "steps is 0; use 1 or more"),
        ({"shift": 0.0}, "shift is 0.0"),
        ({"guidance": float("nan")}, "guidance is nan"),
        ({"recent": 21}, "recent is 21, but a clip has 20"),
        ({"clip": 0}, "clip is 0"),
    ],
)
def test_settings_out_of_range_are_refused(how: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ClipConfig(**how)


def test_a_misspelt_setting_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no option 'engine\.step'; did you mean 'steps'\?"):
        ClipConfig.of(TINY, step=3)
