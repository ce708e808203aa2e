"""The world as pixels: an analytic ray caster in plain torch, batched over moments of any scenes.

Everything comes from one function, `cast`: rays in, hits out. The picture shades hits and casts more rays where a
pixel holds an edge; depth, labels and normals are the hits themselves; tracks and flow follow a hit point through
the motion of its object and cast a ray back to see whether something stands before it. So all of it agrees exactly.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longvie.data.world import FPS, Scene, State, stack

SKY, GROUND, FIRST = 0, 1, 2  # labels; object i of a scene is FIRST + i
NEAR, FAR = 1e-3, 400.0  # metres


@dataclass(frozen=True)
class Hits:
    """Where rays end: g moments, r rays each."""

    distance: Float[Tensor, "g r"]  # along the ray as given, not normalised; inf = sky
    slot: Int[Tensor, "g r"]  # object slot, -1 ground, -2 sky
    normal: Float[Tensor, "3 g r"]
    local: Float[Tensor, "3 g r"]  # on the unit primitive; world position on the ground


@dataclass(frozen=True)
class Rendered:
    """One scene over some frames, with its whole truth."""

    picture: Float[Tensor, "3 f h w"]  # [-1, 1]
    depth: Float[Tensor, "f h w"]  # metres along the camera's axis; inf = sky
    labels: Int[Tensor, "f h w"]  # 0 sky, 1 ground, 2.. objects
    sketch: Float[Tensor, "f h w"]  # 1 on lines, 0 elsewhere
    poses: Float[Tensor, "f 4 4"]  # camera to world; columns right, up, forward, eye
    focal: float  # pixels, both axes; the centre is the middle of the picture


@dataclass(frozen=True)
class Tracks:
    """Points of the world followed over frames: x, y in pixels (pixel centres at .5), depth in metres."""

    points: Float[Tensor, "f p 3"]
    visible: Bool[Tensor, "f p"]


# --------------------------------------------------------------------------------------------------------------
# rays: vectors lead, (3, g, r), so that each component is one plain block of memory


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over the leading axis of three."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def pixel_rays(state: State, height: int, width: int) -> Float[Tensor, "3 g r"]:
    """A ray through every pixel centre, row by row; length 1 along the camera's axis, so distance is depth."""
    device = state.eye.device
    y = (torch.arange(height, device=device) + 0.5).repeat_interleave(width)
    x = (torch.arange(width, device=device) + 0.5).repeat(height)
    return aim(state, x[None], y[None], height, width)


def aim(
    state: State, x: Float[Tensor, "#g r"], y: Float[Tensor, "#g r"], height: int, width: int
) -> Float[Tensor, "3 g r"]:
    """Rays through points of the picture plane, in pixels."""
    across = (x - width / 2) / (height / 2) * state.view[:, None]
    up = (height / 2 - y) / (height / 2) * state.view[:, None]
    right, top, forward = rearrange(state.turn, "g xyz side -> side xyz g 1")
    return across * right + up * top + forward


def eyes(state: State) -> Float[Tensor, "3 g 1"]:
    """Where the rays of a picture start."""
    return state.eye.T[:, :, None]


def _slots(state: State) -> Iterator[tuple[int, int]]:
    """(slot, primitive) in order."""
    slot = 0
    for kind, count in enumerate(state.counts):
        for _ in range(count):
            yield slot, kind
            slot += 1


def _inward(state: State) -> Float[Tensor, "g n 3 3"]:
    """World axes → unit primitive of each object: rotation and scale in one matrix, [world, local]."""
    return state.frame / state.half.clamp(min=1e-6)[:, :, None]


def _turned(v: Sequence[Tensor] | Tensor, matrix: Float[Tensor, "*g 3 3"]) -> list[Tensor]:
    """v @ matrix for vectors with the components leading; the matrix has one row of values for each moment."""
    return [
        v[0] * matrix[..., 0, k, None] + v[1] * matrix[..., 1, k, None] + v[2] * matrix[..., 2, k, None]
        for k in range(3)
    ]


