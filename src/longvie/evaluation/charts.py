"""Numbers as small pictures (SVG): lines over time, one for each video, and all videos of a metric on one line."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longvie.evaluation.markup import Markup, digits, element, together

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 280.0, 150.0  # of a chart, in its own units
LEFT, RIGHT, TOP, BOTTOM = 42.0, 8.0, 8.0, 22.0  # around what is drawn
LONG, HIGH = 150.0, 20.0  # of a strip
STEPS = 30.0  # from the first to the last x, beyond which steps are ratios


@dataclass(frozen=True)
class Scale:
    """From numbers to places in a picture.

    Attributes:
        low, high: numbers that lie at `start` and `end`.
        log: equal ratios are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, number: float) -> float:
        low, high, at = (math.log(it) for it in (self.low, self.high, number)) if self.log else self._plain(number)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def _plain(self, number: float) -> tuple[float, float, float]:
        return self.low, self.high, number

    def ticks(self) -> list[float]:
        """Round numbers in the range: two to five of them, or powers of ten."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span))
        step = next(power * it for it in (0.2, 0.5, 1.0, 2.0) if span / (power * it) < 5)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(at * step, 12) for at in range(first, last + 1)]


def around(numbers: Sequence[float], start: float, end: float, *, pad: float = 0.08) -> Scale:
    """A scale that holds all the numbers, with a margin."""
    low, high = min(numbers), max(numbers)
    margin = pad * (high - low) or 0.5 * abs(high) or 0.5
    return Scale(low - margin, high + margin, start, end)


def chart(series: Mapping[str, Points], *, title: str, unit: str = "s") -> Markup:
    """A thin line for each series, and a bold one for their mean; with 30 times from first to last x, x in ratios.

    Args:
        series: (x, y) by name, in the order of x; the name is shown where a line is pointed at.
        title: what is drawn, for those who do not see it.
        unit: of x.
    """
    xs = sorted({x for points in series.values() for x, _ in points})
    log = xs[0] > 0 and xs[-1] / xs[0] > STEPS
    end = WIDTH - RIGHT
    across = Scale(xs[0], xs[-1], LEFT, end, log=log) if xs[-1] > xs[0] else around(xs, LEFT, end)
    up = around([y for points in series.values() for _, y in points], HEIGHT - BOTTOM, TOP)
    lines = [
        element("path", element("title", name), d=_path(points, across, up))
        for name, points in series.items()
        if points
    ]
    middle = mean(series)
    return element(
        "svg",
        _grid(across, up, unit),
        element("g", *lines, class_="each"),
        element("path", class_="mean", d=_path(middle, across, up)) if len(series) > 1 else None,
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        role="img",
        aria_label=f"{title}: mean {_course(middle)}, {len(series)} videos",
        class_="chart" if len(series) > 1 else "chart single",
    )


def mean(series: Mapping[str, Points]) -> list[tuple[float, float]]:
    """At every x that at least half of the series have; where fewer go on, their mean would jump for that alone."""
    found: dict[float, list[float]] = {}
    for points in series.values():
        for x, y in points:
            found.setdefault(x, []).append(y)
    return [(x, sum(ys) / len(ys)) for x, ys in sorted(found.items()) if 2 * len(ys) >= len(series)]


def strip(values: Mapping[str, float], middle: float, between: tuple[float, float] | None) -> Markup:
    """All values on a line, with their mean and its interval."""
    numbers = [*values.values(), middle, *(between or ())]
    place = around(numbers, 4.0, LONG - 4, pad=0.02)
    y = HIGH / 2
    dots = [
        element("circle", element("title", name), cx=_at(place(it)), cy=_at(y), r="2.6") for name, it in values.items()
    ]
    band = None
    if between is not None:
        low, high = (place(it) for it in between)
        band = element("rect", class_="band", x=_at(low), y="5", width=_at(max(1.0, high - low)), height=_at(HIGH - 10))
    return element(
        "svg",
        element("path", d=f"M4 {_at(y)}H{LONG - 4:g}", class_="axis"),
        band,
        element("g", *dots, class_="dots"),
        element("path", d=f"M{_at(place(middle))} 2V{HIGH - 2:g}", class_="mean"),
        viewBox=f"0 0 {LONG:g} {HIGH:g}",
        role="img",
        aria_label=f"from {digits(min(numbers))} to {digits(max(numbers))}",
        class_="strip",
    )


def _course(points: Points) -> str:
    if not points:
        return "of too few"
    return f"from {digits(points[0][1])} to {digits(points[-1][1])}"


def _path(points: Points, across: Scale, up: Scale) -> str:
    """A line through the points; of one point, a dot."""
    there = [f"{_at(across(x))} {_at(up(y))}" for x, y in points]
    return f"M{there[0]}h0" if len(there) == 1 else "M" + "L".join(there) if there else ""


def _grid(across: Scale, up: Scale, unit: str) -> Markup:
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM
    lines = [f"M{LEFT:g} {_at(up(tick))}H{right:g}" for tick in up.ticks()]
    heights = [
        element("text", _tick(tick), x=_at(LEFT - 5), y=_at(up(tick) + 3.5), text_anchor="end") for tick in up.ticks()
    ]
    ticks = across.ticks()
    widths = [
        element("text", _tick(tick) + (f" {unit}" if tick == ticks[-1] else ""), x=_at(across(tick)), y=_at(floor + 15),
                text_anchor="end" if across(tick) > right - 12 else "middle")
        for tick in ticks
    ]  # fmt: skip
    return element(
        "g", element("path", d="".join(lines)), together(*heights, *widths), class_="grid", aria_hidden="true"
    )


def _tick(number: float) -> str:
    return f"{number:.6g}".replace("-", "−", 1) if number < 0 else f"{number:.6g}"


def _at(place: float) -> str:
    """A tenth of a unit is less than can be seen."""
    return f"{place:.1f}".removesuffix(".0")
