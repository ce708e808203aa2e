"""Who makes videos for the table: four that need no trained model or misuse one, and the model itself.

Each gets the files of an item that a model may be given, and writes a video of its length. The first four say what a
number is worth: nobody can be better than the renderer, and who is not better than the others has learned nothing.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8

from longvie.api import Kind, LongVie
from longvie.documents import read_json
from longvie.errors import ConfigError
from longvie.evaluation.sources import clip_borders
from longvie.evaluation.suite import Item, place
from longvie.media import VideoWriter, read_picture
from longvie.presets import LongVieConfig

CLIP = 81  # frames that a model makes in one go, of which neighbours share one
GIVEN = {"depth": "depth.npz", "tracks": "tracks.npz"}

Picture = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Order:
    """What is asked of a maker.

    Attributes:
        suite: its folder.
        model: name or folder of the model, where one is used.
        seed: of the noise.
    """

    suite: Path
    item: Item
    model: str = "world"
    seed: int = 0

    def file(self, name: str) -> Path:
        """A file of the item."""
        return place(self.suite, self.item, name)

    def words(self, second: float) -> str:
        """What is asked for at that moment."""
        return [words for time, words in self.item.prompts if time <= second][-1]


@dataclass(frozen=True)
class Maker:
    """One row of the table.

    Attributes:
        trained: it uses the model.
        borders: whether its videos consist of clips, and so have seams.
    """

    name: str
    title: str
    make: Callable[[Order, Path], None]
    trained: bool = False
    borders: bool = False

    def seams(self, item: Item) -> tuple[int, ...]:
        """First frames of its clips but the first."""
        return clip_borders(item.frames) if self.borders else ()


def maker(name: str) -> Maker:
    """By name.

    Raises:
        ConfigError: there is none.
    """
    found = MAKERS.get(name) or ABLATIONS.get(name)
    if found is None:
        raise ConfigError(f"no maker {name[:40]!r}; there are {', '.join((*MAKERS, *ABLATIONS))}")
    return found


# --------------------------------------------------------------------------------------------------------------
# without a model


def _renderer(order: Order, out: Path) -> None:
    shutil.copyfile(order.file("truth.mp4"), out)


def _frozen(order: Order, out: Path) -> None:
    first = read_picture(order.file("first.png"))
    _write(out, order.item, (first for _ in range(order.item.frames)))


def _nearest(order: Order, out: Path) -> None:
    """The given picture, the first one or a key frame, that is nearest in time."""
    given = [(0.0, "first.png")]
    for key in read_json(order.file("keyframes.json"))["keyframes"]:
        given.append((float(key["time"]), key["image"]))
    pictures = [(time, read_picture(order.file(name))) for time, name in given]
    seconds = (frame / order.item.fps for frame in range(order.item.frames))
    _write(out, order.item, (min(pictures, key=lambda it: abs(it[0] - now))[1] for now in seconds))


def _write(out: Path, item: Item, pictures: Iterator[Picture]) -> None:
    with VideoWriter(out, fps=item.fps, size=item.size, fragmented=False) as writer:
        for picture in pictures:
            writer.write(picture[None])


# --------------------------------------------------------------------------------------------------------------
# with one


@cache
def _model(name: str, *options: str) -> LongVie:
    config = LongVieConfig.from_mapping({"model": {"ckpt": name}}).with_options(options)
    return LongVie(config, threads=1)


def _controlled(order: Order, out: Path) -> None:
    _whole(order, out, {name: order.file(file) for name, file in GIVEN.items()})


def _live(order: Order, out: Path) -> None:
    _whole(order, out, {name: order.file(file) for name, file in GIVEN.items()}, engine="live")


def _uncontrolled(order: Order, out: Path) -> None:
    _whole(order, out, {})


def _otherwise(engine: Kind, *options: str) -> Callable[[Order, Path], None]:
    """The model with options that it is not meant for, to see what those that it is meant for are worth."""

    def make(order: Order, out: Path) -> None:
        _whole(order, out, {name: order.file(file) for name, file in GIVEN.items()}, engine, options)

    return make


def _renormalised(order: Order, out: Path) -> None:
    """Depth drawn between the percentiles of each clip, as who prepares clip by clip would."""
    with tempfile.TemporaryDirectory(prefix="longvie-") as room, np.load(order.file(GIVEN["depth"])) as held:
        drawn = Path(room) / "depth.mp4"
        with VideoWriter(
            drawn, fps=order.item.fps, size=order.item.size, metadata={"comment": "depth=picture"}
        ) as video:
            for begin in (0, *clip_borders(order.item.frames)):
                clip = held["disparity"][begin : begin + CLIP - int(begin > 0)].astype(np.float32)
                far, near = np.percentile(clip, [5, 95])
                grey = np.clip((near - clip) / max(near - far, 1e-6), 0, 1)
                video.write(np.repeat(np.rint(255 * grey).astype(np.uint8)[..., None], 3, axis=-1))
        _whole(order, out, {"depth": drawn, "tracks": order.file(GIVEN["tracks"])})


def _whole(
    order: Order, out: Path, controls: Mapping[str, Path], engine: Kind = "clip", options: Sequence[str] = ()
) -> None:
    _model(order.model, *options).generate(
        _timeline(order.item),
        duration_sec=order.item.frames / order.item.fps,
        controls=dict(controls),
        image=order.file("first.png"),
        seed=order.seed,
        engine=engine,
        out=out,
        force=True,
    )


def _timeline(item: Item) -> str:
    """Its words as one line: `words[seconds] | words`."""
    ends = [time for time, _ in item.prompts[1:]]
    timed = [f"{words}[{end - begin:.3f}s]" for (begin, words), end in zip(item.prompts, ends, strict=False)]
    return " | ".join([*timed, item.prompts[-1][1]])


def _stitched(order: Order, out: Path) -> None:
    """Clip by clip, each from the last frame of the one before alone: new noise, and depth normalised for itself."""
    item, picture = order.item, read_picture(order.file("first.png"))
    with VideoWriter(out, fps=item.fps, size=item.size, fragmented=False) as writer:
        for number, begin in enumerate(range(0, item.frames - 1, CLIP - 1)):
            frames = _clip(order, begin, min(CLIP, item.frames - begin), picture, order.seed + number)
            writer.write(frames[min(number, 1) :])
            picture = frames[-1]


def _clip(order: Order, begin: int, count: int, picture: Picture, seed: int) -> UInt8[np.ndarray, "f h w 3"]:
    with tempfile.TemporaryDirectory(prefix="longvie-") as room:
        depth, tracks = Path(room) / GIVEN["depth"], Path(room) / GIVEN["tracks"]
        _cut_depth(order.file(GIVEN["depth"]), depth, begin, count)
        _cut_tracks(order.file(GIVEN["tracks"]), tracks, begin, count)
        chunks = _model(order.model).stream_generate(
            order.words(begin / order.item.fps),
            duration_sec=count / order.item.fps,
            controls={"depth": depth, "tracks": tracks},
            image=picture,
            seed=seed,
        )
        return np.concatenate([chunk.frames for chunk in chunks])[:count]


def _cut_depth(source: Path, out: Path, begin: int, count: int) -> None:
    with np.load(source) as held:
        np.savez(out, disparity=held["disparity"][begin : begin + count], fps=held["fps"])


def _cut_tracks(source: Path, out: Path, begin: int, count: int) -> None:
    """The points that begin with these frames; points are drawn anew at each clip."""
    with np.load(source) as held:
        mine = held["starts"] == begin
        points, visible = held["points"][:count, mine], held["visible"][:count, mine]
        np.savez(out, points=points, visible=visible, starts=np.zeros(points.shape[1], np.int64), size=held["size"],
                 fps=held["fps"])  # fmt: skip


MAKERS: Mapping[str, Maker] = MappingProxyType(
    {
        made.name: made
        for made in (
            Maker("renderer", "the world's own renderer (ceiling)", _renderer),
            Maker("frozen", "first picture, frozen", _frozen),
            Maker("nearest", "nearest given picture, copied", _nearest),
            Maker("stitched", "naive stitching of the model's clips", _stitched, trained=True, borders=True),
            Maker(
                "uncontrolled", "the model, words and first picture alone", _uncontrolled, trained=True, borders=True
            ),
            Maker("model", "the model, with depth and tracks", _controlled, trained=True, borders=True),
            Maker("live", "the same on the live engine, block after block", _live, trained=True),
        )
    }
)
ABLATIONS: Mapping[str, Maker] = MappingProxyType(
    {
        name: Maker(name, title, make, trained=True, borders=not name.startswith("live"))
        for name, title, make in (
            ("history-0", "the model without history", _otherwise("clip", "engine.recent=0")),
            ("history-1", "the model with one latent frame of history", _otherwise("clip", "engine.recent=1")),
            ("history-2", "the model with two", _otherwise("clip", "engine.recent=2")),
            ("fresh-noise", "the model, other noise in each clip", _otherwise("clip", "engine.noise=fresh")),
            ("renormalised", "the model, depth normalised clip by clip", _renormalised),
            ("no-places", "the model without pictures of places seen before", _otherwise("clip", "engine.places=0")),
            ("live-keep", "live, memory kept when the words change", _otherwise("live", "engine.on_words=keep")),
            ("live-clear", "live, memory emptied when the words change", _otherwise("live", "engine.on_words=clear")),
            (
                "live-no-sink",
                "live, as much memory but no sink",
                _otherwise("live", "engine.sink=0", "engine.recent=9"),
            ),
            ("live-no-places", "live, without pictures of places seen before", _otherwise("live", "engine.places=0")),
            ("live-absolute", "live, positions within the video", _otherwise("live", "engine.positions=absolute")),
            ("live-far", "live, with three key frames from further back", _otherwise("live", "engine.far=3")),
        )
    }
)
