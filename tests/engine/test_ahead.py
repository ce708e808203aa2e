"""Two who compute side by side make what one alone makes."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from longvie import runtime
from longvie.controls.text import parse
from longvie.engine.ahead import Ahead, ahead
from longvie.engine.changes import Change, Move, Say, Strength
from longvie.engine.clip import ClipConfig, ClipEngine
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.session import Steering
from longvie.models.models import Models
from small import full_script, world_models


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_what_was_begun_is_there_when_it_is_asked_for_by_its_name() -> None:
    torch.set_num_threads(2)
    with ahead() as beside:
        assert beside.take("nothing") is None
        beside.begin("a", lambda: (threading.current_thread().name, torch.get_num_threads(), torch.is_grad_enabled()))
        name, count, grads = beside.take("a")
        assert name.startswith("longvie-ahead") and (count, grads) == (1, False)
        assert torch.get_num_threads() == 1 and beside.take("a") is None
    assert torch.get_num_threads() == 2


def test_what_is_no_longer_wanted_is_waited_for_and_forgotten() -> None:
    torch.set_num_threads(2)
    gate, done = threading.Event(), []
    with ahead() as beside:
        beside.begin("a", lambda: (gate.wait(5), done.append(1)))
        threading.Timer(0.05, gate.set).start()
        assert beside.take("b") is None and done == [1]
        beside.begin("a", lambda: 1 // 0)
        assert beside.take("b") is None
        beside.begin("a", lambda: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            beside.take("a")


def test_one_thread_is_one_thread() -> None:
    torch.set_num_threads(1)
    with ahead() as beside:
        assert isinstance(beside, Ahead)
        beside.begin("a", pytest.fail)
        assert beside.take("a") is None
    assert runtime.threads() == 1


def moving() -> Models:
    models = world_models()
    return replace(models, card=replace(models.card, holds="moved"))


@pytest.mark.parametrize("words", ["a red ball", "a red ball[3s] | a storm at night[6s] | snow"])
def test_clips_are_the_same_made_by_one_or_by_two(words: str) -> None:
    models = moving()
    engine = ClipEngine(models, ClipConfig.of(models.card, steps=1))
    asked = replace(full_script(170), prompts=parse(words))
    made = []
    for count in (1, 2):
        torch.set_num_threads(count)
        made.append(np.concatenate([chunk.pictures() for chunk in engine.run(asked)]))
    assert len(made[0]) == 170 and np.array_equal(*made)


@pytest.mark.parametrize(
    "wishes", [{}, {2: Say("snow"), 4: Move(pan=10), 5: Strength("depth", 0.0), 9: Say("a storm")}]
)
def test_blocks_are_the_same_made_by_one_or_by_two(wishes: dict[int, Change]) -> None:
    models = moving()
    engine = LiveEngine(models, LiveConfig.of(models.card, steps=1, renews=3))
    asked = replace(full_script(141), prompts=parse("a red ball[4s] | night"))
    made = []
    for count in (1, 2):
        torch.set_num_threads(count)
        steering, frames = Steering(), []
        for number, chunk in enumerate(engine.run(asked, steering=steering)):
            frames.append(chunk.pictures())
            if number in wishes:
                steering.ask(wishes[number])
        made.append(np.concatenate(frames))
    assert len(made[0]) == 141 and np.array_equal(*made)


def test_something_else_may_be_done_meanwhile() -> None:
    for count, side_by_side in ((2, True), (1, False)):
        torch.set_num_threads(count)
        done = []
        with ahead() as beside:
            made = beside.beside(lambda: threading.current_thread().name, partial(done.append, 1))
        assert made.startswith("longvie-ahead") == side_by_side and done == [1]


def test_words_and_strengths_may_change_after_a_block_is_ready() -> None:
    """What has been made for it is still of use: controls are not encoded again."""
    torch.set_num_threads(2)
    models = moving()
    engine = LiveEngine(models, LiveConfig.of(models.card, steps=1))
    streamed, encoded = engine.seam._streamed, []
    engine.seam._streamed = lambda *given: encoded.append((given[0].name, given[1].clip)) or streamed(*given)  # type: ignore[method-assign, func-returns-value]
    asked = replace(full_script(93), prompts=parse("a red ball"))
    steering = Steering()
    for number, _ in enumerate(engine.run(asked, steering=steering)):
        if number == 6:
            steering.ask(Say("night"))
        if number == 12:
            steering.ask(Strength("depth", 0.5))
    blocks = len(engine.spans(asked))
    assert sorted(set(encoded)) == sorted(encoded) and len(encoded) == blocks * len(asked.controls)
