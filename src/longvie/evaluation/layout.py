"""The official layout of LongVGenBench, as LongVie's code and training lists describe it; nothing was released."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from longvie.controls.conditions import read_conditions
from longvie.controls.published import CLIP
from longvie.documents import read_json
from longvie.errors import InputError, LongVieError
from longvie.evaluation.sources import ENDINGS, Align, Known, Source, clip_borders, is_video
from longvie.media import array_names, probe_video
from longvie.media.files import shown

CONDITIONS = ("conditions.json", "cond.json", "new_cond.json")  # LongVie's own names, and ours
WHOLE = ("video", "truth", "gt", "source")  # names under which a folder may hold its whole source video
_KEYS = ("video", "depth", "track")  # files in LongVie's lists


@dataclass(frozen=True)
class Entry:
    """One video of the official benchmark.

    Attributes:
        videos: its source, whole or clip by clip.
        texts: the words of each clip.
        depth, tracks: by clip; drawn ones cannot be measured as metres and are only counted.
    """

    name: str
    texts: tuple[str, ...]
    videos: tuple[Path, ...] = ()
    depth: tuple[Path, ...] = ()
    tracks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What was found in a folder, and sentences on what was expected and is not there."""

    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = field(default=())

    def entry(self, name: str) -> Entry:
        """By its name.

        Raises:
            InputError: there is none.
        """
        found = next((entry for entry in self.entries if entry.name == name), None)
        if found is None:
            raise InputError(f"the benchmark has no video {name[:60]!r}")
        return found


def read_layout(folder: Path) -> Layout:
    """Every video of a benchmark in either of the two forms that LongVie's code and lists know:

    - `metadata*.json` in the folder: a list of videos with `text` and any of `video`, `depth`, `track`;
    - a `cond.json` (or `conditions.json`, `new_cond.json`) in the folder or in folders of it: the clips of one video.
      The source is `video` of every clip, or a whole video beside it called video, truth, gt, source, or as its folder.

    Paths are relative to the list and stay inside the folder. An entry that cannot be used is left out and noted.

    Raises:
        InputError: nothing of it is there.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {shown(folder)}")
    entries: list[Entry] = []
    notes: list[str] = []
    for path in sorted(folder.glob("metadata*.json")):
        _read_metadata(path, folder, entries, notes)
    for inside in [folder, *sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")]:
        lists = [inside / name for name in CONDITIONS if (inside / name).is_file()]
        if lists:
            _read_clips(lists[0], folder, entries, notes)
    if not entries:
        why = f" ({notes[0]})" if notes else ""
        raise InputError(
            f"{shown(folder)} holds no benchmark that can be used{why}: needed is a metadata.json that lists videos, "
            "or a cond.json for each of them"
        )
    return Layout(tuple(entries), tuple(notes))


def official(video: Path, entry: Entry, *, align: Align = "error") -> Source:
    """A video that was made of an entry: its truth where there is one, words and borders by clips of 80 new frames.

    A whole source video is compared by seconds, clips by the numbers of their frames, as LongVie takes them. Depth is
    used only where it is metric: one `.npz` with `metric`.
    """
    info = probe_video(video)
    starts = [0.0] + [(1 + CLIP * clip) / info.fps for clip in range(1, len(entry.texts))]
    metric = (
        len(entry.depth) == 1 and entry.depth[0].suffix.lower() == ".npz" and "metric" in array_names(entry.depth[0])
    )
    known = Known(
        truth=entry.videos,
        by_time=len(entry.videos) == 1,
        depth=entry.depth[0] if metric else None,
        prompts=tuple(zip(starts, entry.texts, strict=True)),
    )
    borders = clip_borders(info.frames) if len(entry.texts) > 1 else ()
    source = Source(video, known, borders=borders, align=align)
    if (entry.depth and not metric) or entry.tracks:
        source.notes += ("its depth and tracks are drawn: what needs metres or points is not measured",)
    return source


def _read_metadata(path: Path, folder: Path, entries: list[Entry], notes: list[str]) -> None:
    listed = _listed(path, notes)
    for number, facts in enumerate(listed, start=1):
        name = f"entry {number} of {path.name}"
        text = facts.get("text") if isinstance(facts, dict) else None
        if not isinstance(text, str) or not text.strip():
            notes.append(f"{name} has no text and is left out")
            continue
        files = {key: _there(facts.get(key), path.parent, folder, f"{key} of {name}", notes) for key in _KEYS}
        called = next((found[0].stem for found in files.values() if found), f"{path.stem}-{number:03d}")
        entries.append(Entry(called, (text.strip(),), files["video"], files["depth"], files["track"]))


def _there(value: object, beside: Path, folder: Path, name: str, notes: list[str]) -> tuple[Path, ...]:
    """A file that is listed, if it is there and inside the folder."""
    if value is None:
        return ()
    path = beside / value if isinstance(value, str) and value and "\0" not in value else None
    if path is None or not path.resolve().is_relative_to(folder.resolve()):
        notes.append(f"{name} leads out of the folder and is left out")
    elif not path.is_file():
        notes.append(f"{name}, {shown(path)}, is not there")
    else:
        return (path,)
    return ()


def _read_clips(path: Path, folder: Path, entries: list[Entry], notes: list[str]) -> None:
    name = path.parent.name or path.stem
    try:
        clips = read_conditions(path)
    except LongVieError as error:
        notes.append(f"{name}: {error}")
        return
    files: dict[str, tuple[Path, ...]] = {}
    for kind, listed in clips.files.items():
        kept = [_there(str(file), Path(), folder, f"{kind} of {name}", notes) for file in listed]
        files[kind] = tuple(file for found in kept for file in found) if all(kept) else ()
    videos = files.get("video", ()) or _whole(path.parent)
    if not videos:
        notes.append(f"{name} has no source video: only what needs no truth can be measured")
    entries.append(Entry(name, clips.prompts, videos, files.get("depth", ()), files.get("tracks", ())))


def _whole(folder: Path) -> tuple[Path, ...]:
    """One whole source video beside a list of clips."""
    named = [folder / f"{name}{ending}" for name in (*WHOLE, folder.name) for ending in ENDINGS]
    return next(((path,) for path in named if is_video(path)), ())


def _listed(path: Path, notes: list[str]) -> list[Any]:
    try:
        listed = read_json(path, error=InputError)
    except LongVieError as error:
        notes.append(str(error))
        return []
    if not isinstance(listed, list):
        notes.append(f"{path.name} holds no list and is left out")
        return []
    return listed
