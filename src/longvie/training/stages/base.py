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
from torch import Tensor

from longvie.data.latents import Pool
from longvie.engine import flow
from longvie.models.encoders import WordEncoder
from longvie.models.tae import TinyAutoencoder
from longvie.models.transformer import VideoTransformer
from longvie.training.trainer import Stage
from longvie.training.windows import Drops, Window, draw, places, tokens

SHIFT = 3.0  # of the noise levels: more of them where it is noisy, as the sampler has
SHORT, WHOLE = (9, 8), (21, 4)  # (latent frames, samples) of a batch
GROWS = 0.55  # share of the schedule from which on most windows are whole clips
AFTER = 0.35  # share of batches with history
RECENT = (1, 2, 3, 4)  # latent frames of it, beside the first
REFRESH = 200  # steps between two looks for newly encoded clips


class BaseStage(Stage):
    """Predicts clean latents: mean squared error times 1/t², limited, which is what a velocity loss weighs."""

    name: ClassVar[str] = "base"

    def __init__(
        self,
        transformer: VideoTransformer,
        words: WordEncoder,
        autoencoder: TinyAutoencoder,
        pool: Pool,
        held_out: Pool,
        *,
        scale: int = 1,
    ) -> None:
        """`scale` multiplies the batch. `held_out` are test clips for the sheet."""
        super().__init__()
        self.transformer, self.words = transformer, words
        self.autoencoder = autoencoder.requires_grad_(False)
        self.pool, self.held_out, self.scale, self.calls = pool, held_out, scale, 0

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
        """Noise levels, spread evenly over the batch, then shifted."""
        count = clean.shape[0]
        u = (torch.arange(count) + float(random.random())) / count
        return flow.shifted(u, SHIFT).clamp(min=0.02).to(self.device)

    def predict(self, window: Window, noisy: Tensor, t: Tensor) -> Float[Tensor, "b c l h w"]:
        """Clean latents."""
        ids, mask = self.words.tokens(list(window.words))
        history = None if window.history is None else tokens(window.history)
        return self.transformer(
            noisy,
            t,
            self.words(ids.to(self.device), mask.to(self.device)),
            condition=window.condition,
            history=history,
            history_times=None if history is None else t.new_zeros(len(t), history.shape[2]),
            controls=window.controls,
            beats=window.beats,
        )

    def loss(self, window: Window, made: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        error = (made.float() - window.clean).square().flatten(1).mean(1)
        weight = (1 / t.clamp(min=0.15).square()).clamp(max=8.0)
        return (weight * error).mean(), {"error": float(error.detach().mean())}

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
        never = Drops(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        clips = self.held_out.items[:4]
        window = draw(clips, [0] * len(clips), random, length=21, recent=None, drops=never).to(self.device)
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
        self.transformer.save_pretrained(folder / "transformer")
        self.words.save(folder / "words")
