"""Results as one page: a file that holds all it shows, needs no network, and says the same for the same results.

First what was measured and every metric over all videos, then how metrics go over time, how others compare, and the
videos, worst first, with moments of them above the same moments of their truth. A coherence stands beside its guards,
for a video that is frozen or blurred is coherent with itself.
"""

import base64
import hashlib
import io
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from longvie.errors import InputError, LongVieError
from longvie.evaluation import registry
from longvie.evaluation.charts import Points, chart, strip
from longvie.evaluation.compare import RATIOS, Verdict, compare
from longvie.evaluation.markup import Markup, digits, element, text, together
from longvie.evaluation.metric import Metric
from longvie.evaluation.results import Line, Results
from longvie.evaluation.sheet import sheet
from longvie.media import read_picture
from longvie.media.files import write_bytes_atomically

PAGE = Path(__file__).with_name("report.html")
WORST, BEST = 12, 3  # videos that are shown with pictures
MOMENTS, TALL = 6, 96  # columns of a sheet; pixels of a picture's height
SHEET_BYTES = 30_000  # of a sheet's JPEG; in base64 a third more, 40 kB
QUALITIES = (82, 70, 58, 46, 34)
WEAKEST = 4  # metrics named of a video
MEAN_PLACE = "mean place"

# Metrics that a video which stands still, or is blurred, does well in.
COHERENT = frozenset(
    {"tc", "tc.flow", "lvc", "lvc.ssim", "lvc.delta_e", "temporal.flickering", "vbench.temporal_flickering",
     "vbench.subject_consistency", "vbench.background_consistency", "vbench.motion_smoothness"}
)  # fmt: skip
# What stands beside them: a word, and from where to where it raises no doubt. The limits are judgement.
GUARDS: Mapping[str, tuple[str, float, float]] = {
    "guard.motion_ratio": ("motion", 0.8, 1.25),
    "guard.sharpness_ratio": ("sharpness", 0.8, 1.25),
    "guard.frozen": ("frozen", 0.0, 0.05),
    "covisibility": ("co-visible", 0.05, 1.0),
}
# Curves that are drawn: by what they go, and its unit. Others are of objects or single events, and make no line.
CURVES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("tc", "lvc", "lvc.ssim", "lvc.delta_e", "covisibility"), ("the time between two frames", "s")),
    "ctl.track": ("how far from its track a point may be", "px"),
    **dict.fromkeys(("seam.z", "switch.cost"), ("the second of the video", "s")),
}


def report(
    results: Results,
    out: Path,
    *,
    videos: Mapping[str, Path] | None = None,
    truths: Mapping[str, Path] | None = None,
    others: Sequence[Results] = (),
    key: str | None = None,
) -> None:
    """Write the page.

    Args:
        videos, truths: files by the videos' names in the results, for the pictures; without them there are none.
        others: results to compare with, such as those of the model before.
        key: the metric whose worst video comes first; by default the mean place in all metrics with a direction.

    Raises:
        InputError: `key` is no metric that has a direction and two videos with a number.
        ResourceError: no room.
    """
    shown = Shown(results, videos or {}, truths or {}, tuple(others), key)
    if key is not None and key not in shown.orders:
        raise InputError(f"videos cannot be put in order by {key[:60]!r}; there are {', '.join(shown.orders)}")
    write_bytes_atomically(out, page(shown).encode())


