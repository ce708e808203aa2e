"""`Models`: all that an engine needs, and the card that says what the weights were made for.

A model is a folder: `card.json`, `transformer/`, `autoencoder/`, `words/`, and where it has them `live/`,
`pictures/` and `repainter/`. Published checkpoints have layouts of their own, read by `read_longvie` and
`read_longlive`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

import torch
from diffusers import AutoencoderKLWan
from diffusers.configuration_utils import ConfigMixin
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import nn

from longvie.errors import WeightsError
from longvie.models import names
from longvie.models.autoencoder import Autoencoder, WanAutoencoder
from longvie.models.downloads import AUTOENCODER, PICTURES, TOKENIZER, TRUNK, WORDS, LongLive, find
from longvie.models.encoders import PictureEncoder, WordEncoder
from longvie.models.lora import in_blocks, read_adapter
from longvie.models.repainter import Repainter
from longvie.models.tae import TinyAutoencoder
from longvie.models.transformer import VideoTransformer
from longvie.models.weights import (
    PRECISE,
    as_stored,
    digest,
    fill,
    open_checkpoint,
    read_picture_encoder,
    read_transformer,
    read_video_autoencoder,
    read_word_encoder,
    renamed,
)

CARD = "card.json"
HASHED_BYTES = 2**28  # a file larger than this is hashed when asked for, not at every load

WAN_NEGATIVE = (  # Wan 2.1's stock negative prompt, which LongVie 2 keeps
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)


@dataclass(frozen=True)
class Card:
    """What the weights were made for, and what they were.

    Attributes:
        size: height and width in pixels.
        fps: frames a second.
        frames: of one clip.
        predicts: what the transformer's output is.
        controls: names of the controls it was trained with; nothing else may be asked of it.
        dense_kinds: names of the dense branch's learned kinds, in the order of their table; () is one kind, unnamed.
        steps, shift, guidance, negative: how it is sampled if nothing else is said; guidance 1 needs no negative pass.
        holds: what the condition shows where nothing is given (`conditioning.held`): nothing, the last picture, or that
            picture moved along the tracks.
        text_len: tokens of text.
        engines: which engines the weights were trained for: clip after clip, or live with a memory.
        quirks: name of the published oddities that the weights were trained with; "" is none.
        random: the weights are random (`tiny`): good for tests, and to be said when they are used.
        files: sha256 of each file of weights, by its path in the folder.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    size: tuple[int, int]
    fps: int
    predicts: Literal["velocity", "x0"]
    controls: tuple[str, ...]
    dense_kinds: tuple[str, ...] = ()
    frames: int = 81
    steps: int = 4
    shift: float = 5.0
    guidance: float = 1.0
    negative: str = ""
    holds: Literal["nothing", "last", "moved"] = "nothing"
    text_len: int = 64
    engines: tuple[Literal["clip", "live"], ...] = ("clip",)
    quirks: Literal["", "longvie-2"] = ""
    random: bool = False
    files: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The card as text."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """The card that `to_json` wrote.

        Raises:
            WeightsError: no card, or a field is unknown, missing or of another type.
        """
        try:
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as reason:
            first = reason.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "the file"
            raise WeightsError(
                f"{CARD} is not the card of a model: {where}: {first['msg']}; update longvie?"
            ) from reason


TINY = Card(
    name="tiny",
    size=(32, 48),
    fps=16,
    predicts="x0",
    controls=("depth", "sketch", "segmentation", "tracks"),
    dense_kinds=("depth", "sketch", "segmentation"),
    steps=2,
    engines=("clip", "live"),
    random=True,
)
LONGVIE_2 = Card(
    name="longvie-2",
    size=(352, 640),
    fps=16,
    predicts="velocity",
    controls=("depth", "tracks"),
    steps=50,
    guidance=5.0,
    negative=WAN_NEGATIVE,
    text_len=512,
    quirks="longvie-2",
)
LONGLIVE_1_3B = Card(
    name="longlive-1.3b",
    size=(480, 832),
    fps=16,
    predicts="velocity",
    controls=(),
    text_len=512,
    engines=("live",),
)


@dataclass(frozen=True)
class Models:
    """Networks that belong together.

    Attributes:
        live: the causal transformer of the same world, where there is one; weights for the live engine alone have one
            transformer, which stands in both places.
        repainter: what other words make of a picture that is known, for models that carry one.
    """

    card: Card
    transformer: VideoTransformer
    autoencoder: Autoencoder
    words: WordEncoder
    pictures: PictureEncoder | None = None
    live: VideoTransformer | None = None
    repainter: Repainter | None = None

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Models":
        """The same models, moved (in place, as torch does)."""
        for part in (self.transformer, self.autoencoder, self.words, self.pictures, self.live, self.repainter):
            if isinstance(part, nn.Module):
                nn.Module.to(part, device, dtype)  # diffusers' own `to` warns of float32 layers that there are none of
        return self


def save(models: Models, folder: Path, *, dtype: torch.dtype = torch.bfloat16) -> Card:
    """Write a folder that `load` reads, and return its card with every file's hash.

    The transformers are cast to `dtype` in the files, not in memory; all else stays as it is.

    Raises:
        WeightsError: an autoencoder that has no folder form.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _save_as(models.transformer, folder / "transformer", dtype)
    if models.live is not None and models.live is not models.transformer:
        _save_as(models.live, folder / "live", dtype)
    _network(models.autoencoder).save_pretrained(folder / "autoencoder")
    models.words.save(folder / "words")
    if models.pictures is not None:
        models.pictures.save(folder / "pictures")
    if models.repainter is not None:
        models.repainter.save_pretrained(folder / "repainter")
    for config in folder.rglob("config.json"):
        _forget_origin(config)
    files = {file.relative_to(folder).as_posix(): digest(file) for file in sorted(folder.rglob("*.safetensors"))}
    card = replace(models.card, files=files)
    (folder / CARD).write_text(card.to_json(), encoding="utf-8")
    return card


