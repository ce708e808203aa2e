"""How others compare, pair by pair."""

from collections import Counter

from longvie.errors import InputError
from longvie.evaluation.compare import Verdict, compare
from longvie.evaluation.markup import Markup, digits, element, together
from longvie.evaluation.report.metrics import named
from longvie.evaluation.report.shown import Shown, counted
from longvie.evaluation.results import Results


def others(shown: Shown) -> Markup | None:
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
    lead = f"Of {counted(len(told), 'metric')}: {said or 'nothing'}; {firm} hold for the number of metrics (Holm)."
    heads = ("Metric", "Theirs", "Here", "Difference, with 95 %", "Verdict", "Pairs")
    classes = (None, "number", "number", "number", None, "number")
    head = element("tr", *(element("th", it, scope="col", class_=of) for it, of in zip(heads, classes, strict=True)))
    rows = [_compared(shown, it) for it in told]
    table = element("table", element("thead", head), element("tbody", *rows))
    alone = len(verdicts) - len(told)
    rest = element("p", f"{counted(alone, 'metric')} without pairs.", class_="soft") if alone else None
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
        element("th", named(shown, it.metric), scope="row"),
        element("td", "–" if it.mean_a is None else digits(it.mean_a), class_="number"),
        element("td", "–" if it.mean_b is None else digits(it.mean_b), class_="number"),
        element("td", element("b", difference), from_one, between, class_="number"),
        element("td", element("span", f"{sign}{it.verdict}", class_=kind), unsure),
        element("td", f"{it.pairs}{alone}", class_="number"),
    )


def _signed(number: float) -> str:
    return f"+{digits(number)}" if number > 0 else digits(number)
