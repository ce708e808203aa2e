"""`longvie models`."""

from typing import Annotated

import typer

from longvie.cli.terminal import table

app = typer.Typer(help="Models: which there are, what they can do.", no_args_is_help=True)


@app.command("list")
def listed() -> None:
    """The models that this version knows by name."""
    from longvie.api import NAMES, state_of

    table(("name", "made at", "controls", "state"), [state_of(name) for name in NAMES])


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A name or a folder.", show_default=False)],
    verify: Annotated[bool, typer.Option("--verify", help="Compare every file with its hash.")] = False,
) -> None:
    """What a model was made for, as its card says."""
    from longvie.api import card_of
    from longvie.api import verify as compared
    from longvie.presets import ModelSection

    section = ModelSection(ckpt=name)
    print(card_of(section).to_json(), end="")
    if verify:
        print(f"{compared(section)} files are those that the card names")
