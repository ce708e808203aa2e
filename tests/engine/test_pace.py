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
