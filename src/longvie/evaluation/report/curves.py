"""How metrics go over time, or over what else they depend on."""

import json
from collections.abc import Iterable, Mapping

from longvie.evaluation.charts import Points, chart
from longvie.evaluation.markup import Markup, element, together
from longvie.evaluation.report.shown import Shown
from longvie.evaluation.results import Line

# Curves that are drawn: by what they go, and its unit. Others are of objects or single events, and make no line.
CURVES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(("tc", "lvc", "lvc.ssim", "lvc.delta_e", "covisibility"), ("the time between two frames", "s")),
    "ctl.track": ("how far from its track a point may be", "px"),
    **dict.fromkeys(("seam.z", "switch.cost"), ("the second of the video", "s")),
}


def over_time(shown: Shown) -> Markup | None:
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
