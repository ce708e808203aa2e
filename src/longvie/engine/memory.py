"""What a causal stream remembers: keys and values of its first latent frames and of its last ones (LongLive's frame
sink and short window, arXiv 2509.22622).

Which frames are kept, and in which slot each of them stands, are integers (`Window`, `Slots`); keys and values lie in
buffers of fixed size. A new block is written over the frames that leave, and nothing else is moved: attention does not
care in which order it sees its keys.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor

from longvie.errors import ConfigError, InputError
from longvie.models.block import ListPast
from longvie.models.rope import Rotation

Turn = Callable[[Num[Tensor, " l"]], Rotation]
"""The rotation of all tokens of latent frames that stand at these positions in time."""

UNKEPT = -1  # slot of a frame that is asked, but neither kept nor looked at


@dataclass(frozen=True)
class Window:
    """What a new block looks back at: the first `sink` latent frames and the last `recent` ones; and between them, if
    it is to see further, single key frames, one in `every`, the last `far` of them.

    Raises:
        ConfigError: a number out of range.
    """

    sink: int = 3
    recent: int = 6  # with the block of 3 being made, the published window of 12
    far: int = 0
    every: int = 18

    def __post_init__(self) -> None:
        for name, least in (("sink", 0), ("recent", 0), ("far", 0), ("every", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}; use {least} or more")

    def kept(self, now: int) -> list[int]:
        """The latent frames that block `now`, `now` + 1, … sees before itself, in order."""
        near = max(self.sink, now - self.recent)
        keys = range(-(-self.sink // self.every) * self.every, near, self.every)
        return [*range(min(self.sink, now)), *keys[max(0, len(keys) - self.far) :], *range(near, now)]


@dataclass(frozen=True)
class Slots:
    """Which latent frame stands in which slot; None is free. The first `sink` slots never change hands."""

    frames: tuple[int | None, ...]
    window: Window

    @classmethod
    def free(cls, window: Window, block: int) -> "Slots":
        """As many as a window and one block need."""
        return cls((None,) * (window.sink + window.far + window.recent + block), window)

    @property
    def sink(self) -> int:
        """Of the window."""
        return self.window.sink

    @property
    def filled(self) -> int:
        """How many are taken: the first so many."""
        return sum(frame is not None for frame in self.frames)

    def with_block(self, frames: Sequence[int]) -> tuple["Slots", tuple[int, ...]]:
        """With some new frames, in the place of those that the window no longer keeps, and of as many of the oldest
        beyond the sink as there is no room for; and the slots of the new ones.

        Raises:
            ConfigError: more frames at once than there are slots beyond the sink.
        """
        if len(frames) > len(self.frames) - (self.sink if self.filled else 0):
            raise ConfigError(f"{len(frames)} latent frames at once do not fit into {len(self.frames)} slots")
        now = list(self.frames)
        free = [slot for slot, frame in enumerate(now) if frame is None]
        aged = sorted(
            (slot for slot in range(self.sink, len(now)) if now[slot] is not None), key=lambda at: now[at] or 0
        )
        kept = set(self.window.kept(frames[0])) if self.window.far and frames else set(now)
        left = [slot for slot in aged if now[slot] not in kept]
        taken = (*left, *free, *(slot for slot in aged if slot not in left))[: len(frames)]
        for slot, frame in zip(taken, frames, strict=True):
            now[slot] = frame
        return Slots(tuple(now), self.window), tuple(taken)

    def with_last(self, now: int, *, keep_sink: bool) -> tuple[range, "Slots", tuple[int, ...]]:
        """The last frames before `now`, as many as are kept; the slots with them; and the slot of each.

        Where frames have left, the first so many of them as the sink has are `UNKEPT` if the sink stays, or stand in
        it if it does not.
        """
        frames = range(now - min(self.filled, now), now)
        lost = self.sink if keep_sink and frames.start > 0 else 0
        by_age = sorted(range(self.filled), key=lambda slot: self.frames[slot] or 0)
        places = by_age[lost:]
        after = list(self.frames)
        for slot, frame in zip(places, frames[lost:], strict=True):
            after[slot] = frame
        return frames, Slots(tuple(after), self.window), (*(UNKEPT,) * lost, *places)

    def ranks(self) -> list[int]:
        """Of each taken slot: how many of the kept frames come before its own."""
        kept = [frame for frame in self.frames if frame is not None]
        order = {frame: rank for rank, frame in enumerate(sorted(kept))}
        return [order[frame] for frame in kept]


class Memory:
    """Keys and values of the latent frames in some slots, layer by layer; a `Past` of the transformer.

    Per block: `begin`, any number of calls of the network (each overwrites what the block's last one left), `end`.
    Keys are kept unturned and turned by their rank among the kept frames at every block (`relative`, without limit of
    length), or kept turned at their own positions.

    Args:
        turn: of the stack of layers that this is the past of.
        relative: positions count within the memory, not within the video.
    """

    def __init__(self, window: Window, block: int, turn: Turn, *, relative: bool = True) -> None:
        self.window, self.block, self.relative = window, block, relative
        self.slots = Slots.free(window, block)
        self.copied = 0  # bytes written so far
        self._turn = turn
        self._now = self.slots  # with the block that is being made
        self._taken: tuple[int, ...] = ()
        self._shift = 0
        self._rotation: Rotation | None = None
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._turned: dict[int, Tensor] = {}
        self._fresh: set[int] = set()  # layers whose turned keys stand for this block

    def begin(self, frames: Sequence[int], *, end: int | None = None) -> Num[Tensor, " l"]:
        """Make room for a block, and say at which positions in time its frames stand.

        Args:
            frames: their numbers in the video.
            end: the position after the last one, where another memory decides it (relative positions only).
        """
        self._now, self._taken = self.slots.with_block(frames)
        return self._placed(frames, end)

    def begin_again(self, now: int, *, keep_sink: bool = True) -> tuple[range, Num[Tensor, " l"]]:
        """Make the keys and values of the last latent frames anew, under other words: LongLive's recache (reference
        §3.2), one call of the network at time 0 for all of them, in which all look at all; then `end`.

        Args:
            now: number of the next latent frame of the video.
            keep_sink: whether the first frames keep what they have, once frames between have left; otherwise later
                frames take their places too.

        Returns:
            The numbers of the frames that the network is to be given, and their positions in time.
        """
        frames, self._now, self._taken = self.slots.with_last(now, keep_sink=keep_sink)
        return frames, self._placed(frames, None)

    def _placed(self, frames: Sequence[int], end: int | None) -> Num[Tensor, " l"]:
        self._fresh.clear()
        filled = self._now.filled
        if not self.relative:
            self._rotation = None
            return torch.tensor(list(frames))
        self._shift = 0 if end is None else end - filled
        ranks = self._now.ranks()
        self._rotation = self._turn(torch.tensor(ranks) + self._shift)
        lost = self._taken.count(UNKEPT)
        first = filled - (len(self._taken) - lost)
        return torch.tensor([*range(first - lost, first), *(ranks[slot] for slot in self._taken[lost:])]) + self._shift

    def end(self) -> None:
        """The block is made: what the last call of the network left is kept."""
        self.slots = self._now

    def join(
        self, layer: int, k: Float[Tensor, "b n m e"], v: Float[Tensor, "b n m e"], rotate: Rotation
    ) -> tuple[Float[Tensor, "b keys m e"], Float[Tensor, "b keys m e"]]:
        """See `models.block.Past`."""
        count = len(self._taken)
        tokens = k.shape[1] // count
        if layer not in self._keys:
            shape = (k.shape[0], len(self.slots.frames) * tokens, *k.shape[2:])
            self._keys[layer], self._values[layer] = k.new_zeros(shape), v.new_zeros(shape)
        keys, values = self._keys[layer], self._values[layer]
        turned = rotate(k)
        self._write(keys, k if self.relative else turned, tokens)
        self._write(values, v, tokens)
        seen = self._now.filled * tokens
        if not self.relative:
            return keys[:, :seen], values[:, :seen]
        assert self._rotation is not None
        if layer not in self._fresh:
            self._turned[layer] = self._rotation_on(k)(keys[:, :seen])
            self.copied += self._turned[layer].nbytes
            self._fresh.add(layer)
        else:
            self._write(self._turned[layer], turned, tokens)
        return self._turned[layer], values[:, :seen]

    def held(self) -> ListPast:
        """What the block that has begun sees beside itself, as a past that is never written over: for a call whose
        gradients are asked for when the memory has long moved on. The block's own keys and values keep their graph.
        """
        own, kept = set(self._taken), ListPast()
        kept.keep = False
        others = [slot for slot in range(self._now.filled) if slot not in own]
        for layer, keys in self._keys.items() if others else ():
            tokens = keys.shape[1] // len(self.slots.frames)
            seen = self._now.filled * tokens
            keys, values = keys[:, :seen], self._values[layer][:, :seen]
            if self.relative:
                keys = self._rotation_on(keys)(keys)
            kept.layers[layer] = (_frames(keys, others, tokens), _frames(values, others, tokens))
        return kept

    def _rotation_on(self, like: Tensor) -> Rotation:
        assert self._rotation is not None
        if self._rotation.cos.device != like.device:
            self._rotation = Rotation(self._rotation.cos.to(like.device), self._rotation.sin.to(like.device))
        return self._rotation

    def _write(self, into: Tensor, new: Tensor, tokens: int) -> None:
        """Some frames into their slots, neighbours at once."""
        for first, slot, count in _runs(self._taken):
            if slot != UNKEPT:
                part = new[:, first * tokens : (first + count) * tokens]
                into[:, slot * tokens : (slot + count) * tokens] = part.detach()
                self.copied += part.nbytes

    def forget(self, *, sink: bool) -> None:
        """Nothing but the sink is remembered, or not even that."""
        kept = [frame if sink and slot < self.slots.sink else None for slot, frame in enumerate(self.slots.frames)]
        self.slots = self._now = Slots(tuple(kept), self.window)
        self._fresh.clear()

    def copy(self) -> "Memory":
        """The same, which goes its own way from here on."""
        other = Memory(self.window, self.block, self._turn, relative=self.relative)
        other.slots = other._now = self.slots
        other._keys = {layer: keys.clone() for layer, keys in self._keys.items()}
        other._values = {layer: values.clone() for layer, values in self._values.items()}
        return other

    def tensors(self) -> dict[str, Tensor]:
        """All that is kept, ready for safetensors."""
        frames = torch.tensor([UNKEPT if frame is None else frame for frame in self.slots.frames])
        named = {"frames": frames}
        for layer, keys in self._keys.items():
            tokens = keys.shape[1] // len(self.slots.frames)
            seen = self.slots.filled * tokens
            named |= {f"{layer}.keys": keys[:, :seen], f"{layer}.values": self._values[layer][:, :seen]}
        return {name: tensor.contiguous() for name, tensor in named.items()}

    def restore(self, named: Mapping[str, Tensor]) -> None:
        """Take in what `tensors` wrote.

        Raises:
            InputError: of another window, or something else.
        """
        frames = named.get("frames")
        if frames is None or len(frames) != len(self.slots.frames):
            raise InputError("the memory was written with another window: use its own", code="state_invalid")
        self.slots = self._now = Slots(
            tuple(None if frame == UNKEPT else int(frame) for frame in frames.tolist()), self.window
        )
        filled = self.slots.filled
        self._keys, self._values = {}, {}
        self._fresh.clear()
        for name, tensor in named.items():
            layer, _, kind = name.partition(".")
            if kind not in ("keys", "values") or not filled:
                continue
            shape = (tensor.shape[0], tensor.shape[1] // filled * len(frames), *tensor.shape[2:])
            buffer = tensor.new_zeros(shape)
            buffer[:, : tensor.shape[1]] = tensor
            (self._keys if kind == "keys" else self._values)[int(layer)] = buffer


def _frames(x: Float[Tensor, "b keys m e"], slots: Sequence[int], tokens: int) -> Float[Tensor, "b some m e"]:
    """A copy of what stands in some of the slots."""
    return torch.cat([x[:, slot * tokens : (slot + count) * tokens] for _, slot, count in _runs(slots)], dim=1)


def _runs(slots: Sequence[int]) -> list[tuple[int, int, int]]:
    """Neighbouring slots as (first of them in the list, slot, how many); those that are unkept as well."""
    runs: list[tuple[int, int, int]] = []
    for at, slot in enumerate(slots):
        if runs and slot != UNKEPT and runs[-1][1] != UNKEPT and runs[-1][1] + runs[-1][2] == slot:
            first, begin, count = runs[-1]
            runs[-1] = (first, begin, count + 1)
        else:
            runs.append((at, slot, 1))
    return runs
