"""What passes from one clip to the next: latent frames and states. (LongVie 2 passes pictures: `engine.pixels`.)"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from longvie.controls.carried import Carrying, Known
from longvie.controls.control import Carried, encode_span, filled, rendered_spans
from longvie.controls.familiar import Familiar
from longvie.controls.guides import CHANNELS, COUNT, guides
from longvie.controls.moved import Moved, remembered
from longvie.controls.paths import Paths, Way
from longvie.controls.sights import Sight, passed_on
from longvie.controls.signals import Signal
from longvie.engine import conditioning
from longvie.engine.ahead import Piece, give_way, piece
from longvie.engine.fading import Fading
from longvie.engine.light import Said, lights, lit, settled, shares, sight_lit
from longvie.engine.script import Direction, Script, Span, beats_of
from longvie.engine.state import ClipState
from longvie.engine.stream import AT_ONCE as DECODED
from longvie.engine.stream import BESIDE, Following, decoded
from longvie.errors import ConfigError, ScriptError
from longvie.models.autoencoder import AutoencoderState
from longvie.models.models import Models
from longvie.models.transformer import ControlInput

AT_ONCE = 16  # frames of a control that are drawn and encoded in one call


@dataclass(frozen=True)
class Given:
    """What the transformer is told beside the noisy latents, the noise level and the words, by its own argument names;
    and what the decoder is told.
    """

    condition: Float[Tensor, "1 given l h w"] | None = None
    pictures: Float[Tensor, "1 n e"] | None = None
    history: Float[Tensor, "1 channels k h w"] | None = None
    history_times: Float[Tensor, "1 k"] | None = None
    controls: tuple[ControlInput, ...] = ()
    beats: Float[Tensor, "1 l 4"] | None = None
    guides: Float[Tensor, "1 g f H W"] | None = None  # for the decoder
    known: Moved | None = None  # the picture that moves, at the last frame
    fading: Fading | None = None  # what was shown before, over the first frames

    def arguments(self, place: torch.device) -> dict[str, Any]:
        """For the transformer's call."""
        named = {name: getattr(self, name) for name in ("condition", "pictures", "history", "history_times", "beats")}
        controls = [control.to(place) for control in self.controls]
        return {name: None if it is None else it.to(place) for name, it in named.items()} | {"controls": controls}


class Seam:
    """What both ways share: how a picture and a control are read."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.strides = models.autoencoder.strides

    @torch.no_grad()
    def encode(
        self, video: Float[Tensor, "b 3 f H W"], state: Any = None
    ) -> tuple[Float[Tensor, "b c l h w"], AutoencoderState]:
        """The autoencoder's own, with its number type and device seen to."""
        autoencoder = self.models.autoencoder
        return autoencoder.encode(video.to(autoencoder.device, autoencoder.dtype), state)

    def latents(self, video: Float[Tensor, "b 3 f H W"]) -> Float[Tensor, "b c l h w"]:
        """Of a video that begins and ends here."""
        return self.encode(video)[0]

    def on(self, script: Script, span: Span) -> Iterator[tuple[Direction, Float[Tensor, "1 l"]]]:
        """The controls that count in a span, with their strength at each latent frame."""
        groups = span.groups(self.strides)
        for direction in script.controls:
            strength = torch.tensor([[direction.share(group) for group in groups]])
            if strength.any():
                yield direction, strength

    def drawn(self, direction: Direction, start: int, stop: int) -> Iterator[Float[Tensor, "3 f H W"]]:
        """A control's pictures, a few at a time; past the end of its signal the last one is held."""
        ends = min(stop, direction.signal.frames)
        picture = None
        if start < ends:
            for picture in rendered_spans(
                direction.control, direction.signal, direction.scale, start=start, stop=ends, step=AT_ONCE
            ):
                yield picture
        else:
            last = direction.signal.read(ends - 1, ends)
            picture = direction.control.render(last, direction.scale)
        if ends < stop and picture is not None:
            yield picture[:, -1:].expand(-1, stop - max(start, ends), -1, -1)

    def kind(self, direction: Direction) -> int | None:
        """Which of the model's learned kinds a dense control is."""
        kinds = self.models.card.dense_kinds
        return kinds.index(direction.control.name) if direction.control.branch == "dense" and kinds else None

    def check_pictures(self, script: Script, spans: Sequence[Span]) -> None:
        """Whether every latent frame is given one picture at most.

        Raises:
            ScriptError: one is given two.
        """
        for group in (group for span in spans for group in span.groups(self.strides)):
            inside = [key.frame for key in script.keyframes if key.frame in group]
            if len(inside) > 1 or (inside and 0 in group and script.picture is not None):
                raise ScriptError(f"two pictures are given for frames {group.start} to {group.stop - 1}: keep one")

    def beats(self, script: Script, span: Span) -> Float[Tensor, "1 l 4"] | None:
        return beats_of(script, span, self.strides)


