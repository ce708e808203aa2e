"""How well frames fit the words asked for at their time (CLIPScore), prompt by prompt."""

from dataclasses import replace

from longvie.evaluation.metric import Facts, Metric, Value
from longvie.evaluation.networks.shelf import Network
from longvie.evaluation.panel import Batch, Entry, family
from longvie.evaluation.perceptual import ClipScore
from longvie.evaluation.vbench import clip_input

VARIANTS = ("longlive", "original", "clipsim")  # as `perceptual.VARIANTS` names them


class Fit:
    """All variants, of the same features."""

    def __init__(self, facts: Facts, pictures: Network, words: Network) -> None:
        starts, texts = (list(side) for side in zip(*facts.prompts, strict=True))
        features = words(texts)
        self.pictures = pictures
        self.scores = [ClipScore(features, starts, facts.fps, facts.frames, variant) for variant in VARIANTS]

    def see(self, batch: Batch) -> None:
        features = self.pictures(clip_input(batch.made))
        for score in self.scores:
            score.see(features)

    def values(self) -> tuple[Value, ...]:
        """The curve of each is its number by the second at which a prompt begins."""
        return tuple(replace(value, curve=value.windows) for value in (score.value() for score in self.scores))


COSINE = (
    "cos of the features that CLIP ViT-B/32 gives for a frame (shorter side to 224, bicubic without antialiasing, the "
    "square in the middle, float32) and for the prompt of its time (cut at 77 tokens)"
)
MEAN = "mean over prompts of the mean over all frames of a prompt"
METRICS = (
    Metric(
        "clip.score", 1, "fit of frames and words",
        f"{MEAN} of 100 cos: as LongLive prints it by prompt, whose CLIP is not named; cos: {COSINE}",
        "", "higher", (-100.0, 100.0), frozenset({"prompts"}),
    ),
    Metric(
        "clip.score_original", 1, "CLIPScore of Hessel et al.",
        f"{MEAN} of 2.5 max(0, cos) (Hessel et al. 2021, equation 1), prompts as they are; cos: {COSINE}",
        "", "higher", (0.0, 2.5), frozenset({"prompts"}),
    ),
    Metric(
        "clip.similarity", 1, "CLIPSim", f"{MEAN} of cos; cos: {COSINE}",
        "", "higher", (-1.0, 1.0), frozenset({"prompts"}),
    ),
)  # fmt: skip
ENTRIES = (Entry(METRICS, ("clip-b32", "clip-b32-words"), Fit),)
FAMILY = family("clip", ENTRIES)
