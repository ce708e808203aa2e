"""Stages `finish` and `likely`: the decoder makes pictures of what the transformer gives, with the guides beside it.

A transformer trained by squared errors gives the mean of what may be, and a decoder that was trained on the latents of
real pictures shows it as it is: soft. Here the decoder is trained on latents that the transformer made, against the
truth, and may look at the guides (`controls.guides`): what the first picture has shown stays as sharp as it was, and
things end where depth, sketch and segmentation say. In `likely` a small network that tells made from real pictures
joins the loss (adversarial training, arXiv 1406.2661; on patches, arXiv 1611.07004; hinge, arXiv 1705.02894; weighed by
the gradients of the last layer, arXiv 2012.09841), so that what nobody knows is made likely instead of blurred.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import safe_open
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from longvie.controls.guides import guides
from longvie.controls.moved import Moved
from longvie.data import clips
from longvie.data.streams import COLOURS
from longvie.errors import InputError
from longvie.evaluation.fidelity import ssim_map
from longvie.models.tae import TinyAutoencoder
from longvie.training.played import Played
from longvie.training.stages.autoencoder import grey
from longvie.training.trainer import Stage

SIDE = 64  # pixels of a square crop
LENGTH = 5  # latent frames of a window, of which the first only sets the memories unless it is the video's own
SAMPLES = 6
CLEAN = 0.15  # share of batches with latents of the truth and without guides: it must stay an autoencoder
NOISE = 0.05  # on those
STRUCTURE = 0.3  # weight of 1 - SSIM
RELIT = 0.35  # share of samples whose moved picture comes from another light than the latents
LIKELY = 0.4  # of the adversarial part's gradient, beside that of the rest


class Sample(NamedTuple):
    """What is made of some frames of a clip, and how they really are."""

    latents: Float[Tensor, "c l h w"]
    guides: Float[Tensor, "g f H W"]
    truth: Float[Tensor, "3 f H W"]


@dataclass(frozen=True)
class Room:
    """Clips, and folders of what a transformer made of them (`training.played`)."""

    clips: Path
    played: tuple[Path, ...]

    @classmethod
    def open(cls, root: Path, *rooms: str) -> "Room":
        """All that is there now.

        Raises:
            InputError: nothing.
        """
        files = tuple(file for room in rooms for file in sorted((root / room).glob("*/*.safetensors")))
        if not files:
            raise InputError(f"nothing in {' or '.join(rooms)} of {root.name}; run the stage 'made' first")
        return cls(root / "clips", files)

    def sample(self, file: Path, first: int, length: int, corner: tuple[int, int], side: tuple[int, int]) -> Sample:
        """Latent frames from `first` on, of a crop whose corner and sides are in latent cells."""
        (top, left), (rows, columns) = corner, side
        cells = (slice(first, first + length), slice(top, top + rows), slice(left, left + columns))
        frames = slice(4 * first - 3 if first else 0, 4 * (first + length) - 3)
        pixels = (frames, slice(8 * top, 8 * (top + rows)), slice(8 * left, 8 * (left + columns)))
        played = Played.part(file, cells, pixels)
        moved = Moved(played.pictures.float() / 127.5 - 1, played.seen.bool()[None])
        source = clips.path(self.clips, int(file.stem))
        with safe_open(source, "pt") as opened:
            truth = opened.get_slice("picture")[pixels].permute(3, 0, 1, 2).float() / 127.5 - 1
            drawn = {kind: _drawn(opened, source, kind, pixels) for kind in played.dense}
        shown = guides(frames.stop - frames.start, (8 * rows, 8 * columns), moved, drawn)
        return Sample(played.latents.float(), shown, truth)


def _drawn(opened: safe_open, source: Path, kind: str, pixels: tuple[slice, ...]) -> Float[Tensor, "_ f h w"]:
    """A dense control of a part of a clip, as it is drawn of the whole."""
    if kind == "depth":
        far, near = _range(source)
        shade = (near - opened.get_slice("disparity")[pixels].float()) / (near - far)
        return (shade.clamp(0, 1) * 2 - 1)[None]
    if kind == "sketch":
        return opened.get_slice("sketch")[pixels].float()[None] * 2 - 1
    return COLOURS[opened.get_slice("labels")[pixels].long() % len(COLOURS)].permute(3, 0, 1, 2).float() / 127.5 - 1


@cache
def _range(source: Path) -> tuple[float, float]:
    """Disparities that are drawn black and white: of the whole clip, as a whole signal's are."""
    with safe_open(source, "pt") as opened:
        values = opened.get_tensor("disparity").float().numpy()
    return float(np.percentile(values, 5)), float(np.percentile(values, 95))


