"""VBench's formulas against their published descriptions, written anew in numpy; networks are stand-ins."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.evaluation import vbench, vbench_long
from longvie.evaluation.metric import Value

TIGHT = 1e-6


def frames(count: int = 9, size: tuple[int, int] = (6, 8), seed: int = 0) -> Tensor:
    """Noise from 0 to 255 that changes by half from frame to frame."""
    source = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 3, *size, generator=source, dtype=torch.float64) * 255
    return torch.stack([(noise[at] + noise[max(at - 1, 0)]) / 2 for at in range(count)])


def features(count: int = 9, width: int = 5, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=source, dtype=torch.float64) + 0.3


def network(pictures: Tensor) -> Tensor:
    """Four numbers of a picture: something to compare, of any size of picture."""
    weights = torch.linspace(-1, 1, 3 * pictures[0].numel() // 3, dtype=torch.float64)
    flat = pictures.double().flatten(1)
    parts = [flat, flat * weights, (flat * weights * 3).sin(), flat.square()]
    return torch.stack([part.mean(1) for part in parts], dim=1)


def other_network(pictures: Tensor) -> Tensor:
    return network(pictures / 255)[:, [1, 3]] - 0.1


def halfway(before: Tensor, after: Tensor) -> Tensor:
    return (before + after) / 2


def seen(measure: vbench.Stream, video: Tensor, cuts: tuple[int, ...] = ()) -> Value:
    for part in torch.tensor_split(video, cuts):
        measure.see(part)
    return measure.value()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))


def consistency_by_definition(rows: np.ndarray) -> float:
    scores = []
    for t in range(1, len(rows)):
        near, far = cosine(rows[t], rows[t - 1]), cosine(rows[t], rows[0])
        scores.append(0.5 * (max(0.0, near) + max(0.0, far)))
    return float(np.mean(scores))


def linear(at: float) -> list[float]:
    return [1 - at, at]


def cubic(at: float) -> list[float]:
    """Keys' kernel with a = -0.75, at its four neighbours."""
    weights = []
    for distance in (1 + at, at, 1 - at, 2 - at):
        if distance <= 1:
            weights.append(1.25 * distance**3 - 2.25 * distance**2 + 1)
        else:
            weights.append(-0.75 * (distance**3 - 5 * distance**2 + 8 * distance - 4))
    return weights


def line_resized(line: np.ndarray, length: int, kernel: Callable[[float], list[float]]) -> np.ndarray:
    """Sampled at the centres of the new pixels, borders held; nothing is averaged away when it shrinks."""
    made = np.zeros((length, *line.shape[1:]))
    for to in range(length):
        place = (to + 0.5) * len(line) / length - 0.5
        base = math.floor(place)
        weights = kernel(place - base)
        for number, weight in enumerate(weights):
            at = base + number - (len(weights) // 2 - 1)
            made[to] += weight * line[min(max(at, 0), len(line) - 1)]
    return made


def resized_by_definition(picture: np.ndarray, size: tuple[int, int], kernel: Callable) -> np.ndarray:
    """(3, h, w) to (3, *size)."""
    rows = line_resized(picture.transpose(1, 2, 0), size[0], kernel)
    return line_resized(rows.transpose(1, 0, 2), size[1], kernel).transpose(2, 1, 0)


@pytest.mark.parametrize(("size", "to"), [((6, 9), (4, 6)), ((9, 6), (6, 4)), ((3, 5), (4, 6))])
def test_dino_sees_the_shorter_side_bilinear_and_uncropped(size: tuple[int, int], to: tuple[int, int]) -> None:
    picture = frames(1, size)
    expected = resized_by_definition(picture[0].numpy(), to, linear) / 255
    for colour, (mean, deviation) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)):
        expected[colour] = (expected[colour] - mean) / deviation
    assert vbench.dino_input(picture, side=4)[0].numpy() == pytest.approx(expected, abs=TIGHT)


