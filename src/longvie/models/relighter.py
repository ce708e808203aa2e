"""What other words make of a picture that is known, as a whole: the same place at another hour, in other weather, on
another ground.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from longvie.models.attention import attend

PATCH = 4  # pixels of a side that are one place inside
SEEN = 9  # channels of what is known of a pixel
NEAREST = 0.99  # quantile of disparity that counts as 1
FAINT = 1e-3  # disparity, of that, below which a place is infinitely far
QUESTIONS = 8  # that both texts answer
GAIN = 3.0  # how much more than 1 at most, in octaves


class Relighter(nn.Module):
    """Other words, a picture → its gain and offset.

    Args:
        width: channels inside.
        layers: convolutional blocks (as in ConvNeXt, arXiv 2201.03545); every other one also reads the texts.
        heads: of that reading.
        text_width: of a token.
        fine_width: channels at the size of the picture.
    """

    def __init__(self, width: int, layers: int, heads: int, text_width: int, fine_width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(SEEN * PATCH**2, width, 1)
        self.before, self.now = nn.Linear(text_width, width), nn.Linear(text_width, width)
        self.questions = nn.Parameter(torch.randn(QUESTIONS, width) / width**0.5)
        self.gist = nn.Sequential(
            nn.Linear(2 * QUESTIONS * width + 1, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(_Block(width, heads if at % 2 else 0) for at in range(layers))
        self.leave = nn.Linear(width, fine_width * PATCH**2)
        self.fine = nn.Conv2d(fine_width + SEEN, fine_width, 3, padding=1)
        self.tint = nn.Linear(width, 2 * fine_width)
        self.answer = nn.Conv2d(fine_width, 6, 3, padding=1)
        for weight in self.answer.parameters():
            nn.init.zeros_(weight)

    def forward(
        self,
        pictures: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b h w"],
        before: Float[Tensor, "#b n d"],
        now: Float[Tensor, "#b m d"],
        along: Float[Tensor, " b"],
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]]:
        """Gain and offset of each colour of each pixel under the words now; black is 0.

        Args:
            pictures: in [-1, 1]; sides are multiples of 4.
            disparity: how near each place is, of any scale; 0 is infinitely far. All 0 where it is not known.
            before, now: embeddings of the words, zeros beyond the text.
            along: how far the pictures are on the way from the words before to those now, from 0 to 1.
        """
        seen = known(pictures, disparity).to(self.enter.weight)
        words, gist = self._told(before, now)
        gist = self.gist(torch.cat([gist.expand(len(pictures), -1), along[:, None].to(gist)], dim=1))
        x = self.enter(functional.pixel_unshuffle(seen, PATCH)).permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x, gist, words)
        fine = functional.pixel_shuffle(self.leave(x).permute(0, 3, 1, 2), PATCH)
        scale, shift = self.tint(gist)[..., None, None].chunk(2, dim=1)
        fine = functional.silu(self.fine(torch.cat([fine, seen], dim=1)) * (1 + scale) + shift)
        gain, offset = self.answer(fine).float().chunk(2, dim=1)
        return torch.exp2(GAIN * torch.tanh(gain)), offset

    def _told(
        self, before: Float[Tensor, "#b n d"], now: Float[Tensor, "#b n d"]
    ) -> tuple[Float[Tensor, "#b t c"], Float[Tensor, "#b g"]]:
        """Both texts, and one laid upon the other, as words often stand where others stood; and what they answer to the
        same few questions.
        """
        told = [(text.abs().sum(-1, keepdim=True) > 0).to(text) for text in (before, now)]
        was, becomes = self.before(before) * told[0], self.now(now) * told[1]
        answers = list[Tensor]()
        for text, mask in zip((was, becomes), told, strict=True):
            found = (text @ self.questions.T).masked_fill(mask == 0, float("-inf")).softmax(1)  # (b, n, questions)
            answers.append((found.transpose(1, 2) @ text).flatten(1))
        used = torch.maximum(*told).amax((0, 2)) > 0
        was, becomes = was[:, used], becomes[:, used]
        return torch.cat([was, becomes, was + becomes], dim=1), torch.cat(answers, dim=1)


class _Block(nn.Module):
    """Places look around, then each for itself, moved by what the texts say as a whole; with heads, each reads them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.turn = nn.Linear(width, 2 * width)
        self.out, self.back = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        if heads:
            self.calm = nn.LayerNorm(width)
            self.ask, self.key = nn.Linear(width, width), nn.Linear(width, 2 * width)
            self.told = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "b h w c"],
        gist: Float[Tensor, "b c"],
        words: Float[Tensor, "#b n c"],
    ) -> Float[Tensor, "b h w c"]:
        scale, shift = self.turn(gist)[:, None, None].chunk(2, dim=-1)
        inner = self.norm(self.around(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)) * (1 + scale) + shift
        x = x + self.back(functional.gelu(self.out(inner)))
        return x + self._read(x, words) if self.heads else x

    def _read(self, x: Float[Tensor, "b h w c"], words: Float[Tensor, "#b n c"]) -> Float[Tensor, "b h w c"]:
        asked = self.ask(self.calm(x.flatten(1, 2))).unflatten(-1, (self.heads, -1))
        key, value = self.key(words).unflatten(-1, (2 * self.heads, -1)).expand(len(x), -1, -1, -1).chunk(2, dim=2)
        return self.told(attend(asked, key, value).flatten(2)).unflatten(1, x.shape[1:3])


def known(pictures: Float[Tensor, "b 3 h w"], disparity: Float[Tensor, "b h w"]) -> Float[Tensor, "b 9 h w"]:
    """What is known of each pixel: its colour, how near it is, how its surface leans, whether it is sky, its height."""
    top = torch.quantile(disparity.flatten(1)[:, ::7].float(), NEAREST, dim=1).clamp(min=1e-6)
    near = (disparity.float() / top[:, None, None]).clamp(max=2)
    wide = functional.pad(near[:, None], (1, 1, 1, 1), "replicate")[:, 0]
    middle = near.clamp(min=FAINT)
    across = ((wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2]) / middle * 8).clamp(-2, 2)
    down = ((wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1]) / middle * 8).clamp(-2, 2)
    far = (near <= FAINT).to(near)
    height = torch.linspace(-1, 1, near.shape[1], device=near.device)[:, None].expand_as(near)
    deep = (middle.log() / math.log(FAINT)).clamp(0, 1)
    return torch.cat([pictures, torch.stack([near, deep, across, down, far, height], dim=1).to(pictures)], dim=1)
