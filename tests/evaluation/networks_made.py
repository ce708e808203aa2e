"""Small networks with random weights, files in the published layouts that hold them, and videos to look at."""

import gzip
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longvie.evaluation.measure import measure
from longvie.evaluation.metric import Facts, Family, Found, Moment, Need, Refused, Value


def random(shapes: dict[str, tuple[int, ...]], seed: int = 0, scale: float = 0.1) -> dict[str, Tensor]:
    """Tensors of these names and shapes. Gains are near one, and what must be positive is."""
    source = torch.Generator().manual_seed(seed)
    found = {name: torch.randn(shape, generator=source) * scale for name, shape in shapes.items()}
    for name in found:
        if name.endswith("running_var"):
            found[name] = 1 + found[name].abs()
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(7)
    return found


def shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of all that a network holds, by name."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def parameters(*networks: nn.Module) -> int:
    """How many numbers were learnt."""
    return sum(parameter.numel() for network in networks for parameter in network.parameters())


def block_shapes(prefix: str, width: int) -> dict[str, tuple[int, ...]]:
    """A transformer block as CLIP's and ViCLIP's checkpoints name it."""
    return {
        f"{prefix}.ln_1.weight": (width,),
        f"{prefix}.ln_1.bias": (width,),
        f"{prefix}.attn.in_proj_weight": (3 * width, width),
        f"{prefix}.attn.in_proj_bias": (3 * width,),
        f"{prefix}.attn.out_proj.weight": (width, width),
        f"{prefix}.attn.out_proj.bias": (width,),
        f"{prefix}.ln_2.weight": (width,),
        f"{prefix}.ln_2.bias": (width,),
        f"{prefix}.mlp.c_fc.weight": (4 * width, width),
        f"{prefix}.mlp.c_fc.bias": (4 * width,),
        f"{prefix}.mlp.c_proj.weight": (width, 4 * width),
        f"{prefix}.mlp.c_proj.bias": (width,),
    }


def reading_shapes(width: int, depth: int, length: int, vocabulary: int, out: int) -> dict[str, tuple[int, ...]]:
    """The word side, as published."""
    found = {
        "token_embedding.weight": (vocabulary, width),
        "positional_embedding": (length, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, out),
    }
    for number in range(depth):
        found |= block_shapes(f"transformer.resblocks.{number}", width)
    return found


def sight_shapes(
    width: int, depth: int, patch: int, places: int, out: int, frames: int = 0
) -> dict[str, tuple[int, ...]]:
    """The picture side of CLIP, or the video side of ViCLIP where there are frames, as published."""
    found = {
        "conv1.weight": (width, 3, *((1,) if frames else ()), patch, patch),
        "class_embedding": (width,),
        "positional_embedding": (places, width),
        "ln_pre.weight": (width,),
        "ln_pre.bias": (width,),
        "ln_post.weight": (width,),
        "ln_post.bias": (width,),
        "proj": (width, out),
    }
    if frames:
        found["temporal_positional_embedding"] = (1, frames, width)
    for number in range(depth):
        found |= block_shapes(f"transformer.resblocks.{number}", width)
    return found


def clip_shapes(
    *, width: int = 64, depth: int = 2, patch: int = 4, places: int = 17, out: int = 8, vocabulary: int = 600
) -> dict[str, tuple[int, ...]]:
    """A whole CLIP, as published."""
    seen = sight_shapes(width, depth, patch, places, out)
    return {f"visual.{name}": shape for name, shape in seen.items()} | reading_shapes(width, depth, 12, vocabulary, out)


class Archive(nn.Module):
    """Parameters under any names, to be saved as a TorchScript archive."""

    def __init__(self, named: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in named.items():
            place: nn.Module = self
            *rooms, last = name.split(".")
            for room in rooms:
                if not hasattr(place, room):
                    place.add_module(room, nn.Module())
                place = getattr(place, room)
            place.register_buffer(last, tensor)

    def forward(self, x: Tensor) -> Tensor:
        return x


def archived(program: nn.Module, path: Path) -> Path:
    """As TorchScript, the way CLIP and I3D are published."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(program), str(path))
    return path


MERGES = ["a n", "an d</w>", "c a", "ca t</w>", "o n", "s i", "si t", "t h", "th e</w>", "r e", "re d</w>", "1 2"]


def vocabulary(path: Path, merges: list[str] | None = None) -> Path:
    """A small one in the published form."""
    path.write_bytes(gzip.compress("\n".join(["#version: 0.2", *(merges or MERGES), ""]).encode()))
    return path


def video(frames: int = 12, size: tuple[int, int] = (40, 48), seed: int = 0) -> np.ndarray:
    """Smooth colours that wander, with a little noise: (f, h, w, 3) of bytes."""
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float32)
    waves = [
        np.stack([np.sin((x + 2 * at) / 7 + k + seed) * np.cos((y - at) / (5 + k)) for k in range(3)], axis=-1)
        for at in range(frames)
    ]
    noise = np.random.default_rng(seed).normal(0, 4, (frames, *size, 3))
    return np.clip(120 + 70 * np.stack(waves) + noise, 0, 255).astype(np.uint8)


def frames_of(made: np.ndarray) -> Tensor:
    """(f, h, w, 3) of bytes to (f, 3, h, w) from 0 to 255."""
    return torch.from_numpy(made).permute(0, 3, 1, 2).float()


def known(made: np.ndarray, fps: float = 16.0, **other: Any) -> Facts:
    """What is known of a video: its truth, and its prompts if there are some."""
    needs: set[Need] = {"truth", *(("prompts",) if other.get("prompts") else ())}
    return Facts(fps, len(made), made.shape[1:3], known=frozenset(needs), **other)


def measured(
    family: Family, made: np.ndarray, truth: np.ndarray | None = None, facts: Facts | None = None
) -> dict[str, Found | Refused]:
    """All that a family says of a video; the truth is the video itself unless another is given."""
    facts = known(made) if facts is None else facts
    true = made if truth is None else truth
    pairs = zip(made, true, strict=True)
    return measure(facts, (Moment(at, at / facts.fps, *pair) for at, pair in enumerate(pairs)), (family,))


def number(found: dict[str, Found | Refused], name: str) -> float:
    """Of a metric that must not have been refused."""
    value = found[name]
    assert isinstance(value, Value), value
    return value.number


def refusal(found: dict[str, Found | Refused], name: str) -> str:
    """Why there is no number."""
    value = found[name]
    assert isinstance(value, Refused), value
    return value.reason
