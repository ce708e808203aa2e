"""`longvie world`."""

from typing import Annotated

import typer

from longvie.cli.terminal import Meter, option
from longvie.errors import ConfigError

app = typer.Typer(help="The procedural world: scenes with exact truth.", no_args_is_help=True)


@app.command("render")
def render(
    out: Annotated[str, option("--out", "A folder.")],
    seed: Annotated[int, typer.Option("--seed", help="Number of the scene.")] = 0,
    duration: Annotated[float, typer.Option("--duration", help="Seconds.")] = 60.0,
    frames: Annotated[int | None, option("--frames", "Frames, instead of a duration.")] = None,
    split: Annotated[str, typer.Option("--split", help="train or test.")] = "test",
    size: Annotated[str, typer.Option("--size", help="WIDTHxHEIGHT.")] = "176x96",
    fps: Annotated[float, typer.Option("--fps", help="Frames a second.")] = 16.0,
    points: Annotated[int, typer.Option("--points", help="Points that are followed at a time.")] = 256,
    flow: Annotated[bool, typer.Option("--flow", help="Also the motion of every pixel.")] = False,
    threads: Annotated[int, typer.Option("--threads", help="One is steady where a neighbour takes a core.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Write over another scene.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Draw a scene: its video, and every control, prompt, keyframe, beat and camera as files."""
    from longvie import runtime
    from longvie.data.export import Export, export
    from longvie.presets import read_duration, read_fps, read_size
    from longvie.request import local

    if split not in ("train", "test"):
        raise ConfigError(f"split is '{split[:60]}'; use train or test")
    rate = read_fps(fps, "--fps")
    asked = Export(
        seed=seed,
        frames=max(1, round(read_duration(duration, "--duration") * rate)) if frames is None else frames,
        split=split,  # type: ignore[arg-type]
        size=read_size(size, "--size"),
        fps=rate,
        points=points,
        with_flow=flow,
    )
    runtime.threads(threads)
    with Meter("drawing", quiet=quiet) as meter:
        files = export(asked, local(out), force=force, tell=meter.at)
    print(f"{out}: scene {seed} of the {split} split, {asked.frames} frames at {fps:g} frames/s")
    for file in files:
        print(f"  {file.relative_to(local(out))}")
