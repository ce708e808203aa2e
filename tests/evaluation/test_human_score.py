"""Strengths against closed forms, a direct search and simulated raters; all rankings here are drawn or constructed."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from longvie.errors import ConfigError, InputError
from longvie.evaluation.human import score as scores
from longvie.evaluation.human.score import Table, draws_of, members, score, strengths, table
from longvie.evaluation.human.study import Rater, Study, Task
from longvie.evaluation.human.votes import Vote
from longvie.evaluation.metric import Refused

NAMES = ("a", "b", "c", "d", "e")


def drawn(theta: np.ndarray, rankings: int, random: np.random.Generator) -> list[list[int]]:
    """Rankings of the Plackett-Luce model: sorting by strength plus Gumbel noise draws them (Yellott 1977)."""
    noise = random.gumbel(size=(rankings, len(theta)))
    return np.argsort(-(theta + noise), axis=1).tolist()


def likelihood(theta: np.ndarray, rankings: list[list[int]], prior: float) -> float:
    """ln of the chance of the rankings and of the prior's pairs, straight from the definition."""
    total = 0.0
    for ranking in rankings:
        for place in range(len(ranking) - 1):
            left = theta[ranking[place:]]
            total += left[0] - np.log(np.exp(left).sum())
    for one, other in permutations(range(len(theta)), 2):
        total += prior * (theta[one] - np.logaddexp(theta[one], theta[other]))
    return float(total)


@pytest.mark.parametrize(("first", "second"), [(7, 3), (1, 0), (0, 400), (5, 5)])
@pytest.mark.parametrize("prior", [0.5, 0.01])
def test_two_systems_are_bradley_and_terrys_closed_form(first: int, second: int, prior: float) -> None:
    rankings = [[0, 1]] * first + [[1, 0]] * second
    (theta,) = strengths(draws_of([rankings], 2), prior=prior)
    assert theta[0] - theta[1] == pytest.approx(np.log((first + prior) / (second + prior)), abs=1e-7)
    assert theta.sum() == pytest.approx(0)


def test_a_direct_search_finds_the_same_maximum() -> None:
    random = np.random.default_rng(0)
    rankings = drawn(np.array([0.5, 0.0, -1.0, 0.3]), 25, random)
    rankings += [[2, 0], [3, 1, 0]]  # of some systems only
    (theta,) = strengths(draws_of([rankings], 4), prior=0.5)
    found = minimize(lambda at: -likelihood(at, rankings, 0.5), np.zeros(4), tol=1e-12).x
    assert theta == pytest.approx(found - found.mean(), abs=1e-4)


def test_mm_steps_never_lose_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    rankings = drawn(np.array([2.0, 0.0, -2.0]), 40, np.random.default_rng(1))
    draws = draws_of([rankings], 3)
    reached = []
    for steps in range(12):
        monkeypatch.setattr(scores, "MM_STEPS", steps)
        (theta,) = scores._mm(draws.wins, draws.sets, members(3))
        reached.append(likelihood(theta, rankings, 0.0))
    assert np.all(np.diff(reached) > -1e-9)
    assert reached[-1] > reached[0]


def test_simulated_strengths_are_recovered() -> None:
    true = np.array([1.0, 0.4, 0.0, -0.4, -1.0])
    rankings = drawn(true, 4000, np.random.default_rng(2))
    (theta,) = strengths(draws_of([rankings], 5))
    assert np.abs(theta - true).max() < 0.1


def test_a_new_name_for_a_system_changes_only_names() -> None:
    rankings = drawn(np.array([1.0, 0.0, -1.0]), 30, np.random.default_rng(3))
    (theta,) = strengths(draws_of([rankings], 3))
    renamed = [[(system + 1) % 3 for system in ranking] for ranking in rankings]
    (moved,) = strengths(draws_of([renamed], 3))
    assert np.roll(theta, 1) == pytest.approx(moved, abs=1e-7)


@pytest.mark.parametrize("systems", [2, 3, 9])
@pytest.mark.parametrize("times", [1, 5000])
def test_a_system_that_always_comes_first_has_a_finite_strength(systems: int, times: int) -> None:
    rankings = [list(range(systems))] * times
    (theta,) = strengths(draws_of([rankings], systems))
    assert np.isfinite(theta).all()
    assert np.all(np.diff(theta) < 0)


