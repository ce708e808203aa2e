"""The layers of the small autoencoder (`models.tae`): 2-D convolutions, three that mix time, and their order."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name everyone reads
from jaxtyping import Float
from torch import Tensor, nn

from longvie.errors import ShapeError
from longvie.models.streams import Arriving, Coming, TaeState

SOFT_LIMIT = 3.0  # latents are bent towards ±3 before decoding


class MemoryBlock(nn.Module):
    """Residual block that sees its own input of one step earlier, zeros before the first step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = conv(2 * width, width), conv(width, width), conv(width, width)
        self.conv = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third)

    def forward(
        self, x: Float[Tensor, "b t c h w"], past: Float[Tensor, "b c h w"] | None
    ) -> tuple[Float[Tensor, "b t c h w"], Float[Tensor, "b c h w"] | None]:
        """The block's output and what it remembers."""
        if not x.shape[1]:
            return x, past
        first = torch.zeros_like(x[:, 0]) if past is None else past
        if first.shape != x[:, 0].shape:
            raise ShapeError(f"the stream began with {tuple(first.shape)}, now {tuple(x[:, 0].shape)}; start a new one")
        batch, frames, width, *sides = x.shape
        both = x.new_empty(batch, frames, *sides, 2 * width).movedim(-1, 2)  # channels last, as the stack has them
        both[:, :, :width] = x
        both[:, 0, width:], both[:, 1:, width:] = first, x[:, :-1]
        remembered = x[:, -1].clone()  # a copy: a view would keep the whole activation alive
        return F.relu(x + over_frames(self.conv, both)), remembered


class TimePool(nn.Module):
    """Every `rate` frames become one: frames on the channels in blocks, oldest first, then a 1×1 convolution."""

    def __init__(self, width: int, rate: int) -> None:
        super().__init__()
        self.rate, self.width = rate, width
        self.conv = nn.Conv2d(rate * width, width, 1, bias=False)

    def forward(
        self, x: Float[Tensor, "b t c h w"], waiting: Float[Tensor, "b n c h w"] | None
    ) -> tuple[Float[Tensor, "b s c h w"], Float[Tensor, "b m c h w"] | None]:
        """The pooled frames and those that wait for a partner."""
        x = x if waiting is None else torch.cat([waiting, x], dim=1)
        whole = x.shape[1] // self.rate
        left = x[:, whole * self.rate :]
        groups = x[:, : whole * self.rate].unflatten(1, (whole, self.rate)).flatten(2, 3)  # (b, s, rate·c, h, w)
        return over_frames(self.conv, groups), left.clone() if left.shape[1] else None


class Grow(nn.Module):
    """One frame becomes `rate`: a 1×1 convolution, its output channels split in blocks, the earlier frame first; and
    each of them `factor` times as large, by its nearest neighbours.

    Published decoders enlarge first, which gives the same: all copies of a pixel get the same of a 1×1 convolution.
    """

    def __init__(self, width: int, rate: int, factor: int) -> None:
        super().__init__()
        self.rate, self.width, self.factor = rate, width, factor
        self.conv = nn.Conv2d(width, rate * width, 1, bias=False)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "m c H W"]:
        grown = rows(self.conv(x).unflatten(1, (self.rate, -1)).flatten(0, 1))
        return F.interpolate(grown, scale_factor=float(self.factor), mode="nearest") if self.factor > 1 else grown


class Guided(nn.Module):
    """Adds to the features what pictures of the same moments show; none given is nothing to see."""

    def __init__(self, guides: int, width: int) -> None:
        super().__init__()
        self.conv = conv(guides, width)

    def forward(self, x: Float[Tensor, "b t c h w"], guides: Float[Tensor, "b t g h w"]) -> Float[Tensor, "b t c h w"]:
        return x + over_frames(self.conv, guides)


