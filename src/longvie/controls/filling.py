"""What a picture does not show, smoothly from what it does (pull, push).

`fill` goes by place alone; `fill_things` by depth too: each thing from itself, the ground from the ground as far away,
and what was seen a moment ago is remembered where it was. Pictures may have more colours than three: several pictures
of one place, one upon the other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from longvie.controls.faces import CELLS, Face, inner
from longvie.controls.looks import Look, then
from longvie.controls.things import REST, SKY

FAR = 1e-4  # of the largest disparity: infinitely far
LAYERS = 28  # of depth; the last is the sky
APART = 1.22  # ratio of disparity of one to the next
KEPT = 0.97  # of what was seen there, a frame later
LEAK = 0.05  # how much the next layer counts where nothing of a layer is seen
GRAIN = 4  # pixels of a cell of a layer

Cells = Float[Tensor, "_ layers rows columns"]  # colours times weights, and weights, by distance and place


def fill(
    video: Float[Tensor, "f c h w"], visible: Float[Tensor, "f 1 h w"], picture: Float[Tensor, "c h w"]
) -> Float[Tensor, "f c h w"]:
    """What is not visible, from what is around it; where nothing near is visible, from the picture's own blur."""
    levels, now = [], torch.cat([video * visible, visible], dim=1)
    while min(now.shape[2:]) > 2:
        levels.append(now)
        now = functional.avg_pool2d(now, 2, ceil_mode=True, count_include_pad=False)
        weight = now[:, -1:]
        now = torch.where(weight > 0, now * (4 * weight).clamp(max=1) / weight.clamp(min=1e-6), now)
    blurred = functional.adaptive_avg_pool2d(picture[None], (now.shape[2], now.shape[3]))
    shown = torch.where(now[:, -1:] > 1e-5, now[:, :-1] / now[:, -1:].clamp(min=1e-6), blurred)
    for level in reversed(levels):
        wide = functional.interpolate(shown, size=level.shape[2:], mode="bilinear", align_corners=False)
        shown = level[:, :-1] + (1 - level[:, -1:]) * wide
    return torch.where(visible > 0, video, shown)


@dataclass(frozen=True)
class Remembered:
    """What is known from earlier frames: of the floor and the sky by place, of each thing its face."""

    cells: Cells | None
    faces: Mapping[int, Face]

    def with_light(self, light: Float[Tensor, "3 2"], known: Mapping[int, Look] | None = None) -> "Remembered":
        """The same, with three colours more: the last three in another light, of this gain and offset for each; things
        of which it is `known` as they look in it.
        """
        faces, plain = {}, light.numpy()
        for number, face in self.faces.items():
            look, own = (known or {}).get(number), face.look()
            dressed = plain if look is None or own is None else then(plain, own.lit(plain).to(look))
            faces[number] = face.with_light(dressed)
        if self.cells is None:
            return Remembered(None, faces)
        told = light.to(self.cells)[..., None, None, None]
        more = self.cells[-4:-1] * told[:, 0] + self.cells[-1:] * told[:, 1]
        return Remembered(torch.cat([self.cells[:-1], more, self.cells[-1:]]), faces)


