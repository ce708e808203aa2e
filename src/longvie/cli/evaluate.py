"""`longvie eval`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longvie.cli.human import app as human
from longvie.cli.terminal import Meter, option, printable, table, warned
from longvie.errors import ConfigError, InputError

if TYPE_CHECKING:
    from longvie.evaluation.results import Results
    from longvie.evaluation.run import Job
    from longvie.evaluation.sources import Align
    from longvie.evaluation.suite import Part

app = typer.Typer(help="Measure videos, and ask people.", no_args_is_help=True)
app.add_typer(human, name="human")

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Workers = Annotated[int, typer.Option("--workers", help="Processes that work side by side.", min=1, max=256)]
Weights = Annotated[
    Path | None,
    typer.Option("--weights", help="Folder with official weights.", envvar="LONGVIE_EVAL_WEIGHTS", show_default=False),
]


@app.command("list")
def list_metrics(as_json: Json = False) -> None:
    """All metrics: what they are, what they need, and which way is better."""
    from longvie.evaluation.registry import metrics

    known = metrics().values()
    if as_json:
        print(json.dumps([{"name": it.name, "title": it.title, "tier": it.tier, "unit": it.unit, "better": it.better,
                           "needs": sorted(it.needs), "version": it.version} for it in known], indent=1))  # fmt: skip
        return
    heads = ("metric", "what", "tier", "unit", "better", "needs")
    table(heads, [(it.name, it.title, it.tier, it.unit, it.better, ", ".join(sorted(it.needs))) for it in known])


@app.command("describe")
def describe(name: Annotated[str, typer.Argument(help="Of a metric.", show_default=False)]) -> None:
    """One metric: its exact formula, its range, and the faults that it must see and must not see."""
    from longvie.evaluation.registry import find

    it = find(name)
    low, high = it.range
    rows = [
        ("what", it.title),
        ("formula", it.formula),
        ("unit", it.unit),
        ("better", it.better),
        ("range", f"{low:g} to {high:g}"),
        ("needs", ", ".join(sorted(it.needs)) or "the video alone"),
        ("weights", "; ".join(f"{one.file} ({one.licence}; {one.source})" for one in it.weights)),
        ("tier", it.tier),
        ("version", str(it.version)),
        ("sees", ", ".join(it.sees)),
        ("ignores", ", ".join(it.ignores)),
    ]
    table((it.name, ""), [row for row in rows if row[1]])


@app.command("doctor")
def doctor(weights: Weights = None, as_json: Json = False) -> None:
    """Which official weights are here, and which metrics they let run."""
    from longvie.evaluation.registry import metrics
    from longvie.evaluation.weights import OFFICIAL, locate

    found = {it.weights.file: it for it in locate(list(OFFICIAL.values()), weights)}
    rows = []
    for it in metrics().values():
        missing = [one.file for one in it.weights if found[one.file].status != "found"]
        rows.append((it.name, it.tier, "runs" if not missing else f"needs {', '.join(missing)}"))
    files = [(file, it.status, it.weights.licence, it.sentence) for file, it in found.items()]
    if as_json:
        print(json.dumps({"metrics": rows, "weights": files}, indent=1))
        return
    table(("metric", "tier", "state"), rows)
    table(("weights", "state", "licence", "where"), files)


@app.command("make")
def make_suite(
    out: Annotated[Path, option("--out", "Folder of the suite.")],
    videos: Annotated[int, typer.Option("--videos", help="How many worlds.")] = 100,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of each.")] = 60.0,
    size: Annotated[str, typer.Option("--size", help="WIDTHxHEIGHT in pixels.")] = "176x96",
    fps: Annotated[float, typer.Option("--fps", help="Frames a second.")] = 16.0,
    seed: Annotated[int, typer.Option("--seed", help="Another one, other worlds.")] = 0,
    split: Annotated[str, typer.Option("--split", help="test, or dev: the ranges that models train on.")] = "test",
    workers: Workers = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make the benchmark: worlds with truth, controls, words and beats. The same numbers give the same files."""
    from longvie.evaluation.make import make
    from longvie.presets import read_size

    height, width = read_size(size, "--size")
    with Meter("making", quiet=quiet) as meter:
        manifest = make(out, videos=videos, seconds=seconds, size=(height, width), fps=fps, seed=seed,
                        split=_split(split), workers=workers,
                        tell=lambda done, of: meter.at(done, of, "worlds"))  # fmt: skip
    print(f"{len(manifest.items)} worlds in {printable(str(out))}, manifest {manifest.sha256}")
    for name, count in manifest.shortfall.items():
        warned(f"{count} worlds of the class {name} were wanted and are not there")