class SoftLimit(nn.Module):
    """Bends values smoothly into ±3; already felt at 1, which becomes 0.965."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return SOFT_LIMIT * torch.tanh(x / SOFT_LIMIT)


class Stack(nn.Sequential):
    """The layers in order; time is folded into the batch for all that do not mix it."""

    def forward(
        self,
        x: Float[Tensor, "b t c h w"],
        state: TaeState | Coming,
        guides: Float[Tensor, "b s g H W"] | None = None,
        after: Coming | None = None,
    ) -> tuple[Float[Tensor, "b s d H W"], TaeState]:
        """Output of the last layer, and the state with new memories (`seen` and `last` are the caller's), which are
        also put into `after` as they are made.
        """
        memory, waiting = dict[int, Tensor](), dict[int, Tensor]()
        x = over_frames(rows, x)
        for place, layer in enumerate(self):
            if isinstance(layer, MemoryBlock):
                x, remembered = layer(x, state.memory.get(place))
                keep(memory, place, remembered, None if after is None else after.memory)
            elif isinstance(layer, TimePool):
                x, remembered = layer(x, state.waiting.get(place))
                keep(waiting, place, remembered, None if after is None else after.waiting)
            elif isinstance(layer, Guided):
                x = x if guides is None else layer(x, guides)
            else:
                x = over_frames(layer, x)
        return x, TaeState(state.seen, memory, waiting, state.last)


def conv(inside: int, outside: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    """3×3, zeros around."""
    return nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=bias)


def rows(x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """The same with a pixel's channels side by side in memory, as convolutions of few channels are fastest."""
    return x.contiguous(memory_format=torch.channels_last)


def unshuffled(x: Float[Tensor, "n c H W"], patch: int) -> Float[Tensor, "n d h w"]:
    """`nn.PixelUnshuffle`, its result with a pixel's channels side by side (see `rows`); three times as fast."""
    count, channels, height, width = x.shape
    out = x.new_empty(count, height // patch, width // patch, channels, patch, patch)
    for row in range(patch):
        for column in range(patch):
            out[..., row, column] = x[:, :, row::patch, column::patch].permute(0, 2, 3, 1)
    return out.flatten(3).movedim(-1, 1)


def over_frames(layer: Callable[[Tensor], Tensor], x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b s d H W"]:
    """A layer of pictures over a video: one call, whatever the number of frames."""
    batch, frames = x.shape[:2]
    folded = layer(x.reshape(batch * frames, *x.shape[2:]))
    return folded.unflatten(0, (batch, folded.shape[0] // batch))


def keep(store: dict[int, Tensor], place: int, remembered: Tensor | None, told: Arriving | None) -> None:
    """Files what a layer remembers, if anything, and hands it to whoever waits for it."""
    if remembered is not None:
        store[place] = remembered
    if told is not None:
        told.put(place, remembered)


def encoder_stack(
    pixels: int, latents: int, widths: Sequence[int], blocks: Sequence[int], time: Sequence[bool]
) -> Stack:
    """Convolution, then per stage its memory blocks; between two stages a pool in time and a stride in space."""
    layers: list[nn.Module] = [conv(pixels, widths[0]), nn.ReLU()]
    layers += [MemoryBlock(widths[0]) for _ in range(blocks[0])]
    for stage, pooled in enumerate(time):
        width, wider = widths[stage], widths[stage + 1]
        layers += [TimePool(width, 2 if pooled else 1), conv(width, wider, stride=2, bias=False)]
        layers += [MemoryBlock(wider) for _ in range(blocks[stage + 1])]
    return Stack(*layers, conv(widths[-1], latents))


def decoder_stack(
    latents: int,
    pixels: int,
    widths: Sequence[int],
    blocks: Sequence[int],
    time: Sequence[bool],
    space: Sequence[bool],
    guides: int = 0,
) -> Stack:
    """The way back: between two stages enlarge, grow in time, then a convolution, with no activation between them.

    With guides, the finest stage sees them before its blocks, and the last layer has `pixels` more channels: a gate.
    """
    layers: list[nn.Module] = [SoftLimit(), conv(latents, widths[0]), nn.ReLU()]
    layers += [MemoryBlock(widths[0]) for _ in range(blocks[0])]
    for stage, (grown, enlarged) in enumerate(zip(time, space, strict=True)):
        width, narrower = widths[stage], widths[stage + 1]
        # the published layers that only enlarge have no weights; the first of the three keeps their place
        layers += [nn.Identity(), Grow(width, 1 + grown, 1 + enlarged), conv(width, narrower, bias=False)]
        layers += [Guided(guides, narrower)] if guides and stage + 2 == len(widths) else []
        layers += [MemoryBlock(narrower) for _ in range(blocks[stage + 1])]
    return Stack(*layers, nn.ReLU(), conv(widths[-1], 2 * pixels if guides else pixels))
