"""Does the video obey its tracks? Commanded points are followed through the video and must end where the tracks end."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from longvie.evaluation.following import Paths, corners, ready
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value
from longvie.evaluation.reprojection import HEIGHT

LAGS = (8, 40)  # frames that a point is followed for
EVERY = 16  # frames from one set of points to the next
POINTS = 128  # of a set, at most
LIMITS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])  # pixels at 256 px height
TRUSTED = 2.0  # of these pixels: what cannot be followed so well in the truth is not asked of the video
LEAST = 16  # points that must have been measured
BINS = np.geomspace(0.01, HEIGHT, 1025)  # of these pixels, 1 % apart: errors are counted, not kept

Grey = UInt8[np.ndarray, "h w"]
Greys = tuple[Grey, ...]  # of the video and, where there is one, of its truth


class TrackFollowing:
    """At most three sets of points on their way at a time, and counts of errors."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.ids = np.zeros(0, int)  # of the commanded points that are on their way
        self.since = np.zeros(0, int)  # frames that they were picked up in
        self.paths = [
            Paths(np.zeros((0, 2))) for _ in range(1 + ("truth" in facts.known))
        ]  # in the video, in its truth
        self.before: Greys = ()
        self.counts = {lag: np.zeros(len(BINS) + 1, int) for lag in LAGS}
        self.within = {lag: np.zeros(len(LIMITS), int) for lag in LAGS}

    def see(self, moment: Moment) -> None:
        tracks, visible = self.facts.tracks, self.facts.visible
        if tracks is None or visible is None or moment.number >= len(tracks):
            return
        now = tuple(ready(shown.grey) for shown in ((moment,) if len(self.paths) == 1 else (moment, moment.true)))
        scale = now[0].shape[0] / self.facts.size[0]
        there = tracks[moment.number, :, :2] * scale - 0.5
        if self.before:
            self._step(now, visible[moment.number])
            for lag in LAGS:
                self._judge(lag, moment.number - self.since == lag, there, HEIGHT / now[0].shape[0])
        self._keep(moment.number - self.since < max(LAGS))
        if moment.number % EVERY == 0:
            self._pick_up(moment.number, now[-1], there, visible[moment.number])
        self.before = now

    def _step(self, now: Greys, visible: Bool[np.ndarray, " n"]) -> None:
        """All points to the next frame, but for those that nobody will ask for: hidden ones, and lost ones of truth."""
        fair = self.paths[1].alive if len(self.paths) > 1 else True
        self._keep(visible[self.ids] & fair)
        for paths, was, shown in zip(self.paths, self.before, now, strict=True):
            paths.step(was, shown)

    def _judge(self, lag: int, due: Bool[np.ndarray, " n"], there: Float[np.ndarray, "m 2"], scale: float) -> None:
        """Count how far points are from where they should be, in pixels at 256 px height; lost ones by all of them."""
        if not due.any():
            return
        off = [np.linalg.norm(paths.places[due] - there[self.ids[due]], axis=-1) * scale for paths in self.paths]
        lost = [~paths.alive[due] for paths in self.paths]
        off = [np.where(gone, HEIGHT, np.minimum(far, HEIGHT)) for gone, far in zip(lost, off, strict=True)]
        self._count(lag, off[0] if len(off) == 1 else off[0][off[1] <= TRUSTED])

    def _keep(self, which: Bool[np.ndarray, " n"]) -> None:
        if which.all():
            return
        self.ids, self.since = self.ids[which], self.since[which]
        for paths in self.paths:
            paths.keep(which)

    def _pick_up(self, number: int, grey: Grey, there: Float[np.ndarray, "n 2"], seen: Bool[np.ndarray, " n"]) -> None:
        """Points that can be followed: in the truth, if it is known, so that a flat video is not let off."""
        ids = np.flatnonzero(seen)
        ids = ids[corners(grey, there[ids])]
        ids = ids[np.arange(min(POINTS, len(ids))) * len(ids) // min(POINTS, max(1, len(ids)))]
        self.ids = np.concatenate([self.ids, ids])
        self.since = np.concatenate([self.since, np.full(len(ids), number)])
        for paths in self.paths:
            paths.join(there[ids])

    def _count(self, lag: int, errors: Float[np.ndarray, " n"]) -> None:
        self.counts[lag] += np.bincount(np.searchsorted(BINS, errors), minlength=len(BINS) + 1)
        self.within[lag] += (errors[:, None] <= LIMITS).sum(0)

    def values(self) -> Mapping[str, Value | Refused]:
        counts = {lag: int(count.sum()) for lag, count in self.counts.items()}
        lags = [lag for lag in LAGS if counts[lag] >= LEAST]
        if not lags:
            found = f"{max(counts.values())} commanded points can be followed for {LAGS[0]} frames"
            return {metric.name: Refused(f"{found}, {LEAST} are needed") for metric in FAMILY.metrics}
        n = sum(counts[lag] for lag in lags)
        shares = np.mean([self.within[lag] / counts[lag] for lag in lags], axis=0)
        medians = [_median(self.counts[lag]) for lag in lags]
        within = tuple(zip(LIMITS.tolist(), shares.tolist(), strict=True))
        far = tuple((lag / self.facts.fps, median) for lag, median in zip(lags, medians, strict=True))
        return {
            "ctl.track": Value(float(shares.mean()), n, curve=within),
            "ctl.track.median": Value(float(np.mean(medians)), n, curve=far),
        }


def _median(counts: Int[np.ndarray, " n"]) -> float:
    """Of errors of which only the counts are known: the upper end of the bin that it is in."""
    at = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(BINS[min(at, len(BINS) - 1)])


FORMULA = (
    "at most 128 commanded points, picked up every 16 frames where the truth (or, if it is not known, the video) has "
    "corners, are followed by pyramidal Lucas-Kanade from frame to frame for 8 and 40 frames; asked of those that stay "
    "visible, and that in the truth the same method leads within 2 px; a point that fails a 1 px forward-backward "
    "check is lost"
)
NEEDS: frozenset[Need] = frozenset({"tracks"})
SEES = ("seam", "geometry", "camera", "lag", "frozen", "unrelated", "shuffled")
FAMILY = Family(
    "track_following",
    (
        Metric(
            "ctl.track", 1, "points that follow their tracks",
            f"delta_avg of TAP-Vid: mean over 1, 2, 4, 8, 16 px at 256 px height of the share within; {FORMULA} and "
            "within none; mean of both lags",
            "", "higher", (0.0, 1.0), NEEDS,
            sees=SEES, ignores=("saturation", "flicker", "swap"),
        ),
        Metric(
            "ctl.track.median", 1, "how far points are from their tracks",
            f"median distance in pixels at 256 px height; {FORMULA} and {HEIGHT} px off; mean of both lags",
            "px", "lower", (0.0, float(HEIGHT)), NEEDS,
            sees=SEES, ignores=("saturation", "flicker", "swap"),
        ),
    ),
    TrackFollowing,
)  # fmt: skip