@dataclass(frozen=True)
class Shown:
    """What the page is made of, and what several parts of it need."""

    results: Results
    videos: Mapping[str, Path]
    truths: Mapping[str, Path]
    others: tuple[Results, ...]
    key: str | None

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        """All of the register that have a line."""
        lines = self.results.suite
        return {name: metric for name, metric in registry.metrics().items() if name in lines or name in self.numbers}

    @cached_property
    def families(self) -> list[tuple[str, list[str]]]:
        """Names of metrics by family; those that the register does not know come last."""
        there = set(self.results.suite) | set(self.numbers)
        found = [
            (it.name, [metric.name for metric in it.metrics if metric.name in there]) for it in registry.all_families()
        ]
        strange = sorted(there - set(self.metrics))
        return [(name, names) for name, names in [*found, ("other", strange)] if names]

    @cached_property
    def numbers(self) -> Mapping[str, dict[str, float]]:
        """By metric, then by video."""
        return {name: self.results.numbers(name) for name in self.results.videos}

    @cached_property
    def places(self) -> Mapping[str, dict[str, float]]:
        """By metric that has a direction, then by video: 0 is the best, 1 the worst; equal numbers share a place."""
        found = {}
        for name, metric in self.metrics.items():
            values = self.numbers.get(name, {})
            if len(values) > 1 and (metric.better != "neither" or name in RATIOS):
                bad = [_badness(name, metric, value) for value in values.values()]
                found[name] = dict(zip(values, _places(bad), strict=True))
        return found

    @cached_property
    def orders(self) -> Mapping[str, dict[str, float]]:
        """Ways to put videos in order: by name, how bad each video is."""
        each: dict[str, list[float]] = {}
        for places in self.places.values():
            for video, place in places.items():
                each.setdefault(video, []).append(place)
        return {MEAN_PLACE: {video: sum(of) / len(of) for video, of in each.items()}, **self.places}

    @cached_property
    def ordered(self) -> list[str]:
        """Videos that were measured, worst first; those without a number in what orders them come last."""
        bad = self.orders[self.key or MEAN_PLACE]
        measured = [video for video, line in self.results.sources.items() if "error" not in line]
        there = measured or sorted({video for values in self.numbers.values() for video in values})
        return sorted(there, key=lambda video: (-bad.get(video, -1.0), video))


def _badness(name: str, metric: Metric, value: float) -> float:
    if name in RATIOS:
        return abs(value - 1)
    return -value if metric.better == "higher" else value


def _places(bad: Sequence[float]) -> list[float]:
    """0 for the smallest to 1 for the largest; equal ones get the mean of their places."""
    values = np.asarray(bad)
    below, same = (values[:, None] > values).sum(1), (values[:, None] == values).sum(1)
    return [float(place) for place in (below + (same - 1) / 2) / (len(values) - 1)]


# --------------------------------------------------------------------------------------------------------------
# the page


def page(shown: Shown) -> str:
    """The whole file."""
    template = PAGE.read_text()
    script = template.partition("<script>")[2].partition("</script>")[0]
    seal = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    title = str(shown.results.run.get("title") or "Results")
    parts = {"title": text(title), "seal": seal, "body": _body(shown, title)}
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)  # once: text is not looked into again


def _body(shown: Shown, title: str) -> Markup:
    sections = [
        ("metrics", "Metrics", _metrics(shown)),
        ("time", "Over time", _over_time(shown)),
        ("others", "Against others", _others(shown)),
        ("videos", "Videos, worst first", _videos(shown)),
    ]
    there = [(name, heading, inside) for name, heading, inside in sections if inside]
    links = [element("a", heading, href=f"#{name}") for name, heading, _ in there]
    return together(
        element(
            "header", element("h1", title), _measured(shown), element("nav", *links, aria_label="Parts of this page")
        ),
        element(
            "main",
            _failed(shown),
            *(
                element(
                    "section",
                    element("h2", heading, id=f"{name}-head"),
                    inside,
                    id=name,
                    aria_labelledby=f"{name}-head",
                )
                for name, heading, inside in there
            ),
        ),
    )


# --------------------------------------------------------------------------------------------------------------
# what was measured, and where it comes from


def _measured(shown: Shown) -> Markup:
    run, provenance = shown.results.run, shown.results.run.get("provenance", {})
    counted = sum(1 for name in shown.metrics if shown.numbers.get(name))
    said = [_count(len(shown.ordered), "video"), _count(counted, "metric")]
    time = run.get("time", {})
    if isinstance(time.get("begun"), int):
        said.append(f"measured on {datetime.fromtimestamp(time['begun'], timezone.utc):%Y-%m-%d}")
    left = {name: value for name, value in run.items() if name not in ("kind", "title", "videos", "provenance", "time")}
    facts = left | {name: value for name, value in provenance.items() if name != "metrics"} | time
    facts["versions of metrics"] = provenance.get("metrics", {})
    terms = [together(element("dt", name), element("dd", _fact(value))) for name, value in facts.items()]
    folded = element("details", element("summary", "Where every number comes from"), element("dl", *terms))
    return together(element("p", " · ".join(said), class_="soft"), folded)


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(it)}" for name, it in value.items()) or "none"
    if isinstance(value, list | tuple):
        return " ".join(_fact(it) for it in value) or "none"
    return "none" if value is None or value == "" else str(value)


