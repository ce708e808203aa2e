"""A procedural 3-D world: (seed, time) → objects, camera, light, words, beats. What is there; `render.py` draws it.

Everything is a closed function of time, so any span of any scene can be asked for on its own, and minute 4 costs
what second 0 costs. Units: metres, seconds, radians; y is up, the ground is y = 0; colours are in [0, 1].
Train and test scenes differ in their seeds, in the ranges of camera and sun, and in the (shape, colour) pairs
that may occur: a test scene may show pairs that no training scene holds. Scenes `around` are for training too: their
cameras are lower, higher, narrower and wider than any of the other two.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Split = Literal["train", "around", "test"]
SPLITS: tuple[Split, ...] = ("train", "test", "around")  # their places here are part of every scene's seed
FPS = 16  # frames per second at which the embedded model lives

COLOURS = {
    "red": (0.84, 0.12, 0.12), "orange": (0.95, 0.50, 0.10), "yellow": (0.95, 0.84, 0.16), "green": (0.16, 0.62, 0.22),
    "teal": (0.10, 0.62, 0.60), "blue": (0.14, 0.28, 0.82), "purple": (0.50, 0.20, 0.68), "pink": (0.95, 0.50, 0.68),
    "white": (0.94, 0.94, 0.92), "grey": (0.50, 0.51, 0.53), "black": (0.10, 0.10, 0.11), "brown": (0.45, 0.28, 0.15),
}  # fmt: skip
SHAPES = {  # name: (primitive, half sizes in metres before scaling)
    "ball": ("sphere", (1.0, 1.0, 1.0)),
    "cube": ("box", (0.9, 0.9, 0.9)),
    "tower": ("box", (0.6, 1.7, 0.6)),
    "barrel": ("cylinder", (0.8, 0.9, 0.8)),
    "pillar": ("cylinder", (0.5, 1.8, 0.5)),
}
PRIMITIVES = ("sphere", "box", "cylinder")
TEXTURES = ("plain", "striped", "checked", "spotted", "two-tone")
MATERIALS = ("matte", "shiny", "metal")
MOTIONS = {
    "ball": ("still", "bounce", "roll", "orbit", "hover"),
    "cube": ("still", "spin", "orbit", "bounce", "hover"),
    "tower": ("still", "spin", "orbit"),
    "barrel": ("still", "spin", "bounce", "orbit"),
    "pillar": ("still", "orbit"),
}
GROUNDS = {  # name: (colour a, colour b, pattern, scale per metre)
    "grass": ((0.20, 0.42, 0.14), (0.30, 0.54, 0.20), "noise", 2.0),
    "sand": ((0.76, 0.64, 0.42), (0.84, 0.74, 0.52), "noise", 1.2),
    "tiles": ((0.72, 0.71, 0.68), (0.34, 0.35, 0.38), "checker", 0.7),
    "water": ((0.08, 0.30, 0.42), (0.20, 0.48, 0.58), "ripple", 1.5),
    "stone": ((0.42, 0.41, 0.40), (0.55, 0.53, 0.50), "noise", 0.8),
    "clay": ((0.58, 0.30, 0.20), (0.68, 0.38, 0.26), "rows", 0.9),
}
PATTERNS = ("noise", "checker", "ripple", "rows")
CAMERAS = ("orbit", "dolly", "pan", "truck", "crane", "spline", "handheld", "loop")
TIMES = ("dawn", "day", "dusk", "night")
WEATHERS = ("clear", "cloudy", "foggy", "stormy", "snowy")
VIEWS: dict[Split, tuple[tuple[float, float], ...]] = {  # degrees, up and down; each range is as likely
    "train": ((44.0, 66.0),),
    "test": ((40.0, 44.0), (66.0, 70.0)),
    "around": ((34.0, 40.0), (44.0, 66.0), (70.0, 78.0)),
}
HEIGHTS: dict[Split, tuple[tuple[float, float], ...]] = {  # of the camera, metres
    "train": ((1.0, 3.2),),
    "test": ((0.8, 1.0), (3.2, 3.6)),
    "around": ((0.55, 0.8), (1.0, 3.2), (3.6, 4.4)),
}


@dataclass(frozen=True)
class Look:
    """Light and air, as numbers that can be mixed: one step of the sky's clock, one weather."""

    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    sun: tuple[float, float, float]  # colour times strength
    ambient: tuple[float, float, float]
    elevation: float  # of the sun or moon, radians
    fog: float  # per metre
    clouds: float  # share of the sky
    snow: float  # share of white on the ground

    def vector(self) -> np.ndarray:
        """All values in a row, in field order: (16,)."""
        return np.concatenate([np.atleast_1d(getattr(self, f.name)).astype(np.float64) for f in fields(self)])


