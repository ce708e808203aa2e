"""Blocks just in time: begun late, there in time, and a viewer's clock that says when each frame was seen."""

from collections.abc import Iterator

import pytest
import torch

from longvie.engine.pace import CAUTION, SLACK, Shown, paced
from longvie.engine.stream import Chunk


class Clock:
    """A clock that moves when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now, self.slept = 100.0, 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now, self.slept = self.now + seconds, self.slept + seconds


def chunks(clock: Clock, costs: list[float], begun: list[float]) -> Iterator[Chunk]:
    for number, cost in enumerate(costs):
        begun.append(clock.now)
        clock.now += cost
        yield Chunk(12 * number, 16, torch.zeros(3, 12, 2, 2), None, "nearest")


def run(costs: list[float]) -> tuple[Shown, list[float], Clock]:
    clock, begun, shown = Clock(), list[float](), Shown(16)
    assert len(list(paced(chunks(clock, costs, begun), shown, clock=clock, sleep=clock.sleep))) == len(costs)
    return shown, begun, clock


def test_a_block_is_begun_as_late_as_it_may_be() -> None:
    shown, begun, clock = run([0.2] * 6)
    assert shown.stalls == 0 and clock.slept > 2
    for number in range(1, 6):
        ends = shown.begins[number - 1][1] + 12 / 16
        assert begun[number] == pytest.approx(ends - SLACK - CAUTION * 0.2)
        assert shown.begins[number] == (12 * number, pytest.approx(ends))


def test_frames_are_seen_one_after_the_other() -> None:
    shown, _, _ = run([0.2] * 4)
    assert shown.moment(0) == shown.begins[0][1]
    assert shown.moment(17) == pytest.approx(shown.begins[0][1] + 17 / 16)
    assert Shown(16).moment(0) is None


def test_what_is_too_slow_stalls_and_never_waits() -> None:
    shown, _, clock = run([0.5, 1.0, 1.0])
    assert clock.slept == 0 or clock.slept < 0.75
    assert shown.stalls > 0.25
    assert shown.took == pytest.approx([0.5, 1.0, 1.0])


def in_thirds(clock: Clock, costs: list[float], begun: list[float]) -> Iterator[Chunk]:
    """Blocks of three chunks, the first of which costs the most."""
    for number, cost in enumerate(costs):
        for third in range(3):
            begun += [] if third else [clock.now]
            clock.now += cost if third == 0 else 0.05
            yield Chunk(12 * number + 4 * third, 16, torch.zeros(3, 4, 2, 2), None, "nearest")


def test_a_block_may_begin_when_its_first_frames_will_be_there_in_time() -> None:
    clock, begun, shown = Clock(), list[float](), Shown(16)
    begins = lambda frame: frame % 12 == 0  # noqa: E731
    for _ in paced(in_thirds(clock, [0.1] * 6, begun), shown, begins=begins, clock=clock, sleep=clock.sleep):
        pass
    assert shown.stalls == 0 and shown.leads == pytest.approx([0.1] * 6) and shown.took == pytest.approx([0.2] * 6)
    assert [frame for frame, _ in shown.begins] == list(range(0, 72, 4))
    for number in range(2, 6):
        assert begun[number] == pytest.approx(shown.moment(12 * number) - SLACK - CAUTION * 0.1)


def test_more_to_do_is_begun_earlier() -> None:
    """The first block that has more to do begins at once, the next as early as the first has taught."""
    clock, begun, shown = Clock(), list[float](), Shown(16)
    words = {2, 4}
    made = paced(
        chunks(clock, [0.2, 0.2, 0.6, 0.2, 0.6, 0.2], begun),
        shown,
        heavy=lambda: len(begun) in words,
        clock=clock,
        sleep=clock.sleep,
    )
    assert len(list(made)) == 6 and shown.stalls == 0
    there = shown.begins[1][1]
    assert begun[2] == pytest.approx(begun[1] + 0.2)  # at once
    assert begun[3] == pytest.approx(shown.moment(36) - SLACK - CAUTION * 0.2)
    assert begun[4] == pytest.approx(shown.moment(48) - SLACK - CAUTION * 0.6)
    assert begun[5] == pytest.approx(shown.moment(60) - SLACK - CAUTION * 0.2) and there > begun[1]
