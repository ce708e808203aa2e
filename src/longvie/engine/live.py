"""LiveEngine: a few latent frames at a time, in a few steps, from what is kept of those before (LongLive).

Words and controls may change at every block. What was shown is never made again; frames leave while later ones are
made, and memory does not grow with length.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from longvie import runtime
from longvie.engine import flow
from longvie.engine.ahead import Ahead, ahead
from longvie.engine.blocks import BlockSeam, LiveState
from longvie.engine.clip import OnProgress, Words, mixed, options_of, renoised
from longvie.engine.light import Said
from longvie.engine.memory import Window
from longvie.engine.pasts import Pasts
from longvie.engine.script import Script, Span
from longvie.engine.seam import Given, Ready
from longvie.engine.session import Steering
from longvie.engine.state import ClipState
from longvie.engine.stream import Chunk, Progress, finite
from longvie.errors import ConfigError, ControlError, ScriptError
from longvie.models.models import Card, Models
from longvie.models.transformer import ControlInput, Reading, VideoTransformer
from longvie.shapes import Strides, fit_frames

PART = 7  # blocks between two states that can be saved: five seconds and a quarter

Witness = Callable[[Span, Given, flow.Latents], None]
"""Is told of a block when it is made: its frames, what the network was given of them, its latents."""


@dataclass(frozen=True)
class LiveConfig:
    """How blocks are made. `LiveConfig.of(card)` is what the weights were made for.

    Attributes:
        steps, shift: of the sampler.
        sampling: "deterministic" follows Euler's steps, "stochastic" puts fresh noise on each step's clean guess, as
            LongLive does.
        block: latent frames made at once; of these the video's first stands for one frame.
        sink, recent: latent frames that are kept, the first and the last ones.
        far, every: key frames that are kept of those between, and one in how many latent frames is one.
        positions: within the memory ("relative", without limit of length) or within the video.
        on_words: when the words change, the memory is made anew under the new ones ("recache"), kept, or emptied but
            for its sink ("clear").
        renews: blocks after which the picture that tracks move is taken anew from the video.
        places: pictures of places seen before, in which what comes back is looked for; 0 is none.

    Raises:
        ConfigError: a number out of range, or a word that is not one of the choices.
    """

    steps: int = 4
    shift: int | float = 5.0
    sampling: Literal["deterministic", "stochastic"] = "stochastic"
    block: int = 3
    sink: int = 3
    recent: int = 6
    far: int = 0
    every: int = 18
    positions: Literal["relative", "absolute"] = "relative"
    on_words: Literal["recache", "keep", "clear"] = "recache"
    renews: int = 6
    places: int = 8

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("shift", 1e-3), ("block", 1), ("sink", 0), ("recent", 0), ("renews", 1),
                            ("far", 0), ("every", 1), ("places", 0)):  # fmt: skip
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ConfigError(f"{name} is {value}; use {least:g} or more")
        choices = {
            "sampling": ("deterministic", "stochastic"),
            "positions": ("relative", "absolute"),
            "on_words": ("recache", "keep", "clear"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; use {' or '.join(map(repr, known))}")
        for name in ("sink", "recent", "every"):
            if getattr(self, name) % self.block and (name != "every" or self.far):
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be a multiple of the block, {self.block}")

    @classmethod
    def of(cls, card: Card, **changes: Any) -> "LiveConfig":
        """What the weights were made for, with what the caller wants otherwise.

        Raises:
            ConfigError: an option that there is not, with the nearest that there is.
        """
        sampling = "deterministic" if card.predicts == "x0" else "stochastic"
        return cls(**options_of(cls, {"steps": card.steps, "shift": card.shift, "sampling": sampling}, changes))

    def spans(self, script: Script, strides: Strides) -> list[Span]:
        """The blocks of a script."""
        later = fit_frames(script.frames, strides) - self._short(strides)
        count = 1 + max(0, -(-later // (self.block * strides.time)))
        return [self.span(script, number, strides) for number in range(count)]

    def span(self, script: Script, number: int, strides: Strides) -> Span:
        """One of them."""
        length, short = self.block * strides.time, self._short(strides)
        start = 0 if number == 0 else short + (number - 1) * length
        stop = min(short + number * length, fit_frames(script.frames, strides))
        return Span(number, start, stop, number == 0, script.prompts.at(start / script.fps))

    def begins(self, frame: int, strides: Strides) -> bool:
        """Whether a block begins with this frame of a video."""
        short = self._short(strides)
        return frame == 0 or (frame >= short and (frame - short) % (self.block * strides.time) == 0)

    def _short(self, strides: Strides) -> int:
        """Frames of the first block: its first latent frame stands for one."""
        return (self.block - 1) * strides.time + 1


class LiveEngine:
    """Makes a script's video block by block.

    Holds models and settings only; what a video remembers is a `LiveState`, so one engine serves many videos.
    """

    def __init__(self, models: Models, config: LiveConfig | None = None) -> None:
        self.models = models
        self.config = config or LiveConfig.of(models.card)
        self.window = Window(self.config.sink, self.config.recent, self.config.far, self.config.every)
        self.seam = BlockSeam(models, self.config.renews * self.config.block, self.config.block, self.config.places)

    @property
    def transformer(self) -> VideoTransformer:
        """The causal one, if these models have one beside the other."""
        return self.models.live or self.models.transformer

    def facts(self) -> dict[str, Any]:
        """Its kind and settings, as JSON."""
        return {"kind": "live", **asdict(self.config)}

    def spans(self, script: Script) -> list[Span]:
        """The blocks of a script."""
        return self.config.spans(script, self.models.autoencoder.strides)

    def restore(self, path: Path) -> LiveState:
        """A state that was saved, on the device of these models."""
        return LiveState.restored(path, self.models.autoencoder, self.pasts())

    def pasts(self) -> Pasts:
        """Nothing remembered yet."""
        return Pasts(self.window, self.config.block, relative=self.config.positions == "relative")

    def check(self, script: Script, state: LiveState | None = None) -> None:
        """Whether these models can do what the script asks, and go on from this state with it; costs nothing.

        Raises:
            ScriptError, ControlError: see `run`.
        """
        if state is not None:
            self._check_state(script, state)
        card = self.models.card
        for direction in script.controls:
            name = direction.control.name
            if name not in card.controls:
                known = ", ".join(card.controls) or "none"
                raise ControlError(
                    f"{card.name} was not trained on {name!r}; it knows {known}", code="control_untrained"
                )
        if script.beats is not None and self.transformer.beat_embedding is None:
            raise ControlError(f"{card.name} does not hear beats: leave the audio out", code="control_untrained")
        self.seam.check(script)
        self.seam.check_pictures(script, self.spans(script))

    def _check_state(self, script: Script, state: LiveState) -> None:
        if state.seed != script.seed:
            raise ScriptError(f"the state belongs to seed {state.seed}, the script has {script.seed}: use its own")
        before = self.spans(script)[: state.clip]
        if len(before) < state.clip or (before and before[-1].stop != state.made):
            raise ScriptError(
                f"the state stands after frame {state.made - 1}, where no block of this script ends: use another"
            )

    def run(
        self,
        script: Script,
        state: LiveState | None = None,
        *,
        on_progress: OnProgress | None = None,
        steering: Steering | None = None,
        witness: Witness | None = None,
    ) -> Iterator[Chunk]:
        """The frames of a script in order, exactly as many as it asks for; those of one latent frame are a chunk. The
        last chunk of every few blocks, and the last of all, have a state.

        Args:
            state: that of an earlier chunk, to go on after it as if nothing had come between.
            on_progress: told after each step and each chunk; what it raises stops the run.
            steering: wishes that are heard when a block begins.
            witness: told of each block before its frames are decoded.

        Raises:
            ScriptError, ControlError: the script asks for what these models cannot do; before anything is computed.
            LongVieError: a tensor holds NaN or infinity; says in which block and at which step.
        """
        state = LiveState(script.seed, pasts=self.pasts()) if state is None else state.copy()
        self.check(script, state)
        told = on_progress or (lambda _progress: None)
        return self._run(script, state, told, steering or Steering(), witness or (lambda *_block: None))

    def _run(
        self, script: Script, state: LiveState, tell: OnProgress, steering: Steering, witness: Witness
    ) -> Iterator[Chunk]:
        words, count, strides = Words(self.models, self._place), len(self.spans(script)), self.seam.strides
        readings = Readings(self.transformer, words)
        with ahead() as beside:
            for number in range(state.clip, count):
                start = state.made
                script = steering.applied(script, number, start, self.check)
                span = self.config.span(script, number, strides)
                progress = Progress(number, count, 0, self.config.steps, span.new, script.frames)
                said, ready = readings(span.prompt), beside.take(_named(script, number))
                given, moved = self._given(beside, script, span, state, words, said, ready)
                state = replace(moved, heard=span.prompt) if isinstance(moved, LiveState) else state
                coming = self.config.span(script, number + 1, strides) if number + 1 < count else None
                if coming is not None:
                    self._begin(beside, script, coming, state)
                latents = self.sample(span, state, said, given, progress, tell)
                witness(span, given, latents)
                saves = number % PART == PART - 1 or number == count - 1
                keeping = beside.piece(partial(self.keep, span, state, said, given, latents))
                for frames, after in self.seam.frames(latents, span, state, given):
                    if isinstance(after, LiveState):  # the block's last frames; all but them have been seen
                        state = after
                        keeping.result()
                    wanted, saved = frames[:, : script.frames - start], saves and after is not None
                    yield Chunk(start, script.fps, wanted, state.copy() if saved else None, self.seam.rounding)
                    start += frames.shape[1]
                    tell(replace(progress, step=self.config.steps, frames=min(start, script.frames)))

    def _begin(self, beside: Ahead[Ready], script: Script, span: Span, state: LiveState) -> None:
        """What the next block needs, beside this one."""
        beside.begin(_named(script, span.clip), lambda: self.seam.ready(script, span, state))

    def _given(
        self,
        beside: Ahead[Ready],
        script: Script,
        span: Span,
        state: LiveState,
        words: Words,
        said: Reading,
        ready: Ready | None,
    ) -> tuple[Given, ClipState]:
        """What the network is told; under other words, while the memory is made anew."""
        heard = Said.of(self.models, words, state.heard or span.prompt, span.prompt)
        if state.heard in ("", span.prompt):
            return self.seam.given(script, span, state, heard, ready)
        work = partial(self.seam.given, script, span, state, heard, ready)
        return beside.beside(work, partial(self.hear, state, said))

    @property
    def _place(self) -> torch.device:
        return self.transformer.patch_embedding.weight.device

    # --- one block ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        span: Span,
        state: LiveState,
        said: Reading,
        given: Given,
        progress: Progress,
        tell: OnProgress,
    ) -> flow.Latents:
        """Clean latents of a block. Its noise depends on the seed and its number alone."""
        noise = self.noise(span, state.seed)
        arguments, own = given.arguments(self._place), self.transformer.patch_embedding.weight.dtype
        past = self._began(span, state, arguments["controls"])
        x0, step = self.models.card.predicts == "x0", 0

        def predict(x: flow.Latents, t: Float[Tensor, ""]) -> flow.Latents:
            nonlocal step
            out = self.transformer(x.to(own), t.to(self._place).expand(1), said, **arguments, **past)
            step += 1
            finite(out, "predicted latents", f"block {span.clip}, step {step} of {self.config.steps}")
            tell(replace(progress, step=step))
            return out.to(x.dtype)

        def clean(x: flow.Latents, t: Float[Tensor, ""]) -> flow.Latents:
            return predict(x, t) if x0 else flow.x0_from_velocity(predict(x, t), x, t)

        def velocity(x: flow.Latents, t: Float[Tensor, ""]) -> flow.Latents:
            return flow.velocity_from_x0(predict(x, t), x, t) if x0 else predict(x, t)

        levels = flow.times(self.config.steps, self.config.shift)
        if self.config.sampling == "deterministic":
            return flow.euler(velocity, noise, levels)

        def fresh(like: flow.Latents, step: int) -> flow.Latents:
            drawn = runtime.noise(tuple(like.shape), runtime.generator(mixed(state.seed, span.clip, step + 1)))
            return drawn.to(like)

        return renoised(clean, noise, levels, fresh)

    def noise(self, span: Span, seed: int) -> flow.Latents:
        """Where a block begins."""
        height, width = self.seam.cells
        shape = (1, self.models.autoencoder.latent_channels, len(span.groups(self.seam.strides)), height, width)
        return runtime.noise(shape, runtime.generator(mixed(seed, span.clip, 0))).to(self._place)

    @torch.no_grad()
    def keep(self, span: Span, state: LiveState, said: Reading, given: Given, latents: flow.Latents) -> None:
        """One more pass at time 0, whose keys and values are what later blocks see of this one."""
        known = self.seam.known(latents)
        asked = replace(given, condition=known)
        arguments = asked.arguments(self._place)
        past = self._began(span, state, arguments["controls"])
        own = self.transformer.patch_embedding.weight.dtype
        self.transformer(latents.to(own), torch.zeros(1, device=self._place), said, **arguments, **past)
        state.pasts.end(span.clip, latents, given.controls, given.beats)

    def hear(self, state: LiveState, said: Reading) -> None:
        """The words have changed: what is remembered is made anew under them, kept, or forgotten."""
        if self.config.on_words == "clear":
            state.pasts.forget()
        if self.config.on_words != "recache":
            return
        own = self.transformer.patch_embedding.weight.dtype
        kept = state.pasts.kept
        state.pasts.forget_all()
        for block in kept:
            asked = Given(condition=self.seam.known(block.latents), controls=block.controls, beats=block.beats)
            arguments = asked.arguments(self._place)
            past = self._asked(block.number, block.latents.shape[2], state, arguments["controls"])
            with torch.no_grad():
                zero = torch.zeros(1, device=self._place)
                self.transformer(block.latents.to(self._place, own), zero, said, **arguments, **past)
            state.pasts.end(block.number, block.latents, block.controls, block.beats)

    def _began(self, span: Span, state: LiveState, controls: list[ControlInput]) -> dict[str, Any]:
        return self._asked(span.clip, len(span.groups(self.seam.strides)), state, controls)

    def _asked(self, number: int, count: int, state: LiveState, controls: list[ControlInput]) -> dict[str, Any]:
        """The pasts of trunk and branches, with room for a block, as the transformer takes them."""
        first = number * self.config.block
        return state.pasts.begin(self.transformer, self.seam.cells, range(first, first + count), controls)


class Readings:
    """Words as every layer reads them: their keys and values, made once while the words are the same."""

    def __init__(self, transformer: VideoTransformer, words: Words) -> None:
        self._transformer, self._words = transformer, words
        self._last: tuple[str, Reading] | None = None

    @torch.no_grad()
    def __call__(self, prompt: str) -> Reading:
        if self._last is None or self._last[0] != prompt:
            self._last = prompt, self._transformer.read(self._words(prompt))
        return self._last[1]


def _named(script: Script, number: int) -> tuple[int, ...]:
    """A block, by its number and the signals that it follows; words and strengths may still change."""
    return number, *(id(direction.signal) for direction in script.controls)
