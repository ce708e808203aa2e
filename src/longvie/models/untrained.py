"""Random weights in the sizes of published models: how fast one is does not depend on what it has learnt."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from diffusers import AutoencoderKLWan

from longvie.models.autoencoder import Autoencoder, WanAutoencoder
from longvie.models.encoders import WordEncoder
from longvie.models.models import LONGLIVE_1_3B, Models
from longvie.models.tae import TinyAutoencoder
from longvie.models.transformer import VideoTransformer

Decoder = Literal["wan", "taew2_1"]
SAID = ("a red ball rolls over the grass", "a storm at night")


@dataclass(frozen=True)
class Sizes:
    """Of a transformer and of what its words are; the defaults are Wan2.1-T2V-1.3B with umT5-XXL.

    Attributes:
        text_len: tokens of words. What encodes them is one small layer here: it is asked once for each prompt.
        wan: base width of Wan's autoencoder.
        tiny: width of the fast one.
    """

    width: int = 1536
    layers: int = 30
    heads: int = 12
    ffn: int = 8960
    text_width: int = 4096
    text_len: int = 512
    wan: int = 96
    tiny: int = 64


def longlive(
    place: torch.device,
    dtype: torch.dtype,
    *,
    decoder: Decoder = "wan",
    size: tuple[int, int] | None = None,
    sizes: Sizes = Sizes(),
) -> Models:
    """LongLive's form with random weights, made where they are used.

    Args:
        decoder: Wan's own autoencoder, or the fast one with its latents.
        size: height and width in pixels; by default LongLive's, 480×832.
    """
    words = WordEncoder.fresh(
        SAID, vocab_size=320, width=sizes.text_width, layers=1, heads=1, hidden=8, text_len=sizes.text_len
    )
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.device(place):
            transformer = VideoTransformer(
                width=sizes.width,
                layers=sizes.layers,
                heads=sizes.heads,
                ffn=sizes.ffn,
                in_channels=16,
                text_width=sizes.text_width,
            )
            autoencoder: Autoencoder = (
                WanAutoencoder(AutoencoderKLWan(base_dim=sizes.wan))
                if decoder == "wan"
                else TinyAutoencoder.taew2_1(sizes.tiny)
            )
    finally:
        torch.set_default_dtype(before)
    card = replace(LONGLIVE_1_3B, random=True, size=size or LONGLIVE_1_3B.size)
    transformer = transformer.eval().requires_grad_(False)
    return Models(card, transformer, autoencoder, words.eval(), live=transformer).to(place, dtype)
