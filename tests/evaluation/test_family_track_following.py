"""Points that must follow their tracks: the truth does, and the later, slower or more frozen, the less."""

from functools import cache

import numpy as np
import pytest
from moments import (
    Take,
    flickering,
    frozen,
    late,
    measure,
    moments,
    noisy,
    number,
    refusal,
    saturated,
    shuffled,
    take,
)

from longvie.evaluation.families.track_following import FAMILY, POINTS, TrackFollowing
from longvie.evaluation.metric import Value

SCENE = 7


@cache
def truth() -> Value:
    value = measure(FAMILY, take(SCENE))["ctl.track"]
    assert isinstance(value, Value)
    return value


def track(video: np.ndarray, of: Take | None = None) -> tuple[float, float]:
    """Both numbers; the second grows with faults."""
    found = measure(FAMILY, take(SCENE) if of is None else of, video)
    return number(found, "ctl.track"), number(found, "ctl.track.median")


def test_the_truth_follows_its_tracks() -> None:
    assert truth().number > 0.8
    limits, shares = zip(*truth().curve, strict=True)
    assert limits == (1, 2, 4, 8, 16) and list(shares) == sorted(shares)
    assert truth().number == pytest.approx(np.mean(shares))
    found = measure(FAMILY, take(SCENE))
    assert found["ctl.track"] == truth() and number(found, "ctl.track.median") < 2


def test_what_it_sees_makes_it_worse() -> None:
    video = take(SCENE).truth
    for made in (
        [late(video, frames) for frames in (2, 4, 8)],
        [frozen(video, share) for share in (0.5, 1.0)],
        [take(SCENE, 34, grown=grown).truth for grown in (1.15, 1.35)],
        [take(SCENE, 34, pace=pace).truth for pace in (0.8, 0.5)],
    ):
        found = [track(each)[0] for each in made]
        assert (
            truth().number - 0.04 > found[0] and found == sorted(found, reverse=True) and len(set(found)) == len(made)
        )
    medians = [track(late(video, frames))[1] for frames in (0, 2, 4, 8)]
    assert medians == sorted(medians)


def test_a_video_without_order_follows_nothing() -> None:
    assert track(shuffled(take(SCENE).truth)) == (pytest.approx(0, abs=0.02), 256)


def test_what_it_ignores_hardly_moves_it() -> None:
    video = take(SCENE).truth
    for made in (noisy(video, 5), saturated(video, 0.5), flickering(video, 0.05)):
        assert track(made)[0] == pytest.approx(truth().number, abs=0.05)


def test_a_flat_video_is_not_let_off_where_the_truth_is_known() -> None:
    known = take(SCENE)
    assert track(np.full_like(known.truth, 90))[0] < 0.3
    probe = FAMILY.open(known.facts(known=frozenset({"tracks"})))
    for moment in moments(known, np.full_like(known.truth, 90), truth=None):
        probe.see(moment)
    assert "0 commanded points" in refusal(probe.values(), "ctl.track")


def test_without_the_truth_it_is_measured_all_the_same() -> None:
    known = take(SCENE)
    probe = FAMILY.open(known.facts(known=frozenset({"tracks"})))
    for moment in moments(known, truth=None):
        probe.see(moment)
    assert 0.3 < number(probe.values(), "ctl.track") < truth().number


def test_it_says_what_is_missing() -> None:
    known = take(SCENE)
    for facts in (known.facts(tracks=None), known.facts(visible=np.zeros_like(known.visible))):
        assert "0 commanded points" in refusal(measure(FAMILY, known, facts=facts), "ctl.track")
    assert "16 are needed" in refusal(measure(FAMILY, known.cut(8)), "ctl.track.median")


def test_a_short_video_is_measured_at_the_short_lag_alone() -> None:
    found = measure(FAMILY, take(SCENE).cut(34))["ctl.track.median"]
    assert isinstance(found, Value) and [lag for lag, _ in found.curve] == [0.5]


def test_no_more_than_three_sets_are_on_their_way() -> None:
    known = take(SCENE)
    probe = FAMILY.open(known.facts())
    assert isinstance(probe, TrackFollowing)
    for moment in moments(known):
        probe.see(moment)
        assert len(probe.ids) == len(probe.paths[0].places) <= 3 * POINTS and len(set(probe.since.tolist())) <= 3