def _spans(kind: int, o: list[Tensor], d: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave the unit sphere, box or cylinder: (g, r) each; enter > leave = a miss."""
    if kind == 0:
        a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
        b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
        c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1.0
        root = b * b - a * c
        half, miss = root.clamp(min=0).sqrt(), 1e9 * (root < 0)
        return (-b - half) / a + miss, (half - b) / a
    if kind == 1:
        firsts, lasts = [], []
        for k in range(3):
            over = 1.0 / d[k]
            middle, reach = -o[k] * over, over.abs()
            firsts.append(middle - reach)
            lasts.append(middle + reach)
        return reduce(torch.maximum, firsts), reduce(torch.minimum, lasts)
    over = 1.0 / d[1]
    middle, reach = -o[1] * over, over.abs()
    a = d[0] * d[0] + d[2] * d[2]
    b = o[0] * d[0] + o[2] * d[2]
    c = o[0] * o[0] + o[2] * o[2] - 1.0
    root = b * b - a * c
    half, miss = root.clamp(min=0).sqrt(), 1e9 * (root < 0)
    return torch.maximum((-b - half) / a + miss, middle - reach), torch.minimum((half - b) / a, middle + reach)


def cast(state: State, origin: Float[Tensor, "3 g #r"], rays: Float[Tensor, "3 g r"]) -> Hits:
    """First hit of each ray."""
    rays = torch.where(rays.abs() < 1e-7, 1e-7, rays)  # a box divides by each component
    down = rays[1]
    ground = -origin[1] / down
    on_ground = (down < -1e-6) & (ground < FAR)
    distance = torch.where(on_ground, ground, math.inf)
    slot = on_ground.long() - 2
    inward = _inward(state)
    for index, kind in _slots(state):
        o = _turned(origin - state.place[:, index].T[:, :, None], inward[:, index])
        enter, leave = _spans(kind, o, _turned(rays, inward[:, index]))
        closer = (enter <= leave) & (enter > NEAR) & (enter < distance) & (state.half[:, index, :1] > 0)
        distance, slot = torch.where(closer, enter, distance), torch.where(closer, index, slot)
    local = origin + rays * torch.where(distance.isfinite(), distance, 0.0)
    normal = torch.zeros_like(rays)
    normal[1] = 1.0
    _touch(state, inward, slot, local, normal)
    return Hits(distance, slot, normal, local)


def _touch(state: State, inward: Tensor, slot: Tensor, local: Tensor, normal: Tensor) -> None:
    """On the rays that end on objects, turns world position into position on the unit primitive, and finds normals."""
    moment, ray = torch.nonzero(slot >= 0, as_tuple=True)
    if not len(moment):
        return
    mine = slot[moment, ray]
    matrix = inward[moment, mine]  # (e, 3, 3)
    at = _turned((local[:, moment, ray] - state.place[moment, mine].T)[..., None], matrix)
    at = torch.stack(at)[..., 0]  # (3, e)
    first_box, first_tube = state.counts[0], state.counts[0] + state.counts[1]
    size = at.abs()
    face = at.sign() * (size >= size.amax(0) - 1e-5)
    cap = (size[1] > 1 - 1e-4) & (size[1] > (at[0].square() + at[2].square()).sqrt())
    zero = torch.zeros_like(at[0])
    tube = torch.where(cap, torch.stack([zero, at[1].sign(), zero]), torch.stack([at[0], zero, at[2]]))
    outward = torch.where(mine < first_box, at, torch.where(mine < first_tube, face, tube))
    world = torch.stack([(matrix[:, k] * outward.T).sum(-1) for k in range(3)])
    local[:, moment, ray] = at
    normal[:, moment, ray] = world / dot(world, world).sqrt()


def blocked(state: State, origin: Float[Tensor, "3 g r"], towards: Float[Tensor, "3 g 1"]) -> Bool[Tensor, "g r"]:
    """Does anything stand between points and a far light?"""
    shade = torch.zeros(origin.shape[1:], dtype=torch.bool, device=origin.device)
    inward = _inward(state)
    towards = torch.where(towards.abs() < 1e-7, 1e-7, towards)
    for index, kind in _slots(state):
        o = _turned(origin - state.place[:, index].T[:, :, None], inward[:, index])
        enter, leave = _spans(kind, o, _turned(towards, inward[:, index]))
        shade |= (enter <= leave) & (enter > NEAR) & (state.half[:, index, :1] > 0)
    return shade


# --------------------------------------------------------------------------------------------------------------
# light


def _waves(x: Tensor, z: Tensor, seed: Tensor) -> Tensor:
    """Smooth noise of a plane in about [-1, 1]: four bent waves. `x` and `z` (g, r), `seed` (g, 1)."""
    waves = []
    for k, (ax, az, gain) in enumerate(((1.0, 0.31, 0.4), (-0.47, 1.13, 0.3), (1.71, -1.37, 0.2), (2.9, 2.3, 0.1))):
        bend = torch.sin(x * (0.43 * az) - z * (0.43 * ax) + (1.7 * k + seed))
        waves.append(gain * torch.sin(x * ax + z * az + 0.9 * bend + 0.37 * seed * (k + 1)))
    return reduce(torch.add, waves)


def _step(x: Tensor, width: Tensor | float) -> Tensor:
    """A soft step at 0, `width` wide on both sides: the texture's own anti-aliasing."""
    return (0.5 + 0.5 * x / width).clamp(0, 1)


def _ground_mix(state: State, kind: int, x: Tensor, z: Tensor, width: Tensor) -> Tensor:
    """How much of the second colour, by one pattern, at points scaled to the pattern (g, r)."""
    seed, fade = state.clock[:, 2:3], 1.0 / (1.0 + (1.2 * width).square())
    if kind == 0:
        return 0.5 + 0.5 * fade * _waves(2.2 * x, 2.2 * z, seed)
    if kind == 1:
        soft = (math.pi * width).clamp(min=0.02)
        a, b = _step(torch.sin(math.pi * x), soft), _step(torch.sin(math.pi * z), soft)
        return 0.5 + fade * (a * b + (1 - a) * (1 - b) - 0.5)
    if kind == 2:
        clock = state.clock[:, 0:1]
        return 0.5 + 0.5 * fade * _waves(1.9 * x + 0.95 * clock, 1.9 * z + 0.57 * clock, seed)
    return 0.5 + fade * (_step(torch.sin(2 * math.pi * x), (math.pi * width).clamp(min=0.3)) - 0.5)


def _ground_colour(state: State, at: Tensor, width: Tensor) -> Float[Tensor, "3 g r"]:
    """Colour of the ground at world points (3, g, r); `width` is the size of a pixel there, metres."""
    first, second = state.ground[:, 0:3].T[:, :, None], state.ground[:, 3:6].T[:, :, None]
    pattern, scale, snow = state.ground[:, 6:7], state.ground[:, 7:8], state.light[:, 15:16]
    x, z, width = at[0] * scale, at[2] * scale, width * scale
    first_kind, *others = pattern.unique().long().tolist()
    mix = _ground_mix(state, first_kind, x, z, width)
    for kind in others:
        mix = torch.where(pattern == kind, _ground_mix(state, kind, x, z, width), mix)
    colour = first + (second - first) * mix
    return colour + (0.9 - colour) * (snow * (0.8 + 0.2 * mix))


def _body_colour(state: State, moment: Tensor, slot: Tensor, at: Tensor, width: Tensor) -> Float[Tensor, "3 e"]:
    """Colour of objects at points on their unit primitives (3, e): two colours mixed by the texture."""
    first, second, kind = state.colour[moment, slot].T, state.second[moment, slot].T, state.surface[moment, slot, 0]
    soft = (4.0 * width / state.half[moment, slot].mean(-1).clamp(min=1e-3)).clamp(min=0.05)
    squares = torch.sin(5.5 * at)
    stripes = _step(torch.sin(9.0 * at[1]), 2.2 * soft)
    check = 0.5 - 0.5 * torch.tanh(squares.prod(0) * 6.0 / (1 + soft))
    spots = _step(squares.abs().sum(0) - 2.4, 2 * soft)
    mix = torch.where(kind == 1, stripes, 0.0)
    mix = torch.where(kind == 2, check, mix)
    mix = torch.where(kind == 3, spots, mix)
    mix = torch.where(kind == 4, _step(at[1], soft), mix)
    return first + (second - first) * mix


def sky(state: State, unit: Float[Tensor, "3 g r"]) -> Float[Tensor, "3 g r"]:
    """Sky, far hills, clouds and sun in the direction of rays of length 1."""
    light = rearrange(state.light[:, :12], "g (kind rgb) -> kind rgb g 1", rgb=3)
    zenith, horizon, sun, ambient = light.unbind(0)
    clouds, fog, seed = state.light[:, 14:15], state.light[:, 13:14], state.clock[:, 2:3]
    up = unit[1].clamp(min=0)
    colour = horizon + (zenith - horizon) * (1 - torch.exp(-3.5 * up))
    over, drift = 1.6 / (up + 0.12), 0.06 * state.clock[:, 0:1]
    cover = _step(_waves(unit[0] * over + drift, unit[2] * over + 0.5 * drift, seed) + 1.7 * clouds - 0.95, 0.6)
    cover = cover * (1 - torch.exp(-9 * up)) * (clouds > 0.02)
    white = 0.55 * horizon + 0.45 * (sun + ambient).clamp(max=1.0)
    colour = colour + (white - colour) * (0.75 * cover)
    towards = dot(unit, state.sun.T[:, :, None])
    disc = _step(towards - 0.9985, 0.0012) * (1 - 0.9 * clouds)
    glow = torch.exp((towards - 1) * 30.0) * (1 - 0.7 * clouds)
    colour = colour + sun * (0.9 * disc + 0.22 * glow)
    azimuth = torch.atan2(unit[2], unit[0])
    ridge = 0.6 + 0.25 * torch.sin(3 * azimuth + seed) + 0.15 * torch.sin(7 * azimuth + 2.1 * seed)
    hills = state.clock[:, 1:2]
    hill = _step(ridge * hills - unit[1], 0.008) * ((hills > 0) * torch.exp(-30 * fog))
    return colour + (0.55 * horizon + 0.315 * ambient - colour) * hill


def shade(
    state: State,
    origin: Float[Tensor, "3 g #r"],
    rays: Float[Tensor, "3 g r"],
    hits: Hits,
    pixel: Float[Tensor, "g 1"],
) -> Float[Tensor, "3 g r"]:
    """Colour in [0, 1] of what rays hit. `pixel` is the angle between neighbouring rays, radians."""
    found, ground = hits.slot > -2, hits.slot == -1
    distance = torch.where(found, hits.distance, 1.0)
    at = origin + rays * distance
    length = dot(rays, rays).sqrt()
    unit, metres = rays / length, distance * length
    along = dot(unit, hits.normal)
    slant = along.abs().clamp(min=0.03)
    width = metres * pixel / slant
    sun_at = state.sun.T[:, :, None]
    light = rearrange(state.light[:, :12], "g (kind rgb) -> kind rgb g 1", rgb=3)
    zenith, horizon, sun, ambient = light.unbind(0)

    base = _ground_colour(state, at, width)
    watery = ground & (state.ground[:, 6:7] == 2)
    mirror = torch.where(watery, 0.35 * (1 - slant).square(), 0.0)
    gloss = torch.where(watery, 0.3, 0.0)
    moment, ray = torch.nonzero(hits.slot >= 0, as_tuple=True)
    mine = hits.slot[moment, ray]
    base[:, moment, ray] = _body_colour(state, moment, mine, hits.local[:, moment, ray], width[moment, ray])
    mirror[moment, ray], gloss[moment, ray] = state.surface[moment, mine, 2], state.surface[moment, mine, 1]

    lit = dot(hits.normal, sun_at).clamp(min=0) * ~blocked(state, at + 2e-3 * hits.normal, sun_at)
    colour = base * (ambient * (0.75 + 0.25 * hits.normal[1]) + sun * lit)
    bounce = unit - 2 * along * hits.normal
    bounce[1].abs_()
    shine = dot(bounce, sun_at).clamp(min=0).pow(24) * gloss * (lit > 0)
    above = horizon + (zenith - horizon) * bounce[1]
    colour = colour + (above * (0.4 + 0.6 * base) - colour) * mirror + sun * shine
    air = 1 - torch.exp(-(state.light[:, 13:14] * metres + (metres / 90.0).square()))
    colour = colour + (horizon - colour) * air
    return torch.where(found, colour, sky(state, unit)).clamp(0, 1)


# --------------------------------------------------------------------------------------------------------------
# pictures


def _draw(state: State, height: int, width: int, smooth: bool) -> tuple[Float[Tensor, "3 g h w"], Hits]:
    """Colour and hits of every pixel; edge pixels are averaged over 2×2 rays when `smooth`."""
    rays, origin = pixel_rays(state, height, width), eyes(state)
    hits = cast(state, origin, rays)
    pixel = 2 * state.view[:, None] / height  # of each moment: a neighbour in the batch changes nothing
    colour = shade(state, origin, rays, hits, pixel).reshape(3, -1, height, width)
    if smooth:
        frame, y, x = torch.nonzero(_uneven(colour, hits.slot.reshape(-1, height, width)), as_tuple=True)
        if not len(frame):
            return colour, hits
        some = state.rows(frame)
        left, low = colour.new_tensor([0.25, 0.75, 0.25, 0.75]), colour.new_tensor([0.25, 0.25, 0.75, 0.75])
        finer = aim(some, x[:, None] + left, y[:, None] + low, height, width)
        found = cast(some, eyes(some), finer)
        colour[:, frame, y, x] = shade(some, eyes(some), finer, found, pixel[frame] / 2).mean(-1)
    return colour, hits


def _uneven(colour: Tensor, slot: Tensor) -> Tensor:
    """Pixels that a single ray does not do justice: another thing or another light next door. (g, h, w)"""
    grey = colour.mean(0)
    rough = torch.zeros_like(slot, dtype=torch.bool)
    for dim in (1, 2):
        size = slot.shape[dim] - 1
        a, b = slot.narrow(dim, 0, size), slot.narrow(dim, 1, size)
        jump = (a != b) | ((grey.narrow(dim, 0, size) - grey.narrow(dim, 1, size)).abs() > 0.06)
        rough.narrow(dim, 0, size).logical_or_(jump)
        rough.narrow(dim, 1, size).logical_or_(jump)
    return rough


def _lines(slot: Tensor, normal: Tensor, depth: Tensor) -> Tensor:
    """Outlines and creases, one pixel wide, (g, h, w) of 0 and 1."""
    line = torch.zeros_like(depth)
    for dim in (1, 2):
        size = slot.shape[dim] - 1
        a, b = (slice(None),) * dim + (slice(0, size),), (slice(None),) * dim + (slice(1, None),)
        crease = dot(normal[(slice(None), *a)], normal[(slice(None), *b)]) < 0.7
        line[a] = torch.maximum(line[a], ((slot[a] != slot[b]) | ((slot[a] >= 0) & crease)).to(line))
    return line


def render(
    scenes: Sequence[Scene],
    frames: range,
    *,
    size: tuple[int, int] = (96, 176),
    fps: float = FPS,
    smooth: bool = True,
    device: torch.device | str = "cpu",
    chunk: int = 4,
) -> list[Rendered]:
    """Pictures and truth of scenes over the same frames.

    Args:
        scenes: any number; they are drawn as one batch.
        frames: frame numbers, moment = frame / fps.
        size: height and width in pixels.
        smooth: average 2×2 rays at edges; off for controls, where it changes nothing.
        chunk: moments that are drawn at once; small fits the cache of a CPU, hundreds fill a GPU.
    """
    height, width = size
    times = np.array(frames, dtype=np.float64) / fps
    state = stack([s.state(times) for s in scenes]).to(device)
    parts = []
    for at in range(0, state.eye.shape[0], chunk):
        some = state.rows(slice(at, at + chunk))
        colour, hits = _draw(some, height, width, smooth)
        slot, depth = hits.slot.reshape(-1, height, width), hits.distance.reshape(-1, height, width)
        lines = _lines(slot, hits.normal.reshape(3, -1, height, width), depth)
        parts.append((colour.transpose(0, 1) * 2 - 1, depth, _labels(some, slot), lines))
    colour, depth, labels, sketch = (torch.cat(p) for p in zip(*parts, strict=True))
    made = []
    for k in range(len(scenes)):
        mine = slice(k * len(times), (k + 1) * len(times))
        poses = torch.eye(4, device=device).repeat(len(times), 1, 1)
        poses[:, :3, :3], poses[:, :3, 3] = state.turn[mine], state.eye[mine]
        focal = height / 2 / float(state.view[mine.start])
        made.append(Rendered(colour[mine].transpose(0, 1), depth[mine], labels[mine], sketch[mine], poses, focal))
    return made


def _labels(state: State, slot: Tensor) -> Tensor:
    """Slots as labels that do not depend on how scenes are stacked."""
    of = torch.gather(state.label, 1, slot.clamp(min=0).reshape(slot.shape[0], -1)).reshape(slot.shape).long() + FIRST
    return torch.where(slot >= 0, of, torch.where(slot == -1, GROUND, SKY))


# --------------------------------------------------------------------------------------------------------------
# points


def project(state: State, world: Float[Tensor, "g p 3"], height: int, width: int) -> Float[Tensor, "g p 3"]:
    """World points as x, y in pixels and depth in metres."""
    seen = (world - state.eye[:, None]) @ state.turn  # right, up, forward
    depth = seen[..., 2]
    safe = torch.where(depth.abs() < 1e-6, 1e-6, depth)
    per = height / 2 / state.view[:, None]
    return torch.stack([width / 2 + seen[..., 0] / safe * per, height / 2 - seen[..., 1] / safe * per, depth], -1)


def carried(state: State, local: Float[Tensor, "p 3"], slot: Int[Tensor, " p"]) -> Float[Tensor, "g p 3"]:
    """Points fixed to objects (slot ≥ 0, on the unit primitive) or to the ground, in the world at each moment."""
    index = slot.clamp(min=0)
    moved = state.place[:, index] + (state.frame[:, index] @ (local * state.half[:, index])[..., None])[..., 0]
    return torch.where((slot >= 0)[None, :, None], moved, local)


def in_view(
    state: State, world: Float[Tensor, "g p 3"], pixels: Float[Tensor, "g p 3"], height: int, width: int
) -> Tensor:
    """Is each point before the camera, inside the picture and the first thing on its ray? (g, p) of bool."""
    rays = rearrange(world, "g p xyz -> xyz g p") - eyes(state)
    first = cast(state, eyes(state), rays).distance
    x, y, depth = pixels.unbind(-1)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > NEAR)
    return inside & (first > 1 - 2e-3)


