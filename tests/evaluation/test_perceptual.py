"""LPIPS and the CLIP scores against their papers, place by place and frame by frame, with stand-in networks."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.evaluation.perceptual import VARIANTS, ClipScore, Lpips, lpips, lpips_input

TIGHT = 1e-6
HEADS = (torch.tensor([0.3, 0.0, 1.2]).double(), torch.tensor([0.7, 0.1]).double())


def pictures(count: int = 3, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, 4, 6, generator=source, dtype=torch.float64) * 2 - 1


def backbone(scaled: Tensor) -> list[Tensor]:
    """Two layers of other sizes: 3 channels at full size, 2 at half."""
    half = scaled[:, :2, ::2, ::2]
    return [scaled.sin() + 0.2, half * half - 0.3 * half]


def lpips_by_definition(made: np.ndarray, truth: np.ndarray) -> float:
    """One pair, place by place."""
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pictures in [0, 1]
    layers = []
    for picture in (made, truth):
        scaled = np.stack([((picture[c] + 1) / 2 - mean[c]) / deviation[c] for c in range(3)])
        layers.append([layer[0].numpy() for layer in backbone(torch.from_numpy(scaled)[None])])
    whole = 0.0
    for a, b, head in zip(*layers, HEADS, strict=True):
        _, height, width = a.shape
        for y in range(height):
            for x in range(width):
                one, two = a[:, y, x] / np.linalg.norm(a[:, y, x]), b[:, y, x] / np.linalg.norm(b[:, y, x])
                whole += float(head.numpy() @ (one - two) ** 2) / (height * width)
    return whole


def test_lpips_is_what_is_published() -> None:
    made, truth = pictures(seed=1), pictures(seed=2)
    expected = [lpips_by_definition(a.numpy(), b.numpy()) for a, b in zip(made, truth, strict=True)]
    assert lpips(made, truth, backbone, HEADS).numpy() == pytest.approx(expected, abs=TIGHT)
    assert min(expected) > 0.1


def test_the_input_is_scaled_as_published() -> None:
    """The published numbers are ImageNet's for [-1, 1], to three digits."""
    grey = lpips_input(torch.zeros(1, 3, 2, 2).double())[0, :, 0, 0]
    assert grey.tolist() == pytest.approx([0.030 / 0.458, 0.088 / 0.448, 0.188 / 0.450], abs=1e-12)
    white = lpips_input(torch.ones(1, 3, 2, 2).double())[0, :, 1, 1]
    assert white.tolist() == pytest.approx([1.030 / 0.458, 1.088 / 0.448, 1.188 / 0.450], abs=1e-12)


def test_equal_pictures_are_at_no_distance_and_distance_has_no_direction() -> None:
    made, truth = pictures(seed=1), pictures(seed=2)
    assert lpips(made, made, backbone, HEADS).tolist() == [0.0] * 3
    assert torch.allclose(lpips(made, truth, backbone, HEADS), lpips(truth, made, backbone, HEADS))
    near, far = (lpips(truth + s * (made - truth), truth, backbone, HEADS).mean() for s in (0.1, 0.6))
    assert 0 < near < far


def test_the_length_of_a_feature_does_not_count_and_zero_stays_zero() -> None:
    made, truth = pictures(seed=1), pictures(seed=2)

    def longer(scaled: Tensor) -> list[Tensor]:
        return [5 * layer for layer in backbone(scaled)]

    assert torch.allclose(lpips(made, truth, longer, HEADS), lpips(made, truth, backbone, HEADS))
    nothing = lpips(made, truth, lambda scaled: [layer * 0 for layer in backbone(scaled)], HEADS)
    assert nothing.tolist() == [0.0] * 3


def test_a_video_is_the_mean_of_its_frames() -> None:
    made, truth = pictures(7, seed=1), pictures(7, seed=2)
    probe = Lpips(backbone, HEADS)
    for a, b in zip(made.tensor_split((0, 2, 3)), truth.tensor_split((0, 2, 3)), strict=True):
        probe.see(a, b)
    value = probe.value()
    assert value.number == pytest.approx(float(lpips(made, truth, backbone, HEADS).mean()), abs=1e-12)
    assert value.n == 7


def test_heads_and_layers_that_do_not_fit_are_refused() -> None:
    made, truth = pictures(seed=1), pictures(seed=2)
    with pytest.raises(ConfigError, match="no negative weights"):
        lpips(made, truth, backbone, (HEADS[0], -HEADS[1]))
    with pytest.raises(ShapeError, match="2 layers, there are 1 heads"):
        lpips(made, truth, backbone, HEADS[:1])
    with pytest.raises(ShapeError, match="3 channels met a head of 2"):
        lpips(made, truth, backbone, HEADS[::-1])
    with pytest.raises(InputError, match="at least 1 frame"):
        Lpips(backbone, HEADS).value()


def test_pictures_and_layers_that_are_not_finite_are_refused() -> None:
    made, truth = pictures(seed=1), pictures(seed=2)
    with pytest.raises(InputError, match="pictures that are not finite"):
        lpips(made * math.nan, truth, backbone, HEADS)
    with pytest.raises(InputError, match="pictures that are not finite"):
        lpips(made, truth * math.inf, backbone, HEADS)
    with pytest.raises(InputError, match="features that are not finite"):
        lpips(made, truth, lambda scaled: [layer * math.nan for layer in backbone(scaled)], HEADS)


def features(count: int, seed: int = 0, width: int = 4) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosines(images: np.ndarray, text: np.ndarray) -> np.ndarray:
    return np.array([image @ text / np.sqrt((image @ image) * (text @ text)) for image in images])


