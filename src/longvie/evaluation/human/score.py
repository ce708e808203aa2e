"""Strengths of systems from rankings: Plackett-Luce, with intervals over raters, beside the paper's mean rank.

The chance of a ranking is that of drawing the systems one after another, each time among those that are left, in
proportion to their strengths γ. With two systems this is Bradley and Terry's model. What is needed of the votes to fit
it is small: how often each system was drawn, and how often each set was drawn from (Hunter 2004, "MM algorithms for
generalized Bradley-Terry models", Annals of Statistics 32, section 5).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from longvie.errors import ConfigError, InputError, LongVieError
from longvie.evaluation.human.study import Study
from longvie.evaluation.human.votes import Vote
from longvie.evaluation.metric import Refused

PRIOR = 0.5  # virtual wins of each system over each other: as if one more ranking had been a toss of a coin
RESAMPLES = 2000
INTERVAL = (2.5, 97.5)  # percentiles
MM_STEPS, NEWTON_STEPS = 50, 100
TOLERANCE = 1e-9  # of the gradient, per draw


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; none where there are fewer than two raters to draw from."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Standing:
    """One system by one aspect.

    Attributes:
        strength: ln γ, zero on the average of the systems; a difference of 1 is odds of e : 1 in a pair.
        points: the mean rank as in LongVie 2, Table 2: with k systems the best gets k, the last gets 1.
    """

    system: str
    strength: Estimate
    points: Estimate


@dataclass(frozen=True)
class Table:
    """All systems by one aspect, the strongest first."""

    raters: int
    rankings: int
    standings: tuple[Standing, ...]


@dataclass(frozen=True, eq=False)
class Draws:
    """Sufficient statistics of rankings, one row per rater (or per resampling).

    Attributes:
        wins: how often each system was drawn while others were left.
        sets: how often each set of two or more was drawn from, in the order of `members`.
    """

    wins: Float[np.ndarray, "b k"]
    sets: Float[np.ndarray, "b s"]


def score(
    study: Study, votes: Iterable[Vote], *, prior: float = PRIOR, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Table | Refused]:
    """A table for each aspect of the study; refused where nobody has voted yet.

    Raises:
        InputError: there are no votes at all (`no_votes`).
        ConfigError: a prior that is not above 0, or no resamplings.
    """
    by_aspect: dict[str, dict[str, list[list[int]]]] = {aspect: {} for aspect in study.aspects}
    for vote in votes:
        systems = study.tasks[vote.task].videos
        by_aspect[vote.aspect].setdefault(vote.rater, []).append([systems.index(token) for token in vote.ranking])
    if not any(by_aspect.values()):
        raise InputError("there are no votes in this study yet: nothing to score", code="no_votes")
    tables: dict[str, Table | Refused] = {}
    for aspect, raters in by_aspect.items():
        if raters:
            tables[aspect] = table(study.systems, list(raters.values()), prior=prior, resamples=resamples, seed=seed)
        else:
            tables[aspect] = Refused("nobody has ranked by this aspect yet")
    return tables


def table(
    systems: Sequence[str],
    raters: Sequence[Sequence[Sequence[int]]],
    *,
    prior: float = PRIOR,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Table:
    """Strengths and points of one aspect.

    Intervals are percentiles over seeded resamplings of raters, with replacement: votes of one person belong together.
    They are too narrow for a handful of raters, as every bootstrap is.

    Args:
        raters: for each the rankings of all systems by number, best first.

    Raises:
        InputError: no rankings (`no_votes`), or one that is not of all systems.
        ConfigError: as in `score`.
    """
    if resamples < 1:
        raise ConfigError(f"resamples is {resamples}; at least 1 is needed")
    count, rankings = len(systems), [ranking for rater in raters for ranking in rater]
    if not rankings:
        raise InputError("there are no rankings: nothing to score", code="no_votes")
    if any(len(ranking) != count for ranking in rankings):
        raise InputError(f"a ranking is not of all {count} systems")
    draws = draws_of(raters, count)
    sums = np.array([_points(rater, count) for rater in raters])
    totals = np.array([len(rater) for rater in raters], float)
    weights = np.vstack([np.ones(len(raters)), _resampled(totals, resamples, seed)])
    strength = strengths(Draws(weights @ draws.wins, weights @ draws.sets), prior=prior)
    points = (weights @ sums) / (weights @ totals)[:, None]
    standings = [
        Standing(name, _estimate(strength[:, at], len(raters)), _estimate(points[:, at], len(raters)))
        for at, name in enumerate(systems)
    ]
    best_first = sorted(standings, key=lambda standing: -standing.strength.value)
    return Table(len(raters), len(rankings), tuple(best_first))


def draws_of(raters: Sequence[Sequence[Sequence[int]]], systems: int) -> Draws:
    """Count the draws of each rater's rankings, best first; rankings of some of the systems are counted too.

    Raises:
        InputError: a ranking with a system twice, or an unknown one.
    """
    place = {sum(1 << int(one) for one in np.flatnonzero(row)): at for at, row in enumerate(members(systems))}
    draws = Draws(np.zeros((len(raters), systems)), np.zeros((len(raters), len(place))))
    for row, rankings in enumerate(raters):
        for ranking in rankings:
            if len(set(ranking)) < len(ranking) or not set(ranking) <= set(range(systems)):
                raise InputError(f"ranking {list(ranking)} does not name systems below {systems}, each at most once")
            left = sum(1 << system for system in ranking)
            for system in ranking[:-1]:
                draws.wins[row, system] += 1
                draws.sets[row, place[left]] += 1
                left ^= 1 << system
    return draws


def members(systems: int) -> Float[np.ndarray, "s k"]:
    """Which systems are in each set of two or more: 1 or 0."""
    masks = np.arange(2**systems)[:, None] >> np.arange(systems) & 1
    return masks[masks.sum(1) > 1].astype(float)


def strengths(draws: Draws, *, prior: float = PRIOR) -> Float[np.ndarray, "b k"]:
    """ln γ that makes each row's rankings likeliest, zero on the average of its systems.

    `prior` virtual wins of each system over each other are added. Without them a system that always comes first would
    be infinitely strong, and systems that were never compared, even by way of others, would have no order (Ford 1957).
    With two systems the answer is ln((n₁ + prior) / (n₂ + prior)), for 0.5 the log odds of Haldane and Anscombe.

    Some MM steps come near from anywhere; Newton's finish, for MM takes thousands where a system nearly always wins.

    Raises:
        ConfigError: the prior is not a number above 0.
    """
    if not 0 < prior < np.inf:
        raise ConfigError(f"the prior is {prior}; it must be above 0, or strengths become infinite")
    inside = members(draws.wins.shape[1])
    wins = draws.wins + prior * (draws.wins.shape[1] - 1)
    sets = draws.sets + 2 * prior * (inside.sum(1) == 2)
    return _newton(_mm(wins, sets, inside), wins, sets, inside)


def _mm(
    wins: Float[np.ndarray, "b k"], sets: Float[np.ndarray, "b s"], inside: Float[np.ndarray, "s k"]
) -> Float[np.ndarray, "b k"]:
    """ln γ by Hunter's section 5: γ ← wins / Σ over the sets that the system was drawn from, of 1 / Σγ of the set."""
    gamma = np.ones_like(wins)
    for _ in range(MM_STEPS):
        gamma = wins / ((sets / (gamma @ inside.T)) @ inside)
        gamma /= np.exp(np.log(gamma).mean(1, keepdims=True))
    return np.log(gamma)


