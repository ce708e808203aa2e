"""Stage `paint`: how far the colour of a thing goes where words change it, from things as wholes.

All but the painter is frozen, so what the places find is found once, for all moments, before the first step.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from longvie.data.variants import TOLD, UNTOLD, Variants
from longvie.engine.light import pieces_of
from longvie.models.encoders import WordEncoder
from longvie.models.painter import Seen, see
from longvie.models.repainter import Repainter, applied
from longvie.training.stages.recolour import BLOTCHES, NOISE, faded, tokens
from longvie.training.trainer import Stage

THINGS = 192  # of a batch
PIXELS = 128  # of each thing, drawn once
LEAST = 30  # pixels of a thing that is learnt from
CHANGED, OFTEN = (
    0.03,
    7.7,
)  # mean change, of the range of 1, from which on a thing counts as changed; how much more it is drawn
LITTLE = 0.05  # mean change that is added to that of a thing, before errors are weighed by it
POINTED = 0.2  # weight of which word tells of a thing
FADED, MOST = 0.3, 0.6  # share of pictures whose colours are off, and by how much at most
WORDS = 64  # of a text
SHOWN = 8  # moments of the sheet


@dataclass(frozen=True)
class Pool:
    """Things of many moments, each under two captions, and what is to become of their pixels; colours from 0 to 1."""

    moment: Int64[Tensor, " n"]
    pair: Int64[Tensor, " n"]  # row of `words` and `texts`
    told: Int64[Tensor, " n"]  # the word that tells of it; `WORDS` is none
    features: Float[Tensor, "n f"]
    pointed: Float[Tensor, "n words"]
    before: Float[Tensor, "n 3 pixels"]
    after: Float[Tensor, "n 3 pixels"]
    places: Float[Tensor, "n 3 pixels"]  # as the places alone would have it
    words: Float[Tensor, "pairs m c"]
    texts: Float[Tensor, "pairs m d"]

    def seen(self, at: Int64[Tensor, " k"], device: torch.device) -> Seen:
        """Some of them, as the painter sees them."""
        pair = self.pair[at]
        parts = self.features[at], self.pointed[at], self.words[pair], self.texts[pair]
        return Seen(*(part.float().to(device) for part in parts))

    def change(self) -> Float[Tensor, " n"]:
        """How much each is to change."""
        return (self.before.float() - self.after.float()).abs().mean((1, 2))


class PaintStage(Stage):
    """What places find of a thing, and its words → its colours under other words."""

    name: ClassVar[str] = "paint"

    def __init__(
        self, model: Repainter, words: WordEncoder, moments: list[Variants], unknown: list[Variants], scale: int = 1
    ) -> None:
        super().__init__()
        assert model.painter is not None
        self.model, self.words = model.requires_grad_(requires_grad=False), words.requires_grad_(requires_grad=False)
        self.painter = model.painter.requires_grad_()
        self.moments, self.scale = unknown[:SHOWN], scale
        self.known, self.unknown = gathered(model, words, moments, worn=True), gathered(model, words, unknown)
        self.painter.measure(self.known.features)
        self.weights = torch.where(self.known.change() > CHANGED, OFTEN, 1.0)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.painter.none.device

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        self.painter.train()
        drawn = torch.Generator().manual_seed(int(random.integers(2**62)))
        at = torch.multinomial(self.weights, THINGS * self.scale, replacement=True, generator=drawn)
        error, change, logits = self._made(self.known, at)
        belongs = functional.cross_entropy(logits, self.known.told[at].to(logits.device))
        loss = (error / (change + LITTLE)).mean()
        figures = {"left": float((error / change.clamp(min=CHANGED))[change > CHANGED].detach().mean())}
        return loss + POINTED * belongs, figures | {"pointed": float(belongs.detach())}

    def _made(self, pool: Pool, at: Int64[Tensor, " k"]) -> tuple[Tensor, Tensor, Tensor]:
        """Mean error of each thing, its change, and which word tells of it, as logits."""
        mean, matrix, logits = self.painter(pool.seen(at, self.device))
        before, after = (it[at].float().to(self.device) for it in (pool.before, pool.after))
        with torch.autocast(self.device.type, enabled=False):  # differences of near numbers: not in bfloat16
            own = pool.features[at, :3].float().to(self.device)[..., None]
            made = mean.float()[..., None] + matrix.float() @ (before - own)
            error, change = ((it - after).abs().mean((1, 2)) for it in (made, before))
        return error, change, logits

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Of test scenes: what is left of the change of the thing that changes most, on the mean; by the places alone;
        and in how many things the right word is found.
        """
        self.painter.eval()
        pool, at = self.unknown, torch.arange(len(self.unknown.pair))
        error, change, logits = self._made(pool, at)
        plain = (pool.places.float() - pool.after.float()).abs().mean((1, 2)).to(error)
        found = [
            where[change[where].argmax()]
            for where in ((pool.moment == it).nonzero()[:, 0] for it in pool.moment.unique())
        ]
        most = torch.stack([it for it in found if change[it] > CHANGED] or found)
        named = pool.told < WORDS
        right = (logits.argmax(1).cpu() == pool.told)[named].float().mean()
        left, places = ((it[most] / change[most]).mean() for it in (error, plain))
        return {"held_out": float(left), "places_alone": float(places), "right_words": float(right)}

    @torch.no_grad()
    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Moments of test scenes: before, what is made of them, after."""
        self.painter.eval()
        rows = list[Tensor]()
        for moment in self.moments:
            before, after = (moment.pictures[:2].permute(0, 3, 1, 2).float() / 127.5 - 1).to(self.device)
            disparity = moment.disparity[None].float()
            said, now = (self.words.encode([caption]).to(self.device) for caption in moment.captions[:2])
            told = disparity.to(self.device), said, now, torch.zeros(1, device=self.device)
            made = self.model(before[None], *told, pieces=pieces_of(disparity).to(self.device))[0].clamp(-1, 1)
            rows.append(torch.cat([before, made, after], dim=2))
        return ((torch.cat(rows, dim=1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    def export(self, folder: Path) -> None:
        self.model.save_pretrained(folder / "repainter")


@torch.no_grad()
def gathered(model: Repainter, words: WordEncoder, moments: list[Variants], *, worn: bool = False) -> Pool:
    """The things of moments: each moment under the two captions that differ in one thing's colour; where pictures are
    `worn`, one way or the other, and under two more that differ in things alone, if there are any.
    """
    random = np.random.Generator(np.random.PCG64(11))
    rows: dict[str, list[Tensor]] = {field.name: [] for field in fields(Pool)}
    for number, moment in enumerate(moments):
        pieces = pieces_of(moment.disparity[None].float())[0]
        things = [pieces == it for it in pieces[pieces > 0].unique().tolist()]
        things = [where for where in things if int(where.sum()) >= LEAST]
        pairs = [(0, 1)]
        if worn:
            pairs = [(0, 1) if random.random() < 0.5 else (1, 0), *_others(moment, random)]
        for pair in pairs if things else ():
            for name, row in _looked(model, words, moment, pair, things, random, worn=worn).items():
                rows[name].extend(row)
            rows["moment"] += [torch.tensor(number)] * len(things)
            rows["pair"] += [torch.tensor(len(rows["words"]) - 1)] * len(things)
    return Pool(**{name: torch.stack(row) for name, row in rows.items()})


def _others(moment: Variants, random: np.random.Generator) -> list[tuple[int, int]]:
    """One more pair of captions that differ in things alone."""
    grounds = [caption.rpartition(" on ")[2] for caption in moment.captions]
    known = range(len(grounds))
    found = [
        (i, j)
        for i in known
        for j in known
        if i != j and max(i, j) > 1 and grounds[i] == grounds[j] and moment.captions[i] != moment.captions[j]
    ]
    return [found[int(random.integers(len(found)))]] if found else []


def _looked(
    model: Repainter,
    words: WordEncoder,
    moment: Variants,
    pair: tuple[int, int],
    things: list[Tensor],
    random: np.random.Generator,
    *,
    worn: bool,
) -> dict[str, list[Tensor]]:
    """What is seen of the things of a moment under two captions."""
    device = model.light.enter.weight.device
    before, after = moment.pictures[list(pair)].permute(0, 3, 1, 2).float() / 127.5 - 1
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    if worn:
        if random.random() < FADED:
            off = torch.tensor([MOST * random.random()])
            before = faded(before[None], off, int(random.integers(*BLOTCHES)))[0]
        before = before + NOISE * torch.randn(before.shape, generator=generator)
    said, now = (words.encode([moment.captions[it]]).to(device) for it in pair)
    disparity, along = moment.disparity.float().to(device), torch.zeros(1, device=device)
    looked = model.things.look(before[None].to(device), disparity[None], said, now, along)
    own = applied(before[None].to(device), looked.gain, looked.offset).clamp(-1, 1)[0]
    texts = torch.cat([said, now], dim=-1)[0]
    given = before.to(device), own, disparity, [where.to(device) for where in things], looked, texts
    seen, named = see(*given), tokens(words, moment.captions[pair[0]])
    count = seen.words.shape[1]
    made: dict[str, list[Tensor]] = {name: [] for name in ("told", "features", "pointed", "before", "after", "places")}
    for at, where in enumerate(things):
        drawn = torch.randint(int(where.sum()), (PIXELS,), generator=generator)
        kind = int(moment.things[where].mode()[0])
        token = int(named[kind]) if kind < TOLD else int(named[UNTOLD])
        pointed = functional.pad(seen.pointed[at, :-1], (0, WORDS - count), value=-30.0)
        made["told"].append(torch.tensor(token if 0 <= token < count else WORDS))
        made["features"].append(seen.features[at].half().cpu())
        made["pointed"].append(torch.cat([pointed, seen.pointed[at, -1:]]).half().cpu())
        for name, picture in (("before", before), ("after", after), ("places", own.cpu())):
            made[name].append(((picture[:, where][:, drawn] + 1) / 2).half())
    made["words"] = [functional.pad(seen.words[0], (0, 0, 0, WORDS - count)).half().cpu()]
    made["texts"] = [functional.pad(seen.texts[0], (0, 0, 0, WORDS - count)).half().cpu()]
    return made


def whole(model: Repainter) -> Repainter:
    """The same with a painter, if it has none."""
    if model.painter is not None:
        return model
    made = Repainter(**{name: model.config[name] for name in ("width", "layers", "heads", "text_width", "fine_width")},
                     wholes=True)  # fmt: skip
    made.light.load_state_dict(model.light.state_dict())
    made.things.load_state_dict(model.things.state_dict())
    return made
