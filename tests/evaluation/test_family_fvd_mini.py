"""A distance of sets: 0 to itself, growing with damage, with its interval and its count; refused where windows lack."""

from functools import cache

import numpy as np
import pytest
from moments import blurred, measure, noisy, refusal, take

from longvie.evaluation.families.fvd_mini import FAMILY, LEAST, distance
from longvie.evaluation.metric import Found, Gathered, Metric, Refused, Value

SCENES = (7, 11, 21)
FRAMES = 42  # at 4 a second: three windows of 5 s


def gathered(video: str, scene: int) -> Gathered:
    of = take(scene, FRAMES, 4.0)
    made = {
        "truth": of.truth,
        "noise": noisy(of.truth, 12),
        "more noise": noisy(of.truth, 40),
        "blur": blurred(of.truth, 3),
        "more blur": blurred(of.truth, 10),
        "frozen": np.repeat(of.truth[:1], FRAMES, 0),
    }[video]
    found: Found | Refused = measure(FAMILY, of, made)["fvd_mini.5"]  # type: ignore[assignment]
    assert isinstance(found, Gathered)
    return found


@cache
def rows(video: str) -> tuple[Gathered, ...]:
    return tuple(gathered(video, scene) for scene in SCENES)


def metric(name: str) -> Metric:
    return next(metric for metric in FAMILY.metrics if metric.name == name)


def value(name: str, video: str) -> Value:
    combine = metric(name).combine
    assert combine is not None
    found = combine(rows(video))
    assert isinstance(found, Value)
    return found


def test_a_set_is_at_no_distance_from_itself() -> None:
    assert value("fvd_mini.5", "truth").number == pytest.approx(0, abs=1e-6)
    assert value("fvd_mini.5.mmd", "truth").number < 0.01


@pytest.mark.parametrize("name", ["fvd_mini.5", "fvd_mini.5.mmd"])
def test_damage_is_seen_and_more_of_it_farther_away(name: str) -> None:
    clean = value(name, "truth").number
    for fault in ("noise", "blur"):
        mild, strong = value(name, fault), value(name, f"more {fault}")
        assert clean < mild.number < strong.number
    assert value(name, "frozen").number > clean


def test_windows_are_counted_and_the_interval_holds_the_number() -> None:
    found = value("fvd_mini.5", "more noise")
    assert found.n == 3 * len(SCENES)
    assert found.interval is not None
    assert found.interval[0] <= found.number <= found.interval[1]


def test_the_order_of_videos_does_not_matter() -> None:
    assert distance(rows("blur")[::-1], "frechet") == distance(rows("blur"), "frechet")


def test_short_videos_and_small_sets_are_refused() -> None:
    found = measure(FAMILY, take(SCENES[0], FRAMES, 4.0))
    assert "no window of 30 s" in refusal(found, "fvd_mini.30") and "video of 10.5 s" in refusal(found, "fvd_mini.120")
    few = distance(rows("truth")[:1], "frechet")
    assert isinstance(few, Refused) and f"3 windows of videos and 3 of truths; {LEAST}" in few.reason
    assert isinstance(distance((), "mmd"), Refused)


def test_every_metric_is_about_a_set_and_none_is_called_fvd() -> None:
    for each in FAMILY.metrics:
        assert each.combine is not None and each.name.startswith("fvd_mini.") and "FVD" not in each.title
