"""Does the video show what its words name, and how soon after they change? Told by a small network that knows the
world's words: objects with their colours, ground, weather, time of day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from longvie.evaluation.instruments import attributes
from longvie.evaluation.instruments.attributes import KINDS, Kind, Named, Reading
from longvie.evaluation.metric import Facts, Family, Metric, Moment, Need, Refused, Value
from longvie.evaluation.tally import Tally

RATE = 4  # frames a second that are read
SETTLE = 3.0  # seconds after a change of words that count for none of them: the world's longest turn
BEFORE, AFTER = 3.0, 8.0  # seconds around a switch that are looked at, where no other one is nearer
PLATEAU = 3.0  # seconds of each plateau, the first before the switch, the second at the end
LEAST = 4  # frames of a plateau
MARGIN = 0.4  # by which the plateaus must differ, of m in [-1, 1]
SURE = 0.02  # probability below which neither the old nor the new is really seen


@dataclass
class Switch:
    """A change of words: what comes and what goes, and how much more than the old each frame shows the new."""

    at: float  # seconds
    end: float
    comes: tuple[Named, ...]
    goes: tuple[Named, ...]
    made: list[tuple[float, float]] = field(default_factory=list)  # (seconds since, m)
    truth: list[tuple[float, float]] = field(default_factory=list)

    def margin(self, reading: Reading, row: int) -> float:
        """m = (s(V, new) - s(V, old)) / (s(V, new) + s(V, old)) of one frame, s the mean probability of what only these
        words name: so that an object far away counts like one near by. Where nothing comes or goes, the difference."""
        new, old = (
            float(np.mean([float(reading.of(name)[row]) for name in names])) if names else 0.0
            for names in (self.comes, self.goes)
        )
        both = new + old + SURE if self.comes and self.goes else 1.0
        return (new - old) / both


class Words:
    """Four frames a second, of the video and of its truth."""

    def __init__(self, facts: Facts) -> None:
        self.step, self.known = max(1, round(facts.fps / RATE)), "truth" in facts.known
        self.spans = [(start, attributes.named(words)) for start, words in sorted(facts.prompts)]
        self.switches = switches(facts)
        self.told: dict[Kind, Tally] = {kind: Tally(facts.fps) for kind in KINDS}
        self.kept = Tally(facts.fps)

    def see(self, moment: Moment) -> None:
        if moment.number % self.step:
            return
        pictures = [moment.picture, moment.true.picture] if self.known else [moment.picture]
        reading = attributes.read(np.stack(pictures))
        self._follow(moment.time, reading)
        for name in self._named(moment.time):
            shown = reading.shows(name).float().tolist()
            self.told[name.kind].add(moment.time, shown[0])
            if shown[-1] and self.known:
                self.kept.add(moment.time, shown[0])

    def _named(self, time: float) -> tuple[Named, ...]:
        """What the words in force name; nothing while they are new."""
        begun = [(start, names) for start, names in self.spans if start <= time + 1e-9]
        if not begun or (len(begun) > 1 and time - begun[-1][0] < SETTLE):
            return ()
        return begun[-1][1]

    def _follow(self, time: float, reading: Reading) -> None:
        for switch in self.switches:
            if switch.at - BEFORE <= time < switch.end:
                switch.made.append((time - switch.at, switch.margin(reading, 0)))
                if self.known:
                    switch.truth.append((time - switch.at, switch.margin(reading, 1)))

    def values(self) -> Mapping[str, Value | Refused]:
        found: dict[str, Value | Refused] = {
            f"words.{kind}": tally.mean() if tally.n else Refused(f"no words name a {kind} that can be recognised")
            for kind, tally in self.told.items()
        }
        none = Refused("of what the words name, nothing is recognised in the truth")
        found["words.kept"] = self.kept.mean() if self.kept.n else none
        return found | self._switched()

    def _switched(self) -> dict[str, Value | Refused]:
        names = ("switch.content", "switch.content.late", "switch.done")
        if not self.switches:
            return dict.fromkeys(names, Refused("no change of words changes what can be recognised"))
        made = {switch.at: latency(switch.made, switch.end - switch.at) for switch in self.switches}
        truth = {switch.at: latency(switch.truth, switch.end - switch.at) for switch in self.switches}
        seen = [(at, after) for at, after in made.items() if after is not None]
        true = [(at, after) for at, after in truth.items() if after is not None]
        late = [(at, after - dict(true)[at]) for at, after in seen if at in dict(true)]
        done = [(at, float(made[at] is not None)) for at, _ in true]
        flat = f"before and after none of {len(made)} changes of words do plateaus differ by {MARGIN}"
        return {
            "switch.content": _mean(seen, flat),
            "switch.content.late": _mean(late, f"{flat}, both in the video and in its truth"),
            "switch.done": _mean(done, f"{flat}, in the truth"),
        }


def switches(facts: Facts) -> list[Switch]:
    """The events that change what can be recognised; each ends where the next event of any kind begins."""
    found = []
    events = sorted(facts.events, key=lambda event: event.time)
    ends = [*(event.time for event in events[1:]), facts.frames / facts.fps]
    for event, end in zip(events, ends, strict=False):  # without events there is one end too many
        before = [words for start, words in sorted(facts.prompts) if start < event.time - 1e-6]
        old = attributes.named(before[-1]) if before else ()
        new = attributes.named(event.words)
        comes, goes = (tuple(it for it in a if it not in b) for a, b in ((new, old), (old, new)))
        if comes or goes:
            found.append(Switch(event.time, min(end, event.time + AFTER), comes, goes))
    return found


def latency(samples: Sequence[tuple[float, float]], end: float) -> float | None:
    """Seconds from a switch until m, a median of three, crosses the middle between its plateaus and stays there for one
    more frame; none where a plateau is too short or they differ too little.

    Args:
        samples: (seconds since the switch, m), in order.
        end: seconds since the switch at which the samples end.
    """
    times, values = (np.array(side) for side in zip(*samples, strict=True)) if samples else (np.zeros(0), np.zeros(0))
    first, last = values[times < 0], values[times >= max(0.0, end - PLATEAU)]
    if min(len(first), len(last)) < LEAST or np.median(last) - np.median(first) < MARGIN:
        return None
    middle = (np.median(last) + np.median(first)) / 2
    smooth = np.median(np.stack([np.r_[values[:1], values[:-1]], values, np.r_[values[1:], values[-1:]]]), axis=0)
    above = (smooth >= middle) & np.r_[smooth[1:] >= middle, True] & (times >= 0)
    at = int(above.argmax())
    if not above[at]:
        return None
    rise = smooth[at] - smooth[at - 1]
    share = (middle - smooth[at - 1]) / rise if rise > 0 else 0.0
    return max(0.0, float(times[at - 1] + np.clip(share, 0, 1) * (times[at] - times[at - 1])))


def _mean(numbers: Sequence[tuple[float, float]], why: str) -> Value | Refused:
    """With each number by the second of its switch."""
    if not numbers:
        return Refused(why)
    return Value(float(np.mean([number for _, number in numbers])), len(numbers), windows=tuple(numbers))


SEEN = {
    "ground": "the ground that is named is the likeliest",
    "weather": "the weather that is named is the likeliest",
    "hour": "the time of day that is named is the likeliest",
    "object": f"an object that is named has a probability of {attributes.SHOWN} or more ({attributes.SHOWN_SHAPE} if "
    f"no colour is named), mean of its best {attributes.CELLS} cells of 4x4 pixels; objects out of view are not shown",
}  # fmt: skip
HOW = (
    f"{RATE} frames a second, told by a small network (shipped, trained on the world); without the first {SETTLE:g} s "
    "after words change"
)
MARGINS = (
    f"m = (s(V, new) - s(V, old)) / (s(V, new) + s(V, old) + {SURE}), s the mean probability of what only the new or "
    "only the old words name, and the difference alone where nothing comes or goes; plateaus: medians of m over "
    f"{PLATEAU:g} s before a change of words and over the last {PLATEAU:g} s before the next one or {AFTER:g} s after; "
    f"a switch is seen if they differ by {MARGIN}"
)
WORDS: frozenset[Need] = frozenset({"prompts"})
EVENTS: frozenset[Need] = frozenset({"prompts", "events"})
TRUTH: frozenset[Need] = frozenset({"truth"})
FAMILY = Family(
    "words",
    (
        *(
            Metric(
                f"words.{kind}", 1, f"share of frames that show the {kind} that is named",
                f"share of frames and words of which {SEEN[kind]}; {HOW}", "", "higher", (0.0, 1.0), WORDS, tier="W1",
            )
            for kind in KINDS
        ),
        Metric(
            "words.kept", 1, "share of what the truth shows of its words that the video shows",
            "share of frames and named words recognised in the truth that are recognised in the video, as words.* "
            f"recognise them; {HOW}",
            "", "higher", (0.0, 1.0), WORDS | TRUTH, tier="W1", sees=("unrelated", "swap"),
        ),
        Metric(
            "switch.content", 1, "time until a change of words is seen",
            f"mean over switches that are seen of the time until m crosses the middle of its plateaus; {MARGINS}",
            "s", "lower", (0.0, AFTER), EVENTS, tier="W1", sees=("lag",),
        ),
        Metric(
            "switch.content.late", 1, "time until a change of words is seen, beyond the truth's",
            f"mean of switch.content minus that of the truth, of switches seen in both; {MARGINS}",
            "s", "lower", (-AFTER, AFTER), EVENTS | TRUTH, tier="W1", sees=("lag",),
        ),
        Metric(
            "switch.done", 1, "share of changes of words that are seen",
            f"share of switches seen in the truth that are seen in the video; {MARGINS}",
            "", "higher", (0.0, 1.0), EVENTS | TRUTH, tier="W1", sees=("frozen",),
        ),
    ),
    Words,
)  # fmt: skip
