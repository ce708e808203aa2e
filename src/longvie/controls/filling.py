"""What a picture does not show, smoothly from what it does (pull, push).

`fill` goes by place alone; `fill_things` by depth too: each thing from itself, the ground from the ground as far away,
and what was seen a moment ago is remembered where it was.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

FAR = 1e-4  # of the largest disparity: infinitely far
LAYERS = 28  # of depth; the last is the sky
APART = 1.22  # ratio of disparity of one to the next
KEPT = 0.97  # of what was seen there, a frame later
LEAK = 0.05  # how much the next layer counts where nothing of a layer is seen
GRAIN = 4  # pixels of a cell of a layer
EVIDENCE = 6.0  # pixels of a thing that must have been seen for its colours to be known

Cells = Float[Tensor, "4 layers rows columns"]  # colours times weights, and weights, by distance and place


def fill(
    video: Float[Tensor, "f 3 h w"], visible: Float[Tensor, "f 1 h w"], picture: Float[Tensor, "3 h w"]
) -> Float[Tensor, "f 3 h w"]:
    """What is not visible, from what is around it; where nothing near is visible, from the picture's own blur."""
    levels, now = [], torch.cat([video * visible, visible], dim=1)
    while min(now.shape[2:]) > 2:
        levels.append(now)
        now = functional.avg_pool2d(now, 2, ceil_mode=True, count_include_pad=False)
        weight = now[:, 3:]
        now = torch.where(weight > 0, now * (4 * weight).clamp(max=1) / weight.clamp(min=1e-6), now)
    blurred = functional.adaptive_avg_pool2d(picture[None], (now.shape[2], now.shape[3]))
    shown = torch.where(now[:, 3:] > 1e-5, now[:, :3] / now[:, 3:].clamp(min=1e-6), blurred)
    for level in reversed(levels):
        wide = functional.interpolate(shown, size=level.shape[2:], mode="bilinear", align_corners=False)
        shown = level[:, :3] + (1 - level[:, 3:]) * wide
    return torch.where(visible > 0, video, shown)


@dataclass(frozen=True)
class Remembered:
    """What is known of things from earlier frames: their colours, and how far away each was last."""

    cells: Cells
    levels: Float[Tensor, " numbers"]


def fill_things(
    video: Float[Tensor, "f 3 h w"],
    visible: Float[Tensor, "f 1 h w"],
    depth: Float[Tensor, "f h w"],
    things: Int[Tensor, "f h w"],
    new: Bool[Tensor, "f numbers"],
    earlier: Remembered | None = None,
) -> tuple[Float[Tensor, "f 3 h w"], Bool[Tensor, "f h w"], Remembered]:
    """What is not visible from what is about as far away, things told apart (`controls.things`): each takes its own
    colours alone, the floor the floor's, so that the ground behind a thing looks like the ground beside it. Where
    nothing has been seen of a thing, it looks like the next ones that are as far away. And which pixels are of things
    that have been seen.

    Args:
        things: a number for each pixel, negative on the floor.
        new: numbers that now mean another thing than before.
    """
    numbers = new.shape[1]
    stands = things >= 0
    level = torch.where(stands, LAYERS + things.to(video), _level(depth))
    cells = _cells(video, visible, level, LAYERS + numbers)
    levels = earlier.levels if earlier is not None else torch.full((numbers,), LAYERS - 1.0).to(video)
    before, known, near = None if earlier is None else earlier.cells, [], []
    floor = torch.arange(LAYERS, device=depth.device).to(video)
    far = _level(depth)
    for frame, thing, away, fresh in zip(cells, things, far, new, strict=True):  # in place
        if before is not None:
            faded = KEPT * before
            faded[:, LAYERS:][:, fresh] = 0
            frame += (1 - frame[3:].clamp(max=1)) * faded
        before = frame
        named, depths = thing[thing >= 0], away[thing >= 0]
        count = torch.bincount(named, minlength=numbers)
        total = torch.bincount(named, depths.double(), minlength=numbers).to(video)
        levels = torch.where(count > 0, total / count.clamp(min=1), levels)
        known.append(frame[3, LAYERS:].sum((1, 2)) * GRAIN**2 >= EVIDENCE)
        near.append(_nearness(torch.cat([floor, levels])))
    shown = _shown(_spread(cells, torch.stack(near)), level)
    seen = torch.stack(known).gather(1, things.clamp(min=0).flatten(1)).view_as(stands) & stands
    return torch.where(visible > 0, video, shown), seen, Remembered(cells[-1].clone(), levels)


