"""A picture moved along tracks: where its parts would be seen later, as far as the points tell.

Between the points the motion is that of the nearest ones. What only now comes into view nobody knows; the nearest parts
stand in its place, and outlines melt where near and far things part. It is a first guess for a network, not a picture.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

NEAREST = 4  # points that move a place
CELL = 8  # pixels between places whose motion is computed; the rest is between them
SOFT = 0.5  # pixels; keeps the weight of a point at the place itself finite
AT_ONCE = 8  # frames moved in one go: memory then does not depend on how many are asked for


def carry(
    picture: Float[Tensor, "3 h w"],
    before: Float[Tensor, "n 2"],
    points: Float[Tensor, "f n 2"],
    seen: Bool[Tensor, "f n"],
) -> Float[Tensor, "3 f h w"]:
    """The picture as it would look at f later moments.

    Args:
        before: x and y of each point in the picture, in pixels (0 is the left and upper edge).
        points, seen: where the points are later, and which of them count: seen in the picture and then.
    """
    parts = [
        _moved(picture, before, points[at : at + AT_ONCE], seen[at : at + AT_ONCE])
        for at in range(0, len(points), AT_ONCE)
    ]
    return torch.cat(parts, dim=1)


def _moved(picture: Tensor, before: Tensor, points: Tensor, seen: Tensor) -> Float[Tensor, "3 f h w"]:
    frames, (height, width) = len(points), picture.shape[1:]
    if not before.shape[0]:
        return picture[:, None].expand(-1, frames, -1, -1)
    y, x = (torch.arange(side // CELL).to(points) * CELL + CELL / 2 for side in (height, width))
    places = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)  # (places, 2)
    there = torch.where(seen[..., None], points, torch.zeros(()).to(points))
    distance = torch.cdist(places.expand(frames, -1, -1), there).masked_fill(~seen[:, None], torch.inf)
    near, index = distance.topk(min(NEAREST, before.shape[0]), dim=-1, largest=False)  # (f, places, k)
    weight = 1 / (near + SOFT).square()
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-9)
    back = before - there  # (f, n, 2): from where a point is now to where the picture has it
    moves = torch.stack([(back[..., axis].gather(1, index.flatten(1)).unflatten(1, index.shape[1:]) * weight).sum(-1)
                         for axis in (0, 1)], dim=1)  # fmt: skip
    moves = moves.unflatten(-1, (len(y), len(x)))
    moves = functional.interpolate(moves, size=(height, width), mode="bilinear", align_corners=False)  # (f, 2, h, w)
    rows, columns = torch.arange(height).to(points) + 0.5, torch.arange(width).to(points) + 0.5
    at_x = (columns + moves[:, 0]) / width * 2 - 1
    at_y = (rows[:, None] + moves[:, 1]) / height * 2 - 1
    sources = picture.expand(frames, -1, -1, -1)
    moved = functional.grid_sample(
        sources, torch.stack([at_x, at_y], dim=-1), mode="bilinear", padding_mode="border", align_corners=False
    )
    return moved.transpose(0, 1)
