"""Two who compute side by side make what one alone makes."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from longvie import runtime
from longvie.controls.text import parse
from longvie.engine.ahead import Ahead, ahead, give_way, piece
from longvie.engine.changes import Change, Move, Say, Strength
from longvie.engine.clip import ClipConfig, ClipEngine
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.session import Steering
from longvie.engine.state import ClipState
from longvie.engine.stream import Following, decoded
from longvie.errors import LongVieError
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


def test_a_piece_is_made_once_by_whoever_has_time() -> None:
    for count in (1, 2):
        torch.set_num_threads(count)
        with ahead():
            made = list[int]()
            pieces = [piece(partial(made.append, number)) for number in range(20)]
            own = piece(partial(made.append, 20), own=True)
            assert 20 not in made, "nobody else makes it"
            for it in (*pieces, own):
                it.result()
                it.result()
        assert sorted(made) == list(range(21))


def test_who_waits_makes_pieces_meanwhile() -> None:
    """The helper is at something long that offers a piece and waits for it to be made: it can only be made here."""
    torch.set_num_threads(2)
    with ahead() as beside:
        name = lambda: threading.current_thread().name  # noqa: E731
        done = threading.Event()

        def long() -> str:
            found = list[str]()
            offered = piece(lambda: (found.append(name()), done.set()))
            assert done.wait(20)
            offered.result()
            return found[0]

        beside.begin("long", long)
        assert beside.take("long") == name()


def test_long_work_for_later_gives_way_to_pieces() -> None:
    torch.set_num_threads(2)
    begun, offered, order = threading.Event(), threading.Event(), []

    def later() -> str:
        begun.set()
        offered.wait(5)
        give_way()
        order.append("later")
        return "later"

    with ahead() as beside:
        beside.begin("a", later)
        begun.wait(5)
        pieces = [beside.piece(partial(order.append, number)) for number in range(2)]
        offered.set()
        deadline = time.monotonic() + 5
        while "later" not in order and time.monotonic() < deadline:
            time.sleep(0.001)
        assert order == [0, 1, "later"] and beside.take("a") == "later"
        assert [it.result() for it in pieces] == [None, None]
    give_way()  # where nobody is beside, there is nothing to do


def test_what_goes_wrong_in_a_piece_is_raised_where_its_result_is_asked_for() -> None:
    torch.set_num_threads(2)
    with ahead():
        bad, good = piece(lambda: 1 // 0), piece(lambda: 7)
        with pytest.raises(ZeroDivisionError):
            bad.result()
        assert good.result() == 7
    left = piece(lambda: 7)
    assert left.result() == 7, "without anybody else"


def test_pieces_that_nobody_asks_for_any_more_hold_nobody_up() -> None:
    """A decoder that is left in the middle: the helper does not wait for calls that will never be made."""
    torch.set_num_threads(2)
    models = world_models()
    latents = torch.zeros(1, 16, 12, 4, 6)
    with ahead():
        frames = decoded(latents, models.autoencoder, None, "here", at_once=2)
        next(frames)
        frames.close()
    calls = Following(models.autoencoder, models.autoencoder.decode, None, at_once=True)
    with ahead(), pytest.raises(ValueError, match="stop"), calls:
        for part in latents.split(2, dim=2):
            calls.add(part)
        raise ValueError("stop")


def test_a_decoder_that_fails_says_so_and_does_not_hang() -> None:
    torch.set_num_threads(2)
    models = world_models()
    latents = torch.zeros(1, 16, 12, 4, 6)
    latents[:, :, 5] = float("nan")
    with ahead(), pytest.raises(LongVieError, match="NaN"):
        list(decoded(latents, models.autoencoder, None, "here", at_once=2))


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


def test_a_clip_that_is_foreseen_is_the_one_that_is_taken_up() -> None:
    """What is begun for a clip while the one before is made, and what is made from that one's saved state."""
    torch.set_num_threads(2)
    models = moving()
    engine = ClipEngine(models, ClipConfig.of(models.card, steps=1))
    asked = replace(full_script(250), prompts=parse("a red ball[3s] | a storm at night"))
    chunks = list(engine.run(asked))
    for state in [chunk.state for chunk in chunks[:-1] if isinstance(chunk.state, ClipState)]:
        rest = [chunk for chunk in chunks if chunk.start >= state.made]
        again = list(engine.run(asked, state))
        assert state.familiar is not None and rest
        assert np.array_equal(*(np.concatenate([chunk.pictures() for chunk in of]) for of in (rest, again)))


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