def _failed(shown: Shown) -> Markup | None:
    """Videos that could not be measured at all."""
    failed = {video: line["error"] for video, line in shown.results.sources.items() if "error" in line}
    if not failed:
        return None
    said = [element("li", element("b", video), ": ", why) for video, why in failed.items()]
    heading = element("p", f"{_count(len(failed), 'video')} could not be measured")
    return element("aside", heading, element("ul", *said), class_="alarm")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# --------------------------------------------------------------------------------------------------------------
# every metric over all videos


def _metrics(shown: Shown) -> Markup:
    groups = []
    for family, names in shown.families:
        rows = [_row(shown, name) for name in names if "mean" in shown.results.suite.get(name, {})]
        if rows:
            head = element("tr", element("th", family.replace("_", " "), colspan="4", scope="rowgroup"))
            groups.append(element("tbody", head, *rows))
    heads = [
        element("th", "Metric", scope="col"),
        element("th", "Mean, with 95 %", scope="col", class_="number"),
        element("th", "Every video", scope="col", class_="wide"),
        element("th", "Videos", scope="col", class_="number"),
    ]
    table = element("table", element("thead", element("tr", *heads)), *groups, class_="metrics")
    return together(_legend(), table if groups else element("p", "No metric has a number."), _without(shown))


def _legend() -> Markup:
    said = "↑ more is better, ↓ less is better, → 1 the truth has 1, · neither. "
    guards = "Beside a coherence stand its guards: what is still or blurred is coherent with itself. "
    doubt = "! marks what raises doubt."
    return element("p", said, guards, doubt, class_="soft")


def _row(shown: Shown, name: str) -> Markup:
    line, values = shown.results.suite[name], shown.numbers.get(name, {})
    between = (line["low"], line["high"]) if "low" in line else None
    of = "as a whole" if line.get("of") == "set" else str(line["n"])
    return element(
        "tr",
        element("th", _named(shown, name), scope="row"),
        element(
            "td", _value(shown, name, line["mean"]), _interval(between), _guards(shown, name, None), class_="number"
        ),
        element("td", strip(values, line["mean"], between) if len(values) > 1 else None, class_="wide"),
        element("td", of, _refusals(shown, name), class_="number"),
    )


def _named(shown: Shown, name: str) -> Markup:
    metric = shown.metrics.get(name)
    sign, means = _direction(name, metric)
    arrow = element(
        "span",
        sign,
        element("span", f" {means}", class_="unseen"),
        title=means,
        class_="arrow one" if name in RATIOS else "arrow",
    )
    title = None if metric is None else element("span", metric.title, class_="soft", title=metric.formula)
    return element("span", arrow, element("span", _code(name), " ", title), class_="named")


def _code(name: str) -> Markup:
    """A metric's name, that may go on in the next line after a point."""
    first, *rest = name.split(".")
    return element("code", first, *(together(".", element("wbr"), part) for part in rest))


def _direction(name: str, metric: Metric | None) -> tuple[str, str]:
    if name in RATIOS:
        return "→ 1", "best at 1"
    if metric is None or metric.better == "neither":
        return "·", "neither more nor less is better"
    return ("↑", "more is better") if metric.better == "higher" else ("↓", "less is better")


def _value(shown: Shown, name: str, number: float) -> Markup:
    metric = shown.metrics.get(name)
    unit = element("span", f" {metric.unit}", class_="soft") if metric is not None and metric.unit else None
    return together(element("b", digits(number)), unit)


def _interval(between: tuple[float, float] | None) -> Markup | None:
    return (
        None if between is None else element("span", f"{digits(between[0])} to {digits(between[1])}", class_="interval")
    )


def _refusals(shown: Shown, name: str) -> Markup | None:
    """How many videos have no number, and why."""
    why = _reasons(shown.results, name)
    if not why:
        return None
    said = [element("li", _times(count), reason) for reason, count in why.most_common()]
    return element("details", element("summary", f"{sum(why.values())} refused"), element("ul", *said))