HOURS = {
    "dawn": Look((0.36, 0.46, 0.68), (0.98, 0.72, 0.58), (0.95, 0.70, 0.50), (0.36, 0.34, 0.40), 0.30, 0.004, 0.3, 0.0),
    "day": Look((0.22, 0.46, 0.84), (0.70, 0.84, 0.95), (0.82, 0.79, 0.70), (0.40, 0.43, 0.48), 0.95, 0.002, 0.3, 0.0),
    "dusk": Look((0.24, 0.20, 0.42), (0.98, 0.52, 0.24), (0.98, 0.55, 0.28), (0.30, 0.26, 0.34), 0.26, 0.004, 0.3, 0.0),
    "night": Look(
        (0.02, 0.03, 0.10), (0.08, 0.11, 0.24), (0.26, 0.32, 0.46), (0.17, 0.19, 0.28), 0.80, 0.004, 0.1, 0.0
    ),
}


def look(time: str, weather: str) -> Look:
    """One hour under one weather."""
    base = HOURS[time]
    grey = float(np.mean(base.horizon))
    dull = lambda rgb, share, gain: tuple((1 - share) * c * gain + share * grey * gain for c in rgb)  # noqa: E731
    if weather == "cloudy":
        return replace(base, zenith=dull(base.zenith, 0.45, 0.95), sun=dull(base.sun, 0.2, 0.65), clouds=0.75)
    if weather == "foggy":
        pale = dull(base.horizon, 0.7, 0.95)
        return replace(base, zenith=pale, horizon=pale, sun=dull(base.sun, 0.5, 0.35), fog=0.075, clouds=0.0)
    if weather == "stormy":
        dark = dull(base.zenith, 0.6, 0.45)
        low = dull(base.horizon, 0.6, 0.6)
        return replace(base, zenith=dark, horizon=low, sun=dull(base.sun, 0.6, 0.3), fog=0.02, clouds=0.95)
    if weather == "snowy":
        low = dull(base.horizon, 0.7, 1.0)
        return replace(base, zenith=dull(base.zenith, 0.6, 1.0), horizon=low, fog=0.03, clouds=0.5, snow=0.85)
    return base


@dataclass(frozen=True)
class Body:
    """One object: what it is, where it lives, how it moves."""

    shape: str
    colour: str
    second: str  # colour of the texture's other half
    texture: str
    material: str
    size: float  # scale on the shape's half sizes
    tint: tuple[float, float, float]  # small offset, so that no two reds are the same
    home: tuple[float, float]  # x, z
    motion: str
    pace: float  # radians or cycles a second, by motion
    reach: float  # metres: height of a bounce, length of a roll, radius of an orbit
    phase: float
    answers: float  # how much it swells on a beat, 0 = deaf

    @property
    def half(self) -> np.ndarray:
        """Half sizes in metres, (3,)."""
        return np.array(SHAPES[self.shape][1]) * self.size


@dataclass(frozen=True)
class Event:
    """Something that turns at a moment: `colour` of an object, `weather` or `time` of day."""

    at: float  # seconds
    kind: Literal["colour", "weather", "time"]
    target: int  # object index, -1 for the sky
    value: str

    TURN: ClassVar[dict[str, float]] = {"colour": 0.5, "weather": 2.0, "time": 3.0}  # seconds from old to new


