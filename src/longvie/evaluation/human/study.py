"""A study: which videos, shown to whom, in which order. Blind, and balanced by Williams' Latin squares.

The protocol is that of LongVie 2 (arXiv 2512.13604, Table 2): raters see the videos that all systems made of one task
and rank them by five aspects. The paper names the aspects; the questions that put them to people are ours.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from longvie.documents import read_json
from longvie.errors import ConfigError, InputError
from longvie.evaluation.folders import new_folder
from longvie.media import VideoFrames, VideoWriter, probe_video, write_bytes_atomically
from longvie.media.files import shown

FORMAT = 1
SYSTEMS = (2, 9)  # fewer have no order; more have no digit key each
SIGHTS = 200_000  # raters × tasks, so that a study stays a file that is read at once
PROMPT = 4_000  # characters
CRF = 12  # for the eye the same as the source, and the same coding for all systems
ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm")
TOKEN = re.compile(r"[0-9a-f]{32}")

Tell = Callable[[int, int, str], None]
Videos = Path | Mapping[str, Path]  # a folder, or the file of each task


@dataclass(frozen=True)
class Aspect:
    """What the videos are ranked by."""

    name: str
    title: str
    question: str


ASPECTS = {
    aspect.name: aspect
    for aspect in (
        Aspect("visual", "Visual quality", "Which looks best: sharp, natural, free of faults?"),
        Aspect("prompt", "Prompt-video consistency", "Which shows best what the text says?"),
        Aspect("condition", "Condition consistency", "Which follows the given video most closely?"),
        Aspect("colour", "Colour consistency", "Which keeps its colours and brightness best from start to end?"),
        Aspect("temporal", "Temporal consistency", "Which moves most smoothly, without flicker, jumps or morphing?"),
    )
}


@dataclass(frozen=True)
class Task:
    """One scene, made by every system. Videos are known by random tokens only."""

    name: str  # the stem of the files
    prompt: str  # empty where none was given
    condition: str | None  # token of the control video
    videos: tuple[str, ...]  # tokens, in the order of the study's systems


@dataclass(frozen=True)
class Rater:
    """What one person sees: tasks in order, and for each the order of systems from left to right."""

    code: str  # random, so that nobody votes for somebody else
    tasks: tuple[int, ...]
    orders: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Study:
    """A study in its folder: `study.json`, `videos/TOKEN.mp4`, and later the votes."""

    folder: Path
    id: str
    seed: int
    systems: tuple[str, ...]
    aspects: tuple[str, ...]
    tasks: tuple[Task, ...]
    raters: tuple[Rater, ...]

    @classmethod
    def open(cls, folder: Path) -> "Study":
        """A study that exists.

        Raises:
            InputError: the folder holds none (`study_unknown`), one of another version (`study_format`), one that was
                changed by hand so that it fits no more, or videos are missing (`study_damaged`).
        """
        if not (folder / "study.json").is_file():
            raise InputError(f"{shown(folder)} is not a study: it has no study.json", code="study_unknown")
        facts = read_json(folder / "study.json", error=InputError)
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            message = f"{shown(folder)} was written by another version of longvie: use that one"
            raise InputError(message, code="study_format")
        try:
            study = _built(folder, facts)
        except (KeyError, TypeError, ValueError, AttributeError) as reason:
            raise _damaged(folder, f"a field is missing or wrong ({reason})") from None
        study._check()
        return study

    def rater(self, code: str) -> Rater:
        """The rater of a code.

        Raises:
            InputError: there is none (`rater_unknown`).
        """
        found = next((rater for rater in self.raters if rater.code == code), None)
        if found is None:
            raise InputError("this code belongs to nobody in this study; copy the whole link", code="rater_unknown")
        return found

    def order(self, rater: Rater, task: int) -> tuple[str, ...]:
        """Tokens of a task from left to right, as this rater sees them.

        Raises:
            InputError: this rater has no such task (`task_unknown`).
        """
        if task not in rater.tasks:
            raise InputError(f"task {task} is not one of this rater's", code="task_unknown")
        videos = self.tasks[task].videos
        return tuple(videos[system] for system in rater.orders[rater.tasks.index(task)])

    def tokens(self) -> frozenset[str]:
        """Of every video that may be shown."""
        given = {task.condition for task in self.tasks if task.condition is not None}
        return frozenset(given.union(*(task.videos for task in self.tasks)))

    def video(self, token: str) -> Path:
        """The file of a token; whoever asks has checked that the token is one of `tokens`."""
        return self.folder / "videos" / f"{token}.mp4"

    def _check(self) -> None:
        systems, tasks = len(self.systems), range(len(self.tasks))
        if not all(TOKEN.fullmatch(token) for token in self.tokens()):
            raise _damaged(self.folder, "a token is not one of ours")
        if any(name not in ASPECTS for name in self.aspects):
            raise _damaged(self.folder, "an aspect is unknown")
        if any(len(task.videos) != systems for task in self.tasks):
            raise _damaged(self.folder, "a task does not have one video of each system")
        for rater in self.raters:
            fits = all(sorted(order) == list(range(systems)) for order in rater.orders)
            if not fits or len(rater.tasks) != len(rater.orders) or any(task not in tasks for task in rater.tasks):
                raise _damaged(self.folder, "the plan of a rater does not fit the tasks")
        missing = [token for token in self.tokens() if not self.video(token).is_file()]
        if missing:
            raise _damaged(self.folder, f"{len(missing)} videos are missing")


def _built(folder: Path, facts: Mapping[str, Any]) -> Study:
    tasks = tuple(Task(**{**task, "videos": tuple(task["videos"])}) for task in facts["tasks"])
    raters = tuple(
        Rater(rater["code"], tuple(rater["tasks"]), tuple(map(tuple, rater["orders"]))) for rater in facts["raters"]
    )
    return Study(folder, facts["id"], facts["seed"], tuple(facts["systems"]), tuple(facts["aspects"]), tasks, raters)


def _damaged(folder: Path, why: str) -> InputError:
    return InputError(f"the study in {shown(folder)} is damaged: {why}; make it anew", code="study_damaged")


def williams(n: int) -> list[tuple[int, ...]]:
    """Orders of n things such that each stands equally often at each place, and each follows each other equally often.

    Williams (1949), "Experimental designs balanced for the estimation of residual effects of treatments": n orders for
    an even n, where each follows each other once; 2n for an odd one, where it does so twice.

    Raises:
        ConfigError: n is below 1.
    """
    if n < 1:
        raise ConfigError(f"{n} things have no order; at least 1 is needed")
    first = [place // 2 if place % 2 == 0 else n - 1 - place // 2 for place in range(n)]  # 0, n-1, 1, n-2, …
    rows = [tuple((thing + shift) % n for thing in first) for shift in range(n)]
    return rows if n % 2 == 0 or n == 1 else rows + [row[::-1] for row in rows]


def plan(
    systems: int, tasks: int, raters: int, *, per_rater: int | None = None, seed: int = 0
) -> list[tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]]:
    """For each rater the tasks in order, and for each of these the order of systems.

    Tasks go by a Williams design over raters; who sees only `per_rater` of them sees the first ones of a row, and rows
    are dealt so that every task is seen equally often as soon as the numbers allow it. Systems go by a Williams design
    over those who see a task, so that each task is balanced by itself, and begin elsewhere for each task, so that each
    rater's orders are balanced as well. The seed says which things the numbers of the designs stand for.

    Raises:
        ConfigError: numbers below 1, or more tasks a rater than there are.
    """
    each = tasks if per_rater is None else per_rater
    if min(systems, tasks, raters, each) < 1 or each > tasks:
        raise ConfigError(f"{raters} raters with {each} of {tasks} tasks of {systems} systems cannot be planned")
    random = np.random.default_rng(seed)
    task_names, system_names = random.permutation(tasks), random.permutation(systems)
    of_tasks, of_systems = williams(tasks), williams(systems)
    of_systems = [of_systems[row] for row in random.permutation(len(of_systems))]
    seen = [start % len(of_systems) for start in random.permutation(tasks).tolist()]  # next row of each task
    planned = []
    for rater in range(raters):
        mine = [int(task_names[task]) for task in of_tasks[_row(rater, tasks, each, len(of_tasks))][:each]]
        orders = []
        for task in mine:
            orders.append(tuple(int(system_names[system]) for system in of_systems[seen[task] % len(of_systems)]))
            seen[task] += 1
        planned.append((tuple(mine), tuple(orders)))
    return planned


def _row(rater: int, tasks: int, each: int, rows: int) -> int:
    """The row of a rater. The first `each` of a row are neighbours on a circle, so steps of `each` tile the circle."""
    around = tasks // gcd(tasks, each)  # after so many steps the circle is closed, and the next round starts one on
    half = rater // tasks % (rows // tasks)  # the second half of an odd design is the first one mirrored
    return half * tasks + (rater * each + rater % tasks // around) % tasks


def make(
    folder: Path,
    systems: Mapping[str, Videos],
    *,
    raters: int,
    prompts: Mapping[str, str] | None = None,
    conditions: Videos | None = None,
    aspects: Sequence[str] = tuple(ASPECTS),
    per_rater: int | None = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> Study:
    """Make a study in a new folder, which appears whole or not at all.

    Every video is coded again in the same way (H.264, no sound, no metadata), so that any browser plays it, nothing in
    a file tells whose it is, and a later change of the original changes no vote.

    Args:
        systems: name → its videos; the same tasks for all, by the names of the files without their ending.
        prompts: task → what was asked for.
        conditions: the control video of each task.
        aspects: names out of `ASPECTS`, in the order in which they are asked.
        per_rater: tasks that each rater sees; all of them by default.
        seed: of the orders. Tokens and codes are drawn anew each time and follow from no seed.
        tell: videos done, of how many, and which.

    Raises:
        ConfigError: numbers or aspects that make no study.
        InputError: tasks that differ, or videos of one task that are the same (`study_invalid`); the folder exists
            (`study_exists`).
        MediaError, ShapeError: a video cannot be read, or has odd sides.
        ResourceError: no room.
    """
    files = {name: _files(name, videos) for name, videos in systems.items()}
    names = _agreed(files)
    given = {} if conditions is None else _files("conditions", conditions)
    words = dict(prompts or {})
    _check_asked(aspects, names, words, given)
    sights = raters * (len(names) if per_rater is None else per_rater)
    if sights > SIGHTS:
        raise ConfigError(f"{raters} raters see {sights:,} tasks together, above {SIGHTS:,}; make several studies")
    planned = plan(len(files), len(names), raters, per_rater=per_rater, seed=seed)
    if folder.exists():
        raise InputError(f"{shown(folder)} exists: name a new folder", code="study_exists")
    with new_folder(folder) as made:
        tasks = _tasks(made / "videos", names, files, words, given, tell or (lambda *_: None))
        people = tuple(Rater(secrets.token_hex(8), *each) for each in planned)
        study = Study(folder, secrets.token_hex(16), seed, tuple(files), tuple(aspects), tasks, people)
        _write(study, made / "study.json")
    return study


def differences(study: Study) -> list[str]:
    """Tasks whose videos differ in size, rate or length, a line each: raters can tell such systems apart."""
    lines = []
    for task in study.tasks:
        infos = [probe_video(study.video(token)) for token in task.videos]
        kinds = [(f"{info.width}×{info.height}", f"{info.fps:g} fps", f"{info.duration_s:.1f} s") for info in infos]
        if len(set(kinds)) > 1:
            each = "; ".join(f"{name} {', '.join(kind)}" for name, kind in zip(study.systems, kinds, strict=True))
            lines.append(f"videos of task {task.name} can be told apart: {each}")
    return lines


def _files(name: str, videos: Videos) -> dict[str, Path]:
    """Task → file."""
    if not isinstance(videos, Path):
        return dict(videos)
    if not videos.is_dir():
        raise InputError(f"'{name}': there is no folder {shown(videos)}", code="study_invalid")
    found: dict[str, Path] = {}
    for path in sorted(videos.iterdir()):
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            if path.stem in found:
                raise InputError(f"'{name}' has two videos of task {path.stem}; keep one", code="study_invalid")
            found[path.stem] = path
    return found


def _agreed(files: Mapping[str, Mapping[str, Path]]) -> list[str]:
    """The tasks that all systems have."""
    least, most = SYSTEMS
    if not least <= len(files) <= most:
        raise ConfigError(f"{len(files)} systems cannot be ranked on one page; give {least} to {most}")
    if any(not name.strip() or not name.isprintable() for name in files):
        raise ConfigError("a system has no name that can be printed")
    every = set().union(*files.values())
    for name, videos in files.items():
        if missing := sorted(every - set(videos)):
            few = ", ".join(missing[:5])
            raise InputError(f"'{name}' lacks {len(missing)} tasks that others have: {few}", code="study_invalid")
    if not every:
        raise InputError(f"there are no videos ({', '.join(ENDINGS)}) to rank", code="study_invalid")
    return sorted(every)


def _check_asked(
    aspects: Sequence[str], names: Sequence[str], prompts: Mapping[str, str], conditions: Mapping[str, Path]
) -> None:
    """Nobody can judge how well a video follows what is not shown."""
    if not aspects or len(set(aspects)) < len(aspects) or (set(aspects) - set(ASPECTS)):
        raise ConfigError(f"aspects are {', '.join(aspects) or 'none'}; give some of {', '.join(ASPECTS)}, each once")
    for aspect, what, has in (("prompt", "prompt", prompts), ("condition", "condition video", conditions)):
        missing = [name for name in names if not has.get(name)]
        if aspect in aspects and missing:
            raise InputError(
                f"{len(missing)} tasks have no {what} ({', '.join(missing[:5])}): give them, or leave aspect "
                f"'{aspect}' out",
                code="study_invalid",
            )
    if any(len(text) > PROMPT for text in prompts.values()):
        raise InputError(f"a prompt is longer than {PROMPT} characters; nobody reads that", code="study_invalid")


def _tasks(
    folder: Path,
    names: Sequence[str],
    files: Mapping[str, Mapping[str, Path]],
    prompts: Mapping[str, str],
    conditions: Mapping[str, Path],
    tell: Tell,
) -> tuple[Task, ...]:
    """Code every video anew under a random token."""
    folder.mkdir()
    total, done = len(names) * len(files) + sum(name in conditions for name in names), 0
    tasks = []
    for name in names:
        sources = [videos[name] for videos in files.values()] + ([conditions[name]] if name in conditions else [])
        tokens = []
        for source in sources:
            tokens.append(_coded(source, folder))
            done += 1
            tell(done, total, name)
        videos = tuple(tokens[: len(files)])
        _check_distinct(name, [folder / f"{token}.mp4" for token in videos], list(files))
        tasks.append(Task(name, prompts.get(name, ""), tokens[len(files)] if name in conditions else None, videos))
    return tuple(tasks)


def _coded(source: Path, folder: Path) -> str:
    """The token of a video that was coded anew; frames come at their mean rate where the source's rate varies."""
    token = secrets.token_hex(16)
    info = probe_video(source)
    with (
        VideoFrames(source, fps=None if info.constant_rate else info.fps) as video,
        VideoWriter(
            folder / f"{token}.mp4", fps=info.fps, size=(video.height, video.width), fragmented=False, crf=CRF
        ) as out,
    ):
        for frame in video.each(0, video.frames):
            out.write(frame[None])
    return token


def _check_distinct(task: str, files: Sequence[Path], systems: Sequence[str]) -> None:
    """The same pictures twice cannot be ranked, and are most likely a mistake in the folders."""
    seen: dict[bytes, str] = {}
    for path, system in zip(files, systems, strict=True):
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest in seen:
            raise InputError(
                f"'{seen[digest]}' and '{system}' have the same video of task {task}", code="study_invalid"
            )
        seen[digest] = system


def _write(study: Study, path: Path) -> None:
    facts = {"format": FORMAT, **{name: value for name, value in asdict(study).items() if name != "folder"}}
    write_bytes_atomically(path, json.dumps(facts, ensure_ascii=False).encode())
