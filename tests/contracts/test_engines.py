"""What every engine must do, whichever it is: a new one is tested here on its first day."""

import gc
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from longvie.engine.clip import ClipConfig, ClipEngine
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.script import Script, Still
from longvie.engine.stream import EngineState, Progress
from longvie.errors import ControlError, LongVieError, ScriptError
from longvie.models.models import Models
from small import FPS, SIZE, direction, full_script, picture, script

LENGTHS = (1, 17, 81, 100, 161, 241)


def latent(models: Models, longvie_models: Models) -> ClipEngine:  # noqa: ARG001 - one of several ways
    return ClipEngine(models)


def stochastic(models: Models, longvie_models: Models) -> ClipEngine:  # noqa: ARG001
    return ClipEngine(models, ClipConfig.of(models.card, sampling="stochastic"))


def pixel(models: Models, longvie_models: Models) -> ClipEngine:  # noqa: ARG001
    return ClipEngine(longvie_models)


def live(models: Models, longvie_models: Models) -> LiveEngine:  # noqa: ARG001
    return LiveEngine(models)


def renoising(models: Models, longvie_models: Models) -> LiveEngine:  # noqa: ARG001
    return LiveEngine(models, LiveConfig.of(models.card, sampling="stochastic", positions="absolute", on_words="clear"))


Engine = ClipEngine | LiveEngine


RARE = pytest.param(renoising, marks=pytest.mark.slow)  # the same code in its other settings


@pytest.fixture(params=[latent, stochastic, pixel, live, RARE], ids=lambda build: build.__name__)
def engine(request: pytest.FixtureRequest, models: Models, longvie_models: Models) -> Engine:
    build: Callable[[Models, Models], Engine] = request.param
    return build(models, longvie_models)


def video(engine: Engine, asked: Script, state: Any = None) -> torch.Tensor:
    return torch.cat([chunk.frames for chunk in engine.run(asked, state)], dim=1)


def spoilt(engine: Engine, number: float = float("nan")) -> Engine:
    """The same engine with one weight that is no number."""
    both = {name: deepcopy(getattr(engine.models, name)) for name in ("transformer", "live")}
    with torch.no_grad():
        for transformer in both.values():
            if transformer is not None:
                transformer.head.head.bias[0] = number
    return again(engine, replace(engine.models, **both))


def again(engine: Engine, models: Models) -> Engine:
    """The same kind of engine with other models."""
    return type(engine)(models, engine.config)  # type: ignore[arg-type]


@pytest.mark.parametrize("frames", LENGTHS)
def test_as_many_frames_as_asked_in_order_and_in_range(engine: Engine, frames: int) -> None:
    chunks = list(engine.run(full_script(frames)))
    assert [chunk.start for chunk in chunks] == [0, *(chunk.stop for chunk in chunks[:-1])]
    assert chunks[-1].stop == frames
    assert chunks[-1].state is not None
    for chunk in chunks:
        assert chunk.frames.shape[0] == 3 and tuple(chunk.frames.shape[2:]) == SIZE
        assert chunk.due_s == chunk.start / FPS
        assert chunk.frames.abs().max() <= 1
        assert chunk.pictures().shape == (chunk.frames.shape[1], *SIZE, 3)


def test_same_seed_same_video_and_another_seed_another(engine: Engine) -> None:
    first = video(engine, full_script(100))
    assert torch.equal(video(engine, full_script(100)), first)
    assert not torch.equal(video(engine, full_script(100, seed=8)), first)


def test_other_draws_in_the_process_change_nothing(engine: Engine) -> None:
    first = video(engine, full_script(17))
    torch.randn(1000)
    assert torch.equal(video(engine, full_script(17)), first)


def test_saved_and_resumed_is_never_stopped(engine: Engine, tmp_path: Path) -> None:
    asked = full_script(241)
    chunks = list(engine.run(asked))
    states = [chunk for chunk in chunks if chunk.state is not None]
    assert len(states) == 3
    for number, stopped in enumerate(states[:-1]):
        assert stopped.state is not None
        stopped.state.save(tmp_path / f"{number}.safetensors")
        rest = video(engine, asked, engine.restore(tmp_path / f"{number}.safetensors"))
        whole = torch.cat([chunk.frames for chunk in chunks if chunk.start >= stopped.stop], dim=1)
        assert torch.equal(rest, whole)