def scored(
    variant: str, images: Tensor, texts: Tensor, starts: Sequence[float], cuts: tuple[int, ...] = ()
) -> ClipScore:
    probe = ClipScore(texts, starts, 4.0, len(images), variant)
    for part in images.tensor_split(cuts):
        probe.see(part)
    return probe


SEGMENTS = ((0, 16), (16, 28), (28, 41))
EIGHT = (  # middles of 8 equal intervals of 16, 12 and 13 frames
    [0, 2, 4, 6, 8, 10, 12, 14],
    [0, 1, 3, 4, 6, 7, 9, 10],
    [0, 1, 3, 4, 6, 8, 9, 11],
)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("longlive", lambda c, _: 100 * c.mean()),
        ("torchmetrics", lambda c, _: max(100 * c.mean(), 0)),
        ("original", lambda c, _: np.mean([2.5 * max(one, 0) for one in c])),
        ("clipsim", lambda c, _: c.mean()),
        ("vbench", lambda c, eight: c[eight].mean()),
    ],
)
def test_each_score_is_its_own_formula_for_each_segment(
    variant: str, expected: Callable[[np.ndarray, list[int]], float]
) -> None:
    images, texts, starts = features(41), features(3, seed=1), (0.0, 4.0, 7.0)
    found = [cosines(images[a:b].numpy(), text.numpy()) for (a, b), text in zip(SEGMENTS, texts, strict=True)]
    scores = [expected(c, eight) for c, eight in zip(found, EIGHT, strict=True)]
    value = scored(variant, images, texts, starts, (5, 16, 30)).value()
    assert [score for _, score in value.windows] == pytest.approx(scores, abs=TIGHT)
    assert [start for start, _ in value.windows] == [0.0, 4.0, 7.0]
    assert value.number == pytest.approx(sum(scores) / 3, abs=TIGHT)
    assert value.n == (24 if variant == "vbench" else 41)


def test_the_variants_differ_where_frames_and_words_disagree() -> None:
    text = torch.tensor([[1.0, 0.0]])
    images = torch.tensor([[1.0, 0.0]] * 3 + [[-1.0, 0.0]] * 5)  # mean cosine -0.25
    found = {name: scored(name, images, text, (0.0,)).value().number for name in VARIANTS}
    expected = {"longlive": -25.0, "torchmetrics": 0.0, "original": 2.5 * 3 / 8, "clipsim": -0.25, "vbench": -0.25}
    assert found == pytest.approx(expected)


def test_lengths_of_features_do_not_count() -> None:
    images, texts = features(12), features(1, seed=1)
    stretched = scored("longlive", images * torch.arange(1, 13)[:, None], texts * 9, (0.0,)).value()
    assert stretched.number == pytest.approx(scored("longlive", images, texts, (0.0,)).value().number)


def test_segments_begin_at_the_first_frame_at_or_after_their_prompt() -> None:
    texts, images = features(2, seed=1), features(12)
    assert scored("clipsim", images, texts, (0.0, 1.01)).borders == (0, 5, 12)
    assert ClipScore(texts, (0.0, 2.2), 25.0, 60).borders == (0, 55, 60)  # 2.2 · 25 is a hair above 55
    assert ClipScore(texts, (0.0, 10.0), 29.97, 400).borders == (0, 300, 400)


def test_swapped_prompts_swap_nothing_but_their_segments() -> None:
    texts = features(2, seed=1)
    images = torch.cat([texts[:1].expand(6, -1), texts[1:].expand(6, -1)])
    assert scored("longlive", images, texts, (0.0, 1.5)).value().number == pytest.approx(100)
    assert scored("longlive", images, texts.flip(0), (0.0, 1.5)).value().number < 90


@pytest.mark.parametrize("starts", [(0.5, 2.0), (0.0, 0.0), (0.0, -1.0), (0.0, math.nan)])
def test_prompts_out_of_order_are_refused(starts: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="start at 0 s and ascend"):
        ClipScore(features(2), starts, 4.0, 12)


def test_no_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="start at 0 s"):
        ClipScore(features(0), (), 4.0, 12)
    with pytest.raises(ShapeError, match="2 prompts came with 3 starts"):
        ClipScore(features(2), (0.0, 1.0, 2.0), 4.0, 12)


@pytest.mark.parametrize("starts", [(0.0, 3.0), (0.0, 0.3, 0.4)])
def test_a_prompt_without_a_frame_is_refused(starts: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="for a frame at least"):
        ClipScore(features(len(starts)), starts, 4.0, 12)


def test_a_segment_too_short_for_eight_frames_is_refused() -> None:
    with pytest.raises(InputError, match="7 frames came, 8 are looked at"):
        ClipScore(features(1), (0.0,), 4.0, 7, "vbench")


def test_other_things_that_cannot_be_scored_are_refused() -> None:
    with pytest.raises(ConfigError, match="no CLIP score 'clip'"):
        ClipScore(features(1), (0.0,), 4.0, 12, "clip")
    for fps in (0.0, math.nan):
        with pytest.raises(ConfigError, match="fps must be positive"):
            ClipScore(features(1), (0.0,), fps, 12)
    with pytest.raises(InputError, match="not finite"):
        ClipScore(features(1) * math.nan, (0.0,), 4.0, 12)
    with pytest.raises(InputError, match="not finite"):
        scored("longlive", features(12) * math.inf, features(1), (0.0,))
    probe = ClipScore(features(1), (0.0,), 4.0, 12)
    probe.see(features(11))
    with pytest.raises(InputError, match="12 frames were announced, 11 came"):
        probe.value()
    with pytest.raises(InputError, match="12 frames were announced, more came"):
        probe.see(features(2))
