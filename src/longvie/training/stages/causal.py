"""Stage `causal`: the clip transformer learns to go on block by block, from what it keeps of the blocks before.

Starts from the averaged weights of `history` (else of `base`) and trains the transformer further; both engines then
share the words. What the live engine
gives is given here: the first latent frames, the last ones, clean and at time 0, then a block to be made; every block
sees those before it and itself (teacher forcing; LongLive's window with its sink, reference/longlive.md §1.7). The
past is all of the model's input, with its controls, as the pass that fills the live memory has it. So from clip to
live only the mask changes. Some of the past is damaged, because in use it is the model's own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from longvie.data.latents import STILLS, ClipLatents
from longvie.engine import conditioning, flow
from longvie.engine.memory import Window as Kept
from longvie.models.control_branch import ControlInput
from longvie.models.encoders import WordEncoder
from longvie.models.transformer import VideoTransformer
from longvie.training.stages.base import SHIFT, BaseStage
from longvie.training.windows import ALL, Drops, Window, draw

BLOCK = 3  # latent frames made at once
KEPT = Kept(sink=3, recent=6)  # the published window
LATENTS = STILLS[-1] + 1  # latent frames of a clip
SAMPLES = 8
FIRST = 0.12  # share of batches with a video's first block
LATER = 0.6  # share of samples whose moved picture is not the first one, where both are known
NOISY = 0.35  # share of samples with noise on what they keep, and on the moved picture
NOISE = 0.25  # its highest level


@dataclass(frozen=True)
class Block:
    """A block to be made, after the latent frames that are kept; l = kept + block of them."""

    clean: Float[Tensor, "b c block h w"]
    past: Float[Tensor, "b c kept h w"]
    condition: Float[Tensor, "b 20 block h w"]
    controls: tuple[ControlInput, ...]
    beats: Float[Tensor, "b l 4"]
    words: tuple[str, ...]
    made_with: tuple[int, ...] = ()  # of each latent frame, the number of its block; by default all follow each other

    @property
    def frames(self) -> int:
        """Latent frames in all."""
        return self.past.shape[2] + self.clean.shape[2]

    def visible(self) -> Bool[Tensor, "l l"]:
        """Which of them sees which."""
        return block_mask(self.made_with or tuple(at // BLOCK for at in range(self.frames)))

    def to(self, device: torch.device | str) -> "Block":
        """The same, elsewhere."""
        moved = {name: getattr(self, name).to(device) for name in ("clean", "past", "condition", "beats")}
        return replace(self, controls=tuple(control.to(device) for control in self.controls), **moved)


def block_of(
    whole: Window,
    now: int,
    carried: Float[Tensor, "b c 3 h w"],
    seen: Float[Tensor, "b 4 3 h w"],
    made: Float[Tensor, "b c l h w"] | None = None,
) -> Block:
    """The block from latent frame `now` on out of whole clips.

    Args:
        carried, seen: the last known picture moved to the frames of the block, and how much of it is seen.
        made: what is known of the frames before; by default the truth.
    """
    earlier = whole.clean if made is None else made
    frames = [*KEPT.kept(now), *range(now, now + BLOCK)]
    span = slice(now, now + BLOCK)
    before = earlier[:, :, now - 1] if now else None
    moves = None if whole.moves is None else whole.moves[:, span]
    condition = conditioning.held(whole.condition[:, :, span], before, carried, moves, seen)
    controls = tuple(
        replace(c, latents=c.latents[:, :, frames], strength=c.strength[:, frames]) for c in whole.controls
    )
    past = earlier[:, :, KEPT.kept(now)]
    return Block(whole.clean[:, :, span], past, condition, controls, whole.beats[:, frames], whole.words)


def block_mask(numbers: Sequence[int]) -> Bool[Tensor, "l l"]:
    """Every block sees itself and those before it; of each latent frame, the number of its block."""
    number = torch.tensor(numbers)
    return number[:, None] >= number


class CausalStage(BaseStage):
    """Predicts the clean latents of a block, as `base` does those of a window."""

    name: ClassVar[str] = "causal"

    def __init__(self, transformer: VideoTransformer, words: WordEncoder, *given: Any, scale: int = 1) -> None:
        super().__init__(transformer, words.requires_grad_(False), *given, scale=scale)

    def forward(self, random: np.random.Generator, share: float) -> tuple[Tensor, dict[str, float]]:  # noqa: ARG002
        self.calls += 1
        block = self.block(random)
        noise = torch.randn_like(block.clean)
        t = self.levels(block.clean, random)
        made = self.made(block, flow.noised(block.clean, noise, t), t)
        return self.error(block, made, t)

    def error(self, block: Block, made: Tensor, t: Float[Tensor, " b"]) -> tuple[Tensor, dict[str, float]]:
        """The loss of a block, and its plain squared error."""
        window = Window(block.clean, block.condition, None, (), block.beats[:, -BLOCK:], block.words)
        return self.loss(window, made, block.clean, t)

    def block(self, random: np.random.Generator) -> Block:
        """A block of some clips, all at the same place."""
        last = LATENTS // BLOCK - 1
        now = 0 if random.random() < FIRST else BLOCK * int(random.integers(1, last + 1))
        clips = [self.pool.draw(random) for _ in range(SAMPLES * self.scale)]
        whole = whole_clips(clips, random)
        whole = replace(whole, words=said(clips, whole.words, now))
        block = block_of(whole, now, *carried_at(clips, whole, now, random))
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        return damaged(block, generator).to(self.device)

    def made(self, block: Block, noisy: Tensor, t: Float[Tensor, " b"]) -> Float[Tensor, "b c block h w"]:
        """Clean latents of the block."""
        ids, mask = self.words.tokens(list(block.words))
        kept = block.past.shape[2]
        known = conditioning.given(block.past, torch.ones(1, kept, device=noisy.device))
        times = torch.cat([t.new_zeros(len(t), kept), t[:, None].expand(-1, BLOCK)], dim=1)
        out = self.transformer(
            torch.cat([block.past.to(noisy), noisy], dim=2),
            times,
            self.words(ids.to(self.device), mask.to(self.device)),
            condition=torch.cat([known.to(noisy), block.condition.to(noisy)], dim=2),
            controls=block.controls,
            beats=block.beats,
            visible=block.visible().to(noisy.device),
        )
        return out[:, :, kept:]

    @torch.no_grad()
    def sampled(self, block: Block, *, steps: int = 2, seed: int = 0) -> Float[Tensor, "b c block h w"]:
        """Clean latents of the block from noise, in a few steps."""
        noise = torch.randn(block.clean.shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            level = t.to(self.device).expand(x.shape[0])
            return flow.velocity_from_x0(self.made(block, x, level).float(), x, level)

        return flow.euler(velocity, noise, flow.times(steps, SHIFT))

    @torch.no_grad()
    def rolled(self, clips: list[ClipLatents], *, steps: int = 2) -> Float[Tensor, "b c l h w"]:
        """Whole clips with all controls, block after block from what the model itself has made."""
        random = np.random.Generator(np.random.PCG64(5))
        whole = whole_clips(clips, random, ALL).to(self.device)
        made = whole.clean[:, :, :0]
        for now in range(0, LATENTS // BLOCK * BLOCK, BLOCK):
            shown = carried_at(clips, whole, now, None)
            heard = replace(whole, words=said(clips, whole.words, now))
            carried, seen = (it.to(self.device) for it in shown)
            block = block_of(heard, now, carried, seen, made)
            made = torch.cat([made, self.sampled(block, steps=steps, seed=now)], dim=2)
        return made

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Squared error of held-out clips that the model has gone through by itself, as the loss weighs channels: of
        all, and of their last block.
        """
        clips = self.held_out.items[:8]
        made = self.rolled(clips, steps=1)
        clean = torch.stack([c.streams["picture"][:, : made.shape[2]] for c in clips]).float().to(self.device)
        error = self.importance * (made - clean).square()
        return {"held_out": float(error.mean()), "held_out_last": float(error[:, :, -BLOCK:].mean())}

    @torch.no_grad()
    def sheet(self) -> UInt8[np.ndarray, "h w 3"]:
        """Held-out clips, two rows each: the truth, and made block after block."""
        clips = self.held_out.items[:5]
        made = self.rolled(clips)
        rows = []
        for k, clip in enumerate(clips):
            for latents in (clip.streams["picture"][None, :, : made.shape[2]].to(made), made[k : k + 1]):
                video = self.autoencoder.decode(latents.to(self.autoencoder.dtype))[0][0].float()
                rows.append(torch.cat(list(video[:, ::16].unbind(1)), dim=-1))
        grid = torch.cat(rows, dim=1).permute(1, 2, 0)
        return ((grid + 1) * 127.5).clamp(0, 255).round().byte().cpu().numpy()


