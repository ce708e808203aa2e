"""`longvie runs`."""

import json
from typing import Annotated

import typer

from longvie.cli.generate import make
from longvie.cli.terminal import option, table

app = typer.Typer(help="Runs: what was made, with what, and going on with it.", no_args_is_help=True)


@app.command("list")
def listed(
    folder: Annotated[str, typer.Argument(help="Where to look.")] = ".",
) -> None:
    """All runs in a folder."""
    from longvie.request import local
    from longvie.runs import Run

    rows = []
    for found in Run.list(local(folder)):
        line = found.summary()
        rows.append(
            (line.name, line.status, f"{line.frames}/{line.wanted}", line.model, str(line.seed), line.prompt[:48])
        )
    table(("run", "status", "frames", "model", "seed", "prompt"), rows)


@app.command("show")
def show(run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)]) -> None:
    """What was asked and what happened, as JSON."""
    from longvie.request import local
    from longvie.runs import Run

    found = Run.open(local(run))
    print(json.dumps({**found.facts, "events": found.journal.events()}, ensure_ascii=False, indent=2))


@app.command("verify")
def verify(run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)]) -> None:
    """Whether every file of a run is what was written."""
    from longvie.errors import InputError
    from longvie.request import local
    from longvie.runs import Run

    found = Run.open(local(run))
    troubles = found.verify()
    if troubles:
        raise InputError(
            f"{len(troubles)} files are not what was written: {'; '.join(troubles[:8])}", code="run_damaged"
        )
    print(f"{found.folder.name}: {found.summary().status}, {len(found.parts())} parts, all files are what was written")


@app.command("resume")
def resume(
    run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)],
    device: Annotated[str | None, option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    allow_changed: Annotated[
        bool, typer.Option("--allow-changed", help="Go on although weights or versions have changed.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Go on with a run as it was asked for."""
    from longvie.api import recorded
    from longvie.request import local

    config = recorded(local(run))
    make(config, device=device, threads=threads, allow_changed=allow_changed, quiet=quiet)
