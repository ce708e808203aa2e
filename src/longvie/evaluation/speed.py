"""How fast a whole run is, and where its time goes: network only, with decode, to the file. Timers live here alone."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.models.autoencoder import Autoencoder
from longvie.models.models import Models


@dataclass
class Clock:
    """Seconds in which somebody was at a named kind of work; two at it at the same time count once."""

    seconds: dict[str, float] = field(default_factory=dict)
    _at_it: dict[str, tuple[int, float]] = field(default_factory=dict)  # how many, and since when
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def spent(self, name: str) -> Iterator[None]:
        """Adds the seconds of the block."""
        with self._lock:
            people, begun = self._at_it.get(name, (0, now()))
            self._at_it[name] = people + 1, begun if people else now()
        try:
            yield
        finally:
            with self._lock:
                people, begun = self._at_it[name]
                self._at_it[name] = people - 1, begun
                if people == 1:
                    self.seconds[name] = self.seconds.get(name, 0.0) + now() - begun


def now() -> float:
    """Seconds of a clock that never jumps; on a GPU, after everything asked of it is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class TimedAutoencoder:
    """An autoencoder that another one does the work for, with a clock running."""

    def __init__(self, inner: Autoencoder[Any], clock: Clock) -> None:
        self.inner, self.clock = inner, clock
        self.strides, self.latent_channels = inner.strides, inner.latent_channels

    @property
    def guides(self) -> int:
        return self.inner.guides

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def coming(self) -> Any:
        return getattr(self.inner, "coming", None)

    def encode(
        self, video: Float[Tensor, "b 3 f H W"], state: Any = None, **told: Any
    ) -> tuple[Float[Tensor, "b c l h w"], Any]:
        with self.clock.spent("encode"):
            return self.inner.encode(video, state, **told)

    def decode(
        self, latents: Float[Tensor, "b c l h w"], state: Any = None, **told: Any
    ) -> tuple[Float[Tensor, "b 3 f H W"], Any]:
        with self.clock.spent("decode"):
            return self.inner.decode(latents, state, **told)

    def restore(self, named: Mapping[str, Tensor]) -> Any:
        return self.inner.restore(named)


@contextmanager
def timed(models: Models, clock: Clock) -> Iterator[Models]:
    """The same models with a clock in the transformer and in the autoencoder, for as long as the block lasts."""
    begun: list[float] = []

    def before(*_: object) -> None:
        begun.append(now())

    def after(*_: object) -> None:
        clock.seconds["network"] = clock.seconds.get("network", 0.0) + now() - begun.pop()

    networks = {id(network): network for network in (models.transformer, models.live) if network is not None}
    hooks = [
        hook
        for network in networks.values()
        for hook in (network.register_forward_pre_hook(before), network.register_forward_hook(after))
    ]
    try:
        yield replace(models, autoencoder=TimedAutoencoder(models.autoencoder, clock))
    finally:
        for hook in hooks:
            hook.remove()


@dataclass(frozen=True)
class Speed:
    """Frames a second of one run, three ways; `seconds` are those of the parts and of the whole."""

    frames: int
    fps: float
    seconds: Mapping[str, float]

    @property
    def network(self) -> float:
        """Only the transformer."""
        return self.frames / self.seconds["network"]

    @property
    def with_decode(self) -> float:
        """The transformer, and latents to frames."""
        return self.frames / (self.seconds["network"] + self.seconds["decode"])

    @property
    def to_the_file(self) -> float:
        """Everything: reading and encoding of controls, text, network, decode, video, journal."""
        return self.frames / self.seconds["whole"]

    def facts(self) -> dict[str, float | int]:
        """As JSON."""
        rates = {"network": self.network, "with_decode": self.with_decode, "to_the_file": self.to_the_file}
        facts = {f"{name}_frames_per_s": round(rate, 1) for name, rate in rates.items()}
        facts |= {f"{name}_s": round(seconds, 3) for name, seconds in self.seconds.items()}
        return {"frames": self.frames, "times_real_time": round(self.to_the_file / self.fps, 2), **facts}


def measured(models: Models, frames: int, fps: float, make: Callable[[Models], None]) -> Speed:
    """Run `make` once with clocked models and say where the time went."""
    clock = Clock()
    with timed(models, clock) as clocked, clock.spent("whole"):
        make(clocked)
    return Speed(frames, fps, clock.seconds)
