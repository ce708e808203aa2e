"""A run's log: what was made when, and when what was asked for on the way was seen."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from longvie.errors import InputError
from longvie.evaluation.families import speed, switch
from longvie.evaluation.metric import Facts, Refused, Value
from longvie.evaluation.runlog import logged, spent
from longvie.journal import checksum

FACTS = Facts(fps=16.0, frames=32, size=(48, 64))


def entry(second: float, event: str, **facts: Any) -> dict[str, Any]:
    now = datetime.fromtimestamp(1_700_000_000 + second, timezone.utc).isoformat(timespec="milliseconds")
    return {"event": event, "time": now, **facts}


def write(folder: Path, *entries: dict[str, Any]) -> Path:
    (folder / "v.run").mkdir()
    before, lines = "", []
    for line in entries:
        line["sum"] = before = checksum(before, line)
        lines.append(json.dumps(line, sort_keys=True, separators=(",", ":")))
    (folder / "v.run" / "events.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder / "v.mp4"


def test_borders_and_time_come_from_the_log(tmp_path: Path) -> None:
    video = write(tmp_path, entry(0, "created"), entry(1.5, "part", start=0, stop=16),
                  entry(2.25, "part", start=16, stop=32), entry(2.5, "finished", frames=32))  # fmt: skip
    facts = logged(FACTS, video)
    assert facts.borders == (16,)
    assert facts.spent == pytest.approx(2.5)
    assert {"log", "borders"} <= facts.known


def test_a_pause_between_stop_and_going_on_is_not_counted() -> None:
    entries = [entry(0, "created"), entry(2, "part", start=0, stop=16), entry(1000, "resumed", part=1),
               entry(1003, "part", start=16, stop=32)]  # fmt: skip
    assert spent(entries) == pytest.approx(5.0)


def test_a_video_without_a_log_is_as_it_was(tmp_path: Path) -> None:
    assert logged(FACTS, tmp_path / "v.mp4") is FACTS


def test_a_log_of_a_shorter_video_is_not_this_videos(tmp_path: Path) -> None:
    video = write(tmp_path, entry(0, "created"), entry(1, "part", start=0, stop=16))
    with pytest.raises(InputError, match="ends before its frames do"):
        logged(FACTS, video)


def test_a_changed_log_is_refused(tmp_path: Path) -> None:
    video = write(tmp_path, entry(0, "created"), entry(1, "part", start=0, stop=32), entry(2, "finished", frames=32))
    log = tmp_path / "v.run" / "events.jsonl"
    log.write_text(log.read_text().replace('"stop":32', '"stop":64'))
    with pytest.raises(InputError):
        logged(FACTS, video)


def test_speed_is_of_everything_to_the_file(tmp_path: Path) -> None:
    video = write(tmp_path, entry(0, "created"), entry(1, "part", start=0, stop=32), entry(4, "finished", frames=32))
    found = speed.FAMILY.open(logged(FACTS, video)).values()
    assert found["speed.to_file"] == Value(8.0, 32)
    assert found["speed.real_time"] == Value(0.5, 32)


def test_a_change_on_the_way_takes_until_its_first_frame_is_there(tmp_path: Path) -> None:
    video = write(
        tmp_path, entry(0, "created"), entry(0.5, "part", start=0, stop=8),
        entry(0.7, "steered", change="words", prompt="rain", asked=entry(0.6, "")["time"], frame=16),
        entry(0.8, "steered", change="strength", control="depth", strength=0.0, asked=entry(0.6, "")["time"], frame=16),
        entry(0.9, "part", start=8, stop=16),
        entry(1.3, "part", start=16, stop=24), entry(1.8, "part", start=24, stop=32),
    )  # fmt: skip
    found = switch.FAMILY.open(logged(FACTS, video)).values()
    wall = found["switch.wall"]
    assert isinstance(wall, Value) and wall.number == pytest.approx(700.0) and wall.n == 1


def test_without_a_change_on_the_way_there_is_no_latency(tmp_path: Path) -> None:
    video = write(tmp_path, entry(0, "created"), entry(1, "part", start=0, stop=32))
    assert isinstance(switch.FAMILY.open(logged(FACTS, video)).values()["switch.wall"], Refused)