def fill_things(
    video: Float[Tensor, "f c h w"],
    visible: Float[Tensor, "f 1 h w"],
    depth: Float[Tensor, "f h w"],
    things: Int[Tensor, "f h w"],
    new: Bool[Tensor, "f numbers"],
    own: Bool[Tensor, "f h w"] | None = None,
    earlier: Remembered | None = None,
) -> tuple[Float[Tensor, "f c h w"], Bool[Tensor, "f h w"], Remembered]:
    """What is not visible from what is about as far away, things told apart (`controls.things`): each takes its own
    colours alone (`controls.faces`), the floor the floor's, so that the ground behind a thing looks like the ground
    beside it. A thing of which nothing has been seen looks like those that are as far away. And which pixels are of
    things that have been seen.

    Args:
        things: a number for each pixel, negative on the floor.
        new: numbers that now mean another thing than before.
        own: pixels that come from the thing that they are of, by which alone it is known; by default all.
    """
    level = torch.where(things >= 0, LAYERS + torch.where(things == REST, 1, 0).to(video), _level(depth))
    named = (things > SKY) & (things != REST)
    cells = _cells(video, visible * ~named[:, None], level, LAYERS + 2)
    before = None if earlier is None else earlier.cells
    for frame in cells:  # in place
        if before is not None:
            frame += (1 - frame[-1:].clamp(max=1)) * (KEPT * before)
        before = frame
    near = _nearness(torch.arange(LAYERS + 2, device=video.device).to(video))
    spread, where = _spread(cells, near.expand(len(cells), -1, -1)), torch.where(named, _level(depth), level)
    pictures = video.clone()
    for picture, *told in zip(pictures, spread, where, ~(visible[:, 0] > 0), strict=True):
        _show(picture, *told)
    own = visible[:, 0] > 0 if own is None else own & (visible[:, 0] > 0)
    seen, faces = _faced(pictures, visible, own, depth, things, named, new, {} if earlier is None else earlier.faces)
    return pictures, seen, Remembered(cells[-1].clone(), faces)


def _faced(
    pictures: Float[Tensor, "f c h w"],
    visible: Float[Tensor, "f 1 h w"],
    own: Bool[Tensor, "f h w"],
    depth: Float[Tensor, "f h w"],
    things: Int[Tensor, "f h w"],
    named: Bool[Tensor, "f h w"],
    new: Bool[Tensor, "f numbers"],
    earlier: Mapping[int, Face],
) -> tuple[Bool[Tensor, "f h w"], Mapping[int, Face]]:
    """Puts the colours of things into the pictures, where they are not visible; which pixels are of known things."""
    faces = {number: face.copy() for number, face in earlier.items()}
    known = torch.zeros_like(named)
    far = _level(depth).cpu().numpy()
    video, looks, told_by, near, numbers = (
        it.cpu().numpy() for it in (pictures, visible[:, 0] > 0, own, depth, things)
    )
    video = np.ascontiguousarray(video)
    for at in range(len(video)):
        clear, hidden = inner(numbers[at]) & told_by[at], []
        for number in np.unique(numbers[at][named[at].cpu().numpy()]).tolist():
            inside = numbers[at] == number
            if number not in faces or bool(new[at, number]):
                faces[number] = Face.unknown(len(video[at]))
            face = faces[number]
            face.level = float(far[at][inside].mean())
            top, left, height, width = face.box(inside, near[at])
            y, x = np.nonzero(inside)
            v, u = (y + 0.5 - top) / height, (x + 0.5 - left) / width
            told, dark = clear[y, x], ~looks[at][y, x]
            face.see(video[at][:, y[told], x[told]].T, v[told], u[told], height * width / CELLS**2)
            hidden.append((number, y[dark], x[dark], v[dark], u[dark]))
            known[at] |= torch.from_numpy(inside & face.known).to(known.device)
        for number, y, x, v, u in hidden:
            if len(y):
                video[at][:, y, x] = _looks(number, faces, v, u, video[at][:, y, x])
    pictures.copy_(torch.from_numpy(video))
    return known, faces


def _looks(
    number: int, faces: Mapping[int, Face], v: np.ndarray, u: np.ndarray, ground: Float[np.ndarray, "c n"]
) -> Float[np.ndarray, "c n"]:
    """A thing's own colours; if nothing of it was ever seen, those of others as far away, else those of the ground."""
    if faces[number].known:
        return faces[number].shown(v, u).T
    others = [face for name, face in faces.items() if name != number and face.known]
    if not others:
        return ground
    weights = np.array([LEAK ** abs(face.level - faces[number].level) for face in others])
    colour = (weights[:, None] * np.stack([face.mean() for face in others])).sum(0) / max(float(weights.sum()), 1e-30)
    return np.repeat(colour[:, None].astype(np.float32), len(v), axis=1)


