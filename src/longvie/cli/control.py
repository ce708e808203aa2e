"""`longvie control`."""

from typing import Annotated, Any

import typer

from longvie.cli.terminal import Meter, option, printable
from longvie.errors import ConfigError

app = typer.Typer(help="Controls: files into the pictures that a model is given.", no_args_is_help=True)


@app.command("render")
def render(
    name: Annotated[str, typer.Argument(help="depth, tracks, sketch or segmentation.", show_default=False)],
    source: Annotated[str, typer.Argument(help="The file or folder.", show_default=False)],
    out: Annotated[str, option("--out", "The mp4 to write.")],
    content: Annotated[
        str | None, option("--content", "Depth: metric, disparity, picture. Sketch: lines, video.")
    ] = None,
    picture_size: Annotated[
        str | None, option("--tracks-size", "WIDTHxHEIGHT that x and y of tracks belong to.")
    ] = None,
    size: Annotated[str, typer.Option("--size", help="WIDTHxHEIGHT, as the model takes it.")] = "176x96",
    fps: Annotated[float, typer.Option("--fps", help="Frames a second.")] = 16.0,
    frames: Annotated[int | None, option("--frames", "How many; default: all.")] = None,
    align: Annotated[str, typer.Option("--align", help="error, trim, pad-last or resample.")] = "error",
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Draw a control file as the model sees it: one range for the whole signal, dots for points, palette colours."""
    from longvie.presets import read_fps, read_size
    from longvie.request import drawn, local

    declared: dict[str, Any] = {} if content is None else {"content": content}
    if picture_size is not None:
        declared["size"] = read_size(picture_size, "--tracks-size", even=False)
    target = local(out)
    if target.suffix.lower() != ".mp4":
        raise ConfigError(f"'{printable(target.name)}' is no mp4; name the video with .mp4 at its end")
    if target.exists() and not force:
        raise ConfigError(f"'{printable(target.name)}' exists: use another name, or --force to replace it")
    with Meter("drawing", quiet=quiet) as meter:
        report = drawn(
            name,
            source,
            target,
            size=read_size(size, "--size"),
            fps=read_fps(fps, "--fps"),
            frames=frames,
            align=align,
            declared=declared,
            tell=meter.at,
        )
    print(printable(str(report)))
    print(f"drawn to {target}")
