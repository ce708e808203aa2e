"""The last known picture, as it would look later: its parts moved with the tracks, the unknown filled in.

What was out of the picture or behind something (`controls.paths`) is not known; it is filled smoothly from what is
(`controls.filling`). A first guess for a network, not a picture.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from threading import Lock
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from longvie.controls.familiar import Familiar
from longvie.controls.filling import Remembered, fill, fill_things
from longvie.controls.looks import Look
from longvie.controls.moved import Moved, relit
from longvie.controls.paths import SKY, Paths, Way, sampled
from longvie.controls.portraits import Portrait, dressed, forgotten, looks, most_of
from longvie.controls.sights import Sight, found


def carry(
    picture: Float[Tensor, "3 h w"],
    points: Float[Tensor, "f n 2"],
    seen: Bool[Tensor, "f n"],
    disparity: Float[Tensor, "f h w"] | None = None,
) -> Moved:
    """The picture, and how it would look at the f - 1 moments after it; arguments as `Paths` has them."""
    return Carrying(picture, Paths(points, seen, (picture.shape[1], picture.shape[2]), disparity)).take(len(points))


@dataclass(frozen=True)
class Walked:
    """The way over some frames, which is the same for any picture; without ways, all rests."""

    start: int
    stop: int
    ways: Sequence[Way]

    @classmethod
    def of(cls, paths: Paths, frames: int) -> "Walked":
        """The next frames, at most as many as there are points for."""
        start, ways = paths.at, list(paths.take(frames))
        return cls(start, paths.at, ways)


@dataclass(frozen=True)
class Known:
    """What is known of some frames."""

    video: Float[Tensor, "f c h w"]
    seen: Bool[Tensor, "f h w"]  # where it counts


@runtime_checkable
class Light(Protocol):
    """What turns a picture into another light."""

    def begun_with(self, picture: Float[Tensor, "3 h w"]) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"]]:
        """The picture that moves in it; and where words, and not the light, give things another colour."""
        ...

    def on(self, picture: Float[Tensor, "3 h w"], disparity: Float[Tensor, "h w"] | None) -> Float[Tensor, "3 h w"]:
        """Another picture in it.

        Args:
            disparity: how near its places are, where that is known.
        """
        ...

    def portrayed(self, portrait: Portrait) -> tuple[Float[Tensor, "3 h w"], Bool[Tensor, "h w"]]:
        """A portrait in it, whatever turns lie between; and where words give its things another colour."""
        ...


class Carrying:
    """A picture that is moved along its paths, some frames at a time; the first of them is the picture's own. What it
    does not show may stand in earlier `sights`. It may be moved in several lights at once: three colours for each.

    Args:
        walked: frames of which the paths are behind it already, to be taken as they were walked.
        familiar: things that were met before, by their numbers on the paths.
    """

    def __init__(
        self,
        picture: Float[Tensor, "3 h w"],
        paths: Paths,
        sights: Sequence[Sight] = (),
        walked: Sequence[Walked] = (),
        familiar: Familiar | None = None,
    ) -> None:
        self.picture, self.paths, self.sights = picture, paths, sights
        self._lights: tuple[Light, ...] = ()
        self._remembered = Remembered(None, familiar.faces) if familiar is not None and familiar.faces else None
        self.portraits = () if familiar is None else familiar.portraits
        self._looks: dict[int, Float[Tensor, "c h w"]] = {}  # of sights, by their places
        self._looking = Lock()  # frames may be asked for side by side
        self._walked = tuple(walked)
        self._last = Walked(0, 0, ()), self._remembered  # what was taken, and what was known before

    def take(self, frames: int) -> Moved:
        """The next frames, at most as many as there are points for; as many as were walked, where they were."""
        next_, *self._walked = self._walked or (Walked.of(self.paths, frames),)
        self._last = next_, self._remembered
        return self._taken()

    def again(self) -> Moved:
        """The frames that were taken last, once more: in the lights that there are now."""
        self._remembered = self._last[1]
        return self._taken()

    def along(self, ways: Sequence[Way]) -> Moved:
        """The next frames, their part of the paths known already; without any, all of them: the picture rests."""
        if not ways:
            return Moved.resting(self.picture, self.paths.frames)
        return Moved.joined([self.filled(way, self.known(way)) for way in ways])

    def light(self, light: "Light") -> None:
        """From here on, and for what is taken `again`, also in one more light, that the last one turns to."""
        was = self.picture[-3:]
        now, painted = light.begun_with(was)
        now = now.to(was)
        change = relit(was.flatten(1), now.flatten(1)).float()
        known, also, first = dict[int, Look](), set[int](), self.paths.first
        for portrait in self.portraits:
            shown, there = light.portrayed(portrait)
            known |= looks(portrait, shown)
            also |= set(most_of(there, portrait.numbers)) & portrait.of
        if first is not None:
            other = set(most_of(painted, first.numbers[0])) - also  # their portraits do not know it
            self.portraits = forgotten(self.portraits, other)
            known = {number: look for number, look in known.items() if number not in other}
            now = dressed(now, first.numbers[0], known)
        walked, before = self._last
        self._last = walked, None if before is None else before.with_light(change, known)
        self._remembered = None if self._remembered is None else self._remembered.with_light(change, known)
        self.picture, self._lights, self._looks = torch.cat([self.picture, now]), (*self._lights, light), {}

    def familiar(self, shares: Sequence[float]) -> Familiar | None:
        """What has been met by the last frame that was taken; nothing without depth.

        Args:
            shares: how far that frame is on the way from each light to the next.
        """
        if self.paths.disparity is None or self._remembered is None:
            return None
        faces = {number: face.shone(shares) for number, face in self._remembered.faces.items()}
        return Familiar(self.paths.things, faces, self.portraits)

    def copy(self) -> "Carrying":
        """The same, which goes its own way from here on."""
        other = copy(self)
        other.paths = self.paths.copy()
        return other

    def resting(self, frames: int) -> Moved:
        """What is shown after its end: the picture itself, of which nothing is known to be seen."""
        return Moved.resting(self.picture, frames).unseen()

    def _taken(self) -> Moved:
        walked, _ = self._last
        return self.along(walked.ways) if walked.ways else self.along(()).part(slice(walked.start, walked.stop))

    def _look(self, sight: Sight) -> Float[Tensor, "c h w"]:
        """A sight in each light; made when it is first looked at."""
        at = next(number for number, it in enumerate(self.sights) if it is sight)
        with self._looking:
            if at not in self._looks:
                shown = [sight.picture.float()]
                for light in self._lights:
                    shown.append(light.on(shown[-1], sight.disparity.float()).to(shown[0]))
                self._looks[at] = torch.cat(shown)
            return self._looks[at]

    def known(self, way: Way) -> Known:
        """What is known of some frames, from the picture and from sights; the same whenever it is asked for."""
        video = sampled(self.picture.expand(len(way.grid), -1, -1, -1), way.grid, "bicubic").clamp(-1, 1)
        if not self.sights or way.back is None or way.disparity is None or way.flat is None:
            return Known(video, way.visible)
        place = way.back, way.disparity, way.flat, ~way.visible
        before, there = found(self.sights, *place, self._look, len(self.picture))
        return Known(torch.where(there[:, None], before, video), way.visible | there)

    def filled(self, way: Way, known: Known) -> Moved:
        """The next frames, of which this is known; the rest is filled in."""
        named, things, visible = way.named, None, known.seen[:, None].to(known.video)
        if named is None:
            pictures = fill(known.video, visible, self.picture)
        else:
            given = named.depth, named.numbers, named.new, way.visible
            other = named.new[int(way.start == 0) :].any(0)  # in its own frame they have their portraits already
            self.portraits = forgotten(self.portraits, other.nonzero()[:, 0].tolist())
            pictures, things, self._remembered = fill_things(known.video, visible, *given, self._remembered)
            things = (things & (named.depth > SKY))[None]
        return Moved(pictures.transpose(0, 1), known.seen[None], things)
