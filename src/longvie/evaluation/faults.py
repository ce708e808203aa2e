"""Faults of known size: the truth made worse in twelve ways, each at five levels, so that a metric can be tested.

A fault that concerns pictures alters the pictures; one that concerns the world (geometry, camera, colours of objects)
alters the world and draws it again. Level 0 is the truth; 5 is what nobody overlooks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
import torch
from jaxtyping import Float

from longvie.data.render import render
from longvie.data.world import Body, Scene, State, scene
from longvie.errors import ConfigError
from longvie.evaluation.film import Film, Pictures
from longvie.media import to_bytes

STRANGER = 104_729  # added to a scene's number for one that has nothing to do with it

Amount = int | float


@dataclass(frozen=True)
class Fault:
    """One way to spoil a film.

    Attributes:
        levels: what levels 1 to 5 mean, in `unit`.
        apply: the film and an amount, to pictures.
    """

    name: str
    title: str
    unit: str
    levels: tuple[Amount, ...]
    apply: Callable[[Film, Amount], Pictures]


def spoilt(film: Film, name: str, level: int) -> Pictures:
    """The film's pictures with a fault.

    Args:
        level: 0 to 5; 0 is the truth.

    Raises:
        ConfigError: no such fault or level.
    """
    if name not in FAULTS or not 0 <= level <= len(FAULTS[name].levels):
        raise ConfigError(f"no fault {name[:40]!r} at level {level}; there are {', '.join(FAULTS)}, at 0 to 5")
    return film.pictures if level == 0 else FAULTS[name].apply(film, FAULTS[name].levels[level - 1])


# --------------------------------------------------------------------------------------------------------------
# in the pictures


def _noise(film: Film, deviation: Amount) -> Pictures:
    return _bytes(film.pictures + np.random.default_rng(0).normal(0, deviation, film.pictures.shape))


def _blur(film: Film, most: Amount) -> Pictures:
    """Growing from nothing to `most`."""
    widths = np.linspace(0, most, len(film.pictures) + 1)[1:]
    pairs = zip(film.pictures, widths, strict=True)
    return np.stack([cv2.GaussianBlur(picture, (0, 0), max(width, 0.05)) for picture, width in pairs])


def _saturation(film: Film, most: Amount) -> Pictures:
    """Away from grey, and the light away from its mean by half of that; growing."""
    gain = 1 + np.linspace(0, most, len(film.pictures))[:, None, None, None]
    grey = film.pictures.mean(-1, keepdims=True)
    middle = grey.mean((1, 2), keepdims=True)
    return _bytes(middle + (grey - middle) * (1 + gain) / 2 + (film.pictures - grey) * gain)


def _flicker(film: Film, share: Amount) -> Pictures:
    """Every frame brighter or darker by up to that, at random."""
    gain = 1 + share * np.random.default_rng(0).uniform(-1, 1, (len(film.pictures), 1, 1, 1))
    return _bytes(film.pictures * gain)


def _seam(film: Film, pixels: Amount) -> Pictures:
    """Every second clip lies to the side, and is brighter by 2 % a pixel."""
    clip = np.searchsorted(film.facts.borders, np.arange(len(film.pictures)), side="right")
    moved = np.roll(film.pictures, int(pixels), axis=2)
    moved[:, :, : int(pixels)] = film.pictures[:, :, :1]
    spoilt = _bytes(moved * (1 + 0.02 * pixels))
    return np.where((clip % 2 == 1)[:, None, None, None], spoilt, film.pictures)


def _lag(film: Film, frames: Amount) -> Pictures:
    return film.pictures[np.maximum(0, np.arange(len(film.pictures)) - int(frames))]


def _frozen(film: Film, share: Amount) -> Pictures:
    """Its last part stands still; all of it at 1."""
    last = round((1 - share) * (len(film.pictures) - 1))
    return film.pictures[np.minimum(np.arange(len(film.pictures)), last)]


def _shuffled(film: Film, frames: Amount) -> Pictures:
    """Frames change places within groups of so many."""
    random, count = np.random.default_rng(0), len(film.pictures)
    order = [at + random.permutation(min(int(frames), count - at)) for at in range(0, count, int(frames))]
    return film.pictures[np.concatenate(order)]


# --------------------------------------------------------------------------------------------------------------
# in the world


def _swap(film: Film, share: Amount) -> Pictures:
    """From the middle on every object has so much of the colours of the next one."""
    half = len(film.pictures) / film.facts.fps / 2

    def mixed(state: State) -> State:
        share_now = share * (state.clock[:, 0] >= half).float()[:, None, None]
        mix = lambda own: torch.lerp(own, own.roll(-1, dims=1), share_now.expand_as(own))  # noqa: E731
        return replace(state, colour=mix(state.colour), second=mix(state.second))

    return _redrawn(film, _Altered.of(film.scene, mixed))


def _geometry(film: Film, growth: Amount) -> Pictures:
    """Objects are larger."""
    bodies: tuple[Body, ...] = tuple(replace(body, size=body.size * (1 + growth)) for body in film.scene.bodies)
    return _redrawn(film, replace(film.scene, bodies=bodies))


def _camera(film: Film, degrees: Amount) -> Pictures:
    """The camera looks to the side, and travels 6 % less far for each degree."""

    def turned(state: State) -> State:
        travel = max(0.0, 1 - 0.06 * degrees)
        return replace(state, eye=state.eye[:1] + travel * (state.eye - state.eye[:1]), turn=_yawed(state, degrees))

    return _redrawn(film, _Altered.of(film.scene, turned))


def _unrelated(film: Film, share: Amount) -> Pictures:
    """Its last part is another world; all of it at 1."""
    other = _redrawn(film, scene(film.scene.seed + STRANGER, film.scene.split))
    first = round((1 - share) * len(film.pictures))
    return np.concatenate([film.pictures[:first], other[first:]])


@dataclass(frozen=True)
class _Altered(Scene):
    """A scene of which every state is altered."""

    alter: Callable[[State], State] = lambda state: state

    @classmethod
    def of(cls, scene: Scene, alter: Callable[[State], State]) -> "_Altered":
        return cls(**{name: getattr(scene, name) for name in Scene.__dataclass_fields__}, alter=alter)

    def state(self, times: np.ndarray) -> State:
        return self.alter(super().state(times))


def _yawed(state: State, degrees: Amount) -> Float[torch.Tensor, "g 3 3"]:
    """Its cameras turned about the vertical."""
    angle = np.deg2rad(degrees)
    about = torch.tensor([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return about.to(state.turn) @ state.turn


def _redrawn(film: Film, scene: Scene) -> Pictures:
    drawn = render([scene], range(len(film.pictures)), size=film.facts.size, fps=film.facts.fps)
    return to_bytes(drawn[0].picture)


def _bytes(pictures: np.ndarray) -> Pictures:
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        fault.name: fault
        for fault in (
            Fault("noise", "noise in every pixel", "deviation, of 255", (2, 4, 8, 16, 32), _noise),
            Fault("blur", "growing blur", "deviation at the end, pixels", (0.6, 1, 1.6, 2.5, 4), _blur),
            Fault(
                "saturation", "growing saturation and contrast", "at the end", (0.1, 0.2, 0.4, 0.7, 1.0), _saturation
            ),
            Fault("flicker", "flickering light", "share", (0.01, 0.02, 0.04, 0.08, 0.16), _flicker),
            Fault("seam", "jumps at clip borders", "pixels", (1, 2, 3, 4, 6), _seam),
            Fault("swap", "objects take each other's colours", "share", (0.2, 0.4, 0.6, 0.8, 1.0), _swap),
            Fault("geometry", "objects too large", "share", (0.05, 0.1, 0.2, 0.35, 0.6), _geometry),
            Fault("camera", "camera turned aside, travel cut", "degrees", (0.5, 1, 2, 4, 8), _camera),
            Fault("lag", "everything late", "frames", (1, 2, 4, 6, 9), _lag),
            Fault("frozen", "the rest stands still", "share", (0.2, 0.4, 0.6, 0.8, 1.0), _frozen),
            Fault("unrelated", "the rest is another world", "share", (0.2, 0.4, 0.6, 0.8, 1.0), _unrelated),
            Fault("shuffled", "frames in the wrong order", "in groups of frames", (2, 4, 8, 20, 80), _shuffled),
        )
    }
)
