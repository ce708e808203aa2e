"""Checkpoints: read safely, and fitted to a network name by name.

Only safetensors are read; a pickle is never opened here. A file's own header is checked against the model before any
tensor is read, and every name or shape that does not fit is in the `Report`.
"""

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import init_empty_weights
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from longvie.errors import WeightsError
from longvie.models import names
from longvie.models.autoencoder import WanAutoencoder
from longvie.models.encoders import PictureEncoder, WordEncoder, read_tokenizer
from longvie.models.transformer import VideoTransformer

Network = TypeVar("Network", bound=nn.Module)
Shapes = Mapping[str, tuple[int, ...]]

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")
HEADER_BYTES = 16 * 2**20  # the largest published header, 1303 tensors, has 0.2 MiB
WAN_HEAD = 128  # channels per head of every published Wan transformer; a checkpoint does not say
PRECISE = ("time_embedding.", "time_projection.", "modulation", "controls.time.")  # float32 in Wan's mixed precision


# --- files ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checkpoint:
    """Tensors in one or several safetensors files: names and shapes at once, each tensor when it is asked for.

    Attributes:
        about: what the files say of themselves, in words of whoever wrote them.
    """

    name: str
    places: Mapping[str, Path]
    shapes: Shapes
    about: Mapping[str, str] = field(default_factory=dict)

    def tensors(self, left_out: Sequence[str] = ()) -> Iterator[tuple[str, Tensor]]:
        """Every tensor but those left out, file by file.

        Raises:
            WeightsError: one cannot be read, or holds a value that is not a finite number.
        """
        for path in dict.fromkeys(self.places.values()):
            mine = [name for name, place in self.places.items() if place == path and name not in left_out]
            try:
                with safe_open(path, "pt") as file:
                    for name in mine:
                        yield name, _finite(file.get_tensor(name), f"{path.name}: {name}")
            except (SafetensorError, OSError) as reason:
                raise WeightsError(f"{path.name} cannot be read ({reason}); copy it again") from reason


def _finite(tensor: Tensor, name: str) -> Tensor:
    """The tensor, if it holds numbers only."""
    if tensor.is_floating_point() and tensor.numel():
        low, high = (tensor if tensor.itemsize > 1 else tensor.float()).aminmax()  # a NaN anywhere is both
        if not (low.isfinite() and high.isfinite()):
            raise WeightsError(f"{name} holds values that are not finite numbers; copy it again, or do not use it")
    return tensor


def open_checkpoint(path: Path) -> Checkpoint:
    """A `.safetensors` file, an index of shards, or a folder of either. Reads headers only.

    Raises:
        WeightsError: nothing there, a pickle, a broken file, a shard missing, or one name in two files.
    """
    places: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    about: dict[str, str] = {}
    for file in _files(path):
        found, said = _header(file)
        about |= said
        for name, shape in found.items():
            if name in places:
                raise WeightsError(f"{name} is in {places[name].name} and in {file.name}; keep one of the two")
            places[name], shapes[name] = file, shape
    if not places:
        raise WeightsError(f"{path.name} holds no tensor")
    return Checkpoint(path.name, places, shapes, about)


def conversion(source: Path, target: Path | None = None, part: str = "") -> str:
    """The command that makes safetensors of a pickle, ready to be typed; beside it, if no target is named."""
    command = ["longvie", "models", "convert", str(source), str(target or source.with_suffix(".safetensors"))]
    return shlex.join([*command, *(["--part", part] if part else [])])


def _files(path: Path) -> list[Path]:
    if path.suffix.lower() in PICKLES:
        raise WeightsError(
            f"{path.name} is a pickle, which can run code when it is opened; convert it first: {conversion(path)}"
        )
    if path.is_file():
        return _indexed(path) if path.name.endswith(".safetensors.index.json") else [path]
    if not path.is_dir():
        raise WeightsError(f"no file or folder {path}")
    files = sorted(path.glob("*.safetensors"))
    indices = sorted(path.glob("*.safetensors.index.json"))
    if indices:
        files = _indexed(indices[0])
    if not files:
        pickled = sorted(file for file in path.iterdir() if file.suffix.lower() in PICKLES)
        hint = f", only pickles; convert them first: {conversion(pickled[0])}" if pickled else ""
        raise WeightsError(f"no .safetensors file in {path.name}/{hint}")
    return files


def _indexed(index: Path) -> list[Path]:
    """The shards that an index names, which must lie beside it."""
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as reason:
        raise WeightsError(f"{index.name} is not an index of shards; copy it again") from reason
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise WeightsError(f"{index.name} names {shard!r}; a shard is a .safetensors file beside its index")
        if not (index.parent / shard).is_file():
            raise WeightsError(f"{shard} is missing beside {index.name}; {len(shards)} shards are needed")
    return [index.parent / shard for shard in shards]