@app.command("run")
def run_metrics(
    videos: Annotated[Path, option("--videos", "A folder of videos, or one video.")],
    out: Annotated[Path, option("--out", "Folder for the results.")],
    suite: Annotated[
        Path | None, option("--of", "The suite that they were made of, by the names of its items.")
    ] = None,
    metrics: Annotated[str, typer.Option("--metrics", help="quick, own, all, or names with commas.")] = "own",
    align: Annotated[str, typer.Option("--align", help="Another length than the truth's: error or trim.")] = "error",
    clip: Annotated[int | None, option("--clip", "Frames of a clip, where the videos consist of clips.")] = None,
    title: Annotated[str | None, option("--title", "Whose videos they are.")] = None,
    weights: Weights = None,
    workers: Workers = 1,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Success even where something could not be measured.")
    ] = False,
    compat: Annotated[
        bool, typer.Option("--vbench-compat", help="VBench as its programs do it where its papers are silent.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Measure videos. What was measured before in the same way is kept. Exit code 2 where a video could not be read, or
    a metric that was asked for misses its weights."""
    from longvie.evaluation.run import Asked, run
    from longvie.evaluation.weights import found

    families, facts = _families(metrics), {}
    jobs = _jobs(videos, suite, align, clip)
    if suite is not None:
        from longvie.evaluation.suite import FILE, Manifest

        facts = {"suite": Manifest.load(suite).sha256 if (suite / FILE).is_file() else suite.name}
    asked = Asked(title or videos.name, families, found(weights), facts, compat)
    with Meter("measuring", quiet=quiet) as meter:
        results = run(jobs, asked, out, workers=workers, tell=meter.at)
    _report(results, out, {job.name: job.video for job in jobs}, suite)
    table(("metric", "mean", "95 %", "n", "refused"), [_row(line) for line in results.suite.values()])
    missing = _missing(results, families)
    for text in missing:
        warned(text)
    if missing and not allow_missing:
        raise InputError(f"{len(missing)} of what was asked for could not be measured; --allow-missing lets it pass")


@app.command("compare")
def compare_results(
    before: Annotated[Path, typer.Argument(help="Results: a folder or a results.jsonl.", show_default=False)],
    after: Annotated[Path, typer.Argument(help="Of the same videos, made otherwise.", show_default=False)],
    allow: Annotated[
        list[str] | None, option("--allow", "What may differ in how they were measured; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Is it better? Paired by video, metric by metric, with intervals."""
    from longvie.evaluation import compare
    from longvie.evaluation.results import Results

    a, b = Results.read(before), Results.read(after)
    verdicts = compare.compare(a, b, allow=allow or ())
    if as_json:
        print(json.dumps(compare.document(a, b, verdicts), indent=1))
    else:
        table(compare.HEADS, compare.rows(verdicts))


@app.command("calibrate")
def calibrate_metrics(
    out: Annotated[Path, option("--out", "Folder for the numbers of each world.")],
    worlds: Annotated[int, typer.Option("--worlds", help="How many, of ten seconds.", min=1, max=1000)] = 8,
    metrics: Annotated[str, typer.Option("--metrics", help="quick, own, or names with commas.")] = "own",
    docs: Annotated[Path | None, option("--docs", "A Markdown file to write the ladder to.")] = None,
    workers: Workers = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Twelve faults at five levels: does each metric follow what it claims to, and ignore what it claims to? Exit code
    2 where one does not."""
    from longvie.evaluation import calibrate, registry
    from longvie.media import write_bytes_atomically

    families = _families(metrics)
    with Meter("measuring", quiet=quiet) as meter:
        rows = calibrate.ladder(out, worlds, families=families, workers=workers, tell=meter.at)
    known = registry.metrics([family for family in registry.all_families() if family.name in families])
    found = calibrate.curves(calibrate.together(rows, known))
    text = calibrate.page(known, found, worlds, families)
    if docs is not None:
        write_bytes_atomically(docs, text.encode())
    wrong = calibrate.broken(known, found)
    rows_of = [(it.metric, it.claim, it.fault, _said(it.curve)) for it in wrong]
    table(("metric", "claims that it", "fault", "but"), rows_of)
    if wrong:
        raise InputError(f"{len(wrong)} claims are not borne out")


@app.command("table")
def results_table(
    out: Annotated[Path, option("--out", "Folder for suite, videos and results.")],
    videos: Annotated[int, typer.Option("--videos", help="How many worlds of a minute.", min=1)] = 100,
    seconds: Annotated[float, typer.Option("--seconds", help="Length of each.")] = 60.0,
    makers: Annotated[
        str | None, option("--makers", "Names with commas, of baselines, models or ablations; default: the first two.")
    ] = None,
    metrics: Annotated[str, typer.Option("--metrics", help="quick, own, or names with commas.")] = "own",
    model: Annotated[str, typer.Option("--model", help="A name or a folder.")] = "world",
    seed: Annotated[int, typer.Option("--seed", help="Of the worlds and of the noise.")] = 0,
    docs: Annotated[Path | None, option("--docs", "A Markdown file to write the table to.")] = None,
    workers: Workers = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make the worlds of the test split, the videos of every baseline and of the model, and measure them all."""
    from longvie.evaluation import table as tables
    from longvie.evaluation.baselines import MAKERS, maker
    from longvie.evaluation.make import make

    names = tuple(MAKERS) if makers is None else tuple(maker(name.strip()).name for name in makers.split(","))
    wanted = tables.Wanted(out, out / "suite", names, _families(metrics), model, seed)
    with Meter("making worlds", quiet=quiet) as meter:
        manifest = make(wanted.suite, videos=videos, seconds=seconds, seed=seed, workers=workers,
                        tell=lambda done, of: meter.at(done, of, "worlds"))  # fmt: skip
    with Meter("making and measuring", quiet=quiet) as meter:
        found = tables.table(wanted, manifest, workers=workers, tell=meter.at)
    for name, results in found.items():
        of = {item.id: wanted.video(name, item.id) for item in manifest.items}
        _report(results, out / "measured" / name, of, wanted.suite)
    command = f"longvie eval table --out table --videos {videos} --seconds {seconds:g} --model {model} --seed {seed}"
    command += "" if makers is None else f" --makers {','.join(names)}"
    text = tables.page(found, manifest, command)
    if docs is not None:
        tables.save(text, docs)
    else:
        print(text)


# --------------------------------------------------------------------------------------------------------------


def _families(asked: str) -> tuple[str, ...]:
    """A suite's families, or those of single metrics or families."""
    from longvie.evaluation import registry

    if asked == "own":
        return registry.own()
    if asked in registry.SUITES:
        return tuple(family.name for family in registry.suite(asked))
    known = {family.name: family for family in registry.all_families()}
    by_metric = {metric.name: family.name for family in known.values() for metric in family.metrics}
    names = [name.strip() for name in asked.split(",")]
    return tuple(dict.fromkeys(name if name in known else by_metric[registry.find(name).name] for name in names))


def _jobs(videos: Path, suite: Path | None, align: str, clip: int | None) -> "list[Job]":
    from longvie.evaluation.run import Job
    from longvie.evaluation.sources import clip_borders, made_of, videos_in
    from longvie.evaluation.suite import FILE, Manifest

    if align not in ("error", "trim"):
        raise ConfigError(f"--align {align[:20]!r}: use error or trim")
    if suite is None:
        files = [videos] if videos.is_file() else videos_in(videos)
        return [Job(path.name, path, borders=_borders(path, clip)) for path in files]
    if not (suite / FILE).is_file():
        return _official(videos, suite, align)
    manifest = Manifest.load(suite)
    there, missing = made_of(videos, manifest)
    if missing:
        warned(f"{len(missing)} of {len(manifest.items)} items have no video, the first is {missing[0]}")
    frames = {item.id: item.frames for item in manifest.items}
    clips = {name: () if clip is None else clip_borders(frames[name], clip) for name in there}
    return [Job(name, path, suite, name, clips[name], align) for name, path in there.items()]


def _official(videos: Path, benchmark: Path, align: "Align") -> "list[Job]":
    """Of a benchmark in LongVGenBench's layout, by the names of its entries."""
    from longvie.evaluation.layout import read_layout
    from longvie.evaluation.run import Job
    from longvie.evaluation.sources import videos_in

    layout = read_layout(benchmark)
    for text in layout.notes:
        warned(text)
    found = {path.stem: path for path in videos_in(videos)}
    names = [entry.name for entry in layout.entries]
    if not set(names) & set(found):
        raise InputError(f"no video is called like an entry of the benchmark, such as {names[0][:60]}.mp4")
    return [Job(name, found[name], benchmark, name, align=align) for name in names if name in found]


def _borders(path: Path, clip: int | None) -> tuple[int, ...]:
    from longvie.evaluation.sources import clip_borders
    from longvie.media import probe_video

    return () if clip is None else clip_borders(probe_video(path).frames, clip)


def _missing(results: "Results", families: Sequence[str]) -> list[str]:
    """Videos that could not be read, and metrics without their weights."""
    from longvie.evaluation import registry

    unread = [f"{line['file']}: {line['error']}" for line in results.sources.values() if "error" in line]
    known = registry.metrics([family for family in registry.all_families() if family.name in families])
    without = []
    for name, videos in results.videos.items():
        why = [line["refused"] for line in videos.values() if "refused" in line]
        if known[name].weights and len(why) == len(videos):
            without.append(f"{name}: {why[0]}")
    return unread + without


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    mean = f"{line['mean']:.4g}" if "mean" in line else "–"
    between = f"{line['low']:.4g} to {line['high']:.4g}" if "low" in line else ""
    return line["metric"], mean, between, str(line["n"]), str(line["refused"] or "")


def _said(curve: Any) -> str:
    if curve is None or not curve.means:
        return "it is refused there"
    return f"Spearman {curve.spearman:+.2f}, moves by {100 * curve.move:.0f} % of its range"


def _report(results: "Results", out: Path, videos: dict[str, Path], suite: Path | None) -> None:
    from longvie.evaluation.report.page import report

    truths = {} if suite is None else {name: suite / name / "truth.mp4" for name in videos}
    report(results, out / "report.html", videos=videos, truths=truths)


def _split(name: str) -> "Part":
    if name != "test" and name != "dev":
        raise ConfigError(f"--split {name[:20]!r}: use test or dev")
    return name
