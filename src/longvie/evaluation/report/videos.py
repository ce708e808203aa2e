"""The videos, worst first."""

import json

import numpy as np

from longvie.evaluation.markup import Markup, digits, element, together
from longvie.evaluation.report.metrics import guards, named, with_unit
from longvie.evaluation.report.pictures import moments
from longvie.evaluation.report.shown import MEAN_PLACE, Shown, badness, counted
from longvie.evaluation.results import Line

WORST, BEST = 12, 3  # videos that are shown with pictures
WEAKEST = 4  # metrics named of a video


def videos(shown: Shown) -> Markup | None:
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
        moments(shown, video) if pictured else None,
        _weakest(shown, video),
        _all_numbers(shown, video),
        class_="card",
        data_bad=json.dumps([None if it is None else round(it, 6) for it in bad]),
    )


def _about(shown: Shown, video: str, line: Line) -> str:
    said = []
    if "frames" in line and "fps" in line:
        frames, fps = line["frames"], line["fps"]
        said.append(f"{counted(frames, 'frame')} at {fps:g} a second")
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
    return together(weak, guards(shown, "lvc", video))


def _behind(shown: Shown, name: str, video: str) -> float:
    """In deviations of all videos."""
    values, metric = shown.numbers[name], shown.metrics[name]
    bad = np.array([badness(name, metric, value) for value in values.values()])
    return float((badness(name, metric, values[video]) - bad.mean()) / (bad.std() or 1.0))


def _nth(shown: Shown, name: str, video: str) -> str:
    places = shown.places[name]
    return f"{1 + round(places[video] * (len(places) - 1))} of {len(places)}"


def _all_numbers(shown: Shown, video: str) -> Markup:
    rows, refused = [], []
    for name in (name for _, names in shown.families for name in names):
        line = shown.results.videos.get(name, {}).get(video, {})
        if "value" in line:
            value = element("td", with_unit(shown, name, line["value"]), guards(shown, name, video), class_="number")
            place = _nth(shown, name, video) if video in shown.places.get(name, {}) else "–"
            cells = value, element("td", str(line["n"]), class_="number"), element("td", place, class_="number")
            rows.append(element("tr", element("th", named(shown, name), scope="row"), *cells))
        elif "refused" in line:
            refused.append(element("li", element("code", name), f" {line['refused']}"))
    heads = ("Metric", "Value", "Samples", "Place")
    head = element("tr", *(element("th", it, scope="col", class_=None if it == "Metric" else "number") for it in heads))
    table = element("table", element("thead", head), element("tbody", *rows))
    rest = together(element("p", "Refused:"), element("ul", *refused)) if refused else None
    summary = f"{counted(len(rows), 'number')}" + (f", {len(refused)} refused" if refused else "")
    return element("details", element("summary", summary), table, rest)
