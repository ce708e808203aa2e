"""Latents → frames, a few at a time, each with the moment at which it is due; and what an engine tells on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.errors import LongVieError
from longvie.media import to_bytes
from longvie.models.autoencoder import Autoencoder, AutoencoderState

AT_ONCE = 5  # latent frames that are decoded in one call: 20 frames of picture are held, never a clip


@runtime_checkable
class EngineState(Protocol):
    """All that an engine needs to go on after some frames, as if it had never stopped."""

    def save(self, path: Path) -> None:
        """Write it to a file, whole or not at all."""
        ...

    def forked(self, seed: int) -> "EngineState":
        """The same past for a video that goes on under another seed."""
        ...


@dataclass(frozen=True)
class Chunk:
    """Some frames that follow each other, as they leave the engine.

    Attributes:
        start: number of the first in the video.
        fps: frames a second.
        frames: in [-1, 1].
        state: where the engine can be taken up again after these frames, None between such places.
        rounding: how these weights' frames become 8 bits.
    """

    start: int
    fps: int | float
    frames: Float[Tensor, "3 f h w"]
    state: EngineState | None = None
    rounding: Literal["nearest", "truncate"] = "nearest"

    @property
    def stop(self) -> int:
        """The frame after the last."""
        return self.start + self.frames.shape[1]

    @property
    def due_s(self) -> float:
        """Second of the video at which the first frame is shown."""
        return self.start / self.fps

    def pictures(self) -> UInt8[np.ndarray, "f h w 3"]:
        """The frames in 8 bits."""
        return to_bytes(self.frames, rounding=self.rounding, first=self.start)


@dataclass(frozen=True)
class Progress:
    """Where an engine is: after `step` of `steps` in part `part` of `parts`, with `frames` of `total` shown so far."""

    part: int
    parts: int
    step: int
    steps: int
    frames: int
    total: int


def decoded(
    latents: Float[Tensor, "1 c l h w"],
    autoencoder: Autoencoder[Any],
    state: AutoencoderState | None,
    where: str,
    *,
    guides: Float[Tensor, "1 g f H W"] | None = None,
    at_once: int = AT_ONCE,
) -> Iterator[tuple[Float[Tensor, "3 f H W"], AutoencoderState]]:
    """Frames as they come, with the state of the decoder after them.

    Args:
        where: in which part of the video, for the message.
        guides: of all these frames, for a decoder that looks at them.

    Raises:
        LongVieError: see `finite`.
    """
    place, own, at = autoencoder.device, autoencoder.dtype, 0
    for group in latents.split(at_once, dim=2):
        with torch.no_grad():
            if guides is None:
                frames, after = autoencoder.decode(group.to(place, own), state)
            else:
                count = autoencoder.strides.time * (group.shape[2] - 1)
                count += 1 if state is None or state.seen == 0 else autoencoder.strides.time
                shown = guides[:, :, at : at + count].to(place, own)
                frames, after = autoencoder.decode(group.to(place, own), state, guides=shown)
        state, at = after, at + frames.shape[2]
        yield finite(frames[0], "decoded frames", where), after


def finite(tensor: Tensor, what: str, where: str) -> Tensor:
    """The tensor, if it holds numbers only.

    Raises:
        LongVieError: NaN or infinity, which would silently become a black frame (`not_finite`).
    """
    if not bool(torch.isfinite(tensor).all()):
        raise LongVieError(
            f"{where}: the {what} hold NaN or infinity; what was made before is kept. Check the weights, "
            "or compute in float32",
            code="not_finite",
        )
    return tensor
