"""VBench-Long: seven dimensions of a long video in clips of 2 seconds, and what becomes of them from clip to clip.

Formulas and the traps of the published programs are in `evaluation.vbench_long`; `--vbench-compat` walks into them.
Videos are taken as the published programs take those from outside their benchmark: clips of 2 seconds for everything,
no cuts looked for.
"""

from collections.abc import Callable
from typing import Any

from longvie.evaluation import vbench, vbench_long
from longvie.evaluation.families.vbench import Dimension, total
from longvie.evaluation.metric import Better, Facts, Metric
from longvie.evaluation.networks.shelf import Network
from longvie.evaluation.panel import Entry, family
from longvie.evaluation.vbench import SIDE, Stream, prepared


def _plan(facts: Facts) -> vbench_long.ClipPlan:
    return vbench_long.split(facts.frames, facts.fps, compat=facts.compat)


def _clips(facts: Facts, opened: Callable[[int], Stream]) -> Dimension:
    return Dimension(vbench_long.PerClip(_plan(facts), opened))


def _subject(facts: Facts, dino: Network, dinov2: Network, table: Network) -> Dimension:
    inside, across = prepared(vbench.dino_input, dino, SIDE), prepared(vbench_long.dinov2_input, dinov2, SIDE)
    return Dimension(vbench_long.LongConsistency(_plan(facts), inside, across, table, compat=facts.compat))


def _background(facts: Facts, clip: Network, dreamsim: Network, table: Network) -> Dimension:
    inside, across = prepared(vbench.clip_input, clip, SIDE), prepared(vbench_long.dreamsim_input, dreamsim, SIDE)
    return Dimension(vbench_long.LongConsistency(_plan(facts), inside, across, table, compat=facts.compat))


def _flickering(facts: Facts) -> Dimension:
    return _clips(facts, lambda _: vbench.Flickering())


def _smoothness(facts: Facts, amt: Network) -> Dimension:
    return _clips(facts, lambda _: vbench.Smoothness(amt))


def _dynamic(facts: Facts, raft: Network) -> Dimension:
    fps = _plan(facts).fps
    return _clips(facts, lambda _: vbench.DynamicDegree(raft, fps, compat=facts.compat))


def _aesthetic(facts: Facts, clip: Network, head: Network) -> Dimension:
    return _clips(facts, lambda _: vbench.aesthetic_quality(clip, head))


def _imaging(facts: Facts, musiq: Network) -> Dimension:
    return _clips(facts, lambda _: vbench.imaging_quality(musiq))


def _entry(
    name: str, title: str, formula: str, networks: tuple[str, ...], opened: Callable[..., Any], **other: Any
) -> Entry:
    better: Better = other.pop("better", "higher")
    metric = Metric(f"vbench_long.{name}", 1, title, formula, "", better, (0.0, 1.0), **other)
    return Entry((metric,), networks, opened)


INSIDE = "mean over clips of 2 s (the last one borrows the frames before it) of vbench."
ACROSS = (
    "half of that, half the same formula over the clips' first frames with {} (bicubic with antialiasing), brought to "
    "the scale of the first by the published table; with --vbench-compat the first alone"
)
ENTRIES = (
    _entry(
        "subject_consistency", "does the subject stay the same, clip after clip",
        f"{INSIDE}subject_consistency; {ACROSS.format('DINOv2 ViT-B/14')}",
        ("dino", "dinov2", "subject-table"), _subject,
    ),
    _entry(
        "background_consistency", "does the background stay the same, clip after clip",
        f"{INSIDE}background_consistency; {ACROSS.format('DreamSim, the ensemble')}",
        ("clip-b32", "dreamsim", "background-table"), _background,
    ),
    _entry(
        "temporal_flickering", "flickering of videos that do not move", f"{INSIDE}temporal_flickering",
        (), _flickering, sees=("flicker", "noise", "shuffled"), ignores=("blur",),
    ),
    _entry(
        "motion_smoothness", "is motion as smooth as an interpolation", f"{INSIDE}motion_smoothness",
        ("amt",), _smoothness,
    ),
    _entry(
        "dynamic_degree", "does it move", f"{INSIDE}dynamic_degree", ("raft",), _dynamic, better="neither",
    ),
    _entry(
        "aesthetic_quality", "is it beautiful, to LAION's raters", f"{INSIDE}aesthetic_quality",
        ("clip-l14", "aesthetic"), _aesthetic,
    ),
    _entry(
        "imaging_quality", "is it free of noise, blur and wrong exposure", f"{INSIDE}imaging_quality",
        ("musiq",), _imaging,
    ),
)  # fmt: skip
FAMILY = family("vbench_long", ENTRIES, derived=(total("vbench_long"),))