@dataclass(frozen=True)
class Camera:
    """A path: family, and the numbers that its family reads."""

    family: str
    radius: float
    height: float
    angle: float
    pace: float  # radians a second
    sway: float  # metres or radians, by family
    aim: tuple[float, float, float]
    view: float  # vertical field of view, radians
    shake: float  # metres of a hand
    period: float  # seconds until a loop comes home


@dataclass(frozen=True)
class Scene:
    """A whole world for a whole hour; `state(times)` says what is where."""

    seed: int
    split: Split
    bodies: tuple[Body, ...]
    ground: str
    ground_shift: tuple[float, float, float]
    hour: str
    weather: str
    sun_angle: float
    hills: float  # height of the far hills, radians; 0 = none
    camera: Camera
    events: tuple[Event, ...]
    tempo: float  # beats a second
    downbeat: float  # seconds

    def beats(self, times: np.ndarray) -> np.ndarray:
        """Strength of the beat at each moment: 1 on it, decaying until the next. Shape as `times`."""
        phase = np.mod((np.asarray(times, dtype=np.float64) - self.downbeat) * self.tempo, 1.0)
        return np.exp(-5.0 * phase)

    def sky_at(self, time: float) -> tuple[str, str]:
        """Hour and weather in force at `time` seconds."""
        hour, weather = self.hour, self.weather
        for event in self.events:
            if event.at <= time and event.kind == "time":
                hour = event.value
            if event.at <= time and event.kind == "weather":
                weather = event.value
        return hour, weather

    def colour_at(self, index: int, time: float) -> str:
        """Colour name of an object at `time` seconds."""
        colour = self.bodies[index].colour
        for event in self.events:
            if event.kind == "colour" and event.target == index and event.at <= time:
                colour = event.value
        return colour

    def caption(self, time: float) -> str:
        """What a viewer would say of the scene at `time` seconds: objects by size, ground, sky, camera."""
        order = sorted(range(len(self.bodies)), key=lambda i: -float(np.prod(self.bodies[i].half)))[:4]
        names = []
        for i in sorted(order):
            body = self.bodies[i]
            texture = "" if body.texture == "plain" else f"{body.texture} "
            doing = {"bounce": " bouncing", "roll": " rolling", "spin": " spinning", "hover": " floating"}
            names.append(f"a {self.colour_at(i, time)} {texture}{body.shape}{doing.get(body.motion, '')}")
        things = names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
        hour, weather = self.sky_at(time)
        moves = {
            "orbit": "the camera circles", "dolly": "the camera moves in and out", "pan": "the camera pans",
            "truck": "the camera slides sideways", "crane": "the camera rises and sinks",
            "spline": "the camera wanders", "handheld": "a handheld camera", "loop": "the camera goes and comes back",
        }  # fmt: skip
        sky = {"day": f"a {weather} day", "night": f"a {weather} night"}.get(hour, f"{weather} {hour}")
        return f"{things} on {self.ground}, {sky}, {moves[self.camera.family]}"

    def captions(self, duration: float) -> list[tuple[float, str]]:
        """(start in seconds, words) of each span until `duration`, a new one at each event."""
        starts = [0.0, *sorted({e.at for e in self.events if 0 < e.at < duration})]
        return [(at, self.caption(at + 1e-6)) for at in starts]

    def state(self, times: np.ndarray) -> "State":
        """Where everything is at `times` seconds (f,): one row for each moment."""
        return _state(self, np.asarray(times, dtype=np.float64))


