"""The published memory scheme (reference/longlive §1.4): buffers that are copied whole in every layer of every call,
rolled when they are full, their keys turned anew every time. For comparison with ours, in bytes and in seconds.

    python tests/engine/whole_buffer.py
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Num
from torch import Tensor

from longvie.engine.memory import Memory, Window
from longvie.models.rope import Rotation
from longvie.models.transformer import VideoTransformer


class WholeBuffer:
    """A past of the transformer; `begin`, calls, `end` for each block, as `Memory` has them. Relative positions."""

    def __init__(self, window: Window, block: int, turn: Callable[[Num[Tensor, " l"]], Rotation]) -> None:
        self.sink, self.frames, self.turn = window.sink, window.sink + window.recent + block, turn
        self.copied = 0
        self.filled = self.begun = 0
        self.buffers: dict[int, tuple[Tensor, Tensor]] = {}
        self.pending: dict[int, tuple[Tensor, Tensor]] = {}
        self.new: Sequence[int] = ()

    def begin(self, frames: Sequence[int]) -> Tensor:
        self.new = frames
        evicted = max(0, self.filled + len(frames) - self.frames)
        self.begun = self.filled + len(frames) - evicted
        self.evicted = evicted
        return torch.arange(self.begun - len(frames), self.begun)

    def end(self) -> None:
        """The deferred commit: what the last call wrote becomes the buffer."""
        for layer, pair in self.pending.items():
            for old, new in zip(self.buffers[layer], pair, strict=True):
                old.copy_(new)
                self.copied += old.nbytes
        self.filled = self.begun

    def join(self, layer: int, k: Tensor, v: Tensor, _rotate: Rotation) -> tuple[Tensor, Tensor]:
        tokens = k.shape[1] // len(self.new)
        if layer not in self.buffers:
            shape = (k.shape[0], self.frames * tokens, *k.shape[2:])
            self.buffers[layer] = (k.new_zeros(shape), v.new_zeros(shape))
        found = []
        for buffer, new in zip(self.buffers[layer], (k, v), strict=True):
            copy = buffer.clone()
            self.copied += copy.nbytes
            if self.evicted:
                first, stop = self.sink * tokens, self.filled * tokens
                moved = copy[:, first + self.evicted * tokens : stop].clone()
                copy[:, first : first + moved.shape[1]] = moved
                self.copied += 2 * moved.nbytes
            copy[:, (self.begun - len(self.new)) * tokens : self.begun * tokens] = new
            self.copied += new.nbytes
            found.append(copy)
        self.pending[layer] = (found[0], found[1])
        seen = self.begun * tokens
        keys = self.turn(torch.arange(self.begun))(found[0][:, :seen])
        self.copied += keys.nbytes
        return keys, found[1][:, :seen]


@torch.no_grad()
def streamed(network: VideoTransformer, past: Memory | WholeBuffer, x: Tensor, words: Tensor, calls: int = 5) -> Tensor:
    """Every block `calls` times, the last time at 0; what the last calls gave."""
    out = []
    for at in range(0, x.shape[2], 3):
        part = x[:, :, at : at + 3]
        positions = past.begin(range(at, at + part.shape[2]))
        for call in reversed(range(calls)):
            made = network(part, torch.full((len(x),), call / calls), words, past=past, positions=positions)
        past.end()
        out.append(made)
    return torch.cat(out, dim=2)


def say(line: str) -> None:
    """To the terminal."""
    sys.stdout.write(f"{line}\n")


def main(blocks: int = 12) -> None:
    """A network of the embedded model's size, LongLive's window, one thread."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"width": 216, "layers": 5, "heads": 3, "ffn": 864, "in_channels": 16, "control_layers": 0}
    network = VideoTransformer(**sizes, text_width=32, time_width=64).eval()
    x, words = torch.randn(1, 16, 3 * blocks, 12, 22), torch.randn(1, 8, 32)
    window, turn, seconds, made = Window(3, 6), network.turn(6, 11), {"ours": [], "whole buffers": []}, {}
    for _ in range(5):  # side by side, so that both meet the same neighbours
        for name in seconds:
            past = Memory(window, 3, turn) if name == "ours" else WholeBuffer(window, 3, turn)
            begun = time.perf_counter()
            made[name] = streamed(network, past, x, words)
            seconds[name].append(time.perf_counter() - begun)
            say(f"{name}: {past.copied / blocks / 1e6:.2f} MB copied a block, {seconds[name][-1] / blocks:.3f} s")
    ratio = statistics.median(seconds["ours"]) / statistics.median(seconds["whole buffers"])
    apart = float((made["ours"] - made["whole buffers"]).abs().max())
    say(f"time, ours / whole buffers, medians of 5: {ratio:.2f}; outputs at most {apart:.1e} apart")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
