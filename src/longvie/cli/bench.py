"""`longvie bench`."""

import json
from typing import TYPE_CHECKING, Annotated, cast

import typer

from longvie.cli.terminal import Meter, option, printable, table
from longvie.errors import ConfigError

if TYPE_CHECKING:
    from longvie.bench import Untrained
    from longvie.models.untrained import Decoder

DECODERS: "tuple[Decoder, ...]" = ("wan", "taew2_1")

app = typer.Typer(help="Measurements.", no_args_is_help=True)


@app.command("speed")
def speed(
    model: Annotated[str, typer.Option("--model", help="A name or a folder.")] = "world",
    engine: Annotated[str | None, option("--engine", "clip or live; default: what the weights are for.")] = None,
    duration: Annotated[float, typer.Option("--duration", help="Seconds of video.")] = 60.0,
    steps: Annotated[int | None, option("--steps", "Sampling steps; default: the model's.")] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Runs; the median is told.", min=1, max=100)] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the scene and of the noise.")] = 7,
    device: Annotated[str | None, option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    random: Annotated[
        str | None, option("--random", "Random weights in longlive-1.3b's sizes, and which decoder: wan or taew2_1.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Make a video that follows a test scene's depth and tracks; frames a second of the network only, with decode, and
    to the file with everything included. The scene is drawn before, and not counted."""
    from longvie.bench import bench
    from longvie.presets import LongVieConfig, apply, read_duration

    section = {"ckpt": model, "duration": read_duration(duration, "--duration")}
    config = apply(LongVieConfig.from_mapping({"model": {"ckpt": model}}), {"model": section, "seed": seed})
    if engine is not None:
        config = apply(config, {"engine": {"kind": engine}})
    if steps is not None:
        config = apply(config, {"sampling": {"steps": steps}})
    with Meter("measuring") as meter:
        untrained = _untrained(model, random)
        facts = bench(config, repeat=repeat, device=device, threads=threads, untrained=untrained, tell=meter.at)
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        table(("", ""), [(name.replace("_", " "), str(value)) for name, value in facts.items()])


def _untrained(model: str, decoder: str | None) -> "Untrained | None":
    """What makes random weights, if that is asked for.

    Raises:
        ConfigError: another model, or a decoder that there is not.
    """
    from functools import partial

    from longvie.models import untrained

    if decoder is None:
        return None
    if model != "longlive-1.3b" or decoder not in DECODERS:
        raise ConfigError(
            f"--random is for --model longlive-1.3b, with {' or '.join(DECODERS)}; "
            f"'{printable(decoder[:40])}' for {printable(model[:40])} is not there"
        )
    return partial(untrained.longlive, decoder=cast("Decoder", decoder))


@app.command("steer")
def steer(
    model: Annotated[str, typer.Option("--model", help="A name or a folder.")] = "world",
    duration: Annotated[float, typer.Option("--duration", help="Seconds, shown at the model's rate.")] = 60.0,
    wishes: Annotated[int, typer.Option("--wishes", help="How many, at random moments.", min=1, max=10_000)] = 40,
    device: Annotated[str | None, option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """How long a viewer of a live video waits for what he asks for, when every block is made just in time."""
    from longvie.bench import steered
    from longvie.presets import LongVieConfig, apply, read_duration

    section = {"ckpt": model, "duration": read_duration(duration, "--duration")}
    config = apply(LongVieConfig.from_mapping({"model": {"ckpt": model}}), {"model": section})
    with Meter("measuring") as meter:
        facts = steered(config, wishes=wishes, device=device, threads=threads, tell=meter.at)
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        table(("", ""), [(name.replace("_", " "), str(value)) for name, value in facts.items()])


@app.command("controls")
def controls(
    model: Annotated[str, typer.Option("--model", help="A name or a folder.")] = "world",
    scenes: Annotated[int, typer.Option("--scenes", help="How many of the 40 fixed test scenes.", min=1)] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of the noise.", min=0)] = 0,
    engine: Annotated[str | None, option("--engine", "clip or live; default: what the weights are for.")] = None,
    device: Annotated[str | None, option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """How near clips come to the truth of fixed test scenes: with controls, without, and as a frozen first frame."""
    from longvie.api import LongVie
    from longvie.evaluation import obedience
    from longvie.presets import LongVieConfig, apply

    config = LongVieConfig.from_mapping({"model": {"ckpt": model}})
    config = config if engine is None else apply(config, {"engine": {"kind": engine}})
    known = LongVie(config, device=device, threads=threads)
    total, rows = scenes * (len(obedience.GIVEN) + 4), []
    with Meter("measuring") as meter:
        for row in obedience.measure(known, scenes, seed=seed):
            rows.append(row)
            meter.at(len(rows), total, f"scene {row[0]}, {row[1]}")
    found = obedience.summary(rows)
    _told("given", found, as_json=as_json)


@app.command("autoencoder")
def autoencoder(
    model: Annotated[str, typer.Option("--model", help="A name or a folder.")] = "world",
    clips: Annotated[int, typer.Option("--clips", help="How many test clips.", min=1)] = 8,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What the autoencoder keeps of test clips: pictures, and each control as it is drawn for the model."""
    from longvie import runtime
    from longvie.api import LongVie
    from longvie.evaluation import reconstruction

    runtime.threads(threads)
    known = LongVie.from_pretrained(model, device="cpu").models.autoencoder
    rows = []
    with Meter("measuring") as meter:
        for row in reconstruction.measure(known, clips):
            rows.append(row)
            meter.at(row[0], clips, row[1])
    found = reconstruction.summary(rows)
    _told("stream", found, as_json=as_json)


def _told(what: str, found: dict[str, dict[str, int | float]], *, as_json: bool) -> None:
    """Rows of figures by name, as JSON or as a table."""
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        rows = {name: _joined(row) for name, row in found.items()}
        table((what, *next(iter(rows.values()))), [(name, *row.values()) for name, row in rows.items()])


def _joined(row: dict[str, int | float]) -> dict[str, str]:
    """Figures as text, both ends of an interval in one."""
    said = {}
    for name, value in row.items():
        stem = name.removesuffix("_low")
        if stem != name:
            said[f"{stem} 95 %"] = f"{value:.3f}–{row[f'{stem}_high']:.3f}"
        elif not name.endswith("_high"):
            said[name] = f"{value:.4g}"
    return said
