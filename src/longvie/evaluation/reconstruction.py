"""What an autoencoder keeps: test clips there and back, each stream as it is drawn for the model."""

from collections.abc import Iterator

import torch

from longvie.data import clips
from longvie.data.streams import STREAMS, pictures
from longvie.evaluation.fidelity import psnr, ssim
from longvie.models.autoencoder import Autoencoder

FRAMES = 81


@torch.no_grad()
def measure(autoencoder: Autoencoder, count: int = 8) -> Iterator[tuple[int, str, float, float]]:
    """(test clip, stream, PSNR in decibels, SSIM) of the first `count` test clips, 81 frames each.

    PSNR is that of the clip's mean squared error; SSIM is the mean over frames.
    """
    for number in range(count):
        clip = clips.make(number, frames=FRAMES, split="test")
        for stream in STREAMS:
            video = pictures(clip, stream)
            latents, _ = autoencoder.encode(video[None].to(autoencoder.device, autoencoder.dtype))
            made = (autoencoder.decode(latents)[0][0].float().cpu() + 1) / 2
            truth = (video + 1) / 2
            whole = [v.flatten(1, 2)[:, None] for v in (made, truth)]  # one tall frame: one error for the clip
            yield number, stream, float(psnr(*whole)), float(ssim(made, truth).mean())


def summary(rows: list[tuple[int, str, float, float]]) -> dict[str, dict[str, int | float]]:
    """Of each stream: means over clips, and the least and the greatest PSNR."""
    table = {}
    for stream in dict.fromkeys(stream for _, stream, _, _ in rows):
        levels = [level for _, name, level, _ in rows if name == stream]
        likeness = [value for _, name, _, value in rows if name == stream]
        table[stream] = {
            "clips": len(levels),
            "psnr": sum(levels) / len(levels),
            "psnr_low": min(levels),
            "psnr_high": max(levels),
            "ssim": sum(likeness) / len(likeness),
        }
    return table
