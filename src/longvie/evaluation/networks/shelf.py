"""Which networks there are, which files each is read from, and how it is put to use.

A network is handed out ready: it takes tensors from wherever they are, computes on the device that `runtime` names, and
gives tensors on the CPU. It is read once and kept for the life of the process, since every video wants it again. One of
your own takes the place of an official one under the same name, if it does what is said of it here.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from longvie.errors import ConfigError, WeightsError
from longvie.evaluation.metric import Weights
from longvie.evaluation.networks import alexnet, clip, files, i3d, musiq, raft, viclip, vit
from longvie.evaluation.networks.words import Words
from longvie.evaluation.vbench_long import quantiles
from longvie.evaluation.weights import OFFICIAL
from longvie.runtime import device

Network = Callable[..., Any]
NONE: Mapping[str, Network] = MappingProxyType({})


@dataclass(frozen=True)
class Kind:
    """What a metric may look with.

    Attributes:
        title: for people.
        files: names in `weights.OFFICIAL`.
        does: what it takes and gives; one of your own must do the same.
        load: paths of the files in that order → the network.
    """

    title: str
    files: tuple[str, ...]
    does: str
    load: Callable[..., Network]

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Its files."""
        return tuple(OFFICIAL[name] for name in self.files)


class Shelf:
    """Networks by name, from the files that were found and from the caller.

    Args:
        found: paths by names in `weights.OFFICIAL`, of files that `weights.locate` has found to be right.
        own: networks of the caller, by names in `KINDS`.

    Raises:
        ConfigError: there is no kind of network of that name.
    """

    def __init__(self, found: Mapping[str, str], own: Mapping[str, Network] = NONE) -> None:
        unknown = [name for name in own if name not in KINDS]
        if unknown:
            raise ConfigError(f"no network {unknown[0][:60]!r}; there are {', '.join(KINDS)}")
        self.found, self.own = found, own

    def take(self, *names: str) -> list[Network]:
        """These networks, in order, each read from its files the first time.

        Raises:
            WeightsError: files were not found or are not what they should be; says of all that is missing where it is
                published and under which licence.
        """
        files = dict.fromkeys(file for name in names if name not in self.own for file in KINDS[name].files)
        missing = tuple(OFFICIAL[file] for file in files if file not in self.found)
        if missing:
            raise WeightsError(f"needs weights that were not found: {_described(missing)}; put them in their folder")
        return [self._one(name) for name in names]

    def _one(self, name: str) -> Network:
        if name in self.own:
            return self.own[name]
        return _loaded(name, tuple(self.found[file] for file in KINDS[name].files))


def _described(weights: tuple[Weights, ...]) -> str:
    return ", and ".join(f"{it.file} from {it.source} (licence: {it.licence})" for it in weights)


@functools.cache
def _loaded(name: str, paths: tuple[str, ...]) -> Network:
    return KINDS[name].load(*map(Path, paths))


def _ready(module: nn.Module) -> Callable[..., Tensor]:
    place = device()
    module.to(place)
    return lambda *given: module(*(tensor.to(place) for tensor in given)).cpu()


@functools.cache
def _clip(path: Path) -> tuple[clip.Sight, clip.Reading]:
    return clip.clip(files.program(path).state_dict())


@functools.cache
def _viclip(path: Path) -> tuple[viclip.Watching, clip.Reading]:
    return viclip.viclip(files.tensors(path, "model"))


def _reader(reading: clip.Reading, vocabulary: Path) -> Callable[[list[str]], Tensor]:
    words, read = Words(vocabulary), _ready(reading)
    return lambda texts: read(words(texts, reading.length))


def _linear(path: Path) -> Network:
    """LAION's head: one row of weights."""
    named = files.tensors(path)
    return _ready(files.fit(nn.Linear(files.size(named, "weight", 2)[1], 1), named))


def _program(path: Path) -> Network:
    """A network that this package does not contain, as its user has written it down."""
    return _ready(files.program(path))


def _layers(path: Path) -> Network:
    network, place = alexnet.alexnet(files.tensors(path)), device()
    network.to(place)
    return lambda pictures: [layer.cpu() for layer in network(pictures.to(place))]


def _heads(path: Path) -> Network:
    found = alexnet.heads(files.tensors(path))
    return lambda: found


PICTURES = "(n 3 y x) prepared → (n d)"
TABLE = "a score from clip to clip → that of equal rank inside clips"
KINDS: Mapping[str, Kind] = {
    "dino": Kind("DINO ViT-B/16", ("dino",), PICTURES, lambda path: _ready(vit.vit(files.tensors(path)))),
    "dinov2": Kind("DINOv2 ViT-B/14", ("dinov2",), PICTURES, lambda path: _ready(vit.vit(files.tensors(path)))),
    "clip-b32": Kind("CLIP ViT-B/32", ("clip-b32",), PICTURES, lambda path: _ready(_clip(path)[0])),
    "clip-l14": Kind("CLIP ViT-L/14", ("clip-l14",), PICTURES, lambda path: _ready(_clip(path)[0])),
    "clip-b32-words": Kind(
        "the words of CLIP ViT-B/32",
        ("clip-b32", "clip-words"),
        "a list of s texts → (s d)",
        lambda path, vocabulary: _reader(_clip(path)[1], vocabulary),
    ),
    "viclip": Kind("ViCLIP", ("viclip",), "(b 8 3 224 224) prepared → (b d)", lambda path: _ready(_viclip(path)[0])),
    "viclip-words": Kind(
        "the words of ViCLIP",
        ("viclip", "clip-words"),
        "a list of s texts → (s d)",
        lambda path, vocabulary: _reader(_viclip(path)[1], vocabulary),
    ),
    "aesthetic": Kind("LAION's aesthetic head", ("aesthetic",), "features of length 1, (n d) → (n 1)", _linear),
    "raft": Kind(
        "RAFT",
        ("raft",),
        "two batches of pictures from 0 to 255, (n 3 h w) → flow (n 2 h w) in pixels",
        lambda path: _ready(raft.raft(files.tensors(path))),
    ),
    "amt": Kind("AMT-S", ("amt",), "two batches of pictures from 0 to 255, (n 3 h w) → those halfway", _program),
    "dreamsim": Kind("DreamSim, the ensemble", ("dreamsim",), "(n 3 224 224) in [0, 1] → (n d)", _program),
    "subject-table": Kind("VBench-Long's table for subjects", ("subject-table",), TABLE, quantiles),
    "background-table": Kind("VBench-Long's table for backgrounds", ("background-table",), TABLE, quantiles),
    "musiq": Kind(
        "MUSIQ",
        ("musiq",),
        "(n 3 y x) in [0, 1] → ratings from 0 to 100, (n 1)",
        lambda path: _ready(musiq.musiq(files.tensors(path))),
    ),
    "i3d": Kind(
        "I3D, the port of StyleGAN-V",
        ("i3d-stylegan-v",),
        "windows (n 3 16 224 224) in [-1, 1] → (n d)",
        lambda path: _ready(i3d.i3d(path)),
    ),
    "alexnet": Kind("AlexNet", ("alexnet",), "(n 3 h w) scaled → layers (n c y x)", _layers),
    "lpips-heads": Kind("LPIPS v0.1", ("lpips-alex",), "nothing → weights of each layer's channels, (c)", _heads),
}
