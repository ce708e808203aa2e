"""Stage `distill`: the causal transformer learns from its own blocks (Self-Forcing, arXiv 2506.08009), held against the
world's truth.

`causal` has always seen the truth as its past. In use the past is what it made itself, and a level of noise is reached
by its own steps. So here it makes some blocks as the engine does, by the engine's own sampler, without gradients; then
one more, at one of the sampler's levels, that the truth corrects. The world is known exactly: no teacher and no critic
guess what should have been made (`training.dmd` is for worlds that are not).
"""

from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvie.data.latents import ClipLatents
from longvie.engine import flow
from longvie.training.stages.base import SHIFT
from longvie.training.stages.causal import (
    BLOCK,
    LATENTS,
    SAMPLES,
    Block,
    CausalStage,
    block_of,
    carried_at,
    said,
    whole_clips,
)
from longvie.training.windows import Window

STEPS = 2  # of the sampler, as the card says
MOST = 4  # blocks made before the one that learns
FIRST = 0.1  # share of batches that learn a video's first block


class DistillStage(CausalStage):
    """Predicts the clean latents of a block after blocks of its own."""

    name: ClassVar[str] = "distill"

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        self.calls += 1
        clips = [self.pool.draw(random) for _ in range(SAMPLES * self.scale)]
        whole = whole_clips(clips, random).to(self.device)
        own = 0 if random.random() < FIRST else int(random.integers(1, MOST + 1))
        last = LATENTS // BLOCK - 1
        now = BLOCK * int(random.integers(own, last + 1)) if own else 0
        made = self.rolled_from(clips, whole, range(now - BLOCK * own, now, BLOCK), random)
        block = self._block(clips, whole, now, made, random)
        x, t = self.reached(block, int(random.integers(STEPS)))
        return self.error(block, self.made(block, x, t), t)

    @torch.no_grad()
    def rolled_from(
        self, clips: list[ClipLatents], whole: Window, begins: range, random: np.random.Generator
    ) -> Float[Tensor, "b c l h w"]:
        """Latents up to the end of some blocks, these made by the model; those before are the truth."""
        made = whole.clean[:, :, : begins.start if len(begins) else 0]
        for now in begins:
            block = self._block(clips, whole, now, made, random)
            made = torch.cat([made, self.sampled(block, steps=STEPS, seed=int(random.integers(2**31)))], dim=2)
        return made

    @torch.no_grad()
    def reached(self, block: Block, step: int) -> tuple[Float[Tensor, "b c block h w"], Float[Tensor, " b"]]:
        """Where the sampler is before a step, and its level."""
        levels = flow.times(STEPS, SHIFT)
        x = torch.randn_like(block.clean)
        for now, then in pairwise(levels[: step + 1]):
            t = now.to(x).expand(len(x))
            x = x + (then - now).to(x) * flow.velocity_from_x0(self.made(block, x, t).float(), x, t)
        return x, levels[step].to(x).expand(len(x))

    def _block(
        self, clips: list[ClipLatents], whole: Window, now: int, made: Tensor, random: np.random.Generator
    ) -> Block:
        carried, seen = (it.to(self.device) for it in carried_at(clips, whole, now, random))
        return block_of(replace(whole, words=said(clips, whole.words, now)), now, carried, seen, made)
