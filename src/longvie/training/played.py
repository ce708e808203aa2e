"""Clips of the world as the model itself makes them: what later stages learn from beside the truth.

A decoder meets the transformer's latents, not those of real pictures; and in use a later clip follows the model's own
frames: its history is what it made, and the picture that tracks move is its own last one, blurred and drifted as it may
be. Here the model makes clips as the engine does, one part after the other, and what it made and what it was given is
kept beside the truth (DAgger, arXiv 1011.0686: learn where the learner goes).
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longvie.controls.control import DENSE_KINDS
from longvie.controls.guides import guides
from longvie.controls.moved import Moved, remembered
from longvie.data.clips import Clip
from longvie.data.latents import ClipLatents, Worn, encoded, moved
from longvie.data.streams import pictures
from longvie.models.streams import TaeState
from longvie.training.stages.base import BaseStage
from longvie.training.windows import ALL, Window, draw

BORDERS = (5, 13)  # latent frames at which a clip is continued
RECENT = 4  # latent frames that are handed on, beside the first
STEPS = 2  # of the sampler
GIVEN = {  # dense controls, and how often they are given together
    ("depth",): 0.35,
    DENSE_KINDS: 0.22,
    ("depth", "segmentation"): 0.06,
    ("sketch",): 0.08,
    ("segmentation",): 0.08,
    (): 0.21,
}
TRACKS = 0.8  # how often tracks are


@dataclass(frozen=True)
class Played:
    """What a model made of a clip: latents, the pictures that it was given to move, the dense controls."""

    latents: Float[Tensor, "c l h w"]
    pictures: UInt8[Tensor, "3 f H W"]
    seen: UInt8[Tensor, "f H W"]  # 0 or 1
    dense: tuple[str, ...]

    def save(self, file: Path) -> None:
        """By rename."""
        file.parent.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(self, name).contiguous() for name in ("latents", "pictures", "seen")}
        draft = file.with_suffix(".part")
        save_file(tensors, draft, metadata={"dense": json.dumps(self.dense)})
        draft.rename(file)

    @staticmethod
    def shape(file: Path) -> tuple[int, int, int]:
        """Its latent frames, rows and columns."""
        with safe_open(file, "pt") as opened:
            _, frames, rows, columns = opened.get_slice("latents").get_shape()
            return frames, rows, columns

    @classmethod
    def part(cls, file: Path, cells: tuple[slice, slice, slice], pixels: tuple[slice, slice, slice]) -> "Played":
        """Some of its latent frames, rows and columns, and some of its frames, rows and columns; only they are read."""
        with safe_open(file, "pt") as opened:
            named = {"latents": (slice(None), *cells), "pictures": (slice(None), *pixels), "seen": pixels}
            cut = {name: opened.get_slice(name)[where] for name, where in named.items()}
            return cls(dense=tuple(json.loads(opened.metadata()["dense"])), **cut)


@torch.no_grad()
def play(
    stage: BaseStage, clip: Clip, known: ClipLatents, *, borders: tuple[int, ...] = (), seed: int = 0
) -> tuple[Played, dict[int, Worn]]:
    """A clip made from its first picture and its controls, and what the model was given at each border.

    Args:
        known: the clip's latents.
        borders: latent frames at which a new part begins, from the model's own last frame.
    """
    random = np.random.Generator(np.random.PCG64([seed, clip.number, 13]))
    dense = list(GIVEN)[int(random.choice(len(GIVEN), p=list(GIVEN.values())))]
    tracks = bool(random.random() < TRACKS)
    drawn = {kind: pictures(clip, kind) for kind in dense}
    autoencoder, total = stage.autoencoder, known.beats.shape[0]
    made, video, decoder, worn, shown = known.stills[:, :0, :0], None, None, dict[int, Worn](), list[Moved]()
    for begin, end in zip((0, *borders), (*borders, total), strict=True):
        at = max(0, 4 * begin - 3)  # its first video frame
        last = pictures(clip.part(slice(0, 1)), "picture")[:, 0]
        if video is not None:
            last = remembered(video[0, :, -1].float().cpu(), shown[-1].pictures[:, -1], shown[-1].kept[:, -1])
        whole = _moving(last, clip, max(0, at - 1), tracks=tracks)  # from the last known picture on
        part = whole.part(slice(int(begin > 0), int(begin > 0) + 4 * end - 3 - at))
        if begin:
            history = torch.cat([made[:, :1], made[:, -RECENT:]], dim=1)
            worn[begin] = Worn(history.bfloat16().cpu(), encoded(whole, autoencoder, stage.device, lone=False))
        recent = None if not begin else min(RECENT, begin - 1)
        window = draw(
            [replace(known, worn=worn)],
            [begin],
            random,
            length=end - begin,
            recent=recent,
            drops=replace(ALL, more_dense=1.0),
            wears=1.0,
        )
        new = stage.sample(_given(window, dense, tracks=tracks).to(stage.device), steps=STEPS, seed=clip.number)
        if end < total:  # the last part's own frames move nothing any more
            video, decoder = _shown(
                stage, new, decoder, part, {kind: it[:, at : 4 * end - 3] for kind, it in drawn.items()}
            )
        made = new[0] if not begin else torch.cat([made, new[0]], dim=1)
        shown.append(part)
    whole = Moved.joined(shown)
    eight = ((whole.pictures.clamp(-1, 1) + 1) * 127.5).round().byte()
    return Played(made.bfloat16().cpu(), eight, whole.seen[0].byte(), dense), worn


def _shown(
    stage: BaseStage, latents: Tensor, decoder: TaeState | None, part: Moved, drawn: dict[str, Tensor]
) -> tuple[Float[Tensor, "1 3 f H W"], TaeState]:
    """The frames of a part, and the decoder's state after them."""
    autoencoder, looks = stage.autoencoder, None
    if autoencoder.guides:
        frames, height, width = part.pictures.shape[1:]
        looks = guides(frames, (height, width), part, drawn)[None].to(autoencoder.device, autoencoder.dtype)
    return autoencoder.decode(latents.to(autoencoder.dtype), decoder, guides=looks)


def _moving(picture: Float[Tensor, "3 h w"], clip: Clip, known: int, *, tracks: bool) -> Moved:
    """A picture of video frame `known` moved to the end of the clip; nothing, without tracks."""
    if tracks:
        return moved(picture, clip, known)
    nothing = torch.zeros(3, len(clip.beats) - known, *picture.shape[1:])
    return Moved(nothing, torch.zeros_like(nothing[:1], dtype=torch.bool))


def _given(window: Window, dense: tuple[str, ...], *, tracks: bool) -> Window:
    """A window of one clip with some of its controls."""
    kept = tuple(
        control
        for control in window.controls
        if (
            tracks
            if control.branch == "sparse"
            else DENSE_KINDS[int(torch.as_tensor(control.kind).flatten()[0])] in dense
        )
    )
    moves = None if window.moves is None else window.moves & tracks
    return replace(window, controls=kept, moves=moves)
