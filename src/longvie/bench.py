"""`longvie bench`: whole runs against the clock, on a scene of the world that is drawn first and not counted."""

import statistics
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longvie import runtime
from longvie.api import LongVie, engine_of
from longvie.data.export import Export, export
from longvie.engine.changes import Say, Strength
from longvie.engine.live import LiveEngine
from longvie.engine.pace import Shown, paced
from longvie.engine.session import Outcome, Steering
from longvie.evaluation.speed import Speed, measured, now
from longvie.models.models import Models
from longvie.presets import LongVieConfig, apply
from longvie.request import Inputs, prepare

Untrained = Callable[[torch.device, torch.dtype], Models]
"""Makes random weights on a device."""

GIVEN = {"image": "first.png", "depth": "depth.npz", "tracks": "tracks.npz"}


def bench(
    config: LongVieConfig,
    *,
    repeat: int = 1,
    device: str | None = None,
    threads: int | None = None,
    untrained: Untrained | None = None,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> dict[str, Any]:
    """Frames a second of one video, the median of `repeat` runs after one short run that warms up.

    Controls are loaded, drawn and encoded, frames decoded, coded and journalled within the time that counts.

    Args:
        untrained: makes the weights, for a model whose own are not at hand.
    """
    model = LongVie(config, device=device, threads=threads)
    if untrained is not None:
        runtime.threads(threads)
        place = runtime.device(device)
        model.models = untrained(place, runtime.inference_dtype(place))
    with tempfile.TemporaryDirectory(prefix="longvie-bench-") as room:
        scene, frames = Path(room) / "scene", round((config.model.duration or 60.0) * model.card.fps)
        export(Export(seed=max(config.seed, 0), frames=frames, fps=float(model.card.fps)), scene)
        asked = apply(
            config,
            {
                "controls": {name: str(scene / file) for name, file in GIVEN.items() if _knows(model, name)},
                "prompts": str(scene / "prompts.json"),
            },
        )
        weights = model.models
        kind = config.engine.kind
        for _ in model.stream_generate("warm up", duration_sec=1, engine=kind):
            pass
        speeds = []
        for number in range(repeat):
            tell(number, repeat)
            speeds.append(_once(asked, model, weights, Path(room) / f"{number}.mp4"))
        tell(repeat, repeat)
    middle = sorted(speeds, key=lambda speed: speed.to_the_file)[len(speeds) // 2]
    rates = [speed.to_the_file for speed in speeds]
    return {
        "model": model.card.name,
        "weights": "random" if weights.card.random else "its own",
        "engine": config.engine.kind or model.card.engines[0],
        "made_at": f"{model.card.size[1]}x{model.card.size[0]}",
        "steps": model.card.steps if config.sampling.steps is None else config.sampling.steps,
        "seed": max(config.seed, 0),
        "device": str(weights.transformer.patch_embedding.weight.device),
        "dtype": str(weights.transformer.patch_embedding.weight.dtype).removeprefix("torch."),
        "threads": runtime.threads(),
        "runs": repeat,
        "to_the_file_median": round(statistics.median(rates), 1),
        **middle.facts(),
    }


def steered(
    config: LongVieConfig,
    *,
    wishes: int = 40,
    device: str | None = None,
    threads: int | None = None,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> dict[str, Any]:
    """How long a viewer waits for what he asked for: a video shown at its own rate, each block made just in time, while
    words and strengths are asked for at random moments; seconds from a wish to the first frame under it.
    """
    model = LongVie(apply(config, {"engine": {"kind": "live"}}), device=device, threads=threads)
    seconds = config.model.duration or 60.0
    with tempfile.TemporaryDirectory(prefix="longvie-bench-") as room, Inputs() as inputs:
        scene = Path(room) / "scene"
        export(Export(seed=7, frames=round(seconds * model.card.fps), fps=float(model.card.fps)), scene)
        files = {name: str(scene / file) for name, file in GIVEN.items() if _knows(model, name)}
        asked = apply(model.config, {"controls": files, "prompts": str(scene / "prompts.json")})
        request = prepare(asked, model.card, inputs)
        engine = engine_of(model.models, request.engine)
        assert isinstance(engine, LiveEngine)
        for _ in model.stream_generate("warm up", duration_sec=2, engine="live"):
            pass
        outcomes, asking = list[Outcome](), dict[int, float]()
        steering = Steering(tell=outcomes.append)
        shown, clock = Shown(model.card.fps), now
        begun = now()
        times = iter(np.sort(np.random.default_rng(0).uniform(1.0, seconds - 2.0, wishes)))
        stop = threading.Event()
        asker = threading.Thread(target=_ask, args=(steering, asking, begun, times, stop, clock), daemon=True)
        asker.start()
        made = engine.run(request.script, steering=steering)
        begins = partial(engine.config.begins, strides=engine.seam.strides)
        heavy = lambda: any(isinstance(change, Say) for change in steering.waiting)  # noqa: E731
        for chunk in paced(made, shown, begins=begins, heavy=heavy, clock=clock):
            tell(min(round(chunk.stop / model.card.fps), round(seconds)), round(seconds))
        stop.set()
        asker.join()
    waits = [
        moment - asking[it.number]
        for it in outcomes
        if it.state == "applied" and it.frame is not None and (moment := shown.moment(it.frame)) is not None
    ]
    half, most = (float(np.percentile(waits, q)) for q in (50, 95))
    return {
        "model": model.card.name,
        "threads": runtime.threads(),
        "seconds": seconds,
        "wishes": len(waits),
        "wait_median_s": round(half, 3),
        "wait_95_s": round(most, 3),
        "wait_longest_s": round(max(waits), 3),
        "block_median_s": round(statistics.median(shown.took[1:]), 3),
        "lead_median_s": round(statistics.median(shown.leads[1:]), 3),
        "stalled_s": round(shown.stalls, 3),
        "first_frame_s": round(shown.begins[0][1] - begun, 3),
    }


def _ask(
    steering: Steering,
    asking: dict[int, float],
    begun: float,
    times: Iterator[float],
    stop: threading.Event,
    clock: Callable[[], float],
) -> None:
    """Somebody who wants something else now and then: other words, or more or less of the depth."""
    for number, at in enumerate(times):
        if stop.wait(max(0.0, begun + at - clock())):
            return
        wish = Say(f"a red ball, {'night' if number % 4 else 'a clear day'}")
        moment = clock()
        asking[steering.ask(Strength("depth", 0.5 + 0.5 * (number % 4 == 1)) if number % 2 else wish).number] = moment


def _knows(model: LongVie, name: str) -> bool:
    return name in model.card.controls or (name == "image" and bool(model.card.controls))


def _once(asked: LongVieConfig, model: LongVie, weights: Models, out: Path) -> Speed:
    """One run with everything in it, from the first file that is opened to the last byte that is written."""

    begun, first = now(), list[float]()

    def make(clocked: Models) -> None:
        with Inputs() as inputs:
            request = prepare(asked, model.card, inputs)
            for _ in model.run(request, out, engine=engine_of(clocked, request.engine)):
                if not first:
                    first.append(now() - begun)

    frames = round((asked.model.duration or 60.0) * model.card.fps)
    speed = measured(weights, frames, float(model.card.fps), make)
    return replace(speed, seconds={**speed.seconds, "first_frame": first[0]})
