"""Families that need pictures alone: what they are on known videos, and how they follow a known fault."""

from functools import cache

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from test_registry import facts, moments

from longvie.evaluation import colour, fidelity, registry
from longvie.evaluation.families import drift, seam, similarity, temporal
from longvie.evaluation.measure import measure
from longvie.evaluation.metric import WORKING, Facts, Moment, Refused, Value

FRAMES = 96
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)


@cache
def wandering() -> np.ndarray:
    """Smooth blobs that wander: 6 s at 16 frames a second."""
    y, x = np.mgrid[0:48, 0:64].astype(np.float32)
    frames = []
    for at in range(FRAMES):
        layers = [np.sin((x + 0.7 * at) / 5 + k) * np.cos((y - 0.3 * at) / (4 + k)) for k in range(3)]
        frames.append(np.clip(120 + 70 * np.stack(layers, axis=-1), 0, 255))
    return np.stack(frames).astype(np.uint8)


@pytest.fixture
def truth() -> np.ndarray:
    return wandering()


@cache
def found_of(fault: str, level: float) -> dict[str, float]:
    """What is found of the truth with a fault, once in a run of the tests."""
    return numbers(faulty(wandering(), fault, level), wandering())


def numbers(made: np.ndarray, truth: np.ndarray, **named: object) -> dict[str, float]:
    found = measure(facts(made, borders=(48,), **named), moments(made, truth), registry.suite("quick"))
    return {name: value.number for name, value in found.items() if isinstance(value, Value)}


def faulty(truth: np.ndarray, fault: str, level: float) -> np.ndarray:
    """The truth with a fault whose size grows with the level from none."""
    random = np.random.default_rng(0)
    along = np.linspace(0, 1, len(truth))[:, None, None, None]
    values = truth.astype(np.float32)
    if fault == "noise":
        values = values + random.normal(0, 1, values.shape) * 20 * level
    if fault == "blur":
        sizes = 0.01 + 3 * level * along.ravel()
        values = np.stack([cv2.GaussianBlur(v, (0, 0), size) for v, size in zip(values, sizes.tolist(), strict=True)])
    if fault == "saturation":
        grey = values.mean(-1, keepdims=True)
        values = grey + (values - grey) * (1 + level * along) + 20 * level * along
    if fault == "flicker":
        values = values * (1 + 0.1 * level * random.choice([-1, 1], (len(values), 1, 1, 1)))
    if fault == "seam":
        values[48:] = np.roll(values[48:], round(6 * level), axis=2) * (1 - 0.1 * level)
    if fault == "frozen":
        values[round((1 - level) * (len(values) - 1)) + 1 :] = values[round((1 - level) * (len(values) - 1))]
    return np.clip(values, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("fault", "name", "sign"),
    [
        ("noise", "ssim", -1), ("noise", "psnr", -1), ("blur", "ssim", -1), ("noise", "temporal.flickering", -1),
        ("flicker", "temporal.flickering", -1), ("blur", "guard.sharpness_ratio", -1), ("noise", "guard.sharpness", 1),
        ("saturation", "drift.colour", 1), ("saturation", "drift.contrast", 1), ("blur", "drift.sharpness", -1),
        ("blur", "drift.sharpness_course", 1), ("seam", "seam.z", 1), ("seam", "seam.worst", 1),
        ("frozen", "guard.frozen", 1),
    ],
)  # fmt: skip
def test_a_metric_follows_the_fault_that_it_sees(fault: str, name: str, sign: int) -> None:
    values = [sign * found_of(fault, level)[name] for level in LEVELS]
    assert spearmanr(LEVELS, values).statistic > 0.89, values
    assert values[-1] > values[0]


@pytest.mark.parametrize(
    ("fault", "name", "most"),
    [("noise", "drift.colour", 0.5), ("flicker", "drift.colour", 1.0), ("blur", "seam.z", 1.0),
     ("saturation", "seam.z", 1.0), ("saturation", "guard.frozen", 0.01), ("flicker", "drift.sharpness", 0.05)],
)  # fmt: skip
def test_a_metric_hardly_moves_with_a_fault_that_it_ignores(fault: str, name: str, most: float) -> None:
    clean, bad = (found_of(fault, level)[name] for level in (0.0, 1.0))
    assert abs(bad - clean) < most


def test_ssim_and_psnr_are_those_of_fidelity_and_equal_pictures_are_equal(truth: np.ndarray) -> None:
    made, true = faulty(truth, "noise", 0.7)[5], truth[5]
    x, y = (torch.from_numpy(it).permute(2, 0, 1)[:, None] / 255 for it in (made, true))
    assert similarity.similar(made, true, ())[0] == pytest.approx(float(fidelity.ssim(x, y)), abs=1e-5)
    assert similarity.psnr(made, true) == pytest.approx(float(fidelity.psnr(x, y)), abs=1e-4)
    assert similarity.similar(true, true, similarity.weights(176, 352)[:2]) == pytest.approx((1, 1), abs=1e-6)
    assert similarity.psnr(true, true) == similarity.MOST


