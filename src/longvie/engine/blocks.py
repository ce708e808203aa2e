"""From one block of a live video to the next: memories (`engine.pasts`), states, and the picture that moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from longvie.controls.carried import Carrying, Walked
from longvie.controls.control import Carried, encode_span
from longvie.controls.familiar import Familiar
from longvie.controls.moved import Moved
from longvie.controls.paths import Paths
from longvie.controls.sights import Sight
from longvie.controls.signals import Signal
from longvie.engine import conditioning
from longvie.engine.ahead import piece
from longvie.engine.fading import Fading
from longvie.engine.light import NextLight, Said, Turn, lights, lit, settled, shares
from longvie.engine.memory import Window
from longvie.engine.pasts import Pasts
from longvie.engine.script import Direction, Script, Span
from longvie.engine.seam import Given, LatentSeam, Moving, Ready
from longvie.engine.state import ClipState, opened
from longvie.models.autoencoder import Autoencoder
from longvie.models.models import Models

RENEWED = ("picked", "follows", "sights", "familiar")  # of a state, where another picture begins to move


@dataclass(frozen=True)
class OnScreen:
    """The known picture over a block, in the light of its frames.

    Attributes:
        start: first frame of the block.
        turns: of the light, that were known.
        off: how its last frame is off what the lights tell (`light.lit`).
        stream: the encoder after it.
    """

    start: int
    turns: tuple[Turn, ...]
    shown: Moved
    off: Float[Tensor, "3 H W"] | None
    latents: Float[Tensor, "1 c l h w"]
    stream: Carried


@dataclass
class Moves:
    """The known picture on its way, at a frame: what moves it, the lights in which it does beside the first, and the
    encoder that has seen it so far. Not saved: it follows from the picture, the frame it was taken at, and the script.
    """

    carrying: Carrying
    stream: Carried
    at: int  # the last frame of the video that was taken
    by: tuple[NextLight, ...] = ()
    off: Float[Tensor, "3 H W"] | None = None
    coming: OnScreen | None = None  # the block after it, if it has been moved already
    fading: Fading | None = None  # the last frame that was shown before it, over the first block that it is shown in

    def copy(self) -> "Moves":
        """The same, which goes its own way from here on."""
        return replace(self, carrying=self.carrying.copy())


@dataclass(frozen=True)
class Renewal:
    """The way of a picture that is about to be taken, from the frame `picked` on.

    Attributes:
        sights, familiar: what has been seen until then.
        walked: that frame, if it is not the first of the block, and the block.
    """

    picked: int
    follows: str
    sights: tuple[Sight, ...]
    familiar: Familiar | None = None
    paths: Paths | None = None  # none where the tracks have ended
    walked: tuple[Walked, ...] = ()


@dataclass(frozen=True)
class LiveReady(Ready):
    """What of a block is there before it begins: also the picture on its way, moved on by `movers`; or, where another
    one begins to move with this block, its way.
    """

    state: "LiveState | None" = None
    renewal: Renewal | None = None
    movers: tuple[Signal | None, ...] = ()


@dataclass(frozen=True)
class LiveState(ClipState):
    """All that is needed to make block number `clip` of a video as if those before had just been made.

    Attributes:
        pasts: keys and values; changed in place while a block is made, so whoever keeps a state keeps a `copy`.
        heard: the words under which they were made.
        known, picked: the picture that moves, and the frame of the video that it is.
        follows: names of the controls that move it.
    """

    pasts: Pasts = field(default_factory=lambda: Pasts(Window(), 3, relative=True))
    heard: str = ""
    known: Float[Tensor, "3 1 H W"] | None = None
    picked: int = -1
    follows: str = ""
    moves: Moves | None = field(default=None, compare=False, repr=False)

    def copy(self) -> "LiveState":
        """The same, which goes its own way from here on."""
        return replace(self, pasts=self.pasts.copy(), moves=None)

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds of it."""
        known = {} if self.known is None else {"known": self.known}
        return super().tensors() | self.pasts.tensors() | known

    def facts(self) -> dict[str, Any]:
        """What a file's header says of it."""
        said = {"heard": self.heard, "picked": self.picked, "follows": self.follows}
        return super().facts() | self.pasts.facts() | said

    @classmethod
    def restored(cls, path: Path, autoencoder: Autoencoder[Any], pasts: Pasts) -> "LiveState":
        """The state that `save` wrote.

        Raises:
            InputError: not such a state, or one of a newer version.
        """
        with opened(path, autoencoder.device) as (facts, tensors):
            pasts.restore(facts, tensors)
            said = {"heard": str(facts["heard"]), "picked": int(facts["picked"]), "follows": str(facts["follows"])}
            plain = cls.fields_of(facts, tensors, autoencoder)
            return cls(**plain, pasts=pasts, known=tensors.get("known"), **said)