@dataclass(frozen=True)
class State:
    """What the renderer needs, a row for each moment: g moments, n object slots, ordered by primitive."""

    eye: Float[Tensor, "g 3"]
    turn: Float[Tensor, "g 3 3"]  # camera axes as columns: right, up, forward, in world coordinates
    view: Float[Tensor, " g"]  # tan of half the vertical field of view
    place: Float[Tensor, "g n 3"]
    frame: Float[Tensor, "g n 3 3"]  # object axes as columns
    half: Float[Tensor, "g n 3"]  # half sizes; 0 = an empty slot
    colour: Float[Tensor, "g n 3"]
    second: Float[Tensor, "g n 3"]
    surface: Float[Tensor, "g n 3"]  # texture index, specular strength, mirror strength
    light: Float[Tensor, "g 16"]  # Look.vector()
    sun: Float[Tensor, "g 3"]  # direction to the sun
    ground: Float[Tensor, "g 8"]  # colour a, colour b, pattern index, scale
    clock: Float[Tensor, "g 3"]  # seconds, hill height, scene number for the noise
    label: Float[Tensor, "g n"]  # index of the body in its scene
    counts: tuple[int, int, int]  # slots of each primitive, in order

    def rows(self, index: Tensor | slice) -> "State":
        """The same, for some moments only."""
        values = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "counts"}
        return State(**values, counts=self.counts)

    def to(self, device: torch.device | str) -> "State":
        """The same, elsewhere."""
        values = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "counts"}
        return State(**values, counts=self.counts)


def stack(states: list[State]) -> State:
    """Several scenes as one batch of moments; object slots are padded per primitive."""
    counts = tuple(max(s.counts[k] for s in states) for k in range(3))
    padded = []
    for s in states:
        slots, at = [], 0
        for have, want in zip(s.counts, counts, strict=True):
            slots += [*range(at, at + have), *[-1] * (want - have)]
            at += have
        index = torch.tensor(slots)
        pick = index.clamp(min=0)
        values = {}
        for f in fields(State):
            if f.name == "counts":
                continue
            value = getattr(s, f.name)
            if f.name in ("place", "frame", "half", "colour", "second", "surface", "label"):
                value = (
                    value[:, pick]
                    if len(slots) and value.shape[1]
                    else value.new_zeros((value.shape[0], len(slots), *value.shape[2:]))
                )
                if f.name == "half":
                    value = value * (index >= 0).to(value)[None, :, None]
            values[f.name] = value
        padded.append(values)
    return State(**{k: torch.cat([p[k] for p in padded]) for k in padded[0]}, counts=counts)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------------------------
# drawing a scene from its seed


def held_out(shape: str, colour: str) -> bool:
    """Pairs that no training scene shows: one in seven, spread over shapes and colours."""
    return (list(SHAPES).index(shape) * 5 + list(COLOURS).index(colour) * 3) % 7 == 0


def scene(seed: int, split: Split = "train") -> Scene:
    """The world with this number; the same number gives another world in the other split."""
    rng = np.random.Generator(np.random.PCG64([seed, SPLITS.index(split)]))
    bodies = _bodies(rng, split)
    hour = str(rng.choice(TIMES, p=[0.2, 0.4, 0.2, 0.2]))
    weather = str(rng.choice(WEATHERS, p=[0.4, 0.2, 0.13, 0.13, 0.14]))
    sun = rng.uniform(1.6 * math.pi, 2.0 * math.pi) if split == "test" else rng.uniform(0.0, 1.6 * math.pi)
    return Scene(
        seed=seed,
        split=split,
        bodies=bodies,
        ground=str(rng.choice(list(GROUNDS))),
        ground_shift=tuple(rng.uniform(-0.04, 0.04, 3).tolist()),
        hour=hour,
        weather=weather,
        sun_angle=float(sun),
        hills=float(rng.choice([0.0, rng.uniform(0.06, 0.18)])),
        camera=_camera(rng, split),
        events=_events(rng, bodies, hour, weather),
        tempo=float(rng.uniform(1.0, 2.4)),
        downbeat=float(rng.uniform(0.0, 1.0)),
    )


