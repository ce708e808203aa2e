"""VBench's dimensions as metrics of a video: each by its own networks, refused by itself where they are missing."""

import warnings
from pathlib import Path

import pytest
import torch
from networks_made import (
    Archive,
    archived,
    clip_shapes,
    frames_of,
    known,
    measured,
    number,
    random,
    refusal,
    shapes,
    sight_shapes,
    video,
)
from networks_made import reading_shapes as read_shapes
from networks_made import vocabulary as words_file
from test_networks_musiq import SMALL
from test_networks_musiq import layout as musiq_layout
from torch import Tensor, nn

from longvie.evaluation import vbench
from longvie.evaluation.families.vbench import ENTRIES, FAMILY, total
from longvie.evaluation.metric import Refused, Value
from longvie.evaluation.networks import musiq
from longvie.evaluation.networks.raft import Raft
from longvie.evaluation.networks.vit import Sizes, Vit
from longvie.evaluation.panel import family
from longvie.evaluation.weights import OFFICIAL, found

QUALITY = tuple(vbench.QUALITY)
NAMES = (*QUALITY, "overall_consistency")
PROMPTS = ((0.0, "a cat"),)


def look(pictures: Tensor) -> Tensor:
    """Mean colours, and how they change across."""
    return torch.cat([pictures.mean(dim=(2, 3)), pictures.diff(dim=3).abs().mean(dim=(2, 3))], dim=-1)


def watch(videos: Tensor) -> Tensor:
    return look(videos.mean(dim=1))


def read(texts: list[str]) -> Tensor:
    return torch.tensor([[float(text.count(letter)) - 0.5 for letter in "aeicts"] for text in texts])


def rate(pictures: Tensor) -> Tensor:
    return 100 * pictures.mean(dim=(1, 2, 3))[:, None]


def judge(features: Tensor) -> Tensor:
    return 10 * features[:, :1]


def halfway(before: Tensor, after: Tensor) -> Tensor:
    return (before + after) / 2


def flow(before: Tensor, after: Tensor) -> Tensor:
    return (after - before)[:, :2]


class Halfway(nn.Module):
    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        return (before + after) / 2


OWN = {
    "dino": look, "clip-b32": look, "clip-l14": look, "aesthetic": judge, "raft": flow, "amt": halfway, "musiq": rate,
    "viclip": watch, "viclip-words": read,
}  # fmt: skip
MINE = family("vbench", ENTRIES, "mine", OWN, derived=(total("vbench"),))


def streams(count: int) -> dict[str, vbench.Stream]:
    """The published formulas around the same networks."""
    return {
        "subject_consistency": vbench.subject_consistency(look),
        "background_consistency": vbench.background_consistency(look),
        "temporal_flickering": vbench.Flickering(),
        "motion_smoothness": vbench.Smoothness(halfway),
        "dynamic_degree": vbench.DynamicDegree(flow, 16.0),
        "aesthetic_quality": vbench.aesthetic_quality(look, judge),
        "imaging_quality": vbench.imaging_quality(rate),
        "overall_consistency": vbench.OverallConsistency(watch, read(["a cat"])[0], count),
    }


def test_every_dimension_is_that_of_its_formula() -> None:
    made = video(11)
    found = measured(MINE, made, facts=known(made, prompts=PROMPTS))
    assert set(found) == {f"mine.vbench.{name}" for name in (*NAMES, "quality")}
    for name, stream in streams(len(made)).items():
        stream.see(frames_of(made))
        value, expected = found[f"mine.vbench.{name}"], stream.value()
        assert isinstance(value, Value) and value.n == expected.n, name
        assert value.number == pytest.approx(expected.number, rel=1e-5), name


def test_without_weights_only_flickering_is_left() -> None:
    """Each of the others says which file, from where, under which licence."""
    made = video(10)
    found = measured(FAMILY, made, facts=known(made, prompts=PROMPTS))
    flickering = vbench.Flickering()
    flickering.see(frames_of(made))
    assert number(found, "vbench.temporal_flickering") == pytest.approx(flickering.value().number)
    for metric in FAMILY.metrics:
        if metric.weights and metric.name != "vbench.quality":  # which names its parts
            reason = refusal(found, metric.name)
            for weights in metric.weights:
                assert weights.file in reason and weights.source in reason and weights.licence in reason


def test_metrics_say_their_weights() -> None:
    files = {metric.name: tuple(weights.file for weights in metric.weights) for metric in FAMILY.metrics}
    assert files == {
        "vbench.subject_consistency": ("dino_vitbase16_pretrain.pth",),
        "vbench.background_consistency": ("ViT-B-32.pt",),
        "vbench.temporal_flickering": (),
        "vbench.motion_smoothness": ("amt-s.torchscript.pt",),
        "vbench.dynamic_degree": ("raft-things.pth",),
        "vbench.aesthetic_quality": ("ViT-L-14.pt", "sa_0_4_vit_l_14_linear.pth"),
        "vbench.imaging_quality": ("musiq_spaq_ckpt-358bb6af.pth",),
        "vbench.overall_consistency": ("ViClip-InternVid-10M-FLT.pth", "bpe_simple_vocab_16e6.txt.gz"),
        "vbench.quality": tuple(dict.fromkeys(file for name in QUALITY for file in files[f"vbench.{name}"])),
    }
    assert all((metric.tier == "W2") == bool(metric.weights) for metric in FAMILY.metrics)


