"""Small signals, scripts and models for tests that need a whole engine. Random, but all of it has an effect."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from longvie import controls
from longvie.controls.signals import ArraySignal, LoadReport, Signal
from longvie.controls.text import parse
from longvie.controls.trackset import track_signal
from longvie.engine.script import Direction, Script
from longvie.models.encoders import PictureEncoder
from longvie.models.models import Models, tiny
from longvie.models.transformer import VideoTransformer

SIZE = (32, 48)
FPS = 16


def world_models() -> Models:
    """The embedded model's form: guesses clean latents, four controls, beats; latent seam."""
    return stirred(tiny(seed=1))


def longvie_models() -> Models:
    """LongVie 2's form: velocity, picture tokens, one dense kind, guidance; pixel seam with all quirks."""
    base = tiny(seed=2)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        tower = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=24, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28,
                patch_size=14, hidden_act="gelu",
            )
        )  # fmt: skip
        transformer = VideoTransformer(
            width=48, layers=2, heads=2, ffn=64, text_width=base.words.width, time_width=32, image_width=24,
            control_layers=1,
        )  # fmt: skip
    card = replace(
        base.card, name="tiny-longvie", predicts="velocity", controls=("depth", "tracks"), dense_kinds=(), guidance=2.0,
        quirks="longvie-2", negative="grey",
    )  # fmt: skip
    pictures = PictureEncoder(tower.eval())
    return stirred(replace(base, card=card, transformer=transformer.eval(), pictures=pictures, live=None))


def stirred(models: Models, seed: int = 3) -> Models:
    """What starts at zero (joins, beats) gets random weights, so that it can be seen whether it is used."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for network in (models.transformer, models.live):
            for weight in () if network is None else network.parameters():
                if not weight.any():
                    weight.copy_(torch.randn(weight.shape, generator=source) / 4)
    return models


def depth_signal(frames: int, size: tuple[int, int] = SIZE) -> Signal:
    """Disparity that grows downwards, with something near that moves."""
    height, width = size
    rows = np.linspace(0.02, 0.5, height, dtype=np.float32)
    values = np.broadcast_to(rows[None, :, None], (frames, height, width)).copy()
    for frame in range(frames):
        values[frame, height // 3 : height // 2, frame % (width - 8) : frame % (width - 8) + 8] = 0.9
    return ArraySignal(values, FPS, LoadReport("depth", "disparity", frames, FPS, height, width, 0.02, 0.9))


def tracks_signal(frames: int, size: tuple[int, int] = SIZE) -> Signal:
    """Points that drift to the right, at several distances."""
    rng = np.random.default_rng(5)
    start = rng.uniform([2, 2, 1], [size[1] - 2, size[0] - 2, 9], (12, 3))
    drift = np.array([0.2, 0.0, 0.0]) * np.arange(frames)[:, None, None]
    return track_signal(np.float32(start + drift), size=size, fps=FPS)


def direction(control: str, frames: int, **how: Any) -> Direction:
    """A control over so many frames."""
    signal = {"depth": depth_signal, "tracks": tracks_signal}[control](frames)
    return Direction.fitted(controls.get(control), signal, **how)


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> torch.Tensor:
    """A first picture."""
    return torch.rand(3, 1, *size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def script(frames: int, words: str = "a red ball", **asked: Any) -> Script:
    """A script at the tiny models' size and rate."""
    return Script(frames, SIZE, FPS, parse(words), **asked)


def full_script(frames: int, **asked: Any) -> Script:
    """One that asks for everything that both tiny models have."""
    given = (direction("depth", frames, strength=0.8), direction("tracks", frames))
    return script(frames, **({"picture": picture(), "controls": given, "seed": 7} | asked))
