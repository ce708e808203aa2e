"""A scene of the world in memory, with all that is known of it: for short films that are measured again and again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from longvie.data.render import render, track
from longvie.data.world import FPS, Scene
from longvie.evaluation.metric import Event, Facts, Moment
from longvie.media import to_bytes

POINTS = 256  # that are followed

Pictures = UInt8[np.ndarray, "f h w 3"]


@dataclass(frozen=True, eq=False)
class Film:
    """Some frames of a scene: the truth, and `facts` that are known of every video made after it."""

    scene: Scene
    facts: Facts
    pictures: Pictures
    depth: Float[np.ndarray, "f h w"]  # metres; inf is sky
    labels: Int[np.ndarray, "f h w"]
    poses: Float[np.ndarray, "f 4 4"]

    def moments(self, video: Pictures | None = None) -> Iterator[Moment]:
        """Of another video of as many frames; or of the truth itself."""
        before = None
        for at, picture in enumerate(self.pictures if video is None else video):
            known = (self.pictures[at], self.depth[at], self.labels[at], self.poses[at])
            now = Moment(at, at / self.facts.fps, picture, *known, before=before)
            yield now
            before = now.forget()


def filmed(
    scene: Scene,
    frames: int,
    *,
    size: tuple[int, int] = (96, 176),
    fps: float = float(FPS),
    borders: Sequence[int] = (),
) -> Film:
    """A scene from its first frame on.

    Args:
        size: height and width in pixels.
        borders: frames that are to count as first ones of a clip.
    """
    torch.set_num_threads(1)
    drawn = render([scene], range(frames), size=size, fps=fps)[0]
    followed = track(scene, range(frames), points=POINTS, size=size, fps=fps)
    points, visible = followed.points.numpy(), followed.visible.numpy()
    seconds = frames / fps
    words = tuple(scene.captions(seconds))
    beats = np.arange(scene.downbeat, seconds, 1 / scene.tempo)
    facts = Facts(
        fps=fps,
        frames=frames,
        size=size,
        borders=tuple(borders),
        events=tuple(Event(at, said) for at, said in words[1:]),
        beats=tuple(beats.tolist()),
        prompts=words,
        focal=drawn.focal,
        tracks=points,
        visible=visible,
        known=frozenset({"truth", "depth", "poses", "labels", "tracks", "prompts"}),
    )
    there = {"borders": bool(borders), "events": len(words) > 1, "beats": bool(facts.beats)}
    facts = replace(facts, known=facts.known | {name for name, has in there.items() if has})  # type: ignore[arg-type]
    pictures = to_bytes(drawn.picture)
    return Film(scene, facts, pictures, drawn.depth.numpy(), drawn.labels.numpy(), drawn.poses.numpy())
