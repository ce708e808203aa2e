"""Does a clip do what it was told? Fixed test scenes of the world, made again from their controls, against the truth.

The scenes are those test scenes, in order of their number, whose frozen first frame is unlike the rest: its SSIM to
the clip is at most 0.65. Which they are is written down with a hash of everything that makes them.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from longvie.api import LongVie
from longvie.controls.carried import carry
from longvie.controls.filling import fill
from longvie.data.export import Export, export
from longvie.data.render import origins, render
from longvie.data.world import FPS, scene
from longvie.errors import InputError
from longvie.evaluation.fidelity import psnr, sharpness, ssim
from longvie.models.autoencoder import Autoencoder

FRAMES = 81
FROZEN = 0.65  # highest SSIM of the repeated first frame to the clip
LIST = Path(__file__).parent / "obedience_scenes.json"
WORDS, PICTURE = "words", "picture"
NO_WORDS = "a video"  # what is said where no words are given
BARE, NOTHING = "no controls", "nothing"
GIVEN = {  # what a clip is made from
    "all controls": (WORDS, PICTURE, "depth", "sketch", "segmentation", "tracks"),
    "depth and tracks": (WORDS, PICTURE, "depth", "tracks"),
    "depth": (WORDS, PICTURE, "depth"),
    "sketch": (WORDS, PICTURE, "sketch"),
    "segmentation": (WORDS, PICTURE, "segmentation"),
    "tracks": (WORDS, PICTURE, "tracks"),
    BARE: (WORDS, PICTURE),
    "picture alone": (PICTURE,),
    "words alone": (WORDS,),
    NOTHING: (),
}
ABOVE_NOTHING = (BARE, "picture alone", "words alone", NOTHING)  # what these gain, they gain over nothing
FILES = {"depth": "depth.npz", "sketch": "sketch.mp4", "segmentation": "segmentation.npz", "tracks": "tracks.npz"}


@dataclass(frozen=True)
class Score:
    """Of one clip against the truth: means over frames."""

    ssim: float
    psnr: float
    sharpness: float  # ratio to the truth's

    @classmethod
    def of(cls, made: Float[Tensor, "3 f h w"], truth: Float[Tensor, "3 f h w"]) -> "Score":
        """Both in [0, 1]."""
        ratio = sharpness(made).mean() / sharpness(truth).mean()
        return cls(float(ssim(made, truth).mean()), float(psnr(made, truth).clamp(max=99).mean()), float(ratio))


def truth_of(number: int) -> Float[Tensor, "3 f h w"]:
    """A test scene's clip in [0, 1]."""
    return (render([scene(number, "test")], range(FRAMES))[0].picture + 1) / 2


def frozen(truth: Float[Tensor, "3 f h w"]) -> Score:
    """The first frame repeated."""
    return Score.of(truth[:, :1].expand_as(truth), truth)


@torch.no_grad()
def returned(autoencoder: Autoencoder, video: Float[Tensor, "3 f h w"]) -> Float[Tensor, "3 f h w"]:
    """A video in [0, 1] there and back."""
    given = (video[None] * 2 - 1).to(autoencoder.device, autoencoder.dtype)
    latents, _ = autoencoder.encode(given)
    return (autoencoder.decode(latents)[0][0].float().cpu() + 1) / 2


