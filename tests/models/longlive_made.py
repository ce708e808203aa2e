"""Wan 2.1 T2V and LongLive in small, in the layouts and under the names in which they are published."""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor

from longvie.models.encoders import WordEncoder
from longvie.models.lora import DOWN, UP, in_blocks
from longvie.models.transformer import VideoTransformer

RECORDED = Path(__file__).parent.parent / "parity" / "data" / "longvie"
TEXT, RANK = 48, 3  # the width of the recorded text encoder; the rank of the adapter


def written(file: Path, tensors: Mapping[str, Tensor]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
    return file


def wan_diffusers(folder: Path) -> Path:
    """What diffusers' repository holds beside the transformer."""
    torch.manual_seed(0)
    words = WordEncoder.fresh(["a red ball"], vocab_size=300, width=TEXT, layers=1, heads=2, hidden=32)
    words.encoder.save_pretrained(folder / "text_encoder")
    (folder / "tokenizer").mkdir()
    words.tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    vae = AutoencoderKLWan(base_dim=4, num_res_blocks=1)
    written(folder / "vae" / "diffusion_pytorch_model.safetensors", vae.state_dict())
    return folder


def wan_original(folder: Path, ending: str = ".safetensors") -> Path:
    """What Wan's own repository holds beside the transformer, as pickles or converted already."""
    words = WordEncoder.fresh(["a red ball"], vocab_size=300, width=TEXT, layers=1, heads=2, hidden=32)
    (folder / "google" / "umt5-xxl").mkdir(parents=True)
    words.tokenizer.save(str(folder / "google" / "umt5-xxl" / "tokenizer.json"))
    encoder = recorded("text_encoder") | {"token_embedding.weight": torch.randn(300, TEXT)}
    files = {"models_t5_umt5-xxl-enc-bf16": encoder, "Wan2.1_VAE": recorded("wan_vae")}
    for name, tensors in files.items():
        if ending == ".safetensors":
            written(folder / f"{name}{ending}", tensors)
        else:
            torch.save(tensors, folder / f"{name}{ending}")
    return folder


def recorded(name: str) -> dict[str, Tensor]:
    """Weights under their original names, from a recording of the published network in small."""
    tensors = load_file(RECORDED / f"{name}.safetensors")
    return {key.removeprefix("weights."): tensor for key, tensor in tensors.items() if key.startswith("weights.")}


def transformer() -> VideoTransformer:
    """The network that LongLive's base holds."""
    torch.manual_seed(1)
    return VideoTransformer(width=256, layers=2, heads=2, ffn=32, in_channels=16, text_width=TEXT, time_width=16).eval()


def base(network: VideoTransformer) -> dict[str, Tensor]:
    """`generator` of longlive_base.pt."""
    return {f"model.{name}": weight.detach() for name, weight in network.state_dict().items()}


def adapter(network: VideoTransformer) -> dict[str, Tensor]:
    """`generator_lora` of lora.pt."""
    found = {}
    for name, weight in network.state_dict().items():
        if in_blocks(name) and weight.ndim == 2:
            layer = f"base_model.model.{name.removesuffix('weight')}"
            found[layer + DOWN] = torch.randn(RANK, weight.shape[1]) / 8
            found[layer + UP] = torch.randn(weight.shape[0], RANK) / 8
    return found


def longlive(folder: Path, network: VideoTransformer, pair: Mapping[str, Tensor]) -> Path:
    """LongLive's two files, converted."""
    written(folder / "longlive_base.safetensors", base(network))
    written(folder / "lora.safetensors", pair)
    return folder


def longlive_pickled(folder: Path, network: VideoTransformer, pair: Mapping[str, Tensor]) -> Path:
    """LongLive's two files as their repository holds them."""
    (folder / "models").mkdir(parents=True)
    critic = {"model.a": torch.ones(1)}
    torch.save({"generator": base(network), "critic": critic, "step": 1}, folder / "models" / "longlive_base.pt")
    torch.save({"generator_lora": dict(pair), "critic_lora": critic, "step": 1}, folder / "models" / "lora.pt")
    return folder


def cached(cache: Path, repository: str, commit: str = "c0ffee") -> Path:
    """An empty snapshot in a cache of the hub."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True, exist_ok=True)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    return snapshot


def into_blobs(snapshot: Path) -> None:
    """Each file of a snapshot becomes a link to a blob, as the hub's library keeps them."""
    blobs = snapshot.parent.parent / "blobs"
    for number, file in enumerate(sorted(path for path in snapshot.rglob("*") if path.is_file())):
        blob = file.rename(blobs / f"{snapshot.name}-{number}")
        file.symlink_to(blob)
