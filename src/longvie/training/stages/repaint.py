"""Stage `repaint`: what other words make of a picture, its light most of all, from moments of the world under several
captions.
"""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from longvie.data.variants import Variants
from longvie.evaluation.fidelity import ssim_map
from longvie.models.encoders import WordEncoder
from longvie.models.repainter import Repainter, applied
from longvie.training.trainer import Stage

SAMPLES = 16  # of a batch
ON_THE_WAY = 0.2  # of them, pictures that are between the words before and those now
SAME = 0.05  # of them, words that stay
FLAT = 0.1  # of them, those whose depth is not known
STRUCTURE = 0.3  # weight of 1 - SSIM
WEIGHED, LITTLE = 0.2, 0.03  # mean change of a picture at which errors count as they are; what holds little ones
BLURRED, NOISE = 0.5, 0.02  # share of pictures as soft as those that a decoder makes, with what is on them
SHOWN, JUDGED = 6, 64  # moments of the sheet, and those that tell how good it is


class RepaintStage(Stage):
    """A picture under some words → the same moment under others."""

    name: ClassVar[str] = "repaint"

    def __init__(
        self, model: Repainter, words: WordEncoder, moments: list[Variants], unknown: list[Variants], scale: int = 1
    ) -> None:
        super().__init__()
        for part in (model.things, model.painter):
            _ = None if part is None else part.requires_grad_(requires_grad=False)
        self.model, self.words = model, words.requires_grad_(requires_grad=False)
        self.moments, self.unknown, self.scale = moments, unknown, scale

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.light.enter.weight.device

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        source, target, disparity, said, along = self._batch(self.moments, random, SAMPLES * self.scale)
        soft = torch.from_numpy(random.uniform(0, 1, len(source)) * (random.random(len(source)) < BLURRED)).float()
        source, target = (it.lerp(_blurred(it), soft[:, None, None, None].to(it)) for it in (source, target))
        seen = source + NOISE * torch.randn_like(source)
        made = applied(seen, *self.model.light(seen, disparity, *said, along))
        with torch.autocast(self.device.type, enabled=False):  # differences of near numbers: not in bfloat16
            error, change = ((it.float() - target).abs().mean((1, 2, 3)) for it in (made, source))
            alike = ssim_map(*((it.float().mean(1, keepdim=True) + 1) / 2 for it in (made, target))).mean()
        weight = (WEIGHED + LITTLE) / (change + LITTLE)  # one thing of another colour is little, and all that was asked
        figures = {"error": float(error.detach().mean()), "ssim": float(alike.detach())}
        return (weight * error).mean() + STRUCTURE * (1 - alike), figures

    def _batch(
        self, moments: list[Variants], random: np.random.Generator, count: int
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Tensor]:
        """Pictures before and after, disparity, both texts, and how far the pictures are on the way."""
        sources, targets, depths, texts, ways = [], [], [], [], []
        for _ in range(count):
            moment = moments[int(random.integers(len(moments)))]
            i, j = random.choice(len(moment.captions), 2, replace=False).tolist()
            j = i if random.random() < SAME else j
            way = float(random.random()) if random.random() < ON_THE_WAY else 0.0
            pictures = moment.pictures[[i, j]].permute(0, 3, 1, 2).float() / 127.5 - 1
            disparity = moment.disparity.float()
            if random.random() < 0.5:
                pictures, disparity = pictures.flip(-1), disparity.flip(-1)
            sources.append(pictures[0].lerp(pictures[1], way))
            targets.append(pictures[1])
            depths.append(disparity * (random.random() >= FLAT))
            texts.append((moment.captions[i], moment.captions[j]))
            ways.append(way)
        before, now = (self.words.encode(list(side)).to(self.device) for side in zip(*texts, strict=True))
        source, target, disparity = (torch.stack(it).to(self.device) for it in (sources, targets, depths))
        return source, target, disparity, (before, now), torch.tensor(ways, device=self.device)

    def matrices(self) -> list[nn.Parameter]:
        """Of the blocks."""
        return [weight for weight in self.model.light.blocks.parameters() if weight.ndim == 2]

    def figures(self) -> dict[str, float]:
        """Mean error on moments of test scenes, of the range of 2; and that of leaving the picture as it is."""
        source, target, disparity, said, along = self._batch(self.unknown, _always(), JUDGED)
        made = applied(source, *self.model.light(source, disparity, *said, along)).clamp(-1, 1)
        error, plain = ((it.float() - target).abs().mean() for it in (made, source))
        return {"held_out": float(error), "as_it_was": float(plain)}

    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Moments of test scenes: before, after, and what is made of them."""
        source, target, disparity, said, along = self._batch(self.unknown, _always(), SHOWN)
        made = applied(source, *self.model.light(source, disparity, *said, along)).clamp(-1, 1)
        rows = torch.cat([torch.cat(list(row), dim=2) for row in (source, target, made)], dim=1)
        return ((rows + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    def export(self, folder: Path) -> None:
        self.model.save_pretrained(folder / "repainter")


def _always() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(5))


def _blurred(pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    small = functional.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)
    return functional.avg_pool2d(small, 3, 1, 1, count_include_pad=False)