def test_what_is_not_contained_comes_from_an_archive_of_the_user(tmp_path: Path) -> None:
    """AMT-S is no part of the package; a TorchScript archive that does what is said of it takes its place."""
    made = video(5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Halfway()).save(str(tmp_path / "amt-s.torchscript.pt"))
    weights = found(tmp_path)
    assert list(weights) == ["amt"]
    value = measured(FAMILY, made, facts=known(made, weights=weights))["vbench.motion_smoothness"]
    expected = vbench.Smoothness(halfway)
    expected.see(frames_of(made))
    assert isinstance(value, Value) and value.number == pytest.approx(expected.value().number, rel=1e-6)


def test_the_quality_score_is_of_all_seven_or_none() -> None:
    made = video(11)
    found = measured(MINE, made, facts=known(made, prompts=PROMPTS))
    scores = {name: number(found, f"mine.vbench.{name}") for name in QUALITY}
    assert number(found, "mine.vbench.quality") == pytest.approx(vbench.weighted(scores, vbench.QUALITY))
    assert "subject_consistency, " in refusal(measured(FAMILY, made, facts=known(made)), "vbench.quality")


def test_one_dimension_that_breaks_does_not_break_the_others() -> None:
    def broken(pictures: Tensor) -> Tensor:
        return look(pictures) * float("nan")

    made = video(11)
    mine = family("vbench", ENTRIES, "mine", OWN | {"dino": broken})
    found = measured(mine, made, facts=known(made, prompts=PROMPTS))
    assert "not finite" in refusal(found, "mine.vbench.subject_consistency")
    assert sum(isinstance(value, Refused) for value in found.values()) == 1


def test_too_short_videos_are_refused_by_dimension() -> None:
    made = video(1)
    found = measured(MINE, made, facts=known(made, prompts=PROMPTS))
    left = {name for name, value in found.items() if isinstance(value, Value)}
    assert left == {"mine.vbench.aesthetic_quality", "mine.vbench.imaging_quality"}
    assert "8 are looked at" in refusal(found, "mine.vbench.overall_consistency")


def test_overall_consistency_is_of_one_prompt() -> None:
    made, name = video(9), "mine.vbench.overall_consistency"
    mine = family("vbench", ENTRIES[-1:], "mine", {"viclip": watch, "viclip-words": read})
    twice = known(made, prompts=((0.0, "a cat"), (0.5, "a dog")))
    assert "this one has 2" in refusal(measured(mine, made, facts=twice), name)
    again = known(made, prompts=((0.0, "a cat"), (0.5, "a cat")))
    assert -1 <= number(measured(mine, made, facts=again), name) <= 1
    assert refusal(measured(mine, made), name) == "needs prompts"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Files in the published layouts, as small as their layouts allow, with random numbers."""
    folder = tmp_path_factory.mktemp("weights")
    with torch.device("meta"):
        dino, raft = shapes(Vit(Sizes(64, 1, 16, 3, scaled=False))), shapes(Raft())
    seen, words = sight_shapes(64, 1, 14, 257, 8, 8), read_shapes(64, 1, 32, 600, 8)
    viclip = {f"vision_encoder.{name}": it for name, it in seen.items()} | {"temp": ()}
    viclip |= {f"text_encoder.{name}": it for name, it in words.items()}
    saved = {
        "dino": random(dino, scale=0.2),
        "raft": {f"module.{name}": it for name, it in random(raft, scale=0.03).items()},
        "aesthetic": random({"weight": (1, 8), "bias": (1,)}),
        "musiq": random(musiq_layout(*SMALL)),
        "viclip": {"model": random(viclip, scale=0.2)},
    }
    for name, tree in saved.items():
        torch.save(tree, folder / OFFICIAL[name].file)
    for name, patch, places in (("clip-b32", 32, 50), ("clip-l14", 14, 257)):
        tensors = random(clip_shapes(depth=1, patch=patch, places=places), scale=0.2)
        archived(Archive(tensors), folder / OFFICIAL[name].file)
    words_file(folder / OFFICIAL["clip-words"].file)
    return {name: str(folder / OFFICIAL[name].file) for name in (*saved, "clip-b32", "clip-l14", "clip-words")}


def test_it_runs_with_files_in_the_published_layouts(weights: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All but motion smoothness, whose network is not contained."""
    monkeypatch.setattr(musiq, "SIDES", (32, 64))
    made = video(8, size=(128, 128))
    found = measured(FAMILY, made, facts=known(made, fps=32.0, prompts=PROMPTS, weights=weights))
    for name in NAMES:
        if name == "motion_smoothness":
            assert "amt-s.torchscript.pt" in refusal(found, f"vbench.{name}")
        else:
            assert isinstance(found[f"vbench.{name}"], Value), found[f"vbench.{name}"]
    assert number(found, "vbench.subject_consistency") < 1
