"""`longvie train`."""

from pathlib import Path
from typing import Annotated

import typer

from longvie.cli.terminal import note, option, printable
from longvie.errors import ConfigError


def train(
    model: Annotated[str, typer.Argument(help="What to train: world, or instruments (of eval).", show_default=False)],
    stage: Annotated[str, typer.Option("--stage", help="One stage, or all of them in order.")] = "all",
    out: Annotated[str, typer.Option("--out", help="A folder; what is in it is gone on with.")] = "runs/world",
    device: Annotated[str, typer.Option("--device", help="cpu or cuda; changes sizes of batches only.")] = "cpu",
    large: Annotated[
        bool, typer.Option("--large", help="The plan of one large GPU: more clips, a wider model.")
    ] = False,
    clips: Annotated[
        int | None, option("--clips", "How many clips of the world to learn from; a third as many to play.")
    ] = None,
    minutes: Annotated[
        str | None,
        option(
            "--minutes",
            "Of stages that take time, by name: base=60,history=20; others as planned. Instruments: one number.",
        ),
    ] = None,
    steps: Annotated[int | None, option("--steps", "Stop every stage after so many, for a dry run.")] = None,
    origin: Annotated[
        str | None, option("--from", "A model to begin from, by name or folder, instead of nothing.")
    ] = None,
    without: Annotated[
        str | None, option("--without", "For ablations: what base and history leave out, damage, history or both.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything that is drawn.")] = 0,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train the embedded model from nothing: clips, autoencoder, decoder, latents, base, made, finish, worn, history,
    likely, variants, repaint, recolour, paint, causal, distill, rolled, long, pack; and match, which all leaves out. A
    stage that was stopped goes on; curves and sample sheets lie in its folder."""
    from dataclasses import replace

    from longvie import runtime
    from longvie.presets import nearest
    from longvie.request import local
    from longvie.training import world

    if model == "instruments":
        _instruments(local(out), minutes, runtime.checked_seed(seed), threads, quiet=quiet)
        return
    if model != "world":
        raise ConfigError(
            f"'{printable(model[:60])}' cannot be trained here; {nearest(model, ('world', 'instruments'))}"
        )
    plan = replace(world.Plan.gpu() if large else world.Plan(), seed=runtime.checked_seed(seed), steps=steps)
    if clips is not None:
        plan = replace(
            plan,
            clips=_counted(clips, "--clips"),
            played=max(1, clips // 3),
            rolled=max(1, clips // 9),
            variants=9 * clips,
        )
    if steps is not None:
        _counted(steps, "--steps")
    if minutes is not None:
        plan = plan.lasting(_minutes(minutes, tuple(world.PACES)))
    if origin is not None:
        plan = replace(plan, origin=_folder(origin))
    if without is not None:
        plan = replace(plan, without=_parts(without, world.PARTS))
    runtime.threads(threads)
    place = str(runtime.device(device))
    world.train(local(out), stage, plan, device=place, report=lambda line: note(line, quiet))
    print(f"{out}: {stage} is done; use it with --model {Path(out) / 'world'}")


def _instruments(out: Path, minutes: str | None, seed: int, threads: int | None, *, quiet: bool) -> None:
    """The small networks that `longvie eval` looks with."""
    from longvie import runtime
    from longvie.evaluation.instruments.train import train_instruments

    try:
        asked = 30.0 if minutes is None else float(minutes)
    except ValueError:
        raise ConfigError(f"--minutes is '{printable(str(minutes)[:60])}'; instruments take one number") from None
    runtime.threads(threads)
    train_instruments(out, asked, seed, tell=lambda line: note(line, quiet))
    print(f"{out / 'instruments'}: what belongs into longvie/weights/instruments")


def _folder(name: str) -> Path:
    """Where a model lies that is known by name, or that a training has left.

    Raises:
        ConfigError: a model that is no folder of trained weights.
    """
    from longvie.catalogue import folder_of
    from longvie.presets import ModelSection

    found = folder_of(ModelSection(ckpt=name))
    if found is None:
        raise ConfigError(f"'{printable(name[:60])}' has no trained weights to begin from; use world, or a folder")
    return found


def _parts(text: str, known: tuple[str, ...]) -> frozenset[str]:
    """What an ablation leaves out."""
    from longvie.presets import nearest

    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in known:
            raise ConfigError(f"--without is '{printable(text[:60])}'; {nearest(part, known)}")
    return frozenset(parts)


def _counted(number: int, name: str) -> int:
    if not 1 <= number <= 10**6:
        raise ConfigError(f"{name} is {number}; a whole number from 1 to 1000000 is needed")
    return number


def _minutes(text: str, stages: tuple[str, ...]) -> dict[str, float]:
    """Minutes of the stages that learn, by name."""
    from longvie.presets import nearest

    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if (name := name.strip()) not in stages:
            raise ConfigError(
                f"--minutes is '{printable(text[:60])}', not such as base=60,history=20; {nearest(name, stages)}"
            )
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = 0.0
        if not 0 < found[name] < 10**5:
            raise ConfigError(f"--minutes is '{printable(text[:60])}'; {name} needs a number above 0, as {name}=20")
    return found
