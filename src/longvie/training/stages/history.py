"""Stage `history`: LongVie 2's second and third stages in one, degradation and history (reference §6.3, §6.4).

Starts from the averaged weights of `base` and trains the transformer further; the words stay as `base` has them.
What is clean in training is not clean in a long video: pictures have been through the autoencoder, colours have
drifted, and the last frames are the model's own. So what the model is given is damaged here, by the same models that
will damage it later, while what it must make of it stays the truth:

- history and the picture that tracks move: those of the model's own clips (`training.worn`, made before this stage),
  or noise, round trips through the autoencoder, colour drift on the history;
- first picture: round trips, or noised and sampled again; then the loss ties the first latent frame's low
  frequencies to the damaged picture and its details to the truth;
- controls: fusion of scales and blur (data level), embedded patches scaled (feature level).
"""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvie.engine import flow
from longvie.models.control_branch import ControlInput
from longvie.models.encoders import WordEncoder
from longvie.models.transformer import VideoTransformer
from longvie.training import degradation
from longvie.training.degradation import DegradationConfig
from longvie.training.losses import degraded_loss
from longvie.training.stages.base import RECENT, SHORT, WHOLE, BaseStage, weight
from longvie.training.windows import Window, draw, places

AFTER = 0.75  # share of batches with history
CLIPS = 0.6  # share of batches with whole clips
DAMAGE = {"own": 0.6, "noise": 0.15, "trips": 0.05, "clean": 0.2}  # of the history, by batch
NOISE = 0.25  # highest level of noise on history
TRAVELLERS = 2  # samples of a batch that go through the autoencoder: a trip costs as much as a training step
OURS = DegradationConfig(control=0.05, feature=0.05, picture=0.10, history=1.0, drift=0.10, history_drift=0.15)


class HistoryStage(BaseStage):
    """The base stage on damaged input. What the damage was is drawn anew for each batch. For ablations it can leave out
    the damage, or all history but the first latent frame.
    """

    name: ClassVar[str] = "history"

    def __init__(
        self,
        transformer: VideoTransformer,
        words: WordEncoder,
        *given: Any,
        scale: int = 1,
        remembers: bool = True,
        damaged: bool = True,
    ) -> None:
        super().__init__(transformer, words.requires_grad_(False), *given, scale=scale, remembers=remembers)
        self.damaged = damaged

    def batch(self, random: np.random.Generator, share: float) -> Window:  # noqa: ARG002
        length, samples = WHOLE if random.random() < CLIPS else SHORT
        recent = int(random.choice((*RECENT, RECENT[-1], RECENT[-1]))) if random.random() < AFTER else None
        if recent is not None:
            length = min(length, 20)
        clips = [self.pool.draw(random) for _ in range(samples * self.scale)]
        begins = places(clips, random, length=length, recent=recent)
        drawn = str(random.choice(list(DAMAGE), p=list(DAMAGE.values())))
        kind = drawn if self.damaged else "clean"
        wears = float(kind == "own")
        window = draw(clips, begins, random, length=length, recent=recent, wears=wears).to(self.device)
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        if not self.damaged:
            return window
        window = replace(window, controls=tuple(self._worn(c, generator) for c in window.controls))
        if recent is None:
            return self._worn_picture(window, generator)
        return self._worn_history(window, kind, generator)

    def loss(self, window: Window, made: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, dict[str, float]]:
        if window.worn is None:
            return super().loss(window, made, noise, t)
        # Velocities: noise - x0. Every term then compares clean latents, as the noise is the same on both sides.
        scale = self.importance.sqrt()  # every term is a squared difference: so each counts as its channel does
        losses = degraded_loss(
            scale * flow.velocity(made.float(), noise),
            scale * flow.velocity(window.clean, noise),
            weight(t),
            noise=scale * noise,
            picture=scale * window.worn,
        )
        return losses.mean(), {"error": float((made.detach().float() - window.clean).square().mean())}

    # ----------------------------------------------------------------------------------------------------------
    # damage

    @torch.no_grad()
    def _worn_history(self, window: Window, kind: str, generator: torch.Generator) -> Window:
        history = window.history
        if history is None or kind in ("own", "clean"):
            return window
        if kind == "noise":
            levels = NOISE * torch.rand(history.shape[0], 1, 1, 1, 1, generator=generator).to(history)
            return replace(window, history=history + levels * torch.randn_like(history))
        worn = self._trips(history[:TRAVELLERS], generator, OURS.history_tint, OURS.history_drift)
        return replace(window, history=torch.cat([worn, history[TRAVELLERS:]]))

    @torch.no_grad()
    def _worn_picture(self, window: Window, generator: torch.Generator) -> Window:
        """The first picture damaged, for the whole batch or not at all, because the loss then is another one."""
        if not degradation.chance(OURS.picture, generator) or not bool(window.condition[:, 0, 0].any()):
            return window
        picture = window.condition[:, 4:, :1]
        if degradation.chance(0.4, generator):
            worn = self._trips(picture, generator, OURS.picture_tint, OURS.drift)
        else:

            def denoise(x: Tensor, levels: Float[Tensor, " points"]) -> Tensor:
                first = Window(
                    x, torch.zeros_like(window.condition[:, :, :1]), None, (), window.beats[:, :1], window.words
                )
                level = levels[0].to(x).expand(x.shape[0])
                return self.predict(first, x, level).float()

            worn = degradation.draw_reimagined(picture, denoise, flow.times(50), generator)
        mask = window.condition[:, :1, :1]  # where no picture is given there is none to damage, or to follow
        shown = torch.cat([worn * mask, window.condition[:, 4:, 1:]], dim=2)
        worn = torch.where(mask.bool(), worn, window.clean[:, :, :1])
        return replace(window, condition=torch.cat([window.condition[:, :4], shown], dim=1), worn=worn)

    def _trips(self, latents: Tensor, generator: torch.Generator, tint: tuple[float, float], drift: float) -> Tensor:
        """Latents of what comes back from the autoencoder, colours drifted now and then."""
        video = self._decode(latents)
        if degradation.chance(drift, generator):
            video = degradation.draw_colour_drift(video, tint, generator)
        worn = degradation.draw_round_trips(video, lambda v: self._decode(self._encode(v)), generator)
        return self._encode(worn)

    @torch.no_grad()
    def _worn(self, control: ControlInput, generator: torch.Generator) -> ControlInput:
        """Data-level damage on a dense control, feature-level damage on the dense branch; each one sample in twenty."""
        if control.branch != "dense":
            return control
        latents = control.latents.clone()
        if degradation.chance(OURS.control * latents.shape[0], generator):  # one sample stands for all: it is dear
            video = self._decode(latents[:1, :16])
            latents[:1, :16] = self._encode(degradation.draw_control(video, generator, replace(OURS, control=1.0)))
        gain = degradation.draw_gain(latents.shape[0], generator, OURS).to(latents)
        return replace(control, latents=latents, gain=gain)

    def _decode(self, latents: Tensor) -> Float[Tensor, "b 3 f h w"]:
        return self.autoencoder.decode(latents.to(self.autoencoder.dtype))[0].float()

    def _encode(self, video: Tensor) -> Float[Tensor, "b c l h w"]:
        return self.autoencoder.encode(video.to(self.autoencoder.dtype))[0].float()
