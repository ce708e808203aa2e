"""Does a place look the same when it is seen again: one frame later (TC), and seconds and minutes later (LVC)?

Frames are laid over each other by commanded depth and cameras, and what cannot look the same, for the light has changed
or two frames are never sampled alike, is taken from the truth. What is flat looks like anything flat, so only places
count where the truth has texture, and a video that has far less there than the truth is no more like itself than what
it has. All the same a frozen video is like itself: these numbers are read beside guard.motion_ratio, guard.frozen,
guard.sharpness_ratio and covisibility.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8

from longvie.evaluation.colour import lab
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value, optical_flow
from longvie.evaluation.reprojection import View, inside, reproject, sampled, view

SECONDS = (3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0)  # lags of LVC
PAIRS, NEIGHBOURS = 12, 24  # at most, of one of these lags and of one frame, spread evenly over the video
SEEN = 0.05  # share of the picture that both frames of a pair must see
BLUR = 1.5  # pixels: deviation of the Gaussian that hides how a picture was sampled
STABLE = (0.01**2, 0.03**2)  # of SSIM (Wang et al. 2004), range 1
COLOUR = 20.0  # delta E76 that divides a coherence by e
MOST = 1.02  # of the truth's own likeness: smoother than the truth is not more coherent
FAINT = 0.5  # of the truth's local variance: a video that has less is not as coherent as one that has as much
FLAT = 0.01  # mean texture of the truth, below which there is nothing to see again
LEAST = 0.05  # likeness of the truth with itself, below which there is nothing to compare with

Places = Float[np.ndarray, "h w 2"]
Mask = Bool[np.ndarray, "h w"]
Picture = UInt8[np.ndarray, "h w 3"]


@dataclass
class Sums:
    """Of the pairs of one lag: likeness S and difference of colour E, of the video and of the truth; co-visibility."""

    looks: np.ndarray = field(default_factory=lambda: np.zeros(4))  # S, E, S0, E0; S and S0 times texture
    texture: float = 0.0  # sum of the weights of S and S0
    pixels: int = 0
    pairs: int = 0
    seen: float = 0.0
    tried: int = 0

    def coherence(self) -> float | None:
        """C = min(1.02, S / S0) exp(-max(0, E - E0) / 20); None where the truth is flat, or itself not coherent."""
        if not self.pairs or self.texture < FLAT * self.pixels or self.looks[2] < LEAST * self.texture:
            return None
        alike = float(np.clip(self.looks[0] / self.looks[2], 0, MOST))
        return alike * float(np.exp(-max(0.0, self.looks[1] - self.looks[3]) / self.pairs / COLOUR))

    def look(self) -> tuple[float, float]:
        """S and E of the video."""
        return float(self.looks[0] / max(self.texture, 1e-9)), float(self.looks[1] / max(1, self.pairs))


class Coherence:
    """Frames that a later one will be compared with, few for each lag; sums for each lag."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.ends: dict[int, list[int]] = defaultdict(list)  # frames: end of a pair -> its starts
        self.last: dict[int, int] = {}  # of every start, its last end
        self.lags = {round(seconds * facts.fps): seconds for seconds in SECONDS}
        for lag in self.lags:
            for start in _spread(facts.frames - lag, PAIRS):
                self.ends[start + lag].append(start)
                self.last[start] = max(self.last.get(start, 0), start + lag)
        self.neighbours = {start + 1 for start in _spread(facts.frames - 1, NEIGHBOURS)}
        self.kept: dict[int, tuple[View, View]] = {}
        self.sums: dict[int, Sums] = defaultdict(Sums)  # by lag in frames
        self.flow = Sums()

    def see(self, moment: Moment) -> None:
        number = moment.number
        if number in self.neighbours and moment.before is not None:
            self._follow(moment, moment.before)
            was, now = _views(moment.before, self.facts), _views(moment, self.facts)
            if was is not None and now is not None:
                _compare(self.sums[1], was, now)
        if number not in self.ends and number not in self.last:
            return
        now = _views(moment, self.facts)
        if now is None:
            return
        for start in self.ends.pop(number, ()):
            if start in self.kept:
                _compare(self.sums[number - start], self.kept[start], now)
        if number in self.last:
            self.kept[number] = now
        self.kept = {start: views for start, views in self.kept.items() if self.last[start] > number}

    def _follow(self, moment: Moment, before: Moment) -> None:
        """One pair of `tc.flow`."""
        there, sure = _followed(moment.flow, optical_flow(moment.small_grey, before.small_grey))
        self.flow.tried += 1
        if sure.mean() >= SEEN:
            laid = Laid.of(before.small, moment.small, there, sure)
            self.flow.looks[:2] += [float(laid.likeness()[sure].mean(dtype=np.float64)), laid.colour]
            self.flow.pairs += 1

    def values(self) -> Mapping[str, Value | Refused]:
        missing = [need for need in ("truth", "depth", "poses") if need not in self.facts.known]
        why = f"not known: {', '.join(missing)}" if missing else "no two frames see the same place"
        found = {lag: (sums, c) for lag, sums in sorted(self.sums.items()) if (c := sums.coherence()) is not None}
        curve = tuple((self._seconds(lag), c) for lag, (_, c) in found.items())
        long = {lag: pair for lag, pair in found.items() if lag in self.lags}
        none = Refused(f"{why} {SECONDS[0]:g} s apart or more" if not missing else why)
        values: dict[str, Value | Refused] = {name: none for name in ("lvc", "lvc.ssim", "lvc.delta_e")}
        values["tc"] = Value(found[1][1], found[1][0].pairs, curve=curve) if 1 in found else Refused(why)
        if long:
            n = sum(sums.pairs for sums, _ in long.values())
            values["lvc"] = Value(float(np.mean([c for _, c in long.values()])), n, curve=curve)
            for name, at in (("lvc.ssim", 0), ("lvc.delta_e", 1)):
                each = {lag: sums.look()[at] for lag, (sums, _) in found.items()}
                raw = tuple((self._seconds(lag), look) for lag, look in each.items())
                values[name] = Value(float(np.mean([each[lag] for lag in long])), n, curve=raw)
        return values | {"covisibility": self._covisibility(Refused(why)), "tc.flow": self._flow_value()}

    def _covisibility(self, none: Refused) -> Value | Refused:
        share = {lag: sums.seen / sums.tried for lag, sums in sorted(self.sums.items()) if sums.tried}
        if not share:
            return none
        curve = tuple((self._seconds(lag), mean) for lag, mean in share.items())
        return Value(float(np.mean(list(share.values()))), sum(sums.tried for sums in self.sums.values()), curve=curve)

    def _flow_value(self) -> Value | Refused:
        if not self.flow.pairs:
            return Refused(f"of {self.flow.tried} pairs of neighbours none can be followed in {100 * SEEN:g} % of it")
        alike, colour = self.flow.looks[:2] / self.flow.pairs
        return Value(float(max(0.0, alike) * np.exp(-colour / COLOUR)), self.flow.pairs)

    def _seconds(self, lag: int) -> float:
        return lag / self.facts.fps


