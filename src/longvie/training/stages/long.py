"""Stage `long`: the causal transformer learns where long videos go, half a minute and more into them.

`distill` ends with its clip of six seconds, under one light and in one memory. What the live engine meets later is of
another kind: pictures that were made, moved and made again, a sky that has turned since the first frame, words that
were other words before. So blocks are learnt here as the engine met them in long videos of its own (`training.rolled`),
each corrected by the truth; a share of the batches stays as `distill` has them. In another share the memory also holds
key frames of what lies further back (`engine.memory.Window.far`), so that the weights know what to do with them.
"""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from longvie.training.rolled import Shelf, joined
from longvie.training.stages.causal import KEPT, SAMPLES
from longvie.training.stages.distill import STEPS, DistillStage

CLIPS = 0.25  # share of batches with clips that begin
FAR = (0, 0, 0, 1, 2, 3)  # key frames that the memory holds in a batch, as likely each
EVERY = 4  # of the blocks of a held-out video, which are looked at


class LongStage(DistillStage):
    """Predicts the clean latents of blocks of long videos.

    Args:
        shelf, unknown: long videos to learn from, and those that are held out.
    """

    name: ClassVar[str] = "long"

    def __init__(self, *given: Any, shelf: Shelf, unknown: Shelf, scale: int = 1) -> None:
        super().__init__(*given, scale=scale)
        self.shelf, self.unknown = shelf, unknown

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:
        if random.random() < CLIPS:
            return super().forward(random, share)
        self.calls += 1
        window = replace(KEPT, far=int(random.choice(FAR)))
        block = self.shelf.draw(random, SAMPLES * self.scale, window).to(self.device)
        x, t = self.reached(block, int(random.integers(STEPS)))
        return self.error(block, self.made(block, x, t), t)

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """As `distill`; and the error of blocks of long videos that are held out."""
        errors = []
        for video in self.unknown.items:
            numbers = range(EVERY - 1, video.blocks, EVERY)
            for number in numbers or (video.blocks - 1,):
                block = joined([video.block(number)]).to(self.device)
                made = self.sampled(block, steps=1, seed=number)
                errors.append(float((self.importance * (made - block.clean).square()).mean()))
        return super().figures() | {"held_out_long": float(np.mean(errors))}
