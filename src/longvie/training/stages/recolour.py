"""Stage `recolour`: what other words make of single things, from moments of which one thing has two colours."""

from dataclasses import dataclass, replace
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
from longvie.training.mending import worn
from longvie.training.trainer import Stage

SAMPLES = 16  # of a batch
HALVED = 0.7  # of the schedule, during which pictures have half their size: four times as many are seen
SEEN = 0.004  # mean change of a picture, of the range of 2, from which on a moment is learnt from
ON_THE_WAY = 0.1  # of the samples, pictures that are between the words before and those now
MENDED = 0.5  # of them, those whose words before are unknown: what is wanted is what words say, whatever is there
WORN, WORN_MENDED = 0.15, 0.8  # share of pictures whose things have lost their colours; of those that are mended
FLAT = 0.1  # of them, those whose depth is not known
ROUND = 0.15  # errors below which count as their squares: who cannot tell yet which thing is meant would change nothing
WEIGHED, LITTLE = 0.2, 0.005  # mean change of a picture at which errors count as they are; what holds little ones
POINTED = 0.1  # weight of which words tell of a place
ARTICLE = "▁a"  # the token that a thing begins with, in captions; the one behind it stands for the thing
NOISE = 0.02  # standard deviation of what a decoder leaves on pictures; nobody can know it, so it is wanted as well
SHOWN, JUDGED = 6, 64  # moments of the sheet, and those that tell how good it is


