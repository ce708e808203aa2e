"""Words by time."""

import json
from pathlib import Path

import pytest

from longvie.controls.text import LONGEST_PROMPT, MOST_LINES, Line, clean, from_entries, parse, read_timeline
from longvie.errors import ScriptError


def test_a_plain_prompt_is_one_line_without_an_end() -> None:
    timeline = parse("a red ball rolls")
    assert timeline.lines == (Line(0.0, "a red ball rolls"),)
    assert timeline.duration is None


def test_brackets_say_how_long_a_line_lasts() -> None:
    timeline = parse("a red ball[5s] | the red ball in a storm [ 2.5 ] | the ball at night[1min] | the ball rests")
    assert [line.time for line in timeline.lines] == [0, 5, 7.5, 67.5]
    assert timeline.lines[1].prompt == "the red ball in a storm"
    assert timeline.duration is None
    assert parse("a ball[500ms]|a ball[1s]").duration == 1.5
    assert timeline.at(7.49) == timeline.lines[1].prompt
    assert timeline.at(7.5) == timeline.lines[2].prompt
    assert timeline.at(1e9) == "the ball rests"


def test_other_brackets_and_escaped_bars_belong_to_the_words() -> None:
    assert parse(r"a ball [wide shot]").lines[0].prompt == "a ball [wide shot]"
    assert parse(r"black \| white").lines[0].prompt == "black | white"
    assert parse("{__class__} {0} %s").lines[0].prompt == "{__class__} {0} %s"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        (" \n\t ", "empty"),
        ("a ball | a storm", r"line 1 of 2 .* end it with a duration such as \[5s\]"),
        ("a ball[0s] | a storm", r"\[0s\] is no duration"),
        ("a ball[-3s]", r"\[-3s\] is no duration"),
        ("a ball[5x]", r"write a positive number of seconds"),
        ("a ball[1e5]", "no duration"),
        ("a ball[5s] | | x", "line 2 of 3 says nothing"),
        ("a ball[5s] | [5s]", "line 2 of 2 says nothing"),
        ("x" * (LONGEST_PROMPT + 1), f"{LONGEST_PROMPT + 1} characters, at most {LONGEST_PROMPT}"),
        ("x" * 1_000_000, "1000000 characters"),
        ("a ball \ud83d", "surrogate"),
        ("|".join(["a ball[1s]"] * (MOST_LINES + 1)), f"at most {MOST_LINES}"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_the_fix(text: str, match: str) -> None:
    with pytest.raises(ScriptError, match=match):
        parse(text)


def test_as_many_lines_as_are_allowed_are_read() -> None:
    assert len(parse("|".join(["a ball[1s]"] * MOST_LINES)).lines) == MOST_LINES


def test_cleaning_makes_text_safe_to_log() -> None:
    assert clean("cafe\u0301") == "café"
    assert clean("a\x00b\x1b[31mc\x7f") == "a b [31mc"
    assert clean("\u202eabc\u2066def") == "abcdef"
    assert clean("one\n\ntwo") == "one\n\ntwo"
    marked = "e" + "\u0301" * 4000
    assert clean(marked)  # many combining marks are ugly, not wrong


def test_entries_are_in_order_of_time() -> None:
    timeline = from_entries([{"time": 0, "prompt": "a ball"}, {"time": 5.5, "prompt": "the ball in a storm"}])
    assert timeline.lines == (Line(0.0, "a ball"), Line(5.5, "the ball in a storm"))


def test_an_entry_at_0_replaces_the_first_prompt_and_a_later_one_follows_it() -> None:
    assert from_entries([{"time": 0, "prompt": "new"}], first="old").lines == (Line(0.0, "new"),)
    assert [line.prompt for line in from_entries([{"time": 2, "prompt": "new"}], first="old").lines] == ["old", "new"]


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ([], "nothing is said at 0 s"),
        ([{"time": 2, "prompt": "x"}], "nothing is said at 0 s"),
        ([{"time": 0, "prompt": "x"}, {"time": 5, "prompt": "x"}, {"time": 3, "prompt": "x"}], "sort the list"),
        ([{"time": 0, "prompt": "x"}, {"time": 0, "prompt": "y"}], "keep one"),
        ([{"time": 0, "promt": "x"}], "did you mean 'prompt'"),
        ([{"time": 0}], "lacks 'prompt'"),
        ([{"time": "0", "prompt": "x"}], "needed is a number of seconds"),
        ([{"time": True, "prompt": "x"}], "needed is a number of seconds"),
        ([{"time": float("nan"), "prompt": "x"}], "needed is a number of seconds"),
        ([{"time": -1, "prompt": "x"}], "needed is a number of seconds"),
        ([{"time": 0, "prompt": 7}], "needed is text"),
        ([{"time": 0, "prompt": " "}], r"prompts\[0\]: the prompt is empty"),
        (["a ball"], r"prompts\[0\] is str"),
        ([{"time": 0, "prompt": "x"}] * (MOST_LINES + 1), f"at most {MOST_LINES}"),
    ],
)
def test_entries_that_cannot_be_followed_are_refused(entries: list, match: str) -> None:
    with pytest.raises(ScriptError, match=match):
        from_entries(entries)


def test_a_line_past_the_end_is_refused_once_the_end_is_known() -> None:
    timeline = parse("a ball[5s] | the ball jumps")
    assert timeline.within(5.1) is timeline
    with pytest.raises(ScriptError, match=r"begins at 5 s, the video ends at 5 s"):
        timeline.within(5.0)


def test_lines_that_share_no_subject_are_pointed_out() -> None:
    assert "repeat the subject" in parse("a red ball[5s] | a storm[10s]").warnings[0]
    assert parse("a red ball[5s] | two red balls in a storm").warnings == ()
    assert parse("a red ball[5s] | a red tower").warnings != ()  # a colour is no subject
    assert parse("红球[5s] | 暴风雨").warnings == ()  # no spaces, no verdict


def test_a_timeline_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps([{"time": 0, "prompt": "a ball"}]))
    assert read_timeline(path).lines == (Line(0.0, "a ball"),)
    path.write_text('{"time": 0}')
    with pytest.raises(ScriptError, match="holds no list"):
        read_timeline(path)