def _spread(last: int, most: int) -> list[int]:
    """At most so many whole numbers below `last`, the first and the last of them among them, evenly."""
    return sorted(set(np.rint(np.linspace(0, last - 1, min(most, last))).astype(int).tolist())) if last > 0 else []


def _views(moment: Moment, facts: Facts) -> tuple[View, View] | None:
    """The video's and the truth's."""
    made = view(moment, facts)
    return None if made is None or moment.truth is None else (made, made.showing(moment.truth))


def _compare(sums: Sums, start: tuple[View, View], end: tuple[View, View]) -> None:
    """One pair: its likenesses, weighted by the texture that the truth has."""
    places, both = reproject(start[0], end[0])
    sums.seen, sums.tried = sums.seen + float(both.mean()), sums.tried + 1
    if both.mean() < SEEN:
        return
    made, true = (Laid.of(a.picture, b.picture, places, both) for a, b in zip(start, end, strict=True))
    texture = _mean(true.spread / (true.spread + STABLE[1]))[both]
    floor = FAINT * true.spread
    alike = [float((laid.likeness(floor)[both] * texture).sum()) for laid in (made, true)]
    sums.looks += [alike[0], made.colour, alike[1], true.colour]
    sums.texture, sums.pixels = sums.texture + float(texture.sum()), sums.pixels + len(texture)
    sums.pairs += 1


