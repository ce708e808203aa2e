"""What decides the bytes of a run: request, weights, versions, machine; where two differ; what the file says of it."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from longvie import runtime
from longvie.engine.script import Script
from longvie.engine.stream import Chunk, Progress
from longvie.errors import ConfigError
from longvie.media.convert import Size
from longvie.models.models import Models

FORMAT = 1
FASTEST = 1000  # frames a second
SAMPLE = 64  # values of a weight that is not hashed as a file
MARK = "AI-generated video"


@runtime_checkable
class Engine(Protocol):
    """What a run needs of an engine."""

    models: Models

    def facts(self) -> dict[str, Any]:
        """Its kind and settings, as JSON."""
        ...

    def restore(self, path: Path) -> Any:
        """A state that was saved."""
        ...

    def check(self, script: Script, state: Any = None) -> None:
        """Refuses what these models cannot do, or cannot go on with."""
        ...

    def run(
        self, script: Script, state: Any = None, *, on_progress: Callable[[Progress], None] | None = None
    ) -> Iterator[Chunk]:
        """Frames in order; a chunk with a state ends a part. One that can be steered also takes `steering`."""
        ...


@dataclass(frozen=True)
class Output:
    """What the file is to be, where it differs from what the model makes.

    Attributes:
        size: height and width in pixels.
        fps: frames a second.
        crf: constant quality, 0 (lossless) to 51.

    Raises:
        ConfigError: what no MP4 can be; said here, not after the first clip.
    """

    size: Size | None = None
    fps: int | float | None = None
    crf: int = 18

    def __post_init__(self) -> None:
        if self.size is not None and (min(self.size) < 2 or self.size[0] % 2 or self.size[1] % 2):
            height, width = self.size
            raise ConfigError(f"the file's size is {height}×{width}; both must be even and at least 2")
        if self.fps is not None and not 0 < self.fps <= FASTEST:
            raise ConfigError(f"the file's rate is {self.fps}; use frames a second above 0 and up to {FASTEST}")
        if not 0 <= self.crf <= 51:
            raise ConfigError(f"crf is {self.crf}; it goes from 0 (lossless) to 51")


def facts_of(script: Script, engine: Engine, output: Output, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What run.json holds, as JSON would give it back."""
    transformer = engine.models.transformer.patch_embedding.weight
    facts = {
        "format": FORMAT,
        "request": {"script": script.facts(), "engine": engine.facts(), "output": asdict(output)},
        "model": {"name": engine.models.card.name, "sha256": weights_hash(engine.models)},
        "versions": {name: version(name) for name in runtime.LIBRARIES},
        "machine": {
            "device": transformer.device.type,
            "dtype": str(transformer.dtype).removeprefix("torch."),
            "threads": runtime.threads(),
        },
        "asked": dict(asked or {}),
        "branch": None,
    }
    return json.loads(json.dumps(facts, allow_nan=False))


def weights_hash(models: Models) -> str:
    """One hash for all weights: of the files that the card names; where it names none, of a sample of every tensor.

    The sample tells other weights apart without reading the many gigabytes of a download a second time.
    """
    total, files = hashlib.sha256(), models.card.files
    for name in sorted(files):
        total.update(f"{name}:{files[name]}\n".encode())
    if not files:
        parts = {"transformer": models.transformer, "autoencoder": models.autoencoder, "words": models.words}
        for part, module in (parts | {"pictures": models.pictures, "live": models.live}).items():
            for name, weight in module.state_dict().items() if isinstance(module, nn.Module) else ():
                flat = weight.detach().flatten()
                sample = flat[:: max(1, flat.numel() // SAMPLE)].float().cpu()
                total.update(f"{part}.{name}{tuple(weight.shape)}{weight.dtype}".encode() + sample.numpy().tobytes())
    return total.hexdigest()


def rate(facts: Mapping[str, Any]) -> Fraction:
    """Frames a second of the file."""
    request = facts["request"]
    wanted = request["output"]["fps"]
    return Fraction(request["script"]["fps"] if wanted is None else wanted).limit_denominator(1001)


def metadata(facts: Mapping[str, Any]) -> dict[str, str]:
    """What the file says of itself: how it was made and that it was; no path, no time of day."""
    script, model = facts["request"]["script"], facts["model"]
    said = {
        "ai_generated": True,
        "generator": f"longvie {facts['versions']['longvie']}",
        "model": model["name"],
        "model_sha256": model["sha256"],
        "seed": script["seed"],
        "prompts": script["prompts"],
    }
    return {
        "title": script["prompts"][0]["prompt"][:200],
        "comment": json.dumps(said, ensure_ascii=False, sort_keys=True),
        "description": MARK,
    }


def differing(old: Any, new: Any, path: str = "") -> list[str]:
    """Where two pieces of JSON differ, as sentences: `script.seed is 1 there, 2 here`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = dict.fromkeys([*old, *new])
        dotted = {name: f"{path}.{name}" if path else str(name) for name in names}
        return [s for name in names for s in differing(old.get(name), new.get(name), dotted[name])]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [s for at, (a, b) in enumerate(zip(old, new, strict=True)) for s in differing(a, b, f"{path}[{at}]")]
    return [] if old == new else [f"{path} is {_brief(old)} there, {_brief(new)} here"]


def _brief(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