def test_ms_ssim_is_its_definition(truth: np.ndarray) -> None:
    """Structure at every scale but the last, all of SSIM there; by torch, in double precision."""
    made, true = faulty(truth, "blur", 0.5)[60], truth[60]
    x, y = (torch.from_numpy(it).permute(2, 0, 1)[:, None].double() / 255 for it in (made, true))
    structure = _structure(x, y).mean()
    halved = [torch.nn.functional.avg_pool2d(it, 2) for it in (x, y)]
    expected = structure**0.3 * fidelity.ssim_map(*halved).mean() ** 0.7
    assert similarity.similar(made, true, (0.3, 0.7))[1] == pytest.approx(float(expected), abs=1e-5)
    assert [len(similarity.weights(side, 2 * side)) for side in (43, 44, 96, 176, 352)] == [0, 2, 3, 4, 5]
    assert sum(similarity.weights(96, 176)) == pytest.approx(1)


def _structure(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The second factor of SSIM: SSIM over that of the local means alone."""
    a, b = fidelity._blurred(x), fidelity._blurred(y)
    bright = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    return fidelity.ssim_map(x, y) / bright


def test_colours_are_those_of_scikit_image() -> None:
    from skimage.color import rgb2lab

    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.abs(colour.lab(picture) - rgb2lab(picture)).max() < 1e-3
    assert np.abs(colour.lab((picture / 255).astype(np.float32)) - rgb2lab(picture)).max() < 1e-3


def test_large_pictures_are_worked_on_at_a_smaller_size_and_move_as_far(truth: np.ndarray) -> None:
    large = [
        cv2.resize(np.roll(truth[0], shift, axis=1), (512, 384), interpolation=cv2.INTER_CUBIC) for shift in (0, 1)
    ]
    before = Moment(0, 0.0, large[0])
    now = Moment(1, 0.1, large[1], before=before)
    assert now.small.shape == now.lab.shape == (WORKING, 171, 3)
    assert np.median(now.flow[20:-20, 20:-20, 0]) == pytest.approx(171 / 64, abs=0.3)
    assert np.array_equal(now.flow, Moment(1, 0.1, large[1], before=before).flow)


def test_a_frozen_video_does_not_pass_its_guards(truth: np.ndarray) -> None:
    found = numbers(np.repeat(truth[:1], FRAMES, axis=0), truth)
    assert found["temporal.flickering"] == 1.0  # it would win
    assert found["guard.frozen"] == 1.0 and found["guard.motion_ratio"] == 0.0


def test_colour_drift_is_the_known_change_of_colour() -> None:
    """A grey picture that becomes brighter by 10 L* has drifted by 10."""
    from skimage.color import lab2rgb

    def grey(lightness: float) -> np.ndarray:
        return np.full((48, 64, 3), round(float(lab2rgb([[[lightness, 0.0, 0.0]]])[0, 0, 0]) * 255), np.uint8)

    made = np.stack([grey(40.0 + 10 * (at >= FRAMES // 2)) for at in range(FRAMES)])
    still = np.stack([grey(40)] * FRAMES)
    found = numbers(made, still)
    assert found["drift.colour"] == pytest.approx(10, abs=0.3)
    assert found["drift.start_end"] == pytest.approx(10, abs=0.3)
    assert numbers(made, made)["drift.colour"] == pytest.approx(0, abs=1e-5)  # the truth does the same


def test_early_parts_weigh_more_in_the_course_of_sharpness() -> None:
    early = drift._course(((0.0, 1.0), (5.0, 2.0), (10.0, 1.0)))
    late = drift._course(((0.0, 1.0), (5.0, 1.0), (10.0, 2.0)))
    assert isinstance(early, Value) and isinstance(late, Value)
    assert early.number == pytest.approx(2 / 3) and late.number == pytest.approx(1 / 3)
    assert isinstance(drift._course(((0.0, 1.0),)), Refused)


def test_the_slope_is_the_median_of_all_pairs() -> None:
    assert drift._theil_sen(((0.0, 0.0), (5.0, 1.0), (10.0, 2.0), (15.0, 3.0), (20.0, 30.0))) == pytest.approx(12.0)
    assert drift._theil_sen(((0.0, 1.0),)) is None


def test_short_videos_have_no_drift_and_borders_near_the_end_no_neighbourhood(truth: np.ndarray) -> None:
    short = truth[:16]
    found = measure(facts(short, borders=(15,)), moments(short, short), (drift.FAMILY, seam.FAMILY))
    assert all(isinstance(value, Refused) for name, value in found.items() if name.startswith("drift"))
    long = measure(facts(truth, borders=()), moments(truth, truth), (seam.FAMILY,))
    assert long["seam.z"] == Refused("no clip borders are known")


def test_motion_is_in_shares_of_the_shorter_side_a_second() -> None:
    """A texture that moves a pixel a frame at 16 frames a second in pictures 48 high."""
    from test_registry import video

    made = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in video(24)])
    found = measure(Facts(fps=16.0, frames=24, size=(48, 64)), moments(made), (temporal.FAMILY,))
    assert found["guard.motion"].number == pytest.approx(16 / 48, rel=0.25)  # type: ignore[union-attr]


def test_a_moment_forgets_what_came_before_it() -> None:
    first, second = Moment(0, 0.0, np.zeros((8, 8, 3), np.uint8)), None
    second = Moment(1, 0.1, np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), before=first)
    assert second.forget().before is None
    assert second.true.before is None
