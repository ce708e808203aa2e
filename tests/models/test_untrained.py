"""Random weights in published sizes: the live engine runs on them, with either decoder; the sizes are Wan's."""

from typing import get_args

import pytest
import torch

from longvie.cli.bench import DECODERS, _untrained
from longvie.engine.live import LiveConfig, LiveEngine
from longvie.errors import ConfigError
from longvie.models.untrained import Decoder, Sizes, longlive
from small import script

SMALL = Sizes(width=48, layers=1, heads=2, ffn=32, text_width=32, text_len=16, wan=8, tiny=8)


@pytest.mark.parametrize("decoder", get_args(Decoder))
def test_the_live_engine_runs_on_them(decoder: Decoder) -> None:
    models = longlive(torch.device("cpu"), torch.float32, decoder=decoder, size=(32, 48), sizes=SMALL)
    assert models.card.random and models.card.name == "longlive-1.3b" and models.live is models.transformer
    assert torch.get_default_dtype() == torch.float32
    engine = LiveEngine(models, LiveConfig.of(models.card, steps=1))
    frames = torch.cat([chunk.frames for chunk in engine.run(script(21, "a red ball"))], dim=1)
    assert frames.shape == (3, 21, 32, 48) and frames.isfinite().all() and frames.std() > 0


def test_the_full_sizes_are_those_of_wan() -> None:
    """1.3B: counted without any memory."""
    full = Sizes()
    with torch.device("meta"):
        from longvie.models.transformer import VideoTransformer

        model = VideoTransformer(
            width=full.width, layers=full.layers, heads=full.heads, ffn=full.ffn, in_channels=16,
            text_width=full.text_width,
        )  # fmt: skip
    assert sum(p.numel() for p in model.parameters()) == 1_418_996_800


def test_another_decoder_or_model_is_refused() -> None:
    assert set(DECODERS) == set(get_args(Decoder))
    assert _untrained("world", None) is None
    for model, decoder in (("longlive-1.3b", "vae"), ("world", "wan")):
        with pytest.raises(ConfigError, match="wan or taew2_1"):
            _untrained(model, decoder)