def _bodies(rng: np.random.Generator, split: Split) -> tuple[Body, ...]:
    """Two to six objects, none inside another as far as their homes and reaches tell."""
    made: list[Body] = []
    wanted = int(rng.integers(2, 7))
    for _ in range(60):
        if len(made) == wanted:
            break
        shape = str(rng.choice(list(SHAPES)))
        colours = [c for c in COLOURS if split == "test" or not held_out(shape, c)]
        colour, second = str(rng.choice(colours)), str(rng.choice(list(COLOURS)))
        motion = str(rng.choice(MOTIONS[shape]))
        size = float(rng.uniform(0.35, 0.85))
        distance, angle = 3.6 * math.sqrt(rng.uniform()), rng.uniform(0, 2 * math.pi)
        body = Body(
            shape=shape,
            colour=colour,
            second=second if second != colour else ("white" if colour != "white" else "black"),
            texture=str(rng.choice(TEXTURES, p=[0.4, 0.2, 0.14, 0.12, 0.14])),
            material=str(rng.choice(MATERIALS, p=[0.5, 0.35, 0.15])),
            size=size,
            tint=tuple(rng.uniform(-0.05, 0.05, 3).tolist()),
            home=(distance * math.cos(angle), distance * math.sin(angle)),
            motion=motion,
            pace=float(rng.uniform(0.5, 1.2) * rng.choice([-1, 1])),
            reach=float(rng.uniform(0.5, 1.6)),
            phase=float(rng.uniform(0, 2 * math.pi)),
            answers=float(rng.choice([0.0, rng.uniform(0.08, 0.22)])),
        )
        if all(math.dist(body.home, other.home) > _girth(body) + _girth(other) for other in made):
            made.append(body)
    return tuple(made)


def _girth(body: Body) -> float:
    """Radius on the ground that a body needs, metres."""
    moving = {"roll": 0.5 * body.reach, "orbit": 0.5 * body.reach}.get(body.motion, 0.0)
    return float(max(body.half[0], body.half[2])) * 1.15 + moving


def _camera(rng: np.random.Generator, split: Split) -> Camera:
    view = _drawn(rng, VIEWS[split])
    return Camera(
        family=str(rng.choice(CAMERAS)),
        radius=float(rng.uniform(5.0, 8.5)),
        height=_drawn(rng, HEIGHTS[split]),
        angle=float(rng.uniform(0, 2 * math.pi)),
        pace=float(rng.uniform(0.25, 0.7) * rng.choice([-1, 1])),
        sway=float(rng.uniform(0.6, 1.0)),
        aim=(float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.3, 0.9)), float(rng.uniform(-0.8, 0.8))),
        view=math.radians(view),
        shake=float(rng.uniform(0.0, 0.02)),
        period=float(rng.uniform(9.0, 16.0)),
    )


def _drawn(rng: np.random.Generator, ranges: tuple[tuple[float, float], ...]) -> float:
    """A number out of one of some ranges."""
    numbers = [float(rng.uniform(*each)) for each in ranges]
    return numbers[0] if len(numbers) == 1 else float(rng.choice(numbers))


def _events(rng: np.random.Generator, bodies: tuple[Body, ...], hour: str, weather: str) -> tuple[Event, ...]:
    """Turns every 6 to 16 seconds for ten minutes; a scene that goes on longer stays as it is then."""
    made, at = [], float(rng.uniform(3.0, 14.0))
    colours, sky = [b.colour for b in bodies], {"time": hour, "weather": weather}
    while at < 600:
        kind = str(rng.choice(["colour", "weather", "time"], p=[0.5, 0.25, 0.25]))
        if kind == "colour":
            target = int(rng.integers(len(bodies)))
            value = str(
                rng.choice([c for c in COLOURS if c != colours[target] and not held_out(bodies[target].shape, c)])
            )
            colours[target] = value
        else:
            target = -1
            value = str(rng.choice([v for v in (TIMES if kind == "time" else WEATHERS) if v != sky[kind]]))
            sky[kind] = value
        made.append(Event(at, kind, target, value))  # type: ignore[arg-type]
        at += float(rng.uniform(6.0, 16.0))
    return tuple(made)


# --------------------------------------------------------------------------------------------------------------
# a scene at a moment


