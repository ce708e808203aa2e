"""What a stream through an autoencoder remembers between two calls, there already or still on its way.

A layer is done long before its call is: the next call may follow one layer behind, and waits for what it needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Condition

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.errors import InputError


class Arriving:
    """Tensors of a call that may still be at work: who asks for one waits until its layer is done."""

    def __init__(self) -> None:
        self._there: dict[int, Tensor | None] = {}
        self._over = False
        self._changed = Condition()

    def get(self, place: int, /) -> Tensor | None:
        """That of a layer, None where it remembers nothing.

        Raises:
            RuntimeError: the call has ended without it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._over or place in self._there)
        if place not in self._there:
            raise RuntimeError("the call that this one follows has failed")
        return self._there[place]

    def put(self, place: int, remembered: Tensor | None) -> None:
        """What a layer remembers."""
        with self._changed:
            self._there[place] = remembered
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing comes any more."""
        with self._changed:
            self._over = True
            self._changed.notify_all()


@dataclass(frozen=True)
class Coming:
    """The state after a call that has not returned yet, for the call that follows it; entered by that which makes it.

    Attributes:
        last: what came in last; of it the next call looks at the size alone.
    """

    seen: int
    last: Float[Tensor, "b _ _ _"]
    memory: Arriving = field(default_factory=Arriving)
    waiting: Arriving = field(default_factory=Arriving)

    def __enter__(self) -> "Coming":
        return self

    def __exit__(self, *_raised: object) -> None:
        self.end()

    def end(self) -> None:
        """Nothing more comes: that call has returned, failed, or will not be made."""
        self.memory.end()
        self.waiting.end()


@dataclass(frozen=True)
class TaeState:
    """What one stream, encoding or decoding, remembers between calls. A value: calls return a new one.

    The numbers are places in the stack of layers, as in the weight names.
    """

    seen: int = 0  # frames (encoding) or latent frames (decoding) so far, padding not counted
    memory: Mapping[int, Float[Tensor, "b _ _ _"]] = field(default_factory=dict)  # last input of each memory block
    waiting: Mapping[int, Float[Tensor, "b _ _ _ _"]] = field(default_factory=dict)  # frames a pool has no partner for
    last: Float[Tensor, "b _ _ _"] | None = None  # last frame (in [0, 1]) or latent frame that came in

    def tensors(self) -> dict[str, Tensor]:
        """Everything as a flat dictionary of contiguous tensors, ready for safetensors."""
        named = {"seen": torch.tensor(self.seen)}
        named |= {f"memory.{place}": value for place, value in self.memory.items()}
        named |= {f"waiting.{place}": value for place, value in self.waiting.items()}
        named |= {} if self.last is None else {"last": self.last}
        return {name: value.contiguous() for name, value in named.items()}

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> "TaeState":
        """The state that `tensors` wrote.

        Raises:
            InputError: the dictionary holds other names.
        """
        memory: dict[int, Tensor] = {}
        waiting: dict[int, Tensor] = {}
        for name, value in named.items():
            kind, _, place = name.partition(".")
            if kind in ("memory", "waiting") and place.isdecimal():
                (memory if kind == "memory" else waiting)[int(place)] = value
            elif name not in ("seen", "last"):
                raise InputError(f"an autoencoder state has no tensor {name!r}; give what `tensors()` wrote")
        if "seen" not in named:
            raise InputError("an autoencoder state needs the tensor 'seen'; give what `tensors()` wrote")
        return cls(int(named["seen"]), memory, waiting, named.get("last"))
