"""Blocks made just in time for a viewer, so that a wish waits for one block at most before it is heard.

A block that is made as soon as it can be is one that nobody can change any more. So the next one is begun when what is
being shown will end about when its first frames are there; earlier where more than usual has to be done for them.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from longvie.engine.stream import Chunk

SLACK = 0.02  # seconds that frames are there before they are needed
CAUTION = 1.15  # of the median of the last blocks' leads, that the next is expected to need
MEMORY = 8  # blocks by which that is told; one under new words takes longer, and may be late
GLANCE = 0.01  # seconds between two looks at what is wanted
EVEN = 1e-4  # seconds that are none


@dataclass
class Shown:
    """What a viewer has seen.

    Attributes:
        begins: frame number and moment at which each chunk appeared.
        stalls: seconds that the picture stood still because frames were late.
        took: seconds that each block took to be made.
        leads: seconds by which each block had to be begun before its first frame was due.
    """

    fps: int | float
    begins: list[tuple[int, float]] = field(default_factory=list)
    stalls: float = 0.0
    took: list[float] = field(default_factory=list)
    leads: list[float] = field(default_factory=list)

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
    begins: Callable[[int], bool] = lambda _frame: True,
    heavy: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.perf_counter,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Chunk]:
    """The same chunks, each block begun as late as it may be; the first at once.

    Args:
        shown: is told what appears when.
        begins: whether a block begins with this frame; by default each chunk is a block.
        heavy: whether more than usual waits to be done for the next block, such as for new words. The first such block
            begins at once, for nobody knows what it needs.
    """
    ends: float | None = None
    recent = {False: deque[float](maxlen=MEMORY), True: deque[float](maxlen=MEMORY)}  # leads, by whether it was heavy
    begun, spent, first, stop, more = clock(), 0.0, 0, 0, False
    while True:
        if begins(stop):
            if spent:
                recent[more].append(shown.leads[-1])
            while ends is not None and (wait := ends - SLACK - clock() - _lead(recent, heavy())) > EVEN:
                sleep(min(wait, GLANCE))
            begun, spent, first, more = clock(), 0.0, stop, heavy()
        asked = clock()
        chunk = next(chunks, None)
        if chunk is None:
            return
        there = clock()
        late = there - begun - (chunk.start - first) / shown.fps
        if spent:
            shown.took[-1], shown.leads[-1] = there - begun, max(shown.leads[-1], late)
        else:
            shown.took.append(there - begun)
            shown.leads.append(late)
        spent += there - asked
        at = there if ends is None else max(ends, there)
        shown.stalls += 0.0 if ends is None else at - ends
        shown.begins.append((chunk.start, at))
        ends, stop = at + chunk.frames.shape[1] / shown.fps, chunk.stop
        yield chunk


def _lead(recent: Mapping[bool, Sequence[float]], more: bool) -> float:
    """Seconds that a block is expected to need before its first frame is there."""
    known = recent[more]
    return CAUTION * median(known) if known else float("inf")
