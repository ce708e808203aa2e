"""Two sets of videos, compared: differences that are there are found, and others are not more often than is said."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from longvie.errors import ConfigError, InputError
from longvie.evaluation import registry
from longvie.evaluation.compare import HEADS, RATIOS, Verdict, compare, corrected, document, rows, sign_flips
from longvie.evaluation.metric import Better, Metric, Refused, Value
from longvie.evaluation.results import Line, Results, video_lines

Numbers = Sequence[float | None] | np.ndarray


def metric(name: str, better: Better = "higher") -> Metric:
    return Metric(name, 1, f"title of {name}", "a formula", "", better, (-1000.0, 1000.0))


def results(numbers: Mapping[str, Numbers], better: Better = "higher", **run: object) -> Results:
    """One value of each metric for videos v0, v1, …; None is refused."""
    provenance = {"code": "c" * 64, "metrics": dict.fromkeys(numbers, 1), "weights": {"raft": "1" * 64}}
    lines: list[Line] = [{"kind": "run", "title": "ours", "provenance": provenance, "suite": "s" * 64} | run]
    for name, values in numbers.items():
        measured = metric(name, better)
        for at, value in enumerate(values):
            found = Refused("too short") if value is None else Value(float(value), 1)
            lines += video_lines(f"v{at}", measured, found)
    return Results(tuple(lines))


def one(before: Numbers, after: Numbers, *, name: str = "x", better: Better = "higher") -> Verdict:
    known = {name: metric(name, better)}
    return compare(results({name: before}), results({name: after}), known=known)[0]


def spread(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 10, count)


def test_a_small_gain_is_found_although_videos_differ_much() -> None:
    before = spread(20)
    after = before + np.random.default_rng(1).normal(0.5, 0.3, 20)
    it = one(before, after)
    assert (it.verdict, it.pairs, it.firm) == ("better", 20, True)
    assert it.difference == pytest.approx(float((after - before).mean()), abs=1e-6)
    assert it.mean_b == pytest.approx(float(after.mean()), abs=1e-6)
    assert it.interval is not None and it.interval[0] < it.difference < it.interval[1]
    random = np.random.default_rng(2)
    apart = [random.choice(after, 20).mean() - random.choice(before, 20).mean() for _ in range(2000)]
    low, high = np.percentile(apart, [2.5, 97.5])
    assert 10 * (it.interval[1] - it.interval[0]) < high - low
    assert low < 0 < high, "what is not paired shows nothing here"


@pytest.mark.parametrize(
    ("better", "name", "verdict"),
    [("higher", "x", "better"), ("lower", "x", "worse"), ("neither", "x", "differs")],
)
def test_the_metric_says_which_way_is_better(better: Better, name: str, verdict: str) -> None:
    before = spread(12)
    gain = np.linspace(1, 2, 12)
    assert one(before, before + gain, name=name, better=better).verdict == verdict
    opposite = {"better": "worse", "worse": "better", "differs": "differs"}[verdict]
    assert one(before, before - gain, name=name, better=better).verdict == opposite
    assert one(before, before, name=name, better=better).verdict == "no difference shown"


def test_ratios_are_judged_by_how_far_they_are_from_1() -> None:
    far, near = np.linspace(1.5, 1.6, 12), np.linspace(0.8, 0.9, 12)
    it = one(far, near, name="guard.motion_ratio", better="neither")
    assert (it.verdict, it.distance) == ("better", True)
    assert it.difference == pytest.approx(0.15 - 0.55)
    assert one(near, far, name="guard.motion_ratio", better="neither").verdict == "worse"
    assert one(near, 2 - near, name="guard.motion_ratio", better="neither").verdict == "no difference shown"


def test_ratios_are_metrics_that_there_are() -> None:
    known = registry.metrics()
    assert all(known[name].better == "neither" and known[name].unit == "" for name in RATIOS)


@pytest.mark.parametrize("count", [6, 24])
def test_what_does_not_differ_is_said_to_in_one_of_twenty_cases_at_most(count: int) -> None:
    cases = 150
    random = np.random.default_rng(count)
    names = [f"m{at:03d}" for at in range(cases)]
    before = {name: random.normal(0, 10, count) for name in names}
    after = {name: values + random.normal(0, 1, count) for name, values in before.items()}
    verdicts = compare(results(before), results(after), known={name: metric(name) for name in names})
    wrong = sum(it.verdict != "no difference shown" for it in verdicts)
    assert wrong <= 0.05 * cases + 2.5 * np.sqrt(cases * 0.05 * 0.95)
    assert count < 12 or wrong >= 2, "a test that never errs would not find much either"
    assert sum(it.firm for it in verdicts) <= 1
    outside = sum(it.interval is not None and not it.interval[0] <= 0 <= it.interval[1] for it in verdicts)
    assert outside >= wrong


def test_what_differs_is_found_among_many_that_do_not() -> None:
    random = np.random.default_rng(0)
    names = [f"m{at:02d}" for at in range(40)]
    before = {name: random.normal(0, 10, 25) for name in names}
    after = {name: values + random.normal(2.0 if name < "m05" else 0.0, 1, 25) for name, values in before.items()}
    verdicts = compare(results(before), results(after), known={name: metric(name) for name in names})
    assert [it.metric for it in verdicts if it.firm] == names[:5]


def test_of_five_videos_nothing_is_shown_and_of_six_it_is() -> None:
    gain = np.linspace(1, 2, 6)
    five = one(np.zeros(5), gain[:5])
    assert five.interval is not None and five.interval[0] > 0
    assert (five.verdict, five.chance) == ("no difference shown", 2 / 32)
    assert one(np.zeros(6), gain).verdict == "better"


def test_flipped_signs_are_counted_exactly_and_sampled_beyond() -> None:
    assert sign_flips(np.array([1.0, 1.0, 1.0])) == 2 / 8
    assert sign_flips(np.array([1.0, -1.0])) == 1.0
    assert sign_flips(np.zeros(4)) == 1.0
    assert sign_flips(np.array([3.0, 1.0, 1.0, -1.0])) == 8 / 16  # 3 and at least two of the ones
    assert sign_flips(np.ones(30)) == pytest.approx(1 / 10_001)
    random = np.random.default_rng(5).normal(0.3, 1, 13)
    assert sign_flips(np.concatenate([random, [0.0]])) == pytest.approx(sign_flips(random), abs=0.02)


def test_holm_multiplies_by_what_is_left_and_never_falls() -> None:
    chances = [0.04, 0.001, 0.02, None, 0.03]
    bare = Verdict("x", "", "", "higher", 9, verdict="better")
    found = corrected([replace(bare, chance=chance) for chance in chances])
    assert [it.corrected for it in found] == [pytest.approx(at) if at else None for at in (0.06, 0.004, 0.06, 0, 0.06)]
    assert [it.firm for it in found] == [False, True, False, False, False]


def test_videos_of_one_alone_are_counted_and_have_no_part() -> None:
    before, after = [1.0, 2.0, 3.0, None, 99.0], [1.5, 2.5, 3.5, 50.0]
    it = one(before, after)
    assert (it.pairs, it.only_a, it.only_b) == (3, 1, 1)
    assert (it.mean_a, it.mean_b, it.difference) == (2.0, 2.5, 0.5)


def test_a_set_that_lacks_numbers_is_not_called_better() -> None:
    """Ten pairs, of which b is better in all; but two videos more have no number in b."""
    better, worse = [1.0 + k / 9 for k in range(10)], [0.5 + k / 9 for k in range(10)]
    assert one([*worse, None], [*better, None]).verdict == "better"
    hidden = one([*worse, 0.1, 0.1, None], [*better, None, None, 0.2])
    assert (hidden.verdict, hidden.firm) == ("no difference shown", False)
    assert hidden.why == "b would be better, but has no number for 1 more of its videos"
    assert one([*worse, 0.1], [*better, None]).difference == pytest.approx(0.5), "it is still told"
    other = one([*better, None, None], [*worse, 0.1, 0.1])
    assert (other.verdict, other.why) == (
        "no difference shown", "a would be better, but has no number for 2 more of its videos",
    )  # fmt: skip
    assert one([*better, 0.1, 0.1], [*worse, None, None]).verdict == "worse", "b is worse, and lacks some too"


def test_where_there_are_no_pairs_it_says_so() -> None:
    nothing = one([None, 1.0], [2.0, None])
    assert (nothing.verdict, nothing.why, nothing.mean_a) == ("not compared", "no video has a number in both", None)
    single = one([1.0], [2.0])
    assert (single.verdict, single.interval) == ("no difference shown", None)
    line: Line = {"kind": "suite", "metric": "fvd", "version": 1, "of": "set", "n": 9, "mean": 3.0, "refused": 0}
    both = results({}), results({})
    whole = compare(*(Results((*it.lines, line)) for it in both), known={"fvd": metric("fvd", "lower")})
    assert whole[0].why == "one number of all videos together"


def test_metrics_that_are_not_known_have_no_direction_and_come_last() -> None:
    before, after = {"old": np.zeros(9), "x": np.zeros(9)}, {"old": np.ones(9), "x": np.ones(9)}
    verdicts = compare(results(before), results(after), known={"x": metric("x")})
    assert [(it.metric, it.verdict) for it in verdicts] == [("x", "better"), ("old", "differs")]


@pytest.mark.parametrize(
    ("name", "run", "says"),
    [
        ("code", {"provenance": {"code": "d" * 64}}, "code (cccccccccccc and dddddddddddd)"),
        ("suite", {"suite": None}, "suite (ssssssssssss and none)"),
        ("metrics", {"provenance": {"code": "c" * 64, "metrics": {"x": 2, "y": 5}}}, "metrics (x: 1 and 2)"),
        ("weights", {"provenance": {"code": "c" * 64, "weights": {"raft": "2" * 64}}}, "weights (raft: 1111"),
    ],
)
def test_what_was_not_measured_alike_is_not_compared_unless_allowed(name: str, run: dict, says: str) -> None:
    before, after = results({"x": np.zeros(8)}), results({"x": np.ones(8)}, **run)
    with pytest.raises(InputError) as told:
        compare(before, after)
    assert says in str(told.value)
    assert f"allow {name} to differ" in str(told.value)
    assert compare(before, after, allow=(name,), known={"x": metric("x")})[0].verdict == "better"


def test_all_that_differs_is_named_and_what_cannot_be_allowed_too() -> None:
    other = results({"x": [1.0]}, suite="t", provenance={"code": "d"})
    with pytest.raises(InputError, match="allow suite, code to differ"):
        compare(results({"x": [1.0]}), other)
    with pytest.raises(InputError, match="allow code to differ"):
        compare(results({"x": [1.0]}), other, allow=("suite",))
    with pytest.raises(ConfigError, match="'colour' cannot be allowed; there are metrics, suite"):
        compare(other, other, allow=("colour",))


def test_it_is_said_as_a_table_and_as_json() -> None:
    before = results({"x": np.zeros(8), "guard.motion_ratio": np.full(8, 0.5), "y": [None]})
    after = results({"x": np.ones(8), "guard.motion_ratio": np.ones(8), "y": [None]})
    verdicts = compare(before, after, known={"x": metric("x"), "y": metric("y")})
    table = {row[0]: dict(zip(HEADS, row, strict=True)) for row in rows(verdicts)}
    assert table["x"]["difference"] == "+1" and table["x"]["95 %"] == "+1 to +1"
    assert (table["x"]["verdict"], table["x"]["after Holm"]) == ("better", "holds")
    assert table["guard.motion_ratio"]["difference"] == "-0.5 from 1"
    assert table["y"]["verdict"] == "not compared: no video has a number in both" and table["y"]["a"] == "–"
    said = document(before, after, verdicts)
    assert json.loads(json.dumps(said, allow_nan=False))["verdicts"][0]["verdict"] == "better"
    assert said["differing"] == {}