def _reasons(results: Results, name: str) -> Counter[str]:
    lines = results.videos.get(name, {}).values()
    found = Counter(str(line["refused"]) for line in lines if "refused" in line)
    return found + Counter([str(results.suite.get(name, {})["why"])] if "why" in results.suite.get(name, {}) else [])


def _times(count: int) -> str | None:
    return f"{count} × " if count > 1 else None


def _without(shown: Shown) -> Markup | None:
    """Metrics of which nothing could be measured, with the reasons."""
    names = [name for _, names in shown.families for name in names if "mean" not in shown.results.suite.get(name, {})]
    if not names:
        return None
    rows = [
        element("tr", element("th", _named(shown, name), scope="row"), element("td", _why(shown, name)))
        for name in names
    ]
    heads = element("tr", element("th", "Metric", scope="col"), element("th", "Why there is no number", scope="col"))
    table = element("table", element("thead", heads), element("tbody", *rows), class_="missing")
    return element("details", element("summary", f"{_count(len(names), 'metric')} without a number"), table)


def _why(shown: Shown, name: str) -> Markup:
    why = _reasons(shown.results, name).most_common()
    said = [element("li", _times(count), reason) for reason, count in why]
    return element("ul", *said) if said else text("no video could be measured")


def _guards(shown: Shown, name: str, video: str | None) -> Markup | None:
    """Of one video, or of all, beside a metric that needs them."""
    if name not in COHERENT:
        return None
    said = []
    for guard, (word, low, high) in GUARDS.items():
        values = shown.numbers.get(guard, {})
        number = shown.results.suite.get(guard, {}).get("mean") if video is None else values.get(video)
        if number is not None:
            fine = low <= number <= high
            doubt = None if fine else "doubt"
            said.append(element("span", f"{'' if fine else '! '}{word} {number:.2f}", class_=doubt))
    return element("span", *said, class_="guards") if said else element("span", "no guards", class_="guards")


# --------------------------------------------------------------------------------------------------------------
# over time


def _over_time(shown: Shown) -> Markup | None:
    figures, seen = [], set()
    for name in (name for _, names in shown.families for name in names):
        windows = {video: points for video, points in _windows(shown, name).items() if points}
        if windows:
            figures.append(_figure(shown, name, windows, "the second of the video", "s"))
        curves = {video: [(x, y) for x, y in line["curve"]] for video, line in _lines(shown, name) if "curve" in line}
        if curves and name in CURVES and (said := json.dumps(curves, sort_keys=True)) not in seen:
            seen.add(said)  # several metrics may be made of one curve
            figures.append(_figure(shown, name, curves, *CURVES[name]))
    lead = element("p", "A thin line is a video, the bold one the mean of all that last so long.", class_="soft")
    return together(lead, element("div", *figures, class_="charts")) if figures else None


def _lines(shown: Shown, name: str) -> Iterable[tuple[str, Line]]:
    return shown.results.videos.get(name, {}).items()


def _windows(shown: Shown, name: str) -> dict[str, list[tuple[float, float]]]:
    windows = shown.results.windows
    return {video: windows.get((video, name), []) for video in shown.results.videos.get(name, {})}


def _figure(shown: Shown, name: str, series: Mapping[str, Points], by: str, unit: str) -> Markup:
    metric = shown.metrics.get(name)
    title = None if metric is None else f"{metric.title}{', ' if metric.unit else ''}{metric.unit}"
    caption = element("figcaption", element("code", name), " ", title, element("span", f"by {by}", class_="soft"))
    return element("figure", caption, chart(series, title=f"{name} by {by}", unit=unit), class_="card")


# --------------------------------------------------------------------------------------------------------------
# against others


def _others(shown: Shown) -> Markup | None:
    return together(*(_against(shown, other) for other in shown.others)) if shown.others else None


