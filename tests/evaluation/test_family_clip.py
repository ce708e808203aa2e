"""CLIPScore as a metric of a video: prompt by prompt, in three usual units."""

from pathlib import Path

import pytest
import torch
from networks_made import Archive, archived, clip_shapes, frames_of, known, measured, number, random, refusal, video
from networks_made import vocabulary as words_file
from torch import Tensor

from longvie.evaluation.families.clip import ENTRIES, FAMILY
from longvie.evaluation.metric import Facts, Value
from longvie.evaluation.panel import family
from longvie.evaluation.perceptual import ClipScore
from longvie.evaluation.vbench import clip_input

PROMPTS = ((0.0, "a red cat"), (0.5, "the sea at night"), (1.0, "a cat"))
NAMES = ("clip.score", "clip.score_original", "clip.similarity")


def look(pictures: Tensor) -> Tensor:
    """Mean colours, and how they change across."""
    return torch.cat([pictures.mean(dim=(2, 3)), pictures.diff(dim=3).abs().mean(dim=(2, 3))], dim=-1)


def read(texts: list[str]) -> Tensor:
    """Letters counted."""
    return torch.tensor([[float(text.count(letter)) - 0.5 for letter in "aeicts"] for text in texts])


MINE = family("clip", ENTRIES, "mine", {"clip-b32": look, "clip-b32-words": read})


def test_each_segment_is_scored_with_its_own_prompt() -> None:
    made = video(12)
    found = measured(MINE, made, facts=known(made, 8.0, prompts=PROMPTS))
    for name, variant in zip(NAMES, ("longlive", "original", "clipsim"), strict=True):
        value = found[f"mine.{name}"]
        scored = ClipScore(read([text for _, text in PROMPTS]), [time for time, _ in PROMPTS], 8.0, 12, variant)
        scored.see(look(clip_input(frames_of(made))))
        expected = scored.value()
        assert isinstance(value, Value) and value.n == 12
        assert value.number == pytest.approx(expected.number, rel=1e-6)
        assert [time for time, _ in value.curve] == [0.0, 0.5, 1.0] and value.curve == value.windows
        assert [mean for _, mean in value.curve] == pytest.approx([mean for _, mean in expected.windows], rel=1e-6)


def test_units_are_those_of_their_sources() -> None:
    made = video(3)
    found = measured(MINE, made, facts=known(made, prompts=PROMPTS[:1]))
    assert number(found, "mine.clip.score") == pytest.approx(100 * number(found, "mine.clip.similarity"))


def test_prompts_in_another_order_lower_the_score() -> None:
    """Frames of each half that are what its words say, and the words the other way round."""
    made = video(16)
    made[:8, ..., 1:], made[8:, ..., :2] = 10, 10  # red, then blue

    def colours(texts: list[str]) -> Tensor:
        return torch.tensor([[float(name in text) for name in ("red", "green", "blue")] for text in texts])

    own = {"clip-b32": lambda pictures: (pictures.mean(dim=(2, 3)) + 2).clamp_min(0), "clip-b32-words": colours}
    mine = family("clip", ENTRIES, "colours", own)
    right, wrong = (((0.0, a), (0.5, b)) for a, b in (("red", "blue"), ("blue", "red")))
    scores = [
        number(measured(mine, made, facts=known(made, prompts=prompts)), "colours.clip.score")
        for prompts in (right, wrong)
    ]
    assert scores[0] > 1.5 * scores[1]


@pytest.mark.parametrize(
    ("prompts", "words"), [(((0.25, "a"),), "must start at 0 s"), (((0.0, "a"), (9.0, "b")), "hold for a frame")]
)
def test_prompts_that_do_not_cover_the_video_are_refused(prompts: tuple, words: str) -> None:
    made = video(6)
    found = measured(MINE, made, facts=known(made, prompts=prompts))
    assert all(words in refusal(found, f"mine.{name}") for name in NAMES)


def test_without_prompts_or_weights_it_is_refused() -> None:
    made = video(3)
    assert refusal(measured(MINE, made, facts=Facts(16.0, 3, (40, 48))), "mine.clip.score") == "needs prompts"
    found = measured(FAMILY, made, facts=known(made, prompts=PROMPTS[:1]))
    for name in NAMES:
        reason = refusal(found, name)
        assert "ViT-B-32.pt from https://openaipublic" in reason and "(licence: MIT)" in reason
        assert "bpe_simple_vocab_16e6.txt.gz from https://github.com/openai/CLIP" in reason


def test_it_runs_with_files_in_the_published_layout(tmp_path: Path) -> None:
    """Pictures of 224 pixels in 7 by 7 patches, as ViT-B/32 sees them; everything else small."""
    named = random(clip_shapes(patch=32, places=50), scale=0.2)
    path = archived(Archive({name: it.half() for name, it in named.items()}), tmp_path / "ViT-B-32.pt")
    found = {"clip-b32": str(path), "clip-words": str(words_file(tmp_path / "words.gz"))}
    made = video(4)
    scores = measured(FAMILY, made, facts=known(made, prompts=((0.0, "the red cat"),), weights=found))
    assert -100 <= number(scores, "clip.score") <= 100
    other = measured(FAMILY, made, facts=known(made, prompts=((0.0, "12 sit on"),), weights=found))
    assert number(scores, "clip.score") != number(other, "clip.score")
