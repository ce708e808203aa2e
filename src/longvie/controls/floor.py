"""What depth tells of a picture's things without any network: the floor that they stand on, and their outlines."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

NEAR = 0.03  # relative distance from the floor's disparity within which a pixel lies on it
LARGE = 0.15  # share of the picture that a floor fills at least
RISE = 0.05  # of a floor's disparity over the height of a picture, of the largest: less is a wall
SPOTS, GUESSES = 400, 64  # pixels, and triples of them, by which it is found
OUTLINE = 0.1  # relative bend of disparity from which on a pixel shows two things at once
NOISE = 0.005  # bend that is none, of the largest disparity
LEAST = 1e-4  # of the largest disparity: infinitely far


def outlines(depth: Float[Tensor, "f h w"]) -> Bool[Tensor, "f h w"]:
    """Pixels beside a bend in disparity, which on flat things has none: the outlines of things."""
    wide = functional.pad(depth[:, None], (1, 1, 1, 1), "replicate")[:, 0]
    middle = wide[:, 1:-1, 1:-1]
    across = (wide[:, 1:-1, 2:] + wide[:, 1:-1, :-2] - 2 * middle).abs()
    down = (wide[:, 2:, 1:-1] + wide[:, :-2, 1:-1] - 2 * middle).abs()
    return torch.maximum(across, down) > OUTLINE * middle + NOISE


def floor(disparity: Float[Tensor, "f h w"]) -> Bool[Tensor, "f h w"]:
    """What lies on the largest plane that comes nearer downwards: disparity is linear on a plane's picture (Hartley,
    Zisserman: Multiple View Geometry, §9.6). Nothing, where no plane holds a good part of the picture.
    """
    _, height, width = disparity.shape
    y, x = torch.meshgrid(torch.arange(height) / height - 0.5, torch.arange(width) / height, indexing="ij")
    terms = torch.stack([torch.ones_like(x), x, y], dim=-1).to(disparity)  # (h, w, 3)
    random = torch.Generator().manual_seed(0)
    some = torch.randperm(height * width, generator=random)[:SPOTS].to(disparity.device)
    spots, values = terms.flatten(0, 1)[some], disparity.flatten(1)[:, some]  # (s, 3), (f, s)
    three = torch.randint(0, SPOTS, (GUESSES, 3), generator=random).to(disparity.device)
    corners = spots[three]  # (g, 3, 3)
    fair = torch.linalg.det(corners).abs() > 0.01
    guesses = torch.linalg.solve(corners[fair], values[:, three[fair]][..., None])[..., 0]  # (f, g, 3)

    def close(planes: Float[Tensor, "f g 3"]) -> Bool[Tensor, "f g s"]:
        away = (planes @ spots.T - values[:, None]).abs()
        return (away < NEAR * values[:, None] + 2 * LEAST) & (values[:, None] > LEAST)

    rises = guesses[..., 2] > 2 * guesses[..., 1].abs() + RISE
    votes, best = (close(guesses).sum(-1) * rises).max(1)
    plane = guesses.gather(1, best[:, None, None].expand(-1, -1, 3))
    for _ in range(2):
        weight = close(plane)[:, 0].to(values) / values.clamp(min=1e-3)  # relative errors
        rows = spots * weight[..., None]
        right = rows.transpose(1, 2) @ (values * weight)[..., None]
        ridge = 1e-6 * torch.eye(3).to(rows)
        plane = torch.linalg.solve(rows.transpose(1, 2) @ rows + ridge, right).transpose(1, 2)
    enough = (votes > 0) & (close(plane)[:, 0].float().mean(1) > LARGE)
    on = (terms @ plane[:, 0].T).permute(2, 0, 1)
    return ((on - disparity).abs() < NEAR * disparity + 2 * LEAST) & (disparity > LEAST) & enough[:, None, None]
