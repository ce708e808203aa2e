"""`longvie generate`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from longvie.cli.terminal import Meter, note, option, warned
from longvie.errors import ConfigError

if TYPE_CHECKING:
    from longvie.presets import LongVieConfig
    from longvie.request import Request


def generate(
    prompt: Annotated[
        str | None, option("--prompt", "Words, or a timeline: 'a ball[5s] | the ball in rain[10s]'.")
    ] = None,
    prompts: Annotated[str | None, option("--prompts", "A timeline as a JSON file.")] = None,
    image: Annotated[str | None, option("--image", "The first picture: PNG, JPEG or WebP.")] = None,
    depth: Annotated[str | None, option("--depth", "mp4, .npy, .npz, EXR, or a folder of 16-bit PNGs.")] = None,
    depth_content: Annotated[str | None, option("--depth-content", "metric, disparity, or picture (drawn).")] = None,
    tracks: Annotated[str | None, option("--tracks", "Points: .npz or .json; or a video of dots.")] = None,
    tracks_size: Annotated[
        str | None, option("--tracks-size", "WIDTHxHEIGHT that the points' x and y belong to.")
    ] = None,
    sketch: Annotated[str | None, option("--sketch", "White lines: a picture or a video.")] = None,
    segmentation: Annotated[
        str | None, option("--segmentation", "Labels: .npy, .npz, grey PNGs, palette video.")
    ] = None,
    keyframes: Annotated[str | None, option("--keyframes", "Pictures at given times, as JSON.")] = None,
    beats: Annotated[str | None, option("--beats", "Seconds of the beats, as JSON.")] = None,
    camera: Annotated[
        str | None, option("--camera", "Its way through the first frame: 'pan=10[3s] | forward=0.2[2s] | still'.")
    ] = None,
    conditions: Annotated[str | None, option("--conditions", "LongVie's cond.json: one clip per entry.")] = None,
    depth_strength: Annotated[float | None, option("--depth-strength", "0 is off, 1 as trained, up to 2.")] = None,
    tracks_strength: Annotated[float | None, option("--tracks-strength", "The same for tracks.")] = None,
    sketch_strength: Annotated[float | None, option("--sketch-strength", "The same for the sketch.")] = None,
    segmentation_strength: Annotated[float | None, option("--segmentation-strength", "And for segmentation.")] = None,
    align: Annotated[
        str | None, option("--align", "Controls of another length: error, trim, pad-last, resample.")
    ] = None,
    duration: Annotated[float | None, option("--duration", "Seconds.")] = None,
    frames: Annotated[int | None, option("--frames", "Frames at the model's rate, instead of a duration.")] = None,
    seed: Annotated[int | None, option("--seed", "The same seed gives the same video; -1 draws one.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option("--deterministic/--stochastic", help="How noise becomes video.", show_default=False)
    ] = None,
    steps: Annotated[int | None, option("--steps", "Sampling steps.")] = None,
    guidance: Annotated[float | None, option("--guidance", "1 is none.")] = None,
    seam: Annotated[str | None, option("--seam", "How clips are joined: latent or pixel.")] = None,
    engine: Annotated[str | None, option("--engine", "clip (clip after clip) or live (block after block).")] = None,
    model: Annotated[str | None, option("--model", "A name (see longvie models list) or a folder.")] = None,
    size: Annotated[str | None, option("--size", "WIDTHxHEIGHT of the file; converted to.")] = None,
    fps: Annotated[float | None, option("--fps", "Frames a second of the file; converted to.")] = None,
    config: Annotated[str | None, option("--config", "A YAML or JSON file of options.")] = None,
    options: Annotated[
        list[str] | None, option("--set", "One option, such as engine.recent=6; may be repeated.")
    ] = None,
    out: Annotated[str | None, option("--out", "The mp4; beside it lies the run. Default: video.mp4.")] = None,
    frames_dir: Annotated[str | None, option("--frames-dir", "Every frame also as a PNG in this folder.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace another video or run of that name.")] = False,
    allow_changed: Annotated[
        bool, typer.Option("--allow-changed", help="Go on although weights or versions have changed.")
    ] = False,
    device: Annotated[str | None, option("--device", "cpu, cuda, cuda:1 or mps; default: the best there is.")] = None,
    threads: Annotated[int | None, option("--threads", "Threads to compute with.")] = None,
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
            "camera": camera,
            "conditions": conditions,
            "align": align,
            "depth_strength": depth_strength,
            "tracks_strength": tracks_strength,
            "sketch_strength": sketch_strength,
            "segmentation_strength": segmentation_strength,
        },
        "sampling": {"mode": mode, "steps": steps, "guidance": guidance},
        "engine": {"kind": engine, "seam": seam},
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
            note(line, quiet)
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