def _against(shown: Shown, other: Results) -> Markup:
    title = str(other.run.get("title") or "another")
    heading = element("h3", f"Against {title}")
    try:
        verdicts = compare(other, shown.results)
    except InputError as reason:
        return together(heading, element("p", str(reason), class_="alarm"))
    told = [it for it in verdicts if it.pairs]
    count = Counter(it.verdict for it in told)
    firm = sum(it.firm for it in told)
    said = ", ".join(
        f"{count[word]} {word}" for word in ("better", "worse", "differs", "no difference shown") if count[word]
    )
    lead = f"Of {_count(len(told), 'metric')}: {said or 'nothing'}; {firm} hold for the number of metrics (Holm)."
    heads = ("Metric", "Theirs", "Here", "Difference, with 95 %", "Verdict", "Pairs")
    classes = (None, "number", "number", "number", None, "number")
    head = element("tr", *(element("th", it, scope="col", class_=of) for it, of in zip(heads, classes, strict=True)))
    rows = [_compared(shown, it) for it in told]
    table = element("table", element("thead", head), element("tbody", *rows))
    alone = len(verdicts) - len(told)
    rest = element("p", f"{_count(alone, 'metric')} without pairs.", class_="soft") if alone else None
    return together(
        heading,
        element("p", lead),
        element("div", table, class_="scroll", tabindex="0", role="region", aria_label=f"Against {title}"),
        rest,
    )


def _compared(shown: Shown, it: Verdict) -> Markup:
    difference = "–" if it.difference is None else _signed(it.difference)
    from_one = element("span", " from 1", class_="soft") if it.distance else None
    between = None
    if it.interval is not None:
        between = element("span", f"{_signed(it.interval[0])} to {_signed(it.interval[1])}", class_="interval")
    kind = {"better": "good", "worse": "bad"}.get(it.verdict, "soft")
    sign = {"better": "▲ ", "worse": "▼ "}.get(it.verdict, "")
    open_to_chance = it.verdict in ("better", "worse", "differs") and not it.firm
    unsure = element("span", "may be chance", class_="interval") if open_to_chance else None
    alone = f" ({it.only_a} theirs alone, {it.only_b} here alone)" if it.only_a or it.only_b else ""
    return element(
        "tr",
        element("th", _named(shown, it.metric), scope="row"),
        element("td", "–" if it.mean_a is None else digits(it.mean_a), class_="number"),
        element("td", "–" if it.mean_b is None else digits(it.mean_b), class_="number"),
        element("td", element("b", difference), from_one, between, class_="number"),
        element("td", element("span", f"{sign}{it.verdict}", class_=kind), unsure),
        element("td", f"{it.pairs}{alone}", class_="number"),
    )


def _signed(number: float) -> str:
    return f"+{digits(number)}" if number > 0 else digits(number)


# --------------------------------------------------------------------------------------------------------------
# videos


def _videos(shown: Shown) -> Markup | None:
    if not shown.ordered:
        return None
    pictured = {*shown.ordered[:WORST], *shown.ordered[-BEST:]} & set(shown.videos)
    items = [element("li", _video(shown, video, pictured=video in pictured)) for video in shown.ordered]
    chosen = shown.key or MEAN_PLACE
    options = [element("option", name, value=str(at), selected=name == chosen) for at, name in enumerate(shown.orders)]
    choice = element("label", "Worst first by ", element("select", *options, id="order"), id="choice", hidden=True)
    said = "The mean place is of all metrics with a direction: 0 % is the best in each, 100 % the worst."
    if pictured and len(pictured) < len(shown.ordered):
        said += f" Pictures are of the {WORST} worst and the {BEST} best by {chosen}."
    lead = element("p", element("span", f"Worst first by {chosen}. ", id="ordered"), said, class_="soft")
    return together(lead, choice, element("ol", *items, class_="videos", id="list"))


def _video(shown: Shown, video: str, *, pictured: bool) -> Markup:
    line = shown.results.sources.get(video, {})
    bad = [of.get(video) for of in shown.orders.values()]
    return element(
        "article",
        element("h3", video),
        element("p", _about(shown, video, line), class_="soft"),
        *(element("p", note, class_="soft") for note in line.get("notes", ())),
        _sheet(shown, video) if pictured else None,
        _weakest(shown, video),
        _all_numbers(shown, video),
        class_="card",
        data_bad=json.dumps([None if it is None else round(it, 6) for it in bad]),
    )


def _about(shown: Shown, video: str, line: Line) -> str:
    said = []
    if "frames" in line and "fps" in line:
        frames, fps = line["frames"], line["fps"]
        said.append(f"{_count(frames, 'frame')} at {fps:g} a second")
    if "size" in line:
        said.append(f"{line['size'][1]} × {line['size'][0]}")
    if "item" in line:
        said.append(f"made of {line['item']}")
    place = shown.orders[MEAN_PLACE].get(video)
    if place is not None:
        said.append(f"mean place {100 * place:.0f} %")
    return " · ".join(said)


