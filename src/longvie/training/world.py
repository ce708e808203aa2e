"""The embedded model from nothing: `longvie train world`. Each stage reads what the ones before it left in the folder.

    clips ──────── rendered from their numbers, any number of processes
    autoencoder ── clips → `autoencoder/`, from here on frozen
    decoder ────── clips, autoencoder → `decoder/`, the same with a better decoder
    latents ────── clips, autoencoder → every stream encoded once
    base ───────── latents → `base/` transformer and words
    made ───────── clips that base has not seen, latents, base → what base makes of them
    finish ─────── decoder, made → `finish/`, a decoder that makes pictures of that, and looks at guides
    worn ───────── the same, finish → what base is given in its own later clips, and what it makes of it
    history ────── base, worn → `history/` transformer and words
    likely ─────── finish, made, worn → `likely/`, a decoder that does not blur what nobody knows
    variants ───── moments of the world under several captions
    repaint ────── variants, words of history → `repaint/`, a network that brings a picture under other words
    recolour ───── the same, repaint → `recolour/`, its part that gives single things another colour
    paint ──────── the same, recolour → `paint/`, its part that sees things as wholes
    causal ─────── history → `causal/`, the transformer of the live engine
    distill ────── causal → `distill/`, the same after blocks of its own
    match ──────── distill, history → `match/`, the same by a teacher and a critic; only where it is asked for
    rolled ─────── distill, repaint → long videos that it makes on the live engine, and what it was given at every block
    long ───────── distill, rolled → `long/`, the same where long videos go
    pack ───────── everything → `world/`, a model folder with its card

A recipe is minutes of the wall clock, so that it fits any machine; the device changes the batch, nothing else.
A plan may begin from a finished model: its autoencoder and decoder stand for those of the first stages, its transformer
and words for random ones.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import PartialState
from torch import nn

from longvie import runtime
from longvie.controls.guides import COUNT
from longvie.data import clips, latents, variants
from longvie.data.streams import Store
from longvie.data.world import scene
from longvie.errors import ConfigError, InputError
from longvie.models import models
from longvie.models.encoders import WordEncoder
from longvie.models.models import Card, Models
from longvie.models.repainter import Repainter
from longvie.models.tae import TinyAutoencoder
from longvie.models.transformer import VideoTransformer
from longvie.training import rolled
from longvie.training.checkpoint import CHECKPOINT
from longvie.training.played import BORDERS, play
from longvie.training.rolled import Shelf
from longvie.training.stages import base
from longvie.training.stages.autoencoder import AutoencoderStage, DecoderStage, grown, start
from longvie.training.stages.base import SHIFT, BaseStage
from longvie.training.stages.causal import CausalStage
from longvie.training.stages.distill import DistillStage
from longvie.training.stages.finish import FinishStage, LikelyStage, Room
from longvie.training.stages.history import HistoryStage
from longvie.training.stages.long import LongStage
from longvie.training.stages.match import MatchStage
from longvie.training.stages.paint import PaintStage, whole
from longvie.training.stages.recolour import RecolourStage
from longvie.training.stages.repaint import RepaintStage
from longvie.training.trainer import Recipe, Stage, Trainer

STAGES = (
    "clips",
    "autoencoder",
    "decoder",
    "latents",
    "base",
    "made",
    "finish",
    "worn",
    "history",
    "likely",
    "variants",
    "repaint",
    "recolour",
    "paint",
    "causal",
    "distill",
    "match",
    "rolled",
    "long",
    "pack",
)
GO_ON = ("history", "likely", "causal", "distill", "match", "long")  # from what is trained, so they begin gently
ALONE = ("match",)  # stages that `all` leaves out: for comparison with those that do as much


class Pace(NamedTuple):
    """How long a stage learns, and how fast."""

    minutes: float
    rate: float  # AdamW's
    matrices: float = 0.0  # Muon's; 0 leaves matrices to AdamW


PACES = {  # of the stages that learn, on two laptop cores
    "autoencoder": Pace(110.0, 2e-3),
    "decoder": Pace(50.0, 1e-3),
    "base": Pace(115.0, 1.2e-3, 4e-3),
    "finish": Pace(40.0, 1e-3),
    "history": Pace(25.0, 3e-4, 1e-3),
    "likely": Pace(30.0, 4e-4),
    "repaint": Pace(45.0, 2e-3),
    "recolour": Pace(45.0, 2e-3, 3e-3),
    "paint": Pace(5.0, 2e-3),
    "causal": Pace(40.0, 4e-4, 1.5e-3),
    "distill": Pace(50.0, 2e-4, 6e-4),
    "match": Pace(30.0, 1e-4, 3e-4),
    "long": Pace(30.0, 2e-4, 6e-4),
}
LARGE = {  # minutes of one large GPU
    "autoencoder": 4.0,
    "decoder": 2.0,
    "base": 8.0,
    "finish": 2.0,
    "history": 2.0,
    "likely": 1.5,
    "repaint": 1.5,
    "recolour": 1.5,
    "paint": 1.0,
    "causal": 2.0,
    "distill": 1.0,
    "match": 1.0,
    "long": 1.0,
}
HELD_OUT = 8  # test clips for the sheets; never trained on
GUIDED = (2, 2, 3)  # memory blocks of the decoder that looks at guides
CAPTIONS = 4000  # scenes whose captions teach the tokenizer
AGAIN = 0.5  # of base's rates, where it goes on from a finished model
SIZE = (96, 176)  # height and width of its pictures
HELD_OUT_LONG = 2  # long videos of test scenes
HELD_OUT_VARIANTS = 100  # moments of test scenes
PARTS = ("damage", "history")  # that LongVie 2's second and third stages add to the first
ORIGIN = "origin"  # folder of the transformer and words that a training begins from
REPAINTERS = ("paint", "recolour", "repaint", ORIGIN)  # where the one that was trained last is

Report = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """Of the networks: what the shipped weights have. Heads are 72 wide."""

    width: int = 216
    layers: int = 5
    ffn: int = 864
    control_layers: int = 3
    control_width: int = 72
    control_ffn: int = 288

    def transformer(self, words: int) -> VideoTransformer:
        """With random weights, for words of this width."""
        return VideoTransformer(
            width=self.width,
            layers=self.layers,
            heads=self.width // 72,
            ffn=self.ffn,
            text_width=words,
            control_layers=self.control_layers,
            control_width=self.control_width,
            control_heads=self.control_width // 72,
            control_ffn=self.control_ffn,
            dense_kinds=3,
            beats=True,
            branch_positions="clip",
            theta=100.0,
            copies=True,
        )


@dataclass(frozen=True)
class Plan:
    """What to make, and how long to take. The defaults are those of two laptop cores; `gpu` those of one large GPU."""

    clips: int = 900
    played: int = 300  # more clips: base has not seen them, and makes them itself
    rolled: int = 100  # more scenes still, of which the live engine makes long videos
    variants: int = 8000  # moments under several captions
    paces: Mapping[str, Pace] = field(default_factory=lambda: dict(PACES))
    scale: int = 1  # of the batches
    sizes: Sizes = Sizes()
    seed: int = 0
    steps: int | None = None  # of every stage, for a dry run
    origin: Path | None = None  # a model folder to begin from
    without: frozenset[str] = frozenset()  # of `PARTS`: what base and history leave out, for ablations

    @property
    def seen(self) -> range:
        """Numbers of the clips that the transformer learns from."""
        return range(self.clips)

    @property
    def unseen(self) -> range:
        """Numbers of those that it plays: of clips that it knows by heart it makes better ones than it ever will of
        others, and who learns from those trusts it too far.
        """
        return range(self.clips, self.clips + self.played)

    @property
    def long(self) -> range:
        """Numbers of the scenes of long videos."""
        return range(self.unseen.stop, self.unseen.stop + self.rolled)

    @classmethod
    def gpu(cls) -> "Plan":
        """About 13M parameters in 25 minutes of one H200: larger batches, thousands of clips made on the device."""
        wide = Sizes(width=288, layers=8, ffn=1152, control_layers=4, control_width=144, control_ffn=576)
        return cls(clips=6000, scale=16, sizes=wide).lasting(LARGE)

    def lasting(self, minutes: Mapping[str, float]) -> "Plan":
        """The same with other minutes for some stages."""
        paces = {name: pace._replace(minutes=minutes.get(name, pace.minutes)) for name, pace in self.paces.items()}
        return replace(self, paces=paces)


def train(folder: Path, stage: str, plan: Plan, *, device: str = "cpu", report: Report = lambda _: None) -> None:
    """Runs one stage, or `all` of them in order but for `ALONE`; a stage that was stopped goes on.

    Raises:
        ConfigError: no such stage.
        InputError: a stage before it has not been run.
    """
    if stage not in (*STAGES, "all"):
        raise ConfigError(f"no stage '{stage[:60]}'; there are {', '.join(STAGES)} and all")
    if device == "cpu":
        runtime.keep_memory()
    everyone = PartialState(cpu=device == "cpu")  # one process, unless torchrun has started more
    for name in (it for it in STAGES if it not in ALONE) if stage == "all" else (stage,):
        with everyone.main_process_first():
            if plan.origin is not None:
                begin_from(plan.origin, folder)
        if name != "pack" or everyone.is_main_process:
            _RUN[name](folder, plan, device, report if everyone.is_main_process else lambda _: None)
        everyone.wait_for_everyone()


def begin_from(model: Path, folder: Path) -> None:
    """Puts the networks of a finished model where a training looks for what to begin with, unless they are there.

    Raises:
        WeightsError: no model, or a damaged one.
    """
    if (folder / ORIGIN).exists():
        return
    models.check_files(model, models.read_card(model))
    for stage in ("autoencoder", "decoder"):
        shutil.copytree(model / "autoencoder", folder / stage / "autoencoder", dirs_exist_ok=True)
    draft = folder / f"{ORIGIN}.part"
    for network in ("transformer", "words", "repainter"):
        if network != "repainter" or (model / network).exists():
            shutil.copytree(model / network, draft / network, dirs_exist_ok=True)
    draft.rename(folder / ORIGIN)


def _clips(folder: Path, plan: Plan, device: str, report: Report) -> None:
    numbers = range(plan.clips + plan.played)
    for number in numbers:
        for _ in clips.fill(folder / "clips", range(number, number + 1), split=clips.split_of(number), device=device):
            if (number + 1) % 20 == 0:
                report(f"clips: {number + 1} of {len(numbers)}")
    for _ in clips.fill(folder / "held_out" / "clips", range(HELD_OUT), split="test", device=device):
        pass


def _autoencoder(folder: Path, plan: Plan, device: str, report: Report) -> None:
    """Trains it; one that was put there without its training is frozen already and stays."""
    if (folder / "autoencoder" / "autoencoder").exists() and not (folder / "autoencoder" / CHECKPOINT).exists():
        report("autoencoder: it is there, without its training; kept as it is")
        return
    torch.manual_seed(plan.seed)
    model = TinyAutoencoder(encoder_blocks=(0, 1, 2), decoder_blocks=(2, 1, 1))
    start(model)
    nn.Module.to(model, device)  # ModelMixin's own is annotated as no checker follows
    stage = AutoencoderStage(model, Store.open(folder / "clips"), scale=plan.scale)
    _trainer(stage, plan, folder / "autoencoder", device).run(report)


def _decoder(folder: Path, plan: Plan, device: str, report: Report) -> None:
    if (folder / ORIGIN).exists():
        report("decoder: the model that this begins from has one; kept as it is")
        return
    torch.manual_seed(plan.seed)
    model = grown(_autoencoder_of(folder / "autoencoder"))
    nn.Module.to(model, device)
    stage = DecoderStage(model, Store.open(folder / "clips"), scale=plan.scale)
    _trainer(stage, plan, folder / "decoder", device).run(report)


def _latents(folder: Path, plan: Plan, device: str, report: Report) -> None:
    model = frozen(folder)
    nn.Module.to(model, device)
    numbers = range(plan.clips + plan.played)
    done = latents.fill(folder / "clips", folder / "latents", numbers, model, device=device)
    for count, _ in enumerate(done, 1):
        if count % 20 == 0:
            report(f"latents: {count} of {len(numbers)}")
    held_out = folder / "held_out"
    for _ in latents.fill(held_out / "clips", held_out / "latents", range(HELD_OUT), model, device=device):
        pass


def frozen(folder: Path) -> TinyAutoencoder:
    """The autoencoder of a training folder, with the best decoder that there is by now.

    Raises:
        InputError: it has not been trained yet.
    """
    rooms = (folder / name for name in ("likely", "finish", "decoder"))
    return _autoencoder_of(next((it for it in rooms if (it / "autoencoder").exists()), folder / "autoencoder"))


def _autoencoder_of(folder: Path) -> TinyAutoencoder:
    if not (folder / "autoencoder").exists():
        raise InputError("there is no autoencoder yet; run the stage 'autoencoder' first")
    return TinyAutoencoder.from_pretrained(folder / "autoencoder")


def _base(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed)
    transformer, words = _trained(folder / ORIGIN) if (folder / ORIGIN).exists() else _fresh(plan)
    stage = BaseStage(
        transformer,
        words,
        frozen(folder),
        *_pools(folder, plan.seen),
        scale=plan.scale,
        remembers="history" not in plan.without,
    ).to(device)
    _trainer(stage, plan, folder / "base", device).run(report)


def _fresh(plan: Plan) -> tuple[VideoTransformer, WordEncoder]:
    words = WordEncoder.fresh(
        [scene(number).caption(float(at)) for number in range(CAPTIONS // 4) for at in (0, 15, 30, 45)]
    )
    transformer = plan.sizes.transformer(words.width)
    base.start(transformer)
    return transformer, words


def _made(folder: Path, plan: Plan, device: str, report: Report) -> None:
    _play(folder, plan.unseen, plan, device, report, "made", ())
    _play(folder / "held_out", range(HELD_OUT), plan, device, report, "made", (), folder)


def _worn(folder: Path, plan: Plan, device: str, report: Report) -> None:
    _play(folder, plan.unseen, plan, device, report, "worn", BORDERS)


def _play(
    folder: Path,
    numbers: range,
    plan: Plan,
    device: str,
    report: Report,
    room: str,
    borders: tuple[int, ...],
    trained: Path | None = None,
) -> None:
    """What base makes of the clips of a folder; with borders, also what it was given there, as clips to learn from."""
    root = trained or folder
    held_out = latents.Pool.open(root / "held_out" / "latents")
    remembers = "history" not in plan.without
    stage = BaseStage(*_trained(root / "base"), frozen(root), held_out, held_out, remembers=remembers).to(device)
    for count, number in enumerate(numbers, 1):
        source, known, target, given = (
            clips.path(folder / it, number) for it in ("clips", "latents", room, "continued")
        )
        with clips.claimed(target) as ours:
            if not ours or not source.exists() or not known.exists():
                continue
            clip, encoded = clips.load(source), latents.load(known)
            played, worn = play(stage, clip, encoded, borders=borders, seed=plan.seed)
            if worn:
                latents.save(given, replace(encoded, worn=worn))
            played.save(target)
        if count % 20 == 0:
            report(f"{room}: {count} of {len(numbers)}")


def _finish(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed)
    model = grown(_autoencoder_of(folder / "decoder"), GUIDED, guides=COUNT)
    nn.Module.to(model, device)
    stage = FinishStage(model, Room.open(folder, "made"), Room.open(folder / "held_out", "made"), scale=plan.scale)
    _trainer(stage, plan, folder / "finish", device).run(report)


def _likely(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed)
    model = _autoencoder_of(folder / "finish")
    nn.Module.to(model, device)
    room, held_out = Room.open(folder, "made", "worn"), Room.open(folder / "held_out", "made")
    _trainer(LikelyStage(model, room, held_out, scale=plan.scale), plan, folder / "likely", device).run(report)


def _history(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 1)
    transformer, words = _trained(folder / "base")
    stage = HistoryStage(
        transformer,
        words,
        frozen(folder),
        *_pools(folder, plan.unseen, "continued"),
        scale=plan.scale,
        remembers="history" not in plan.without,
        damaged="damage" not in plan.without,
    ).to(device)
    _trainer(stage, plan, folder / "history", device).run(report)


def _variants(folder: Path, plan: Plan, device: str, report: Report) -> None:
    for _ in variants.fill(folder / "held_out" / "variants", range(HELD_OUT_VARIANTS), split="test", device=device):
        pass
    for number in variants.fill(folder / "variants", range(plan.variants), device=device):
        if (number + 1) % 200 == 0:
            report(f"variants: {number + 1} of {plan.variants}")


def _repaint(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 5)
    _, words = _trained(_last(folder))
    model = _repainter(folder, ORIGIN) or Repainter(text_width=words.width)
    nn.Module.to(model, device)
    stage = RepaintStage(model, words, *_moments(folder), scale=plan.scale)
    _trainer(stage, plan, folder / "repaint", device).run(report)


def _recolour(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 6)
    _, words = _trained(_last(folder))
    model = _repainter(folder, "repaint", ORIGIN) or Repainter(text_width=words.width)
    nn.Module.to(model, device)
    stage = RecolourStage(model, words, *_moments(folder), scale=plan.scale)
    _trainer(stage, plan, folder / "recolour", device).run(report)


def _paint(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 7)
    _, words = _trained(_last(folder))
    model = _repainter(folder, "recolour", "repaint", ORIGIN)
    if model is None:
        raise InputError("there is no trained 'recolour' yet; run that stage first")
    model = whole(model)
    nn.Module.to(model, device)
    stage = PaintStage(model, words, *_moments(folder), scale=plan.scale)
    _trainer(stage, plan, folder / "paint", device).run(report)


def _moments(folder: Path) -> tuple[list[variants.Variants], list[variants.Variants]]:
    """Those to learn from, and those of test scenes."""
    return variants.read(folder / "variants"), variants.read(folder / "held_out" / "variants")


def _repainter(folder: Path, *rooms: str) -> Repainter | None:
    """The one in the first of these rooms that has one."""
    found = next((it for it in (folder / room / "repainter" for room in rooms) if it.exists()), None)
    return None if found is None else Repainter.from_pretrained(found)


def _causal(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 2)
    stage = CausalStage(*_trained(_last(folder)), frozen(folder), *_pools(folder, plan.seen), scale=plan.scale).to(
        device
    )
    _trainer(stage, plan, folder / "causal", device).run(report)


def _distill(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 3)
    transformer, words = _trained(folder / "causal")
    stage = DistillStage(transformer, words, frozen(folder), *_pools(folder, plan.unseen), scale=plan.scale).to(device)
    _trainer(stage, plan, folder / "distill", device).run(report)


def _match(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 8)
    transformer, words = _trained(folder / "distill")
    teacher, _ = _trained(_last(folder))
    given = (transformer, words, frozen(folder), *_pools(folder, plan.unseen))
    stage = MatchStage(*given, teacher=teacher, scale=plan.scale).to(device)
    _trainer(stage, plan, folder / "match", device).run(report)


def _rolled(folder: Path, plan: Plan, device: str, report: Report) -> None:
    transformer, words = _trained(_last(folder))
    live, _ = _trained(folder / "distill")
    made = Models(_card(), transformer, frozen(folder), words, live=live, repainter=_repainter(folder, *REPAINTERS)).to(
        torch.device(device), runtime.inference_dtype(torch.device(device))
    )
    for _ in rolled.fill(folder / "held_out" / "rolled", range(HELD_OUT_LONG), made, split="test", seed=plan.seed):
        pass
    for count, _ in enumerate(rolled.fill(folder / "rolled", plan.long, made, seed=plan.seed), 1):
        report(f"rolled: {count} of {plan.rolled}")


def _long(folder: Path, plan: Plan, device: str, report: Report) -> None:
    torch.manual_seed(plan.seed + 4)
    transformer, words = _trained(folder / "distill")
    given = (transformer, words, frozen(folder), *_pools(folder, plan.unseen))
    shelf, unknown = (Shelf.open(it / "rolled") for it in (folder, folder / "held_out"))
    stage = LongStage(*given, shelf=shelf, unknown=unknown, scale=plan.scale).to(device)
    _trainer(stage, plan, folder / "long", device).run(report)


def _last(folder: Path) -> Path:
    """Where the transformer of the clip engine lies that was trained last: here, or before this training began."""
    rooms = ("history", "base", ORIGIN)
    return folder / next((name for name in rooms if (folder / name / "transformer").exists()), "base")


def _trained(folder: Path) -> tuple[VideoTransformer, WordEncoder]:
    if not (folder / "transformer").exists():
        raise InputError(f"there is no trained '{folder.name}' yet; run that stage first")
    return VideoTransformer.from_pretrained(folder / "transformer"), WordEncoder.load(folder / "words")


def _pools(folder: Path, numbers: range, name: str = "latents") -> tuple[latents.Pool, latents.Pool]:
    return latents.Pool.open(folder / name, numbers), latents.Pool.open(folder / "held_out" / "latents")


def _trainer(stage: Stage, plan: Plan, folder: Path, device: str) -> Trainer:
    recipe = Recipe(**plan.paces[stage.name]._asdict(), seed=plan.seed, steps=plan.steps)
    if stage.name == "paint":  # a small network, which would learn its things by heart
        recipe = replace(recipe, decay=0.2)
    begun = (folder.parent / ORIGIN).exists()
    if stage.name in GO_ON or begun:
        recipe = replace(recipe, warmup=50, hold=0.1)
    if stage.name == "base" and begun:
        recipe = replace(recipe, rate=AGAIN * recipe.rate, matrices=AGAIN * recipe.matrices)
    return Trainer(stage, recipe, folder, cpu=device == "cpu")


def _pack(folder: Path, plan: Plan, device: str, report: Report) -> None:  # noqa: ARG001
    """The newest transformer there is, with its card, as a model folder."""
    transformer, words = _trained(_last(folder))
    rooms = (folder / name / "transformer" for name in ("long", "match", "distill", "causal"))
    live = next((it for it in rooms if it.exists()), None)
    target = folder / "world"
    shutil.rmtree(target, ignore_errors=True)
    causal = None if live is None else VideoTransformer.from_pretrained(live)
    models.save(
        Models(_card(), transformer, frozen(folder), words, live=causal, repainter=_repainter(folder, *REPAINTERS)),
        target,
    )
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    held = _last(folder).name if live is None else f"{_last(folder).name} and {live.parent.name}"
    report(f"pack: {target.name} holds {held}, {size / 1e6:.1f} MB")


def _card() -> Card:
    """What these weights are for."""
    return Card(
        name="world",
        size=SIZE,
        fps=16,
        predicts="x0",
        controls=("depth", "sketch", "segmentation", "tracks"),
        dense_kinds=("depth", "sketch", "segmentation"),
        steps=2,
        shift=SHIFT,
        holds="moved",
    )


_RUN: dict[str, Callable[[Path, Plan, str, Report], None]] = {
    "clips": _clips,
    "autoencoder": _autoencoder,
    "decoder": _decoder,
    "latents": _latents,
    "base": _base,
    "made": _made,
    "finish": _finish,
    "worn": _worn,
    "history": _history,
    "likely": _likely,
    "variants": _variants,
    "repaint": _repaint,
    "recolour": _recolour,
    "paint": _paint,
    "causal": _causal,
    "distill": _distill,
    "match": _match,
    "rolled": _rolled,
    "long": _long,
    "pack": _pack,
}
