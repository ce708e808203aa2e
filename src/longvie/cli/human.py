"""`longvie eval human`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longvie.cli.terminal import Meter, option, printable, table, warned
from longvie.errors import ConfigError

if TYPE_CHECKING:
    from longvie.evaluation.human.score import Estimate, Table

app = typer.Typer(help="A blind, balanced ranking of videos by people.", no_args_is_help=True)


@app.command("make")
def make(
    study: Annotated[str, typer.Argument(help="The new folder.", show_default=False)],
    systems: Annotated[list[str] | None, option("--system", "NAME=FOLDER of videos; once for each system.")] = None,
    mapping: Annotated[
        str | None, option("--systems", "JSON or YAML: {name: folder, or {task: file}}, instead of --system.")
    ] = None,
    raters: Annotated[int, typer.Option("--raters", help="People.", min=1)] = 60,
    per_rater: Annotated[int | None, option("--tasks-per-rater", "Tasks that each person sees; default: all.")] = None,
    prompts: Annotated[str | None, option("--prompts", "JSON or YAML: {task: text}.")] = None,
    conditions: Annotated[str | None, option("--conditions", "A folder of control videos of the same names.")] = None,
    aspects: Annotated[
        str, typer.Option("--aspects", help="Which, with commas between.")
    ] = "visual,prompt,condition,colour,temporal",
    seed: Annotated[int, typer.Option("--seed", help="Of the orders.", min=0)] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make a study: the same tasks by 2 to 9 systems, coded anew under random names, and who sees what when."""
    from longvie.evaluation.human import study as studies
    from longvie.request import local

    with Meter("coding", quiet=quiet) as meter:
        made = studies.make(
            local(study),
            _systems(systems or [], mapping),
            raters=raters,
            prompts=None if prompts is None else _prompts(prompts),
            conditions=None if conditions is None else local(conditions),
            aspects=[name.strip() for name in aspects.split(",")],
            per_rater=per_rater,
            seed=seed,
            tell=meter.at,
        )
    for line in studies.differences(made):
        warned(line)
    each = len(made.raters[0].tasks)
    print(f"{study}: {len(made.systems)} systems, {len(made.tasks)} tasks, {raters} raters with {each} tasks each")


@app.command("serve")
def serve(
    study: Annotated[str, typer.Argument(help="The folder of a study.", show_default=False)],
    host: Annotated[
        str,
        typer.Option(
            "--host",
            help="Address to listen at; others than this machine's own are open to the network, without encryption.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port; 0 for any.", min=0, max=65535)] = 8765,
) -> None:
    """Serve the page until Ctrl-C; each rater gets a link of their own."""
    from longvie.evaluation.human.server import StudyServer
    from longvie.evaluation.human.study import Study
    from longvie.request import local

    known = Study.open(local(study))
    with StudyServer(known, host=host, port=port) as server:
        rows = [
            (
                str(number),
                f"{len(server.votes.finished(rater.code))}/{len(rater.tasks)}",
                _link(server.address, rater.code),
            )
            for number, rater in enumerate(known.raters, 1)
        ]
        table(("rater", "done", "link"), rows)
        try:
            server.serve_forever()
        except KeyboardInterrupt:  # the way to end it
            print("stopped; every vote that was saved is kept")


@app.command("score")
def score(
    study: Annotated[str, typer.Argument(help="The folder of a study.", show_default=False)],
    out: Annotated[str | None, option("--out", "Also write JSON to this file.")] = None,
    prior: Annotated[float, typer.Option("--prior", help="Virtual wins of each system over each other.")] = 0.5,
    resamples: Annotated[int, typer.Option("--resamples", help="Of raters.", min=1, max=100_000)] = 2000,
    seed: Annotated[int, typer.Option("--seed", help="Of the resamplings.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Strength (log odds) and mean points (best of k gets k) of each system by each aspect, with 95 % intervals over
    raters."""
    from longvie.evaluation.human.score import score as scored
    from longvie.evaluation.human.study import ASPECTS, Study
    from longvie.evaluation.human.votes import Votes
    from longvie.evaluation.metric import Refused
    from longvie.media import write_bytes_atomically
    from longvie.request import local

    known = Study.open(local(study))
    tables = scored(known, Votes(known).all(), prior=prior, resamples=resamples, seed=seed)
    facts: dict[str, Any] = {
        "study": known.id,
        "tasks": len(known.tasks),
        "raters": len(known.raters),
        "method": {"model": "Plackett-Luce", "prior": prior, "interval": 0.95, "resamples": resamples, "seed": seed},
        "aspects": {aspect: asdict(found) for aspect, found in tables.items()},
    }
    text = json.dumps(facts, ensure_ascii=False, indent=1)
    if out is not None:
        write_bytes_atomically(local(out), text.encode() + b"\n")
    if as_json:
        print(text)
        return
    for aspect, found in tables.items():
        title = ASPECTS[aspect].title
        if isinstance(found, Refused):
            print(f"{title}: {found.reason}\n")
        else:
            _told(title, found)


def _told(title: str, found: "Table") -> None:
    print(f"{title}: {found.rankings} rankings by {found.raters} raters")
    rows = [(one.system, *_number(one.strength, "+"), *_number(one.points)) for one in found.standings]
    table(("system", "strength", "95 %", "points", "95 %"), rows)
    print()


def _number(estimate: "Estimate", sign: str = "") -> tuple[str, str]:
    """The value and its interval."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{sign}.2f}", "one rater"
    return f"{estimate.value:{sign}.2f}", f"{estimate.low:{sign}.2f} to {estimate.high:{sign}.2f}"


def _link(address: str, code: str) -> str:
    return f"{address}?rater={code}"


def _document(name: str) -> dict[str, Any]:
    """A JSON or YAML file of names and values."""
    from longvie.documents import read_json, read_yaml
    from longvie.request import local

    path = local(name)
    value = read_json(path) if path.suffix.lower() == ".json" else read_yaml(path)
    if not isinstance(value, dict):
        raise ConfigError(f"'{printable(path.name)}' must hold names and values")
    return value


def _prompts(name: str) -> dict[str, str]:
    texts = _document(name)
    if wrong := [task for task, text in texts.items() if not isinstance(text, str)]:
        raise ConfigError(f"the prompt of task '{printable(wrong[0])}' is no text")
    return texts


def _systems(pairs: list[str], mapping: str | None) -> dict[str, Any]:
    """Name → folder, or task → file; files in a mapping are sought from where it lies."""
    from longvie.request import local

    if (mapping is None) == (not pairs):
        raise ConfigError("give the systems either by --system NAME=FOLDER, once for each, or by --systems FILE")
    if mapping is None:
        named = [pair.partition("=") for pair in pairs]
        if any(not name or not folder for name, _, folder in named):
            raise ConfigError("--system takes NAME=FOLDER")
        if len({name for name, _, _ in named}) < len(named):
            raise ConfigError("two systems have the same name")
        return {name: local(folder) for name, _, folder in named}
    beside = Path(mapping).parent
    found: dict[str, Any] = {}
    for name, videos in _document(mapping).items():
        if isinstance(videos, dict) and all(isinstance(file, str) for file in videos.values()):
            found[name] = {task: beside / local(file) for task, file in videos.items()}
        elif isinstance(videos, str):
            found[name] = beside / local(videos)
        else:
            raise ConfigError(f"system '{printable(name)}' must be a folder, or tasks and their files")
    return found