def track(
    scene: Scene,
    frames: range,
    *,
    points: int = 256,
    seed: int = 0,
    size: tuple[int, int] = (96, 176),
    fps: float = FPS,
    device: torch.device | str = "cpu",
) -> Tracks:
    """Follow points that are seen in the first frame, objects first, over `frames`.

    Three in five points start on objects, as far as any are in view, the others on the ground.
    """
    height, width = size
    state = stack([scene.state(np.array(frames, dtype=np.float64) / fps)]).to(device)
    start = state.rows(slice(0, 1))
    random = torch.Generator().manual_seed(seed * 1_000_003 + scene.seed)
    hits = cast(start, eyes(start), pixel_rays(start, height, width))
    slot = hits.slot[0].cpu()
    on, under = torch.nonzero(slot >= 0)[:, 0], torch.nonzero(slot == -1)[:, 0]
    wanted = min(points * 3 // 5, len(on)) if len(under) else min(points, len(on))
    chosen = [
        some[torch.randperm(len(some), generator=random)[:n]] for some, n in ((on, wanted), (under, points - wanted))
    ]
    pixels = torch.cat(chosen)
    x, y = (torch.stack([pixels % width, pixels // width]) + torch.rand(2, len(pixels), generator=random)).to(state.eye)
    first = cast(start, eyes(start), aim(start, x[None], y[None], height, width))
    kept = first.slot[0] > -2  # a jittered ray may slip off into the sky
    local, slot = first.local[:, 0, kept].T, first.slot[0][kept]
    where = carried(state, local, slot)
    drawn = project(state, where, height, width)
    return Tracks(drawn.cpu(), in_view(state, where, drawn, height, width).cpu())


def flow(scene: Scene, frame: int, *, size: tuple[int, int] = (96, 176), fps: float = FPS) -> tuple[Tensor, Tensor]:
    """Exact motion of every pixel to the next frame, (h, w, 2) in pixels; and whether it is still seen, (h, w)."""
    height, width = size
    state = stack([scene.state(np.array([frame, frame + 1]) / fps)])
    now, then = state.rows(slice(0, 1)), state.rows(slice(1, 2))
    rays = pixel_rays(now, height, width)
    hits = cast(now, eyes(now), rays)
    where = carried(then, hits.local[:, 0].T, hits.slot[0])
    far = hits.slot[0] == -2
    beyond = rearrange(eyes(then) + 1e4 * rays, "xyz g p -> g p xyz")
    where = torch.where(far[None, :, None], beyond, where)
    seen = project(then, where, height, width)
    start = project(now, rearrange(eyes(now) + rays, "xyz g p -> g p xyz"), height, width)
    visible = in_view(then, where, seen, height, width) & ~far
    return (seen - start)[0, :, :2].reshape(height, width, 2), visible[0].reshape(height, width)


def origins(
    scene: Scene, frames: range, *, size: tuple[int, int] = (96, 176), fps: float = FPS
) -> tuple[Float[Tensor, "f h w 2"], Bool[Tensor, "f h w"]]:
    """Where what every pixel shows was in the first of `frames`, x and y in pixels; and whether it was seen there."""
    height, width = size
    state = stack([scene.state(np.array(frames, dtype=np.float64) / fps)])
    first = state.rows(slice(0, 1))
    start = cast(first, eyes(first), pixel_rays(first, height, width)).slot[0]
    places, visible = [], []
    for moment in range(len(frames)):
        now = state.rows(slice(moment, moment + 1))
        rays = pixel_rays(now, height, width)
        hits = cast(now, eyes(now), rays)
        far = hits.slot[0] == -2
        where = carried(first, hits.local[:, 0].T, hits.slot[0])
        where = torch.where(far[:, None], rearrange(eyes(first) + 1e4 * rays, "xyz g p -> g p xyz"), where)
        seen = project(first, where, height, width)
        x, y = seen[0, :, 0], seen[0, :, 1]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (seen[0, :, 2] > NEAR)
        there = start[y.clamp(0, height - 1).long() * width + x.clamp(0, width - 1).long()]
        known = torch.where(far, inside & (there == -2), in_view(first, where, seen, height, width)[0])
        places.append(seen[0, :, :2].reshape(height, width, 2))
        visible.append(known.reshape(height, width))
    return torch.stack(places), torch.stack(visible)
