"""Numbers that come one by one: their mean, and means of parts of the video, in memory that grows with minutes only."""

from dataclasses import dataclass, field

from longvie.evaluation.metric import Refused, Value

WINDOW = 5.0  # seconds of a part


@dataclass
class Tally:
    """A running mean, and one for every `WINDOW` seconds of the video."""

    fps: float
    total: float = 0.0
    n: int = 0
    parts: dict[int, tuple[float, int]] = field(default_factory=dict)

    def add(self, time: float, number: float) -> None:
        """One more, of this second of the video."""
        self.total, self.n = self.total + number, self.n + 1
        part = int((time + 1e-9) // WINDOW)
        total, n = self.parts.get(part, (0.0, 0))
        self.parts[part] = (total + number, n + 1)

    def windows(self) -> tuple[tuple[float, float], ...]:
        """(first second, mean) of every part."""
        return tuple((part * WINDOW, total / n) for part, (total, n) in sorted(self.parts.items()))

    def mean(self, least: int = 1) -> Value | Refused:
        """Of all, if there are as many as `least`."""
        if self.n < least:
            return Refused(f"{self.n} samples, {least} are needed")
        return Value(self.total / self.n, self.n, self.windows())
