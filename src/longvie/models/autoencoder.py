"""What an autoencoder must do: video ↔ normalised latents, whole or step by step with a state that the caller holds.

`Autoencoder` is the seam; `models/tae.py` is the embedded one, `WanAutoencoder` here is Wan 2.1's own, computed by
diffusers. `Tiled` puts any of them together from overlapping tiles, for pictures that do not fit into memory at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, patchify, unpatchify
from jaxtyping import Float
from torch import Tensor, nn

from longvie.errors import ConfigError, InputError, ShapeError
from longvie.shapes import Strides


@runtime_checkable
class AutoencoderState(Protocol):
    """What one stream, encoding or decoding, remembers between calls. A value: never changed, free to be forked."""

    @property
    def seen(self) -> int:
        """Frames (encoding) or latent frames (decoding) so far."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Everything as a flat dictionary, ready for safetensors."""
        ...


State = TypeVar("State", bound=AutoencoderState)


@runtime_checkable
class Autoencoder(Protocol[State]):
    """Video in [-1, 1] ↔ latents as the transformer takes them.

    A first call (no state) of `encode` takes `strides.time`·k + 1 frames and gives k + 1 latent frames, a later one
    takes `strides.time`·k and gives k; `decode` is the way back. Any grouping of the calls gives the same numbers.
    """

    strides: Strides
    latent_channels: int

    @property
    def guides(self) -> int:
        """Channels of the guides that `decode` may look at; 0 is none."""
        ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def device(self) -> torch.device: ...

    def encode(
        self, video: Float[Tensor, "b 3 f H W"], state: State | None = None
    ) -> tuple[Float[Tensor, "b c l h w"], State]:
        """Normalised latents of these frames, and what the next call needs."""
        ...

    def decode(
        self,
        latents: Float[Tensor, "b c l h w"],
        state: State | None = None,
        *,
        limit: bool = True,
        guides: Float[Tensor, "b g f H W"] | None = None,
    ) -> tuple[Float[Tensor, "b 3 f H W"], State]:
        """RGB of these latents, cut to [-1, 1] unless `limit` is off, and what the next call needs; with pictures of
        the same frames beside them, where it looks at guides.
        """
        ...

    def restore(self, named: Mapping[str, Tensor]) -> State:
        """The state whose `tensors` these are."""
        ...


REPEATED = "Rep"  # diffusers' own mark for "there was one latent frame, its neighbour in time is not yet known"


@dataclass(frozen=True)
class WanState:
    """The last frames that each causal convolution has met, by the order in which the network visits them."""

    seen: int
    came: tuple[int, int, int, int]  # batch, channels, height, width of what this stream takes
    caches: Mapping[int, Float[Tensor, "b c t h w"]] = field(default_factory=dict)
    repeated: frozenset[int] = frozenset()  # convolutions that so far hold a mark instead of frames

    def tensors(self) -> dict[str, Tensor]:
        """Everything as a flat dictionary, ready for safetensors."""
        facts = {"seen": torch.tensor(self.seen), "came": torch.tensor(self.came)}
        marks = {"repeated": torch.tensor(sorted(self.repeated), dtype=torch.int64)}
        return facts | marks | {f"cache.{place}": frames for place, frames in self.caches.items()}

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> "WanState":
        """The state that `tensors` wrote.

        Raises:
            InputError: the dictionary holds other names.
        """
        facts = {"seen", "came", "repeated"}
        places = {name: name.removeprefix("cache.") for name in named.keys() - facts}
        if not facts <= named.keys() or not all(place.isdecimal() for place in places.values()):
            raise InputError(f"not the state of a Wan autoencoder: {sorted(named)[:4]}…; give what `tensors()` wrote")
        batch, channels, height, width = named["came"].tolist()
        caches = {int(place): named[name] for name, place in places.items()}
        return cls(int(named["seen"]), (batch, channels, height, width), caches, frozenset(named["repeated"].tolist()))

    def slots(self, count: int) -> list[Tensor | str | None]:
        """The list that the network fills as it goes; a fresh one, so that this state stays as it is."""
        return [REPEATED if place in self.repeated else self.caches.get(place) for place in range(count)]

    def after(self, steps: int, slots: Sequence[Tensor | str | None]) -> "WanState":
        """The state once the network has filled the slots; packed, as safetensors wants it."""
        caches = {place: kept.contiguous() for place, kept in enumerate(slots) if isinstance(kept, Tensor)}
        marks = frozenset(place for place, kept in enumerate(slots) if isinstance(kept, str))
        return WanState(self.seen + steps, self.came, caches, marks)


