"""Does the video show the depth that was commanded, as a small trained network reads it? And how far the network itself
is off: the same of the true video, without which the number says little."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from longvie.evaluation.instruments import depth
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value
from longvie.evaluation.tally import Tally

SECONDS = 0.5  # between frames that are read
MOST = 600  # of them: of longer videos fewer a second, so that memory does not grow
LEAST = 0.05  # share of the cells that must be near enough, mean of all frames

Cells = Float[np.ndarray, "y x"]


@dataclass(frozen=True)
class Kept:
    """A frame: what was commanded, what is read from the video and from the truth."""

    time: float
    true: Cells
    made: Cells
    floor: Cells | None


class DepthNet:
    """Frames twice a second; scale and shift are fitted at the end, once for the whole video."""

    def __init__(self, facts: Facts) -> None:
        self.fps, self.known = facts.fps, "truth" in facts.known
        self.step = max(1, round(SECONDS * facts.fps), math.ceil(facts.frames / MOST))
        self.kept: list[Kept] = []

    def see(self, moment: Moment) -> None:
        if moment.number % self.step or moment.depth is None:
            return
        pictures = [moment.picture, moment.true.picture] if self.known else [moment.picture]
        read = depth.disparity(np.stack(pictures))
        floor = read[1] if self.known else None
        self.kept.append(Kept(moment.time, depth.commanded(moment.depth), read[0], floor))

    def values(self) -> Mapping[str, Value | Refused]:
        near = float(np.mean([(it.true > 0).mean() for it in self.kept])) if self.kept else 0.0
        if near < LEAST:
            why = Refused(f"{100 * near:.2g} % of the picture has a commanded depth below {depth.FAR:g} m")
            return dict.fromkeys(NAMES, why)
        absrel, delta = self._errors([it.made for it in self.kept])
        floors = [it.floor for it in self.kept if it.floor is not None]
        if not floors:
            none = Refused("no truth is known for this video")
            return {**dict.fromkeys(NAMES, none), "depth_net.absrel": absrel, "depth_net.delta": delta}
        floor = self._errors(floors)[0]
        parts = dict(floor.windows)
        apart = tuple((at, number - parts[at]) for at, number in absrel.windows)
        excess = Value(absrel.number - floor.number, absrel.n, apart)
        return dict(zip(NAMES, (absrel, delta, floor, excess), strict=True))

    def _errors(self, read: list[Cells]) -> tuple[Value, Value]:
        """Mean error, and share of right depths, under one scale and shift."""
        counts = [it.true > 0 for it in self.kept]
        true = [it.true[near] for it, near in zip(self.kept, counts, strict=True)]
        fit = depth.fitted(
            np.concatenate([cells[near] for cells, near in zip(read, counts, strict=True)]), np.concatenate(true)
        )
        error, right = depth.errors(fit, np.concatenate(true))
        ends = np.cumsum([len(cells) for cells in true])[:-1]
        return self._mean(np.split(error, ends)), self._mean(np.split(right, ends))

    def _mean(self, rows: list[np.ndarray]) -> Value:
        tally = Tally(self.fps)
        for it, row in zip(self.kept, rows, strict=True):
            if len(row):
                tally.add(it.time, float(row.mean()))
        found = tally.mean()
        assert isinstance(found, Value)  # some frame has near cells, or it was refused before
        return found


NAMES = ("depth_net.absrel", "depth_net.delta", "depth_net.floor", "depth_net.excess")
READ = (
    f"q' = a p + b, p the disparity that a small U-Net (shipped, trained on the world) reads in 24x44 cells of frames "
    f"{1 / SECONDS:g} a second ({MOST} at most), a and b fitted once for the whole video (least squared log error); q "
    f"the commanded disparity, cells wholly nearer than {depth.FAR:g} m"
)
NEEDS: frozenset[Need] = frozenset({"depth"})
BOTH: frozenset[Need] = frozenset({"depth", "truth"})
SEES = ("frozen", "lag", "unrelated", "shuffled")
FAMILY = Family(
    "depth_net",
    (
        Metric(
            "depth_net.absrel", 1, "depth error, by a small network",
            f"mean over frames of the mean of |z'/z - 1|, z = 1/q and z' = 1/q'; {READ}. Judge it by depth_net.floor",
            "", "lower", (0.0, 10.0), NEEDS, tier="W1", sees=SEES,
        ),
        Metric(
            "depth_net.delta", 1, "share of right depths, by a small network",
            f"mean over frames of the share of cells with max(z'/z, z/z') < {depth.CLOSE}; {READ}",
            "", "higher", (0.0, 1.0), NEEDS, tier="W1", sees=("lag", "unrelated", "shuffled"),
        ),
        Metric(
            "depth_net.floor", 1, "depth error of the true video, by a small network",
            "depth_net.absrel of the truth, fitted by itself: what of the video's error is the network's own",
            "", "neither", (0.0, 10.0), BOTH, tier="W1",
        ),
        Metric(
            "depth_net.excess", 1, "depth error beyond that of the true video",
            "depth_net.absrel - depth_net.floor; about 0 for a video that obeys",
            "", "lower", (-10.0, 10.0), BOTH, tier="W1", sees=SEES,
        ),
    ),
    DepthNet,
)  # fmt: skip
