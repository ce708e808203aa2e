"""Stage `base`: transformer, words and control branches together, from nothing, on encoded clips of the world.

Starts from random weights and the frozen autoencoder. There is no frozen trunk to add branches to, as the published
first stage has; so everything learns at once. Windows grow from 9 latent frames to 21 as the schedule goes on, and a
share of them already stands after clean history, so that the next stage only has to teach what damage looks like.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from longvie.data.latents import Pool
from longvie.engine import conditioning, flow
from longvie.models.encoders import WordEncoder
from longvie.models.tae import TinyAutoencoder
from longvie.models.transformer import VideoTransformer
from longvie.training.trainer import Stage
from longvie.training.windows import ALL, Window, draw, places, tokens

SHIFT = 3.0  # of the sampler's noise levels
LEVELS = (
    (0.02, 0.45, 0.15),
    (0.45, 0.95, 0.45),
    (0.95, 1.0, 0.40),
)  # (from, to, share): few steps begin at 1 and are soon done
SHORT, WHOLE = (9, 8), (21, 4)  # (latent frames, samples) of a batch
GROWS = 0.45  # share of the schedule from which on most windows are whole clips
AFTER = 0.35  # share of batches with history
RECENT = (1, 2, 3, 4)  # latent frames of it, beside the first
REFRESH = 200  # steps between two looks for newly encoded clips


PROBE = 0.3  # size of the error, in deviations, by which a channel's effect on the picture is measured
COPY = 0.7  # gain of the head at the start, about what the norm before it takes away


@torch.no_grad()
def start(model: VideoTransformer) -> None:
    """First weights: what is given (first picture, keyframes, history) passes through to the prediction.

    As many channels of the stream as a patch has values carry the given latents from the first layer to the last; the
    rest is random as ever. From nothing a thousand steps did not learn as much.
    """
    patch, out = model.patch_embedding.weight, model.head.head.weight
    channels, (rows, columns) = model.config.out_channels, patch.shape[3:]
    given = model.config.in_channels - channels
    patch[: channels * rows * columns].zero_()
    out.zero_()
    for channel in range(channels):
        for cell in range(rows * columns):
            place = channel * rows * columns + cell
            patch[place, given + channel, 0, cell // columns, cell % columns] = 1.0
            out[cell * channels + channel, place] = COPY


class BaseStage(Stage):
    """Predicts clean latents: squared error, more where less noise leaves less of it, and more in the channels that
    move the picture more.
    """

    name: ClassVar[str] = "base"
    importance: Tensor

    def __init__(
        self,
        transformer: VideoTransformer,
        words: WordEncoder,
        autoencoder: TinyAutoencoder,
        pool: Pool,
        held_out: Pool,
        *,
        scale: int = 1,
        remembers: bool = True,
    ) -> None:
        """`scale` multiplies the batch. `held_out` are test clips for the sheet. What does not remember sees the first
        latent frame of the video alone as history.
        """
        super().__init__()
        self.remembers = remembers
        self.transformer, self.words = transformer, words
        self.autoencoder = autoencoder.requires_grad_(False)
        self.pool, self.held_out, self.scale, self.calls = pool, held_out, scale, 0
        self.register_buffer("importance", importance(autoencoder, held_out), persistent=False)

    def matrices(self) -> list[nn.Parameter]:
        """Those of the blocks, trunk and branches."""
        return [p for name, p in self.named_parameters() if p.ndim == 2 and "blocks" in name]

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:
        self.calls += 1
        if self.calls % REFRESH == 0:
            self.pool.refresh()
        window = self.batch(random, share)
        noise = torch.randn_like(window.clean)
        t = self.levels(window.clean, random)
        made = self.predict(window, flow.noised(window.clean, noise, t), t)
        return self.loss(window, made, noise, t)

    def batch(self, random: np.random.Generator, share: float) -> Window:
        """Windows for one step."""
        length, samples = WHOLE if random.random() < (0.85 if share > GROWS else 0.08) else SHORT
        recent = int(random.choice(RECENT)) if random.random() < AFTER else None
        if recent is not None:
            length = min(length, 20)
        clips = [self.pool.draw(random) for _ in range(samples * self.scale)]
        begins = places(clips, random, length=length, recent=recent)
        return draw(clips, begins, random, length=length, recent=recent).to(self.device)

    def levels(self, clean: Tensor, random: np.random.Generator) -> Float[Tensor, " b"]:
        """Noise levels, spread evenly over the batch as `LEVELS` says."""
        count = clean.shape[0]
        u = (np.arange(count) + random.random()) / count
        shares = np.cumsum([0.0, *(share for _, _, share in LEVELS)])
        levels = np.interp(u, shares, [LEVELS[0][0], *(end for _, end, _ in LEVELS)])
        return torch.from_numpy(levels).float().to(self.device)

    def predict(
        self, window: Window, noisy: Tensor, t: Tensor, network: VideoTransformer | None = None
    ) -> Float[Tensor, "b c l h w"]:
        """Clean latents, by another network than the stage's own if one is given."""
        ids, mask = self.words.tokens(list(window.words))
        seen = None if window.history is None else window.history if self.remembers else window.history[:, :, :1]
        history = None if seen is None else tokens(seen)
        before = None if window.history is None else window.history[:, :, -1]
        return (network or self.transformer)(
            noisy,
            t,
            self.words(ids.to(self.device), mask.to(self.device)),
            condition=conditioning.held(window.condition, before, window.carried, window.moves, window.seen),
            history=history,
            history_times=None if history is None else t.new_zeros(len(t), history.shape[2]),
            controls=window.controls,
            beats=window.beats,
        )

    def loss(self, window: Window, made: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        error = (made.float() - window.clean).square()
        figures = {"error": float(error.detach().mean())}
        return (weight(t) * (self.importance * error).flatten(1).mean(1)).mean(), figures

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Squared error on held-out clips from pure noise in one step, in all channels and as the loss weighs them."""
        random = np.random.Generator(np.random.PCG64(5))
        clips = self.held_out.items[:8]
        window = draw(clips, [0] * len(clips), random, length=9, recent=None, drops=ALL).to(self.device)
        error = (self.sample(window, steps=1) - window.clean).square()
        return {"held_out": float((self.importance * error).mean()), "held_out_error": float(error.mean())}

    @property
    def device(self) -> torch.device:
        return self.transformer.device

    @torch.no_grad()
    def sample(self, window: Window, *, steps: int = 4, seed: int = 0) -> Float[Tensor, "b c l h w"]:
        """Clean latents from noise, in a few steps."""
        noise = torch.randn(window.clean.shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            level = t.to(self.device).expand(x.shape[0])
            return flow.velocity_from_x0(self.predict(window, x, level).float(), x, level)

        return flow.euler(velocity, noise, flow.times(steps, SHIFT))

    @torch.no_grad()
    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Held-out clips, three rows each: truth, depth, made with all controls; then made without controls."""
        random = np.random.Generator(np.random.PCG64(5))
        clips = self.held_out.items[:4]
        window = draw(clips, [0] * len(clips), random, length=21, recent=None, drops=ALL).to(self.device)
        made = self.sample(window)
        bare = self.sample(Window(window.clean, window.condition, None, (), window.beats, window.words))
        depth = torch.stack([c.streams["depth"][:, :21] for c in clips]).float().to(self.device)
        rows = []
        for k in range(len(clips)):
            for latents in (window.clean, depth, made, bare):
                video = self.autoencoder.decode(latents[k : k + 1].to(self.autoencoder.dtype))[0][0].float()
                rows.append(torch.cat(list(video[:, ::16].unbind(1)), dim=-1))
        grid = torch.cat(rows, dim=1).permute(1, 2, 0)
        return ((grid + 1) * 127.5).clamp(0, 255).round().byte().cpu().numpy()

    def export(self, folder: Path) -> None:
        """Saves transformer and words."""
        self.transformer.save_pretrained(folder / "transformer")
        self.words.save(folder / "words")


def weight(t: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Of a noise level's error: 0.8 at pure noise, 4 at none."""
    return 1 / (t.square() + 0.25)


@torch.no_grad()
def importance(autoencoder: TinyAutoencoder, clips: Pool) -> Float[Tensor, "1 c 1 1 1"]:
    """How much an error in each latent channel moves the picture: the root of the squared change, 1 on average.

    Of the embedded latents three channels carry the colours and thirteen the details, a hundred times weaker; squared
    errors counted alike would be about details above all.
    """
    device, dtype = autoencoder.device, autoencoder.dtype
    latents = torch.stack([clip.streams["picture"][:, :5] for clip in clips.items[:4]]).to(device, dtype)
    noise = PROBE * torch.randn(latents[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(latents)
    plain = autoencoder.decode(latents)[0]
    moved = []
    for channel in range(latents.shape[1]):
        wrong = latents.clone()
        wrong[:, channel] += noise
        moved.append(float((autoencoder.decode(wrong)[0] - plain).float().square().mean()))
    root = torch.tensor(moved).sqrt()
    return (root / root.mean())[None, :, None, None, None]