class WanAutoencoder(nn.Module):
    """Wan 2.1's autoencoder: diffusers' network, one latent frame at a time, its caches held by the caller.

    The network only ever meets the first frame alone or one group of `strides.time` frames, so any grouping of calls
    agrees to the bit. Frozen: training it is `models/tae.py`'s business. On a CPU in float32 a batch of one falls into
    torch's slow 3-D convolution (up to 20 times slower than a batch of two); bfloat16 does not.

    Args:
        network: diffusers' autoencoder; its config holds mean and deviation of each latent channel.

    Raises:
        ConfigError: means and deviations that are not one per channel.
    """

    guides = 0
    mean: Tensor
    deviation: Tensor

    def __init__(self, network: AutoencoderKLWan) -> None:
        super().__init__()
        config: Any = network.config
        mean, deviation = config.latents_mean, config.latents_std
        if len(mean) != config.z_dim or len(deviation) != config.z_dim:
            raise ConfigError(f"{config.z_dim} latent channels need as many means and deviations, not {len(mean)}")
        self.network = network.requires_grad_(False).eval()
        self.patch = config.patch_size or 1
        self.strides = Strides(
            time=2 ** sum(config.temperal_downsample), space=self.patch * 2 ** (len(config.dim_mult) - 1)
        )
        self.latent_channels = config.z_dim
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(-1, 1, 1, 1), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.network.quant_conv.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.network.quant_conv.weight.device

    def encode(
        self, video: Float[Tensor, "b 3 f H W"], state: WanState | None = None, *, drop_extra: bool = False
    ) -> tuple[Float[Tensor, "b c l h w"], WanState]:
        """Normalised latents (the posterior's mean) of these frames.

        Args:
            video: RGB in [-1, 1]; `strides.time`·k + 1 frames to begin, `strides.time`·k to go on.
            state: what the call before returned; None begins a stream.
            drop_extra: forget last frames that do not fill a group instead of refusing them. LongVie's quirk: of 8
                history frames the oldest 5 count.

        Raises:
            ShapeError: sides that do not divide by `strides.space`, frames that end inside a latent frame, or a state
                of another stream.
        """
        state = self._begun(video, state)
        groups = self._groups(video, state, drop_extra=drop_extra)
        slots = state.slots(self.network._cached_conv_counts["encoder"])
        moments = [self.network.encoder(patchify(group, self.patch), slots, [0]) for group in groups]
        mean = self.network.quant_conv(torch.cat(moments, dim=2)).chunk(2, dim=1)[0]
        latents = (mean - self.mean.to(mean)) / self.deviation.to(mean)
        return latents, state.after(sum(group.shape[2] for group in groups), slots)

    def decode(
        self,
        latents: Float[Tensor, "b c l h w"],
        state: WanState | None = None,
        *,
        limit: bool = True,
        guides: Float[Tensor, "b g f H W"] | None = None,  # noqa: ARG002 - it looks at none
    ) -> tuple[Float[Tensor, "b 3 f H W"], WanState]:
        """RGB of these latents: `strides.time` frames each, but one for the first of a stream.

        Raises:
            ShapeError: other channels, no latent frame, or a state of another stream.
        """
        if latents.shape[1] != self.latent_channels or not latents.numel():
            raise ShapeError(
                f"latents of {tuple(latents.shape)}; give at least one frame of {self.latent_channels} channels"
            )
        state = self._begun(latents, state)
        slots = state.slots(self.network._cached_conv_counts["decoder"])
        mixed = self.network.post_quant_conv(latents * self.deviation.to(latents) + self.mean.to(latents))
        steps = [
            self.network.decoder(step, slots, [0], first_chunk=state.seen == 0 and at == 0)
            for at, step in enumerate(mixed.split(1, dim=2))
        ]
        video = unpatchify(torch.cat(steps, dim=2), self.patch)
        return video.clamp(-1, 1) if limit else video, state.after(latents.shape[2], slots)

    def restore(self, named: Mapping[str, Tensor]) -> WanState:
        """The state whose `tensors` these are."""
        return WanState.from_tensors(named)

    def _begun(self, coming: Float[Tensor, "b c t h w"], state: WanState | None) -> WanState:
        batch, channels, _, height, width = coming.shape
        came = (batch, channels, height, width)
        if state is not None and state.came != came:
            raise ShapeError(f"the state belongs to a stream of {state.came}, not of {came}; begin one with state=None")
        return WanState(seen=0, came=came) if state is None else state

    def _groups(self, video: Float[Tensor, "b 3 f H W"], state: WanState, *, drop_extra: bool) -> list[Tensor]:
        """The first frame of a stream alone, then groups that make one latent frame each."""
        frames, height, width = video.shape[2:]
        time, space = self.strides.time, self.strides.space
        if height % space or width % space or not video.numel():
            raise ShapeError(f"{frames} frames of {height}×{width}; sides must divide by {space}: crop or resize first")
        alone = 1 if state.seen == 0 else 0
        extra = (frames - alone) % time
        if extra and not drop_extra:
            form = f"{time}k + 1 to begin" if alone else f"{time}k to go on"
            raise ShapeError(f"{frames} frames end inside a latent frame; give {form}")
        groups = video[:, :, alone : frames - extra].split(time, dim=2) if frames - extra > alone else ()
        return [video[:, :, :1], *groups] if alone else list(groups)


