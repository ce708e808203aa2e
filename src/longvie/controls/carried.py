"""The last known picture, as it would look later: its parts moved with the tracks, the unknown filled in.

What was out of the picture or behind something (`controls.paths`) is not known; it is filled smoothly from what is
(`controls.filling`). A first guess for a network, not a picture.
"""

from collections.abc import Sequence
from copy import copy

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from longvie.controls.filling import Remembered, fill, fill_things
from longvie.controls.moved import Moved
from longvie.controls.paths import SKY, Paths, Way, sampled
from longvie.controls.sights import Sight, found


def carry(
    picture: Float[Tensor, "3 h w"],
    points: Float[Tensor, "f n 2"],
    seen: Bool[Tensor, "f n"],
    disparity: Float[Tensor, "f h w"] | None = None,
) -> Moved:
    """The picture, and how it would look at the f - 1 moments after it; arguments as `Paths` has them."""
    return Carrying(picture, Paths(points, seen, (picture.shape[1], picture.shape[2]), disparity)).take(len(points))


class Carrying:
    """A picture that is moved along its paths, some frames at a time; the first of them is the picture's own. What it
    does not show may stand in earlier `sights`.
    """

    def __init__(self, picture: Float[Tensor, "3 h w"], paths: Paths, sights: Sequence[Sight] = ()) -> None:
        self.picture, self.paths, self.sights = picture, paths, sights
        self._remembered: Remembered | None = None

    def take(self, frames: int) -> Moved:
        """The next frames, at most as many as there are points for."""
        begun = self.paths.at
        ways = list(self.paths.take(frames))
        return self.along(ways) if ways else self.along(()).part(slice(begun, self.paths.at))

    def along(self, ways: Sequence[Way]) -> Moved:
        """The next frames, their part of the paths known already; without any, all of them: the picture rests."""
        if not ways:
            return Moved.resting(self.picture, self.paths.frames)
        return Moved.joined([self._moved(way) for way in ways])

    def copy(self) -> "Carrying":
        """The same, which goes its own way from here on."""
        other = copy(self)
        other.paths = self.paths.copy()
        return other

    def resting(self, frames: int) -> Moved:
        """What is shown after its end: the picture itself, of which nothing is known to be seen."""
        return Moved.resting(self.picture, frames).unseen()

    def _moved(self, way: Way) -> Moved:
        video = sampled(self.picture.expand(len(way.grid), -1, -1, -1), way.grid, "bicubic").clamp(-1, 1)
        visible, named, things, seen = way.visible[:, None].to(video), way.named, None, way.visible
        if self.sights and way.back is not None and way.disparity is not None and way.flat is not None:
            before, there = found(self.sights, way.back, way.disparity, way.flat, ~way.visible)
            video, seen = torch.where(there[:, None], before, video), seen | there
            visible = seen[:, None].to(video)
        if named is None:
            pictures = fill(video, visible, self.picture)
        else:
            given = named.depth, named.numbers, named.new, named.own & way.visible
            pictures, things, self._remembered = fill_things(video, visible, *given, self._remembered)
            things = (things & (named.depth > SKY))[None]
        return Moved(pictures.transpose(0, 1), seen[None], things)