def _header(file: Path) -> tuple[dict[str, tuple[int, ...]], dict[str, str]]:
    """Names and shapes, and what the file says of itself.

    The header's length is looked at first: parsing a bloated one takes minutes.
    """
    try:
        with file.open("rb") as raw:
            declared = int.from_bytes(raw.read(8), "little")
        if declared > min(HEADER_BYTES, file.stat().st_size):
            raise WeightsError(
                f"{file.name} declares a header of {declared} bytes in a file of {file.stat().st_size}; at most"
                f" {HEADER_BYTES} are accepted: it is truncated or no safetensors file"
            )
        with safe_open(file, "pt") as opened:
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
            return shapes, opened.metadata() or {}
    except (SafetensorError, OSError) as reason:
        raise WeightsError(f"{file.name} is not a whole safetensors file ({reason}); copy it again") from reason


def digest(file: Path) -> str:
    """sha256 of a file, in hex."""
    total = hashlib.sha256()
    with file.open("rb") as raw:
        while part := raw.read(2**20):
            total.update(part)
    return total.hexdigest()


# --- from a file into a model ---------------------------------------------------------------------------------------


Needed = Callable[[str], bool]


def every(name: str) -> bool:  # noqa: ARG001 - one of the answers to a question about names
    """A checkpoint must bring all of the model's weights."""
    return True


def none(name: str) -> bool:  # noqa: ARG001 - one of the answers to a question about names
    """A checkpoint may bring any part of them, as LongVie's `dit.safetensors` does."""
    return False


def of_trunk(name: str) -> bool:
    """All but the control branches."""
    return not of_branches(name)


def of_branches(name: str) -> bool:
    """The control branches alone."""
    return name.startswith("controls.")