def whole_clips(clips: list[ClipLatents], random: np.random.Generator, drops: Drops = Drops()) -> Window:  # noqa: B008 - frozen
    """All of some clips, with what is given drawn at random."""
    return draw(clips, [0] * len(clips), random, length=LATENTS, recent=None, drops=drops)


def said(clips: list[ClipLatents], words: tuple[str, ...], now: int) -> tuple[str, ...]:
    """The words that hold at a block, where there are any."""
    return tuple(text and clip.caption(now + BLOCK // 2) for clip, text in zip(clips, words, strict=True))


def carried_at(
    clips: list[ClipLatents], whole: Window, now: int, random: np.random.Generator | None
) -> tuple[Float[Tensor, "b c 3 h w"], Float[Tensor, "b 4 3 h w"]]:
    """The picture that moves, at a block: the first, or now and then (without `random` always) a later known one."""
    assert whole.carried is not None and whole.seen is not None
    span = slice(now, now + BLOCK)
    latents, seen = whole.carried[:, :, span].clone(), whole.seen[:, :, span].clone()
    for k, clip in enumerate(clips):
        begins = [at for at, _ in clip.carried if 0 < at <= now]
        if not begins or (random is not None and random.random() >= LATER):
            continue
        carried = clip.moved(max(begins), deep=True)
        if carried is not None:
            part = slice(now - max(begins), now - max(begins) + BLOCK)
            latents[k], seen[k] = carried.latents[:, part].to(latents), carried.seen[:, part].to(seen) / 255
    return latents, seen


def damaged(block: Block, generator: torch.Generator) -> Block:
    """Noise on what some samples keep, and on the picture that moves."""
    count = len(block.clean)
    levels = NOISE * torch.rand(count, 1, 1, 1, 1, generator=generator)
    levels = levels * (torch.rand(count, 1, 1, 1, 1, generator=generator) < NOISY)
    past = block.past + levels * torch.randn(block.past.shape, generator=generator)
    shown = block.condition[:, conditioning.MASKS :]
    free = block.condition[:, :1] <= 0  # a first picture or a keyframe is never damaged here
    shown = shown + levels * free * torch.randn(shown.shape, generator=generator)
    return replace(block, past=past, condition=torch.cat([block.condition[:, : conditioning.MASKS], shown], dim=1))