def _forget_origin(config: Path) -> None:
    """The libraries note where a network was read from: a path of somebody's machine, which is nobody's business."""
    facts = json.loads(config.read_text(encoding="utf-8"))
    facts.pop("_name_or_path", None)
    config.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")


Network = TypeVar("Network", bound=ConfigMixin)
Trained = TypeVar("Trained", VideoTransformer, Repainter)


def _of_config(kind: type[Network], config: Any) -> Network:
    """A network of its config; diffusers' annotation also names a pair that is given only when asked for."""
    return cast("Network", kind.from_config(config))


def _save_as(transformer: VideoTransformer, folder: Path, dtype: torch.dtype) -> None:
    with torch.device("meta"):
        copy = _of_config(VideoTransformer, transformer.config)
    copy.load_state_dict(
        {name: weight.detach().to("cpu", dtype) for name, weight in transformer.state_dict().items()}, assign=True
    )
    copy.save_pretrained(folder)


def _network(autoencoder: Autoencoder) -> TinyAutoencoder | AutoencoderKLWan:
    if isinstance(autoencoder, WanAutoencoder):
        return autoencoder.network
    if isinstance(autoencoder, TinyAutoencoder):
        return autoencoder
    raise WeightsError(f"a {type(autoencoder).__name__} cannot be written into a model folder")


def load(folder: Path, *, dtype: torch.dtype = torch.float32, verify: bool = True) -> Models:
    """The models of a folder that `save` wrote, on the CPU.

    Args:
        dtype: of all weights; what bfloat16 costs and gains depends on the machine (`runtime.py`).
        verify: compare each file (up to 256 MiB) with its hash on the card.

    Raises:
        WeightsError: a file is missing, broken, changed, or does not fit its network.
    """
    card = read_card(folder)
    if verify:
        check_files(folder, card, limit=HASHED_BYTES)
    transformer = _load_transformer(folder / "transformer", dtype)
    live = transformer if card.engines == ("live",) else None
    return Models(
        card=card,
        transformer=transformer,
        autoencoder=_load_autoencoder(folder / "autoencoder", dtype),
        words=WordEncoder.load(folder / "words", dtype=dtype),
        pictures=PictureEncoder.load(folder / "pictures", dtype=dtype) if (folder / "pictures").is_dir() else None,
        live=_load_transformer(folder / "live", dtype) if (folder / "live").is_dir() else live,
        repainter=_load_repainter(folder / "repainter", dtype) if (folder / "repainter").is_dir() else None,
    )