@dataclass(frozen=True)
class Tiles:
    """How a picture is cut, in latent cells (height, width); the defaults are the published ones.

    Raises:
        ConfigError: a stride that leaves gaps, or that does not move.
    """

    size: tuple[int, int] = (30, 52)
    stride: tuple[int, int] = (15, 26)

    def __post_init__(self) -> None:
        if not all(0 < step <= side for step, side in zip(self.stride, self.size, strict=True)):
            raise ConfigError(
                f"tiles of {self.size} cells every {self.stride}; a stride is at least 1, at most the size"
            )

    def spans(self, axis: int, cells: int) -> list[slice]:
        """Where tiles lie along one axis (0 height, 1 width); none begins once the one before reaches the edge."""
        size, stride = self.size[axis], self.stride[axis]
        starts = [at for at in range(0, cells, stride) if at == 0 or at - stride + size < cells]
        return [slice(at, min(at + size, cells)) for at in starts]


@dataclass(frozen=True)
class TiledState:
    """One state per tile, row by row."""

    states: tuple[AutoencoderState, ...]

    @property
    def seen(self) -> int:
        return self.states[0].seen

    def tensors(self) -> dict[str, Tensor]:
        """Everything as a flat dictionary, the tile's number in front."""
        return {
            f"{tile}.{name}": value for tile, state in enumerate(self.states) for name, value in state.tensors().items()
        }


