"""Windows of encoded clips as the transformer takes them: what is given, what is left out, what must be predicted.

Any subset of what a user may give has to work, so every part is left out at random: words, first picture, keyframes,
each control, beats. A control may also begin late or end early.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from longvie.controls.control import DENSE_KINDS
from longvie.data.latents import STILLS, Carried, ClipLatents
from longvie.models.control_branch import ControlInput

DEPTH = DENSE_KINDS.index("depth")
OFTEN = tuple(0.5 if kind == "depth" else 0.25 for kind in DENSE_KINDS)  # how often each is the first to be given


@dataclass(frozen=True)
class Drops:
    """How often each part is left out, and how often rarer parts are there."""

    words: float = 0.10
    picture: float = 0.12
    dense: float = 0.17
    tracks: float = 0.17
    both: float = 0.06  # dense and tracks together, beside their own shares
    beats: float = 0.20
    keyframe: float = 0.15  # share that gets one
    more_dense: float = 0.30  # how often one more dense control joins those of a batch, up to all there are
    partial: float = 0.12  # share of controls that are on for a part of the window only


ALL = Drops(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)  # everything there is, and nothing rare


@dataclass(frozen=True)
class Window:
    """A batch: b windows of l latent frames with k frames of history before them."""

    clean: Float[Tensor, "b c l h w"]
    condition: Float[Tensor, "b 20 l h w"]
    history: Float[Tensor, "b c k h w"] | None  # clean latents; `tokens` makes the model's input of them
    controls: tuple[ControlInput, ...]
    beats: Float[Tensor, "b l 4"]
    words: tuple[str, ...]
    carried: Float[Tensor, "b c l h w"] | None = None  # the last picture before the window, moved along the tracks
    moves: Bool[Tensor, "b l"] | None = None  # where it was, and the tracks are on
    seen: Float[Tensor, "b 4 l h w"] | None = None  # how much of each of its cells it really shows
    worn: Float[Tensor, "b c 1 h w"] | None = None  # latent of the first picture where it was damaged on purpose

    def to(self, device: torch.device | str) -> "Window":
        """The same, elsewhere."""
        controls = tuple(control.to(device) for control in self.controls)
        move = lambda tensor: None if tensor is None else tensor.to(device)  # noqa: E731
        return replace(
            self,
            clean=move(self.clean),
            condition=move(self.condition),
            history=move(self.history),
            controls=controls,
            beats=move(self.beats),
            carried=move(self.carried),
            moves=move(self.moves),
            seen=move(self.seen),
            worn=move(self.worn),
        )

    def first(self, count: int) -> "Window":
        """Its first latent frames alone."""
        part = lambda tensor: None if tensor is None else tensor[:, :, :count]  # noqa: E731
        return replace(
            self,
            clean=part(self.clean),
            condition=part(self.condition),
            controls=tuple(
                replace(it, latents=it.latents[:, :, :count], strength=it.strength[:, :count]) for it in self.controls
            ),
            beats=self.beats[:, :count],
            carried=part(self.carried),
            moves=None if self.moves is None else self.moves[:, :count],
            seen=part(self.seen),
        )


def tokens(history: Float[Tensor, "b c k h w"]) -> Float[Tensor, "b channels k h w"]:
    """History as the patch embedding takes it: the latent where the noisy one would be, mask 1, the latent as given."""
    ones = history.new_ones(history.shape[0], 4, *history.shape[2:])
    return torch.cat([history, ones, history], dim=1)


def plain(latents: Float[Tensor, "b c l h w"]) -> Float[Tensor, "b channels l h w"]:
    """A control's latents as the patch embedding takes them: where the noisy ones would be, nothing else given."""
    zeros = latents.new_zeros(latents.shape[0], 20, *latents.shape[2:])
    return torch.cat([latents, zeros], dim=1)


def places(clips: list[ClipLatents], random: np.random.Generator, *, length: int, recent: int | None) -> list[int]:
    """Where a window of each clip may begin: at 0, or where the first and `recent` more latent frames fit before; there
    where a carried picture is known, if it is known anywhere.
    """
    found = []
    for clip in clips:
        fitting = range(1 + (recent or 0), clip.beats.shape[0] - length + 1)
        known = sorted({at for at in (*clip.worn, *(at for at, _ in clip.carried)) if at in fitting})
        found.append(0 if recent is None else int(random.choice(known)) if known else int(random.choice(fitting)))
    return found


