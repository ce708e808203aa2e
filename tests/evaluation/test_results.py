"""Results: lines that can be read again, intervals that say how sure a mean is, numbers that are never NaN."""

import numpy as np
import pytest

from longvie.errors import InputError
from longvie.evaluation.metric import Gathered, Metric, Refused, Value
from longvie.evaluation.results import Results, interval, parsed, set_line, suite_line, video_lines, written

METRIC = Metric("some.metric", 2, "a metric", "a formula", "dB", "higher", (0.0, 1.0))


def test_an_interval_holds_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        low, high = interval(random.normal(3.0, 1.0, 40), draws=300) or (0.0, 0.0)
        hits += low <= 3.0 <= high
    assert 175 <= hits <= 199


def test_of_one_video_nothing_is_known_about_others() -> None:
    assert interval([0.5]) is None
    assert "low" not in suite_line(METRIC, [0.5], 0)


def test_windows_come_before_the_whole() -> None:
    value = Value(0.25, 4, windows=((0.0, 0.2), (5.0, 0.3)), curve=((1.0, 0.1),))
    first, second, whole = video_lines("a", METRIC, value)
    assert (first["second"], first["value"], second["second"]) == (0.0, 0.2, 5.0)
    assert whole == {"kind": "video", "video": "a", "metric": "some.metric", "version": 2, "value": 0.25, "n": 4,
                     "curve": [[1.0, 0.1]]}  # fmt: skip


def test_what_is_refused_has_a_reason_and_no_number() -> None:
    (line,) = video_lines("a", METRIC, Refused("too short"))
    assert line["refused"] == "too short" and "value" not in line


def test_what_is_gathered_has_no_number_of_its_own() -> None:
    (line,) = video_lines("a", METRIC, Gathered(np.zeros((3, 2)), np.zeros((4, 2))))
    assert line["gathered"] == [3, 4] and "value" not in line


def test_a_distance_of_sets_brings_its_own_interval() -> None:
    line = set_line(METRIC, Value(2.0, 30, interval=(1.5, 2.5)), 1)
    assert (line["mean"], line["low"], line["high"], line["n"], line["refused"]) == (2.0, 1.5, 2.5, 30, 1)
    assert set_line(METRIC, Refused("few windows"), 0)["why"] == "few windows"


def test_lines_come_back_as_they_were() -> None:
    lines = [{"kind": "run", "title": "ü"}, suite_line(METRIC, [0.1, 0.2, 0.4], 1)]
    assert parsed(written(lines), "x") == lines


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        written([{"kind": "video", "value": float("nan")}])


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"kind": 1}', b'{"metric": "ssim"}', b"[" * 100_000])
def test_what_is_not_ours_is_refused_with_its_line(data: bytes) -> None:
    with pytest.raises(InputError, match="line 2 of some file"):
        parsed(b'{"kind": "run"}\n' + data, "some file")


def test_results_are_asked_by_metric_and_video() -> None:
    lines = [{"kind": "run"}, *video_lines("a", METRIC, Value(0.5, 1, ((0.0, 0.5),))),
             *video_lines("b", METRIC, Refused("no"))]  # fmt: skip
    results = Results(tuple(lines))
    assert results.numbers("some.metric") == {"a": 0.5}
    assert results.windows["a", "some.metric"] == [(0.0, 0.5)]
    assert results.numbers("another") == {}
