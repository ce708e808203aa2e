"""ClipEngine: clip after clip of 81 frames, one noise for all of them, each tied to what was before (LongVie 2)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from longvie import runtime
from longvie.engine import flow
from longvie.engine.ahead import Ahead, ahead
from longvie.engine.light import Said
from longvie.engine.pixels import LONGVIE_2, NONE, PixelSeam, Quirks
from longvie.engine.script import Script, Span
from longvie.engine.seam import Given, LatentSeam, Ready
from longvie.engine.state import ClipState
from longvie.engine.stream import Chunk, Progress, finite
from longvie.errors import ConfigError, ControlError, ScriptError
from longvie.models.models import Card, Models
from longvie.shapes import LatentShape, Strides, VideoShape

QUIRKS = {"": NONE, "longvie-2": LONGVIE_2}
KEPT = 4  # prompts whose embeddings are held
OnProgress = Callable[[Progress], None]
Predict = Callable[[flow.Latents, Float[Tensor, ""]], flow.Latents]


@dataclass(frozen=True)
class ClipConfig:
    """How clips are sampled and tied together. `ClipConfig.of(card)` is what the weights were made for.

    Attributes:
        steps, shift, guidance: of the sampler; guidance 1 is one call of the network a step, else two.
        sampling: "deterministic" follows Euler's steps, "stochastic" puts fresh noise on each step's clean guess.
        seam: "latent" carries latent frames and the decoder's state over (ours), "pixel" the last frames (LongVie).
        recent: last latent frames that the next clip sees, beside the very first one; of the latent seam.
        clip: latent frames that each clip adds.
        places: pictures of places seen before, in which what comes back is looked for; 0 is none; of the latent seam.
        noise: "shared" begins every clip with the same noise (LongVie's unified initialisation), "fresh" each with its
            own.
        quirks: published oddities that the weights were trained with.

    Raises:
        ConfigError: a number out of range, or a word that is not one of the choices.
    """

    steps: int = 4
    shift: int | float = 5.0
    guidance: int | float = 1.0
    sampling: Literal["deterministic", "stochastic"] = "deterministic"
    seam: Literal["latent", "pixel"] = "latent"
    recent: int = 4
    clip: int = 20
    places: int = 8
    noise: Literal["shared", "fresh"] = "shared"
    quirks: Quirks = NONE

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("shift", 1e-3), ("guidance", 0), ("recent", 0), ("clip", 1), ("places", 0)):
            value = getattr(self, name)
            if not least <= value < float("inf"):
                raise ConfigError(f"{name} is {value}; use {least:g} or more")
        for name, choices in (
            ("sampling", ("deterministic", "stochastic")),
            ("seam", ("latent", "pixel")),
            ("noise", ("shared", "fresh")),
        ):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; use {' or '.join(map(repr, choices))}")
        if self.recent > self.clip:
            raise ConfigError(f"recent is {self.recent}, but a clip has {self.clip} latent frames: use at most those")

    @classmethod
    def of(cls, card: Card, **changes: Any) -> "ClipConfig":
        """What the weights were made for, with what the caller wants otherwise.

        Raises:
            ConfigError: an option that there is not, with the nearest that there is.
        """
        made_for: dict[str, Any] = {
            "steps": card.steps,
            "shift": card.shift,
            "guidance": card.guidance,
            "clip": (card.frames - 1) // 4,
            "quirks": QUIRKS[card.quirks],
            "seam": "pixel" if card.quirks else "latent",
        }
        return cls(**options_of(cls, made_for, changes))

    def spans(self, script: Script, strides: Strides) -> list[Span]:
        """The clips of a script."""
        return script.spans(strides, clip=self.clip, shared=self.seam == "pixel")


class ClipEngine:
    """Makes a script's video, clip by clip, and gives frames while later ones are made.

    Holds models and settings only; what a video remembers is a `ClipState`, so one engine serves many videos.
    """

    def __init__(self, models: Models, config: ClipConfig | None = None) -> None:
        self.models = models
        self.config = config or ClipConfig.of(models.card)
        if self.config.seam == "pixel":
            self.seam: LatentSeam | PixelSeam = PixelSeam(models, self.config.quirks)
        else:
            self.seam = LatentSeam(models, self.config.recent, self.config.places)

    def spans(self, script: Script) -> list[Span]:
        """The clips of a script."""
        return self.config.spans(script, self.models.autoencoder.strides)

    def facts(self) -> dict[str, Any]:
        """Its kind and settings, as JSON."""
        return {"kind": "clip", **asdict(self.config)}

    def restore(self, path: Path) -> ClipState:
        """A state that was saved, on the device of these models."""
        return ClipState.load(path, self.models.autoencoder)

    def run(
        self, script: Script, state: ClipState | None = None, *, on_progress: OnProgress | None = None
    ) -> Iterator[Chunk]:
        """The frames of a script in order, exactly as many as it asks for. The last chunk of a clip has its state.

        Args:
            state: that of an earlier chunk, to go on after it as if nothing had come between.
            on_progress: told after each step and each chunk; what it raises stops the run.

        Raises:
            ScriptError, ControlError: the script asks for what these models cannot do; before anything is computed.
            LongVieError: a tensor holds NaN or infinity; says in which clip and at which step.
        """
        state = ClipState(script.seed) if state is None else state
        self.check(script, state)
        return self._run(script, self.spans(script), state, on_progress or _nothing)

    def _run(self, script: Script, spans: list[Span], state: ClipState, tell: OnProgress) -> Iterator[Chunk]:
        words = Words(self.models, self._place)
        with ahead(wanted=isinstance(self.seam, LatentSeam)) as beside:
            for span in spans[state.clip :]:
                progress = Progress(span.clip, len(spans), 0, self.config.steps, span.new, script.frames)
                noise = self.noise(script, span.clip if self.config.noise == "fresh" else 0)
                heard = self._said(spans, span, words)
                ready = self._ready(beside, script, spans[span.clip : span.clip + 2], state)
                given, state = self.seam.given(script, span, state, heard, ready)
                said = [words(span.prompt)] + ([words(script.negative)] if self.config.guidance != 1 else [])
                latents = self.sample(self.seam.start(noise, span, given), said, given, script.seed, progress, tell)
                for chunk in self._shown(latents, script, span, state, given):
                    state = chunk.state if isinstance(chunk.state, ClipState) else state
                    yield chunk
                    tell(replace(progress, step=self.config.steps, frames=chunk.stop))

    def _ready(self, beside: Ahead[Ready], script: Script, spans: list[Span], state: ClipState) -> Ready | None:
        """What of a clip can be made before it begins; the same for the clip after it is begun."""
        if not isinstance(self.seam, LatentSeam):
            return None
        span, *following = spans
        ready = beside.take(span) or self.seam.ready(script, span, state)
        for later in following:
            beside.begin(later, partial(self.seam.ready, script, later, self.seam.foreseen(script, span, state, ready)))
        return ready

    def _said(self, spans: list[Span], span: Span, words: "Words") -> Said | None:
        """The words of the clip before and of this one."""
        before = spans[span.clip - 1].prompt if span.clip else span.prompt
        return Said.of(self.models, words, before, span.prompt)

    def noise(self, script: Script, clip: int = 0) -> Float[Tensor, "1 c l h w"]:
        """The one noise of a video: for a first clip's latent frames, whatever the script's length. Later clips have
        another one only where that is asked for.
        """
        strides, channels = self.models.autoencoder.strides, self.models.autoencoder.latent_channels
        first = LatentShape(self.config.clip + 1, 0, 0).video(strides).frames
        shape = VideoShape(first, *script.size).latent(strides)
        seed = mixed(script.seed, clip, 0) if clip else script.seed
        drawn = runtime.noise((1, channels, shape.frames, shape.height, shape.width), runtime.generator(seed))
        return drawn.to(self._place)

    def check(self, script: Script, state: ClipState | None = None) -> None:
        """Whether these models can do what the script asks, and go on from this state with it; costs nothing.

        Raises:
            ScriptError, ControlError: see `run`.
        """
        if state is not None:
            self._check_state(script, state)
        card, transformer = self.models.card, self.models.transformer
        for direction in script.controls:
            if direction.control.name not in card.controls:
                known = ", ".join(card.controls) or "none"
                raise ControlError(
                    f"{card.name} was not trained on {direction.control.name!r}; it knows {known}",
                    code="control_untrained",
                )
        if script.beats is not None and transformer.beat_embedding is None:
            raise ControlError(f"{card.name} does not hear beats: leave the audio out", code="control_untrained")
        self.seam.check(script)
        self.seam.check_pictures(script, self.spans(script))

    def _check_state(self, script: Script, state: ClipState) -> None:
        """A state is of one seed, and stands where a clip of the script begins."""
        if state.seed != script.seed:
            raise ScriptError(f"the state belongs to seed {state.seed}, the script has {script.seed}: use its own")
        before = self.spans(script)[: state.clip]
        if len(before) < state.clip or (before and before[-1].stop != state.made):
            raise ScriptError(
                f"the state stands after frame {state.made - 1}, where no clip of this script ends: use another"
            )

    @property
    def _place(self) -> torch.device:
        return self.models.transformer.patch_embedding.weight.device

    @torch.no_grad()
    def sample(
        self,
        noise: flow.Latents,
        said: list[Float[Tensor, "1 n d"]],
        given: Given,
        seed: int,
        progress: Progress,
        tell: OnProgress,
    ) -> flow.Latents:
        """Clean latents of one clip."""
        transformer, config = self.models.transformer, self.config
        arguments, own = given.arguments(self._place), transformer.patch_embedding.weight.dtype
        pictures, branches = arguments.pop("pictures"), {control.branch for control in given.controls}
        read = [transformer.read(words, pictures, branches) for words in said]
        x0 = self.models.card.predicts == "x0"
        steps = count(1)

        def predict(x: flow.Latents, t: Float[Tensor, ""]) -> flow.Latents:
            told = (flow.rounded(t) if config.quirks.rounded_times else t).to(self._place).expand(1)
            outs = [transformer(x.to(own), told, words, **arguments) for words in read]
            out = outs[0] if len(outs) == 1 else flow.guided(outs[0], outs[1], config.guidance)
            now = replace(progress, step=next(steps))
            finite(out, "predicted latents", f"clip {progress.part}, step {now.step} of {config.steps}")
            tell(now)
            return out.to(x.dtype)

        def velocity(x: flow.Latents, t: Float[Tensor, ""]) -> flow.Latents:
            return flow.velocity_from_x0(predict(x, t), x, t) if x0 else predict(x, t)

        def clean(x: flow.Latents, t: Float[Tensor, ""]) -> flow.Latents:
            return predict(x, t) if x0 else flow.x0_from_velocity(predict(x, t), x, t)

        start = noise.to(own) if config.quirks.rough_latents else noise
        levels = flow.times(config.steps, config.shift)
        if config.sampling == "deterministic":
            return flow.euler(velocity, start, levels)
        return renoised(clean, start, levels, _fresh(seed, progress.part))

    def _shown(
        self, latents: flow.Latents, script: Script, span: Span, state: ClipState, given: Given
    ) -> Iterator[Chunk]:
        """Frames of one clip as they are decoded, without those past the end of the script."""
        at = span.new
        for frames, after in self.seam.frames(latents, span, state, given):
            wanted = frames[:, : script.frames - at]
            yield Chunk(at, script.fps, wanted, after, self.seam.rounding)
            at += frames.shape[1]


def renoised(
    clean: Predict, x: flow.Latents, times: Float[Tensor, " points"], fresh: Callable[[flow.Latents, int], flow.Latents]
) -> flow.Latents:
    """Guess the clean latents, put fresh noise of the next level on them, and so on (consistency sampling, arXiv
    2303.01469, algorithm 1).
    """
    for step, (now, then) in enumerate(pairwise(times)):
        guess = clean(x, now)
        x = guess if then == 0 else flow.noised(guess, fresh(guess, step), then.to(guess))
    return x


def _fresh(seed: int, clip: int) -> Callable[[flow.Latents, int], flow.Latents]:
    """Noise that depends on seed, clip and step alone, so that a run can be taken up anywhere."""

    def draw(like: flow.Latents, step: int) -> flow.Latents:
        return runtime.noise(tuple(like.shape), runtime.generator(mixed(seed, clip, step))).to(like)

    return draw


def mixed(*numbers: int) -> int:
    """One seed out of several numbers, unlike that of any others."""
    return int(np.random.SeedSequence(list(numbers)).generate_state(1, np.uint64)[0]) % runtime.SEEDS


def options_of(kind: type[Any], made_for: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an engine's settings: what weights were made for, with what the caller wants otherwise.

    Raises:
        ConfigError: an option that there is not, with the nearest that there is.
    """
    known = list(kind.__dataclass_fields__)
    for name in changes:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"no option 'engine.{name}'; {hint}")
    return {**made_for, **changes}


class Words:
    """Embeddings of what is said, each prompt encoded once while it lasts."""

    def __init__(self, models: Models, place: torch.device) -> None:
        self._models, self._place = models, place
        self._read: dict[str, Float[Tensor, "1 n d"]] = {}

    def __call__(self, prompt: str) -> Float[Tensor, "1 n d"]:
        if prompt not in self._read:
            if len(self._read) > KEPT:
                self._read.clear()
            self._read[prompt] = self._models.words.encode([prompt]).to(self._place)
        return self._read[prompt]


def _nothing(progress: Progress) -> None:
    """For those who do not want to know."""
