"""The command line: parse, one call, print. What a command does lies elsewhere; what it says, and its exit code, here.

Exit codes: 0 done, 2 bad input, 3 refused by a limit, 4 disk, memory or device, 5 a fault of ours, 130 interrupted.
"""

import importlib.metadata
import json
import sys
import time
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeft
from rich.table import Table

from longvie.errors import ConfigError, Interrupted, LongVieError, ResourceError

if TYPE_CHECKING:  # torch takes seconds to load, and `longvie --help` does not need it
    from longvie.engine.stream import Progress as EngineProgress
    from longvie.presets import LongVieConfig
    from longvie.request import Request

app = typer.Typer(
    name="longvie",
    help="Direct a video for as long as you like.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
world_app = typer.Typer(help="The procedural world: scenes with exact truth.", no_args_is_help=True)
models_app = typer.Typer(help="Models: which there are, what they can do.", no_args_is_help=True)
control_app = typer.Typer(help="Controls: files into the pictures that a model is given.", no_args_is_help=True)
runs_app = typer.Typer(help="Runs: what was made, with what, and going on with it.", no_args_is_help=True)
bench_app = typer.Typer(help="Measurements.", no_args_is_help=True)
for name, sub in (
    ("world", world_app),
    ("models", models_app),
    ("control", control_app),
    ("runs", runs_app),
    ("bench", bench_app),
):
    app.add_typer(sub, name=name)

UsageError: Any = typer.BadParameter.__mro__[1]  # of click, or of typer's own copy of it
TRACEBACK = "--traceback"


def main() -> None:
    """The entry point of the command `longvie`."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """One command line; its exit code. Every error is one line, never a traceback unless `--traceback` asks for it."""
    trace = TRACEBACK in arguments
    arguments = [argument for argument in arguments if argument != TRACEBACK]
    try:
        answer = typer.main.get_command(app).main(args=arguments, prog_name="longvie", standalone_mode=False)
        return answer if isinstance(answer, int) else 0
    except typer.Exit as end:
        return int(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return said(Interrupted("interrupted"))
    except LongVieError as error:
        return said(error, trace=trace)
    except UsageError as error:
        return said(ConfigError(_usage(error)), trace=trace)
    except MemoryError:
        return said(ResourceError("out of memory; make the video smaller, or close something"), trace=trace)
    except OSError as error:
        return said(ResourceError(f"the system refused: {error.strerror or error}"), trace=trace)
    except Exception as error:  # a fault of ours: still one line
        fault = f"a fault of ours, not of yours ({type(error).__name__}: {error}); --traceback shows where"
        return said(LongVieError(fault), trace=trace)


def said(error: LongVieError, *, trace: bool = False) -> int:
    """Print an error as one line; its exit code."""
    if trace:
        traceback.print_exc()
    print(f"error: {printable(str(error))}", file=sys.stderr)
    return error.exit_code


def printable(text: str) -> str:
    """Text of strangers on one line, without control characters that a terminal would obey."""
    return "".join(
        char if char.isprintable() else " " if char.isspace() else "\N{REPLACEMENT CHARACTER}" for char in text
    )


def warned(text: str) -> None:
    """Print a warning as one line."""
    print(f"warning: {printable(text)}", file=sys.stderr)


def _usage(error: Any) -> str:
    """What is wrong with a command line, with the nearest option that there is."""
    wanted, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if wanted and context is not None:
        known = [name for option in context.command.params for name in option.opts if name.startswith("--")]
        near = get_close_matches(wanted, known, n=1, cutoff=0.5)
        help_at = f"{context.command_path} --help"
        return f"no option '{wanted}'; " + (f"did you mean '{near[0]}'?" if near else f"see {help_at}")
    return error.format_message().rstrip(".")


# --------------------------------------------------------------------------------------------------------------
# progress


class Meter:
    """A line with frames, rate and time left; silent where nobody watches."""

    def __init__(self, what: str, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeLeft(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task(what, total=None, rate="")
        self._begun: tuple[float, int] | None = None

    def __enter__(self) -> "Meter":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def at(self, done: int, of: int, what: str | None = None) -> None:
        """So many frames of so many; the rate counts from the first call, so that a resumed run tells the truth."""
        if self._begun is None:
            self._begun = (time.perf_counter(), done)
        seconds, made = time.perf_counter() - self._begun[0], done - self._begun[1]
        rate = f"{made / seconds:.1f} frames/s" if made and seconds > 0 else ""
        self._bar.update(self._task, completed=done, total=of, rate=rate, description=what)

    def engine(self, progress: "EngineProgress") -> None:
        """Progress of an engine."""
        what = f"clip {progress.part + 1}/{progress.parts} step {progress.step}/{progress.steps}"
        self.at(progress.frames, progress.total, what)


# --------------------------------------------------------------------------------------------------------------
# generate


def _option(name: str, help_text: str) -> Any:
    return typer.Option(name, help=help_text, show_default=False)


@app.command()
def generate(
    prompt: Annotated[
        str | None, _option("--prompt", "Words, or a timeline: 'a ball[5s] | the ball in rain[10s]'.")
    ] = None,
    prompts: Annotated[str | None, _option("--prompts", "A timeline as a JSON file.")] = None,
    image: Annotated[str | None, _option("--image", "The first picture: PNG, JPEG or WebP.")] = None,
    depth: Annotated[str | None, _option("--depth", "mp4, .npy, .npz, EXR, or a folder of 16-bit PNGs.")] = None,
    depth_content: Annotated[str | None, _option("--depth-content", "metric, disparity, or picture (drawn).")] = None,
    tracks: Annotated[str | None, _option("--tracks", "Points: .npz or .json; or a video of dots.")] = None,
    tracks_size: Annotated[
        str | None, _option("--tracks-size", "WIDTHxHEIGHT that the points' x and y belong to.")
    ] = None,
    sketch: Annotated[str | None, _option("--sketch", "White lines: a picture or a video.")] = None,
    segmentation: Annotated[
        str | None, _option("--segmentation", "Labels: .npy, .npz, grey PNGs, palette video.")
    ] = None,
    keyframes: Annotated[str | None, _option("--keyframes", "Pictures at given times, as JSON.")] = None,
    beats: Annotated[str | None, _option("--beats", "Seconds of the beats, as JSON.")] = None,
    conditions: Annotated[str | None, _option("--conditions", "LongVie's cond.json: one clip per entry.")] = None,
    depth_strength: Annotated[float | None, _option("--depth-strength", "0 is off, 1 as trained, up to 2.")] = None,
    tracks_strength: Annotated[float | None, _option("--tracks-strength", "The same for tracks.")] = None,
    sketch_strength: Annotated[float | None, _option("--sketch-strength", "The same for the sketch.")] = None,
    segmentation_strength: Annotated[float | None, _option("--segmentation-strength", "And for segmentation.")] = None,
    align: Annotated[
        str | None, _option("--align", "Controls of another length: error, trim, pad-last, resample.")
    ] = None,
    duration: Annotated[float | None, _option("--duration", "Seconds.")] = None,
    frames: Annotated[int | None, _option("--frames", "Frames at the model's rate, instead of a duration.")] = None,
    seed: Annotated[int | None, _option("--seed", "The same seed gives the same video; -1 draws one.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic/--stochastic", help="How noise becomes video.", show_default=False)
    ] = None,
    steps: Annotated[int | None, _option("--steps", "Sampling steps.")] = None,
    guidance: Annotated[float | None, _option("--guidance", "1 is none.")] = None,
    seam: Annotated[str | None, _option("--seam", "How clips are joined: latent or pixel.")] = None,
    model: Annotated[str | None, _option("--model", "A name (see longvie models list) or a folder.")] = None,
    size: Annotated[str | None, _option("--size", "WIDTHxHEIGHT of the file; converted to.")] = None,
    fps: Annotated[float | None, _option("--fps", "Frames a second of the file; converted to.")] = None,
    config: Annotated[str | None, _option("--config", "A YAML or JSON file of options.")] = None,
    options: Annotated[
        list[str] | None, _option("--set", "One option, such as engine.recent=6; may be repeated.")
    ] = None,
    out: Annotated[str | None, _option("--out", "The mp4; beside it lies the run. Default: video.mp4.")] = None,
    frames_dir: Annotated[str | None, _option("--frames-dir", "Every frame also as a PNG in this folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another video or run of that name.")] = False,
    allow_changed: Annotated[
        bool, typer.Option("--allow-changed", help="Go on although weights or versions have changed.")
    ] = False,
    device: Annotated[str | None, _option("--device", "cpu, cuda, cuda:1 or mps; default: the best there is.")] = None,
    threads: Annotated[int | None, _option("--threads", "Threads to compute with.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Make a video. The same command goes on after an interruption, and does nothing once the video is finished."""
    from longvie.presets import LongVieConfig, apply

    mode = None if deterministic is None else ("deterministic" if deterministic else "stochastic")
    asked = LongVieConfig() if config is None else LongVieConfig.from_file(config)
    if config is None and model is not None:
        asked = LongVieConfig.from_mapping({"model": {"ckpt": model}})
    asked = asked.with_options(options or [])
    given: dict[str, Any] = {
        "prompt": prompt,
        "prompts": prompts,
        "seed": seed,
        "model": {"ckpt": model, "duration": duration, "frames": frames, "frame_size": size, "fps": fps},
        "controls": {
            "image": image,
            "depth": depth,
            "depth_content": depth_content,
            "tracks": tracks,
            "tracks_size": tracks_size,
            "sketch": sketch,
            "segmentation": segmentation,
            "keyframes": keyframes,
            "beats": beats,
            "conditions": conditions,
            "align": align,
            "depth_strength": depth_strength,
            "tracks_strength": tracks_strength,
            "sketch_strength": sketch_strength,
            "segmentation_strength": segmentation_strength,
        },
        "sampling": {"mode": mode, "steps": steps, "guidance": guidance},
        "engine": {"seam": seam},
        "output": {"save_video": out, "save_frames": frames_dir},
    }
    if (duration is None) != (frames is None):  # one of them on the command line replaces the other in a file
        asked = apply(asked, {"model": {"frames": None, "duration": None}})
    if prompt is not None and prompts is None:
        asked = apply(asked, {"prompts": None})
    make(
        apply(asked, told(given)),
        device=device,
        threads=threads,
        force=force,
        allow_changed=allow_changed,
        exact=deterministic is True,
        quiet=quiet,
    )


def told(given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options without those that were not given."""
    kept = {name: told(value) if isinstance(value, Mapping) else value for name, value in given.items()}
    return {name: value for name, value in kept.items() if value is not None and value != {}}


def make(
    config: "LongVieConfig",
    *,
    device: str | None = None,
    threads: int | None = None,
    force: bool = False,
    allow_changed: bool = False,
    exact: bool = False,
    quiet: bool = False,
) -> None:
    """Make what a configuration asks for, and say what was made."""
    from longvie import runs, runtime
    from longvie.api import LongVie, check_out, seed_for
    from longvie.request import Inputs, prepare

    out, frames_dir, export = places(config)
    check_out(out, force=force)
    model = LongVie(config, device=device, threads=threads)
    with Inputs() as inputs:
        request = prepare(config, model.card, inputs, drawn_seed=seed_for(None if force else out))
        for line in (*request.reports,):
            _note(line, quiet)
        for warning in (*request.warnings, *model.unheard(request)):
            warned(warning)
        if exact:
            runtime.deterministic(True)
        begun, new = time.perf_counter(), 0
        with runs.stopped_by_signals() as stop, Meter("reading", quiet=quiet) as meter:
            for chunk in model.run(
                request,
                out,
                config=config,
                force=force,
                allow_changed=allow_changed,
                stop=stop,
                tell=meter.engine,
                frames_dir=frames_dir,
                export=export,
            ):
                new += chunk.frames.shape[1]
        _made(request, out if export else runs.Run.beside(out), new, time.perf_counter() - begun)


def places(config: "LongVieConfig") -> tuple[Path, Path | None, bool]:
    """Where the video goes, where its frames go, and whether a video is wanted at all.

    Raises:
        ConfigError: neither is wanted.
    """
    from longvie.request import local

    video, frames = config.output.save_video, config.output.save_frames
    if not video and not frames:
        raise ConfigError("neither a video nor frames are to be saved; set output.save_video or output.save_frames")
    out = local(video) if isinstance(video, str) and video else Path("video.mp4")
    if frames is True:
        return out, out.with_name(f"{out.stem}_frames"), bool(video)
    return out, local(frames) if isinstance(frames, str) and frames else None, bool(video)


def _note(text: str, quiet: bool) -> None:
    if not quiet:
        print(printable(text), file=sys.stderr)


def _made(request: "Request", out: Path, new: int, seconds: float) -> None:
    """What was made, how fast, where it lies."""
    script = request.script
    height, width = request.size
    print(f"{out}: {request.frames} frames of {width}x{height} at {request.fps:g} frames/s, seed {script.seed}")
    if new == 0:
        print("it was finished already; nothing was computed")
    elif new < script.frames:
        rate = new / seconds
        print(f"went on from frame {script.frames - new}: {new} new frames in {seconds:.1f} s, {rate:.1f} frames/s")
    else:
        rate = new / seconds
        print(f"made in {seconds:.1f} s, {rate:.1f} frames/s, {rate / script.fps:.1f} times real time")


# --------------------------------------------------------------------------------------------------------------
# world, controls


@world_app.command("render")
def world_render(
    out: Annotated[str, _option("--out", "A folder.")],
    seed: Annotated[int, typer.Option("--seed", help="Number of the scene.")] = 0,
    duration: Annotated[float, typer.Option("--duration", help="Seconds.")] = 60.0,
    frames: Annotated[int | None, _option("--frames", "Frames, instead of a duration.")] = None,
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


@control_app.command("render")
def control_render(
    name: Annotated[str, typer.Argument(help="depth, tracks, sketch or segmentation.", show_default=False)],
    source: Annotated[str, typer.Argument(help="The file or folder.", show_default=False)],
    out: Annotated[str, _option("--out", "The mp4 to write.")],
    content: Annotated[
        str | None, _option("--content", "Depth: metric, disparity, picture. Sketch: lines, video.")
    ] = None,
    picture_size: Annotated[
        str | None, _option("--tracks-size", "WIDTHxHEIGHT that x and y of tracks belong to.")
    ] = None,
    size: Annotated[str, typer.Option("--size", help="WIDTHxHEIGHT, as the model takes it.")] = "176x96",
    fps: Annotated[float, typer.Option("--fps", help="Frames a second.")] = 16.0,
    frames: Annotated[int | None, _option("--frames", "How many; default: all.")] = None,
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


# --------------------------------------------------------------------------------------------------------------
# training


@app.command()
def train(
    model: Annotated[str, typer.Argument(help="What to train: world.", show_default=False)],
    stage: Annotated[str, typer.Option("--stage", help="One stage, or all of them in order.")] = "all",
    out: Annotated[str, typer.Option("--out", help="A folder; what is in it is gone on with.")] = "runs/world",
    device: Annotated[str, typer.Option("--device", help="cpu or cuda; changes sizes of batches only.")] = "cpu",
    large: Annotated[
        bool, typer.Option("--large", help="The plan of one large GPU: more clips, a wider model.")
    ] = False,
    clips: Annotated[int | None, _option("--clips", "How many clips of the world to draw.")] = None,
    minutes: Annotated[str | None, _option("--minutes", "Of autoencoder, base, history: 45,60,20.")] = None,
    steps: Annotated[int | None, _option("--steps", "Stop every stage after so many, for a dry run.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of everything that is drawn.")] = 0,
    threads: Annotated[int | None, _option("--threads", "Threads to compute with.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train the embedded model from nothing: clips, autoencoder, latents, base, history, pack. A stage that was stopped
    goes on; learning curves and sample sheets lie in its folder."""
    from dataclasses import replace

    from longvie import runtime
    from longvie.presets import nearest
    from longvie.request import local
    from longvie.training import world

    if model != "world":
        raise ConfigError(f"'{printable(model[:60])}' cannot be trained here; {nearest(model, ('world',))}")
    plan = replace(world.Plan.gpu() if large else world.Plan(), seed=runtime.checked_seed(seed), steps=steps)
    if clips is not None:
        plan = replace(plan, clips=_counted(clips, "--clips"))
    if steps is not None:
        _counted(steps, "--steps")
    if minutes is not None:
        plan = replace(plan, minutes=_three(minutes))
    runtime.threads(threads)
    place = str(runtime.device(device))
    world.train(local(out), stage, plan, device=place, report=lambda line: _note(line, quiet))
    print(f"{out}: {stage} is done; use it with --model {Path(out) / 'world'}")


def _counted(number: int, name: str) -> int:
    if not 1 <= number <= 10**6:
        raise ConfigError(f"{name} is {number}; a whole number from 1 to 1000000 is needed")
    return number


def _three(minutes: str) -> tuple[float, float, float]:
    """Minutes of the three stages that learn."""
    parts = minutes.split(",")
    try:
        autoencoder, base, history = (float(part) for part in parts)
    except ValueError:
        raise ConfigError(
            f"--minutes is '{printable(minutes[:60])}'; three numbers such as 45,60,20 are needed"
        ) from None
    if not all(0 < part < 10**5 for part in (autoencoder, base, history)):
        raise ConfigError(f"--minutes is '{printable(minutes[:60])}'; each must be above 0")
    return autoencoder, base, history


# --------------------------------------------------------------------------------------------------------------
# models, runs, machine


@models_app.command("list")
def models_list() -> None:
    """The models that this version knows by name."""
    from longvie.api import NAMES, state_of

    _table(("name", "made at", "controls", "state"), [state_of(name) for name in NAMES])


@models_app.command("show")
def models_show(
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


@runs_app.command("list")
def runs_list(
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
    _table(("run", "status", "frames", "model", "seed", "prompt"), rows)


@runs_app.command("show")
def runs_show(run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)]) -> None:
    """What was asked and what happened, as JSON."""
    from longvie.request import local
    from longvie.runs import Run

    found = Run.open(local(run))
    print(json.dumps({**found.facts, "events": found.journal.events()}, ensure_ascii=False, indent=2))


@runs_app.command("verify")
def runs_verify(run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)]) -> None:
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


