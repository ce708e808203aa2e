"""Stage `match`: the causal transformer learns from a teacher and a critic instead of the truth (DMD, `training.dmd`).

As Self-Forcing and LongLive train their students where nobody knows what should have been made. The teacher is the
clip transformer, which sees all frames at once; the critic begins as the teacher and follows what the student makes.
The student goes through a clip from its first block on by its own sampler, and its last block is corrected. `distill`
does the same with the world's truth; this is here so that the two can be compared, and for data without one.
"""

from copy import deepcopy
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from longvie.engine import flow
from longvie.models.transformer import VideoTransformer
from longvie.training import dmd
from longvie.training.stages.base import SHIFT
from longvie.training.stages.causal import BLOCK, SAMPLES, whole_clips
from longvie.training.stages.distill import STEPS, DistillStage
from longvie.training.windows import Window

MOST = 5  # blocks of a rollout
OFTEN = 0.4  # share of steps in which the student learns; the critic always does (published: 0.2, of many more steps)


class MatchStage(DistillStage):
    """Blocks that a teacher and a critic hold for equally likely.

    Args:
        teacher: a clip transformer that sees what the student sees.
    """

    name: ClassVar[str] = "match"

    def __init__(self, *given: Any, teacher: VideoTransformer, scale: int = 1) -> None:
        super().__init__(*given, scale=scale)
        self.teacher = teacher.requires_grad_(requires_grad=False)
        self.critic = deepcopy(teacher).requires_grad_()

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        self.calls += 1
        clips = [self.pool.draw(random) for _ in range(SAMPLES * self.scale)]
        whole = whole_clips(clips, random).to(self.device)
        last = BLOCK * int(random.integers(MOST))
        learns = random.random() < OFTEN
        made = self.rolled_from(clips, whole, range(0, last, BLOCK), random)
        block = self._block(clips, whole, last, made, random)
        x, t = self.reached(block, int(random.integers(STEPS)))
        with torch.set_grad_enabled(learns and torch.is_grad_enabled()):
            clip = torch.cat([made, self.made(block, x, t).float()], dim=2)
        window = whole.first(last + BLOCK)
        follows = self.followed(window, clip.detach(), random)
        figures = {"critic": float(follows.detach())}
        if not learns:
            return follows, figures
        matched = self.matched(window, clip, random)
        return matched + follows, figures | {"matched": float(matched.detach())}

    def matched(self, window: Window, clip: Tensor, random: np.random.Generator) -> Tensor:
        """What draws the last block of a rollout to where teacher and critic agree."""
        t = self._level(clip, random)

        def guess(network: VideoTransformer) -> dmd.Guess:
            return lambda noisy, t: self.predict(window, noisy, t, network).float()

        towards = dmd.matched(clip.detach(), torch.randn_like(clip), t, guess(self.teacher), guess(self.critic))
        return dmd.loss(clip, towards, dmd.last_frames(clip.shape[2], BLOCK))

    def followed(self, window: Window, clip: Tensor, random: np.random.Generator) -> Tensor:
        """The critic's error on a rollout."""
        t, noise = self._level(clip, random), torch.randn_like(clip)
        noisy = flow.noised(clip, noise, t)
        return dmd.critic_loss(self.predict(window, noisy, t, self.critic).float(), noisy, clip, noise, t)

    def _level(self, clip: Tensor, random: np.random.Generator) -> Tensor:
        rows = torch.from_numpy(random.integers(flow.TABLE_ROWS, size=len(clip)))
        return dmd.levels(rows, SHIFT).to(clip)