@dataclass(frozen=True, eq=False)
class Laid:
    """A frame and another laid over it, both blurred: what SSIM is made of, and their mean difference of colour.

    What lies outside of the mask has no part in it: every mean around a pixel is one of the pixels in the mask.
    """

    light: Float[np.ndarray, "h w 3"]  # 2 m n + K1 over m^2 + n^2 + K1, of the means m and n
    shared: Float[np.ndarray, "h w 3"]  # twice the covariance
    spread: Float[np.ndarray, "h w 3"]  # sum of the variances
    colour: float  # delta E76

    @classmethod
    def of(cls, start: Picture, end: Picture, places: Places, both: Mask) -> "Laid":
        """As in `similarity` from the sum and the difference of the frames, which saves a blur of five."""
        weight = cv2.merge([both.astype(np.float32)] * 3)
        per = weight / np.maximum(cv2.GaussianBlur(weight, (11, 11), BLUR), 1e-6)

        def around(values: np.ndarray) -> np.ndarray:
            return cv2.GaussianBlur(values * weight, (11, 11), BLUR) * per

        a, b = (around(shown * np.float32(1 / 255)) for shown in (start, sampled(end, places)))
        apart = np.sqrt(_mean((lab(a[both][None]) - lab(b[both][None])) ** 2) * 3)
        s, d = a + b, a - b
        square_s, square_d = around(s) ** 2, around(d) ** 2
        spread_s, spread_d = around(s * s) - square_s, around(d * d) - square_d
        light = (square_s - square_d + 2 * STABLE[0]) / (square_s + square_d + 2 * STABLE[0])
        return cls(light, (spread_s - spread_d) / 2, (spread_s + spread_d) / 2, float(apart.mean(dtype=np.float64)))

    def likeness(self, floor: Float[np.ndarray, "h w 3"] | float = 0.0) -> Float[np.ndarray, "h w"]:
        """SSIM, mean over colours; the variances count as no less than `floor`, so that flat is not like flat."""
        shared = (self.shared + STABLE[1]) / (np.maximum(self.spread, floor) + STABLE[1])
        return _mean(self.light * shared)


def _mean(colours: Float[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Of the three."""
    return cv2.transform(colours, np.full((1, 3), 1 / 3, np.float32))


def _followed(forward: Places, back: Places) -> tuple[Places, Mask]:
    """Where pixels have gone, and for which of them the flow back agrees (Sundaram et al. 2010)."""
    height, width = forward.shape[:2]
    places = forward + np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)
    returned = sampled(back, places)
    missed = ((forward + returned) ** 2).sum(-1)
    return places, inside(places) & (missed <= 0.01 * ((forward**2).sum(-1) + (returned**2).sum(-1)) + 0.5)


LAGS = ", ".join(f"{seconds:g}" for seconds in SECONDS)
FORMULA = (
    "C(lag) = min(1.02, S/S0) exp(-max(0, E - E0)/20); S the mean SSIM (RGB, Gaussian 1.5 px) weighted by the truth's "
    "texture v/(v + K2) of the sum v of its two local variances, the video's v counting as half of the truth's at "
    "least; E the mean delta E76; of V_t and V_t+lag laid over it by D_t and the commanded poses, both blurred by "
    "1.5 px, at 256 px height at most, on pixels that both see (depth within 3 %), in pairs that share 5 % of the "
    "picture; S0, E0 the same of the truth"
)
NEEDS: frozenset[Need] = frozenset({"truth", "depth", "poses"})
FAMILY = Family(
    "coherence",
    (
        Metric(
            "tc", 1, "temporal coherence: the same place one frame later",
            f"C(1 frame), at most {NEIGHBOURS} pairs spread evenly; {FORMULA}",
            "", "higher", (0.0, MOST), NEEDS,
            sees=("noise", "flicker", "seam", "geometry", "camera", "lag", "frozen", "unrelated", "shuffled"),
            ignores=("saturation", "swap"),
        ),
        Metric(
            "lvc", 1, "long-range visual coherence: the same place seconds and minutes later",
            f"mean of C over the lags {LAGS} s that have pairs, at most {PAIRS} pairs each, spread evenly; {FORMULA}",
            "", "higher", (0.0, MOST), NEEDS,
            sees=("noise", "blur", "saturation", "flicker", "seam", "swap", "geometry", "lag", "frozen", "shuffled"),
        ),
        Metric(
            "lvc.ssim", 1, "likeness of the same place later", f"mean of S over the lags of lvc; {FORMULA}",
            "", "higher", (-1.0, 1.0), NEEDS,
        ),
        Metric(
            "lvc.delta_e", 1, "difference of colour of the same place later",
            f"mean of E over the lags of lvc; {FORMULA}",
            "delta E", "lower", (0.0, 200.0), NEEDS,
        ),
        Metric(
            "covisibility", 1, "share of the picture that two frames both see",
            f"mean over the lags of tc and lvc of the mean share of pixels that both frames see; {FORMULA}",
            "", "neither", (0.0, 1.0), NEEDS,
        ),
        Metric(
            "tc.flow", 1, "coherence with the frame before, by its own flow (blur and freezing raise it: never alone)",
            f"S exp(-E/20), S and E as tc's but for the weights, of at most {NEIGHBOURS} pairs of neighbours laid over "
            "each other by DIS flow (at 128 px height at most), on pixels whose flow back agrees, "
            "|f + b|^2 <= 0.01 (|f|^2 + |b|^2) + 0.5",
            "", "higher", (0.0, 1.0), sees=("noise", "flicker", "shuffled"),
            ignores=("blur", "saturation", "seam", "swap", "geometry", "camera", "lag"),
        ),
    ),
    Coherence,
)  # fmt: skip
