"""The page says what the results say, the worst first, and nothing of a stranger's becomes markup."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_human_server import BROWSERS, browser

from longvie.errors import InputError
from longvie.evaluation import registry
from longvie.evaluation.charts import Scale, chart, mean, strip
from longvie.evaluation.markup import Markup, digits, element, text
from longvie.evaluation.metric import Refused, Value
from longvie.evaluation.report.page import PAGE, report
from longvie.evaluation.report.pictures import SHEET_BYTES, drawn, jpeg
from longvie.evaluation.report.videos import BEST, WORST
from longvie.evaluation.results import Line, Results, set_line, suite_line, video_lines
from longvie.media import VideoWriter

EVIL = "<img src=x onerror=alert(1)>"
KNOWN = registry.metrics()
Found = Value | Refused


def results(found: Mapping[str, Mapping[str, Found]], **run: object) -> Results:
    """Of videos by metric."""
    videos = sorted({video for values in found.values() for video in values})
    provenance = {"code": "c" * 64, "metrics": {name: 1 for name in found}, "packages": {"numpy": "2.4"}}
    lines: list[Line] = [{"kind": "run", "title": "ours", "videos": videos, "provenance": provenance} | run]
    lines += [{"kind": "source", "video": it, "frames": 80, "fps": 16.0, "size": [96, 176]} for it in videos]
    for name, values in found.items():
        for video, value in values.items():
            lines += video_lines(video, KNOWN[name], value)
        numbers = [it.number for it in values.values() if isinstance(it, Value)]
        lines.append(suite_line(KNOWN[name], numbers, len(values) - len(numbers)))
    return Results(tuple(lines))


def rising(names: Sequence[str], metric: str = "tc", **values: float) -> dict[str, dict[str, Found]]:
    """The later a video, the better its number; guards the same for all."""
    found: dict[str, dict[str, Found]] = {
        metric: {name: Value(0.5 + at / 100, 9, ((0.0, 0.9), (5.0, 0.5 + at / 100))) for at, name in enumerate(names)}
    }
    return found | {guard: {name: Value(value, 9) for name in names} for guard, value in values.items()}


class Tree(HTMLParser):
    """Elements with their attributes, and text without tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.said += f"{data} "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def made(found: Results, folder: Path, **options: object) -> str:
    report(found, folder / "report.html", **options)  # type: ignore[arg-type]
    return (folder / "report.html").read_text()