def draw(
    clips: list[ClipLatents],
    begins: list[int],
    random: np.random.Generator,
    *,
    length: int,
    recent: int | None,
    drops: Drops = Drops(),
    wears: float = 0.0,
) -> Window:
    """One window out of each clip.

    Args:
        begins: first latent frame of each window, from `places`.
        length: latent frames to be predicted.
        recent: None is the beginning of a video; n comes after the first latent frame and the last n.
        wears: how often a clip that knows what a model would be given at its begin is given that instead of the truth.
    """
    worn = [c.worn.get(at) if random.random() < wears else None for c, at in zip(clips, begins, strict=True)]
    spans = [slice(at, at + length) for at in begins]
    clean = torch.stack([c.streams["picture"][:, s] for c, s in zip(clips, spans, strict=True)]).float()
    history = None
    if recent is not None:
        history = torch.stack(
            [
                torch.cat([c.streams["picture"][:, :1], c.streams["picture"][:, at - recent : at]], dim=1)
                if own is None
                else torch.cat([own.history[:, :1], own.history[:, own.history.shape[1] - recent :]], dim=1)
                for c, at, own in zip(clips, begins, worn, strict=True)
            ]
        ).float()
    condition = torch.stack(
        [_given(c, at, length, recent is None, random, drops) for c, at in zip(clips, begins, strict=True)]
    )
    both = random.random(len(clips)) < drops.both
    kinds = np.stack([random.choice(len(DENSE_KINDS), len(DENSE_KINDS), replace=False, p=OFTEN) for _ in clips], axis=1)
    count = 1
    while count < len(kinds) and random.random() < drops.more_dense:
        count += 1
    controls = [_dense(clips, spans, kind, random, drops, both) for kind in kinds[:count]]
    tracks = torch.stack([c.streams["tracks"][:, s] for c, s in zip(clips, spans, strict=True)]).float()
    strength = _strength(len(clips), length, drops.tracks, both, random, drops)
    controls.append(ControlInput("sparse", plain(tracks), strength))
    deep = torch.stack([(c.kind == DEPTH) & (c.strength > 0).all(1) for c in controls[:-1]]).any(0)
    moved = [
        c.moved(at, bool(d)) if own is None else own.carried if d else None
        for c, at, d, own in zip(clips, begins, deep, worn, strict=True)
    ]
    known = torch.tensor([it is not None for it in moved])
    if recent is None:
        known &= condition[:, 0, 0, 0, 0] > 0  # a first picture that is not given cannot be moved
    empty = Carried(torch.zeros_like(clean[0]), torch.zeros_like(condition[0, :4], dtype=torch.uint8))
    parts = [empty if it is None else it for it in moved]
    carried = torch.stack([it.latents[:, :length].float() for it in parts])
    seen = torch.stack([it.seen[:, :length].float() / 255 for it in parts])
    heard = torch.from_numpy(random.random(len(clips)) >= drops.beats)[:, None, None]
    beats = torch.stack([c.beats[s] for c, s in zip(clips, spans, strict=True)]) * heard
    words = tuple(
        "" if random.random() < drops.words else c.caption(at + length // 2)
        for c, at in zip(clips, begins, strict=True)
    )
    moves = known[:, None] & (strength > 0)
    return Window(clean, condition, history, tuple(controls), beats, words, carried, moves, seen)


def _given(clip: ClipLatents, at: int, length: int, first: bool, random: np.random.Generator, drops: Drops) -> Tensor:
    """Mask and latents of the first picture and of a keyframe, (20, l, h, w)."""
    height, width = clip.stills.shape[2:]
    given = torch.zeros(20, length, height, width)
    if first and random.random() >= drops.picture:
        given[:4, 0], given[4:, 0] = 1.0, clip.stills[:, 0].float()
    inside = [
        k for k, latent in enumerate(STILLS) if at <= latent < at + length and latent > 0 and k < clip.stills.shape[1]
    ]
    if inside and random.random() < drops.keyframe:
        k = int(random.choice(inside))
        strength = 1.0 if random.random() < 0.7 else float(random.uniform(0.2, 1.0))
        given[:4, STILLS[k] - at], given[4:, STILLS[k] - at] = strength, strength * clip.stills[:, k].float()
    return given


def _dense(
    clips: list[ClipLatents],
    spans: list[slice],
    kinds: np.ndarray,
    random: np.random.Generator,
    drops: Drops,
    both: np.ndarray,
) -> ControlInput:
    latents = torch.stack(
        [c.streams[DENSE_KINDS[k]][:, s] for c, s, k in zip(clips, spans, kinds, strict=True)]
    ).float()
    length = latents.shape[2]
    strength = _strength(len(clips), length, drops.dense, both, random, drops)
    return ControlInput("dense", plain(latents), strength, kind=torch.from_numpy(kinds))


def _strength(
    batch: int, length: int, drop: float, both: np.ndarray, random: np.random.Generator, drops: Drops
) -> Float[Tensor, "b l"]:
    """1 where a control is on, 0 where it is off: for the whole window, or before or after some moment."""
    strength = torch.ones(batch, length)
    for k in range(batch):
        if both[k] or random.random() < drop:
            strength[k] = 0.0
        elif random.random() < drops.partial:
            turn = int(random.integers(1, length)) if length > 1 else 0
            strength[k, slice(0, turn) if random.random() < 0.5 else slice(turn, length)] = 0.0
    return strength