def told(folder: Path, first: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 f h w"]:
    """What depth and tracks make of the first picture without any network: it is moved (`controls.carried`)."""
    tracks, depth = np.load(folder / FILES["tracks"]), np.load(folder / FILES["depth"])
    points, seen = torch.from_numpy(tracks["points"][..., :2]), torch.from_numpy(tracks["visible"])
    return carry(first, points, seen, torch.from_numpy(depth["disparity"])).pictures


def known(number: int, truth: Float[Tensor, "3 f h w"]) -> Float[Tensor, "3 f h w"]:
    """What the first picture can tell of a clip at best: every pixel from where the world says that it was. What was
    not seen there is filled in from around.
    """
    frames, height, width = truth.shape[1:]
    places, visible = origins(scene(number, "test"), range(frames), size=(height, width))
    grid = places / places.new_tensor([width, height]) * 2 - 1
    sources = truth[:, 0].expand(len(grid), -1, -1, -1)
    moved = functional.grid_sample(sources, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return fill(moved, visible[:, None].to(moved), truth[:, 0]).transpose(0, 1)


def fingerprint(number: int) -> str:
    """SHA-256 of everything that makes a test scene."""
    return hashlib.sha256(json.dumps(asdict(scene(number, "test")), sort_keys=True).encode()).hexdigest()


def choose(count: int, tell: Callable[[int], None] = lambda _number: None) -> dict[str, str]:
    """The first `count` test scenes that are hard enough, with their fingerprints."""
    chosen: dict[str, str] = {}
    number = 0
    while len(chosen) < count:
        if frozen(truth_of(number)).ssim <= FROZEN:
            chosen[str(number)] = fingerprint(number)
        tell(number)
        number += 1
    return chosen


def scenes(count: int) -> list[int]:
    """The numbers of the fixed scenes.

    Raises:
        InputError: fewer are written down, or the world now makes another scene of a number.
    """
    listed = json.loads(LIST.read_text())
    if count > len(listed):
        raise InputError(f"{count} scenes are asked for, {len(listed)} are fixed; ask for those")
    numbers = [int(number) for number in listed][:count]
    changed = [number for number in numbers if fingerprint(number) != listed[str(number)]]
    if changed:
        raise InputError(f"test scene {changed[0]} is not the one that was fixed: the world has changed since")
    return numbers


def measure(
    model: LongVie, count: int = 20, *, given: Mapping[str, tuple[str, ...]] = GIVEN, seed: int = 0
) -> Iterator[tuple[int, str, Score]]:
    """(scene, what was given, score) for each, and four that need no transformer: the frozen first frame as "frozen",
    that frame moved by depth and tracks as "moved", moved by the world's own knowledge as "moved exactly", and the
    truth through the model's autoencoder, which no clip can be expected to beat, as "autoencoder".
    """
    for number in scenes(count):
        truth = truth_of(number)
        yield number, "frozen", frozen(truth)
        yield number, "moved exactly", Score.of(known(number, truth), truth)
        yield number, "autoencoder", Score.of(returned(model.models.autoencoder, truth), truth)
        with tempfile.TemporaryDirectory() as room:
            folder = Path(room)
            export(Export(number, FRAMES), folder / "scene")
            yield number, "moved", Score.of(told(folder / "scene", truth[:, 0]), truth)
            for name, parts in given.items():
                made = made_from(model, folder / "scene", parts, scene(number, "test").caption(2.5), seed)
                yield number, name, Score.of(made, truth)


def made_from(model: LongVie, folder: Path, given: tuple[str, ...], words: str, seed: int) -> Float[Tensor, "3 f h w"]:
    """One clip from a scene's files, in [0, 1]."""
    files = {name: folder / FILES[name] for name in given if name in FILES}
    chunks = model.stream_generate(
        words if WORDS in given else NO_WORDS,
        duration_sec=FRAMES / FPS,
        controls=files,
        image=folder / "first.png" if PICTURE in given else None,
        seed=seed,
    )
    frames = np.concatenate([chunk.frames for chunk in chunks])[:FRAMES]
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 255


def summary(rows: list[tuple[int, str, Score]], *, draws: int = 2000) -> dict[str, dict[str, int | float]]:
    """Means over scenes, and 95 % intervals by bootstrap over scenes: of SSIM, and of what it gains scene by scene,
    words and picture over nothing, all else over words and picture, where those were measured.
    """
    table = {}
    scored = {(number, name): score.ssim for number, name, score in rows}
    for name in dict.fromkeys(name for _, name, _ in rows):
        scores = [score for _, given, score in rows if given == name]
        values = np.array([score.ssim for score in scores])
        low, high = _interval(values, draws)
        less = NOTHING if name in ABOVE_NOTHING and any(given == NOTHING for _, given, _ in rows) else BARE
        of = [number for number, given, _ in rows if given == name and (number, less) in scored]
        gains = np.array([scored[number, name] - scored[number, less] for number in of])
        gained = dict(zip(("gain_low", "gain_high"), _interval(gains, draws), strict=True)) if len(gains) else {}
        table[name] = {
            "scenes": len(scores),
            "ssim": float(values.mean()),
            "ssim_low": low,
            "ssim_high": high,
            **gained,
            "psnr": float(np.mean([score.psnr for score in scores])),
            "sharpness": float(np.mean([score.sharpness for score in scores])),
        }
    return table


def _interval(values: np.ndarray, draws: int) -> tuple[float, float]:
    """95 % of the means of scenes drawn with replacement."""
    picked = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    low, high = np.percentile(values[picked].mean(1), [2.5, 97.5])
    return float(low), float(high)
