"""Light by words: what a change of words does to the light, as the model itself would paint it, and turned slowly.

A picture that is moved was taken under the words before, and a network that copies it keeps its light. Asked for the
same place without any picture, though, the model paints it in the light of the words. So it paints twice, under the
words before and those now, from the same noise and the same controls; how the one becomes the other, a gain and an
offset of each colour, for what is near and for the sky, is what the moved picture goes through from there on. What is
far is between the two, as air lies before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

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
LEAST = 0.03  # mean change of a colour, of the range of 1, below which there is none
FEW = 16  # grains of a region by which its change can be told
AIR = 0.04  # disparity, of the largest, at which a place looks more like the sky than like itself
PLAIN = 0.3  # share of the other region up to which a grain counts for one


@dataclass(frozen=True)
class Turn:
    """A change of light on its way.

    Attributes:
        map: gain and offset of each colour in [0, 1], of what is near and of the sky.
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


def airy(disparity: Float[Tensor, "f h w"] | None) -> Float[Tensor, "f h w"] | None:
    """How much of each place is the colour of the air before it: 1 is sky. By disparity of any scale."""
    if disparity is None:
        return None
    return torch.exp(-disparity / (AIR * torch.quantile(disparity[0].flatten()[::7].float(), 0.99).clamp(min=1e-6)))


def lit(moved: Moved, turns: Sequence[Turn], picked: int, start: int, air: Float[Tensor, "f h w"] | None) -> Moved:
    """A picture, moved, in the light of its frames.

    Args:
        picked: the frame of the video that the picture is.
        start: that of its first frame here.
        air: how much of each place is sky; frames past its end have that of the last one. None is nothing.
    """
    pictures = moved.pictures
    frames = torch.arange(start, start + pictures.shape[1]).to(pictures)
    for turn in turns:
        gain, offset = turn.between(picked, frames).to(pictures).unbind(-1)  # (f, regions, 3)
        gain, offset = (it.permute(1, 2, 0)[..., None, None] for it in (gain, gain + 2 * offset - 1))  # in [-1, 1]
        shown = gain[0] * pictures + offset[0]
        if air is not None:
            share = air[torch.arange(pictures.shape[1]).clamp(max=len(air) - 1)].to(pictures)
            shown = torch.lerp(shown, gain[1] * pictures + offset[1], share)
        pictures = shown.clamp(-1, 1)
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
    def turn(self, start: int, controls: Sequence[ControlInput], air: Float[Tensor, "f h w"] | None) -> Turn | None:
        """The change of light from frame `start` on; None where nobody would see one.

        Args:
            controls: of the span.
            air: of its frames.
        """
        was, now = (self._painted(words, controls) for words in (self.before, self.now))
        far = torch.zeros(was.shape[1:]) if air is None else _coarse(air[None, : was.shape[1]].float())[0]
        far = far[torch.arange(was.shape[1]).clamp(max=len(far) - 1)]
        whole = _between(was.flatten(1), now.flatten(1))
        regions = (far < PLAIN, far > 1 - PLAIN)
        maps = [_between(was[:, it], now[:, it]) if int(it.sum()) >= FEW else whole for it in regions]
        near, sky = (it[:, 0, None, None, None] * was + it[:, 1, None, None, None] for it in maps)
        change = (torch.lerp(near, sky, far) - was).abs().mean()
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


def _between(was: Float[Tensor, "3 n"], now: Float[Tensor, "3 n"]) -> Float[Tensor, "3 2"]:
    """Gain and offset of each colour that make the one of the other, by least squares; where a colour hardly varies,
    the gain alone.
    """
    mean, goal = was.mean(1), now.mean(1)
    spread = (was - mean[:, None]).square().mean(1)
    shared = ((was - mean[:, None]) * (now - goal[:, None])).mean(1)
    plain = goal / mean.clamp(min=0.02)
    gain = ((shared + EVEN * plain) / (spread + EVEN)).clamp(*GAINS)
    return torch.stack([gain, goal - gain * mean], dim=1)
