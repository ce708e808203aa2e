"""What other words make of a picture that is known: the same place in another light, on another ground, with things of
other colours.

A picture that is moved was taken under the words before. Two networks see it, how near its places are, and both texts:
one turns the light, the other the colours of single things. Each answers with a gain and an offset for each colour of
each pixel. So edges stay where and as sharp as they were.
"""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Bool, Float, Int
from torch import Tensor

from longvie.models.painter import Painter, see
from longvie.models.recolourer import Looked, Recolourer
from longvie.models.relighter import Relighter

EVEN, STRONGEST = 0.001, 4.0  # pulls a thing's gain towards 1, where its places are alike; the largest that there is
LITTLE = 0.02  # mean change of a thing, of the range of 2, below which nobody meant it


class Repainter(ModelMixin, ConfigMixin):
    """Other words, a picture → the picture. Both parts have the same sizes.

    Args:
        width: channels inside.
        layers: convolutional blocks.
        heads: with which the light's places read the texts.
        text_width: of a token.
        fine_width: channels at the size of the picture.
        wholes: whether things that words mean are painted by a part that sees them as wholes.
    """

    @register_to_config
    def __init__(
        self,
        width: int = 96,
        layers: int = 6,
        heads: int = 4,
        text_width: int = 128,
        fine_width: int = 20,
        *,
        wholes: bool = False,
    ) -> None:
        super().__init__()
        self.light = Relighter(width, layers, heads, text_width, fine_width)
        self.things = Recolourer(width, layers, text_width, fine_width)
        self.painter = Painter(width, text_width) if wholes else None

    def forward(
        self, pictures: Float[Tensor, "b 3 h w"], *told: Tensor, pieces: Int[Tensor, "#b h w"] | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """The pictures as they are under the words now, wholly; arguments as `maps` has them."""
        gain, offset, _ = self.maps(pictures, *told, pieces=pieces)
        return applied(pictures, gain, offset)

    def maps(
        self,
        pictures: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b h w"],
        before: Float[Tensor, "#b n d"],
        now: Float[Tensor, "#b m d"],
        along: Float[Tensor, " b"],
        pieces: Int[Tensor, "#b h w"] | None = None,
    ) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"], Bool[Tensor, "b h w"]]:
        """Gain and offset of each colour of each pixel under the words now; black is 0. And where things are painted.

        Args:
            pictures: in [-1, 1]; sides are multiples of 4.
            disparity: how near each place is, of any scale; 0 is infinitely far. All 0 where it is not known.
            before, now: embeddings of the words, zeros beyond the text.
            along: how far the pictures are on the way from the words before to those now, from 0 to 1.
            pieces: a number above 0 for each thing, others for what is none; without them all may change colour.
        """
        gain, offset = self.light(pictures, disparity, before, now, along)
        lit = applied(pictures, gain, offset).clamp(-1, 1)
        looked = self.things.look(lit.to(pictures), disparity, before, now, along)
        more, other = looked.gain, looked.offset
        if pieces is not None:
            after = applied(lit, more, other).clamp(-1, 1)
            if self.painter is None:
                more, other = evened(lit, after, pieces)
            else:
                more, other = torch.ones_like(lit), self._painted(lit, after, disparity, before, now, pieces, looked)
        painted = ((more != 1) | (other != 0)).any(1)
        return gain * more, offset * more + other, painted

    def _painted(
        self,
        before: Float[Tensor, "b 3 h w"],
        after: Float[Tensor, "b 3 h w"],
        disparity: Float[Tensor, "b h w"],
        text_before: Float[Tensor, "#b n d"],
        text_now: Float[Tensor, "#b n d"],
        pieces: Int[Tensor, "#b h w"],
        looked: Looked,
    ) -> Float[Tensor, "b 3 h w"]:
        """What is to be added to colours for the things that are `meant` to be painted as wholes."""
        assert self.painter is not None
        texts, painted = torch.cat([text_before, text_now], dim=-1), before.clone()
        chosen = meant(before, after, pieces)
        for at, place in enumerate(pieces.expand(len(before), -1, -1)):
            things = [place == number for number in place[chosen[at]].unique().tolist()]
            if things:
                told = looked.of(at), texts[min(at, len(texts) - 1)]
                seen = see(before[at], after[at], disparity[at], things, *told)
                painted[at] = self.painter.paint(before[at], things, seen)
        return painted - before


def meant(
    before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], pieces: Int[Tensor, "#b h w"]
) -> Bool[Tensor, "b h w"]:
    """Where a colour really changes: on the thing that changes the most, and on others that change as much by half. A
    thing is meant by words or is not; and what is no thing has its colour from the light's part.
    """
    change = (after - before).abs().mean(1)
    found = torch.zeros_like(change, dtype=torch.bool)
    for own, place, where in zip(change, pieces.expand(len(change), -1, -1), found, strict=True):
        means = {number: float(own[place == number].mean()) for number in place[place > 0].unique().tolist()}
        enough = max(LITTLE, max(means.values(), default=0.0) / 2)
        chosen = [number for number, mean in means.items() if mean > enough]
        where |= torch.isin(place, torch.tensor(chosen, dtype=place.dtype, device=place.device))
    return found


def evened(
    before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], pieces: Int[Tensor, "#b h w"]
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b 3 h w"]]:
    """One gain and offset of each colour for each thing that is `meant`, nothing elsewhere: a thing is painted as a
    whole or not at all. Places that change more know better what to.
    """
    gain, offset = torch.ones_like(before), torch.zeros_like(before)
    chosen = meant(before, after, pieces)
    for picture, place in enumerate(pieces.expand(len(before), -1, -1)):
        for number in place[chosen[picture]].unique().tolist():
            where = place == number
            was, now = before[picture][:, where], after[picture][:, where]
            weight = (now - was).abs().mean(0)
            weight = weight / weight.sum()
            middle, goal = (was * weight).sum(1, keepdim=True), (now * weight).sum(1, keepdim=True)
            spread = ((was - middle).square() * weight).sum(1, keepdim=True)
            shared = ((was - middle) * (now - goal) * weight).sum(1, keepdim=True)
            more = ((shared + EVEN) / (spread + EVEN)).clamp(0, STRONGEST)
            gain[picture][:, where] = more
            offset[picture][:, where] = (goal + 1) - more * (middle + 1)
    return gain, offset


def applied(
    pictures: Float[Tensor, "b 3 h w"], gain: Float[Tensor, "b 3 h w"], offset: Float[Tensor, "b 3 h w"]
) -> Float[Tensor, "b 3 h w"]:
    """Pictures with a gain and an offset; black is 0."""
    return (pictures.float() + 1) * gain - 1 + offset
