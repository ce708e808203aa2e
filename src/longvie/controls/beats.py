"""When the music beats, as JSON: `{"beats": [0.31, 0.82, …]}` in seconds; and how strongly each frame feels it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Float

from longvie.controls.text import check_fields, seconds
from longvie.documents import read_json
from longvie.errors import ScriptError

FADE = 5.0  # a beat has fallen to e^-5 when the next one comes; the world's objects answer to the same curve
MOST_BEATS = 100_000


def read_beats(path: Path) -> tuple[float, ...]:
    """Beat times in seconds from a JSON file.

    Raises:
        ScriptError: no rising list of seconds.
    """
    document = read_json(path)
    if not isinstance(document, Mapping):
        raise ScriptError(f'{path.name} holds no beats: write {{"beats": [0.5, 1.0]}}')
    check_fields(document, required=("beats",), optional=(), name=path.name)
    listed = document["beats"]
    if not isinstance(listed, list) or not 2 <= len(listed) <= MOST_BEATS:
        raise ScriptError(f"beats of {path.name} must be a list of 2 to {MOST_BEATS:,} seconds")
    times = tuple(seconds(time, f"beats[{index}]") for index, time in enumerate(listed))
    for index, (before, after) in enumerate(pairwise(times), start=1):
        if after <= before:
            raise ScriptError(f"beats[{index}] at {after:g} s does not come after beats[{index - 1}] at {before:g} s")
    return times


def strengths(times: Sequence[float], *, frames: int, fps: float) -> Float[np.ndarray, " f"]:
    """How strong the beat is at each frame: 1 on it, fading until the next; before the first and after the last the
    beat goes on at the nearest pace."""
    beats = np.asarray(times, np.float64)
    moments = np.arange(frames) / fps
    last = np.clip(np.searchsorted(beats, moments, side="right") - 1, 0, len(beats) - 2)
    phase = np.mod((moments - beats[last]) / (beats[last + 1] - beats[last]), 1.0)
    return np.exp(-FADE * phase).astype(np.float32)
