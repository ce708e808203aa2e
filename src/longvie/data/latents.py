"""Clips as the transformer sees them: every stream encoded once by the frozen autoencoder, and kept.

A file holds the latents of all streams of one clip, a few frames of it encoded alone as keyframes are, its beats and
its captions. `Pool` keeps a whole folder in memory and cuts windows out of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longvie.controls.carried import carry
from longvie.controls.moved import Moved
from longvie.data import clips
from longvie.data.streams import STREAMS, pictures
from longvie.errors import InputError
from longvie.models.autoencoder import Autoencoder

STILLS = (0, 5, 10, 15, 20, 24)  # latent frames whose last picture is also encoded alone
SECOND = 5  # latent frame at which a second window may begin with a carried picture
GROUP = 5  # latent frames encoded at once: more spill the cache of a CPU


@dataclass(frozen=True)
class Carried:
    """A picture that was moved along the tracks (`controls.carried.carry`), encoded."""

    latents: Float[Tensor, "c l h w"]
    seen: UInt8[Tensor, "4 l h w"]  # of each cell how much it really shows, in 255ths (`Moved.shares`)

    @classmethod
    def of(cls, tensors: dict[str, Tensor], name: str) -> "Carried":
        """As `named` wrote it."""
        return cls(tensors[name], tensors[f"{name}.seen"])

    def named(self, name: str) -> dict[str, Tensor]:
        """Ready for safetensors."""
        return {name: self.latents.contiguous(), f"{name}.seen": self.seen.contiguous()}


@dataclass(frozen=True)
class Worn:
    """What a model that made the frames before a latent frame itself would be given there."""

    history: Float[Tensor, "c k h w"]  # the first latent frame and the last ones
    carried: Carried  # its last picture, moved with the help of depth


@dataclass(frozen=True)
class ClipLatents:
    """One clip: l latent frames of every stream, in half precision."""

    streams: dict[str, Float[Tensor, "c l h w"]]
    stills: Float[Tensor, "c s h w"]  # the pictures at STILLS, each encoded alone
    beats: Float[Tensor, "l 4"]  # one value per video frame; the first latent frame repeats its only one
    captions: tuple[tuple[int, str], ...]  # (first video frame, words)
    carried: dict[tuple[int, bool], Carried] = field(default_factory=dict)  # by latent frame, and whether depth helped

    worn: dict[int, Worn] = field(default_factory=dict)  # by its latent frame

    def moved(self, at: int, deep: bool) -> Carried | None:
        """What is carried from a latent frame on; by the tracks alone if that with the help of depth is not there."""
        return self.carried.get((at, deep), self.carried.get((at, False)))

    def caption(self, latent: int) -> str:
        """Words in force at the last video frame of a latent frame."""
        return [words for first, words in self.captions if first <= 4 * latent][-1]


@torch.no_grad()
def encode(clip: clips.Clip, autoencoder: Autoencoder, *, device: torch.device | str = "cpu") -> ClipLatents:
    """All streams of a clip through the autoencoder."""
    total = (len(clip.beats) - 1) // 4 + 1
    streams = {name: _encode(pictures(clip, name), autoencoder, device) for name in STREAMS}
    whole = pictures(clip, "picture")
    stills = torch.stack([whole[:, 4 * at : 4 * at + 1] for at in STILLS if at < total])  # (s, 3, 1, h, w)
    alone, _ = autoencoder.encode(stills.to(device=device, dtype=_dtype(autoencoder)))
    carried = {key: carried_from(clip, *key, autoencoder, device) for key in begins(clip.number, total)}
    values = torch.cat([clip.beats[:1].expand(3), clip.beats]).unflatten(0, (total, 4))
    return ClipLatents(streams, alone[:, :, 0].transpose(0, 1).bfloat16().cpu(), values, clip.captions, carried)


def begins(number: int, total: int) -> tuple[tuple[int, bool], ...]:
    """Latent frames of clip `number` at which a window may begin with a carried picture, and whether depth helps to
    move it, as it does for two in three: the first, and the sixth (20 more fit behind it) or one further on.
    """
    random = np.random.Generator(np.random.PCG64([number, 11]))
    later = SECOND if random.random() < 0.6 else int(random.integers(SECOND + 1, max(SECOND + 2, total - 8)))
    return tuple((at, number % 3 != k) for k, at in enumerate((0, later)) if at < total)


@torch.no_grad()
def carried_from(
    clip: clips.Clip, at: int, deep: bool, autoencoder: Autoencoder, device: torch.device | str = "cpu"
) -> Carried:
    """Latent frames from `at` on of the last picture before it (of the first itself, if `at` is 0), moved along the
    tracks, and with the help of depth if `deep` (`controls.carried.carry`).
    """
    known = 4 * max(0, at - 1)
    picture = pictures(clip.part(slice(known, known + 1)), "picture")[:, 0]
    return encoded(moved(picture, clip, known, deep=deep), autoencoder, device, lone=at == 0)


def moved(picture: Float[Tensor, "3 h w"], clip: clips.Clip, known: int, *, deep: bool = True) -> Moved:
    """A picture of video frame `known`, moved along the tracks to the end of the clip."""
    disparity = clip.disparity[known:] if deep else None
    return carry(picture, clip.points[known:, :, :2].float(), clip.visible[known:], disparity)


@torch.no_grad()
def encoded(moved: Moved, autoencoder: Autoencoder, device: torch.device | str = "cpu", *, lone: bool) -> Carried:
    """A moved picture's latents; without the first, in which it does not move yet, unless that is to stay (`lone`)."""
    seen = (moved.shares(autoencoder.strides.time, autoencoder.strides.space) * 255).round().byte()
    return Carried(_encode(moved.pictures, autoencoder, device)[:, int(not lone) :], seen[:, int(not lone) :].cpu())


