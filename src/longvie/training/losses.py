"""Losses of LongVie 2's stages (arXiv 2512.13604; reference §6.4), one number per sample.

Predictions and targets are velocities, noise - x0; `weight` is that of the sample's noise level
(`flow.training_weights`). The first latent frame of a clip whose picture was degraded should neither keep the damage in
its details nor jump away from what the viewer has just seen: its low frequencies follow the degraded picture, its high
ones the truth.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Latents = Float[Tensor, "b c l h w"]
First = Float[Tensor, "b c 1 h w"]

EARLY = (0.05, 0.325, 0.757)  # weights of the first latent frames when the picture was degraded; later ones have 1
LOW, HIGH, HISTORY = 0.2, 0.15, 0.5  # of the first latent frame's low and high band, and of its tie to the history


def plain_loss(prediction: Latents, target: Latents, weight: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Mean squared error times the weight of the noise level; in float32."""
    return _mean(prediction.float() - target.float()) * weight


def degraded_loss(
    prediction: Latents,
    target: Latents,
    weight: Float[Tensor, " b"],
    *,
    noise: Latents,
    picture: First,
    history: First | None = None,
) -> Float[Tensor, " b"]:
    """Where the picture or the history was degraded.

    Args:
        noise: what the clip was noised with.
        picture: latent of the degraded picture alone.
        history: latent of the last history frame alone, if there is history.
    """
    error = (prediction.float() - target.float()) * frame_weights(target.shape[2]).to(target.device).sqrt()
    first, wanted, begun = prediction[:, :, :1].float(), target[:, :, :1].float(), noise[:, :, :1].float()
    loss = _mean(error)
    loss = loss + LOW * _mean(low_pass(first) - low_pass(begun - picture.float()))
    loss = loss + HIGH * _mean(high_pass(first) - high_pass(wanted))
    if history is not None:
        loss = loss + HISTORY * _mean(first - (begun - history.float()))
    return loss * weight


def frame_weights(frames: int) -> Float[Tensor, "l 1 1"]:
    """Of each latent frame, ready to multiply latents; published for 21, the same for any number."""
    weights = torch.ones(frames)
    early = min(frames, len(EARLY))
    weights[:early] = torch.tensor(EARLY[:early])
    return weights[:, None, None]


def low_pass(latents: Latents) -> Latents:
    """Height and width halved and brought back, linearly."""
    halved = functional.interpolate(latents, scale_factor=(1, 0.5, 0.5), mode="trilinear", align_corners=False)
    return functional.interpolate(halved, size=latents.shape[2:], mode="trilinear", align_corners=False)


def high_pass(latents: Latents) -> Latents:
    """What the low pass leaves."""
    return latents - low_pass(latents)


def _mean(error: Latents) -> Float[Tensor, " b"]:
    return error.square().flatten(1).mean(dim=1)
