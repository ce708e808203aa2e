"""`longvie bench`: whole runs against the clock, on a scene of the world that is drawn first and not counted."""

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from longvie import runtime
from longvie.api import LongVie, engine_of
from longvie.data.export import Export, export
from longvie.evaluation.speed import Speed, measured, now
from longvie.models.models import Models
from longvie.presets import LongVieConfig, apply
from longvie.request import Inputs, prepare

GIVEN = {"image": "first.png", "depth": "depth.npz", "tracks": "tracks.npz"}


def bench(
    config: LongVieConfig,
    *,
    repeat: int = 1,
    device: str | None = None,
    threads: int | None = None,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> dict[str, Any]:
    """Frames a second of one video, the median of `repeat` runs after one short run that warms up.

    Controls are loaded, drawn and encoded, frames decoded, coded and journalled within the time that counts.
    """
    model = LongVie(config, device=device, threads=threads)
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
        for _ in model.stream_generate("warm up", duration_sec=1):
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


def _knows(model: LongVie, name: str) -> bool:
    return name == "image" or name in model.card.controls


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