def _nearness(levels: Float[Tensor, " layers"]) -> Float[Tensor, "layers layers"]:
    """How much each layer counts for another in which nothing is seen: floors by depth, things by depth but never as
    much as themselves, the one for the other hardly.
    """
    near = LEAK ** (levels[:, None] - levels).abs()
    thing = torch.arange(len(levels), device=levels.device) >= LAYERS
    apart = torch.where(thing & ~torch.eye(len(levels), dtype=torch.bool, device=levels.device), LEAK, 1.0)
    return near * torch.where(thing[:, None] == thing, apart, LEAK**3)


def _level(depth: Float[Tensor, "f h w"]) -> Float[Tensor, "f h w"]:
    """The layer of each pixel; the sky has one of its own."""
    level = (depth.clamp(min=FAR).log() / -math.log(APART)).clamp(0, LAYERS - 2.0)
    return torch.where(depth <= FAR, LAYERS - 1.0, level)


def _cells(
    video: Float[Tensor, "f 3 h w"], visible: Float[Tensor, "f 1 h w"], level: Float[Tensor, "f h w"], layers: int
) -> Float[Tensor, "f 4 layers rows columns"]:
    """What is seen, by layer and place; between two layers, in both."""
    frames, _, height, width = video.shape
    rows, columns = -(-height // GRAIN), -(-width // GRAIN)
    y, x = torch.arange(height, device=level.device) // GRAIN, torch.arange(width, device=level.device) // GRAIN
    at = (y[:, None] * columns + x).expand(frames, -1, -1).flatten(1)  # the column of cells of each pixel
    below, seen = level.floor().flatten(1).long(), torch.cat([video * visible, visible], dim=1).flatten(2)
    share = level.flatten(1) - below
    cells = seen.new_zeros(frames, 4, layers * rows * columns)
    for layer, part in ((below, 1 - share), ((below + 1).clamp(max=layers - 1), share)):
        index = (layer * rows * columns + at)[:, None].expand(-1, 4, -1)
        cells.scatter_add_(2, index, seen * (part / GRAIN**2)[:, None])
    return cells.unflatten(2, (layers, rows, columns))


def _shown(found: Float[Tensor, "f 3 layers rows columns"], level: Float[Tensor, "f h w"]) -> Float[Tensor, "f 3 h w"]:
    """The colour of each pixel, from the cells around it in its layer."""
    _, height, width = level.shape
    layers, rows, columns = found.shape[2:]
    spots = torch.stack(
        [
            ((torch.arange(width, device=level.device) + 0.5) / (GRAIN * columns) * 2 - 1).expand_as(level),
            ((torch.arange(height, device=level.device) + 0.5) / (GRAIN * rows) * 2 - 1)[:, None].expand_as(level),
            (level + 0.5) / layers * 2 - 1,
        ],
        dim=-1,
    )
    return functional.grid_sample(found, spots[:, None].to(found), padding_mode="border", align_corners=False)[:, :, 0]


def _spread(
    cells: Float[Tensor, "f 4 layers h w"], near: Float[Tensor, "f layers layers"]
) -> Float[Tensor, "f 3 layers h w"]:
    """Colours in every cell, from those that are known with their weights: the nearest of the same layer; in a layer of
    which nothing is known, those of the nearest layers.
    """
    levels, now = [], cells.transpose(1, 2).flatten(0, 1)
    while max(now.shape[2:]) > 1:
        levels.append(now)
        now = functional.avg_pool2d(now, 2, ceil_mode=True, count_include_pad=False)
        weight = now[:, 3:]
        now = now * (4 * weight).clamp(max=1) / weight.clamp(min=1e-9)
    mixed = torch.einsum("fij,fjchw->fichw", near, now.unflatten(0, (len(cells), -1))).flatten(0, 1)
    shown = mixed[:, :3] / mixed[:, 3:].clamp(min=1e-30)
    for level in reversed(levels):
        wide = functional.interpolate(shown, size=level.shape[2:], mode="bilinear", align_corners=False)
        weight = level[:, 3:]
        shown = level[:, :3] / weight.clamp(min=1) + (1 - weight.clamp(max=1)) * wide
    return shown.unflatten(0, (len(cells), -1)).transpose(1, 2)
