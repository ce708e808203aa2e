"""Eight dimensions of VBench, each of one video: seven of its quality, and its fit to the words.

The published means over a benchmark are of its own prompts; here the numbers are those of the videos that are measured.
What the published programs leave to chance is decided in `evaluation.vbench`, whose default is used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from longvie.errors import InputError
from longvie.evaluation import vbench
from longvie.evaluation.metric import Better, Facts, Metric, Need, Value
from longvie.evaluation.networks.shelf import Network
from longvie.evaluation.panel import Batch, Derived, Entry, family


@dataclass
class Dimension:
    """A measure of frames alone."""

    stream: vbench.Stream

    def see(self, batch: Batch) -> None:
        self.stream.see(batch.made)

    def values(self) -> tuple[Value]:
        return (self.stream.value(),)


def _flickering(_: Facts) -> Dimension:
    return Dimension(vbench.Flickering())


def _subject(_: Facts, dino: Network) -> Dimension:
    return Dimension(vbench.subject_consistency(dino))


def _background(_: Facts, clip: Network) -> Dimension:
    return Dimension(vbench.background_consistency(clip))


def _smoothness(_: Facts, amt: Network) -> Dimension:
    return Dimension(vbench.Smoothness(amt))


def _dynamic(facts: Facts, raft: Network) -> Dimension:
    return Dimension(vbench.DynamicDegree(raft, facts.fps, compat=facts.compat))


def _aesthetic(_: Facts, clip: Network, head: Network) -> Dimension:
    return Dimension(vbench.aesthetic_quality(clip, head))


def _imaging(_: Facts, musiq: Network) -> Dimension:
    return Dimension(vbench.imaging_quality(musiq))


def _overall(facts: Facts, viclip: Network, words: Network) -> Dimension:
    texts = {text for _, text in facts.prompts}
    if len(texts) != 1:
        raise InputError(f"overall consistency is that of a video with one prompt; this one has {len(texts)}")
    return Dimension(vbench.OverallConsistency(viclip, words(list(texts))[0], facts.frames))


def _entry(
    name: str, title: str, formula: str, networks: tuple[str, ...], opened: Callable[..., Any], **other: Any
) -> Entry:
    better: Better = other.pop("better", "higher")
    limits: tuple[float, float] = other.pop("range", (0.0, 1.0))
    needs: frozenset[Need] = other.pop("needs", frozenset())
    return Entry((Metric(f"vbench.{name}", 1, title, formula, "", better, limits, needs, **other),), networks, opened)


CONSISTENCY = "mean over frames but the first of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_0))) / 2, f the features"
ENTRIES = (
    _entry(
        "subject_consistency", "does the subject stay the same",
        f"{CONSISTENCY} of DINO ViT-B/16, shorter side to 224, bilinear without antialiasing, no crop",
        ("dino",), _subject,
    ),
    _entry(
        "background_consistency", "does the background stay the same",
        f"{CONSISTENCY} of CLIP ViT-B/32 in float32, shorter side to 224, bicubic without antialiasing, the square in "
        "the middle",
        ("clip-b32",), _background,
    ),
    _entry(
        "temporal_flickering", "flickering of videos that do not move",
        "mean over pairs of neighbours of (255 - mean absolute difference of 8-bit values) / 255. VBench asks it of "
        "videos that do not move (dynamic_degree 0) alone; here it is given for all, and motion lowers it",
        (), _flickering, sees=("flicker", "noise", "shuffled"), ignores=("blur",),
    ),
    _entry(
        "motion_smoothness", "is motion as smooth as an interpolation",
        "mean over odd frames of (255 - mean absolute error of the frame that AMT-S puts between its even neighbours) "
        "/ 255",
        ("amt",), _smoothness,
    ),
    _entry(
        "dynamic_degree", "does it move",
        "1 if enough pairs move, else 0: of N frames, every round(fps / 8)-th, max(1, round(N / 4)) pairs whose "
        "strongest 5 % of RAFT flow (20 rounds) have a mean of more than 6 min(height, width) / 256 pixels",
        ("raft",), _dynamic, better="neither",
    ),
    _entry(
        "aesthetic_quality", "is it beautiful, to LAION's raters",
        "mean over frames of LAION's linear head on CLIP ViT-L/14 features of length 1, over 10; frames as "
        "background_consistency sees them",
        ("clip-l14", "aesthetic"), _aesthetic,
    ),
    _entry(
        "imaging_quality", "is it free of noise, blur and wrong exposure",
        "mean over frames of MUSIQ's rating (SPAQ; the picture at 224, 384 and its own size), over 100; longer side at "
        "most 512, bilinear without antialiasing",
        ("musiq",), _imaging,
    ),
    _entry(
        "overall_consistency", "does the video fit its prompt",
        "cos of the features that ViCLIP gives for 8 frames, the middles of equal intervals, as background_consistency "
        "sees them, and for the prompt (cut at 32 tokens)",
        ("viclip", "viclip-words"), _overall, range=(-1.0, 1.0), needs=frozenset({"prompts"}),
    ),
)  # fmt: skip


def total(family_name: str) -> Derived:
    """The quality score, of seven dimensions of a family."""
    names = {f"{family_name}.{name}": name for name in vbench.QUALITY}
    formula = " + ".join(
        f"{scale.weight:g} ({name} - {scale.low:g}) / {scale.high - scale.low:g}"
        for name, scale in vbench.QUALITY.items()
    )
    metric = Metric(
        f"{family_name}.quality", 1, "VBench's quality score",
        f"({formula}) / {sum(scale.weight for scale in vbench.QUALITY.values()):g}, not clamped. The semantic score, "
        "and with it the total, are of the benchmark's own prompts (`evaluation.vbench.weighted`, `total`)",
        "", "higher", (-2.0, 1.0),
    )  # fmt: skip
    return Derived(
        metric,
        tuple(names),
        lambda found: vbench.weighted({names[name]: number for name, number in found.items()}, vbench.QUALITY),
    )


FAMILY = family("vbench", ENTRIES, derived=(total("vbench"),))
