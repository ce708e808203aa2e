"""Stages `autoencoder` and `decoder`: the small streaming autoencoder from nothing, on every kind of picture.

The first starts from random weights, trains encoder and decoder together, measures the mean and deviation of its
latents at the end and writes them into its config. After it the encoder and those numbers never change again: every
later weight lives in this latent space. The second gives the decoder more blocks and trains it alone; it may run
beside the transformer's stages, as no latent changes.
"""

from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from longvie.data.streams import STREAMS, Store, pictures
from longvie.evaluation.fidelity import ssim_map
from longvie.models.tae import TinyAutoencoder
from longvie.models.tae_layers import Grow, Guided, MemoryBlock, TimePool
from longvie.training.trainer import Stage

SHARES = {"picture": 0.70, "depth": 0.08, "sketch": 0.06, "segmentation": 0.06, "tracks": 0.10}
LENGTHS = ((9, 8), (21, 4))  # (frames, samples) of a batch; the longer ones teach what a carried state looks like
LONG = 0.25  # share of batches with the longer clips
SIDE = 64  # pixels of a square crop
CODE = 2.0  # of the thumbnail in the latents at the start
NOISE = 0.05  # on latents, so that the decoder forgives the transformer
STRUCTURE = 0.2  # weight of 1 - SSIM
BLOCKS = (2, 2, 2)  # of the grown decoder
SHUT, OPEN = 4.0, 2.0  # of the gate to the guides, before its sigmoid, where they do not count and where they do
DECODED = {"picture": 0.88, "depth": 0.03, "sketch": 0.03, "segmentation": 0.03, "tracks": 0.03}  # controls: seldom