def test_systems_that_were_never_compared_have_a_finite_order() -> None:
    rankings = [[0, 1]] * 900 + [[1, 0]] * 100 + [[2, 3]] * 600
    (theta,) = strengths(draws_of([rankings], 4))
    assert np.isfinite(theta).all()
    assert theta[0] > theta[1]
    assert theta[2] > theta[3]
    found = minimize(lambda at: -likelihood(at, rankings, 0.5), theta, tol=1e-12).x
    assert theta == pytest.approx(found - found.mean(), abs=1e-3)


def test_nothing_said_is_no_difference() -> None:
    (theta,) = strengths(draws_of([[]], 3))
    assert theta == pytest.approx(0)


def test_points_are_the_papers_mean_rank() -> None:
    raters = [[[0, 1, 2], [0, 2, 1]], [[1, 0, 2]]]
    found = table(NAMES[:3], raters, resamples=20)
    points = {one.system: one.points.value for one in found.standings}
    assert points == pytest.approx({"a": 8 / 3, "b": 2.0, "c": 4 / 3})
    assert (found.raters, found.rankings) == (2, 3)
    assert [one.system for one in found.standings] == ["a", "b", "c"]


def test_intervals_hold_the_estimate_and_the_seed_repeats_them() -> None:
    random = np.random.default_rng(5)
    raters = [drawn(np.array([0.8, 0.0, -0.8]), 6, random) for _ in range(20)]
    found = table(NAMES[:3], raters, resamples=300, seed=1)
    assert found == table(NAMES[:3], raters, resamples=300, seed=1)
    assert found != table(NAMES[:3], raters, resamples=300, seed=2)
    for one in found.standings:
        for estimate in (one.strength, one.points):
            assert estimate.low is not None
            assert estimate.high is not None
            assert estimate.low < estimate.value < estimate.high


def test_one_rater_gives_no_interval() -> None:
    found = table(NAMES[:2], [[[0, 1], [0, 1], [1, 0]]])
    assert found.standings[0].strength.low is None
    assert found.standings[0].points.high is None


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Raters agree more with themselves than with others; intervals over rankings alone would be too narrow."""
    true, random, covered, tries = np.array([0.4, 0.0, -0.4]), np.random.default_rng(6), 0, 120
    mean = np.mean([_rater(true, 40, random)[1] for _ in range(3000)], axis=0)
    for _ in range(tries):
        raters = [_rater(true, 4, random)[0] for _ in range(25)]
        found = table(NAMES[:3], raters, resamples=200)
        points = {one.system: one.points for one in found.standings}["a"]
        assert points.low is not None
        assert points.high is not None
        covered += points.low <= mean[0] <= points.high
    assert 0.86 <= covered / tries <= 0.99


def _rater(true: np.ndarray, rankings: int, random: np.random.Generator) -> tuple[list[list[int]], np.ndarray]:
    """Rankings of one rater with a taste of their own, and the mean points in them."""
    own = drawn(true + random.normal(0, 0.6, len(true)), rankings, random)
    points = len(true) - np.argsort(own, axis=1)
    return own, points.mean(0)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(InputError) as told:
        table(NAMES[:2], [])
    assert told.value.code == "no_votes"
    with pytest.raises(InputError, match="not of all"):
        table(NAMES[:3], [[[0, 1]]])
    with pytest.raises(InputError, match="at most once"):
        draws_of([[[0, 0, 1]]], 3)
    with pytest.raises(InputError, match="at most once"):
        draws_of([[[0, 3]]], 3)
    for prior in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError):
            table(NAMES[:2], [[[0, 1]]], prior=prior)
    with pytest.raises(ConfigError):
        table(NAMES[:2], [[[0, 1]]], resamples=0)


def test_votes_are_scored_by_the_systems_behind_their_tokens(tmp_path: Path) -> None:
    tasks = (Task("t0", "", None, ("x0", "y0")), Task("t1", "", None, ("x1", "y1")))
    raters = tuple(Rater(code, (0, 1), ((0, 1), (1, 0))) for code in ("r", "s"))
    study = Study(tmp_path, "id", 0, ("x", "y"), ("visual", "colour"), tasks, raters)
    with pytest.raises(InputError) as told:
        score(study, [])
    assert told.value.code == "no_votes"
    votes = [
        Vote(code, task, "visual", (f"y{task}", f"x{task}"), "")
        for code, task in (("r", 0), ("r", 1), ("s", 0), ("s", 1))
    ]
    found = score(study, votes, resamples=10)
    assert isinstance(found["colour"], Refused)
    visual = found["visual"]
    assert isinstance(visual, Table)
    assert [(one.system, one.points.value) for one in visual.standings] == [("y", 2.0), ("x", 1.0)]