@runs_app.command("resume")
def runs_resume(
    run: Annotated[str, typer.Argument(help="A folder that ends in .run.", show_default=False)],
    device: Annotated[str | None, _option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, _option("--threads", "Threads to compute with.")] = None,
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


@app.command()
def doctor() -> None:
    """Facts about this machine that explain a speed or a failure."""
    from longvie import runtime
    from longvie.api import NAMES, state_of

    facts = runtime.doctor() | {f"model {row[0]}": row[-1] for row in map(state_of, NAMES)}
    _table(("", ""), [(name, str(value)) for name, value in facts.items()])


@bench_app.command("speed")
def bench_speed(
    model: Annotated[str, typer.Option("--model", help="A name or a folder.")] = "world",
    duration: Annotated[float, typer.Option("--duration", help="Seconds of video.")] = 60.0,
    steps: Annotated[int | None, _option("--steps", "Sampling steps; default: the model's.")] = None,
    repeat: Annotated[int, typer.Option("--repeat", help="Runs; the median is told.", min=1, max=100)] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Of the scene and of the noise.")] = 7,
    device: Annotated[str | None, _option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, _option("--threads", "Threads to compute with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Make a video that follows a test scene's depth and tracks; frames a second of the network only, with decode, and
    to the file with everything included. The scene is drawn before, and not counted."""
    from longvie.bench import bench
    from longvie.presets import LongVieConfig, apply, read_duration

    section = {"ckpt": model, "duration": read_duration(duration, "--duration")}
    config = apply(LongVieConfig.from_mapping({"model": {"ckpt": model}}), {"model": section, "seed": seed})
    if steps is not None:
        config = apply(config, {"sampling": {"steps": steps}})
    with Meter("measuring") as meter:
        facts = bench(config, repeat=repeat, device=device, threads=threads, tell=meter.at)
    if as_json:
        print(json.dumps(facts, indent=1))
    else:
        _table(("", ""), [(name.replace("_", " "), str(value)) for name, value in facts.items()])


@bench_app.command("controls")
def bench_controls(
    model: Annotated[str, typer.Option("--model", help="A name or a folder.")] = "world",
    scenes: Annotated[int, typer.Option("--scenes", help="How many of the fixed test scenes.", min=1)] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of the noise.", min=0)] = 0,
    device: Annotated[str | None, _option("--device", "cpu, cuda, cuda:1 or mps.")] = None,
    threads: Annotated[int | None, _option("--threads", "Threads to compute with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """How near clips come to the truth of fixed test scenes: with controls, without, and as a frozen first frame."""
    from longvie.api import LongVie
    from longvie.evaluation import obedience

    known = LongVie.from_pretrained(model, device=device, threads=threads)
    total, rows = scenes * (len(obedience.GIVEN) + 1), []
    with Meter("measuring") as meter:
        for row in obedience.measure(known, scenes, seed=seed):
            rows.append(row)
            meter.at(len(rows), total, f"scene {row[0]}, {row[1]}")
    table = obedience.summary(rows)
    if as_json:
        print(json.dumps(table, indent=1))
    else:
        heads = ("given", *next(iter(table.values())))
        _table(heads, [(name, *(f"{value:.4g}" for value in row.values())) for name, row in table.items()])


@app.command()
def version() -> None:
    """The version."""
    print(importlib.metadata.version("longvie"))


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """A plain table; nothing in it is taken as markup."""
    table = Table(*heads, box=None, pad_edge=False, show_header=any(heads))
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    Console(markup=False, highlight=False, soft_wrap=True).print(table)


def _plain(cell: str) -> Any:
    from rich.text import Text as RichText

    return RichText(printable(cell))


if __name__ == "__main__":
    main()