def _weakest(shown: Shown, video: str) -> Markup | None:
    """The metrics in which it is farthest behind the mean of all videos, and its guards."""
    behind = {name: _behind(shown, name, video) for name in shown.places if video in shown.places[name]}
    names = sorted((name for name, by in behind.items() if by > 0), key=lambda name: -behind[name])[:WEAKEST]
    chips = [
        element("li", element("code", name), " ", element("b", digits(shown.numbers[name][video])), f" {nth}")
        for name, nth in ((name, _nth(shown, name, video)) for name in names)
    ]
    weak = element("ul", element("li", "Weakest in", class_="soft"), *chips, class_="chips") if chips else None
    return together(weak, _guards(shown, "lvc", video))


def _behind(shown: Shown, name: str, video: str) -> float:
    """In deviations of all videos."""
    values, metric = shown.numbers[name], shown.metrics[name]
    bad = np.array([_badness(name, metric, value) for value in values.values()])
    return float((_badness(name, metric, values[video]) - bad.mean()) / (bad.std() or 1.0))


def _nth(shown: Shown, name: str, video: str) -> str:
    places = shown.places[name]
    return f"{1 + round(places[video] * (len(places) - 1))} of {len(places)}"


def _all_numbers(shown: Shown, video: str) -> Markup:
    rows, refused = [], []
    for name in (name for _, names in shown.families for name in names):
        line = shown.results.videos.get(name, {}).get(video, {})
        if "value" in line:
            value = element("td", _value(shown, name, line["value"]), _guards(shown, name, video), class_="number")
            place = _nth(shown, name, video) if video in shown.places.get(name, {}) else "–"
            cells = value, element("td", str(line["n"]), class_="number"), element("td", place, class_="number")
            rows.append(element("tr", element("th", _named(shown, name), scope="row"), *cells))
        elif "refused" in line:
            refused.append(element("li", element("code", name), f" {line['refused']}"))
    heads = ("Metric", "Value", "Samples", "Place")
    head = element("tr", *(element("th", it, scope="col", class_=None if it == "Metric" else "number") for it in heads))
    table = element("table", element("thead", head), element("tbody", *rows))
    rest = together(element("p", "Refused:"), element("ul", *refused)) if refused else None
    summary = f"{_count(len(rows), 'number')}" + (f", {len(refused)} refused" if refused else "")
    return element("details", element("summary", summary), table, rest)


# --------------------------------------------------------------------------------------------------------------
# pictures


def _sheet(shown: Shown, video: str) -> Markup:
    rows = {"made": shown.videos[video]} | ({"truth": shown.truths[video]} if video in shown.truths else {})
    try:
        data, times, (height, width) = drawn(rows)
    except LongVieError as reason:
        return element("p", f"No pictures: {reason}", class_="soft")
    alike = "above its truth" if "truth" in rows else "without truth"
    said = f"{video}, {len(times)} moments from {times[0]:.1f} to {times[-1]:.1f} s, {alike}"
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    picture = element("img", src=source, alt=said, width=str(width), height=str(height), loading="lazy")
    return element("div", picture, class_="scroll sheet", tabindex="0", role="region", aria_label=f"Moments of {video}")


def drawn(rows: Mapping[str, Path]) -> tuple[bytes, list[float], tuple[int, int]]:
    """A contact sheet as a JPEG of at most `SHEET_BYTES`, its seconds, and its height and width in pixels.

    Raises:
        MediaError: a video cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="longvie-") as folder:
        path = Path(folder) / "sheet.png"
        times = sheet(rows, path, moments=MOMENTS, height=TALL)
        pixels = read_picture(path)
    return jpeg(Image.fromarray(pixels)), times, pixels.shape[:2]


def jpeg(picture: Image.Image) -> bytes:
    """At most `SHEET_BYTES`: as fine as fits, and where nothing fits, smaller."""
    for quality in QUALITIES:
        held = io.BytesIO()
        picture.save(held, "JPEG", quality=quality, optimize=True)
        if held.tell() <= SHEET_BYTES:
            return held.getvalue()
    return jpeg(picture.resize((max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4))))
