"""What a thing looks like on the whole: mean and spread of its colours, and how one look is brought to another
(colour transfer by first and second moments, Reinhard et al. 2001).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

STEADY = 0.02  # added to a spread: things of one colour have none to speak of
GAINS = (0.8, 1.25)  # by which colours of a thing may be spread
BRIGHT = (0.4, 2.5)  # by which another look may be made brighter


@dataclass(frozen=True)
class Look:
    """Mean and spread of each colour of a thing, in [-1, 1]."""

    mean: Float[np.ndarray, " 3"]
    spread: Float[np.ndarray, " 3"]

    @classmethod
    def of(cls, colours: Float[np.ndarray, "3 n"], weights: Float[np.ndarray, " n"] | None = None) -> "Look":
        """That of these pixels."""
        share = np.full(colours.shape[1], 1.0) if weights is None else weights.astype(np.float64)
        share = share / max(float(share.sum()), 1e-9)
        mean = (colours * share).sum(1)
        return cls(mean, np.sqrt(((colours - mean[:, None]) ** 2 * share).sum(1)))

    def lit(self, light: Float[np.ndarray, "3 2"]) -> "Look":
        """The same in another light, of this gain and offset for each colour."""
        return Look(light[:, 0] * self.mean + light[:, 1], np.abs(light[:, 0]) * self.spread)

    def to(self, other: "Look") -> Float[np.ndarray, "3 2"]:
        """Gain and offset of each colour by which what looks like this looks like another one. It stays as bright as it
        is: sides of a thing differ in that.
        """
        gain = np.clip((other.spread + STEADY) / (self.spread + STEADY), *GAINS)
        bright = (float(self.mean.mean()) + 1) / max(float(other.mean.mean()) + 1, 1e-3)
        wanted = (other.mean + 1) * min(max(bright, BRIGHT[0]), BRIGHT[1]) - 1
        return np.stack([gain, wanted - gain * self.mean], axis=1).astype(np.float32)


def then(first: Float[np.ndarray, "3 2"], second: Float[np.ndarray, "3 2"]) -> Float[np.ndarray, "3 2"]:
    """Gain and offset of both, one after the other."""
    return np.stack([first[:, 0] * second[:, 0], first[:, 1] * second[:, 0] + second[:, 1]], axis=1)