def headings(page: str) -> list[str]:
    return re.findall(r"<h3>(.*?)</h3>", page.partition('id="list"')[2])


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A noisy film, which is hard to pack, and a grey one."""
    folder = tmp_path_factory.mktemp("films")
    random = np.random.default_rng(0)
    pictures = {"noise": random.integers(0, 256, (8, 96, 176, 3)), "grey": np.full((8, 96, 176, 3), 128)}
    for name, frames in pictures.items():
        with VideoWriter(folder / f"{name}.mp4", fps=8, size=(96, 176), fragmented=False) as out:
            out.write(frames.astype(np.uint8))
    return {name: folder / f"{name}.mp4" for name in pictures}


# --------------------------------------------------------------------------------------------------------------
# the page


def test_the_same_results_give_the_same_bytes(tmp_path: Path, films: dict[str, Path]) -> None:
    found = results(rising(["a", "b", "c"]), time={"begun": 1795132800, "seconds": 3.0})
    options = {"videos": {"a": films["noise"]}, "truths": {"a": films["grey"]}}
    first, second = (made(found, tmp_path, **options) for _ in range(2))
    assert first == second
    assert "measured on 2026-11-20" in first


def test_nothing_is_fetched_from_elsewhere(tmp_path: Path, films: dict[str, Path]) -> None:
    page = made(
        results(rising(["a", "b"])), tmp_path, videos={"a": films["grey"]}, others=[results(rising(["a", "b"]))]
    )
    tree = Tree(page)
    links = [it[key] or "" for _, it in tree.tags for key in ("src", "href", "action", "data") if key in it]
    assert len(links) > 4
    assert all(re.match(r"#\w+$|data:", link) for link in links), links
    assert not re.search(r"https?://|@import|url\(", page)
    assert "default-src 'none'" in page
    assert not re.search(r"\{\{|\}\}", page)


def test_every_part_has_a_heading_and_tables_have_heads(tmp_path: Path) -> None:
    found = rising(["a", "b"], **{"guard.frozen": 0.0})
    page = made(results(found), tmp_path, others=[results(found)])
    tree = Tree(page)
    ids = {it.get("id") for _, it in tree.tags}
    assert {it["aria-labelledby"] for it in tree.all("section")} <= ids
    assert {(it["href"] or "#")[1:] for it in tree.all("a")} == {"metrics", "time", "others", "videos"}
    assert all(it.get("scope") in ("col", "row", "rowgroup") for it in tree.all("th"))
    assert all(it.get("aria-label") for it in tree.all("svg"))
    assert re.search(r"<html lang=\"en\">", page) and "prefers-color-scheme: dark" in page


def test_names_and_reasons_of_strangers_are_text(tmp_path: Path, films: dict[str, Path]) -> None:
    found = rising([EVIL, "b"]) | {"ssim": {EVIL: Refused(EVIL), "b": Refused('"><script>alert(2)</script>')}}
    broken: Line = {"kind": "source", "video": f"{EVIL}2", "file": EVIL, "error": EVIL}
    strange: Line = {"kind": "suite", "metric": EVIL, "version": 1, "n": 1, "mean": 1.0, "refused": 0}
    evil = results(found, title=f"{{{{body}}}}{EVIL}", provenance={EVIL: {EVIL: [EVIL]}}, suite=EVIL)
    evil = Results((*evil.lines, broken, strange))
    other = results(rising([EVIL, "b"]), title=EVIL, suite=EVIL)
    page = made(evil, tmp_path, videos={EVIL: tmp_path / EVIL, "b": films["grey"]}, others=[other])
    tree = Tree(page)
    assert [it["src"][:11] for it in tree.all("img") if it["src"]] == ["data:image/"], "of the other video"
    assert len(tree.all("script")) == 1
    assert not [key for _, it in tree.tags for key in it if key.startswith("on")]
    assert tree.said.count(EVIL) >= 8
    assert tree.said.count("{{body}}") == 2, "of heading and title, and not filled in"


def test_what_cannot_be_seen_or_turns_directions_is_shown_as_such(tmp_path: Path) -> None:
    page = made(results(rising(["\x00a\u202egpj.exe", "\ud800"])), tmp_path)
    assert "\N{REPLACEMENT CHARACTER}a\N{REPLACEMENT CHARACTER}gpj.exe" in page


def test_values_stand_with_interval_unit_direction_and_formula(tmp_path: Path) -> None:
    found = results({"psnr": {"a": Value(20.0, 9), "b": Value(30.0, 9), "c": Refused("too short")}})
    row = re.search(r"<tr><th[^>]*><span class=\"named\">.*?</tr>", made(found, tmp_path))
    assert row is not None
    said = Tree(row[0]).said
    assert "25.0" in said and " dB" in said and "20.0 to 30.0" in said and "more is better" in said
    assert "1 refused" in said and "too short" in said
    assert text(KNOWN["psnr"].formula) in row[0]


def test_metrics_without_a_number_are_listed_with_reasons(tmp_path: Path) -> None:
    whole = set_line(KNOWN["fvd.5s"], Refused("6 windows, 16 are needed"), 0)
    found = results(rising(["a", "b"]) | {"lpips": {"a": Refused("no weights"), "b": Refused("no weights")}})
    said = Tree(made(Results((*found.lines, whole)), tmp_path)).said
    assert "2 metrics without a number" in said
    assert "2 × no weights" in said and "6 windows, 16 are needed" in said


def test_videos_that_could_not_be_read_are_named_first(tmp_path: Path) -> None:
    broken: Line = {"kind": "source", "video": "broken", "file": "x", "error": "it ends in a frame"}
    said = Tree(made(Results((*results(rising(["a", "b"])).lines, broken)), tmp_path)).said
    assert (
        said.index("1 video could not be measured") < said.index("it ends in a frame") < said.index("Mean, with 95 %")
    )
    assert headings(made(Results((*results(rising(["a"])).lines, broken)), tmp_path)) == ["a"]


def test_a_coherence_stands_beside_its_guards(tmp_path: Path) -> None:
    guards = {"guard.motion_ratio": 0.3, "guard.sharpness_ratio": 1.0, "guard.frozen": 0.7, "covisibility": 0.4}
    page = made(results(rising(["a", "b"], **guards) | rising(["a", "b"], "ssim")), tmp_path)
    rows = re.findall(r"<tr>.*?</tr>", page)
    tc, ssim = ([row for row in rows if f"<code>{name}</code>" in row] for name in ("tc", "ssim"))
    assert len(tc) == 3, "of all videos, and of each"
    for row in tc:
        assert 'class="doubt">! motion 0.30<' in row and 'class="doubt">! frozen 0.70<' in row
        assert "<span>sharpness 1.00<" in row and "<span>co-visible 0.40<" in row
    assert not any("guards" in row for row in ssim)
    assert "no guards" in made(results(rising(["a", "b"])), tmp_path)


def test_other_results_are_compared_and_those_measured_otherwise_are_refused(tmp_path: Path) -> None:
    names = [f"v{at}" for at in range(8)]
    better = results({"tc": {name: Value(0.9 + at / 100, 9) for at, name in enumerate(names)}})
    elder = results(rising(names), title="the elder")
    foreign = results(rising(names), title="the foreign", provenance={"code": "d" * 64})
    said = Tree(made(better, tmp_path, others=[elder, foreign])).said
    assert re.search(r"Against the elder\s+Of 1 metric: 1 better; 1 hold", said)
    assert re.search(
        r"Against the foreign\s+they were not measured alike: code \(dddddddddddd and cccccccccccc\)", said
    )
    assert re.search(r"Against ours\s+Of 1 metric: 1 worse", Tree(made(elder, tmp_path, others=[better])).said)


# --------------------------------------------------------------------------------------------------------------
# videos


def test_the_worst_video_comes_first(tmp_path: Path) -> None:
    assert headings(made(results(rising(["a", "b", "c"])), tmp_path)) == ["a", "b", "c"]
    assert headings(made(results(rising(["a", "b", "c"], "drift.colour")), tmp_path)) == ["c", "b", "a"]
    mixed = rising(["a", "b", "c"]) | rising(["a", "c", "b"], "ssim") | rising(["a", "c", "b"], "psnr")
    assert headings(made(results(mixed), tmp_path)) == ["a", "c", "b"], "two metrics against one"
    assert headings(made(results(mixed), tmp_path, key="tc")) == ["a", "b", "c"]
    ratios = {"guard.motion_ratio": {"far": Value(2.0, 9), "near": Value(0.9, 9), "still": Value(0.4, 9)}}
    assert headings(made(results(ratios), tmp_path)) == ["far", "still", "near"]
    with pytest.raises(InputError, match=r"by 'guard\.motion'; there are mean place, guard\.motion_ratio"):
        made(results(ratios | {"guard.motion": ratios["guard.motion_ratio"]}), tmp_path, key="guard.motion")


def test_pictures_are_of_the_worst_and_the_best(tmp_path: Path, films: dict[str, Path]) -> None:
    names = [f"v{at:02d}" for at in range(WORST + BEST + 3)]
    page = made(results(rising(names)), tmp_path, videos=dict.fromkeys(names, films["grey"]))
    items = page.partition('id="list"')[2].split("<article")[1:]
    assert [at for at, item in enumerate(items) if "data:image/jpeg" not in item] == [12, 13, 14]
    assert "v00, 6 moments from 0.0 to 0.9 s, without truth" in items[0]
    pictures = Tree(page).all("img")
    assert len(pictures) == WORST + BEST
    assert all(len(it["src"] or "") < 40_100 for it in pictures)


def test_a_sheet_shows_what_was_made_above_its_truth(films: dict[str, Path]) -> None:
    data, times, (height, width) = drawn({"made": films["noise"], "truth": films["grey"]})
    assert len(data) <= SHEET_BYTES and len(times) == 6
    with Image.open(io.BytesIO(data)) as picture:
        page = np.asarray(picture.convert("L").resize((width, height)), float)
    above, below = page[30:110, 120:260], page[130:210, 120:260]
    assert above.std() > 10 > 3 > below.std()


def test_what_does_not_fit_is_drawn_smaller() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 1400, 3), dtype=np.uint8))
    data = jpeg(noise)
    assert len(data) <= SHEET_BYTES
    assert Image.open(io.BytesIO(data)).width < 1400
    assert 4 * len(base64.b64encode(data)) <= 4 * 40_000


def test_a_video_that_cannot_be_read_leaves_the_others_their_pictures(tmp_path: Path, films: dict[str, Path]) -> None:
    page = made(results(rising(["a", "b"])), tmp_path, videos={"a": tmp_path / "gone.mp4", "b": films["grey"]})
    assert "No pictures: there is no file" in page
    assert page.count("data:image/jpeg") == 1


def test_results_of_nothing_make_a_page(tmp_path: Path) -> None:
    said = Tree(made(results({}), tmp_path)).said
    assert "No metric has a number." in said and "0 videos" in said


# --------------------------------------------------------------------------------------------------------------
# pieces


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a < b", Markup("<br>"), None, class_="x", hidden=True, title='"') == (
        '<p class="x" hidden title="&quot;">a &lt; b<br></p>'
    )
    assert element("img", alt="&") == '<img alt="&amp;">'


@pytest.mark.parametrize(
    ("number", "said"),
    [(0.0, "0"), (0.9531, "0.953"), (12.34, "12.3"), (2140.4, "2,140"), (-1.5, "−1.50"), (0.012345, "0.0123"),
     (0.0000421, "4.2e-05"), (-0.00004, "−4.0e-05")],
)  # fmt: skip
def test_numbers_show_the_digits_that_count(number: float, said: str) -> None:
    assert digits(number) == said


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.31, 0.34), (-5.0, 95.0), (99.0, 100.0), (1e-6, 9e-6)])
def test_ticks_are_few_and_in_the_range(span: tuple[float, float]) -> None:
    ticks = Scale(*span, 0.0, 100.0).ticks()
    assert 2 <= len(ticks) <= 6
    assert all(span[0] - 1e-12 <= tick <= span[1] + 1e-12 for tick in ticks)


def test_a_chart_draws_every_video_and_their_mean() -> None:
    drawing = chart({"a": [(0.0, 1.0), (5.0, 3.0)], "b": [(0.0, 2.0)], "c": [(0.0, 3.0), (5.0, 5.0)]}, title="x")
    lines = re.findall(r'<path d="([^"]+)"><title>(\w)</title>', drawing)
    assert [name for _, name in lines] == ["a", "b", "c"]
    places = [[float(it) for it in re.findall(r"[\d.]+", path)] for path, _ in lines]
    assert places[0][0] < places[0][2] and places[0][1] > places[0][3], "later is right, more is up"
    assert "mean from 2.00 to 4.00, 3 videos" in drawing
    assert mean({"a": [(0.0, 1.0), (5.0, 9.0)], "b": [(0.0, 3.0)], "c": [(0.0, 2.0)]}) == [(0.0, 2.0)]


def test_long_ranges_go_in_ratios_and_single_points_are_dots() -> None:
    lags = [(0.0625, 1.0), (1.0, 0.9), (16.0, 0.8)]
    path = re.search(r'<path d="M([^"]+)"><title>a', chart({"a": lags}, title="x"))
    assert path is not None
    xs = [float(point.split()[0]) for point in path[1].split("L")]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert "h0" in chart({"a": [(0.0, 1.0)]}, title="x")
    assert "nan" not in strip({"a": 1.0, "b": 1.0}, 1.0, (1.0, 1.0))


# --------------------------------------------------------------------------------------------------------------
# in a browser


@pytest.mark.skipif(bool(BROWSERS), reason=f"not installed: {', '.join(BROWSERS)}")
def test_in_a_browser_the_order_can_be_chosen_and_a_phone_need_not_scroll_sideways(
    tmp_path: Path, films: dict[str, Path]
) -> None:
    names = [EVIL, "b" * 90, "c"]
    found = rising(names) | rising(names[::-1], "ssim") | rising(names[::-1], "psnr") | rising(names, "seam.z")
    made(results(found), tmp_path, videos=dict.fromkeys(names, films["grey"]), others=[results(found)])
    with browser() as person:
        phone = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        ask = {"cmd": "Emulation.setDeviceMetricsOverride", "params": phone}
        person._send("POST", f"{person.session}/goog/cdp/execute", ask)
        person.open((tmp_path / "report.html").as_uri())
        person.script("document.querySelectorAll('details').forEach(it => it.open = true)")
        assert person.script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        said = "return [...document.querySelectorAll('#list h3')].map(h => h.textContent)"
        before = person.script(said)
        choose = "order.selectedIndex = [...order.options].findIndex(o => o.text === 'tc')"
        person.script(f"{choose}; order.dispatchEvent(new Event('change'))")
        assert person.script(said) == names != before
        person.script("document.images[0].scrollIntoView()")
        person.until("return document.images.length === 3 && document.images[0].naturalWidth > 0")
        assert (
            person.script(
                "return performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:'))"
            )
            == []
        )


def test_the_page_lies_beside_its_room() -> None:
    assert PAGE.is_file() and PAGE.read_text().count("<script>") == 1