class Tiled:
    """An autoencoder that sees one tile at a time and fades overlapping tiles into each other.

    Tiles know nothing of each other, so the result is near that of the whole picture, not equal to it; what a tile
    costs in memory does not grow with the picture. Streams as the inner one does, without guides.
    """

    guides = 0

    def __init__(self, inner: Autoencoder[Any], tiles: Tiles = Tiles()) -> None:
        self.inner = inner
        self.tiles = tiles
        self.strides, self.latent_channels = inner.strides, inner.latent_channels

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype

    @property
    def device(self) -> torch.device:
        return self.inner.device

    def encode(
        self, video: Float[Tensor, "b 3 f H W"], state: TiledState | None = None
    ) -> tuple[Float[Tensor, "b c l h w"], TiledState]:
        """Normalised latents of these frames; shapes and errors as the inner autoencoder's."""
        space = self.strides.space
        height, width = video.shape[3:]
        if height % space or width % space:
            raise ShapeError(f"{height}×{width} pixels do not divide by {space}; crop or resize first")
        spans = self._spans(height // space, width // space, state)
        pieces, states = [], []
        for at, (rows, columns) in enumerate(spans):
            tile = video[..., scaled(rows, space), scaled(columns, space)]
            piece, after = self.inner.encode(tile, None if state is None else state.states[at])
            pieces.append(piece)
            states.append(after)
        return blend(pieces, spans, self._overlap(1)), TiledState(tuple(states))

    def decode(
        self,
        latents: Float[Tensor, "b c l h w"],
        state: TiledState | None = None,
        *,
        limit: bool = True,
        guides: Float[Tensor, "b g f H W"] | None = None,  # noqa: ARG002 - it looks at none
    ) -> tuple[Float[Tensor, "b 3 f H W"], TiledState]:
        """RGB of these latents, limited to [-1, 1] after fading, not before."""
        space = self.strides.space
        height, width = latents.shape[3:]
        spans = self._spans(height, width, state)
        pieces, states = [], []
        for at, (rows, columns) in enumerate(spans):
            tile = latents[..., rows, columns]
            piece, after = self.inner.decode(tile, None if state is None else state.states[at], limit=False)
            pieces.append(piece)
            states.append(after)
        places = [(scaled(rows, space), scaled(columns, space)) for rows, columns in spans]
        video = blend(pieces, places, self._overlap(space))
        return video.clamp(-1, 1) if limit else video, TiledState(tuple(states))

    def restore(self, named: Mapping[str, Tensor]) -> TiledState:
        """The state whose `tensors` these are."""
        tiles: dict[int, dict[str, Tensor]] = {}
        for name, value in named.items():
            tile, _, rest = name.partition(".")
            if not tile.isdecimal():
                raise InputError(f"a tiled state has no tensor {name!r}; give what `tensors()` wrote")
            tiles.setdefault(int(tile), {})[rest] = value
        return TiledState(tuple(self.inner.restore(tiles[tile]) for tile in sorted(tiles)))

    def _spans(self, height: int, width: int, state: TiledState | None) -> list[tuple[slice, slice]]:
        spans = [(rows, columns) for rows in self.tiles.spans(0, height) for columns in self.tiles.spans(1, width)]
        if state is not None and len(state.states) != len(spans):
            raise ShapeError(
                f"the state has {len(state.states)} tiles, this picture {len(spans)}: begin with state=None"
            )
        return spans

    def _overlap(self, scale: int) -> tuple[int, int]:
        height, width = ((side - step) * scale for side, step in zip(self.tiles.size, self.tiles.stride, strict=True))
        return height, width


def scaled(span: slice, factor: int) -> slice:
    """The same span in finer cells."""
    return slice(span.start * factor, span.stop * factor)


def ramp(span: slice, edge: int, overlap: int) -> Float[Tensor, " n"]:
    """Weights along one axis: rising over `overlap` cells at an inner start, falling at an inner end, never 0."""
    weights = torch.ones(span.stop - span.start)
    rising = torch.arange(1, overlap + 1) / max(overlap, 1)
    if span.start > 0:
        weights[:overlap] = rising
    if span.stop < edge and overlap:  # where the overlaps of both sides meet, the falling one stands, as published
        weights[-overlap:] = rising.flip(0)
    return weights


def blend(
    pieces: Sequence[Float[Tensor, "b c t _ _"]], places: Sequence[tuple[slice, slice]], overlap: tuple[int, int]
) -> Float[Tensor, "b c t h w"]:
    """The picture made of pieces: the mean of those that cover a cell, weighted by the lower of the two ramps."""
    height, width = max(rows.stop for rows, _ in places), max(columns.stop for _, columns in places)
    first = pieces[0]
    total = first.new_zeros(*first.shape[:3], height, width, dtype=torch.float32)
    weight = total.new_zeros(height, width)
    for piece, (rows, columns) in zip(pieces, places, strict=True):
        mask = torch.minimum(ramp(rows, height, overlap[0])[:, None], ramp(columns, width, overlap[1])[None]).to(total)
        total[..., rows, columns] += piece * mask
        weight[rows, columns] += mask
    return (total / weight).to(first.dtype)
