"""Where a clip begins, the last frame that was shown goes on for a moment, and fades: no seam is seen.

A clip is made from what is known by then, so its first frame differs a little from the one before wherever that was
made and not known: in sharpness and in colours. Moved along the same paths, both are the same scene, and one can go
over into the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.controls.paths import Way, sampled

FRAMES = 12  # three quarters of a second


@dataclass(frozen=True)
class Fading:
    """The last frame of before, moved on through the first frames of a clip.

    Attributes:
        share: how much of it is still shown; nothing where it does not show what is there.
    """

    pictures: Float[Tensor, "3 f h w"]
    share: Float[Tensor, "1 f h w"]

    @classmethod
    def of(cls, shown: Float[Tensor, "3 h w"], ways: Sequence[Way]) -> "Fading | None":
        """Along the ways of this very frame; None where nothing moves it.

        Args:
            ways: their first frame is its own.
        """
        if not ways:
            return None
        grid, visible = (
            torch.cat([getattr(way, name) for way in ways])[1 : 1 + FRAMES] for name in ("grid", "visible")
        )
        pictures = sampled(shown.expand(len(grid), -1, -1, -1), grid, "bicubic").clamp(-1, 1)
        share = 1 - torch.arange(1, len(grid) + 1).to(pictures) / (FRAMES + 1)
        return cls(pictures.transpose(0, 1), (visible.to(pictures) * share[:, None, None])[None])

    def over(self, frames: Float[Tensor, "3 f h w"], at: int) -> Float[Tensor, "3 f h w"]:
        """Frames of the clip, from its frame `at` on, as they are shown."""
        pictures, share = (it[:, at : at + frames.shape[1]].to(frames) for it in (self.pictures, self.share))
        count = pictures.shape[1]
        if not count:
            return frames
        return torch.cat([frames[:, :count].lerp(pictures, share), frames[:, count:]], dim=1)
