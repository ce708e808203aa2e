"""Words that a video shows: more of its own than of another's; a change of them is seen when it happens."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from moments import Take, filmed, frozen, late, measure, number, refusal, take

from longvie.data.world import Event, scene
from longvie.evaluation.families.words import FAMILY, MARGIN, latency, switches
from longvie.evaluation.instruments import attributes
from longvie.evaluation.metric import Event as Asked
from longvie.evaluation.metric import Facts, Refused, Value

SCENE, OTHER = 7, 21
TURN = 4.0  # seconds at which night falls


@cache
def film(seconds: float = 10.5) -> tuple[Take, str, str]:
    """A scene by day that turns to night; what it is called before and after."""
    world = replace(scene(SCENE, "test"), hour="day", weather="clear", events=(Event(TURN, "time", -1, "night"),))
    return filmed(world, round(seconds * 4), 4.0), world.caption(0.0), world.caption(TURN + 1e-6)


def facts(of: Take, *prompts: tuple[float, str]) -> Facts:
    events = tuple(Asked(time, words) for time, words in prompts[1:])
    return of.facts(prompts=prompts, events=events, known=frozenset({"truth", "prompts", "events"}))


def found(video: np.ndarray | None = None) -> Mapping[str, Value | Refused]:
    of, day, night = film()
    return measure(FAMILY, of, video, facts(of, (0.0, day), (TURN, night)))


@cache
def on_truth() -> Mapping[str, Value | Refused]:
    return found()


def test_a_film_shows_its_own_words_and_hardly_those_of_another() -> None:
    frames = take(SCENE, 42, 4.0).truth[::6]
    own, other = (scene(number, "test").caption(0.0) for number in (SCENE, OTHER))
    assert attributes.score(frames, own).mean() > attributes.score(frames, other).mean() + 0.05


def test_what_is_named_is_told_of_the_truth() -> None:
    assert number(on_truth(), "words.hour") > 0.8
    assert number(on_truth(), "words.kept") == 1
    for kind in ("ground", "weather", "object"):
        assert isinstance(on_truth()[f"words.{kind}"], Value)


def test_another_film_keeps_less_of_the_words() -> None:
    other = take(OTHER, 42, 4.0).truth
    assert number(found(other), "words.kept") < 0.7


def test_frames_just_after_a_change_count_for_none() -> None:
    value = on_truth()["words.hour"]
    assert isinstance(value, Value) and value.n == 16 + 14  # 4 s of day, and night from 3 s after it fell


def test_a_change_is_seen_when_it_happens_and_later_when_it_comes_later() -> None:
    seen = number(on_truth(), "switch.content")
    assert 0.3 < seen < 3.0  # night falls in three seconds
    assert number(on_truth(), "switch.content.late") == 0 and number(on_truth(), "switch.done") == 1
    delays = [number(found(late(film()[0].truth, frames)), "switch.content.late") for frames in (2, 4)]
    assert delays == pytest.approx([0.5, 1.0], abs=0.2)


def test_a_frozen_film_does_not_change() -> None:
    still = found(frozen(film()[0].truth, 1.0))
    assert number(still, "switch.done") == 0
    assert f"plateaus differ by {MARGIN}" in refusal(still, "switch.content")
    assert "both in the video and in its truth" in refusal(still, "switch.content.late")


def test_words_that_name_nothing_known_are_refused() -> None:
    of, day, _ = film()
    plain = measure(FAMILY, of, None, facts(of, (0.0, "an orange sky"), (TURN, "a dull sky")))
    assert "name a ground" in refusal(plain, "words.ground") and "nothing is recognised" in refusal(plain, "words.kept")
    assert "changes what can be recognised" in refusal(plain, "switch.done")
    same = facts(of, (0.0, day), (TURN, f"{day}, faster"))
    assert switches(same) == []


@pytest.mark.parametrize("after", [0.5, 1.8, 2.6])
def test_the_middle_between_plateaus_is_found_between_frames(after: float) -> None:
    times = np.arange(-3, 8, 0.25)
    values = np.clip((times - after) / 2 + 0.5, 0, 1)  # a ramp of two seconds
    assert latency(list(zip(times, values, strict=True)), 8.0) == pytest.approx(after, abs=0.05)
    flash = np.where(np.abs(times - after + 1.5) < 0.1, 1.0, values)  # of one frame, before
    assert latency(list(zip(times, flash, strict=True)), 8.0) == pytest.approx(after, abs=0.05)


def test_plateaus_that_are_too_short_or_too_alike_have_no_middle() -> None:
    times = np.arange(-3, 8, 0.25)
    flat = [(float(time), 0.3 * (time > 1)) for time in times]
    step = [(float(time), 1.0 * (time > 1)) for time in times]
    assert latency(flat, 8.0) is None and latency([], 8.0) is None
    assert latency(step[9:], 8.0) is None and latency(step, 8.0) is not None
    assert latency([(time, -value) for time, value in step], 8.0) is None
