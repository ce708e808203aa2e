"""Does an object stay what it is? Its colour when it is seen last, against its colour when it was seen first."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float

from longvie.evaluation.colour import lab
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Refused, Value

SIGHTINGS = 3  # looks at either end
SECONDS = 0.25  # from one look to the next
FIRST = 2  # label of the first object: 0 is sky, 1 ground
SMALL = 0.002  # share of the picture that an object must fill to count as seen, its outline left out
SAMPLES = 4096  # pixels of an object that its colour is the median of, at most
SWITCH = 10.0  # delta E76 from which an object has become another


@dataclass
class Sightings:
    """The first and the last median colours of an object: L*, a*, b* of the video, then of the truth."""

    first: list[np.ndarray] = field(default_factory=list)
    last: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=SIGHTINGS))

    def add(self, colours: Float[np.ndarray, " 6"]) -> None:
        if len(self.first) < SIGHTINGS:
            self.first.append(colours)
        else:
            self.last.append(colours)

    def change(self) -> float | None:
        """Delta E76 of the video's change of colour to the truth's; None if there are too few sightings."""
        if len(self.last) < SIGHTINGS:
            return None
        change = np.median(self.last, axis=0) - np.median(self.first, axis=0)
        return float(np.linalg.norm(change[:3] - change[3:]))


class Identity:
    """Six colours for every object."""

    def __init__(self, facts: Facts) -> None:
        self.every = max(1, round(SECONDS * facts.fps))
        self.objects: dict[int, Sightings] = {}

    def see(self, moment: Moment) -> None:
        if moment.number % self.every or moment.labels is None or moment.truth is None:
            return
        for label in np.unique(moment.labels).tolist():
            inner = _inner(moment.labels == label) if label >= FIRST else None
            if inner is not None and inner.mean() >= SMALL:
                colours = [_colour(picture, inner) for picture in (moment.picture, moment.truth)]
                self.objects.setdefault(int(label), Sightings()).add(np.concatenate(colours))

    def values(self) -> Mapping[str, Value | Refused]:
        found = {label: seen.change() for label, seen in sorted(self.objects.items())}
        changes = np.array([change for change in found.values() if change is not None])
        if not len(changes):
            why = Refused(
                f"no object fills {100 * SMALL:g} % of the picture in {2 * SIGHTINGS} looks {SECONDS:g} s apart"
            )
            return {"id.colour": why, "id.switches": why}
        curve = tuple((float(label), change) for label, change in found.items() if change is not None)
        return {
            "id.colour": Value(float(changes.mean()), len(changes), curve=curve),
            "id.switches": Value(float((changes > SWITCH).mean()), len(changes)),
        }


def _inner(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Without its outline, where pixels show something else as well."""
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0


def _colour(picture: np.ndarray, mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 3"]:
    """Median L*, a* and b* of pixels, evenly chosen if there are many."""
    pixels = picture[mask]
    return np.median(lab(pixels[None, :: -(-len(pixels) // SAMPLES)])[0], axis=0).astype(np.float64)


CHANGE = (
    "length of (C_last - C_first) - (T_last - T_first), C and T the median Lab of an object in the video and in the "
    "truth, inside its commanded mask without the outline, median over the first and the last three of the looks, four "
    "a second, in which that fills 0.2 % of the picture; of objects that do so in six"
)
FAMILY = Family(
    name="identity",
    open=Identity,
    metrics=tuple(
        Metric(
            name, 1, title, f"{mean} the {CHANGE}", unit, "lower", (0.0, most), frozenset({"truth", "labels"}),
            sees=("saturation", "swap"), ignores=("flicker",),
        )
        for name, title, mean, unit, most in (
            ("id.colour", "how much objects change colour from first to last, beyond the truth",
             "mean over objects of", "delta E", 500.0),
            ("id.switches", "share of objects that have become another",
             f"share of objects in which more than {SWITCH:g} is", "", 1.0),
        )
    ),
)  # fmt: skip
