"""Stage `recolour`: what other words make of single things, from moments of which one thing has two colours."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from longvie.data.variants import TOLD, UNTOLD, Variants
from longvie.models.encoders import WordEncoder
from longvie.models.relighter import PATCH
from longvie.models.repainter import Repainter, applied
from longvie.training.trainer import Stage

SAMPLES = 16  # of a batch
HALVED = 0.7  # of the schedule, during which pictures have half their size: four times as many are seen
SEEN = 0.004  # mean change of a picture, of the range of 2, from which on a moment is learnt from
ON_THE_WAY = 0.1  # of the samples, pictures that are between the words before and those now
SAME = 0.15  # of them, words that stay
FLAT = 0.1  # of them, those whose depth is not known
ROUND = 0.15  # errors below which count as their squares: who cannot tell yet which thing is meant would change nothing
WEIGHED, LITTLE = 0.2, 0.005  # mean change of a picture at which errors count as they are; what holds little ones
POINTED = 0.1  # weight of which words tell of a place
ARTICLE = "▁a"  # the token that a thing begins with, in captions; the one behind it stands for the thing
NOISE = 0.02  # standard deviation of what a decoder leaves on pictures; nobody can know it, so it is wanted as well
FADED, FADED_SAME = 0.15, 0.7  # share of pictures whose colours are off, which words may give back; where words stay
BLOTCHES = (3, 24)  # cells of a side, of such blotches
BLOTCHED = 0.12  # their standard deviation, of the range of 2
SHOWN, JUDGED = 6, 64  # moments of the sheet, and those that tell how good it is


class RecolourStage(Stage):
    """A picture under some words → the same moment with one thing of another colour."""

    name: ClassVar[str] = "recolour"

    def __init__(
        self, model: Repainter, words: WordEncoder, moments: list[Variants], unknown: list[Variants], scale: int = 1
    ) -> None:
        super().__init__()
        for part in (model.light, model.painter):
            _ = None if part is None else part.requires_grad_(requires_grad=False)
        self.model, self.words = model, words.requires_grad_(requires_grad=False)
        self.moments, self.unknown = ([it for it in some if _changed(it)] or some for some in (moments, unknown))
        self.scale = scale
        self._texts: dict[str, Tensor] = {}  # 16 kB each: as large as the pictures they go with

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.things.enter.weight.device

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:
        source, target, disparity, words, said, along = self._batch(self.moments, random, SAMPLES * self.scale)
        if share < HALVED:
            source, target = (functional.avg_pool2d(it, 2) for it in (source, target))
            disparity, words = disparity[:, ::2, ::2], words[:, ::2, ::2]
        stays = np.array([torch.equal(*both) for both in zip(*said, strict=True)])
        off = random.uniform(0, 1, len(source)) * (random.random(len(source)) < np.where(stays, FADED_SAME, FADED))
        source = faded(source, torch.from_numpy(off).to(source), int(random.integers(*BLOTCHES)))
        noise = NOISE * torch.randn_like(source)
        source, target = source + noise, target + noise
        looked = self.model.things.look(source, disparity, *said, along)
        belongs = _belongs(looked.pointed, words)
        with torch.autocast(self.device.type, enabled=False):  # differences of near numbers: not in bfloat16
            made = applied(source, looked.gain, looked.offset)
            error = (((made - target).square() + ROUND**2).sqrt() - ROUND).mean((1, 2, 3))
            change = (source - target).abs().mean((1, 2, 3))
        weight = (WEIGHED + LITTLE) / (change + LITTLE)  # one thing of another colour is little, and all that was asked
        figures = {"error": float((made - target).detach().abs().mean()), "pointed": float(belongs.detach())}
        return (weight * error).mean() + POINTED * belongs, figures

    def _batch(
        self, moments: list[Variants], random: np.random.Generator, count: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor], Tensor]:
        """Pictures before and after, disparity, the token that tells of each pixel or -1, both texts, and how far the
        pictures are on the way.
        """
        sources, targets, depths, words, texts, ways = [], [], [], [], [], []
        for _ in range(count):
            moment = moments[int(random.integers(len(moments)))]
            i, j = random.permutation(2).tolist()  # these two differ in the colour of one thing
            j = i if random.random() < SAME else j
            way = float(random.random()) if random.random() < ON_THE_WAY else 0.0
            pictures = moment.pictures[[i, j]].permute(0, 3, 1, 2).float() / 127.5 - 1
            disparity, told = moment.disparity.float(), tokens(self.words, moment.captions[j])[moment.things.int()]
            if random.random() < 0.5:
                pictures, disparity, told = pictures.flip(-1), disparity.flip(-1), told.flip(-1)
            sources.append(pictures[0].lerp(pictures[1], way))
            targets.append(pictures[1])
            depths.append(disparity * (random.random() >= FLAT))
            words.append(told)
            texts.append((self._read(moment.captions[i]), self._read(moment.captions[j])))
            ways.append(way)
        before, now = (torch.cat(side).to(self.device) for side in zip(*texts, strict=True))
        source, target, disparity, told = (torch.stack(it).to(self.device) for it in (sources, targets, depths, words))
        return source, target, disparity, told, (before, now), torch.tensor(ways, device=self.device)

    def _read(self, caption: str) -> Float[Tensor, "1 n d"]:
        if caption not in self._texts:
            self._texts[caption] = self.words.encode([caption]).half()
        return self._texts[caption].float()

    def matrices(self) -> list[nn.Parameter]:
        """Of the blocks, and of what reads the words."""
        things = self.model.things
        return [it for part in (things.blocks, things.reader, things.gist) for it in part.parameters() if it.ndim == 2]

    def figures(self) -> dict[str, float]:
        """Mean error on moments of test scenes, of the range of 2; and that of leaving the picture as it is."""
        source, made, target = self._made(JUDGED)
        error, plain = ((it - target).abs().mean() for it in (made, source))
        return {"held_out": float(error), "as_it_was": float(plain)}

    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Moments of test scenes: before, what is made of them, after."""
        rows = torch.cat([torch.cat(list(row), dim=2) for row in self._made(SHOWN)], dim=1)
        return ((rows + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    def _made(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        random = np.random.Generator(np.random.PCG64(5))
        source, target, disparity, _, said, along = self._batch(self.unknown, random, count)
        gain, offset = self.model.things(source, disparity, *said, along)
        return source, applied(source, gain, offset).clamp(-1, 1), target

    def export(self, folder: Path) -> None:
        self.model.save_pretrained(folder / "repainter")


def _changed(moment: Variants) -> bool:
    """Whether the thing that has another colour is there to be seen."""
    before, after = moment.pictures[:2].float()
    return float((before - after).abs().mean()) / 127.5 > SEEN


def tokens(words: WordEncoder, caption: str) -> Int64[Tensor, " 256"]:
    """Where in a caption the token stands for each number of a thing; -1 for what it does not tell of."""
    article = words.tokenizer.token_to_id(ARTICLE)
    found = torch.full((UNTOLD + 1,), -1)
    starts = [at for at, token in enumerate(words.ids(caption)) if token == article][:TOLD]
    found[: len(starts)] = torch.tensor(starts) + 1
    return found


def _belongs(pointed: list[Float[Tensor, "b p n"]], words: Int64[Tensor, "b h w"]) -> Float[Tensor, ""]:
    """Cross-entropy of which word a place belongs to: the last where no word tells of it; things count as much as all
    that is none.
    """
    told = words[:, PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].flatten()
    total = torch.zeros((), device=words.device)
    for logits in pointed:
        wanted = torch.where(told < 0, logits.shape[-1] - 1, told)
        apart = functional.cross_entropy(logits.float().flatten(0, 1), wanted, reduction="none")
        for some in (told < 0, told >= 0):
            total = total + (apart * some).sum() / some.sum().clamp(min=1)
    return total / (2 * len(pointed))


def faded(pictures: Float[Tensor, "b 3 h w"], share: Float[Tensor, " b"], cells: int) -> Float[Tensor, "b 3 h w"]:
    """Pictures that have lost a share of their colours, and have blotches."""
    share = share[:, None, None, None]
    pale = pictures.lerp(pictures.mean(1, keepdim=True).expand_as(pictures), share)
    blotches = torch.randn(len(pictures), 3, cells, 2 * cells, device=pictures.device)
    wide = functional.interpolate(blotches, size=pictures.shape[2:], mode="bilinear")
    return (pale + BLOTCHED * share * wide).clamp(-1, 1)
