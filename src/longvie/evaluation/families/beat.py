"""Does the video move on the beat? Peaks of motion against beats, both ways, and against chance."""

from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float
from scipy.signal import find_peaks

from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value
from longvie.evaluation.reprojection import between, projected, rays

WIDTH = 0.05  # seconds: deviation of the Gaussian by which near counts
SMOOTH = 1.0  # seconds: the usual motion around a moment is its median over this
STANDS_OUT = 3.0  # times the median deviation that a peak must stand out by
LEAST = 3  # beats, and peaks
FAR = 1e4  # metres: the sky
TOP = 0.05  # share of the pixels that count as what moves


class Beat:
    """The motion of every frame that the camera does not explain."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.envelope: list[float] = []

    def see(self, moment: Moment) -> None:
        if moment.before is not None:
            self.envelope.append(_moves(moment, self.facts))

    def values(self) -> Mapping[str, Value | Refused]:
        names = [metric.name for metric in FAMILY.metrics]
        found = peaks(np.array(self.envelope), self.facts.fps)
        beats = np.array(self.facts.beats)
        if min(len(beats), len(found)) < LEAST:
            why = Refused(f"{len(beats)} beats and {len(found)} peaks of motion; {LEAST} of both are needed")
            return dict.fromkeys(names, why)
        on_beat, chance = aligned(found, beats)
        answered, by_chance = aligned(beats, found)
        return {
            "beat": Value(_beyond(on_beat, chance), len(found), curve=tuple((float(at), 1.0) for at in found)),
            "beat.on": Value(on_beat, len(found)),
            "beat.answered": Value(answered, len(beats)),
            "beat.chance": Value((chance + by_chance) / 2, len(beats)),
        }


def peaks(envelope: Float[np.ndarray, " f"], fps: float) -> Float[np.ndarray, " p"]:
    """Seconds at which motion stands out from the usual around it, between frames by a parabola.

    Motion from a frame to the next belongs to the moment between them.
    """
    around = max(3, round(SMOOTH * fps) | 1)
    if len(envelope) < around:
        return np.zeros(0)
    wide = np.pad(envelope, around // 2, mode="edge")
    beyond = envelope - np.median(np.lib.stride_tricks.sliding_window_view(wide, around), axis=-1)
    least = STANDS_OUT * 1.4826 * float(np.median(np.abs(beyond - np.median(beyond)))) + 1e-9
    places, _ = find_peaks(beyond, height=least)
    left, here, right = beyond[places - 1], beyond[places], beyond[places + 1]
    aside = 0.5 * (left - right) / np.minimum(left - 2 * here + right, -1e-12)
    return (places + np.clip(aside, -0.5, 0.5) + 0.5) / fps


def aligned(these: Float[np.ndarray, " n"], those: Float[np.ndarray, " m"]) -> tuple[float, float]:
    """How near each of these seconds is to one of those, mean of exp(-d^2 / 2 WIDTH^2); and what chance would give."""
    distance = np.abs(these[:, None] - those[None]).min(1)
    period = float(np.diff(np.sort(those)).mean())
    return float(np.exp(-(distance**2) / (2 * WIDTH**2)).mean()), min(0.99, WIDTH * np.sqrt(2 * np.pi) / period)


def _beyond(score: float, chance: float) -> float:
    return (score - chance) / (1 - chance)


def _moves(moment: Moment, facts: Facts) -> float:
    """How the fastest pixels move, less what the camera explains where depth and poses tell; in shares of height."""
    flow = moment.flow
    explained = _by_camera(moment, facts)
    beyond = flow - (np.median(flow.reshape(-1, 2), axis=0) if explained is None else explained)
    sizes = np.linalg.norm(beyond, axis=-1).ravel()
    most = max(1, int(TOP * sizes.size))
    return float(np.partition(sizes, -most)[-most:].mean()) / len(flow)


def _by_camera(moment: Moment, facts: Facts) -> Float[np.ndarray, "h w 2"] | None:
    """The flow of a world that stands still."""
    before = moment.before
    if before is None or before.depth is None or before.pose is None or moment.pose is None or facts.focal is None:
        return None
    height, width = moment.flow.shape[:2]
    depth = cv2.resize(before.depth.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    focal = facts.focal * height / facts.size[0]
    far = np.where(np.isfinite(depth) & (depth > 0), depth, FAR)
    motion = between(before.pose.astype(np.float64), moment.pose.astype(np.float64))
    points = rays((height, width), focal) * far[..., None]
    places, _ = projected(points @ motion[:3, :3].T + motion[:3, 3], focal, (height, width))
    return places - np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)


FORMULA = (
    "peaks of the motion that the camera does not explain (DIS flow less the flow of commanded depth and poses, or "
    "less its median; mean length of the longest 5 %; above its median over 1 s by 3 median deviations) against "
    "beats: mean of exp(-d^2 / 2 sigma^2), d the distance to the nearest, sigma = 50 ms; chance is sigma sqrt(2 pi) / "
    "period"
)
NEEDS: frozenset[Need] = frozenset({"beats"})
FAMILY = Family(
    "beat",
    (
        Metric("beat", 1, "motion on the beat, beyond chance", f"(beat.on - chance) / (1 - chance); {FORMULA}", "",
               "higher", (-100.0, 1.0), NEEDS),
        Metric("beat.on", 1, "peaks of motion that lie on a beat", f"over peaks (as AIST++); {FORMULA}", "", "higher",
               (0.0, 1.0), NEEDS),
        Metric("beat.answered", 1, "beats that a peak of motion answers", f"over beats (as Bailando); {FORMULA}", "",
               "higher", (0.0, 1.0), NEEDS),
        Metric("beat.chance", 1, "what chance would give", f"mean of both directions; {FORMULA}", "", "neither",
               (0.0, 1.0), NEEDS),
    ),
    Beat,
)  # fmt: skip