@dataclass(frozen=True)
class Report:
    """How the tensors of a checkpoint met the weights of a model.

    Attributes:
        loaded: our names that were found.
        missing: our names that were not.
        unexpected: their names that nobody knows.
        misshapen: our name, their shape, ours.
        left_out: their names that are known and not needed.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    left_out: tuple[str, ...] = ()

    def require(self, needed: Needed = every) -> "Report":
        """This report, if it is clean.

        Args:
            needed: which of our names the checkpoint must bring.

        Raises:
            WeightsError: names the first of each kind of misfit and counts them all.
        """
        misshapen = [f"{name} {theirs} for {ours}" for name, theirs, ours in self.misshapen]
        troubles = [
            _counted(found, what)
            for found, what in (
                ([name for name in self.missing if needed(name)], "missing"),
                (self.unexpected, "unexpected"),
                (misshapen, "of another shape"),
            )
            if found
        ]
        if not self.loaded:
            troubles.append("not one tensor fits")
        if troubles:
            raise WeightsError(f"{self.source} does not fit the model: {'; '.join(troubles)}")
        return self


def _counted(found: Sequence[str], what: str, shown: int = 3) -> str:
    rest = ", …" if len(found) > shown else ""
    return f"{len(found)} {what} ({', '.join(found[:shown])}{rest})"


def keep(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """The converter of files that are ours already."""
    return {name: tensor}


def compare(model: nn.Module, checkpoint: Checkpoint, convert: names.Converter = keep) -> Report:
    """What would fit, from names and shapes alone; nothing is read."""
    return matched({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, checkpoint, convert)


def matched(wanted: Shapes, checkpoint: Checkpoint, convert: names.Converter = keep) -> Report:
    """How a checkpoint meets these names and shapes of ours.

    Raises:
        WeightsError: two of its names are one of ours.
    """
    loaded: dict[str, None] = {}
    unexpected, misshapen, left_out = [], [], []
    for theirs, shape in checkpoint.shapes.items():
        given = convert(theirs, torch.empty(shape, device="meta"))
        if not given:
            left_out.append(theirs)
        for name, tensor in given.items():
            if name not in wanted:
                unexpected.append(theirs)
            elif tuple(tensor.shape) != wanted[name]:
                misshapen.append((name, tuple(tensor.shape), wanted[name]))
            elif name in loaded:
                raise WeightsError(f"{checkpoint.name} holds {name} twice, under two names; keep one")
            else:
                loaded[name] = None
    found = {*loaded, *(name for name, _, _ in misshapen)}
    missing = tuple(name for name in wanted if name not in found)
    return Report(checkpoint.name, tuple(loaded), missing, tuple(unexpected), tuple(misshapen), tuple(left_out))


Change = Callable[[str, Tensor], Tensor]
"""Our name of a weight and its tensor, in the number type of its file → what is taken for it."""


def as_stored(name: str, tensor: Tensor) -> Tensor:  # noqa: ARG001 - one way of changing weights
    """No change."""
    return tensor


def fill(
    model: nn.Module,
    checkpoint: Checkpoint,
    convert: names.Converter = keep,
    *,
    needed: Needed = every,
    change: Change = as_stored,
    dtype: torch.dtype = torch.float32,
    precise: Sequence[str] = (),
) -> Report:
    """Put a checkpoint's tensors in the place of the model's own, on the CPU.

    Args:
        needed: which of our names the checkpoint must bring.
        change: of each weight before it is cast; keeps its shape.
        dtype: of the weights; those whose name contains one of `precise` stay in float32.

    Raises:
        WeightsError: something does not fit, cannot be read or is no number. Nothing is read unless all fits.
    """
    report = compare(model, checkpoint, convert).require(needed)
    state = {
        name: change(name, tensor).to(torch.float32 if any(part in name for part in precise) else dtype)
        for theirs, tensor_of_theirs in checkpoint.tensors(report.left_out)
        for name, tensor in convert(theirs, tensor_of_theirs).items()
    }
    model.load_state_dict(state, strict=False, assign=True)
    return report


# --- the networks of published checkpoints --------------------------------------------------------------------------


def described(shapes: Shapes, head: int = WAN_HEAD, branch_head: int | None = None) -> dict[str, Any]:
    """The config of a transformer whose weights, under our names, have these shapes.

    Args:
        head: channels per head, which no shape tells.

    Raises:
        WeightsError: a weight that every transformer has is missing.
    """
    try:
        width, in_channels, *patch = shapes["patch_embedding.weight"]
        config: dict[str, Any] = {
            "width": width,
            "heads": width // head,
            "layers": _count(shapes, "blocks."),
            "ffn": shapes["blocks.0.ffn.0.weight"][0],
            "in_channels": in_channels,
            "out_channels": shapes["head.head.weight"][0] // (patch[0] * patch[1] * patch[2]),
            "text_width": shapes["text_embedding.0.weight"][1],
            "time_width": shapes["time_embedding.0.weight"][1],
            "patch": tuple(patch),
        }
    except (KeyError, ValueError, IndexError) as reason:
        raise WeightsError(f"not the weights of a video transformer: {reason} is missing") from reason
    if "img_emb.proj.0.weight" in shapes:
        config["image_width"] = shapes["img_emb.proj.0.weight"][0]
    if "controls.words.weight" in shapes:
        narrow = shapes["controls.words.weight"][0]
        config |= {
            "control_layers": _count(shapes, "controls.joins."),
            "control_width": narrow,
            "control_heads": narrow // (branch_head or head),
            "control_ffn": shapes["controls.dense.blocks.0.ffn.0.weight"][0],
        }
    return config


def _count(shapes: Shapes, stem: str) -> int:
    """How many numbered parts `stem`0, `stem`1, … there are."""
    return len({name[len(stem) :].split(".")[0] for name in shapes if name.startswith(stem)})


def renamed(checkpoint: Checkpoint, convert: names.Converter) -> dict[str, tuple[int, ...]]:
    """Shapes under our names."""
    return {
        name: tuple(tensor.shape)
        for theirs, shape in checkpoint.shapes.items()
        for name, tensor in convert(theirs, torch.empty(shape, device="meta")).items()
    }


def read_transformer(
    trunk: Path,
    *,
    control: Path | None = None,
    attention: Path | None = None,
    change: Change = as_stored,
    dtype: torch.dtype = torch.float32,
    head: int = WAN_HEAD,
    eps: float = 1e-6,
    precise: Sequence[str] = PRECISE,
) -> VideoTransformer:
    """A published transformer: Wan's or diffusers' layout, with LongVie's files over it.

    Args:
        trunk: file or folder.
        control: LongVie's `control.safetensors`.
        attention: LongVie's `dit.safetensors`: any part of the trunk's weights, which replace the trunk's own.
        change: of each weight before it is cast, as `lora.Adapter.merged` does.
        head, eps: channels per head, and of the norms: what no shape tells.
        precise: parts of names that stay in float32; () is LongVie's own all-bfloat16.

    Raises:
        WeightsError: see `fill`.
    """
    base = open_checkpoint(trunk)
    shapes = renamed(base, names.transformer)
    branches = None if control is None else open_checkpoint(control)
    if branches is not None:
        shapes |= renamed(branches, names.transformer)
    with init_empty_weights():
        model = VideoTransformer(**described(shapes, head), eps=eps)
    read = partial(fill, model, convert=names.transformer, change=change, dtype=dtype, precise=precise)
    read(base, needed=of_trunk)
    if branches is not None:
        read(branches, needed=of_branches)
    if attention is not None:
        read(open_checkpoint(attention), needed=none)
    return model.eval()


def read_video_autoencoder(path: Path, *, dtype: torch.dtype = torch.float32) -> WanAutoencoder:
    """Wan's autoencoder, in the original layout or diffusers'; its sizes are seen from the shapes.

    Raises:
        WeightsError: see `fill`.
    """
    checkpoint = open_checkpoint(path)
    convert = names.video(checkpoint.shapes)
    shapes = renamed(checkpoint, convert)
    with init_empty_weights():
        network = AutoencoderKLWan(**video_config(shapes))
    fill(network, checkpoint, convert, dtype=dtype)
    return WanAutoencoder(network)


def video_config(shapes: Shapes) -> dict[str, Any]:
    """Options of diffusers' autoencoder whose weights have these shapes."""
    try:
        base = shapes["encoder.conv_in.weight"][0]
        levels = _count(shapes, "decoder.up_blocks.")
        blocks = _count(shapes, "decoder.up_blocks.0.resnets.") - 1
        steps = range(blocks, (blocks + 1) * (levels - 1), blocks + 1)  # where the encoder's list shrinks
        widths = [shapes[f"encoder.down_blocks.{at - 1}.conv2.weight"][0] for at in steps]
        widths.append(shapes["encoder.conv_out.weight"][1])
        in_time = [f"encoder.down_blocks.{at}.time_conv.weight" in shapes for at in steps]
        latent = shapes["post_quant_conv.weight"][0]
    except KeyError as reason:
        raise WeightsError(f"not the weights of Wan's autoencoder: {reason} is missing") from reason
    return {
        "base_dim": base,
        "z_dim": latent,
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": blocks,
        "temperal_downsample": in_time,
    }