def _smooth(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def _state(scene: Scene, times: np.ndarray) -> State:
    order = sorted(range(len(scene.bodies)), key=lambda i: PRIMITIVES.index(SHAPES[scene.bodies[i].shape][0]))
    kinds = [SHAPES[scene.bodies[i].shape][0] for i in order]
    moved = [_pose(scene.bodies[i], times, scene) for i in order]
    eye, turn = _view(scene.camera, times, scene.seed)
    light = _light(scene, times)
    sun = _sun(scene.sun_angle, light[:, 12])
    a, b, pattern, scale = GROUNDS[scene.ground]
    ground = [*np.add(a, scene.ground_shift), *np.add(b, scene.ground_shift), PATTERNS.index(pattern), scale]
    g, n = len(times), len(order)
    surface = [
        (
            TEXTURES.index(b.texture),
            {"matte": 0.0, "shiny": 0.6, "metal": 0.5}[b.material],
            0.45 * (b.material == "metal"),
        )
        for b in (scene.bodies[i] for i in order)
    ]
    rows = lambda values: np.broadcast_to(np.asarray(values, dtype=np.float64), (g, *np.shape(values)))  # noqa: E731
    tensor = lambda array: torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))  # noqa: E731
    return State(
        eye=tensor(eye),
        turn=tensor(turn),
        view=tensor(rows(math.tan(scene.camera.view / 2))),
        place=tensor(np.stack([m[0] for m in moved], 1)),
        frame=tensor(np.stack([m[1] for m in moved], 1)),
        half=tensor(np.stack([m[2] for m in moved], 1)),
        colour=tensor(np.stack([_colours(scene, i, times) for i in order], 1)),
        second=tensor(rows([COLOURS[scene.bodies[i].second] for i in order])),
        surface=tensor(rows(surface)),
        light=tensor(light),
        sun=tensor(sun),
        ground=tensor(rows(ground)),
        clock=tensor(np.stack([times, rows(scene.hills), rows(scene.seed % 97)], 1)),
        label=tensor(rows(np.array(order, dtype=np.float64).reshape(n))),
        counts=tuple(kinds.count(p) for p in PRIMITIVES),  # type: ignore[arg-type]
    )


