"""The page as a whole.

First what was measured and every metric over all videos, then how metrics go over time, how others compare, and the
videos, worst first, with moments of them above the same moments of their truth. A coherence stands beside its guards,
for a video that is frozen or blurred is coherent with itself.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from longvie.errors import InputError
from longvie.evaluation.markup import Markup, element, text, together
from longvie.evaluation.report.curves import over_time
from longvie.evaluation.report.metrics import metrics
from longvie.evaluation.report.others import others
from longvie.evaluation.report.shown import Shown, counted
from longvie.evaluation.report.videos import videos
from longvie.evaluation.results import Results
from longvie.media.files import write_bytes_atomically

PAGE = Path(__file__).with_name("page.html")


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
        ("metrics", "Metrics", metrics(shown)),
        ("time", "Over time", over_time(shown)),
        ("others", "Against others", others(shown)),
        ("videos", "Videos, worst first", videos(shown)),
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


def _measured(shown: Shown) -> Markup:
    run, provenance = shown.results.run, shown.results.run.get("provenance", {})
    there = sum(1 for name in shown.metrics if shown.numbers.get(name))
    said = [counted(len(shown.ordered), "video"), counted(there, "metric")]
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
    heading = element("p", f"{counted(len(failed), 'video')} could not be measured")
    return element("aside", heading, element("ul", *said), class_="alarm")