@pytest.mark.parametrize(
    ("size", "to", "crop"),
    [((6, 9), (4, 6), (0, 1)), ((9, 6), (6, 4), (1, 0)), ((4, 5), (4, 5), (0, 0)), ((4, 7), (4, 7), (0, 2))],
)
def test_clip_sees_the_square_in_the_middle_bicubic(
    size: tuple[int, int], to: tuple[int, int], crop: tuple[int, int]
) -> None:
    picture = frames(1, size)
    whole = resized_by_definition(picture[0].numpy(), to, cubic)
    square = whole[:, crop[0] : crop[0] + 4, crop[1] : crop[1] + 4] / 255
    mean = np.array([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    deviation = np.array([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    assert vbench.clip_input(picture, side=4)[0].numpy() == pytest.approx((square - mean) / deviation, abs=TIGHT)


def test_clip_keeps_the_overshoot_of_the_bicubic_filter() -> None:
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 255
    white = (1 - torch.tensor(vbench.CLIP[0])) / torch.tensor(vbench.CLIP[1])
    assert (vbench.clip_input(edge, side=16).amax(dim=(0, 2, 3)) > white + 0.01).all()


def test_musiq_sees_at_most_its_longest_side() -> None:
    picture = frames(1, (6, 9))
    expected = resized_by_definition(picture[0].numpy(), (4, 6), linear) / 255
    assert vbench.musiq_input(picture, side=6)[0].numpy() == pytest.approx(expected, abs=TIGHT)
    assert torch.equal(vbench.musiq_input(picture, side=9), picture / 255)
    assert torch.equal(vbench.musiq_input(picture, side=100), picture / 255)


@pytest.mark.parametrize(
    ("size", "dino", "musiq"),
    [
        ((352, 640), (224, 407), (281, 512)),
        ((480, 832), (224, 388), (295, 512)),
        ((640, 352), (407, 224), (512, 281)),
        ((240, 320), (224, 298), (240, 320)),
    ],
)
def test_sizes_are_those_of_the_published_rules(
    size: tuple[int, int], dino: tuple[int, int], musiq: tuple[int, int]
) -> None:
    picture = torch.zeros(1, 3, *size)
    assert vbench.dino_input(picture).shape == (1, 3, *dino)
    assert vbench.clip_input(picture).shape == (1, 3, 224, 224)
    assert vbench.musiq_input(picture).shape == (1, 3, *musiq)


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (81, (4, 14, 24, 34, 44, 54, 64, 75)),
        (8, tuple(range(8))),
        (16, tuple(range(0, 16, 2))),
        (160, (9, 29, 49, 69, 89, 109, 129, 149)),
    ],
)
def test_viclip_sees_the_middles_of_eight_intervals(count: int, expected: tuple[int, ...]) -> None:
    assert vbench.middles(count) == expected


def test_consistency_is_what_is_published() -> None:
    rows = features()
    expected = consistency_by_definition(rows.numpy())
    assert seen(vbench.Consistency(), rows).number == pytest.approx(expected, abs=TIGHT)
    assert seen(vbench.Consistency(), rows).n == 8
    assert 0.05 < expected < 0.95


def test_consistency_does_not_reward_opposites_and_does_not_see_lengths() -> None:
    there = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    assert seen(vbench.Consistency(), there).number == pytest.approx(0.25)  # of four cosines, one is 1
    rows = features()
    stretched = rows * torch.arange(1, 10)[:, None]
    assert seen(vbench.Consistency(), stretched).number == pytest.approx(seen(vbench.Consistency(), rows).number)


def test_consistency_sees_the_order_of_frames() -> None:
    rows = features()
    shuffled = rows[[0, 5, 2, 7, 4, 1, 6, 3, 8]]
    assert abs(seen(vbench.Consistency(), rows).number - seen(vbench.Consistency(), shuffled).number) > 1e-3


def test_subject_and_background_are_consistency_of_what_their_networks_see() -> None:
    video = frames(7, (6, 9))
    for measure, prepare in (
        (vbench.subject_consistency(network, side=4), vbench.dino_input),
        (vbench.background_consistency(network, side=4), vbench.clip_input),
    ):
        rows = network(prepare(video, 4)).numpy()
        assert seen(measure, video).number == pytest.approx(consistency_by_definition(rows), abs=TIGHT)


def flickering_by_definition(video: np.ndarray) -> float:
    errors = [np.abs(video[t] - video[t - 1]).sum() / video[t].size for t in range(1, len(video))]
    return float((255 - np.mean(errors)) / 255)


def test_flickering_is_what_is_published() -> None:
    video = frames()
    assert seen(vbench.Flickering(), video).number == pytest.approx(flickering_by_definition(video.numpy()), abs=TIGHT)
    blinking = torch.full((4, 3, 5, 5), 100.0)
    blinking[1::2] += 51
    assert seen(vbench.Flickering(), blinking).number == pytest.approx(0.8)
    assert seen(vbench.Flickering(), blinking).n == 3


@pytest.mark.parametrize("count", [7, 8])
def test_smoothness_predicts_the_odd_frames(count: int) -> None:
    video = frames(count)
    pictures = video.numpy()
    errors = [np.abs((pictures[t - 1] + pictures[t + 1]) / 2 - pictures[t]).mean() for t in (1, 3, 5)]
    value = seen(vbench.Smoothness(halfway), video)
    assert value.number == pytest.approx((255 - np.mean(errors)) / 255, abs=TIGHT)
    assert value.n == 3  # of 8 frames, the last has one neighbour


def test_the_interpolator_is_shown_neighbours_in_their_own_precision() -> None:
    asked = []

    def note(before: Tensor, after: Tensor) -> Tensor:
        asked.append((float(before.mean()), float(after.mean()), before.dtype))
        return before

    video = torch.arange(6.0)[:, None, None, None].expand(6, 3, 2, 2)
    value = seen(vbench.Smoothness(note), video)
    assert asked == [(0.0, 2.0, torch.float32), (2.0, 4.0, torch.float32)]
    assert value.number == pytest.approx(254 / 255)


def moving(lengths: list[float], size: tuple[int, int] = (256, 256), share: float = 0.05) -> vbench.FlowNetwork:
    """A flow network that finds these lengths, one pair after another, on `share` of the pixels."""
    left = iter(lengths)

    def flow(*_: Tensor) -> Tensor:
        field = torch.zeros(1, 2, *size, dtype=torch.float64)
        count = math.floor(share * size[0] * size[1])
        length = next(left)
        field.flatten(2)[0, 0, :count], field.flatten(2)[0, 1, :count] = 0.6 * length, -0.8 * length
        return field

    return flow


@pytest.mark.parametrize(
    ("fps", "step"),
    [(8.0, 1), (16.0, 2), (24.0, 3), (25.0, 3), (29.97, 4), (30.0, 4), (12.0, 2), (20.0, 2), (60.0, 8), (3.0, 1)],
)
def test_motion_is_looked_for_eight_times_a_second(fps: float, step: int) -> None:
    pairs = []

    def note(before: Tensor, after: Tensor) -> Tensor:
        pairs.append((int(before.mean()), int(after.mean())))
        return torch.zeros(1, 2, 4, 4)

    video = torch.arange(20.0)[:, None, None, None].expand(20, 3, 4, 4)
    value = seen(vbench.DynamicDegree(note, fps), video, (3, 4, 11))
    looked = list(range(0, 20, step))
    assert pairs == list(pairwise(looked))
    assert value.n == len(looked) - 1


@pytest.mark.parametrize(("shorter", "limit"), [(352, 8.25), (480, 11.25), (256, 6.0)])
def test_motion_is_more_than_six_pixels_of_256(shorter: int, limit: float) -> None:
    video = torch.zeros(2, 3, shorter, shorter + 32)
    for length, expected in ((limit - 1e-3, 0.0), (limit, 0.0), (limit + 1e-3, 1.0)):
        degree = vbench.DynamicDegree(moving([length], (shorter, shorter + 32)), 8.0)
        # 0.6 and 0.8 are not exact in binary: a hair under the limit stands for the limit itself
        degree.flow = moving([length * (1 - 1e-12)], (shorter, shorter + 32))
        assert seen(degree, video).number == expected


@pytest.mark.parametrize(
    ("looked", "needed"), [(3, 1), (4, 1), (6, 2), (8, 2), (10, 2), (11, 3), (14, 4), (16, 4), (18, 4), (22, 6)]
)
def test_a_quarter_of_the_frames_must_move(looked: int, needed: int) -> None:
    video = torch.zeros(looked, 3, 32, 32)
    for moved, expected in ((needed, 1.0), (needed - 1, 0.0)):
        lengths = [9.0] * moved + [0.0] * (looked - 1 - moved)
        assert seen(vbench.DynamicDegree(moving(lengths, (32, 32)), 8.0), video).number == expected


def test_two_still_frames_move_only_as_published() -> None:
    video = torch.zeros(2, 3, 32, 32)
    assert seen(vbench.DynamicDegree(moving([0.0], (32, 32)), 8.0), video).number == 0.0
    assert seen(vbench.DynamicDegree(moving([0.0], (32, 32)), 8.0, compat=True), video).number == 1.0


def test_the_strongest_flow_is_that_of_the_top_twentieth() -> None:
    flow = torch.randn(2, 9, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    lengths = sorted((math.hypot(x, y) for x, y in zip(*flow.flatten(1).tolist(), strict=True)), reverse=True)
    assert vbench.strongest(flow) == pytest.approx(sum(lengths[:4]) / 4, abs=TIGHT)  # 99 pixels, 4.95 of them
    assert vbench.strongest(flow[:, :2, :2]) == pytest.approx(float(flow[:, :2, :2].norm(dim=0).max()))


def test_the_static_filter_keeps_what_does_not_move() -> None:
    video = torch.zeros(5, 3, 32, 32)
    assert vbench.is_static(seen(vbench.DynamicDegree(moving([0.0] * 4, (32, 32)), 8.0), video))
    assert not vbench.is_static(seen(vbench.DynamicDegree(moving([9.0] * 4, (32, 32)), 8.0), video))


def test_aesthetic_quality_is_a_head_on_features_of_length_one() -> None:
    video, weight = frames(5, (6, 9)), np.array([3.0, -1.0, 2.0, 0.5])

    def head(rows: Tensor) -> Tensor:
        return rows @ torch.from_numpy(weight)[:, None] + 5

    rows = network(vbench.clip_input(video, 4)).numpy()
    expected = np.mean([(row / np.linalg.norm(row)) @ weight + 5 for row in rows]) / 10
    value = seen(vbench.aesthetic_quality(network, head, side=4), video)
    assert value.number == pytest.approx(expected, abs=TIGHT) and value.n == 5


@pytest.mark.parametrize("column", [True, False])
def test_imaging_quality_is_the_mean_rating_over_100(column: bool) -> None:
    video = frames(5, (6, 9))

    def musiq(pictures: Tensor) -> Tensor:
        ratings = 100 * pictures.mean(dim=(1, 2, 3))
        return ratings[:, None] if column else ratings

    expected = np.mean([vbench.musiq_input(video[at : at + 1], 6).numpy().mean() for at in range(5)])
    assert seen(vbench.imaging_quality(musiq, side=6), video).number == pytest.approx(expected, abs=TIGHT)


def test_overall_consistency_is_the_cosine_of_eight_frames_and_the_words() -> None:
    video, text = frames(19, (6, 9)), torch.tensor([0.3, -0.2, 0.9, 0.1], dtype=torch.float64)
    shown = []

    def encode(clip: Tensor) -> Tensor:
        shown.append(clip)
        return network(clip[0]).mean(0, keepdim=True)

    value = seen(vbench.OverallConsistency(encode, text, 19, side=4), video, (1, 5, 6, 17))
    chosen = vbench.clip_input(video[[0, 2, 5, 7, 9, 12, 14, 17]], 4)  # edges 0 2 4 7 9 11 14 16 19
    assert shown[0].shape == (1, 8, 3, 4, 4) and torch.allclose(shown[0][0], chosen, atol=1e-12)
    assert value.number == pytest.approx(cosine(network(chosen).mean(0).numpy(), text.numpy()), abs=TIGHT)


def measures(count: int) -> list[vbench.Stream]:
    def flow(before: Tensor, after: Tensor) -> Tensor:
        return (after - before)[:, :2]

    plan = vbench_long.split(count, 2.0, seconds=2.0)
    table = vbench_long.Quantiles((0.0, 1.0), (0.2, 0.9))
    return [
        vbench.subject_consistency(network, side=4),
        vbench.background_consistency(network, side=4),
        vbench.Flickering(),
        vbench.Smoothness(halfway),
        vbench.DynamicDegree(flow, 16.0),
        vbench.aesthetic_quality(network, lambda rows: rows.sum(1), side=4),
        vbench.imaging_quality(lambda pictures: pictures.mean(dim=(1, 2, 3)), side=5),
        vbench.OverallConsistency(lambda clip: network(clip[0])[:1], torch.ones(4).double(), count, side=4),
        vbench_long.LongConsistency(plan, network, other_network, table),
    ]


@pytest.mark.parametrize("number", range(9))
def test_seen_in_parts_is_seen_whole(number: int) -> None:
    video = frames(18, (6, 8))
    whole = seen(measures(18)[number], video)
    for cuts in ((1,), (2, 3, 9), tuple(range(1, 18)), (0, 5, 5)):
        value = seen(measures(18)[number], video, cuts)
        assert value.number == pytest.approx(whole.number, abs=1e-12) and value.n == whole.n


def held(thing: object) -> int:
    """Numbers in all tensors that an object holds."""
    if isinstance(thing, Tensor):
        return thing.untyped_storage().nbytes() // thing.element_size()
    if isinstance(thing, list | tuple):
        return sum(held(part) for part in thing)
    return sum(held(part) for part in vars(thing).values()) if hasattr(thing, "__dict__") else 0


@pytest.mark.parametrize("number", range(9))
def test_what_is_remembered_does_not_grow_with_the_video(number: int) -> None:
    sizes = []
    for count in (18, 90):
        measure = measures(count)[number]
        most = 0
        for frame in frames(count, (6, 8)).split(1):
            measure.see(frame)
            most = max(most, held(measure))
        sizes.append(most)
    assert sizes[0] == sizes[1]


def test_a_frozen_video_is_consistent_and_still() -> None:
    video = frames(1).expand(18, 3, 6, 8)
    subject, background, flicker, smooth, degree, *_, long = [seen(m, video).number for m in measures(18)]
    assert [subject, background, flicker, smooth] == pytest.approx([1.0] * 4)
    assert degree == 0.0
    assert long == pytest.approx((1.0 + 0.9) / 2)  # the stand-in table ends at 0.9


DIMENSIONS = {
    "subject_consistency": 0.95,
    "background_consistency": 0.96,
    "temporal_flickering": 0.98,
    "motion_smoothness": 0.985,
    "dynamic_degree": 0.4,
    "aesthetic_quality": 0.6,
    "imaging_quality": 0.7,
    "object_class": 0.9,
    "multiple_objects": 0.7,
    "human_action": 0.95,
    "color": 0.88,
    "spatial_relationship": 0.75,
    "scene": 0.5,
    "appearance_style": 0.2,
    "temporal_style": 0.24,
    "overall_consistency": 0.26,
}


def test_totals_are_those_of_the_published_scales() -> None:
    quality = (
        (0.95 - 0.1462) / (1 - 0.1462)
        + (0.96 - 0.2615) / (1 - 0.2615)
        + (0.98 - 0.6293) / (1 - 0.6293)
        + (0.985 - 0.706) / (0.9975 - 0.706)
        + 0.4 / 2
        + 0.6
        + 0.7
    ) / 6.5
    words = 0.9 + 0.7 + 0.95 + 0.88 + 0.75 + 0.5 / 0.8222 + (0.2 - 0.0009) / (0.2855 - 0.0009)
    semantic = (words + 0.24 / 0.364 + 0.26 / 0.364) / 9
    assert vbench.weighted(DIMENSIONS, vbench.QUALITY) == pytest.approx(quality, abs=TIGHT)
    assert vbench.weighted(DIMENSIONS, vbench.SEMANTIC) == pytest.approx(semantic, abs=TIGHT)


@pytest.mark.parametrize(
    ("quality", "semantic", "expected"),
    [(86.97, 76.47, 84.87), (86.67, 78.63, 85.06), (85.30, 80.09, 84.26), (85.07, 81.28, 84.31)],
)
def test_totals_are_those_of_the_published_tables(quality: float, semantic: float, expected: float) -> None:
    assert vbench.total(quality, semantic) == pytest.approx(expected, abs=0.0051)


def test_perfect_dimensions_make_one_and_the_worst_make_zero() -> None:
    for scales in (vbench.QUALITY, vbench.SEMANTIC):
        assert vbench.weighted({name: scale.high for name, scale in scales.items()}, scales) == pytest.approx(1)
        assert vbench.weighted({name: scale.low for name, scale in scales.items()}, scales) == pytest.approx(0)
    assert vbench.total(1.0, 1.0) == 1


def test_a_video_counts_once_and_as_published_by_its_frames() -> None:
    values = [Value(0.2, 10), Value(0.8, 30)]
    assert vbench.over_videos(values) == Value(0.5, 2)
    assert vbench.over_videos(values, compat=True).number == pytest.approx((0.2 * 10 + 0.8 * 30) / 40)
    assert vbench.over_videos(values, compat=True).n == 40


@pytest.mark.parametrize(
    ("dimension", "seconds", "custom"),
    [
        ("subject_consistency", 2, 2),
        ("imaging_quality", 2, 2),
        ("human_action", 10, 2),
        ("temporal_style", 10, 2),
        ("overall_consistency", 10, 2),
    ],
)
def test_clips_are_of_two_seconds_or_of_ten(dimension: str, seconds: float, custom: float) -> None:
    assert vbench_long.clip_seconds(dimension) == seconds
    assert vbench_long.clip_seconds(dimension, custom=True) == custom


@pytest.mark.parametrize(
    ("count", "fps", "compat", "clips"),
    [
        (96, 16.0, False, ((0, 32), (32, 64), (64, 96))),
        (81, 16.0, False, ((0, 32), (32, 64), (49, 81))),
        (65, 16.0, False, ((0, 32), (32, 64), (33, 65))),
        (20, 16.0, False, ((0, 20),)),
        (150, 29.97, False, ((0, 60), (60, 120), (90, 150))),
        (150, 29.97, True, ((0, 58), (58, 116), (92, 150))),
        (100, 23.976, False, ((0, 48), (48, 96), (52, 100))),
        (100, 23.976, True, ((0, 46), (46, 92), (54, 100))),
    ],
)
def test_the_last_clip_borrows_from_the_one_before(
    count: int, fps: float, compat: bool, clips: tuple[tuple[int, int], ...]
) -> None:
    plan = vbench_long.split(count, fps, compat=compat)
    assert plan.clips == clips and plan.frames == count and plan.reencode == compat
    assert plan.fps == (float(math.floor(fps)) if compat else fps)


def test_clips_do_not_cross_cuts() -> None:
    plan = vbench_long.split(30, 2.0, cuts=(9, 12))
    assert plan.clips == ((0, 4), (4, 8), (5, 9), (9, 12), (12, 16), (16, 20), (20, 24), (24, 28), (26, 30))


def long_by_definition(
    inside: np.ndarray, across: np.ndarray, clips: tuple, table: vbench_long.Quantiles
) -> list[float]:
    slow = float(np.mean([consistency_by_definition(inside[first:stop]) for first, stop in clips]))
    fast = consistency_by_definition(across[[first for first, _ in clips]])
    aligned = float(np.interp(fast, table.across, table.inside))
    return [slow, fast, (slow + aligned) / 2]


@pytest.mark.parametrize("count", [17, 20, 31])
def test_long_consistency_is_half_inside_clips_and_half_between_them(count: int) -> None:
    video = frames(count, seed=3)
    plan, table = vbench_long.split(count, 2.5), vbench_long.Quantiles((0.1, 0.5, 0.8, 0.99), (0.6, 0.7, 0.95, 0.96))
    probe = vbench_long.LongConsistency(plan, network, other_network, table)
    seen(probe, video, (4, 7, 16))
    expected = long_by_definition(network(video).numpy(), other_network(video).numpy(), plan.clips, table)
    score = probe.score()
    assert score.fast is not None
    assert [score.slow.number, score.fast.number, score.fused.number] == pytest.approx(expected, abs=TIGHT)
    assert score.slow.n == len(plan.clips) and score.fast.n == len(plan.clips) - 1
    assert probe.value() == score.fused
    as_published = vbench_long.LongConsistency(plan, network, other_network, table, compat=True)
    assert seen(as_published, video).number == pytest.approx(expected[0], abs=TIGHT)
    assert abs(expected[0] - expected[2]) > 1e-3


def test_only_the_fast_branch_sees_slow_drift() -> None:
    angle = torch.linspace(0, 1.5, 64, dtype=torch.float64)
    rows = torch.stack([angle.cos(), angle.sin()], dim=1)
    video = rows[:, :1, None, None].expand(64, 3, 1, 2) * 0
    video = video.clone()
    video[:, 0, 0, :] = rows
    identity = vbench_long.Quantiles((0.0, 1.0), (0.0, 1.0))

    def turned(pictures: Tensor) -> Tensor:
        return pictures[:, 0, 0, :]

    plan = vbench_long.split(64, 2.0)
    drifting = vbench_long.LongConsistency(plan, turned, turned, identity)
    seen(drifting, video)
    score = drifting.score()
    assert score.fast is not None
    assert score.slow.number > 0.99 and score.fast.number < 0.9


def test_frames_of_two_clips_are_read_once_and_no_more_than_two_are_open() -> None:
    count, asked, opened = 9, [], []

    def note(pictures: Tensor) -> Tensor:
        asked.append(len(pictures))
        return network(pictures)

    probe = vbench_long.LongConsistency(
        vbench_long.split(count, 2.0), note, other_network, vbench_long.Quantiles((0.0, 1.0), (0.0, 1.0))
    )
    for frame in frames(count).split(1):
        probe.see(frame)
        opened.append(len(probe.open))
    assert sum(asked) == count
    assert probe.plan.clips == ((0, 4), (4, 8), (5, 9)) and max(opened) == 2 and opened[-1] == 0


def test_a_video_of_one_clip_has_no_fast_branch() -> None:
    video, table = frames(4), vbench_long.Quantiles((0.0, 1.0), (0.0, 1.0))
    one = vbench_long.LongConsistency(vbench_long.split(4, 2.0), network, other_network, table)
    with pytest.raises(InputError, match="one clip"):
        seen(one, video)
    published = vbench_long.LongConsistency(vbench_long.split(4, 2.0), network, other_network, table, compat=True)
    expected = consistency_by_definition(network(video).numpy())
    assert seen(published, video).number == pytest.approx(expected, abs=TIGHT)
    assert published.score().fast is None


def test_the_table_is_a_line_between_quantiles_and_ends_hold() -> None:
    table = vbench_long.Quantiles((0.1, 0.4, 0.9), (0.5, 0.8, 0.8))
    for score in np.linspace(0, 1, 23):
        expected = np.interp(score, table.across, table.inside)
        assert table(float(score)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("across", "inside"), [((0.1,), (0.2,)), ((0.1, 0.2), (0.3,)), ((0.2, 0.2), (0.1, 0.2)), ((0.1, 0.2), (0.2, 0.1))]
)
def test_a_table_that_cannot_be_read_is_refused(across: tuple[float, ...], inside: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="quantiles"):
        vbench_long.Quantiles(across, inside)


@pytest.mark.parametrize(
    ("measure", "video"),
    [
        (vbench.Consistency(), features(1)),
        (vbench.Flickering(), frames(1)),
        (vbench.Smoothness(halfway), frames(2)),
        (vbench.DynamicDegree(moving([]), 16.0), frames(2)),
        (vbench.Aesthetic(lambda rows: rows[:, 0]), features(0)),
        (vbench.Imaging(), features(0)[:, 0]),
    ],
    ids=lambda part: type(part).__name__,
)
def test_too_few_frames_are_refused(measure: vbench.Stream, video: Tensor) -> None:
    with pytest.raises(InputError, match="at least"):
        seen(measure, video)


def broken(rows: Tensor) -> Tensor:
    rows = rows.clone()
    rows[-1, 0] = math.nan
    return rows


@pytest.mark.parametrize(
    ("measure", "video"),
    [
        (vbench.Consistency(), broken(features(3))),
        (vbench.Flickering(), broken(frames(3))),
        (vbench.Smoothness(halfway), broken(frames(3))),
        (vbench.Smoothness(lambda before, _: before * math.inf), frames(3)),
        (vbench.DynamicDegree(lambda before, _: (before * math.nan)[:, :2], 8.0), frames(3)),
        (vbench.Aesthetic(lambda rows: rows[:, 0] * math.nan), features(3)),
        (vbench.Imaging(), broken(features(3)[:, :1])),
        (vbench.OverallConsistency(lambda clip: network(clip[0])[:1] * math.nan, features(4)[0], 8, 4), frames(8)),
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_is_not_finite_is_refused(measure: vbench.Stream, video: Tensor) -> None:
    with pytest.raises(InputError, match="not finite"):
        seen(measure, video)


def test_networks_that_give_another_shape_are_refused() -> None:
    with pytest.raises(ShapeError, match="interpolator"):
        seen(vbench.Smoothness(lambda before, _: before[..., :3]), frames(3))
    with pytest.raises(ShapeError, match="one rating a frame"):
        vbench.Imaging().see(features(3))
    with pytest.raises(ShapeError, match="one rating a frame"):
        vbench.Aesthetic(lambda rows: rows).see(features(3))


def test_other_numbers_of_frames_than_announced_are_refused() -> None:
    with pytest.raises(InputError, match="9 frames were announced, 8 came"):
        seen(vbench.OverallConsistency(lambda clip: network(clip[0])[:1], features(4)[0], 9, 4), frames(8))
    table = vbench_long.Quantiles((0.0, 1.0), (0.0, 1.0))
    with pytest.raises(InputError, match="9 frames were announced, 8 came"):
        seen(vbench_long.LongConsistency(vbench_long.split(9, 2.0), network, network, table), frames(8))
    with pytest.raises(InputError, match="8 frames were planned, more came"):
        seen(vbench_long.LongConsistency(vbench_long.split(8, 2.0), network, network, table), frames(9))
    with pytest.raises(InputError, match="7 frames came, 8"):
        vbench.middles(7)


def test_scores_that_are_missing_or_broken_are_refused() -> None:
    without = {name: score for name, score in DIMENSIONS.items() if name not in ("scene", "color")}
    with pytest.raises(InputError, match="missing: color, scene"):
        vbench.weighted(without, vbench.SEMANTIC)
    assert vbench.weighted(without, vbench.QUALITY) > 0
    with pytest.raises(InputError, match="finite: dynamic_degree"):
        vbench.weighted({**DIMENSIONS, "dynamic_degree": math.nan}, vbench.QUALITY)
    with pytest.raises(InputError, match="no video"):
        vbench.over_videos([])


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(fps: float) -> None:
    with pytest.raises(ConfigError, match="fps must be positive"):
        vbench.DynamicDegree(moving([]), fps)
    for compat in (False, True):
        with pytest.raises(ConfigError, match="fps must be positive"):
            vbench_long.split(40, fps, compat=compat)


def test_clips_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(ConfigError, match="fps must be positive"):
        vbench_long.split(40, 0.9, compat=True)
    with pytest.raises(ConfigError, match="seconds must be positive"):
        vbench_long.split(40, 16.0, seconds=0.0)
    with pytest.raises(ConfigError, match="have 1 frames"):
        vbench_long.split(40, 16.0, seconds=0.08)
    with pytest.raises(InputError, match="a scene of 1 frames"):
        vbench_long.split(1, 16.0)
    with pytest.raises(InputError, match="a scene of 1 frames"):
        vbench_long.split(40, 16.0, cuts=(20, 21))
    for cuts in ((0,), (40,), (20, 20), (30, 20)):
        with pytest.raises(ConfigError, match="cuts must ascend"):
            vbench_long.split(40, 16.0, cuts=cuts)
    with pytest.raises(ConfigError, match="no VBench dimension 'colour'"):
        vbench_long.clip_seconds("colour")
