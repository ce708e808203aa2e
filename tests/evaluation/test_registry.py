"""Every metric there is: named once, fully described, and opened on a short video without a crash."""

from collections.abc import Iterator

import numpy as np
import pytest

from longvie.errors import ConfigError, InputError
from longvie.evaluation import registry
from longvie.evaluation.measure import measure
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Refused, Value
from longvie.evaluation.tally import Tally

NAMES = sorted(registry.metrics())


def video(frames: int = 40, *, size: tuple[int, int] = (48, 64), seed: int = 0) -> np.ndarray:
    """A texture that moves a pixel to the right in each frame."""
    wide = np.random.default_rng(seed).integers(0, 256, (size[0], size[1] + frames, 3), dtype=np.uint8)
    return np.stack([wide[:, frames - at : frames - at + size[1]] for at in range(frames)])


def moments(made: np.ndarray, truth: np.ndarray | None = None) -> Iterator[Moment]:
    before = None
    for number, picture in enumerate(made):
        true = None if truth is None else truth[number]
        before = Moment(number, number / 16, picture, true, before=None if before is None else before.forget())
        yield before


def facts(made: np.ndarray, **named: object) -> Facts:
    known = frozenset({"truth", *(("borders",) if "borders" in named else ())})
    return Facts(fps=16.0, frames=len(made), size=made.shape[1:3], known=known, **named)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_fully_described(name: str) -> None:
    metric = registry.find(name)
    assert metric.version >= 1 and metric.title and len(metric.formula) > 10
    assert metric.range[0] < metric.range[1]
    assert not set(metric.sees) & set(metric.ignores)
    assert metric.tier == "W2" or not metric.weights


def test_what_is_not_there_is_named_with_what_is_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'drift\.colour'"):
        registry.find("drift.color")
    with pytest.raises(ConfigError, match="no suite 'slow'; there are quick"):
        registry.suite("slow")


def test_the_quick_suite_measures_a_video_against_itself() -> None:
    made = video()
    found = measure(facts(made, borders=(20,)), moments(made, made), registry.suite("quick"))
    assert found["ssim"] == Value(1.0, 40, found["ssim"].windows)  # type: ignore[union-attr]
    assert found["psnr"].number == 100.0  # type: ignore[union-attr]
    assert found["guard.frozen"].number == 0 and found["guard.motion_ratio"].number == pytest.approx(1)  # type: ignore[union-attr]
    assert found["drift.colour"].number == pytest.approx(0, abs=1e-6)  # type: ignore[union-attr]
    assert isinstance(found["seam.z"], Value)
    assert all(isinstance(value, Value | Refused) for value in found.values())


def test_needs_that_are_not_known_are_refused_and_the_rest_goes_on() -> None:
    made = video()
    bare = Facts(fps=16.0, frames=len(made), size=(48, 64))
    found = measure(bare, moments(made), registry.suite("quick"))
    assert found["ssim"] == Refused("needs truth")
    assert found["seam.z"] == Refused("needs borders")
    assert isinstance(found["temporal.flickering"], Value)


def test_a_family_that_fails_is_refused_with_its_reason_and_others_are_not() -> None:
    class Failing:
        def see(self, moment: Moment) -> None:
            if moment.number == 3:
                raise InputError("frame 3 is broken")

        def values(self) -> dict[str, Value]:
            raise AssertionError

    broken = Family(
        "broken", (Metric("broken.it", 1, "it", "a formula of it", "", "lower", (0.0, 1.0)),), lambda _: Failing()
    )
    made = video(12)
    found = measure(facts(made), moments(made, made), (broken, *registry.suite("quick")))
    assert found["broken.it"] == Refused("frame 3 is broken")
    assert isinstance(found["ssim"], Value)


@pytest.mark.parametrize("frames", [11, 13])
def test_another_number_of_frames_than_announced_is_an_error(frames: int) -> None:
    with pytest.raises(InputError, match=f"{frames} frames came, 12 were announced"):
        measure(facts(video(12)), moments(video(frames), video(frames)), registry.suite("quick"))


def test_a_number_that_is_none_is_no_value() -> None:
    with pytest.raises(InputError, match="must be refused"):
        Value(float("nan"), 3)


def test_a_tally_keeps_parts_and_refuses_to_be_the_mean_of_nothing() -> None:
    tally = Tally(16.0)
    assert tally.mean() == Refused("0 samples, 1 are needed")
    for at in range(160):
        tally.add(at / 16, float(at >= 80))
    assert tally.mean() == Value(0.5, 160, ((0.0, 0.0), (5.0, 1.0)))
