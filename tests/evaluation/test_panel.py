"""Measures side by side: what one cannot do does not stop the others, and batches change nothing."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from networks_made import frames_of, known, measured, number, refusal, video
from torch import Tensor

from longvie.errors import ConfigError, InputError
from longvie.evaluation import panel
from longvie.evaluation.metric import Facts, Metric, Moment, Value
from longvie.evaluation.panel import Batch, Entry, Panel, family
from longvie.evaluation.weights import OFFICIAL


def metric(name: str, **other: object) -> Metric:
    return Metric(name, 1, name, "the mean of all pixels", "", "lower", (0.0, 255.0), **other)  # type: ignore[arg-type]


class Brightness:
    """Mean of the pictures; breaks where it is told to."""

    def __init__(self, facts: Facts, look: object = None, *, breaks: int = -1, truth: bool = False) -> None:
        self.total, self.n, self.sizes = 0.0, 0, []
        self.look, self.breaks, self.truth, self.facts = look, breaks, truth, facts

    def see(self, batch: Batch) -> None:
        frames = batch.true() if self.truth else batch.made
        assert not torch.is_grad_enabled()
        if self.n <= self.breaks < self.n + len(frames):
            raise InputError(f"frame {self.breaks} is broken")
        self.total, self.n = self.total + float(frames.mean(dim=(1, 2, 3)).sum()), self.n + len(frames)

    def values(self) -> Sequence[Value]:
        if self.breaks == 1000:
            raise InputError("there is nothing to say")
        return (Value(self.total / self.n, self.n),)


def entry(name: str, networks: tuple[str, ...] = (), needs: frozenset = frozenset(), **how: object) -> Entry:
    return Entry((metric(name, needs=needs),), networks, lambda facts, *given: Brightness(facts, *given, **how))


def test_one_that_fails_is_refused_and_the_others_go_on() -> None:
    made = video(21)
    found = measured(family("it", (entry("a"), entry("b", breaks=9), entry("c", breaks=1000), entry("d"))), made)
    assert number(found, "a") == number(found, "d") == pytest.approx(made.mean(), rel=1e-6)
    assert refusal(found, "b") == "frame 9 is broken"
    assert refusal(found, "c") == "there is nothing to say"


@pytest.mark.parametrize("size", [1, 5, 100])
def test_batches_change_nothing(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    made = video(12)
    whole = measured(family("it", (entry("a"),)), made)
    monkeypatch.setattr(panel, "FRAMES", size)
    assert number(measured(family("it", (entry("a"),)), made), "a") == pytest.approx(number(whole, "a"), rel=1e-6)


def test_few_frames_are_kept() -> None:
    made = video(30)
    probe = Panel(known(made), (entry("a"),))
    for at, picture in enumerate(made):
        probe.see(Moment(at, at / 16, picture, picture))
        assert len(probe.waiting) < panel.FRAMES


def test_truth_is_shown_where_a_metric_needs_it() -> None:
    made, truth = video(9), video(9, seed=3)
    needs = frozenset({"truth"})
    found = measured(family("it", (entry("a"), entry("b", needs=needs, truth=True))), made, truth)
    assert number(found, "a") == pytest.approx(made.mean(), rel=1e-6)
    assert number(found, "b") == pytest.approx(truth.mean(), rel=1e-6)
    bare = Facts(16.0, 9, (40, 48))
    assert (
        refusal(measured(family("it", (entry("b", needs=needs, truth=True),)), made, truth, bare), "b") == "needs truth"
    )
    wrong = family("it", (entry("a", truth=True),))  # does not say that it needs it
    assert refusal(measured(wrong, made), "a") == "no truth is known for this video"


def test_what_does_not_run_is_not_opened() -> None:
    def opened(*_: object) -> Brightness:
        raise AssertionError

    lone = Entry((metric("a", needs=frozenset({"depth"})),), ("dino",), opened)
    probe = Panel(known(video(2)), (lone,))
    assert refusal(dict(probe.values()), "a") == "needs depth"
    absent = Entry((metric("a"),), ("dino",), opened)
    assert "dino_vitbase16_pretrain.pth" in refusal(dict(Panel(known(video(2)), (absent,)).values()), "a")


def test_weights_and_tier_follow_from_the_networks() -> None:
    known_family = family("it", (entry("a"), entry("b", ("clip-b32", "clip-b32-words"))))
    plain, looking = known_family.metrics
    assert (plain.tier, plain.weights) == ("W0", ())
    assert (looking.tier, looking.weights) == ("W2", (OFFICIAL["clip-b32"], OFFICIAL["clip-words"]))


def test_numbers_of_other_networks_have_another_name() -> None:
    def look(frames: Tensor) -> Tensor:
        return frames

    entries = (entry("it.a", ("dino", "raft")),)
    with pytest.raises(ConfigError, match="a label must tell them"):
        family("it", entries, own={"dino": look})
    with pytest.raises(ConfigError, match="no network 'dyno'"):
        family("it", entries, "mine", {"dyno": look})
    mine = family("it", entries, "mine", {"dino": look})
    assert mine.name == "mine.it" and mine.metrics[0].name == "mine.it.a"
    assert mine.metrics[0].weights == (OFFICIAL["raft"],)
    assert mine.metrics[0].formula.endswith("dino given by the caller")
    whole = family("it", entries, "mine", {"dino": look, "raft": look})
    with pytest.raises(TypeError):  # both are handed over, in order
        measured(whole, video(2))
    one = family("it", (entry("it.a", ("dino",)),), "mine", {"dino": look})
    assert number(measured(one, video(3)), "mine.it.a") == pytest.approx(video(3).mean(), rel=1e-6)


def test_frames_are_rgb_from_0_to_255() -> None:
    seen: list[Batch] = []

    class Note(Brightness):
        def see(self, batch: Batch) -> None:
            seen.append(batch)
            super().see(batch)

    made = video(10)
    measured(family("it", (Entry((metric("a"),), (), Note),)), made)
    assert torch.equal(torch.cat([batch.made for batch in seen]), frames_of(made))
    assert np.allclose([time for batch in seen for time in batch.times], np.arange(10) / 16)
    assert all(batch.truth is None for batch in seen)
