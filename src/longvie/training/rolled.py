"""Long videos as the live engine makes them, beside the truth: what stage `long` learns from.

A world of half a minute is written as any user's files, and the live engine follows them: words change on the way as
the world does, the light turns, controls go and come back, and the picture that moves is taken anew from what was made.
Kept is what the network was given at every block, and what it made of that (DAgger, arXiv 1011.0686, as in `played`);
LongLive's streaming long tuning (arXiv 2509.22622) goes through such videos once, window after window, while it trains.
"""

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from longvie.controls.control import encode_spans
from longvie.data import clips
from longvie.data.export import AT_ONCE, Export, export, spans
from longvie.data.render import render
from longvie.data.world import FPS, Scene, Split, scene
from longvie.engine import flow
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.engine.memory import Window
from longvie.engine.script import Direction, Script, Span
from longvie.engine.seam import Given
from longvie.errors import InputError
from longvie.models.control_branch import ControlInput
from longvie.models.models import Models
from longvie.presets import ControlsSection, EngineSection, LongVieConfig
from longvie.request import Inputs, prepare
from longvie.training.played import GIVEN, TRACKS
from longvie.training.stages.causal import BLOCK, KEPT, Block
from longvie.training.windows import plain

BLOCKS = 40  # half a minute
FILES = {"depth": "depth.npz", "sketch": "sketch.mp4", "segmentation": "segmentation.npz", "tracks": "tracks.npz"}
KINDS = tuple(FILES)  # the order in which controls are kept; dense ones first, as the model's kinds are numbered
PICTURE = 0.9  # how often there is a first picture
BEATS = 0.6  # how often beats are heard
AWAY = 0.3  # share of controls that are off for a while
ABSENCE = (2.0, 8.0)  # seconds

Told = tuple[Span, Given, flow.Latents]  # of a block, by the engine


