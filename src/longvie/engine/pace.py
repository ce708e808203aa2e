"""Blocks made just in time for a viewer, so that a wish waits for one block at most before it is heard.

A block that is made as soon as it can be is one that nobody can change any more. So the next one is begun when what is
being shown will end about when it is there.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from longvie.engine.stream import Chunk

SLACK = 0.02  # seconds that a block is there before it is needed
CAUTION = 1.15  # of the median of the last blocks, that the next is expected to take
MEMORY = 8  # blocks by which that is told; one under new words takes longer, and may be late


@dataclass
class Shown:
    """What a viewer has seen.

    Attributes:
        begins: frame number and moment at which each chunk appeared.
        stalls: seconds that the picture stood still because a block was late.
        took: seconds that each block took to be made.
    """

    fps: int | float
    begins: list[tuple[int, float]] = field(default_factory=list)
    stalls: float = 0.0
    took: list[float] = field(default_factory=list)

    def moment(self, frame: int) -> float | None:
        """When a frame was shown; None if it was not."""
        for start, at in reversed(self.begins):
            if start <= frame:
                return at + (frame - start) / self.fps
        return None


def paced(
    chunks: Iterator[Chunk],
    shown: Shown,
    *,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Chunk]:
    """The same chunks, each begun as late as it may be; the first at once.

    Args:
        shown: is told what appears when.
    """
    ends: float | None = None
    recent: deque[float] = deque(maxlen=MEMORY)
    while True:
        if ends is not None and recent:
            wait = ends - SLACK - CAUTION * median(recent) - clock()
            if wait > 0:
                sleep(wait)
        begun = clock()
        chunk = next(chunks, None)
        if chunk is None:
            return
        there = clock()
        recent.append(there - begun)
        shown.took.append(there - begun)
        at = there if ends is None else max(ends, there)
        shown.stalls += 0.0 if ends is None else at - ends
        shown.begins.append((chunk.start, at))
        ends = at + chunk.frames.shape[1] / shown.fps
        yield chunk
