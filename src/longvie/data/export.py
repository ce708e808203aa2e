"""A scene as files that a user could have made: its video, every control, words, pictures, beats, cameras.

Memory does not grow with length: frames go out as they are drawn, and arrays grow on disk.
"""

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longvie.data.render import Rendered, flow, render, track
from longvie.data.world import FPS, Scene, Split, scene
from longvie.errors import ConfigError
from longvie.limits import LOCAL
from longvie.media import VideoWriter, replace_atomically, to_bytes, write_bytes_atomically, write_picture
from longvie.media.files import room_for, shown

LIFE = 81  # frames that a point is followed; the last is the first of the next ones
AT_ONCE = 8  # frames that are drawn in one go
KEYFRAME_SECONDS = 10.0

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Export:
    """What is asked for.

    Raises:
        ConfigError, LimitError: a number out of range.
    """

    seed: int
    frames: int
    split: Split = "test"
    size: tuple[int, int] = (96, 176)  # height, width
    fps: float = float(FPS)
    points: int = 256
    with_flow: bool = False

    def __post_init__(self) -> None:
        if self.seed < 0 or self.seed >= 2**63:
            raise ConfigError(f"seed is {self.seed}; use a whole number from 0 to {2**63 - 1}")
        if self.frames < 1 or not (math.isfinite(self.fps) and self.fps > 0) or not 1 <= self.points <= 4096:
            raise ConfigError(
                f"{self.frames} frames at {self.fps:g} fps with {self.points} points: use at least 1 frame and up to "
                "4096 points"
            )
        if min(self.size) < 16 or any(side % 2 for side in self.size):
            raise ConfigError(f"a scene of {self.size[1]}x{self.size[0]}: both sides must be even, at least 16")
        LOCAL.check("video_pixels", self.size[0] * self.size[1], "a picture of the scene")
        LOCAL.check("frames", self.frames, "the scene")
        LOCAL.check("frames_per_second", self.fps, "the scene")


def export(asked: Export, folder: Path, *, force: bool = False, tell: Tell = lambda _done, _of: None) -> list[Path]:
    """Write the scene into a folder; `scene.json` comes last, so its presence says that all is there.

    The same request finds its files and does nothing.

    Args:
        force: write over another scene.
        tell: told after every few frames: how many are done, and of how many.

    Returns:
        The files, scene.json last.

    Raises:
        ConfigError: the folder holds another scene, or something else.
        ResourceError: no room.
    """
    world, facts = scene(asked.seed, asked.split), asked_facts(asked)
    done = folder / "scene.json"
    if done.is_file() and not force and _facts_in(done) == facts:
        tell(asked.frames, asked.frames)
        return [*_listed(folder), done]
    if not force and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{shown(folder)} is there already and holds something else; take another name, or --force")
    with room_for(0, folder.parent):
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
    _write_pictures(world, asked, folder, tell)
    _write_tracks(world, asked, folder)
    _write_words(world, asked, folder)
    write_json(done, {"asked": facts, "scene": asdict(world)})
    return [*_listed(folder), done]


def asked_facts(asked: Export) -> dict[str, Any]:
    """What decides the files, as JSON."""
    return json.loads(json.dumps(asdict(asked)))


def write_json(path: Path, value: object) -> None:
    """A JSON file for people and programs, whole or not at all."""
    write_bytes_atomically(path, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())


def _facts_in(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))["asked"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _listed(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file() and file.name != "scene.json")


# --------------------------------------------------------------------------------------------------------------
# pictures and arrays


class Arrays:
    """Arrays that grow on disk, frame by frame, and end as the fields of one compressed .npz."""

    def __init__(self, room: Path, frames: int) -> None:
        self._room, self._frames = room, frames
        self._open: dict[str, np.memmap] = {}

    def put(self, name: str, at: int, values: np.ndarray) -> None:
        """Some frames of one array, from frame `at` on."""
        if name not in self._open:
            shape = (self._frames, *values.shape[1:])
            self._open[name] = np.lib.format.open_memmap(  # type: ignore[assignment]
                self._room / f"{name}.npy", mode="w+", dtype=values.dtype, shape=shape
            )
        self._open[name][at : at + len(values)] = values

    def save(self, path: Path, names: tuple[str, ...], **facts: object) -> None:
        """These arrays and single values as one file; the same values give the same bytes."""
        fields = {name: self._open[name] for name in names} | {key: np.asarray(value) for key, value in facts.items()}
        with replace_atomically(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **fields)  # type: ignore[arg-type]
        for name in names:
            self._open.pop(name)
            (self._room / f"{name}.npy").unlink()


def spans(frames: int, step: int = AT_ONCE) -> Iterator[range]:
    """All frames, a few at a time."""
    for at in range(0, frames, step):
        yield range(at, min(at + step, frames))


def _write_pictures(world: Scene, asked: Export, folder: Path, tell: Tell) -> None:
    """truth.mp4, sketch.mp4, depth.npz, segmentation.npz, flow.npz if asked for, first.png, keyframes, cameras.json."""
    poses: list[list[list[float]]] = []
    focal = 0.0
    with ExitStack() as opened:
        room = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix=".part-", dir=folder)))
        arrays = Arrays(room, asked.frames)
        with ExitStack() as videos:
            truth, sketch = (
                videos.enter_context(VideoWriter(folder / name, fps=asked.fps, size=asked.size, fragmented=False))
                for name in ("truth.mp4", "sketch.mp4")
            )
            for span in spans(asked.frames):
                drawn = render([world], span, size=asked.size, fps=asked.fps, chunk=AT_ONCE)[0]
                pictures = to_bytes(drawn.picture, first=span.start)
                truth.write(pictures)
                sketch.write(_grey(drawn.sketch))
                _put(arrays, span, drawn, world, asked)
                _keep_keyframes(span, pictures, asked, folder)
                poses += drawn.poses.tolist()
                focal = drawn.focal
                tell(span.stop, asked.frames)
        with room_for(0, folder):
            arrays.save(folder / "depth.npz", ("disparity",), fps=asked.fps)
            arrays.save(folder / "segmentation.npz", ("labels",), fps=asked.fps)
            if asked.with_flow:
                arrays.save(folder / "flow.npz", ("flow", "visible"), fps=asked.fps)
    cameras = {"fps": asked.fps, "height": asked.size[0], "width": asked.size[1], "focal": focal, "poses": poses}
    write_json(folder / "cameras.json", cameras)


