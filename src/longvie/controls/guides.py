"""Guides: what a decoder may look at beside the latents, pixel by pixel (`TinyAutoencoder`'s `guides`).

Latents are an eighth as fine as pictures, and what the transformer is not sure of it blurs. The controls know more: the
last known picture moved along the tracks shows most of a frame as sharp as it was, and depth, sketch and segmentation
say to the pixel where things end. Through the autoencoder all that would be lost; so the decoder sees it as it is.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.controls.moved import Moved

CHANNELS = {"picture": 3, "seen": 1, "depth": 1, "sketch": 1, "segmentation": 3}  # in this order
COUNT = sum(CHANNELS.values())


def guides(
    frames: int, size: tuple[int, int], moved: Moved | None, drawn: Mapping[str, Float[Tensor, "_ f h w"]]
) -> Float[Tensor, "guides f h w"]:
    """What is known of some frames; zeros where it is nothing.

    Args:
        size: height and width.
        moved: the last known picture, for exactly these frames.
        drawn: dense controls by their names as they are drawn, in [-1, 1], times their strength; at least so many of
            their channels as are looked at.
    """
    made = torch.zeros(COUNT, frames, *size)
    at = 0
    for name, channels in CHANNELS.items():
        place = made[at : at + channels]
        if name == "picture" and moved is not None:
            place.copy_(moved.pictures)
        elif name == "seen" and moved is not None:
            place.copy_(moved.seen)
        elif name in drawn:
            place.copy_(drawn[name][:channels])
        at += channels
    return made