def _encode(video: Tensor, autoencoder: Autoencoder, device: torch.device | str) -> Tensor:
    parts, state, at = [], None, 0
    while at < video.shape[1]:
        step = 4 * GROUP if at else 4 * GROUP - 3
        span = video[None, :, at : at + step].to(device=device, dtype=_dtype(autoencoder))
        part, state = autoencoder.encode(span, state)
        parts.append(part[0].bfloat16().cpu())
        at += step
    return torch.cat(parts, dim=1)


def _dtype(autoencoder: Autoencoder) -> torch.dtype:
    return next(autoencoder.parameters()).dtype  # type: ignore[attr-defined]


def save(file: Path, latents: ClipLatents) -> None:
    """Writes latents by rename."""
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {f"streams.{k}": v.contiguous() for k, v in latents.streams.items()}
    for (at, deep), carried in latents.carried.items():
        tensors |= carried.named(f"carried.{at}.{int(deep)}")
    for at, worn in latents.worn.items():
        tensors |= {f"worn.{at}.history": worn.history.contiguous()} | worn.carried.named(f"worn.{at}.carried")
    tensors |= {"stills": latents.stills.contiguous(), "beats": latents.beats.contiguous()}
    draft = file.with_suffix(".part")
    save_file(tensors, draft, metadata={"captions": json.dumps(latents.captions)})
    draft.rename(file)


def load(file: Path) -> ClipLatents:
    """Reads what `save` wrote."""
    with safe_open(file, "pt") as opened:
        captions = tuple((int(at), words) for at, words in json.loads(opened.metadata()["captions"]))
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    streams = {k: tensors[f"streams.{k}"] for k in STREAMS}
    places = [name.split(".") for name in tensors if not name.endswith(".seen")]
    carried = {
        (int(rest[0]), rest[1] == "1"): Carried.of(tensors, ".".join(("carried", *rest)))
        for kind, *rest in places
        if kind == "carried"
    }
    worn = {
        int(at): Worn(tensors[f"worn.{at}.history"], Carried.of(tensors, f"worn.{at}.carried"))
        for at in {rest[0] for kind, *rest in places if kind == "worn"}
    }
    return ClipLatents(streams, tensors["stills"], tensors["beats"], captions, carried, worn)


def fill(
    clip_folder: Path, folder: Path, numbers: range, autoencoder: Autoencoder, *, device: str = "cpu"
) -> Iterator[int]:
    """Encodes the clips of `numbers` that lie in `clip_folder` and not yet in `folder`; yields each when it is done."""
    for number in numbers:
        source, target = clips.path(clip_folder, number), clips.path(folder, number)
        with clips.claimed(target) as ours:
            if not ours or not source.exists():
                continue
            save(target, encode(clips.load(source), autoencoder, device=device))
        yield number


@dataclass
class Pool:
    """Encoded clips in memory. `refresh` takes in what was written since."""

    folder: Path
    numbers: range
    items: list[ClipLatents]
    known: set[str]

    @classmethod
    def open(cls, folder: Path, numbers: range = range(10**9)) -> "Pool":
        """All encoded clips whose number is in `numbers`.

        Raises:
            InputError: there is none.
        """
        pool = cls(folder, numbers, [], set())
        pool.refresh()
        if not pool.items:
            raise InputError(f"no encoded clips in {folder.name}; encode some first")
        return pool

    def refresh(self) -> None:
        """Reads new files; in order of number, so that the same folder gives the same pool."""
        for file in sorted(self.folder.glob("*/*.safetensors")):
            if file.name not in self.known and int(file.stem) in self.numbers:
                self.items.append(load(file))
                self.known.add(file.name)

    def draw(self, random: np.random.Generator) -> ClipLatents:
        """Some clip."""
        return self.items[int(random.integers(len(self.items)))]
