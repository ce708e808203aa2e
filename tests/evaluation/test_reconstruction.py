"""What an autoencoder keeps of test clips, stream by stream."""

import math

import pytest
import torch

from longvie.data.streams import STREAMS
from longvie.evaluation import reconstruction
from longvie.evaluation.reconstruction import measure, summary
from longvie.models.tae import TinyAutoencoder


class Darker(TinyAutoencoder):
    """An autoencoder that loses a tenth of the range, evenly."""

    def encode(self, video: torch.Tensor, _state: object = None) -> tuple[torch.Tensor, None]:
        return video, None

    def decode(self, latents: torch.Tensor, _state: object = None) -> tuple[torch.Tensor, None]:
        return latents - 0.2, None


def test_every_stream_of_every_clip_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], reconstruction.clips.make

    def make(number: int, **options: object) -> object:
        asked.append((number, options))
        return real(number, frames=17, split="test", size=(32, 48))

    monkeypatch.setattr(reconstruction.clips, "make", make)
    rows = list(measure(Darker(), 2))
    assert [(number, stream) for number, stream, _, _ in rows] == [(n, s) for n in (0, 1) for s in STREAMS]
    assert asked == [(n, {"frames": 81, "split": "test"}) for n in (0, 1)]
    assert all(level == pytest.approx(20.0, abs=1e-3) for _, _, level, _ in rows)  # -10 log10 of 0.1 squared
    assert all(0 < likeness < 1 for _, _, _, likeness in rows)


def test_a_summary_is_means_over_clips() -> None:
    table = summary([(0, "picture", 30.0, 0.9), (1, "picture", 34.0, 0.8), (0, "depth", 40.0, 0.99)])
    assert table["picture"] == {
        "clips": 2, "psnr": 32.0, "psnr_low": 30.0, "psnr_high": 34.0, "ssim": pytest.approx(0.85),
    }  # fmt: skip
    assert math.isclose(table["depth"]["psnr"], 40.0)