def _pose(body: Body, times: np.ndarray, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre (f, 3), axes (f, 3, 3), half sizes (f, 3) of one object."""
    swell = 1.0 + body.answers * scene.beats(times)
    half = body.half[None] * swell[:, None]
    x, z = np.full_like(times, body.home[0]), np.full_like(times, body.home[1])
    y = half[:, 1].copy()
    about_y, roll = np.full_like(times, body.phase), np.zeros_like(times)
    turn = body.pace * times + body.phase
    if body.motion == "bounce":
        u = np.mod(0.7 * abs(body.pace) * times + body.phase, 1.0)
        y = y + 4.0 * (0.4 + body.reach) * u * (1.0 - u)
    elif body.motion == "roll":
        along = 0.5 * body.reach * np.sin(2.0 * turn)
        x, z = x + along * math.cos(body.phase), z + along * math.sin(body.phase)
        about_y, roll = np.full_like(times, -body.phase), -along / body.half[0]
    elif body.motion == "orbit":
        x, z = x + 0.5 * body.reach * np.cos(1.5 * turn), z + 0.5 * body.reach * np.sin(1.5 * turn)
        about_y = -1.5 * turn
    elif body.motion == "spin":
        about_y = 1.6 * turn
    elif body.motion == "hover":
        y = y + 0.5 + 0.35 * body.reach * (1.0 + np.sin(1.8 * turn))
        about_y = 0.8 * turn
    c, s, cr, sr = np.cos(about_y), np.sin(about_y), np.cos(roll), np.sin(roll)
    zero, one = np.zeros_like(c), np.ones_like(c)
    yaw = np.stack([np.stack([c, zero, s], -1), np.stack([zero, one, zero], -1), np.stack([-s, zero, c], -1)], -2)
    tip = np.stack([np.stack([cr, -sr, zero], -1), np.stack([sr, cr, zero], -1), np.stack([zero, zero, one], -1)], -2)
    return np.stack([x, y, z], -1), yaw @ tip, half


def _colours(scene: Scene, index: int, times: np.ndarray) -> np.ndarray:
    """Colour of one object over time, (f, 3), fading at its events."""
    body = scene.bodies[index]
    tint = np.array(body.tint)
    colour = np.broadcast_to(np.array(COLOURS[body.colour]), (len(times), 3)).copy()
    for event in scene.events:
        if event.kind == "colour" and event.target == index:
            share = _smooth((times - event.at) / Event.TURN["colour"])[:, None]
            colour = (1 - share) * colour + share * np.array(COLOURS[event.value])
    return np.clip(colour + tint, 0.02, 0.98)


def _light(scene: Scene, times: np.ndarray) -> np.ndarray:
    """Look over time, (f, 16), turning slowly at events."""
    hour, weather = scene.hour, scene.weather
    now = np.broadcast_to(look(hour, weather).vector(), (len(times), 16)).copy()
    for event in scene.events:
        if event.kind == "colour":
            continue
        hour, weather = (event.value, weather) if event.kind == "time" else (hour, event.value)
        share = _smooth((times - event.at) / Event.TURN[event.kind])[:, None]
        if share.max() > 0:
            now = (1 - share) * now + share * look(hour, weather).vector()
    return now


def _sun(angle: float, elevation: np.ndarray) -> np.ndarray:
    flat = np.cos(elevation)
    return np.stack([flat * math.cos(angle), np.sin(elevation), flat * math.sin(angle)], -1)


def _view(camera: Camera, times: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Eye (f, 3) and axes (f, 3, 3) along the camera's path."""
    t, c = times, camera
    angle, radius, height = np.full_like(t, c.angle), np.full_like(t, c.radius), np.full_like(t, c.height)
    yaw, aim = np.zeros_like(t), np.broadcast_to(np.array(c.aim), (len(t), 3)).copy()
    swing = np.sin(c.pace * 1.6 * t)
    if c.family in ("orbit", "handheld"):
        angle = angle + c.pace * (1.0 if c.family == "orbit" else 0.5) * t
    elif c.family == "dolly":
        radius = radius - 0.42 * c.radius * c.sway * (0.5 - 0.5 * np.cos(c.pace * 1.8 * t))
    elif c.family == "pan":
        yaw = 0.55 * c.sway * swing
    elif c.family == "truck":
        side = np.stack([-np.sin(angle), np.zeros_like(t), np.cos(angle)], -1)
        aim = aim + side * (2.4 * c.sway * swing)[:, None]
    elif c.family == "crane":
        height = height + 1.8 * c.sway * (0.5 - 0.5 * np.cos(c.pace * 1.8 * t))
        angle = angle + 0.25 * np.sin(c.pace * t)
    elif c.family == "spline":
        angle = angle + 0.9 * c.sway * np.sin(c.pace * 1.1 * t) + 0.3 * np.sin(c.pace * 2.3 * t)
        radius = radius * (1 - 0.2 * c.sway * (0.5 - 0.5 * np.cos(c.pace * 1.7 * t)))
        height = height + 0.5 * (1 - np.cos(c.pace * 1.3 * t))
    elif c.family == "loop":  # out along the circle, look away, and home again: the same pictures every period
        u = 2 * math.pi * t / c.period
        angle = angle + 0.8 * np.sin(u)
        yaw = 0.9 * np.sin(u) ** 3
    base = np.stack([radius * np.cos(angle), np.zeros_like(t), radius * np.sin(angle)], -1)
    eye = base + aim * np.array([1.0, 0.0, 1.0])
    eye[:, 1] = height
    hand = c.shake * (4.0 if c.family == "handheld" else 0.0)
    wobble = np.stack(
        [np.sin(t * f + seed + k) + 0.6 * np.sin(t * f * 2.3 + k) for k, f in enumerate((3.1, 4.3, 2.7))], -1
    )
    eye = eye + hand * wobble
    forward = aim + 1.5 * hand * wobble[:, ::-1] - eye
    flat = np.cos(yaw)[:, None] * forward + np.sin(yaw)[:, None] * np.stack(
        [-forward[:, 2], np.zeros_like(t), forward[:, 0]], -1
    )
    forward = np.stack([flat[:, 0], forward[:, 1], flat[:, 2]], -1)
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    right = np.cross(forward, np.array([0.0, 1.0, 0.0]))
    right /= np.linalg.norm(right, axis=-1, keepdims=True)
    return eye, np.stack([right, np.cross(right, forward), forward], -1)