class RecolourStage(Stage):
    """A picture under some words → the same moment with one thing of another colour, and all things in their own."""

    name: ClassVar[str] = "recolour"

    def __init__(
        self, model: Repainter, words: WordEncoder, moments: list[Variants], unknown: list[Variants], scale: int = 1
    ) -> None:
        super().__init__()
        model.light.requires_grad_(requires_grad=False)
        self.model, self.words = model, words.requires_grad_(requires_grad=False)
        self.moments, self.unknown = ([it for it in some if _changed(it)] or some for some in (moments, unknown))
        self.scale = scale
        self._texts: dict[str, Tensor] = {}  # 16 kB each: as large as the pictures they go with

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.things.enter.weight.device

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:
        asked = self._batch(self.moments, random, SAMPLES * self.scale, MENDED)
        asked = asked.halved() if share < HALVED else asked
        noise = NOISE * torch.randn_like(asked.source)
        source, target = asked.source + noise, asked.target + noise
        gain, offset, pointed = self.model.things.answers(source, asked.disparity, *asked.said, asked.along)
        belongs = _belongs(pointed, asked.words)
        with torch.autocast(self.device.type, enabled=False):  # differences of near numbers: not in bfloat16
            made = applied(source, gain, offset)
            error = (((made - target).square() + ROUND**2).sqrt() - ROUND).mean((1, 2, 3))
            change = (source - target).abs().mean((1, 2, 3))
        weight = (WEIGHED + LITTLE) / (change + LITTLE)  # one thing of another colour is little, and all that was asked
        figures = {"error": float((made - target).detach().abs().mean()), "pointed": float(belongs.detach())}
        return (weight * error).mean() + POINTED * belongs, figures

    def _batch(self, moments: list[Variants], random: np.random.Generator, count: int, mended: float) -> "_Asked":
        """Moments drawn at random.

        Args:
            mended: share of them that are as words say, but for what has worn off; nothing is said of words before.
        """
        sources, targets, depths, numbers, words, texts, ways, stays = [], [], [], [], [], [], [], []
        for _ in range(count):
            moment = moments[int(random.integers(len(moments)))]
            i, j = random.permutation(2).tolist()  # these two differ in the colour of one thing
            stays.append(random.random() < mended)
            i, j = (int(random.integers(len(moment.captions))),) * 2 if stays[-1] else (i, j)
            way = float(random.random()) if random.random() < ON_THE_WAY else 0.0
            pictures = moment.pictures[[i, j]].permute(0, 3, 1, 2).float() / 127.5 - 1
            disparity, things = moment.disparity.float(), moment.things.int()
            if random.random() < 0.5:
                pictures, disparity, things = pictures.flip(-1), disparity.flip(-1), things.flip(-1)
            sources.append(pictures[0].lerp(pictures[1], way))
            targets.append(pictures[1])
            depths.append(disparity * (random.random() >= FLAT))
            numbers.append(things)
            words.append(self._tokens(moment.captions[j])[things])
            now = self._read(moment.captions[j])
            texts.append((torch.zeros_like(now) if stays[-1] else self._read(moment.captions[i]), now))
            ways.append(way)
        before, now = (torch.cat(side).to(self.device) for side in zip(*texts, strict=True))
        source, things = torch.stack(sources), torch.stack(numbers)
        wears = torch.from_numpy(random.random(count) < np.where(stays, WORN_MENDED, WORN))[:, None, None, None]
        source = torch.where(wears, worn(source, things, TOLD, random), source)
        target, disparity, told = (torch.stack(it).to(self.device) for it in (targets, depths, words))
        along = torch.tensor(ways, device=self.device)
        return _Asked(source.to(self.device), target, disparity, told, (before, now), along)

    def _tokens(self, caption: str) -> Int64[Tensor, " 256"]:
        """Where in a caption the token stands for each number of a thing; -1 for what it does not tell of."""
        article = self.words.tokenizer.token_to_id(ARTICLE)
        found = torch.full((UNTOLD + 1,), -1)
        starts = [at for at, token in enumerate(self.words.ids(caption)) if token == article][:TOLD]
        found[: len(starts)] = torch.tensor(starts) + 1
        return found

    def _read(self, caption: str) -> Float[Tensor, "1 n d"]:
        if caption not in self._texts:
            self._texts[caption] = self.words.encode([caption]).half()
        return self._texts[caption].float()

    def matrices(self) -> list[nn.Parameter]:
        """Of the blocks, and of what reads the words."""
        things = self.model.things
        return [it for part in (things.blocks, things.reader, things.gist) for it in part.parameters() if it.ndim == 2]

    def figures(self) -> dict[str, float]:
        """Mean error on moments of test scenes, of the range of 2, and that of leaving the picture as it is: where one
        thing becomes another colour, and where things have lost theirs.
        """
        found = dict[str, float]()
        for mended, (name, plain) in enumerate((("held_out", "as_it_was"), ("mended", "worn"))):
            source, made, target = self._made(JUDGED, mended)
            found[name], found[plain] = (float((it - target).abs().mean()) for it in (made, source))
        return found

    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Moments of test scenes: before, what is made of them, after; below, those that are mended."""
        shown = [torch.cat(list(row), dim=2) for mended in (0, 1) for row in self._made(SHOWN, mended)]
        return ((torch.cat(shown, dim=1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    def _made(self, count: int, mended: float) -> tuple[Tensor, Tensor, Tensor]:
        asked = self._batch(self.unknown, np.random.Generator(np.random.PCG64(5)), count, mended)
        gain, offset = self.model.things(asked.source, asked.disparity, *asked.said, asked.along)
        return asked.source, applied(asked.source, gain, offset).clamp(-1, 1), asked.target

    def export(self, folder: Path) -> None:
        self.model.save_pretrained(folder / "repainter")


@dataclass(frozen=True)
class _Asked:
    """A batch.

    Attributes:
        source, target: pictures before and after.
        words: the token that tells of each pixel, or -1.
        said: both texts.
        along: how far the pictures are on the way.
    """

    source: Float[Tensor, "b 3 h w"]
    target: Float[Tensor, "b 3 h w"]
    disparity: Float[Tensor, "b h w"]
    words: Int64[Tensor, "b h w"]
    said: tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]
    along: Float[Tensor, " b"]

    def halved(self) -> "_Asked":
        """At half of its size."""
        source, target = (functional.avg_pool2d(it, 2) for it in (self.source, self.target))
        coarse = {"disparity": self.disparity[:, ::2, ::2], "words": self.words[:, ::2, ::2]}
        return replace(self, source=source, target=target, **coarse)


def _changed(moment: Variants) -> bool:
    """Whether the thing that has another colour is there to be seen."""
    before, after = moment.pictures[:2].float()
    return float((before - after).abs().mean()) / 127.5 > SEEN


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
