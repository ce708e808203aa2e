"""Stage `autoencoder`: the small streaming autoencoder from nothing, on every kind of picture that it will meet.

Starts from random weights, trains encoder and decoder together, measures the mean and deviation of its latents at the
end and writes them into its config. After this stage the encoder and those numbers never change again: every later
weight lives in this latent space.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from longvie.data.streams import STREAMS, Store, pictures
from longvie.models.tae import MemoryBlock, TinyAutoencoder
from longvie.training.trainer import Stage

SHARES = {"picture": 0.64, "depth": 0.09, "sketch": 0.07, "segmentation": 0.07, "tracks": 0.13}
LENGTHS = ((9, 8), (21, 4))  # (frames, samples) of a batch; the longer ones teach what a carried state looks like
LONG = 0.25  # share of batches with the longer clips
SIDE = 64  # pixels of a square crop
NOISE = 0.05  # on latents, so that the decoder forgives the transformer


@torch.no_grad()
def start(model: TinyAutoencoder) -> None:
    """Random weights under which signals keep their size through the stack: there are no norms to mend it later.

    He's start for convolutions; a memory block begins near the identity. With torch's own start the first latents had
    a deviation of 0.016 and the model saw no colour for 500 steps.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer.kernel_size == (1, 1) else "relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in model.modules():
        if isinstance(layer, MemoryBlock):
            layer.conv[-1].weight.mul_(0.1)
    model.encoder[-1].weight.mul_(0.5)
    model.decoder[-1].weight.mul_(0.3)


class AutoencoderStage(Stage):
    """Reconstruction: L1 + 2·MSE + L1 of the gradients in space and time, with latents held near unit size."""

    name: ClassVar[str] = "autoencoder"

    def __init__(self, model: TinyAutoencoder, store: Store, *, scale: int = 1) -> None:
        """`scale` multiplies the batch: 1 on a laptop, 16 on a large GPU."""
        super().__init__()
        self.model, self.store, self.scale = model, store, scale

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        frames, samples = LENGTHS[int(random.random() < LONG)]
        truth, is_picture = self.batch(random, frames, samples * self.scale)
        latents, _ = self.model.encode(truth)
        noisy = latents + NOISE * torch.randn_like(latents)
        made = self.model.decode(noisy, limit=False)[0].float()
        error = made - truth
        slopes = sum(error.diff(dim=d).abs().mean() for d in (2, 3, 4))
        loss = error.abs().mean() + 2 * error.square().mean() + 0.5 * slopes + 1e-3 * latents.float().square().mean()
        figures = {"size": float(latents.detach().float().std())}
        if bool(is_picture.any()):
            figures["psnr"] = float(-10 * torch.log10(error.detach()[is_picture].square().mean() / 4))
        return loss, figures

    def batch(
        self, random: np.random.Generator, frames: int, samples: int
    ) -> tuple[Float[Tensor, "b 3 f h w"], Bool[Tensor, " b"]]:
        """Square crops of random streams of random clips, in [-1, 1]; and which of them are pictures."""
        made, kinds = [], []
        for _ in range(samples):
            stream = str(random.choice(STREAMS, p=[SHARES[s] for s in STREAMS]))
            clip = self.store.part(random, frames)
            whole = pictures(clip, stream)  # (3, f, h, w)
            y, x = (int(random.integers(0, n - SIDE + 1)) for n in whole.shape[2:])
            crop = whole[:, :, y : y + SIDE, x : x + SIDE]
            made.append(crop.flip(-1) if random.random() < 0.5 else crop)
            kinds.append(stream == "picture")
        device = next(self.model.parameters()).device
        return torch.stack(made).to(device), torch.tensor(kinds, device=device)

    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Truth above, reconstruction below, for each stream."""
        random = np.random.Generator(np.random.PCG64(1))
        rows = []
        for stream in STREAMS:
            clip = self.store.part(random, 33)
            truth = pictures(clip, stream)[None].to(next(self.model.parameters()).device)
            made = self.model.decode(self.model.encode(truth)[0])[0].float()
            for video in (truth, made):
                rows.append(torch.cat(list(video[0, :, ::8].unbind(1)), dim=-1))
        grid = torch.cat(rows, dim=1).permute(1, 2, 0)
        return ((grid + 1) * 127.5).clamp(0, 255).round().byte().cpu().numpy()

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Measures mean and deviation of the latents, sets them, saves the model."""
        random = np.random.Generator(np.random.PCG64(2))
        found = []
        for k in range(60):
            stream = STREAMS[0] if k % 2 == 0 else STREAMS[1 + (k // 2) % (len(STREAMS) - 1)]
            video = pictures(self.store.part(random, 33), stream)[None].to(next(self.model.parameters()).device)
            found.append(self.model.encode(video)[0][0].flatten(1).float())
        values = torch.cat(found, dim=1)
        self.model.set_normalisation(values.mean(1).tolist(), values.std(1).tolist())
        self.model.save_pretrained(folder / "autoencoder")