def read_word_encoder(
    weights: Path, tokenizer: Path, *, text_len: int = 512, dtype: torch.dtype = torch.float32
) -> WordEncoder:
    """A published umT5 encoder, in the original layout or transformers', with its `tokenizer.json`.

    Raises:
        WeightsError: see `fill`.
    """
    checkpoint = open_checkpoint(weights)
    with init_empty_weights():
        network = UMT5EncoderModel(words_config(renamed(checkpoint, names.words)))
    fill(network, checkpoint, names.words, dtype=dtype)
    network.tie_weights()
    return WordEncoder(network.eval(), read_tokenizer(tokenizer), text_len=text_len)


def words_config(shapes: Shapes) -> UMT5Config:
    """The umT5 encoder whose weights have these shapes; a table of positions has one column per head."""
    try:
        vocabulary, width = shapes["shared.weight"]
        inner = shapes["encoder.block.0.layer.0.SelfAttention.q.weight"][0]
        buckets, heads = shapes["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        hidden = shapes["encoder.block.0.layer.1.DenseReluDense.wi_0.weight"][0]
    except KeyError as reason:
        raise WeightsError(f"not the weights of a umT5 encoder: {reason} is missing") from reason
    return UMT5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=inner // heads,
        d_ff=hidden,
        num_layers=_count(shapes, "encoder.block."),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
    )


def read_picture_encoder(weights: Path, *, heads: int = 16, dtype: torch.dtype = torch.float32) -> PictureEncoder:
    """A published CLIP vision tower, in the original layout or transformers'.

    Raises:
        WeightsError: see `fill`.
    """
    checkpoint = open_checkpoint(weights)
    with init_empty_weights():
        tower = CLIPVisionModel(pictures_config(renamed(checkpoint, names.pictures), heads))
    fill(tower, checkpoint, names.pictures, dtype=dtype)
    return PictureEncoder(tower.eval())


def pictures_config(shapes: Shapes, heads: int) -> CLIPVisionConfig:
    """The CLIP vision tower whose weights have these shapes."""
    try:
        width, _, patch, _ = shapes["embeddings.patch_embedding.weight"]
        positions = shapes["embeddings.position_embedding.weight"][0] - 1
        hidden = shapes["encoder.layers.0.mlp.fc1.weight"][0]
    except KeyError as reason:
        raise WeightsError(f"not the weights of a CLIP vision tower: {reason} is missing") from reason
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=hidden,
        num_hidden_layers=_count(shapes, "encoder.layers."),
        num_attention_heads=heads,
        image_size=patch * round(positions**0.5),
        patch_size=patch,
        hidden_act="gelu",
    )
