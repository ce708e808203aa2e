"""70 numbers for 16 frames of a window, in which videos can be compared as sets.

64 are of a network that was trained to tell camera, motion, light, ground, objects and damage of windows of the world;
six say plainly how much fine detail there is and how much it changes, which the network alone hardly notices. Each
frame is looked at on its own, then 16 together: so what windows share is computed once, and only maps are kept.
"""

from collections import deque
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from longvie.data.world import CAMERAS, GROUNDS, TIMES, WEATHERS
from longvie.errors import ConfigError
from longvie.evaluation.frechet import LOOKS, windows
from longvie.evaluation.instruments.damage import KINDS
from longvie.evaluation.instruments.nets import channels_last, convolution, seen
from longvie.evaluation.instruments.store import restored

FINE, COARSE, DETAIL = 24, 48, 3  # channels of the maps of a frame
LEARNED = 64
WIDTH = LEARNED + 2 * DETAIL  # numbers of a window
HEADS = {  # what is told from them in training: classes, or 0 for a number
    "camera": len(CAMERAS), "hour": len(TIMES), "weather": len(WEATHERS), "ground": len(GROUNDS),
    "damage": len(KINDS), "strength": 0, "bodies": 0, "step": 0, "turn": 0,
}  # fmt: skip


class WindowNet(nn.Module):
    """Pictures → maps, one by one; maps of a window → its features; features → what training asks."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.PixelUnshuffle(2), convolution(12, FINE, 2))
        self.coarse = nn.Sequential(
            convolution(FINE, FINE), convolution(FINE, COARSE, 2), convolution(COARSE, COARSE),
            convolution(COARSE, COARSE, 2),
        )  # fmt: skip
        channels_last(self)
        every = FINE + COARSE + DETAIL
        self.time = nn.Sequential(_over_time(every, 64, (2, 1, 1)), _over_time(64, 64, (2, 2, 2)))
        pooled = 2 * 64 + 2 * every
        self.out = nn.Sequential(nn.BatchNorm1d(pooled), nn.Linear(pooled, 96), nn.ReLU(), nn.Linear(96, LEARNED))
        self.heads = nn.ModuleDict({name: nn.Linear(LEARNED, max(1, count)) for name, count in HEADS.items()})
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("deviation", torch.ones(WIDTH))

    def maps(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c y x"]:
        """Of each picture by itself: what is coarse, and how much there is of what is fine."""
        fine = self.fine(pictures)
        coarse = self.coarse(fine)
        rest = torch.cat([functional.avg_pool2d(fine, 4), _detail(pictures)], 1)
        return torch.cat([coarse, rest], 1)

    def features(self, maps: Float[Tensor, "n f c y x"]) -> Float[Tensor, "n d"]:
        """Of windows of 16 maps; each number of mean 0 and deviation 1 over undamaged windows it was trained on."""
        detail = maps[:, :, -DETAIL:]
        plain = [detail.mean((1, 3, 4)) + 1e-2, detail.diff(dim=1).abs().mean((1, 3, 4)) + 1e-3]
        return (torch.cat([self._raw(maps), torch.cat(plain, 1).log()], 1) - self.mean) / self.deviation

    def forward(self, pictures: Float[Tensor, "n f 3 h w"]) -> dict[str, Float[Tensor, "n k"]]:
        """What each head says of windows."""
        found = self._raw(self.maps(pictures.flatten(0, 1)).unflatten(0, (-1, pictures.shape[1])))
        return {name: head(found) for name, head in self.heads.items()}

    def _raw(self, maps: Float[Tensor, "n f c y x"]) -> Float[Tensor, "n d"]:
        told = self.time(maps.transpose(1, 2))
        change = maps.diff(dim=1).abs().mean((1, 3, 4))  # 0 where a video is frozen
        flat = [told.mean((2, 3, 4)), told.amax((2, 3, 4)), maps.mean((1, 3, 4)), change]
        return self.out(torch.cat(flat, 1))

    @torch.inference_mode()
    def settle(self, undamaged: Float[Tensor, "n d"]) -> None:
        """Take mean and deviation from features of undamaged windows, as they come before they are settled."""
        self.mean, self.deviation = undamaged.mean(0), undamaged.std(0).clamp(min=1e-6)


def _detail(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k y x"]:
    """Mean size of the second differences of grey, at the picture's side, its half and its quarter, in blocks of 16×16.

    Noise, blur and blocks show there; filters learned out of pictures, whose means are large, are slow to find them.
    """
    grey = pictures.mean(1, keepdim=True)
    found = []
    for scale in range(DETAIL):
        across, down = (grey.diff(n=2, dim=dim).abs() for dim in (3, 2))
        bent = functional.pad(across, (1, 1)) + functional.pad(down, (0, 0, 1, 1))
        found.append(4 * functional.avg_pool2d(bent, 16 >> scale))
        grey = functional.avg_pool2d(grey, 2)
    return torch.cat(found, 1)


def _over_time(ins: int, outs: int, stride: tuple[int, int, int]) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(ins, outs, 3, stride, 1, bias=False), nn.BatchNorm3d(outs), nn.ReLU())


@cache
def instrument() -> WindowNet:
    """The trained one.

    Raises:
        WeightsError: its file is missing or damaged.
    """
    return restored(WindowNet(), "windows")


class Reader:
    """The features of a video's windows, of several lengths, in one pass; of each length at most 24 maps are kept.

    A length of which no window fits the video, or whose windows have fewer than 16 frames, has no features.
    """

    def __init__(self, frames: int, fps: float, lengths: tuple[float, ...], net: WindowNet | None = None) -> None:
        self.net = instrument() if net is None else net
        self.open = {seconds: deque(_fitting(frames, fps, seconds)) for seconds in lengths}
        self.wanted = {seconds: {at for window in rows for at in window} for seconds, rows in self.open.items()}
        self.held: dict[float, dict[int, Tensor]] = {seconds: {} for seconds in lengths}  # (c, y, x) by frame
        self.found: dict[float, list[Tensor]] = {seconds: [] for seconds in lengths}  # (d,)

    @torch.inference_mode()
    def see(self, number: int, picture: UInt8[np.ndarray, "h w 3"]) -> None:
        """The next frame and its number; they come in order, each once."""
        lengths = [seconds for seconds, wanted in self.wanted.items() if number in wanted]
        if not lengths:
            return
        now = self.net.maps(seen(picture[None]))[0]
        for seconds in lengths:
            self.held[seconds][number] = now
            while self.open[seconds] and self.open[seconds][0][-1] == number:
                self._close(seconds)

    def _close(self, seconds: float) -> None:
        held, waiting = self.held[seconds], self.open[seconds]
        window = torch.stack([held[at] for at in waiting.popleft()])
        self.found[seconds].append(self.net.features(window[None])[0])
        oldest = waiting[0][0] if waiting else max(held) + 1
        self.held[seconds] = {at: of for at, of in held.items() if at >= oldest}

    def features(self, seconds: float) -> Float[np.ndarray, "n d"]:
        """Of all windows of a length, in order; none where no window fits."""
        found = self.found[seconds]
        return torch.stack(found).numpy() if found else np.zeros((0, WIDTH), np.float32)


def _fitting(frames: int, fps: float, seconds: float) -> tuple[tuple[int, ...], ...]:
    try:
        return windows(frames, fps, seconds, LOOKS)
    except ConfigError:  # so few frames a second that a window has fewer than are looked at
        return ()