@torch.no_grad()
def start(model: TinyAutoencoder) -> None:
    """First weights: a colour thumbnail passes through from the first step on, all the rest is random and small.

    Three channels of every layer carry red, green and blue, averaged on the way in and repeated on the way out; ReLUs
    let them pass because colours are in [0, 1]. The others have He's start, and a memory block begins near the
    identity. Without the thumbnail colours are learnt one axis after the other, because they are so alike: after 1500
    steps of random start greens were still brown (27 dB); with torch's own start the model saw no colour at all.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear" if layer.kernel_size == (1, 1) else "relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    cells = model.config["patch"] ** 2
    for stack in (model.encoder, model.decoder):
        for layer in stack:
            if isinstance(layer, MemoryBlock):
                last = _plain(layer.conv[-1])
                last.weight.mul_(0.1)
                last.weight[:3].zero_()
            elif isinstance(layer, TimePool):
                _pass(
                    layer.conv, 1 / layer.rate, [(c + k * layer.width, c) for c in range(3) for k in range(layer.rate)]
                )
            elif isinstance(layer, Grow):
                _pass(layer.conv, 1.0, [(c, c + k * layer.width) for c in range(3) for k in range(layer.rate)])
            elif isinstance(layer, nn.Conv2d):
                _pass(layer, 1.0, [(c, c) for c in range(3)])
    ends = (model.encoder[0], model.encoder[-1], model.decoder[1], model.decoder[-1])
    first, code, decode, last = (_plain(layer) for layer in ends)
    _pass(first, 1 / cells, [(c * cells + k, c) for c in range(3) for k in range(cells)])
    _pass(code, CODE, [(c, c) for c in range(3)])
    code.weight[3:].mul_(0.5)
    _lift(code, -CODE / 2)  # latents about 0
    _pass(decode, 1 / CODE, [(c, c) for c in range(3)])
    _lift(decode, 0.5)
    last.weight.mul_(0.1)
    _pass(last, 1.0, [(c, c * cells + k) for c in range(3) for k in range(cells)])


def _plain(layer: nn.Module) -> nn.Conv2d:
    """A layer that is known to be a convolution."""
    return cast("nn.Conv2d", layer)


def _lift(layer: nn.Conv2d, by: float) -> None:
    if layer.bias is not None:
        layer.bias[:3] = by


def _pass(layer: nn.Conv2d, gain: float, ways: list[tuple[int, int]]) -> None:
    """Makes output channels carry input channels and nothing else; a stride averages the four pixels that it merges."""
    outputs = {there for _, there in ways}
    for there in outputs:
        layer.weight[there].zero_()
    middle = layer.kernel_size[0] // 2
    for here, there in ways:
        if layer.stride[0] == 2:
            layer.weight[there, here, middle : middle + 2, middle : middle + 2] = gain / 4
        else:
            layer.weight[there, here, middle, middle] = gain


class AutoencoderStage(Stage):
    """Reconstruction: L1 + 2·MSE + L1 of the gradients in space and time; colour, what remains without the grey, counts
    once more; 1 - SSIM of the grey picture, against blur; latents are held near unit size.
    """

    name: ClassVar[str] = "autoencoder"
    shares: ClassVar[dict[str, float]] = SHARES

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
        tint = error - error.mean(dim=1, keepdim=True)
        slopes = sum(error.diff(dim=d).abs().mean() for d in (2, 3, 4))
        loss = error.abs().mean() + 2 * error.square().mean() + 0.5 * slopes
        loss = loss + tint.abs().mean() + 2 * tint.square().mean() + 1e-3 * latents.float().square().mean()
        with torch.autocast(truth.device.type, enabled=False):  # differences of near numbers: not in bfloat16
            loss = loss + STRUCTURE * (1 - ssim_map(grey(made), grey(truth)).mean())
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
            stream = str(random.choice(STREAMS, p=[self.shares[s] for s in STREAMS]))
            clip = self.store.part(random, frames)
            whole = pictures(clip, stream)  # (3, f, h, w)
            side = min(SIDE, *whole.shape[2:])
            y, x = (int(random.integers(0, n - side + 1)) for n in whole.shape[2:])
            crop = whole[:, :, y : y + side, x : x + side]
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


class DecoderStage(AutoencoderStage):
    """The same, with the encoder and what was measured of its latents as they are."""

    name: ClassVar[str] = "decoder"
    shares: ClassVar[dict[str, float]] = DECODED

    def __init__(self, model: TinyAutoencoder, store: Store, *, scale: int = 1) -> None:
        super().__init__(model, store, scale=scale)
        model.encoder.requires_grad_(False)

    @torch.no_grad()
    def export(self, folder: Path) -> None:
        """Saves the model."""
        self.model.save_pretrained(folder / "autoencoder")


@torch.no_grad()
def grown(model: TinyAutoencoder, blocks: tuple[int, ...] = BLOCKS, *, guides: int = 0) -> TinyAutoencoder:
    """The same function with at least so many memory blocks in the decoder: what is added changes nothing at first.

    Args:
        guides: channels of guides that the decoder is to look at from now on. It begins by putting what they show as
            it is in the place of its own picture, where they count.
    """
    wider = guides or model.config["guides"]
    blocks = tuple(map(max, blocks, model.config["decoder_blocks"]))
    options = {name: value for name, value in model.config.items() if not name.startswith("_")}  # diffusers' own
    larger = TinyAutoencoder(**(options | {"decoder_blocks": blocks, "guides": wider}))
    larger.encoder.load_state_dict(model.encoder.state_dict())
    for here, there in zip(_runs(model.decoder), _runs(larger.decoder), strict=True):
        for source, target in zip(here, there, strict=False):
            _copy(source, target)
        for block in there[len(here) :]:
            _silence(block.conv[-1])  # its output is added to a ReLU's, which one more ReLU leaves as it is
    for layer, first in ((it, model.guides == 0) for it in larger.decoder if isinstance(it, Guided)):
        if first:
            _silence(layer.conv)
        else:
            layer.load_state_dict(next(it for it in model.decoder if isinstance(it, Guided)).state_dict())
    if larger.gate is not None and model.gate is None:
        patch = larger.config["patch"] ** 2
        nn.init.zeros_(larger.gate.weight)
        nn.init.constant_(cast("Tensor", larger.gate.bias), -SHUT)
        for cell in range(patch):  # the fourth guide opens the gate of its own pixel, in all three colours
            larger.gate.weight[cell::patch, 3 * patch + cell] = SHUT + OPEN
    elif larger.gate is not None and model.gate is not None:
        larger.gate.load_state_dict(model.gate.state_dict())
    return larger


def _silence(layer: nn.Module) -> None:
    """A convolution that gives nothing, for now."""
    nn.init.zeros_(_plain(layer).weight)
    nn.init.zeros_(cast("Tensor", _plain(layer).bias))


def _copy(source: nn.Module, target: nn.Module) -> None:
    """The weights of a layer; a last one that has also become a gate's keeps the gate shut by nothing but its bias."""
    if isinstance(source, nn.Conv2d) and isinstance(target, nn.Conv2d) and source.out_channels < target.out_channels:
        for name in ("weight", "bias"):
            there, here = getattr(target, name), getattr(source, name)
            nn.init.zeros_(there)
            there[: len(here)] = here
    else:
        target.load_state_dict(source.state_dict())


def _runs(stack: nn.Module) -> list[list[Any]]:
    """The layers of a stack but those for guides: memory blocks, other layers, memory blocks, and so on."""
    layers = (layer for layer in stack.children() if not isinstance(layer, Guided))
    return [list(run) for _, run in groupby(layers, key=lambda layer: isinstance(layer, MemoryBlock))]


def grey(video: Float[Tensor, "b 3 f h w"]) -> Float[Tensor, "n 1 h w"]:
    """Every frame's mean over colours, in [0, 1]."""
    return (video.mean(dim=1).flatten(0, 1)[:, None] + 1) / 2