def _put(arrays: Arrays, span: range, drawn: Rendered, world: Scene, asked: Export) -> None:
    arrays.put("disparity", span.start, (1.0 / drawn.depth).half().numpy())  # sky is infinitely far: 0
    arrays.put("labels", span.start, drawn.labels.byte().numpy())
    if asked.with_flow:
        moved = [flow(world, frame, size=asked.size, fps=asked.fps) for frame in span]
        arrays.put("flow", span.start, torch.stack([motion for motion, _ in moved]).half().numpy())
        arrays.put("visible", span.start, torch.stack([seen for _, seen in moved]).numpy())


def _grey(lines: torch.Tensor) -> np.ndarray:
    """White lines on black, (f, h, w, 3)."""
    return (lines * 255).byte()[..., None].expand(*lines.shape, 3).numpy()


def keyframe_times(asked: Export) -> list[float]:
    """Every ten seconds, the first frame left out: it has a file of its own."""
    end = (asked.frames - 1) / asked.fps
    return [float(time) for time in np.arange(KEYFRAME_SECONDS, end, KEYFRAME_SECONDS)]


def _keep_keyframes(span: range, pictures: np.ndarray, asked: Export, folder: Path) -> None:
    if span.start == 0:
        write_picture(folder / "first.png", pictures[0])
    for number, time in enumerate(keyframe_times(asked), start=1):
        frame = round(time * asked.fps)
        if frame in span:
            (folder / "keyframes").mkdir(exist_ok=True)
            write_picture(folder / "keyframes" / f"{number:03d}.png", pictures[frame - span.start])


# --------------------------------------------------------------------------------------------------------------
# points and words


def _write_tracks(world: Scene, asked: Export, folder: Path) -> None:
    """tracks.npz: new points every 80 frames, each followed for 81; `starts` says from which frame on.

    The frame that two sets share belongs to the earlier one, as where clips are joined.
    """
    life = min(LIFE, asked.frames)
    points, visible, starts = [], [], []
    for begin in range(0, max(1, asked.frames - 1), LIFE - 1):
        span = range(begin, min(begin + LIFE, asked.frames))
        followed = track(world, span, points=asked.points, seed=asked.seed, size=asked.size, fps=asked.fps)
        count = followed.points.shape[1]
        start = min(begin, asked.frames - life)  # the last rows end with the video, so that its length can be told
        rows = slice(begin - start, begin - start + len(span))
        here, seen = np.zeros((life, count, 3), np.float32), np.zeros((life, count), bool)
        here[rows], seen[rows] = followed.points.numpy(), followed.visible.numpy()
        seen[begin - start] &= begin == 0
        points.append(here)
        visible.append(seen)
        starts.append(np.full(count, start, np.int64))
    fields = {
        "points": np.concatenate(points, axis=1),  # (life, n, 3): x, y in pixels, distance in metres
        "visible": np.concatenate(visible, axis=1),
        "starts": np.concatenate(starts),
        "size": np.asarray(asked.size),
        "fps": np.asarray(asked.fps),
    }
    with replace_atomically(folder / "tracks.npz") as part, part.open("wb") as file:
        np.savez_compressed(file, **fields)  # type: ignore[arg-type]


def _write_words(world: Scene, asked: Export, folder: Path) -> None:
    """prompts.json, keyframes.json, beats.json."""
    duration = asked.frames / asked.fps
    lines = [{"time": round(at, 3), "prompt": words} for at, words in world.captions(duration - 0.001)]
    write_json(folder / "prompts.json", lines)
    entries = [
        {"time": time, "image": f"keyframes/{number:03d}.png", "strength": 1.0}
        for number, time in enumerate(keyframe_times(asked), start=1)
    ]
    write_json(folder / "keyframes.json", {"keyframes": entries})
    beats = np.arange(world.downbeat % (1 / world.tempo), duration + 2 / world.tempo, 1 / world.tempo)
    write_json(folder / "beats.json", {"beats": [round(float(beat), 4) for beat in beats]})
