"""The same place seen again: 1 on the truth, less with every fault that a later look can see; and its arithmetic."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from moments import (
    KNOWN,
    Take,
    blurred,
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

from longvie.evaluation.families.coherence import FAMILY, NEIGHBOURS, PAIRS, SECONDS, Coherence, Laid
from longvie.evaluation.metric import Facts, Value

FRAMES, FPS = 26, 4.0  # 6.5 seconds: lags of 3 and 5


def film(*, swapped: bool = False) -> Take:
    return take(7, FRAMES, FPS, size=(48, 88), swapped=swapped)


@cache
def of(video: str) -> dict[str, float]:
    """What is found of a video, by its name."""
    known = film()
    swapped = film(swapped=True).truth if video == "swap" else known.truth
    made = {
        "truth": lambda: known.truth,
        "saturated 0.5": lambda: saturated(known.truth, 0.5),
        "saturated 1": lambda: saturated(known.truth, 1.0),
        "late 1": lambda: late(known.truth, 1),
        "late 2": lambda: late(known.truth, 2),
        "late 4": lambda: late(known.truth, 4),
        "frozen half": lambda: frozen(known.truth, 0.5),
        "frozen": lambda: frozen(known.truth, 1.0),
        "noise 2": lambda: noisy(known.truth, 2),
        "noise 5": lambda: noisy(known.truth, 5),
        "blur": lambda: blurred(known.truth, 2),
        "shuffled": lambda: shuffled(known.truth),
        "swap": lambda: np.concatenate([known.truth[: FRAMES // 2], swapped[FRAMES // 2 :]]),
    }[video]()
    return {name: value.number for name, value in measure(FAMILY, known, made).items() if isinstance(value, Value)}


def test_the_truth_is_as_coherent_as_the_truth() -> None:
    known = film()
    found = measure(FAMILY, known)
    assert number(found, "tc") == number(found, "lvc") == pytest.approx(1)
    lvc, alike = found["lvc"], found["lvc.ssim"]
    assert isinstance(lvc, Value) and isinstance(alike, Value)
    assert [lag for lag, _ in lvc.curve] == [0.25, 3, 5] == [lag for lag, _ in alike.curve]
    assert 0.7 < alike.number < 1 and 0.3 < number(found, "covisibility") < 1
    assert 0.8 < number(found, "tc.flow") <= 1
    assert measure(FAMILY, known) == found


@pytest.mark.parametrize(
    "worse", [("saturated 0.5", "saturated 1"), ("late 1", "late 2", "late 4"), ("frozen half", "frozen")]
)
def test_long_lags_see_what_creeps_in(worse: tuple[str, ...]) -> None:
    found = [1.0, *(of(video)["lvc"] for video in worse)]
    assert all(after < before - 0.05 for before, after in pairwise(found))


def test_other_colours_are_seen_later_and_not_one_frame_later() -> None:
    assert of("swap")["lvc"] < 0.95 and of("swap")["tc"] > 0.97
    assert of("saturated 1")["tc"] > of("saturated 1")["lvc"] + 0.3


def test_what_it_ignores_hardly_moves_it() -> None:
    assert of("noise 5")["lvc"] > 0.92
    assert of("blur")["tc"] > 0.97 and of("frozen half")["tc"] < of("truth")["tc"]
    assert 1 > of("noise 2")["tc"] > of("noise 5")["tc"] > 0.9


def test_frames_in_any_order_are_not_coherent() -> None:
    assert of("shuffled")["tc"] < 0.7 and of("shuffled")["lvc"] < 0.5
    assert of("shuffled")["tc.flow"] < of("truth")["tc.flow"]


def test_coherence_by_its_own_flow_cannot_stand_alone() -> None:
    assert of("frozen")["tc.flow"] == pytest.approx(1)
    assert of("truth")["tc.flow"] < 0.99


def test_a_frame_looks_like_itself_and_only_the_mask_counts() -> None:
    random = np.random.default_rng(0)
    picture, other = (random.integers(0, 255, (40, 50, 3), dtype=np.uint8) for _ in range(2))
    places = np.stack(np.meshgrid(np.arange(50.0), np.arange(40.0)), axis=-1)
    mask = np.zeros((40, 50), bool)
    mask[10:30, 10:40] = True
    same = Laid.of(picture, picture, places, mask)
    assert same.likeness()[mask] == pytest.approx(1, abs=1e-3) and same.colour == 0
    assert Laid.of(picture, other, places, mask).likeness()[mask].mean() < 0.5
    outside = Laid.of(picture, np.where(mask[..., None], picture, other), places, mask)
    assert np.array_equal(outside.likeness()[mask], same.likeness()[mask]) and outside.colour == 0


def test_what_is_flat_is_no_more_like_itself_than_the_texture_that_it_has() -> None:
    known = film()
    fog = (110 + 0.1 * (known.truth.astype(np.float32) - 110)).astype(np.uint8)
    assert number(measure(FAMILY, known, fog), "lvc") < 0.8 > number(measure(FAMILY, known, fog), "tc")
    paler = (110 + 0.75 * (known.truth.astype(np.float32) - 110)).astype(np.uint8)
    assert number(measure(FAMILY, known, paler), "tc") > 0.95


def test_the_truth_has_to_have_something_to_see_again() -> None:
    known = film()
    flat = replace(known, truth=np.full_like(known.truth, 90))
    assert "see the same place" in refusal(measure(FAMILY, flat, known.truth), "tc")


def test_frames_that_are_kept_do_not_grow_with_the_video() -> None:
    for minutes in (5, 60):
        probe = FAMILY.open(Facts(16.0, minutes * 960, (96, 176), known=KNOWN))
        assert isinstance(probe, Coherence)
        assert len(probe.last) <= PAIRS * len(SECONDS) and len(probe.neighbours) <= NEIGHBOURS
        assert sum(len(starts) for starts in probe.ends.values()) == PAIRS * len(SECONDS)


def test_what_is_kept_is_let_go() -> None:
    known = film()
    probe = FAMILY.open(known.facts())
    assert isinstance(probe, Coherence)
    for moment in moments(known):
        probe.see(moment)
    assert not probe.kept


def test_it_says_what_is_missing() -> None:
    known = film()
    short = measure(FAMILY, known.cut(8))
    assert number(short, "tc") == pytest.approx(1)
    for name in ("lvc", "lvc.ssim", "lvc.delta_e"):
        assert "3 s apart" in refusal(short, name)
    single = measure(FAMILY, known.cut(1))
    assert "of 0 pairs" in refusal(single, "tc.flow") and "no two frames" in refusal(single, "covisibility")


def test_without_the_truth_its_own_flow_is_left() -> None:
    known = film().cut(6)
    probe = FAMILY.open(known.facts(known=frozenset({"depth", "poses"})))
    for moment in moments(known, truth=None):
        probe.see(moment)
    found = probe.values()
    assert number(found, "tc.flow") > 0.8
    for name in ("tc", "lvc", "covisibility"):
        assert refusal(found, name) == "not known: truth"


def test_what_cannot_be_followed_is_refused() -> None:
    known = film().cut(4)
    noise = np.random.default_rng(0).integers(0, 255, known.truth.shape, dtype=np.uint8)
    found = measure(FAMILY, known, noise)["tc.flow"]
    assert not isinstance(found, Value) or found.number < 0.3
