"""Which latent frames see which, when a causal stream is trained on whole clips: masks for `VideoTransformer.forward`.

They say in one call what the memory says block by block (CausVid, arXiv 2412.07772; Self-Forcing, arXiv 2506.08009;
reference §1.7), so both count with the same `Window`.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Bool
from torch import Tensor

from longvie.engine.memory import Window


def blocks(frames: int, block: int, *, first_alone: bool = False) -> Iterator[range]:
    """The latent frames of a clip as they are made together; the last block may be shorter.

    Args:
        first_alone: whether the first latent frame, which stands for one picture, is a block of its own.
    """
    begins = [0, *range(1, frames, block)] if first_alone else range(0, frames, block)
    return (range(*pair) for pair in pairwise([*begins, frames]))


def block_causal(
    frames: int, block: int, *, window: Window | None = None, first_alone: bool = False
) -> Bool[Tensor, "l l"]:
    """Every block sees itself and what `window` keeps of those before it; None keeps all.

    Self-Forcing's window of w frames, the block included, is `Window(sink=0, recent=w - block)`.
    """
    visible = torch.zeros(frames, frames, dtype=torch.bool)
    for own in blocks(frames, block, first_alone=first_alone):
        before = range(own.start) if window is None else window.kept(own.start)
        visible[own.start : own.stop, [*before, *own]] = True
    return visible


def teacher_forcing(
    frames: int, block: int, *, window: Window | None = None, first_alone: bool = False
) -> Bool[Tensor, "both both"]:
    """For clean frames as history, at the same positions, then the noisy ones: a noisy block sees itself and the clean
    ones before it, a clean block what a stream sees.
    """
    clean = block_causal(frames, block, window=window, first_alone=first_alone)
    own = block_causal(frames, block, window=Window(0, 0), first_alone=first_alone)
    return torch.cat((torch.cat((clean, torch.zeros_like(clean)), dim=1), torch.cat((clean & ~own, own), dim=1)), dim=0)
