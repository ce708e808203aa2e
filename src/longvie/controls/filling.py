"""What a picture does not show, smoothly from what it does: pull and push, in layers of depth where depth is known."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

FAR = 1e-4  # of the largest disparity: infinitely far
LAYERS = 28  # of depth; the last is the sky
APART = 1.22  # ratio of disparity of one to the next
KEPT = 0.97  # of what was seen there, a frame later
LEAK = 0.05  # how much the next layer counts where nothing of a layer is seen
GRAIN = 4  # pixels of a cell of a layer

Cells = Float[Tensor, "4 layers rows columns"]  # colours times weights, and weights, by distance and place


def fill(
    video: Float[Tensor, "f 3 h w"],
    visible: Float[Tensor, "f 1 h w"],
    picture: Float[Tensor, "3 h w"],
    depth: Float[Tensor, "f h w"] | None = None,
    flat: Bool[Tensor, "f h w"] | None = None,
    earlier: Cells | None = None,
) -> tuple[Float[Tensor, "f 3 h w"], Cells | None]:
    """What is not visible, smoothly from what is (pull, push); with depth, from what is about as far away, the floor
    from the floor, so that the hidden side of a thing takes the colours of its other sides, and the ground behind it
    those of the ground beside it; what was seen a moment ago is remembered where it was.

    Args:
        earlier: what is remembered of the frames before.
    """
    if depth is None:
        return _from_around(video, visible, picture), None
    frames, _, height, width = video.shape
    rows, columns = -(-height // GRAIN), -(-width // GRAIN)
    level = (depth.clamp(min=FAR).log() / -math.log(APART)).clamp(0, LAYERS - 2.0)
    level = torch.where(depth <= FAR, LAYERS - 1.0, level)  # the sky has a layer of its own
    y, x = torch.arange(height, device=level.device) // GRAIN, torch.arange(width, device=level.device) // GRAIN
    at = (y[:, None] * columns + x).expand(frames, -1, -1).flatten(1)  # the column of cells of each pixel
    below, seen = level.floor().flatten(1).long(), torch.cat([video * visible, visible], dim=1).flatten(2)
    share = level.flatten(1) - below
    rooms = 1 if flat is None else 2  # the floor's layers lie behind the others
    if flat is not None:
        level, below = level + LAYERS * flat, below + LAYERS * flat.flatten(1)
    cells = seen.new_zeros(frames, 4, rooms * LAYERS * rows * columns)
    for layer, part in ((below, 1 - share), ((below + 1).clamp(max=rooms * LAYERS - 1), share)):
        index = (layer * rows * columns + at)[:, None].expand(-1, 4, -1)
        cells.scatter_add_(2, index, seen * (part / GRAIN**2)[:, None])
    cells = cells.unflatten(2, (rooms * LAYERS, rows, columns))
    for frame in cells:  # in place
        if earlier is not None:
            frame += (1 - frame[3:].clamp(max=1)) * (KEPT * earlier)
        earlier = frame
    found = _spread(cells)
    spots = torch.stack(
        [
            ((torch.arange(width, device=level.device) + 0.5) / (GRAIN * columns) * 2 - 1).expand_as(level),
            ((torch.arange(height, device=level.device) + 0.5) / (GRAIN * rows) * 2 - 1)[:, None].expand_as(level),
            (level + 0.5) / (rooms * LAYERS) * 2 - 1,
        ],
        dim=-1,
    )
    shown = functional.grid_sample(found, spots[:, None].to(found), padding_mode="border", align_corners=False)[:, :, 0]
    return torch.where(visible > 0, video, shown), cells[-1].clone()


def _spread(cells: Float[Tensor, "f 4 layers h w"]) -> Float[Tensor, "f 3 layers h w"]:
    """Colours in every cell, from those that are known with their weights: the nearest of the same layer; in a layer of
    which nothing is known, those of the nearest layers.
    """
    levels, now = [], cells.transpose(1, 2).flatten(0, 1)
    while max(now.shape[2:]) > 1:
        levels.append(now)
        now = functional.avg_pool2d(now, 2, ceil_mode=True, count_include_pad=False)
        weight = now[:, 3:]
        now = now * (4 * weight).clamp(max=1) / weight.clamp(min=1e-9)
    layers = torch.arange(cells.shape[2], device=cells.device)
    near = LEAK ** (layers[:, None] % LAYERS - layers % LAYERS).abs().to(cells)
    near = near * torch.where(layers[:, None] // LAYERS == layers // LAYERS, 1.0, LEAK**3)
    mixed = torch.einsum("ij,fjchw->fichw", near, now.unflatten(0, (len(cells), -1))).flatten(0, 1)
    shown = mixed[:, :3] / mixed[:, 3:].clamp(min=1e-30)
    for level in reversed(levels):
        wide = functional.interpolate(shown, size=level.shape[2:], mode="bilinear", align_corners=False)
        weight = level[:, 3:]
        shown = level[:, :3] / weight.clamp(min=1) + (1 - weight.clamp(max=1)) * wide
    return shown.unflatten(0, (len(cells), -1)).transpose(1, 2)


def _from_around(
    video: Float[Tensor, "f 3 h w"], visible: Float[Tensor, "f 1 h w"], picture: Float[Tensor, "3 h w"]
) -> Float[Tensor, "f 3 h w"]:
    """The same wherever it lies; where nothing near is visible, from the picture's own blur."""
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
    return shown