@dataclass(frozen=True)
class Rolled:
    """A long video as the network saw it: l latent frames, in half precision."""

    made: Float[Tensor, "c l h w"]
    clean: Float[Tensor, "c l h w"]  # the truth
    condition: Float[Tensor, "20 l h w"]
    controls: Float[Tensor, "kinds c l h w"]
    strength: Float[Tensor, "kinds l"]
    beats: Float[Tensor, "l 4"]
    words: tuple[str, ...]  # of each block

    @property
    def blocks(self) -> int:
        """How many there are."""
        return len(self.words)

    def block(self, number: int, window: Window = KEPT) -> Block:
        """One of them, as it was given; after what a window keeps."""
        now = number * BLOCK
        span, kept = slice(now, now + BLOCK), window.kept(now)
        frames = [*kept, *range(now, now + BLOCK)]
        controls = []
        for kind, name in enumerate(KINDS):
            branch = "sparse" if name == "tracks" else "dense"
            latents = plain(self.controls[kind][None, :, frames].float())
            which = None if branch == "sparse" else torch.tensor([kind])
            controls.append(ControlInput(branch, latents, self.strength[kind][None, frames].float(), which, name=name))
        return Block(
            self.clean[None, :, span].float(),
            self.made[None, :, kept].float(),
            self.condition[None, :, span].float(),
            tuple(controls),
            self.beats[None, frames].float(),
            (self.words[number],),
            tuple(frame // BLOCK for frame in frames),
        )

    def save(self, file: Path) -> None:
        """By rename."""
        file.parent.mkdir(parents=True, exist_ok=True)
        names = ("made", "clean", "condition", "controls", "strength", "beats")
        tensors = {name: getattr(self, name).bfloat16().cpu().contiguous() for name in names}
        draft = file.with_suffix(".part")
        save_file(tensors, draft, metadata={"words": json.dumps(self.words)})
        draft.rename(file)

    @classmethod
    def load(cls, file: Path) -> "Rolled":
        """Reads what `save` wrote."""
        with safe_open(file, "pt") as opened:
            words = tuple(json.loads(opened.metadata()["words"]))
            return cls(words=words, **{name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118


@dataclass(frozen=True)
class Shelf:
    """Long videos in memory."""

    items: tuple[Rolled, ...]

    @classmethod
    def open(cls, folder: Path) -> "Shelf":
        """All that lie in a folder.

        Raises:
            InputError: there is none.
        """
        files = sorted(folder.glob("*/*.safetensors"))
        if not files:
            raise InputError(f"no long videos in {folder.name}; run the stage 'rolled' first")
        return cls(tuple(Rolled.load(file) for file in files))

    def draw(self, random: np.random.Generator, count: int, window: Window = KEPT) -> Block:
        """Blocks of some videos, from where a memory with this window is full on."""
        chosen = [self.items[int(random.integers(len(self.items)))] for _ in range(count)]
        first = next(at for at in range(10**6) if len(window.kept(at * BLOCK)) == len(window.kept(10**6 * BLOCK)))
        return joined([it.block(int(random.integers(min(first, it.blocks - 1), it.blocks)), window) for it in chosen])


def joined(blocks: list[Block]) -> Block:
    """Several blocks as one batch."""
    first = blocks[0]
    controls = tuple(
        replace(
            control,
            latents=torch.cat([block.controls[at].latents for block in blocks]),
            strength=torch.cat([block.controls[at].strength for block in blocks]),
            kind=control.kind if control.kind is None else torch.cat([block.controls[at].kind for block in blocks]),  # type: ignore[misc]
        )
        for at, control in enumerate(first.controls)
    )
    parts = {name: torch.cat([getattr(it, name) for it in blocks]) for name in ("clean", "past", "condition", "beats")}
    words = tuple(block.words[0] for block in blocks)
    return Block(controls=controls, words=words, made_with=first.made_with, **parts)


def fill(folder: Path, numbers: range, models: Models, *, split: Split | None = None, seed: int = 0) -> Iterator[int]:
    """The worlds of `numbers` that are not there yet; yields each when it is done, or another process has it.

    Args:
        split: of the scenes; by default as clips have it.
    """
    for number in numbers:
        target = clips.path(folder, number)
        with clips.claimed(target) as ours:
            if ours:
                roll(models, scene(number, split or clips.split_of(number)), seed=seed).save(target)
        yield number


@torch.no_grad()
def roll(models: Models, world: Scene, *, seed: int = 0, blocks: int | None = None) -> Rolled:
    """A world, followed by the live engine from the files that a user would give.

    Args:
        blocks: how long; by default half a minute.
    """
    random = np.random.Generator(np.random.PCG64([seed, world.seed, 17]))
    card, strides = models.card, models.autoencoder.strides
    frames = BLOCK * strides.time * (blocks or BLOCKS) - strides.time + 1  # the first latent frame stands for one
    asked = Export(world.seed, frames, world.split, card.size, float(FPS))
    told: list[Told] = []
    with tempfile.TemporaryDirectory(prefix="longvie-") as room, Inputs() as inputs:
        folder = Path(room) / "scene"
        export(asked, folder)
        script = scripted(folder, models, frames, inputs, random)
        engine = LiveEngine(models, LiveConfig.of(card))
        for _ in engine.run(script, witness=lambda *block: told.append(block)):
            pass
        clean = list(encode_spans(_truth(world, asked), engine.seam.encode, stride=strides.time))
    return Rolled(
        torch.cat([latents[0] for _, _, latents in told], dim=1),
        torch.cat(clean, dim=2)[0],
        torch.cat([_condition(given)[0] for _, given, _ in told], dim=1),
        torch.stack([torch.cat([_control(name, block)[0] for block in told], dim=1) for name in KINDS]),
        torch.stack([torch.cat([_control(name, block)[1] for block in told]) for name in KINDS]),
        torch.cat([latents.new_zeros(latents.shape[2], 4) if given.beats is None else given.beats[0]
                   for _, given, latents in told]),
        tuple(span.prompt for span, _, _ in told),
    )  # fmt: skip


def scripted(folder: Path, models: Models, frames: int, inputs: Inputs, random: np.random.Generator) -> Script:
    """What of a world's files the engine is given: some of the controls, some of them off for a while."""
    dense = list(GIVEN)[int(random.choice(len(GIVEN), p=list(GIVEN.values())))]
    names = [*dense, *(["tracks"] if random.random() < TRACKS else [])]
    files = {name: str(folder / FILES[name]) for name in KINDS if name in names}
    more = {"image": PICTURE, "beats": BEATS}
    others = {"image": str(folder / "first.png"), "beats": str(folder / "beats.json")}
    files |= {name: others[name] for name, share in more.items() if random.random() < share}
    config = LongVieConfig(
        model=replace(LongVieConfig().model, ckpt=models.card.name, frames=frames),
        controls=ControlsSection(**files),  # type: ignore[arg-type]
        engine=EngineSection(),
        seed=int(random.integers(2**31)),
        prompts=str(folder / "prompts.json"),
    )
    script = prepare(config, models.card, inputs).script
    return replace(script, controls=tuple(_absent(direction, frames, random) for direction in script.controls))


def _absent(direction: Direction, frames: int, random: np.random.Generator) -> Direction:
    """A control, off for a while in some videos."""
    if random.random() >= AWAY:
        return direction
    length = int(random.uniform(*ABSENCE) * FPS)
    begins = int(random.integers(1, max(2, frames - length)))
    turns = ((begins, 0.0), (begins + length, direction.strength))
    return replace(direction, turns=tuple(turn for turn in turns if turn[0] < frames))


def _truth(world: Scene, asked: Export) -> Iterator[Float[Tensor, "3 f h w"]]:
    for span in spans(asked.frames):
        yield render([world], span, size=asked.size, fps=asked.fps, chunk=AT_ONCE)[0].picture


def _condition(given: Given) -> Float[Tensor, "1 given l h w"]:
    if given.condition is None:
        raise InputError("these models are given no pictures: their long videos teach nothing")
    return given.condition


def _control(
    name: str, block: tuple[Span, Given, flow.Latents]
) -> tuple[Float[Tensor, "c l h w"], Float[Tensor, " l"]]:
    """Latents and strength of a control in a block; where it is off, zeros."""
    _, given, latents = block
    for control in given.controls:
        if control.name == name:
            return control.latents[0, : latents.shape[1]], control.strength[0]
    return torch.zeros_like(latents[0]), latents.new_zeros(latents.shape[2])