def test_a_state_saved_twice_is_the_same_file(engine: Engine, tmp_path: Path) -> None:
    (*_, last) = engine.run(full_script(17))
    assert last.state is not None
    last.state.save(tmp_path / "a")
    engine.restore(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_longer_video_begins_as_the_shorter_one(engine: Engine) -> None:
    """Up to the last whole clip that both have: what comes later is not known before."""
    assert torch.equal(video(engine, full_script(200))[:, :81], video(engine, full_script(161))[:, :81])


@pytest.mark.parametrize("name", ["depth", "tracks"])
def test_strength_nothing_is_without_the_control(engine: Engine, name: str) -> None:
    def made(*controls: Any) -> torch.Tensor:
        return video(engine, script(100, picture=picture(), controls=controls))

    without, full = made(), made(direction(name, 100))
    assert torch.equal(made(direction(name, 100, strength=0.0)), without)
    assert not torch.equal(full, without)
    assert not torch.equal(made(direction(name, 100, strength=0.5)), full)


def test_a_control_acts_while_it_is_on(engine: Engine) -> None:
    base = script(161, picture=picture())
    late = script(161, picture=picture(), controls=(direction("depth", 161, start=81),))
    without, made = video(engine, base), video(engine, late)
    assert torch.equal(made[:, :81], without[:, :81])
    assert not torch.equal(made[:, 81:], without[:, 81:])


@pytest.mark.parametrize(
    "change",
    [{"words": "a storm"}, {"picture": picture(1)}, {"keyframes": (Still(16, picture(1)),)}],
    ids=["words", "picture", "keyframe"],
)
def test_what_is_given_is_seen(engine: Engine, change: dict) -> None:
    base = {"words": "a ball", "picture": picture()}
    assert not torch.equal(video(engine, script(17, **base)), video(engine, script(17, **(base | change))))


def test_a_keyframe_of_no_strength_is_none(engine: Engine) -> None:
    base = script(17, picture=picture())
    none = script(17, picture=picture(), keyframes=(Still(16, picture(1), 0.0),))
    assert torch.equal(video(engine, base), video(engine, none))


def test_each_clip_hears_its_own_words(engine: Engine) -> None:
    one, two = "a ball[5s] | a ball", "a ball[5s] | a storm"
    first, second = (video(engine, script(161, words, picture=picture())) for words in (one, two))
    assert torch.equal(first[:, :81], second[:, :81])
    assert not torch.equal(first[:, 81:], second[:, 81:])


def test_memory_does_not_grow_with_length(engine: Engine) -> None:
    """Bytes of all new tensors that live while the last frames of a clip are out: no more after clip 6 than after 2."""
    asked, held = full_script(481), []
    gc.collect()
    gc.freeze()  # what was there before is not looked at
    try:
        for chunk in engine.run(asked):
            if chunk.state is not None:
                gc.collect()
                held.append(alive())
    finally:
        gc.unfreeze()
    assert len(held) == 6
    assert 0 < max(held[1:]) <= held[1] * 1.001


def alive() -> int:
    """Bytes of all tensors that the collector sees, each storage once."""
    found = [tensor for tensor in gc.get_objects() if type(tensor) is torch.Tensor]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in found}
    return sum(storages.values())


def test_frames_come_before_the_rest_is_made(engine: Engine) -> None:
    told: list[Progress] = []
    stream = engine.run(full_script(241), on_progress=told.append)
    assert next(iter(stream)).start == 0
    assert {progress.part for progress in told} == {0}


def test_progress_rises_to_the_end(engine: Engine) -> None:
    told: list[Progress] = []
    list(engine.run(full_script(161), on_progress=told.append))
    places = [(progress.part, progress.step, progress.frames) for progress in told]
    assert places == sorted(places)
    parts = len(engine.spans(full_script(161)))
    assert told[-1] == Progress(parts - 1, parts, engine.config.steps, engine.config.steps, 161, 161)
    steps = [(progress.part, progress.step) for progress in told]
    assert set(steps) == {(part, step + 1) for part in range(parts) for step in range(engine.config.steps)}


def test_what_progress_raises_stops_the_run(engine: Engine) -> None:
    begins = [span.new for span in engine.spans(full_script(161))]

    def stop(progress: Progress) -> None:
        if progress.part == begins.index(81):
            raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        for chunk in engine.run(full_script(161), on_progress=stop):
            seen.append(chunk.stop)
    assert seen[-1] == 81


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_is_named_and_never_shown(engine: Engine, number: float) -> None:
    broken = spoilt(engine, number)
    with pytest.raises(
        LongVieError, match=r"(clip|block) 0, step 1 of \d: the predicted latents hold NaN or infinity"
    ) as raised:
        next(iter(broken.run(full_script(17))))
    assert raised.value.code == "not_finite"


def test_frames_that_are_no_numbers_are_named_too(engine: Engine) -> None:
    autoencoder = deepcopy(engine.models.autoencoder)
    with torch.no_grad():
        autoencoder.decoder[-1].bias[0] = float("nan")
    broken = again(engine, replace(engine.models, autoencoder=autoencoder))
    with pytest.raises(LongVieError, match=r"(clip|block) 0: the decoded frames hold NaN"):
        next(iter(broken.run(full_script(17))))


def test_what_the_model_does_not_know_is_refused_before_anything_is_computed(engine: Engine) -> None:
    narrow = again(engine, replace(engine.models, card=replace(engine.models.card, controls=("sketch",))))
    with pytest.raises(ControlError, match="was not trained on 'depth'; it knows sketch"):
        narrow.run(full_script(17))


def test_a_state_of_another_seed_is_refused_and_can_be_forked(engine: Engine) -> None:
    state = next(chunk.state for chunk in engine.run(full_script(81)) if chunk.state is not None)
    with pytest.raises(ScriptError, match="seed 7, the script has 8"):
        engine.run(full_script(161, seed=8), state)
    forked: EngineState = state.forked(8)
    assert next(iter(engine.run(full_script(161, seed=8), forked))).start == 81


def test_a_state_that_stands_between_two_clips_is_refused(engine: Engine) -> None:
    (*_, last) = engine.run(full_script(100))
    with pytest.raises(ScriptError, match=r"stands after frame 100, where no (clip|block) of this script ends"):
        engine.run(full_script(241), last.state)
    assert list(engine.run(full_script(100), last.state)) == []
