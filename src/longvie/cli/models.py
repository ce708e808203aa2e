"""`longvie models`."""

from typing import Annotated

import typer

from longvie.cli.terminal import option, table

app = typer.Typer(help="Models: which there are, what they can do, and pickles as safetensors.", no_args_is_help=True)


@app.command("list")
def listed() -> None:
    """The models that this version knows by name."""
    from longvie.catalogue import NAMES, state_of

    table(("name", "made at", "controls", "state"), [state_of(name) for name in NAMES])


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name or a folder.", show_default=False)],
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file with its hash.")] = False,
) -> None:
    """What a model was made for, as its card says."""
    from longvie.catalogue import card_of
    from longvie.catalogue import verify as compared
    from longvie.presets import ModelSection

    section = ModelSection(ckpt=name)
    print(card_of(section).to_json(), end="")
    if verify:
        print(f"{compared(section)} files are those that the card names")


@app.command("convert")
def convert(
    source: Annotated[str, typer.Argument(help="A .pt, .pth, .bin or .ckpt file.", show_default=False)],
    target: Annotated[str, typer.Argument(help="A new .safetensors file.", show_default=False)],
    part: Annotated[str, option("--part", "Which part of it, such as generator; needed where there are several.")] = "",
) -> None:
    """A pickled checkpoint as safetensors, opened in a process of its own that reads tensors and runs nothing."""
    from longvie.models.convert import convert as converted
    from longvie.request import local

    done = converted(local(source), local(target), part=part)
    print(f"{done.target}: {done.tensors} tensors of part {done.part}, sha256 {done.sha256}")
