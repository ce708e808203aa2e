"""What a trained model is given in its own later clips: clips of the world, continued by the model itself.

In use a later clip follows the model's own frames: its history is what it made, and the picture that tracks move is its
own last frame, blurred and drifted as it may be. Here the model makes the beginnings of clips, one after the other as
the engine does, and what the next one would be given is kept beside the truth (DAgger, arXiv 1011.0686: learn where
the learner goes).
"""

from dataclasses import replace

import numpy as np
import torch

from longvie.data.clips import Clip
from longvie.data.latents import ClipLatents, Worn, moved_latents
from longvie.training.stages.base import BaseStage
from longvie.training.windows import ALL, draw

BORDERS = (5, 13)  # latent frames at which a clip is continued
RECENT = 4  # latent frames that are handed on, beside the first


@torch.no_grad()
def continued(stage: BaseStage, clip: Clip, encoded: ClipLatents, *, seed: int = 0) -> ClipLatents:
    """The same clip, with what the model would be given at each border after making all before it."""
    random = np.random.Generator(np.random.PCG64([seed, clip.number, 13]))
    total, begin, steps = encoded.beats.shape[0], 0, int(random.integers(1, 5))
    made, decoder, worn = None, None, {}
    for border in (at for at in BORDERS if at < total):
        known = replace(encoded, worn=worn)
        recent = None if made is None else min(RECENT, made.shape[2] - 1)
        window = draw([known], [begin], random, length=border - begin, recent=recent, drops=ALL, wears=1.0)
        new = stage.sample(window.to(stage.device), steps=steps, seed=int(random.integers(2**31)))
        video, decoder = stage.autoencoder.decode(new.to(stage.autoencoder.dtype), decoder)
        made = new if made is None else torch.cat([made, new], dim=2)
        carried = moved_latents(video[0, :, -1].float().cpu(), clip, 4 * (border - 1), stage.autoencoder, stage.device)
        history = torch.cat([made[0, :, :1], made[0, :, -RECENT:]], dim=1)
        worn[border] = Worn(history.bfloat16().cpu(), carried[:, 1:])
        begin = border
    return replace(encoded, worn=worn)
