"""`longvie runs`."""

import json
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longvie.cli.generate import make
from longvie.cli.terminal import note, option, table

if TYPE_CHECKING:
    from longvie.engine.changes import Change

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


@app.command("replay")
def replay(
    run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)],
    out: Annotated[str, typer.Option("--out", help="The mp4; beside it lies its run.", show_default=False)],
    model: Annotated[str | None, option("--model", "Another model, by name or folder.")] = None,
    device: Annotated[str | None, option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make a recorded run again, with all that was changed on the way: the same bytes, or as another model sees it."""
    changed = {} if model is None else {"model": {"ckpt": model}}
    _again(run, out, changed, device=device, threads=threads, quiet=quiet)


@app.command("branch")
def branch(
    run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)],
    at: Annotated[float, typer.Option("--at", help="Second at which the branch leaves.", show_default=False)],
    out: Annotated[str, typer.Option("--out", help="The mp4; beside it lies its run.", show_default=False)],
    say: Annotated[str | None, option("--say", "Other words from there on; of a live run.")] = None,
    strength: Annotated[
        list[str] | None, option("--strength", "Of a control from there on: depth=0.5; may be repeated.")
    ] = None,
    camera: Annotated[
        str | None, option("--camera", "Its pace from there on, a second: pan=10,tilt=0,forward=0.2; see docs/live.md.")
    ] = None,
    drag: Annotated[
        str | None, option("--drag", "What is at X,Y moves by DX,DY pixels: X,Y,DX,DY or X,Y,DX,DY,SECONDS.")
    ] = None,
    view: Annotated[float, option("--view", "Degrees that the picture shows from top to bottom.")] = 50.0,
    seed: Annotated[int | None, option("--seed", "Other noise, from the end of the last whole part on.")] = None,
    device: Annotated[str | None, option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Another video that shares a run's frames up to a moment, and goes its own way from there."""
    from longvie.engine.changes import Change, Say

    changes: list[Change] = [] if say is None else [Say(say)]
    changes += [_strength(given) for given in strength or []]
    changes += [] if camera is None else [_moved(camera, view)]
    changes += [] if drag is None else [_dragged(drag, view)]
    changed = {} if seed is None else {"seed": seed}
    _again(run, out, changed, at=at, changes=changes, device=device, threads=threads, quiet=quiet)


def _strength(given: str) -> "Change":
    from longvie.engine.changes import Strength

    name, _, number = given.partition("=")
    return Strength(name, *_numbers(number, "--strength", given, "depth=0.5", (1,)))


def _moved(given: str, view: float) -> "Change":
    from longvie.controls.diorama import read_pace
    from longvie.engine.changes import Move

    return Move(**read_pace(given), view=view)


def _dragged(given: str, view: float) -> "Change":
    from longvie.engine.changes import Drag

    x, y, right, down, *seconds = _numbers(given, "--drag", given, "88,60,20,-5", (4, 5))
    return Drag((x, y), (right, down), *seconds, view=view)


def _numbers(text: str, name: str, given: str, example: str, counts: "Container[int]") -> list[float]:
    """So many numbers between commas.

    Raises:
        ConfigError: it is none, or another number of them.
    """
    from longvie.errors import ConfigError
    from longvie.presets import brief

    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in counts:
        raise ConfigError(f"{name} is {brief(given)}; write {name} {example}")
    return values


def _again(
    run: str,
    out: str,
    changed: dict[str, Any],
    *,
    at: float = 0.0,
    changes: "Sequence[Change]" = (),
    device: str | None,
    threads: int | None,
    quiet: bool,
) -> None:
    """Lay out a run that begins as another did, unless it is there already; then make it."""
    from longvie.api import LongVie, check_out, recorded
    from longvie.errors import ConfigError
    from longvie.models.weights import digest
    from longvie.presets import apply
    from longvie.request import Inputs, local, prepare
    from longvie.runs import Run

    source, target = Run.open(local(run)), local(out)
    check_out(target, force=False)
    config = apply(recorded(local(run)), {**changed, "output": {"save_video": out}})
    model = LongVie(config, device=device, threads=threads)
    with Inputs() as inputs:
        request = prepare(config, model.card, inputs)
        frame = round(at * request.script.fps)
        if at < 0 or (changes and frame == 0):
            raise ConfigError(f"--at is {at:g}; a branch leaves after the first frame")
        if (frame or source.was_steered) and not Run.beside(target).exists():
            leaves = model.branch(source, request, target, frame=frame, changes=changes, config=config)
            shared = f"shares {leaves} frames with {source.folder.name}"
            note(shared if frame else "what was changed on the way is changed again", quiet)
    make(config, device=device, threads=threads, quiet=quiet)
    if not frame and source.finished:
        same = digest(source.final) == digest(target)
        note("the same bytes as before" if same else "not the same bytes as before", quiet)
