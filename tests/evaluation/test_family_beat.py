"""Motion on the beat: found where it is, and no better than chance where it is not."""

import numpy as np
import pytest

from longvie.data.world import scene
from longvie.evaluation.families import beat
from longvie.evaluation.film import Film, filmed
from longvie.evaluation.measure import measure
from longvie.evaluation.metric import Facts, Refused, Value

FPS = 16.0


def pulses(seconds: np.ndarray, frames: int) -> np.ndarray:
    """A quiet envelope with a pulse at each of these moments."""
    at = (np.arange(frames) + 0.5) / FPS
    quiet = np.random.default_rng(0).uniform(0.9, 1.1, frames)
    return quiet + 5 * np.exp(-0.5 * ((at[:, None] - seconds[None]) / 0.05) ** 2).max(1)


def test_peaks_are_found_between_frames() -> None:
    there = np.arange(0.83, 18, 0.71)
    found = beat.peaks(pulses(there, 320), FPS)
    near = np.abs(there[:, None] - found[None]).min(1)
    assert near.max() < 0.02 and len(found) < 1.3 * len(there)


def test_what_lies_on_the_beat_is_far_beyond_chance_and_what_does_not_is_not() -> None:
    beats = np.arange(0.5, 60, 0.6)
    on, chance = beat.aligned(beats + 0.01, beats)
    assert on > 0.95 and chance == pytest.approx(0.05 * np.sqrt(2 * np.pi) / 0.6)
    random = np.sort(np.random.default_rng(2).uniform(0, 60, 4000))
    by_luck, chance = beat.aligned(random, beats)
    assert by_luck == pytest.approx(chance, abs=0.03)


def test_a_constant_envelope_has_no_peaks() -> None:
    assert len(beat.peaks(np.ones(100), FPS)) == 0
    assert len(beat.peaks(np.ones(3), FPS)) == 0


@pytest.fixture(scope="module")
def film() -> Film:
    """A world whose things answer the beat."""
    return filmed(scene(700_000_007, "test"), 112)


def test_the_world_moves_on_its_beats_and_late_by_half_a_beat_it_does_not(film: Film) -> None:
    family, period = [beat.FAMILY], 1 / film.scene.tempo
    on = measure(film.facts, film.moments(), family)["beat"]
    shifted = tuple(time + period / 2 for time in film.facts.beats)
    late = Facts(**{**vars(film.facts), "beats": shifted})
    off = measure(late, film.moments(), family)["beat"]
    assert isinstance(on, Value) and isinstance(off, Value)
    assert on.number > 0.4 and off.number < 0.1


def test_too_few_beats_are_refused(film: Film) -> None:
    facts = Facts(**{**vars(film.facts), "beats": film.facts.beats[:2]})
    assert isinstance(measure(facts, film.moments(), [beat.FAMILY])["beat"], Refused)