def read_card(folder: Path) -> Card:
    """The card alone, which costs nothing.

    Raises:
        WeightsError: no such folder, no card, or not a card.
    """
    try:
        return Card.from_json((folder / CARD).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as reason:
        raise WeightsError(f"no model in {folder}: it has no {CARD} that can be read") from reason


def check_files(folder: Path, card: Card, *, limit: int | None = None) -> None:
    """Compare files with the hashes on their card.

    Args:
        limit: bytes above which a file is left out; None leaves none out.

    Raises:
        WeightsError: names the first file that is missing or is another one.
    """
    for name, wanted in card.files.items():
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise WeightsError(f"{name} is missing in {folder.name}/; copy the model again")
        if (limit is None or file.stat().st_size <= limit) and digest(file) != wanted:
            raise WeightsError(f"{name} in {folder.name}/ is not the file that the card names; copy the model again")


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as reason:
        raise WeightsError(f"no config.json that can be read in {folder.name}/: copy the model again") from reason
    if not isinstance(config, dict):
        raise WeightsError(f"config.json in {folder.name}/ is not a table of options: copy the model again")
    return config


def _load_network(kind: type[Trained], folder: Path, dtype: torch.dtype, what: str) -> Trained:
    config = _config(folder)
    try:
        with torch.device("meta"):
            network = _of_config(kind, config)
    except (TypeError, ValueError, ZeroDivisionError) as reason:
        raise WeightsError(f"{folder.name}/config.json does not describe {what}: {reason}") from reason
    fill(network, open_checkpoint(folder), dtype=dtype)
    return network.eval()


def _load_transformer(folder: Path, dtype: torch.dtype) -> VideoTransformer:
    return _load_network(VideoTransformer, folder, dtype, "a video transformer")


def _load_repainter(folder: Path, dtype: torch.dtype) -> Repainter:
    return _load_network(Repainter, folder, dtype, "a repainter")


def _load_autoencoder(folder: Path, dtype: torch.dtype) -> Autoencoder:
    config = _config(folder)
    if config.get("_class_name") == AutoencoderKLWan.__name__:
        return read_video_autoencoder(folder, dtype=dtype)
    try:
        autoencoder = _of_config(TinyAutoencoder, config)
    except (TypeError, ValueError) as reason:
        raise WeightsError(f"{folder.name}/config.json does not describe an autoencoder: {reason}") from reason
    fill(autoencoder, open_checkpoint(folder), dtype=dtype)
    return autoencoder.eval()


def tiny(seed: int = 0) -> Models:
    """Random weights of the embedded model's form, small enough for seconds on a CPU. Shows nothing, tests all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        words = WordEncoder.fresh(
            ["a red ball rolls over the grass", "a storm at night"],
            vocab_size=320,
            width=32,
            layers=1,
            heads=2,
            hidden=32,
        )
        transformer, live = (
            VideoTransformer(
                width=48,
                layers=2,
                heads=2,
                ffn=96,
                text_width=words.width,
                time_width=32,
                control_layers=1,
                dense_kinds=3,
                beats=True,
                branch_positions="clip",
            )
            for _ in range(2)
        )
        autoencoder = TinyAutoencoder(
            encoder_widths=(8, 8, 8),
            encoder_blocks=(0, 1, 1),
            decoder_widths=(8, 8, 8),
            decoder_blocks=(1, 1, 0),
        )
        repainter = Repainter(width=16, layers=2, heads=2, text_width=words.width, fine_width=4)
    for network in (transformer, live, autoencoder, words, repainter):
        network.eval()
    return Models(TINY, transformer, autoencoder, words, live=live, repainter=repainter)


def read_longvie(
    base: Path,
    control: Path,
    attention: Path | None = None,
    lora: Path | None = None,
    *,
    dtype: torch.dtype = torch.bfloat16,
    all_bfloat16: bool = False,
) -> Models:
    """LongVie 2 over Wan2.1-I2V-14B-480P, from the user's own downloads.

    Args:
        base: folder of the diffusers layout, or of the original one with its `.pth` files converted.
        control: `control.safetensors`.
        attention: `dit.safetensors`.
        lora: an adapter for any of the transformer's layers, merged into them.
        all_bfloat16: whether the time layers are bfloat16 too, as LongVie computed; otherwise float32, as Wan did.

    Raises:
        WeightsError: something is missing, a pickle, or does not fit.
    """
    trunk, autoencoder, words, tokenizer, pictures = find(base, TRUNK, AUTOENCODER, WORDS, TOKENIZER, PICTURES)
    return Models(
        card=LONGVIE_2,
        transformer=read_transformer(
            trunk,
            control=control,
            attention=attention,
            change=as_stored if lora is None else read_adapter(lora, _shapes(trunk, control)).merged,
            dtype=dtype,
            precise=() if all_bfloat16 else PRECISE,
        ),
        autoencoder=read_video_autoencoder(autoencoder, dtype=dtype),
        words=read_word_encoder(words, tokenizer, dtype=dtype),
        pictures=read_picture_encoder(pictures, dtype=dtype),
    )


def read_longlive(files: LongLive, *, dtype: torch.dtype = torch.bfloat16, all_bfloat16: bool = False) -> Models:
    """LongLive over Wan2.1-T2V-1.3B, from the user's own downloads, its adapter merged.

    LongLive's base holds the whole transformer; of Wan's own files the text encoder and the autoencoder are read.

    Args:
        files: where they lie, as `downloads.longlive` finds them.
        all_bfloat16: whether the time layers are bfloat16 too, as LongLive computed; otherwise float32, as Wan did.

    Raises:
        WeightsError: something is missing, a pickle, or does not fit.
    """
    live = read_transformer(
        files.live,
        change=read_adapter(files.lora, _shapes(files.live), needed=in_blocks).merged,
        dtype=dtype,
        precise=() if all_bfloat16 else PRECISE,
    )
    return Models(
        card=LONGLIVE_1_3B,
        transformer=live,
        autoencoder=read_video_autoencoder(files.autoencoder, dtype=dtype),
        words=read_word_encoder(files.words, files.tokenizer, dtype=dtype),
        live=live,
    )


def _shapes(*files: Path) -> dict[str, tuple[int, ...]]:
    """Of a transformer's weights in these files, under our names."""
    return {name: shape for file in files for name, shape in renamed(open_checkpoint(file), names.transformer).items()}