@dataclass(frozen=True)
class Moving:
    """The last known picture over a span (from itself on, if it is the frame before), and where it is to be shown."""

    shown: Moved
    on: Bool[Tensor, "1 l"]
    latents: Float[Tensor, "1 c l h w"]
    sights: tuple[Sight, ...] | None = None  # for the next span, where this one changes them
    fading: Fading | None = None
    familiar: Familiar | None = None  # at the picture that moves next


@dataclass(frozen=True)
class Streamed:
    """A control in a span, whatever its strength: its latents, what its encoder remembers, pictures for the decoder."""

    signal: Signal
    latents: Float[Tensor, "1 c l h w"]
    state: AutoencoderState
    pictures: Float[Tensor, "3 f H W"] | None


@dataclass(frozen=True)
class Walk:
    """The way of the picture that moves, through a span and from the frame before it, whatever the picture is."""

    paths: Paths
    ways: Sequence[Way]
    disparity: Float[Tensor, "f h w"] | None
    begun: int  # the frame of the picture
    on: Bool[Tensor, "1 l"]


@dataclass(frozen=True)
class Ready:
    """What of a span is there before it begins: its controls, by their names, and the way of the picture that moves."""

    streams: Mapping[str, Streamed]
    walk: Walk | None = None


class LatentSeam(Seam):
    """Ours: the next clip sees the first latent frame of the video and the last few, clean, as tokens before its own;
    the decoder and the controls' encoders go on. Nothing but the picture that tracks move (`_carried`) is decoded and
    encoded again, so nothing else wears off.
    """

    rounding: Literal["nearest", "truncate"] = "nearest"
    at_once: int = DECODED  # latent frames that are decoded in one call

    def __init__(self, models: Models, recent: int, places: int) -> None:
        super().__init__(models)
        self.recent, self.places = recent, places
        if models.autoencoder.guides not in (0, COUNT):
            raise ConfigError(f"the decoder looks at {models.autoencoder.guides} channels of guides; there are {COUNT}")

    def check(self, script: Script) -> None:
        """Whether pictures can be given.

        Raises:
            ScriptError: the model has no channels for them.
        """
        config = self.models.transformer.config
        if config["in_channels"] == config["out_channels"] and (script.picture is not None or script.keyframes):
            raise ScriptError(f"{self.models.card.name} takes no pictures: leave the first picture and keyframes out")

    def start(
        self,
        noise: Float[Tensor, "1 c l h w"],
        span: Span,
        given: Given,  # noqa: ARG002 - as the other seam's
    ) -> Float[Tensor, "1 c k h w"]:
        """The shared noise; a clip without a lone first frame takes that which stands at the same moments of it."""
        first = 0 if span.lone else 1
        return noise[:, :, first : first + len(span.groups(self.strides))]

    def ready(self, script: Script, span: Span, state: ClipState) -> Ready:
        """What of a span can be made before it begins; of the state it reads what the controls' encoders remember."""
        return Ready(self._all_streamed(script, span, state), self._walk(script, span, state))

    def foreseen(self, script: Script, span: Span, state: ClipState, ready: Ready) -> ClipState:
        """As much of the state after a span as `ready` reads: what is made in it does not matter for that."""
        walk, picture = ready.walk, script.picture if span.lone else state.tail
        moves = picture is not None and walk is not None and walk.ways and walk.paths.disparity is not None
        familiar = Familiar(walk.paths.things, {}) if moves and walk is not None else None
        controls = {name: made.state for name, made in ready.streams.items()}
        return replace(state, controls=controls, familiar=familiar)

    def _all_streamed(self, script: Script, span: Span, state: ClipState) -> dict[str, Streamed]:
        return {direction.name: self._streamed(direction, span, state) for direction, _ in self.on(script, span)}

    def _controls(
        self, script: Script, span: Span, state: ClipState, ready: Ready | None
    ) -> tuple[tuple[ControlInput, ...], dict[str, AutoencoderState], dict[str, Tensor]]:
        """The controls of a span as the network takes them, what their encoders remember, and pictures for the decoder;
        made now as far as they are not ready.
        """
        inputs, states, drawn = [], {}, dict[str, Tensor]()
        for direction, strength in self.on(script, span):
            name, made = direction.control.name, None if ready is None else ready.streams.get(direction.name)
            if made is None or made.signal is not direction.signal:
                made = self._streamed(direction, span, state)
            channels = conditioning.widened(made.latents, self.models.transformer.config["in_channels"])
            kind, states[direction.name] = self.kind(direction), made.state
            inputs.append(ControlInput(direction.control.branch, channels, strength, kind, name=direction.name))
            if made.pictures is not None and name in CHANNELS and name not in drawn:
                drawn[name] = made.pictures * self._per_frame(strength, span)
        return tuple(inputs), states, drawn

    def given(
        self,
        script: Script,
        span: Span,
        state: ClipState,
        heard: Said | None = None,
        ready: Ready | None = None,
    ) -> tuple[Given, ClipState]:
        """What the transformer is told in this span, and the state with the controls' encoders moved on; where other
        words are `heard`, with a turn to them. Some of it may be `ready`.
        """
        models = self.models
        inputs, states, drawn = self._controls(script, span, state, ready)
        history = self._history(state)
        times = None if history is None else history.new_zeros(1, history.shape[2], dtype=torch.float32)
        state = self._turned(script, span, state, heard) if heard is not None and heard.other else state
        moved = self._moved(script, span, state, ready, heard) if models.card.holds == "moved" else None
        condition, moves = self._condition(script, span, state, moved)
        given = Given(
            condition=condition,
            history=history,
            history_times=times,
            controls=inputs,
            beats=self.beats(script, span),
            guides=self._guides(script, span, moved, moves, drawn) if models.autoencoder.guides else None,
            known=moved.shown.part(slice(-1, None)) if moved is not None and bool(moves[-1]) else None,
            fading=None if moved is None or not bool(moves[0]) else moved.fading,
        )
        sights, familiar = ((), None) if moved is None else (moved.sights, moved.familiar)
        after = {"sights": state.sights if sights is None else sights, "familiar": familiar}
        return given, replace(state, controls=states, **after)

    def frames(
        self,
        latents: Float[Tensor, "1 c l h w"],
        span: Span,
        state: ClipState,
        given: Given,
    ) -> Iterator[tuple[Float[Tensor, "3 f H W"], ClipState | None]]:
        """New frames as they are decoded; with the last ones, the state for the next clip."""
        shown, tail, last = span.start, state.tail, state.last
        where, autoencoder = f"clip {span.clip}", self.models.autoencoder
        pieces = decoded(latents, autoencoder, state.decoder, where, guides=given.guides, at_once=self.at_once)
        for made, decoder in pieces:
            frames = made if given.fading is None else given.fading.over(made, shown - span.start)
            shown += frames.shape[1]
            if self.models.card.holds == "moved" and frames.shape[1]:
                tail, last = made[:, -1:].clone(), frames[:, -1:].clone()
                if shown == span.stop and given.known is not None:
                    picture, kept = given.known.pictures[:, -1].to(tail), given.known.kept[:, -1].to(tail.device)
                    tail = remembered(tail[:, 0], picture, kept)[:, None]
            after = replace(state, tail=tail, last=last)
            yield frames, self._after(latents, span, after, decoder) if shown == span.stop else None

    def _after(self, latents: Tensor, span: Span, state: ClipState, decoder: AutoencoderState) -> ClipState:
        anchor = latents[:, :, :1].clone() if state.anchor is None else state.anchor
        kept = min(max(1, self.recent), latents.shape[2])  # one at least: it is held where nothing else is given
        recent = latents[:, :, latents.shape[2] - kept :].clone()
        return replace(state, clip=span.clip + 1, made=span.stop, anchor=anchor, recent=recent, decoder=decoder)

    def _history(self, state: ClipState) -> Float[Tensor, "1 channels k h w"] | None:
        if state.anchor is None or state.recent is None:
            return None
        config = self.models.transformer.config
        seen = state.recent[:, :, max(0, state.recent.shape[2] - self.recent) :]
        latents = torch.cat((state.anchor, seen), dim=2)
        return latents if config["in_channels"] == latents.shape[1] else conditioning.history_tokens(latents)

    def _condition(
        self, script: Script, span: Span, state: ClipState, moved: Moving | None
    ) -> tuple[Float[Tensor, "1 given l h w"] | None, Bool[Tensor, " l"]]:
        """First picture and keyframes, each encoded alone, at the latent frames that hold them. A weak keyframe's mask
        and latents are both that much weaker, as in training. Other latent frames hold what was known last, if the
        model was trained so. And the latent frames in which that is the moved picture.
        """
        config = self.models.transformer.config
        groups = span.groups(self.strides)
        if config["in_channels"] == config["out_channels"]:
            return None, torch.zeros(len(groups), dtype=torch.bool)
        wanted = [
            (key.frame, key.picture(script.size), key.strength)
            for key in script.keyframes
            if key.frame in range(span.start, span.stop)
        ]
        if script.picture is not None and span.start == 0:
            wanted.append((0, script.picture, 1.0))
        height, width = (side // self.strides.space for side in script.size)
        latents = torch.zeros(1, config["out_channels"], len(groups), height, width)
        known = torch.zeros(1, len(groups))
        for frame, picture, strength in wanted:
            at = next(number for number, group in enumerate(groups) if frame in group)
            latents[:, :, at] = strength * self.latents(picture[None])[:, :, 0].to(latents)
            known[0, at] = strength
        condition = conditioning.given(latents, known)
        holds, before = self.models.card.holds, None if state.recent is None else state.recent[:, :, -1]
        if holds == "nothing":
            return condition, torch.zeros(len(groups), dtype=torch.bool)
        if moved is None:
            return conditioning.held(condition, before), torch.zeros(len(groups), dtype=torch.bool)
        seen = moved.shown.shares(self.strides.time, self.strides.space)[None, :, int(not span.lone) :]
        told = conditioning.held(condition, before, moved.latents, moved.on, seen)
        known[0, :1] *= not span.lone  # the first picture is the one that moves; a keyframe takes its place
        return told, moved.on[0] & (known[0].cumsum(0) == 0)

    def _moved(
        self, script: Script, span: Span, state: ClipState, ready: Ready | None, heard: Said | None
    ) -> Moving | None:
        """The last known picture moved along the first tracks that are on, with the help of a depth that is on all the
        time; and where they are on.
        """
        picture = script.picture if span.lone else state.tail
        walk = self._walk(script, span, state) if ready is None else ready.walk
        if picture is None or walk is None:
            return None
        still, near = picture[:, 0].float().cpu(), None if walk.disparity is None else walk.disparity[0]
        words = settled(state.turns, heard, walk.begun)
        known = Familiar.beginning(state.familiar, still, walk.paths, near, words)
        carrying = Carrying(still, walk.paths, state.sights, familiar=known)
        by = lights(self.models.repainter, state.turns, walk.begun, near)
        for light in by:
            carrying.light(light)
        passed = piece(partial(self._passed_on, carrying, walk.disparity, state, walk.begun, span.stop - 1))
        parts, stream, at, off = list[Moved](), Carried(), walk.begun, None
        with Following(self.models.autoencoder, self.models.autoencoder.encode, None) as calls:
            for moved in _parts(carrying, walk.ways, span.stop - walk.begun):
                at += moved.pictures.shape[1]
                near = None if walk.disparity is None else walk.disparity[: at - walk.begun][-1]
                shown, off = lit(moved, by, at - moved.pictures.shape[1], near, off)
                parts.append(shown)
                stream = self._encoded(calls, parts[-1].pictures, stream)
            latents, _ = _taken(calls, None)
        last = None if span.lone else state.last
        fading = None if last is None else Fading.of(last[:, 0].float().cpu(), walk.ways)
        familiar = carrying.familiar(shares(by, span.stop - 1)) if walk.ways else None
        new = latents[:, :, int(not span.lone) :]
        return Moving(Moved.joined(parts), walk.on, new, passed.result(), fading, familiar)

    def _passed_on(
        self, carrying: Carrying, disparity: Float[Tensor, "f h w"] | None, state: ClipState, picked: int, last: int
    ) -> tuple[Sight, ...]:
        """What has been seen by a frame at which another picture begins to move, the one of before among it; nothing
        where nobody can tell how the scene has passed.

        Args:
            disparity: of the frames from `picked` on, of which the picture is.
        """
        back = carrying.paths.back
        if not self.places or disparity is None or back is None or last - picked >= len(back):
            return ()
        latest = Sight.of(carrying.picture[:3], disparity[0], picked)
        sights = passed_on(state.sights, latest, back[last - picked], self.places)
        return tuple(sight_lit(self.models.repainter, sight, state.turns, last) for sight in sights)

    def _walk(self, script: Script, span: Span, state: ClipState) -> Walk | None:
        """The way along the first tracks that are on."""
        paths = [(d, on) for d, on in self.on(script, span) if d.signal.report.content == "points"]
        if not paths or self.models.card.holds != "moved":
            return None
        (direction, strength), known = paths[0], span.start if span.lone else span.start - 1
        last = max(known + 1, min(span.stop, direction.signal.frames))
        if known >= direction.signal.frames:
            return None
        points = direction.signal.read(known, last)
        places, seen = torch.from_numpy(points.points), torch.from_numpy(points.shown())
        disparity = self._disparity(script, span, known, last)
        way = Paths(places, seen, script.size, disparity, None if state.familiar is None else state.familiar.things)
        ways = list[Way]()
        for taken in way.take(way.frames):
            ways.append(taken)
            give_way()
        return Walk(way, ways, disparity, known, strength > 0)

    def _turned(self, script: Script, span: Span, state: ClipState, heard: Said) -> ClipState:
        """With one more turn to other words on its way; those that are over are forgotten."""
        picture, picked = self._source(span, state)
        if picture is None:
            return state
        turn = heard.turn(self.models, picture, self._disparity(script, span, picked, picked + 1), span.new)
        under_way = tuple(it for it in state.turns if not it.over(picked))
        return replace(state, turns=(*under_way, turn))

    def _source(self, span: Span, state: ClipState) -> tuple[Float[Tensor, "3 1 h w"] | None, int]:
        """The picture that moves, and the frame of the video that it is."""
        return state.tail, span.start - 1

    def _guides(
        self, script: Script, span: Span, moved: Moving | None, moves: Bool[Tensor, " l"], drawn: dict[str, Tensor]
    ) -> Float[Tensor, "1 g f H W"]:
        """What the decoder may look at, frame by frame."""
        known = None
        if moved is not None:
            on, first = self._per_frame(moves[None], span), int(not span.lone)
            shown = moved.shown
            known = Moved(shown.pictures[:, first:] * on, shown.seen[:, first:] & on)
        made = guides(span.stop - span.start, script.size, known, drawn)
        return made[None].to(self.models.autoencoder.dtype)

    def _per_frame(self, values: Shaped[Tensor, "1 l"], span: Span) -> Shaped[Tensor, "f 1 1"]:
        """Of each latent frame, said for each of its frames."""
        counts = torch.tensor([len(group) for group in span.groups(self.strides)])
        return values[0].repeat_interleave(counts)[:, None, None]

    def _disparity(self, script: Script, span: Span, known: int, last: int) -> Float[Tensor, "f h w"] | None:
        """From the last known picture on, of the first depth that is on in the whole span and long enough."""
        for direction, strength in self.on(script, span):
            if direction.control.name != "depth" or not bool(strength.all()) or direction.signal.frames < last:
                continue
            read = direction.signal.read(known, last)
            values = torch.from_numpy(read).float()
            return values if read.ndim == 3 else 1 - values.mean(-1) / 255  # drawn: near is dark
        return None

    def _streamed(self, direction: Direction, span: Span, state: ClipState) -> Streamed:
        """A control in a span, encoded as one stream with the spans before; one that is only now switched on begins
        with the frame before the span, so that its latent frames stand for the same frames as the video's. Its pictures
        are kept if the decoder will look at them.
        """
        carried = Carried(state.controls.get(direction.name), direction.name in state.controls)
        if not carried.begun and not span.lone:
            (before,) = self.drawn(direction, span.start - 1, span.start)
            _, carried = encode_span(before, self.encode, carried, stride=self.strides.time)
        kept = list[Tensor]()
        with Following(self.models.autoencoder, self.models.autoencoder.encode, carried.state) as calls:
            for pictures in self.drawn(direction, span.start, span.stop):
                kept += [pictures] if self.models.autoencoder.guides else []
                carried = self._encoded(calls, pictures, carried)
            latents, after = _taken(calls, carried.state)
        pictures = torch.cat(kept, dim=1) if kept else None
        return Streamed(direction.signal, latents, after, pictures)

    def _encoded(self, calls: Following, pictures: Float[Tensor, "3 f H W"], stream: Carried) -> Carried:
        """The next pictures of a stream, on their way to latents as far as they fill latent frames."""
        video, stream = filled(pictures, stream, stride=self.strides.time)
        if video is not None:
            calls.add(video[None].to(self.models.autoencoder.device, self.models.autoencoder.dtype))
        return stream


def _parts(carrying: Carrying, ways: Sequence[Way], frames: int) -> Iterator[Moved]:
    """A picture moved over so many frames, a few at a time; past the end of its way the last one is held."""
    count, last = 0, None
    for last in _along(carrying, ways) if ways else [carrying.along(())]:
        count += last.pictures.shape[1]
        yield last
    if last is not None and count < frames:
        own = last.pictures.shape[1]
        yield last.longer(own + frames - count).part(slice(own, None))


def _along(carrying: Carrying, ways: Sequence[Way]) -> Iterator[Moved]:
    """The parts of a way; what is known of them is looked up ahead, where somebody has time."""
    known, coming = deque[Piece[Known]](), iter(ways)
    for way in ways:
        while len(known) < BESIDE and (later := next(coming, None)) is not None:
            known.append(piece(partial(carrying.known, later), own=later is way))
        yield carrying.filled(way, known.popleft().result())


def _taken(calls: Following, state: Any) -> tuple[Float[Tensor, "1 c l h w"], Any]:
    """All latents of a stream, and its encoder's state after them."""
    found = list[Tensor]()
    while len(calls):
        latents, state = calls.take()
        found.append(latents)
    return torch.cat(found, dim=2), state
