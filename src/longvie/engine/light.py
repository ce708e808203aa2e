"""Light by words: what a change of words does to the light, as the model itself would paint it, and turned slowly.

A picture that is moved was taken under the words before, and a network that copies it keeps its light. Asked for the
same place without any picture, though, the model paints it in the light of the words. So it paints twice, under the
words before and those now, from the same noise and the same controls; how the one becomes the other, a gain and an
offset of each colour, for the ground, for things and for the sky, is what the moved picture goes through from there on.
What is far is between these and the sky, as air lies before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from longvie.controls.floor import floor
from longvie.controls.moved import Moved
from longvie.engine import conditioning, flow
from longvie.models.control_branch import ControlInput
from longvie.models.models import Models
from longvie.models.transformer import VideoTransformer

SECONDS = 2.5  # from the old light to the new
LOOK = 3  # latent frames that are painted
GRAIN = 4  # pixels of a side that count as one
EVEN = 0.01  # pull of a gain towards that which takes black to black
GAINS = (0.05, 3.0)
DARK = 0.15  # mean brightness below which more light may multiply colours; else it is added, as by fog or snow
BRIGHTER = 1.5  # how much at most
LUMA = (0.299, 0.587, 0.114)
GROUND, THINGS, SKY = range(3)  # regions, each with a map of its own
LEAST = 0.03  # mean change of a colour, of the range of 1, below which there is none
FEW = 16  # grains of a region by which its change can be told
AIR = 0.04  # disparity, of the largest, at which a place looks more like the sky than like itself
FAR = 0.5  # share of air from which on nothing is told apart
THIN = 3  # pixels: what is thinner is no thing
PLAIN = 0.3  # share of the other region up to which a grain counts for one


@dataclass(frozen=True)
class Turn:
    """A change of light on its way.

    Attributes:
        map: gain and offset of each colour in [0, 1], of ground, things and sky.
        start: frame of the video at which the words changed.
        frames: how many it takes.
    """

    map: Float[Tensor, "regions 3 2"]
    start: int
    frames: int

    def share(self, frames: Float[Tensor, " f"]) -> Float[Tensor, " f"]:
        """How far it has gone at some frames, from 0 to 1."""
        t = ((frames - self.start) / self.frames).clamp(0, 1)
        return t * t * (3 - 2 * t)

    def over(self, picked: int) -> bool:
        """Whether a picture taken at a frame is in the new light already."""
        return picked >= self.start + self.frames

    def between(self, picked: int, frames: Float[Tensor, " f"]) -> Float[Tensor, "f regions 3 2"]:
        """Gains and offsets from the light at frame `picked` to that at each of some frames."""
        parts = []
        for share in (self.share(torch.tensor([float(picked)]).to(frames)), self.share(frames)):
            share = share[:, None, None]
            parts.append((1 + (self.map[..., 0] - 1) * share, self.map[..., 1] * share))
        (was, moved), (now, shifted) = parts
        gain = now / was
        return torch.stack([gain, shifted - gain * moved], dim=-1)


def regions(disparity: Float[Tensor, "f h w"]) -> Float[Tensor, "regions f h w"]:
    """How much of each place is ground, a thing, and sky or the air before it; together 1. Disparity of any scale."""
    near = torch.quantile(disparity[0].flatten()[::7].float(), 0.99).clamp(min=1e-6)
    air = torch.exp(-disparity / (AIR * near))
    thing = (~floor(disparity) & (air < FAR)).to(air)[:, None]
    core = -functional.max_pool2d(-thing, THIN, 1, THIN // 2)  # a line along the horizon is none
    thing = torch.minimum(thing, functional.max_pool2d(core, THIN, 1, THIN // 2))[:, 0]
    return torch.stack([(1 - air) * (1 - thing), (1 - air) * thing, air])


def lit(
    moved: Moved, turns: Sequence[Turn], picked: int, start: int, disparity: Float[Tensor, "known H W"] | None
) -> Moved:
    """A picture, moved, in the light of its frames.

    Args:
        picked: the frame of the video that the picture is.
        start: that of its first frame here.
        disparity: of its frames; those past its end have that of the last one. None: all is ground.
    """
    pictures = moved.pictures
    if not turns:
        return moved
    frames = torch.arange(start, start + pictures.shape[1]).to(pictures)
    shares = None if disparity is None or not len(disparity) else regions(disparity).to(pictures)
    for turn in turns:
        gain, offset = turn.between(picked, frames).to(pictures).unbind(-1)  # (f, regions, 3)
        gain, offset = (it.permute(1, 2, 0)[..., None, None] for it in (gain, gain + 2 * offset - 1))  # in [-1, 1]
        if shares is None:
            shown = gain[GROUND] * pictures + offset[GROUND]
        else:
            of = shares[:, torch.arange(pictures.shape[1]).clamp(max=shares.shape[1] - 1)]
            shown = sum(share * (gain[at] * pictures + offset[at]) for at, share in enumerate(of))
        pictures = torch.as_tensor(shown).clamp(-1, 1)
    return replace(moved, pictures=pictures)


@dataclass(frozen=True)
class NewWords:
    """Words that change as a span begins: what the light does then is told by painting.

    Attributes:
        before, now: embeddings of the words.
        noise: of the span.
    """

    models: Models
    transformer: VideoTransformer
    before: Float[Tensor, "1 n d"]
    now: Float[Tensor, "1 n d"]
    noise: flow.Latents
    frames: int

    @torch.no_grad()
    def turn(
        self, start: int, controls: Sequence[ControlInput], disparity: Float[Tensor, "f h w"] | None
    ) -> Turn | None:
        """The change of light from frame `start` on; None where nobody would see one.

        Args:
            controls: of the span.
            disparity: of its frames.
        """
        was, now = (self._painted(words, controls) for words in (self.before, self.now))
        whole = _between(was.flatten(1), now.flatten(1))
        maps, shares = [whole] * 3, None
        if disparity is not None:
            shares = functional.avg_pool2d(regions(disparity[: was.shape[1]].float()), GRAIN)
            shares = shares[:, torch.arange(was.shape[1]).clamp(max=shares.shape[1] - 1)]
            near = _within(shares[SKY] < PLAIN, was, now, whole)
            maps = [_within(share > 1 - PLAIN, was, now, near) for share in shares]
            maps[SKY] = _within(shares[SKY] > 1 - PLAIN, was, now, whole)
        turned = [it[:, 0, None, None, None] * was + it[:, 1, None, None, None] for it in maps]
        after = turned[GROUND] if shares is None else sum(s * it for s, it in zip(shares, turned, strict=True))
        change = (torch.as_tensor(after) - was).abs().mean()
        return Turn(torch.stack(maps), start, self.frames) if float(change) > LEAST else None

    def _painted(self, words: Tensor, controls: Sequence[ControlInput]) -> Float[Tensor, "3 f y x"]:
        """The first frames of the span under some words, without any picture, coarse, in [0, 1]."""
        network, autoencoder = self.transformer, self.models.autoencoder
        own, place = network.patch_embedding.weight.dtype, network.patch_embedding.weight.device
        noise = self.noise[:, :, :LOOK].to(place)
        config = network.config
        nothing = torch.zeros(1, config["out_channels"], *noise.shape[2:])
        condition = conditioning.given(nothing, torch.zeros(1, noise.shape[2]))
        near = [
            replace(it, latents=it.latents[:, :, :LOOK], strength=it.strength[:, :LOOK]).to(place) for it in controls
        ]
        t = torch.ones(1, device=place)
        out = network(noise.to(own), t, words, condition=condition.to(place), controls=near)
        latents = out.float() if self.models.card.predicts == "x0" else flow.x0_from_velocity(out.float(), noise, t)
        shown, _ = autoencoder.decode(latents.to(autoencoder.device, autoencoder.dtype))
        return _coarse((shown[0].float().cpu() + 1) / 2)


def _coarse(video: Float[Tensor, "c f h w"]) -> Float[Tensor, "c f y x"]:
    return functional.avg_pool2d(video, GRAIN)


def _within(
    region: Bool[Tensor, "f y x"], was: Float[Tensor, "3 f y x"], now: Float[Tensor, "3 f y x"], other: Tensor
) -> Float[Tensor, "3 2"]:
    """The map of a region; another one where the region is too small to tell."""
    return _between(was[:, region], now[:, region]) if int(region.sum()) >= FEW else other


def _between(was: Float[Tensor, "3 n"], now: Float[Tensor, "3 n"]) -> Float[Tensor, "3 2"]:
    """Gain and offset of each colour that make the one of the other, by least squares; where a colour hardly varies,
    less light multiplies, and more light is added, unless it was dark.
    """
    mean, goal = was.mean(1), now.mean(1)
    spread = (was - mean[:, None]).square().mean(1)
    shared = ((was - mean[:, None]) * (now - goal[:, None])).mean(1)
    before, after = (float((torch.tensor(LUMA).to(it) * it).sum()) for it in (mean, goal))
    most = min(max(after / max(before, 0.02), 1.0), BRIGHTER) if before < DARK else 1.0
    plain = (goal / mean.clamp(min=0.02)).clamp(max=most)
    gain = ((shared + EVEN * plain) / (spread + EVEN)).clamp(*GAINS)
    return torch.stack([gain, goal - gain * mean], dim=1)
