"""Faults: level 0 is the truth, every level is worse than the one before, and each spoils what it says."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from longvie.data.world import scene
from longvie.errors import ConfigError
from longvie.evaluation import calibrate
from longvie.evaluation.calibrate import Curve, curves
from longvie.evaluation.families import similarity
from longvie.evaluation.faults import FAULTS, spoilt
from longvie.evaluation.film import Film, filmed
from longvie.evaluation.measure import measure
from longvie.evaluation.metric import Gathered, Metric, Value

FRAMES = 24


@pytest.fixture(scope="module")
def film() -> Film:
    return filmed(scene(700_000_003, "test"), FRAMES, size=(48, 88), borders=(8, 16))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_keeps_the_shape_and_is_the_same_each_time(film: Film, name: str) -> None:
    made = spoilt(film, name, 3)
    assert made.shape == film.pictures.shape and made.dtype == np.uint8
    assert np.array_equal(made, spoilt(film, name, 3))
    assert not np.array_equal(made, film.pictures)
    assert spoilt(film, name, 0) is film.pictures


@pytest.mark.parametrize("name", ["noise", "blur", "saturation", "flicker", "geometry", "camera", "unrelated"])
def test_a_higher_level_is_worse(film: Film, name: str) -> None:
    errors = [np.abs(spoilt(film, name, level).astype(float) - film.pictures).mean() for level in range(6)]
    assert errors[0] == 0 and np.all(np.diff(errors) > 0)


def test_seams_are_at_the_borders_alone(film: Film) -> None:
    made = spoilt(film, "seam", 5)
    assert np.array_equal(made[:8], film.pictures[:8]) and np.array_equal(made[16:], film.pictures[16:])
    assert not np.array_equal(made[8:16], film.pictures[8:16])


def test_colours_swap_in_the_middle(film: Film) -> None:
    made = spoilt(film, "swap", 5)
    half = FRAMES // 2
    assert np.abs(made[:half].astype(int) - film.pictures[:half]).max() <= 1
    assert np.abs(made[half:].astype(int) - film.pictures[half:]).max() > 20


def test_late_is_late_and_frozen_is_still(film: Film) -> None:
    assert np.array_equal(spoilt(film, "lag", 2)[2:], film.pictures[:-2])
    still = spoilt(film, "frozen", 5)
    assert np.array_equal(still[-1], still[0])


def test_shuffled_frames_are_the_same_frames(film: Film) -> None:
    made = spoilt(film, "shuffled", 4)
    assert sorted(frame.tobytes() for frame in made) == sorted(frame.tobytes() for frame in film.pictures)


def test_an_unknown_fault_is_named(film: Film) -> None:
    with pytest.raises(ConfigError, match="no fault 'rust' at level 1; there are noise"):
        spoilt(film, "rust", 1)
    with pytest.raises(ConfigError):
        spoilt(film, "noise", 6)


def test_ssim_falls_with_noise(film: Film) -> None:
    found = [measure(film.facts, film.moments(spoilt(film, "noise", level)), [similarity.FAMILY]) for level in (1, 5)]
    one, five = (it["ssim"] for it in found)
    assert isinstance(one, Value) and isinstance(five, Value) and one.number > five.number


# --------------------------------------------------------------------------------------------------------------
# verdicts on claims


def rows(metric: str, fault: str, given: list[int | float | None], world: int = 1) -> list[calibrate.Row]:
    values = [None if value is None else float(value) for value in given]
    truth = {"world": world, "fault": "none", "level": 0, "metric": metric, "value": values[0]}
    levels = range(1, 6)
    return [truth, *({"world": world, "fault": fault, "level": level, "metric": metric, "value": values[level]}
                     for level in levels)]  # fmt: skip


def metric(sees: tuple[str, ...] = (), ignores: tuple[str, ...] = ()) -> Metric:
    return Metric("m", 1, "m", "formula", "", "lower", (0.0, 10.0), sees=sees, ignores=ignores)


def test_a_claim_holds_if_the_metric_gets_worse_with_the_level() -> None:
    found = curves(rows("m", "noise", [0.0, 1, 2, 3, 4, 5]) + rows("m", "blur", [0.0, 0.1, 0.2, 0.1, 0.2, 0.3]))
    assert found["m", "noise"].spearman == pytest.approx(1.0)
    assert calibrate.broken({"m": metric(("noise",), ("blur",))}, found) == []


def test_a_claim_breaks_if_it_gets_better_or_moves_where_it_should_not() -> None:
    found = curves(rows("m", "noise", [5.0, 4, 3, 2, 1, 0]) + rows("m", "blur", [5.0, 5, 5, 5, 5, 6]))
    wrong = calibrate.broken({"m": metric(("noise",), ("blur",))}, found)
    assert [(it.fault, it.claim) for it in wrong] == [("noise", "sees"), ("blur", "ignores")]


def test_worlds_where_a_level_is_refused_are_left_out() -> None:
    found = curves(rows("m", "noise", [0.0, 1, 2, 3, 4, 5]) + rows("m", "noise", [0.0, None, 0, 0, 0, 0], world=2))
    assert found["m", "noise"].worlds == 1
    assert found["m", "noise"].means == (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)


def test_a_claim_about_a_fault_without_numbers_is_broken() -> None:
    found = curves(rows("m", "noise", [None] * 6))
    assert found["m", "noise"] == Curve("m", "noise", (), 0, 0.0, 0.0, 0.0)
    assert len(calibrate.broken({"m": metric(("noise",))}, found)) == 1


def test_what_does_not_change_follows_nothing() -> None:
    found = curves(rows("m", "noise", [1.0] * 6))
    assert found["m", "noise"].spearman == 0
    assert calibrate.flat(found["m", "noise"]) and not calibrate.follows(metric(), found["m", "noise"])


def test_distances_of_sets_are_of_all_worlds_together() -> None:
    def combine(sets: Sequence[Gathered]) -> Value:
        return Value(float(np.mean([it.made.mean() - it.truth.mean() for it in sets])), len(sets))

    of_sets = {"m": replace(metric(("noise",)), combine=combine)}
    given = [
        {"world": world, "fault": "noise" if level else "none", "level": level, "metric": "m",
         "made": [[float(level * world)]], "truth": [[0.0]]}
        for world in (1, 3) for level in range(6)
    ]  # fmt: skip
    found = curves(calibrate.together(given, of_sets))
    assert found["m", "noise"].means == (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    assert calibrate.broken(of_sets, found) == []
