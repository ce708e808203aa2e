"""Self-Forcing rollouts (Huang et al. 2025, arXiv 2506.08009): a student makes blocks from what it has itself made, as
it will in use, and learns from the last of them (reference/longlive §4.2).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.engine import flow
from longvie.engine.causal import blocks
from longvie.engine.flow import Latents
from longvie.engine.memory import Memory
from longvie.models.block import Past

Guess = Callable[[Latents, Float[Tensor, ""], range, Tensor, Past], Latents]
"""Clean latents of a block: out of noisy ones, their level, the block's frames, their positions, and the past."""


def roll(
    guess: Guess,
    memory: Memory,
    noise: Latents,
    levels: Float[Tensor, " levels"],
    leaves: int,
    fresh: Callable[[range, int], Latents],
    *,
    learned: int = 0,
    kept_level: float = 0.0,
) -> Latents:
    """A clip, block after block, each left after the same number of steps.

    What earlier blocks left in the memory is held fast: a block's loss reaches the weights through its own last step
    and no other way. (The published code lets it leak into the step before by which an earlier block was left.)

    Args:
        noise: where each block begins.
        levels: of the sampler, from 1 to 0.
        leaves: index of the step whose guess is the block.
        fresh: noise for a block after one of its steps.
        learned: the first latent frame that gradients are wanted for.
        kept_level: of noise on what is remembered; 0 in use. LongLive trains with 0.00498, its table's last row.
    """
    made = []
    for own in blocks(noise.shape[2], memory.block):
        positions = memory.begin(own)
        x = noise[:, :, own.start : own.stop]
        with torch.no_grad():
            for step in range(leaves):
                clean = guess(x, levels[step], own, positions, memory)
                x = flow.noised(clean, fresh(own, step), levels[step + 1])
        if own.start >= learned:
            clean = guess(x, levels[leaves], own, positions, memory.held())
        else:
            with torch.no_grad():
                clean = guess(x, levels[leaves], own, positions, memory)
        made.append(clean)
        with torch.no_grad():
            kept = flow.noised(clean.detach(), fresh(own, leaves), kept_level) if kept_level else clean.detach()
            guess(kept, levels.new_zeros(()), own, positions, memory)
        memory.end()
    return torch.cat(made, dim=2)
