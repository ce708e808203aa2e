"""What is given → the channels that the transformer reads beside the noisy ones.

A given latent frame is its latents behind a mask that says how much it counts (LongVie 2, Wan 2.1 I2V).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Encode = Callable[[Float[Tensor, "b 3 f H W"]], Float[Tensor, "b c l h w"]]

MASKS = 4  # mask channels: one for each video frame of a latent frame


def given(latents: Float[Tensor, "b c l h w"], known: Float[Tensor, "#b l"]) -> Float[Tensor, "b d l h w"]:
    """Mask and latents: the condition channels.

    Args:
        known: for each latent frame, 0 where nothing is given, 1 where it is, between for a keyframe's strength.
    """
    b, _, l, h, w = latents.shape  # noqa: E741 - the letter of our shapes
    mask = known.to(latents).expand(b, l)[:, None, :, None, None].expand(b, MASKS, l, h, w)
    return torch.cat((mask, latents), dim=1)


def held(
    condition: Float[Tensor, "b d l h w"],
    before: Float[Tensor, "b c h w"] | None = None,
    carried: Float[Tensor, "b c l h w"] | None = None,
    moves: Bool[Tensor, "b l"] | None = None,
    seen: Float[Tensor, "b 4 l h w"] | None = None,
) -> Float[Tensor, "b d l h w"]:
    """The condition with no empty latent frame: what was given last stays, behind a mask of 0, until more is given.

    A token then has the last known picture at its own place in hand, and need not look for it; where the camera rests,
    or tracks say how things move, that is nearly the answer.

    Args:
        before: the last latent frame of the history, which stays from the clip's beginning on; None is nothing.
        carried: the last known picture moved along the tracks (`controls.carried.carry`), which stands instead of it
            where `moves` is true, until a keyframe is given.
        seen: how much of each of its cells it really shows (`Moved.shares`); the mask there is that much below 0, so
            that the network need not guess which parts are known and which were filled in.
    """
    mask, latents = condition[:, :MASKS], condition[:, MASKS:]
    last = torch.zeros_like(latents[:, :, 0]) if before is None else before.to(latents)
    stale = torch.zeros_like(mask[:, :1, 0], dtype=torch.bool)
    frames, masks = [], []
    for at in range(latents.shape[2]):
        new = mask[:, :1, at] > 0
        last = torch.where(new, latents[:, :, at], last)
        stale = stale | new if at else stale
        shown, told = last, mask[:, :, at]
        if carried is not None and moves is not None:
            moving = moves[:, at, None, None, None].to(last.device) & ~stale & ~new
            shown = torch.where(moving, carried[:, :, at].to(last), last)
            told = told if seen is None else torch.where(moving, -seen[:, :, at].to(told), told)
        frames.append(shown)
        masks.append(told)
    return torch.cat((torch.stack(masks, dim=2), torch.stack(frames, dim=2)), dim=1)


def first_known(frames: int) -> Float[Tensor, "1 l"]:
    """The mask's values when only the first of so many latent frames is given."""
    return torch.eye(1, frames)


def still(picture: Float[Tensor, "b 3 h w"], frames: int) -> Float[Tensor, "b 3 f h w"]:
    """A video of that many frames whose first is the picture and whose others are mid grey, as Wan was trained."""
    video = picture.new_zeros(*picture.shape[:2], frames, *picture.shape[2:])
    video[:, :, 0] = picture
    return video


def picture_channels(
    encode: Encode, picture: Float[Tensor, "b 3 h w"], frames: int
) -> Float[Tensor, "b d l height width"]:
    """The condition of a clip of `frames` video frames that begins with a picture (reference §1.6)."""
    latents = encode(still(picture, frames))
    return given(latents, first_known(latents.shape[2]))


def control_channels(encode: Encode, video: Float[Tensor, "b 3 f h w"]) -> Float[Tensor, "b d l height width"]:
    """What a branch reads: the control's latents where the noisy ones stand, its own first frame as the picture."""
    return torch.cat((encode(video), picture_channels(encode, video[:, :, 0], video.shape[2])), dim=1)


def history_tokens(latents: Float[Tensor, "b c l h w"]) -> Float[Tensor, "b d l h w"]:
    """Earlier latent frames as history for our models: clean where noise would stand, and given (time 0)."""
    return torch.cat((latents, given(latents, torch.ones(1, latents.shape[2]))), dim=1)


def history_tokens_longvie(latents: Float[Tensor, "b c l h w"]) -> Float[Tensor, "b d l h w"]:
    """The same for LongVie 2's weights, which saw ones where noise would stand (reference §3.4)."""
    return torch.cat((torch.ones_like(latents), given(latents, torch.ones(1, latents.shape[2]))), dim=1)


def widened(latents: Float[Tensor, "b c l h w"], channels: int) -> Float[Tensor, "b channels l h w"]:
    """What a branch of our models reads: the control's latents where the noisy ones stand, and nothing given."""
    b, c, *rest = latents.shape
    return torch.cat((latents, latents.new_zeros(b, channels - c, *rest)), dim=1)