class BlockSeam(LatentSeam):
    """The latent seam, block by block: no history tokens, as the past is remembered; and the picture that tracks move
    is taken anew now and then, not at every block. Frames are decoded one latent frame at a time: the first are seen
    while the others are made.
    """

    at_once = 1

    def __init__(self, models: Models, renews: int, block: int, places: int) -> None:
        super().__init__(models, recent=1, places=places)
        self.renews, self.block = renews, block  # latent frames
        height, width = models.card.size
        self.cells = height // self.strides.space, width // self.strides.space

    def known(self, latents: Float[Tensor, "1 c l h w"]) -> Float[Tensor, "1 given l h w"] | None:
        """The condition of a block that is made: it is what was given."""
        config = self.models.transformer.config
        if config["in_channels"] == config["out_channels"]:
            return None
        return conditioning.given(latents, torch.ones(1, latents.shape[2], device=latents.device))

    def given(
        self,
        script: Script,
        span: Span,
        state: ClipState,
        heard: Said | None = None,
        ready: Ready | None = None,
    ) -> tuple[Given, ClipState]:
        """What the transformer is told in this span, and the state with controls and known picture moved on."""
        assert isinstance(state, LiveState)
        known = ready if isinstance(ready, LiveReady) and _same(ready.movers, self._signals(script, span)) else None
        if known is not None and known.state is not None:
            kept = {name: getattr(known.state, name) for name in (*RENEWED, "known", "moves")}
            state = replace(state, **kept)
        else:
            state = self._ready(script, span, state, None if known is None else known.renewal, heard)
        return super().given(script, span, state, heard, ready)

    def ready(self, script: Script, span: Span, state: ClipState) -> LiveReady:
        """What of a block can be made while the one before it is: its controls, and the picture that moves, or the way
        of the next one. Changes nothing: if the block becomes another one, nothing has been done.
        """
        assert isinstance(state, LiveState)
        streams, movers = piece(partial(self._all_streamed, script, span, state)), self._signals(script, span)
        if state.made < span.start and self._renews(script, span, state):
            renewal = self._renewal(script, span, state)
            return LiveReady(streams.result(), renewal=renewal, movers=movers)
        moves = None if state.moves is None else state.moves.copy()
        state = self._ready(script, span, replace(state, moves=moves))
        if state.moves is not None:
            state.moves.coming = self._coming(state.moves, span, state)
        return LiveReady(streams.result(), state=state, movers=movers)

    def _source(self, span: Span, state: ClipState) -> tuple[Float[Tensor, "3 1 h w"] | None, int]:
        if isinstance(state, LiveState) and state.known is not None:
            return state.known, state.picked
        return super()._source(span, state)

    def _history(self, state: ClipState) -> None:  # noqa: ARG002 - as the other seam's
        return None

    def _renews(self, script: Script, span: Span, state: LiveState) -> bool:
        """Whether another picture begins to move: it is time for one, or other controls move it."""
        tracks, depth = self._movers(script, span)
        if tracks is None or self.models.card.holds != "moved":
            return False
        other = state.known is None or _follows(tracks, depth) != state.follows
        return span.lone or other or self._old(state, span.start - 1)

    def _renewal(self, script: Script, span: Span, state: LiveState) -> Renewal:
        """The way of the picture that begins to move."""
        tracks, depth = self._movers(script, span)
        assert tracks is not None
        follows, picked = _follows(tracks, depth), max(0, span.start - 1)
        goes_on = state.known is not None and follows == state.follows and not span.lone
        seen = piece(partial(self._seen_by, script, span, state, tracks)) if goes_on else None
        familiar = self._met_by(script, span, state, tracks) if goes_on else None
        paths, walked = None, ()
        if picked < tracks.signal.frames:
            paths = self._paths(script, span, picked, tracks, familiar)
            lengths = (1, span.stop - span.start) if picked else (span.stop - span.start,)
            walked = tuple(Walked.of(paths, frames) for frames in lengths)
        return Renewal(picked, follows, () if seen is None else seen.result(), familiar, paths, walked)

    def _old(self, state: LiveState, last: int) -> bool:
        """Whether the known picture has moved for long, or is still of words that have turned into others."""
        long = last - state.picked >= self.renews * self.strides.time
        return long or any(turn.over(last) and not turn.over(state.picked) for turn in state.turns)

    def _seen_by(self, script: Script, span: Span, state: LiveState, tracks: Direction) -> tuple[Sight, ...]:
        """What has been seen by the frame before a block, at which another picture begins to move."""
        if state.known is None or not self.places or state.picked >= tracks.signal.frames:
            return ()
        paths = self._paths(script, span, state.picked, tracks) if state.moves is None else state.moves.carrying.paths
        disparity = self._disparity(script, span, state.picked, state.picked + 1)
        carrying = Carrying(state.known[:, 0].float().cpu(), paths)
        return self._passed_on(carrying, disparity, state, state.picked, span.start - 1)

    def _met_by(self, script: Script, span: Span, state: LiveState, tracks: Direction) -> Familiar | None:
        """The things that have been met by the frame before a block, at which another picture begins to move."""
        if state.picked >= tracks.signal.frames:
            return None
        moves = state.moves
        if moves is None or moves.at != span.start - 1:
            moves = self._on_the_way(script, span, state, tracks, None)
        return moves.carrying.familiar(shares(moves.by, span.start - 1))

    def _ready(
        self,
        script: Script,
        span: Span,
        state: LiveState,
        renewal: Renewal | None = None,
        heard: Said | None = None,
    ) -> LiveState:
        """With a known picture on its way to here."""
        tracks, _ = self._movers(script, span)
        if tracks is None or self.models.card.holds != "moved":
            return state
        if renewal is None and self._renews(script, span, state):
            renewal = self._renewal(script, span, state)
        if renewal is not None:
            known = script.picture if span.lone else state.tail
            named = {name: getattr(renewal, name) for name in RENEWED}
            state = replace(state, known=known, moves=None, **named)
            state = replace(state, familiar=self._begun(script, span, state, renewal, heard))
        if state.known is None or state.picked >= tracks.signal.frames:
            return replace(state, moves=None)
        if state.moves is not None and state.moves.at == span.start - 1:
            return state
        return replace(state, moves=self._on_the_way(script, span, state, tracks, renewal))

    def _begun(
        self, script: Script, span: Span, state: LiveState, renewal: Renewal, heard: Said | None
    ) -> Familiar | None:
        """The things that are known as a picture begins to move, with those that it shows."""
        if state.known is None or renewal.paths is None:
            return state.familiar
        near = self._disparity(script, span, state.picked, state.picked + 1)
        words = settled(state.turns, heard, state.picked)
        still = state.known[:, 0].float().cpu()
        return Familiar.beginning(state.familiar, still, renewal.paths, None if near is None else near[0], words)

    def _movers(self, script: Script, span: Span) -> tuple[Direction | None, Direction | None]:
        """The first tracks that are on, and the first depth that is on all the time."""
        on = list(self.on(script, span))
        tracks = next((d for d, _ in on if d.signal.report.content == "points"), None)
        depth = next((d for d, strength in on if d.control.name == "depth" and bool(strength.all())), None)
        return tracks, depth

    def _moved(
        self,
        script: Script,
        span: Span,
        state: ClipState,
        ready: Ready | None,  # noqa: ARG002 - it is in the state already
        heard: Said | None,  # noqa: ARG002 - so are they
    ) -> Moving | None:
        """The known picture at the frames of a block, behind one frame that nobody looks at; and where it counts."""
        assert isinstance(state, LiveState)
        tracks, _ = self._movers(script, span)
        if tracks is None or state.moves is None:
            return None
        strength = next(strength for direction, strength in self.on(script, span) if direction is tracks)
        shown, latents = self._taken(state.moves, span, state)
        fading = state.moves.fading if state.picked == span.start - 1 else None
        return Moving(shown, strength > 0, latents, fading=fading, familiar=state.familiar)

    def _on_the_way(
        self, script: Script, span: Span, state: LiveState, tracks: Direction, renewal: Renewal | None
    ) -> Moves:
        """The known picture from where it was taken, brought to the frame before a block, in the same steps again."""
        assert state.known is not None
        walked = () if renewal is None else renewal.walked
        paths = None if renewal is None else renewal.paths
        paths = self._paths(script, span, state.picked, tracks, state.familiar) if paths is None else paths
        carrying = Carrying(state.known[:, 0].float().cpu(), paths, state.sights, walked, state.familiar)
        moves = Moves(carrying, Carried(), state.picked - 1)
        if state.last is not None and state.picked == span.start - 1:
            moves.fading = Fading.of(state.last[:, 0].float().cpu(), [way for part in walked for way in part.ways])
        if state.picked:  # the first picture of a video is the first frame of its first block
            _, moves.stream = encode_span(
                moves.carrying.take(1).pictures[:3], self.encode, moves.stream, stride=self.strides.time
            )
            moves.at = state.picked
        length = self.block * self.strides.time
        while moves.at < span.start - 1:
            start = moves.at + 1
            stop = start + (length if start else length - self.strides.time + 1)
            self._taken(moves, replace(span, start=start, stop=stop, lone=start == 0), state)
        return moves

    def _paths(
        self, script: Script, span: Span, picked: int, tracks: Direction, familiar: Familiar | None = None
    ) -> Paths:
        """The way from a picture until the next one is taken."""
        stop = picked + 1 + self.strides.time * (self.renews + self.block)
        points = tracks.signal.read(picked, min(stop, tracks.signal.frames))
        depth = self._disparity(script, span, picked, picked + len(points))
        things = None if familiar is None else familiar.things
        return Paths(torch.from_numpy(points.points), torch.from_numpy(points.shown()), script.size, depth, things)

    def _taken(self, moves: Moves, span: Span, state: LiveState) -> tuple[Moved, Float[Tensor, "1 c l h w"]]:
        """The frames of the next block in their light, and their latents."""
        block = moves.coming
        if block is None or block.start != span.start:
            block = self._coming(moves, span, state)
        elif not _same(block.turns, state.turns):
            self._lighten(moves, span, state)
            block = self._on_screen(moves.carrying.again(), moves, span, state)
        moves.stream, moves.off, moves.at, moves.coming = block.stream, block.off, span.stop - 1, None
        shown = block.shown if span.lone else Moved.joined([block.shown.part(slice(0, 1)).unseen(), block.shown])
        return shown, block.latents

    def _coming(self, moves: Moves, span: Span, state: LiveState) -> OnScreen:
        """The next block, moved; what moves it is then behind it, all else is as it was."""
        self._lighten(moves, span, state)
        return self._on_screen(moves.carrying.take(span.stop - span.start), moves, span, state)

    def _lighten(self, moves: Moves, span: Span, state: LiveState) -> None:
        """The picture moves also in the lights that it turns to from here on."""
        near = moves.carrying.paths.disparity
        known = lights(self.models.repainter, state.turns, state.picked, None if near is None else near[0])
        for light in known[len(moves.by) :]:
            if light.turn.start <= span.start:
                moves.carrying.light(light)
                moves.by = (*moves.by, light)

    def _on_screen(self, part: Moved, moves: Moves, span: Span, state: LiveState) -> OnScreen:
        """As many frames of it as there are paths for; it rests after their end."""
        count = span.stop - span.start
        moved = part.longer(count) if part.pictures.shape[1] else moves.carrying.resting(count)
        near = moves.carrying.paths.disparity
        last = None if near is None else near[: span.stop - state.picked][-1]
        shown, off = lit(moved, moves.by, span.start, last, moves.off)
        latents, stream = encode_span(shown.pictures, self.encode, moves.stream, stride=self.strides.time)
        assert latents is not None  # a block is of whole latent frames
        return OnScreen(span.start, state.turns, shown, off, latents, stream)

    def _signals(self, script: Script, span: Span) -> tuple[Signal | None, ...]:
        """What moves the picture."""
        return tuple(None if direction is None else direction.signal for direction in self._movers(script, span))


def _follows(tracks: Direction, depth: Direction | None) -> str:
    """Of which controls the moving picture follows."""
    return f"{tracks.name} {'' if depth is None else depth.name}"


def _same(one: Sequence[object], other: Sequence[object]) -> bool:
    """Whether they are the very same things."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))
