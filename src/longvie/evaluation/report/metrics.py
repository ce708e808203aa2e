"""Every metric over all videos, and how a metric's name, value and guards are shown."""

from collections import Counter
from collections.abc import Mapping

from longvie.evaluation.charts import strip
from longvie.evaluation.compare import RATIOS
from longvie.evaluation.markup import Markup, digits, element, text, together
from longvie.evaluation.metric import Metric
from longvie.evaluation.report.shown import Shown, counted
from longvie.evaluation.results import Results

# Metrics that a video which stands still, or is blurred, does well in.
COHERENT = frozenset(
    {"tc", "tc.flow", "lvc", "lvc.ssim", "lvc.delta_e", "temporal.flickering", "vbench.temporal_flickering",
     "vbench.subject_consistency", "vbench.background_consistency", "vbench.motion_smoothness",
     "vbench_long.temporal_flickering", "vbench_long.subject_consistency", "vbench_long.background_consistency",
     "vbench_long.motion_smoothness"}
)  # fmt: skip
# What stands beside them: a word, and from where to where it raises no doubt. The limits are judgement.
GUARDS: Mapping[str, tuple[str, float, float]] = {
    "guard.motion_ratio": ("motion", 0.8, 1.25),
    "guard.sharpness_ratio": ("sharpness", 0.8, 1.25),
    "guard.frozen": ("frozen", 0.0, 0.05),
    "covisibility": ("co-visible", 0.05, 1.0),
}


def metrics(shown: Shown) -> Markup:
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
        element("th", named(shown, name), scope="row"),
        element(
            "td", with_unit(shown, name, line["mean"]), _interval(between), guards(shown, name, None), class_="number"
        ),
        element("td", strip(values, line["mean"], between) if len(values) > 1 else None, class_="wide"),
        element("td", of, _refusals(shown, name), class_="number"),
    )


def named(shown: Shown, name: str) -> Markup:
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


def with_unit(shown: Shown, name: str, number: float) -> Markup:
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
        element("tr", element("th", named(shown, name), scope="row"), element("td", _why(shown, name)))
        for name in names
    ]
    heads = element("tr", element("th", "Metric", scope="col"), element("th", "Why there is no number", scope="col"))
    table = element("table", element("thead", heads), element("tbody", *rows), class_="missing")
    return element("details", element("summary", f"{counted(len(names), 'metric')} without a number"), table)


def _why(shown: Shown, name: str) -> Markup:
    why = _reasons(shown.results, name).most_common()
    said = [element("li", _times(count), reason) for reason, count in why]
    return element("ul", *said) if said else text("no video could be measured")


def guards(shown: Shown, name: str, video: str | None) -> Markup | None:
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
