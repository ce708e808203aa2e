"""A rendered scene as the sequence of moments that a family is shown, with its own video or with an altered one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch

from longvie.data.render import render, track
from longvie.data.world import Scene, scene
from longvie.evaluation.metric import Facts, Family, Moment, Need, Refused, Value
from longvie.media import to_bytes

SIZE = (96, 176)
SMALL = (72, 128)  # where it does for a test
KNOWN: frozenset[Need] = frozenset({"truth", "depth", "poses", "labels", "tracks"})


@dataclass(frozen=True, eq=False)
class Take:
    """Some frames of a scene, with all that is known of them."""

    fps: float
    truth: np.ndarray  # (f, h, w, 3) of bytes
    depth: np.ndarray  # (f, h, w)
    labels: np.ndarray  # (f, h, w)
    poses: np.ndarray  # (f, 4, 4)
    focal: float
    tracks: np.ndarray  # (f, n, 3)
    visible: np.ndarray  # (f, n)

    def facts(self, **other: Any) -> Facts:
        """What a family is opened on; `other` takes the place of single fields."""
        facts = Facts(
            fps=self.fps,
            frames=len(self.truth),
            size=(self.truth.shape[1], self.truth.shape[2]),
            focal=self.focal,
            tracks=self.tracks,
            visible=self.visible,
            known=KNOWN,
        )
        return replace(facts, **other)

    def cut(self, frames: int) -> "Take":
        """Its first frames."""
        rows = {
            name: getattr(self, name)[:frames] for name in ("truth", "depth", "labels", "poses", "tracks", "visible")
        }
        return replace(self, **rows)


def filmed(of: Scene, frames: int = 42, fps: float = 16.0, size: tuple[int, int] = SIZE) -> Take:
    """A scene from its first frame on."""
    torch.set_num_threads(1)
    drawn = render([of], range(frames), size=size, fps=fps)[0]
    followed = track(of, range(frames), points=256, size=size, fps=fps)
    return Take(
        fps,
        to_bytes(drawn.picture),
        drawn.depth.numpy(),
        drawn.labels.numpy(),
        drawn.poses.numpy(),
        drawn.focal,
        followed.points.numpy(),
        followed.visible.numpy(),
    )


@cache
def take(
    number: int,
    frames: int = 42,
    fps: float = 16.0,
    *,
    size: tuple[int, int] = SIZE,
    grown: float = 1.0,
    pace: float = 1.0,
    swapped: bool = False,
) -> Take:
    """A test scene, rendered once in a run of the tests, whatever file asks for it; or another film of it.

    Args:
        grown: size of its objects, of what it is.
        pace: speed of its camera, of what it is.
        swapped: every object has the colours of the next one.
    """
    was = scene(number, "test")
    next_to = [*was.bodies[1:], was.bodies[0]] if swapped else was.bodies
    bodies = tuple(
        replace(body, size=body.size * grown, colour=other.colour, second=other.second, tint=other.tint)
        for body, other in zip(was.bodies, next_to, strict=True)
    )
    return filmed(
        replace(was, bodies=bodies, camera=replace(was.camera, pace=was.camera.pace * pace)), frames, fps, size
    )


def moments(of: Take, video: np.ndarray | None = None, **none: None) -> Iterator[Moment]:
    """One after another as a video is read: two are in memory at a time. `none` names fields that are not known."""
    before = None
    for at, picture in enumerate(of.truth if video is None else video):
        known = {"truth": of.truth[at], "depth": of.depth[at], "labels": of.labels[at], "pose": of.poses[at]} | none
        now = Moment(at, at / of.fps, picture, before=before, **known)
        yield now
        before = now.forget()


def measure(
    family: Family, of: Take, video: np.ndarray | None = None, facts: Facts | None = None
) -> Mapping[str, Value | Refused]:
    """All that a family says of a video, from the first frame on; its own if no other is given."""
    if video is not None and len(video) < len(of.truth):
        of = of.cut(len(video))
    probe = family.open(of.facts() if facts is None else facts)
    for moment in moments(of, video):
        probe.see(moment)
    return probe.values()


def number(found: Mapping[str, Value | Refused], name: str) -> float:
    """Of a metric that must not have been refused."""
    value = found[name]
    assert isinstance(value, Value), value
    return value.number


def refusal(found: Mapping[str, Value | Refused], name: str) -> str:
    """Why there is no number."""
    value = found[name]
    assert isinstance(value, Refused), value
    return value.reason


# --------------------------------------------------------------------------------------------------------------
# faults that need the pictures alone


def noisy(video: np.ndarray, deviation: float) -> np.ndarray:
    """With noise of this deviation, of 255."""
    noise = np.random.default_rng(0).normal(0, deviation, video.shape)
    return np.clip(video + noise, 0, 255).astype(np.uint8)


def blurred(video: np.ndarray, most: float) -> np.ndarray:
    """More and more, at the end by a Gaussian of this deviation in pixels."""
    widths = np.linspace(0.01, max(0.01, most), len(video))
    return np.stack([cv2.GaussianBlur(picture, (0, 0), width) for picture, width in zip(video, widths, strict=True)])


def saturated(video: np.ndarray, most: float) -> np.ndarray:
    """Colours grow away from grey, at the end by this share."""
    grey = video.mean(-1, keepdims=True)
    gain = np.linspace(1, 1 + most, len(video))[:, None, None, None]
    return np.clip(grey + (video - grey) * gain, 0, 255).astype(np.uint8)


def flickering(video: np.ndarray, deviation: float) -> np.ndarray:
    """Every frame as bright as it happens to be."""
    gain = 1 + np.random.default_rng(0).normal(0, deviation, (len(video), 1, 1, 1))
    return np.clip(video * gain, 0, 255).astype(np.uint8)


def late(video: np.ndarray, frames: int) -> np.ndarray:
    """Some frames behind; early, if fewer than none. What is missing is the frame next to it."""
    return video[np.clip(np.arange(len(video)) - frames, 0, len(video) - 1)]


def frozen(video: np.ndarray, share: float) -> np.ndarray:
    """Still for the last share of it."""
    return video[np.minimum(np.arange(len(video)), round((1 - share) * (len(video) - 1)))]


def shuffled(video: np.ndarray) -> np.ndarray:
    """Its frames in any order."""
    return video[np.random.default_rng(0).permutation(len(video))]