def _newton(
    theta: Float[np.ndarray, "b k"],
    wins: Float[np.ndarray, "b k"],
    sets: Float[np.ndarray, "b s"],
    inside: Float[np.ndarray, "s k"],
) -> Float[np.ndarray, "b k"]:
    """The maximum of the log likelihood, which is concave in θ = ln γ; a step moves no pair apart by more than 1."""
    systems = wins.shape[1]
    for _ in range(NEWTON_STEPS):
        chance = inside * np.exp(theta)[:, None, :]
        chance /= chance.sum(2, keepdims=True)  # (b, s, k): of being drawn from a set
        expected = np.einsum("bs,bsk->bk", sets, chance)
        gradient = wins - expected
        if np.all(np.abs(gradient) <= TOLERANCE * sets.sum(1, keepdims=True)):
            return theta - theta.mean(1, keepdims=True)
        curve = np.eye(systems) * expected[:, None, :] - np.swapaxes(sets[..., None] * chance, 1, 2) @ chance
        # The likelihood does not change when all strengths grow alike; a constant makes that direction harmless.
        step = np.linalg.solve(curve + 1 / systems, gradient[..., None])[..., 0]
        theta = theta + step / np.maximum(1, np.ptp(step, axis=1, keepdims=True))
    raise LongVieError(f"the strengths did not settle in {NEWTON_STEPS} steps")


def _points(rankings: Sequence[Sequence[int]], systems: int) -> Int[np.ndarray, " k"]:
    """The sum over rankings: the best of k gets k, the last gets 1."""
    points = np.zeros(systems, int)
    for ranking in rankings:
        points[np.asarray(ranking)] += np.arange(systems, 0, -1)
    return points


def _resampled(totals: Float[np.ndarray, " r"], resamples: int, seed: int) -> Float[np.ndarray, "b r"]:
    """How often each rater is drawn in each resampling."""
    raters = len(totals)
    random = np.random.default_rng(seed)
    return random.multinomial(raters, np.full(raters, 1 / raters), size=resamples).astype(float)


def _estimate(values: Float[np.ndarray, " b"], raters: int) -> Estimate:
    """The first value is that of all raters, the others are those of the resamplings."""
    if raters < 2:
        return Estimate(float(values[0]), None, None)
    low, high = np.percentile(values[1:], INTERVAL)
    return Estimate(float(values[0]), float(low), float(high))
