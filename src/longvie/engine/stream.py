"""Latents → frames, a few at a time, each with the moment at which it is due; and what an engine tells on the way."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from longvie.engine.ahead import piece
from longvie.errors import LongVieError
from longvie.media import to_bytes
from longvie.models.autoencoder import Autoencoder, AutoencoderState
from longvie.models.streams import Coming

AT_ONCE = 5  # latent frames that are decoded in one call: 20 frames of picture are held, never a clip
BESIDE = 2  # such calls that may be made before they are asked for
Call = Callable[..., tuple[Tensor, Any]]


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
    pieces, begun = list[tuple[Tensor, dict[str, Tensor]]](), state is not None and state.seen > 0
    for group in latents.split(at_once, dim=2):
        count = autoencoder.strides.time * group.shape[2] - (0 if begun else autoencoder.strides.time - 1)
        shown = {} if guides is None else {"guides": guides[:, :, at : at + count].to(place, own)}
        pieces.append((group.to(place, own), shown))
        begun, at = True, at + count
    with Following(autoencoder, autoencoder.decode, state, at_once=True) as calls:
        for given, named in pieces:
            calls.add(given, **named)
            if len(calls) > BESIDE:
                yield _finite(calls.take(), where)
        while len(calls):
            yield _finite(calls.take(), where)


class Following:
    """One call of an autoencoder after another, of one stream. If it can say what a call will remember
    (`TinyAutoencoder.coming`), the next is at work a layer behind it, where somebody has time.

    Args:
        call: its `encode` or `decode`.
        state: before the first.
        at_once: the first is taken as soon as it is added.
    """

    def __init__(self, autoencoder: Autoencoder[Any], call: Call, state: Any, *, at_once: bool = False) -> None:
        self._coming: Callable[[Tensor, Any], Coming] | None = getattr(autoencoder, "coming", None)
        self._call, self._state, self._own = call, state, at_once
        self._begun, self._calls = list[Coming](), deque[Callable[[], tuple[Tensor, Any]]]()

    def __enter__(self) -> "Following":
        return self

    def __exit__(self, *_raised: object) -> None:
        for after in self._begun:  # nobody waits for what is not made any more
            after.end()

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, given: Tensor, **named: Tensor) -> None:
        """One more call."""
        if self._coming is None:
            self._calls.append(partial(self._made, given, named))
            return
        before, after = self._state, self._coming(given, self._state)
        made = piece(partial(self._call, given, before, **named, after=after), own=self._own and not self._begun)
        self._calls.append(made.result)
        self._begun.append(after)
        self._state = after

    def take(self) -> tuple[Tensor, Any]:
        """What the oldest call makes, and the state after it."""
        return self._calls.popleft()()

    @torch.no_grad()
    def _made(self, given: Tensor, named: dict[str, Tensor]) -> tuple[Tensor, Any]:
        made, self._state = self._call(given, self._state, **named)
        return made, self._state


def _finite(made: tuple[Tensor, Any], where: str) -> tuple[Tensor, Any]:
    frames, after = made
    return finite(frames[0], "decoded frames", where), after


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