def _nearness(levels: Float[Tensor, " layers"]) -> Float[Tensor, "layers layers"]:
    """How much each layer counts for another in which nothing is seen: floors by depth, the sky and what is too small
    to be told apart hardly.
    """
    near = LEAK ** (levels[:, None] - levels).abs()
    above = levels >= LAYERS
    apart = (above[:, None] | above) & ~torch.eye(len(levels), dtype=torch.bool, device=levels.device)
    return torch.where(apart, LEAK**3 * near.clamp(min=LEAK**4), near)


def _level(depth: Float[Tensor, "f h w"]) -> Float[Tensor, "f h w"]:
    """The layer of each pixel; the sky has one of its own."""
    level = (depth.clamp(min=FAR).log() / -math.log(APART)).clamp(0, LAYERS - 2.0)
    return torch.where(depth <= FAR, LAYERS - 1.0, level)


def _cells(
    video: Float[Tensor, "f c h w"], visible: Float[Tensor, "f 1 h w"], level: Float[Tensor, "f h w"], layers: int
) -> Float[Tensor, "f _ layers rows columns"]:
    """What is seen, by layer and place; between two layers, in both."""
    frames, _, height, width = video.shape
    rows, columns = -(-height // GRAIN), -(-width // GRAIN)
    y, x = torch.arange(height, device=level.device) // GRAIN, torch.arange(width, device=level.device) // GRAIN
    at = (y[:, None] * columns + x).expand(frames, -1, -1).flatten(1)  # the column of cells of each pixel
    below, seen = level.floor().flatten(1).long(), torch.cat([video * visible, visible], dim=1).flatten(2)
    share = level.flatten(1) - below
    cells = seen.new_zeros(frames, seen.shape[1], layers * rows * columns)
    for layer, part in ((below, 1 - share), ((below + 1).clamp(max=layers - 1), share)):
        index = (layer * rows * columns + at)[:, None].expand(-1, seen.shape[1], -1)
        cells.scatter_add_(2, index, seen * (part / GRAIN**2)[:, None])
    return cells.unflatten(2, (layers, rows, columns))


def _show(
    picture: Float[Tensor, "c h w"],
    found: Float[Tensor, "c layers rows columns"],
    level: Float[Tensor, "h w"],
    hidden: Bool[Tensor, "h w"],
) -> None:
    """Gives each hidden pixel its colour, from the cells around it in its layer."""
    y, x = hidden.nonzero(as_tuple=True)
    if not len(y):
        return
    layers, rows, columns = found.shape[1:]
    sides = (((x + 0.5) / (GRAIN * columns)), ((y + 0.5) / (GRAIN * rows)), ((level[y, x] + 0.5) / layers))
    spots = torch.stack(sides, dim=-1).to(found) * 2 - 1
    shown = functional.grid_sample(found[None], spots[None, None, None], padding_mode="border", align_corners=False)
    picture[:, y, x] = shown[0, :, 0, 0]


def _spread(
    cells: Float[Tensor, "f _ layers h w"], near: Float[Tensor, "f layers layers"]
) -> Float[Tensor, "f c layers h w"]:
    """Colours in every cell, from those that are known with their weights: the nearest of the same layer; in a layer of
    which nothing is known, those of the nearest layers.
    """
    levels, now = [], cells.transpose(1, 2).flatten(0, 1)
    while max(now.shape[2:]) > 1:
        levels.append(now)
        now = functional.avg_pool2d(now, 2, ceil_mode=True, count_include_pad=False)
        weight = now[:, -1:]
        now = now * (4 * weight).clamp(max=1) / weight.clamp(min=1e-9)
    mixed = torch.einsum("fij,fjchw->fichw", near, now.unflatten(0, (len(cells), -1))).flatten(0, 1)
    shown = mixed[:, :-1] / mixed[:, -1:].clamp(min=1e-30)
    for level in reversed(levels):
        wide = functional.interpolate(shown, size=level.shape[2:], mode="bilinear", align_corners=False)
        weight = level[:, -1:]
        shown = level[:, :-1] / weight.clamp(min=1) + (1 - weight.clamp(max=1)) * wide
    return shown.unflatten(0, (len(cells), -1)).transpose(1, 2)
