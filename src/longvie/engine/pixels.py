"""What passes from one clip to the next in LongVie 2: pictures, with the oddities that its weights have learnt."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.engine import conditioning, flow
from longvie.engine.light import Said
from longvie.engine.script import Direction, Script, Span
from longvie.engine.seam import Given, Ready, Seam
from longvie.engine.state import ClipState
from longvie.engine.stream import decoded
from longvie.errors import ScriptError
from longvie.media import to_bytes, to_unit
from longvie.models.models import Models
from longvie.models.transformer import ControlInput

TAIL = 8  # frames that LongVie 2 hands to the next clip
SEEN = 5  # of them, those that fill whole latent frames (1 + 4)


@dataclass(frozen=True)
class Quirks:
    """Oddities of a published method which its weights have learnt (reference §3, §8).

    Attributes:
        truncated: frames become 8 bits by truncation, and the next clip starts from those.
        oldest_history: of the last 8 frames the oldest 5 are read, not the newest.
        blended: a later clip's first latent frame starts at 2/27 of the last history latent.
        rounded_times: the network is told noise levels in bfloat16; the steps keep the exact ones.
        rough_latents: latents stay in the network's own number type between steps.
    """

    truncated: bool = False
    oldest_history: bool = False
    blended: bool = False
    rounded_times: bool = False
    rough_latents: bool = False


NONE = Quirks()
LONGVIE_2 = Quirks(truncated=True, oldest_history=True, blended=True, rounded_times=True, rough_latents=True)


class PixelSeam(Seam):
    """LongVie 2: the last frame is the next clip's first picture, and its last 8 frames, encoded again, stand before it
    as history. Clips share that one frame; controls are encoded clip by clip.
    """

    def __init__(self, models: Models, quirks: Quirks) -> None:
        super().__init__(models)
        self.quirks = quirks
        self.rounding: Literal["nearest", "truncate"] = "truncate" if quirks.truncated else "nearest"

    def check(self, script: Script) -> None:
        """Whether the script begins with a picture.

        Raises:
            ScriptError: it does not.
        """
        if script.picture is None:
            raise ScriptError(f"{self.models.card.name} begins with a picture: give the first one")

    def start(self, noise: Float[Tensor, "1 c l h w"], span: Span, given: Given) -> Float[Tensor, "1 c k h w"]:
        """The shared noise, whose first latent frame is blended with the last history latent."""
        noise = noise[:, :, : len(span.groups(self.strides))]
        if given.history is None or not self.quirks.blended:
            return noise
        return flow.seam_start(noise, given.history[:, -noise.shape[1] :, -1].to(noise))

    def given(
        self,
        script: Script,
        span: Span,
        state: ClipState,
        heard: Said | None = None,  # noqa: ARG002 - these models copy no picture that could be of other words
        ready: Ready | None = None,  # noqa: ARG002 - nothing of a clip is known before the one before it is made
    ) -> tuple[Given, ClipState]:
        """What the transformer is told in this span; the state stays."""
        picture, history = script.picture, None
        if state.tail is not None:
            picture = state.tail[:, -1:]
            seen = state.tail[:, :SEEN] if self.quirks.oldest_history else state.tail[:, -SEEN:]
            history = conditioning.history_tokens_longvie(self.latents(seen[None]))
        if picture is None:
            raise ScriptError(f"{self.models.card.name} begins with a picture: give the first one")
        given = Given(
            condition=self._condition(script, span, picture),
            pictures=self._tokens(picture),
            history=history,
            controls=tuple(self._input(direction, strength, span) for direction, strength in self.on(script, span)),
            beats=self.beats(script, span),
        )
        return given, state

    def frames(
        self,
        latents: Float[Tensor, "1 c l h w"],
        span: Span,
        state: ClipState,
        given: Given,
    ) -> Iterator[tuple[Float[Tensor, "3 f H W"], ClipState | None]]:
        """New frames as they are decoded, without the one that the clip before has shown; at last, the state."""
        shown, tail = span.start, None
        for frames, _ in decoded(latents, self.models.autoencoder, None, f"clip {span.clip}", guides=given.guides):
            first, shown = shown, shown + frames.shape[1]
            tail = (frames if tail is None else torch.cat((tail, frames), dim=1))[:, -TAIL:]
            after = self._after(tail, span, state) if shown == span.stop else None
            new = frames[:, max(0, span.new - first) :]
            if new.shape[1]:
                yield new, after

    def _after(self, tail: Tensor, span: Span, state: ClipState) -> ClipState:
        if self.quirks.truncated:
            tail = to_unit(to_bytes(tail, rounding="truncate")).to(tail.device)
        return replace(state, clip=span.clip + 1, made=span.stop, tail=tail.clone())

    def _condition(
        self, script: Script, span: Span, picture: Float[Tensor, "3 1 H W"]
    ) -> Float[Tensor, "1 given l h w"]:
        """The first picture, and keyframes held for as long as their latent frame lasts, in a video else grey."""
        groups = span.groups(self.strides)
        video = conditioning.still(picture[None, :, 0], span.stop - span.start)
        known = conditioning.first_known(len(groups))
        for key in script.keyframes:
            if key.strength and key.frame in range(span.new, span.stop):
                at = next(number for number, group in enumerate(groups) if key.frame in group)
                held = slice(groups[at].start - span.start, groups[at].stop - span.start)
                video[:, :, held] = key.picture(script.size)[None].to(video)
                known[0, at] = key.strength
        return conditioning.given(self.latents(video), known)

    @torch.no_grad()
    def _tokens(self, picture: Float[Tensor, "3 1 H W"]) -> Float[Tensor, "1 n e"] | None:
        if self.models.pictures is None:
            return None
        return self.models.pictures.encode(picture[None, :, 0])

    def _input(self, direction: Direction, strength: Float[Tensor, "1 l"], span: Span) -> ControlInput:
        video = torch.cat(list(self.drawn(direction, span.start, span.stop)), dim=1)
        channels = conditioning.control_channels(self.latents, video[None])
        return ControlInput(direction.control.branch, channels, strength, self.kind(direction))