class Bounded(nn.Conv2d):
    """A convolution whose matrix stretches nothing (spectral normalisation, arXiv 1802.05957; by its exact largest
    singular value, so that there is nothing to remember beside the weights).
    """

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d p q"]:
        largest = torch.linalg.matrix_norm(self.weight.flatten(1).float(), ord=2)
        return self._conv_forward(x, self.weight / largest.clamp(min=1e-6), self.bias)


class Judge(nn.Module):
    """How real each patch of two pictures in a row looks; positive is real."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Bounded(6, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            Bounded(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            Bounded(2 * width, 2 * width, 3, 1, 1),
            nn.LeakyReLU(0.2),
            Bounded(2 * width, 1, 3, 1, 1),
        )

    def forward(self, video: Float[Tensor, "b 3 f h w"]) -> Float[Tensor, "n 1 p q"]:
        pairs = torch.cat([video[:, :, :-1:2], video[:, :, 1::2]], dim=1)  # (b, 6, f / 2, h, w)
        return self.layers(pairs.transpose(1, 2).flatten(0, 1))


class FinishStage(Stage):
    """L1 + 2·MSE + L1 of the gradients in space and time + 0.3·(1 - SSIM)."""

    name: ClassVar[str] = "finish"

    def __init__(self, model: TinyAutoencoder, room: Room, held_out: Room, *, scale: int = 1) -> None:
        """`scale` multiplies the batch; `held_out` is for figures and sheets."""
        super().__init__()
        self.model, self.room, self.held_out, self.scale = model, room, held_out, scale
        model.encoder.requires_grad_(False)

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        clean = random.random() < CLEAN
        latents, shown, truth = self.batch(random)
        if clean:
            latents = self.model.encode(truth)[0]
            latents = latents + NOISE * torch.randn_like(latents)
        made = self.model.decode(latents, limit=False, guides=None if clean else shown)[0].float()
        late = 0 if clean else 1  # the first frame of a window within a video has no past: it only sets the memories
        made, truth = made[:, :, late:], truth[:, :, late:]
        with torch.autocast(truth.device.type, enabled=False):
            loss = distance(made, truth)
            figures = {"psnr": float(-10 * torch.log10((made.detach() - truth).square().mean() / 4))}
            return (loss if clean else self.more(made, truth, loss, figures)), figures

    def more(self, made: Tensor, truth: Tensor, loss: Tensor, figures: dict[str, float]) -> Tensor:  # noqa: ARG002
        """The loss with what a later stage adds to it."""
        return loss

    def batch(self, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Latents, guides and truth of square crops."""
        found = []
        for _ in range(SAMPLES * self.scale):
            file = self.room.played[int(random.integers(len(self.room.played)))]
            frames, *sides = Played.shape(file)
            first = int(random.integers(0, frames - LENGTH + 1))
            rows, columns = (min(SIDE // 8, side) for side in sides)
            top, left = (int(random.integers(0, n - part + 1)) for n, part in zip(sides, (rows, columns), strict=True))
            one = self.room.sample(file, first, LENGTH, (top, left), (rows, columns))
            if random.random() < RELIT:
                one = one._replace(guides=relit(one.guides, random))
            if first:  # a stream's first latent frame stands for one frame
                one = Sample(one.latents, one.guides[:, 3:], one.truth[:, 3:])
            found.append(one)
        device = self.model.device
        return tuple(torch.stack(parts).to(device) for parts in zip(*found, strict=True))  # type: ignore[return-value]

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Of held-out clips: PSNR and SSIM, and how sharp they are, of the truth's."""
        rows = [self._judged(file) for file in self.held_out.played]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _judged(self, file: Path) -> Mapping[str, float]:
        with torch.autocast(self.model.device.type, enabled=False):  # the figures are about the weights, not bfloat16
            made, truth = self._whole(file)
            sharp = [float(_slopes(it)) for it in (made, truth)]
            like = float(ssim_map(grey(made[None]), grey(truth[None])).mean())
        psnr = float(-10 * torch.log10((made - truth).square().mean() / 4))
        return {"held_out_psnr": psnr, "held_out_ssim": like, "held_out_sharpness": sharp[0] / sharp[1]}

    def _whole(self, file: Path) -> tuple[Tensor, Tensor]:
        frames, height, width = Played.shape(file)
        one = self.held_out.sample(file, 0, frames, (0, 0), (height, width))
        device, dtype = self.model.device, self.model.dtype
        made = self.model.decode(one.latents[None].to(device, dtype), guides=one.guides[None].to(device, dtype))[0][0]
        return made.float().cpu(), one.truth

    @torch.no_grad()
    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Held-out clips: the truth, and below it what is made."""
        rows = []
        for file in self.held_out.played[:6]:
            made, truth = self._whole(file)
            rows += [torch.cat(list(video[:, ::16].unbind(1)), dim=-1) for video in (truth, made)]
        grid = torch.cat(rows, dim=1).permute(1, 2, 0)
        return ((grid + 1) * 127.5).clamp(0, 255).round().byte().numpy()

    def export(self, folder: Path) -> None:
        """Saves the autoencoder."""
        self.model.save_pretrained(folder / "autoencoder")


class LikelyStage(FinishStage):
    """The same, and what a judge says that learns to tell what is made from what is real."""

    name: ClassVar[str] = "likely"

    def __init__(self, model: TinyAutoencoder, room: Room, held_out: Room, *, scale: int = 1) -> None:
        super().__init__(model, room, held_out, scale=scale)
        self.judge = Judge()

    def more(self, made: Tensor, truth: Tensor, loss: Tensor, figures: dict[str, float]) -> Tensor:
        """The judge's opinion, about half as loud as the rest of the loss, and what the judge itself learns from."""
        real, fake = self.judge(truth), self.judge(made.detach())
        learns = functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()
        held = {name: value.detach() for name, value in self.judge.named_parameters()}
        opinion = -functional_call(self.judge, held, (made,)).mean()
        last = cast("nn.Conv2d", self.model.decoder[-1]).weight
        figures |= {"judge": float(learns.detach()), "opinion": float(opinion.detach())}
        if not loss.requires_grad:
            return loss + learns + opinion
        plain, other = (torch.autograd.grad(it, last, retain_graph=True)[0].norm() for it in (loss, opinion))
        return loss + learns + (LIKELY * plain / (other + 1e-6)).clamp(max=1.0).detach() * opinion


def relit(guides: Float[Tensor, "g f H W"], random: np.random.Generator) -> Float[Tensor, "g f H W"]:
    """Guides whose picture was taken in another light, or through fog: darker or brighter, tinted, paler.

    Light changes within a video, and the picture that is moved is older than the change. Colours are then to be taken
    from the latents, and only what is where from the picture.
    """
    picture, rest = guides[:3], guides[3:]
    if not bool(picture.any()):
        return guides
    gain = torch.from_numpy(random.uniform(0.3, 1.4) * random.uniform(0.8, 1.2, 3)).to(guides)[:, None, None, None]
    air = torch.from_numpy(random.uniform(0.1, 0.9) * random.uniform(0.8, 1.2, 3)).to(guides)[:, None, None, None]
    fog = float(random.uniform(0.0, 0.7)) if random.random() < 0.5 else 0.0
    shown = (picture + 1) / 2 * gain * (1 - fog) + air * fog
    return torch.cat([shown.clamp(0, 1) * 2 - 1, rest])


def distance(made: Float[Tensor, "b 3 f h w"], truth: Float[Tensor, "b 3 f h w"]) -> Tensor:
    """Of two videos, as a viewer might: colours, outlines, motion and structure."""
    error = made - truth
    slopes = sum(error.diff(dim=d).abs().mean() for d in (2, 3, 4))
    structure = 1 - ssim_map(grey(made), grey(truth)).mean()
    return error.abs().mean() + 2 * error.square().mean() + 0.5 * slopes + STRUCTURE * structure


def _slopes(video: Float[Tensor, "3 f h w"]) -> Tensor:
    grey = video.mean(0)
    return grey.diff(dim=-1).square().mean() + grey.diff(dim=-2).square().mean()
