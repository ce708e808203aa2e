"""Rows 1 to 12 of the reliability table: text, JSON, configuration; each through the command line."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from reliability_command import MIB, Command

from longvie.runs import Run

PROMPT_BYTES = 2**20
LETTERS = "abcdefghij"


def written(command: Command, name: str, text: str | bytes | object) -> Path:
    """A file in the room; what is no text is written as JSON."""
    path = command.room / name
    data = text if isinstance(text, bytes) else (text if isinstance(text, str) else json.dumps(text)).encode()
    path.write_bytes(data)
    return path


# 1, 2: empty and endless prompts


@pytest.mark.parametrize("prompt", ["", " ", "\t\n \u00a0", "\u200e\ufeff"])
def test_row_1_an_empty_prompt_is_refused(longvie: Command, prompt: str) -> None:
    assert "empty" in longvie.refuses("--prompt", prompt)


def test_row_1_no_prompt_at_all_is_refused(longvie: Command) -> None:
    assert "prompt" in longvie.refused("generate", "--model", "tiny")


@pytest.mark.parametrize("size", [4097, PROMPT_BYTES])
def test_row_2_a_long_prompt_is_refused_with_the_limit(longvie: Command, size: int) -> None:
    line = longvie.refuses("--prompt", "a" * size)
    assert "4096" in line
    assert str(size) in line


def test_row_2_the_longest_prompt_is_taken(longvie: Command) -> None:
    longvie.accepts("--prompt", "a ball " * 585, "--frames", "1")


# 3: strange characters


def test_row_3_half_a_character_is_refused(longvie: Command) -> None:
    longvie.refuses("--prompt", "a \ud800 ball")


def test_row_3_ten_thousand_combining_marks_are_refused(longvie: Command) -> None:
    longvie.refuses("--prompt", "a" + "\u0301" * 10_000)


@pytest.mark.parametrize("prompt", ["a ball\0 rolls", "a \u202eball\u202c rolls", "a ba\u0301ll", "a \x1b[31mball\x07"])
def test_row_3_control_characters_are_taken_out_and_never_printed(longvie: Command, prompt: str) -> None:
    said = longvie.accepts("--prompt", prompt, "--frames", "1")
    kept = Run.open(longvie.room / "video.run").facts["request"]["script"]["prompts"][0]["prompt"]
    for text in (kept, *said.out.splitlines(), *said.err.splitlines()):
        assert text.isprintable()


def test_row_3_names_with_control_characters_cannot_write_lines_of_their_own(longvie: Command) -> None:
    line = longvie.refuses("--depth", "x\nerror: all is well\x1b[2J.npz")
    assert line.count("error:") <= 2
    assert "\x1b" not in line


# 4: numbers that are none


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "abc", ""])
@pytest.mark.parametrize("option", ["--fps", "--duration", "--guidance", "--depth-strength"])
def test_row_4_numbers_on_the_command_line(longvie: Command, option: str, value: str) -> None:
    longvie.refuses(option, value)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e400", '"16"', "true", "[16]", "{}"])
@pytest.mark.parametrize("field", ["fps", "duration", "frames"])
def test_row_4_numbers_in_a_file_are_refused_by_the_name_of_their_field(
    longvie: Command, field: str, value: str
) -> None:
    config = written(longvie, "c.json", f'{{"model": {{"ckpt": "tiny", "{field}": {value}}}}}')
    assert field in longvie.refuses("--config", config)


@pytest.mark.parametrize("value", ["NaN", "1e400", '"0"', "true", "-1"])
def test_row_4_times_in_scripts(longvie: Command, value: str) -> None:
    prompts = written(longvie, "p.json", f'[{{"time": {value}, "prompt": "a ball"}}]')
    assert "time" in longvie.refuses("--prompts", prompts)


def test_row_4_minus_zero_is_zero(longvie: Command, scene: Path) -> None:
    said = longvie.accepts(
        "--frames", "1", "--depth", scene / "depth.npz", "--align", "trim", "--depth-strength", "-0.0"
    )
    assert "strength 0" in said.err


# 5: documents made to hurt


@pytest.mark.parametrize("option", ["--config", "--prompts", "--keyframes", "--beats", "--conditions"])
@pytest.mark.parametrize("name", ["twice", "deep", "deep-open", "large", "not-utf8", "torn", "nothing"])
def test_row_5_documents_that_are_refused_cheaply(longvie: Command, option: str, name: str) -> None:
    bad = {
        "twice": b'{"seed": 1, "seed": 2}',
        "deep": b"[" * 10_000 + b"]" * 10_000,
        "deep-open": b'{"a":' * 10_000,
        "large": b" " * (50 * MIB),
        "not-utf8": b'{"seed": "\xff"}',
        "torn": b'{"seed": 1',
        "nothing": b"",
    }[name]
    path = written(longvie, "document.json", bad)
    with longvie.monkeypatch.context() as still:
        still.setattr("longvie.api.load_models", lambda *_: pytest.fail("weights were read"))
        said = longvie(*longvie.generate(option, path))
    assert said.code in (2, 3)
    assert said.seconds < 10
    if name in ("twice", "deep", "deep-open", "large"):
        assert said.grown < 20 * MIB


def test_row_5_a_million_values_are_refused(longvie: Command) -> None:
    longvie.refuses("--config", written(longvie, "c.json", b'{"a": [' + b"0," * 200_000 + b"0]}"))


# 6: misspelt names


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        (("--promt", "x"), "--prompt"),
        (("--stepps", "3"), "--steps"),
        (("--dept", "x"), "--depth"),
        (("--set", "engine.sean=pixel"), "engine.seam"),
        (("--set", "sampling.stepss=2"), "sampling.steps"),
    ],
)
def test_row_6_misspelt_options_name_the_nearest_right_one(
    longvie: Command, arguments: tuple[str, ...], right: str
) -> None:
    assert f"did you mean '{right}'?" in longvie.refuses(*arguments)


@pytest.mark.parametrize(
    ("option", "document", "right"),
    [
        ("--config", {"modle": {"ckpt": "tiny"}}, "model"),
        ("--prompts", [{"tme": 0, "prompt": "a ball"}], "time"),
        ("--keyframes", {"keyframs": []}, "keyframes"),
        ("--keyframes", {"keyframes": [{"time": 0, "imag": "a.png"}]}, "image"),
        ("--conditions", [{"text": "a ball", "dept": "d.mp4"}], "depth"),
    ],
)
def test_row_6_misspelt_fields_name_the_nearest_right_one(
    longvie: Command, option: str, document: object, right: str
) -> None:
    line = longvie.refuses(option, written(longvie, "d.json", document))
    assert f"did you mean '{right}'" in line


# 7: sizes and counts


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "7x7"),
        ("--size", "0x0"),
        ("--size", "-16x16"),
        ("--size", "100000x100000"),
        ("--size", "8192x8192"),
        ("--size", "9" * 5000),
        ("--fps", "0"),
        ("--fps", "1e6"),
        ("--fps", "-16"),
        ("--duration", "1e9"),
        ("--duration", "0"),
        ("--frames", "0"),
        ("--frames", "1000000000"),
        ("--frames", "9" * 5000),
        ("--steps", "1000000000"),
        ("--steps", "0"),
        ("--frames", "60000", "--steps", "1000", "--set", "model.ckpt=longvie-2"),
        ("--frames", "60000", "--fps", "240"),
    ],
)
def test_row_7_sizes_and_counts_out_of_range(longvie: Command, arguments: tuple[str, ...]) -> None:
    if "model.ckpt=longvie-2" in arguments:
        line = longvie.refused("generate", "--prompt", "a ball", "--model", "longvie-2", *arguments[:4], codes=(3,))
        assert "pixel steps" in line
    else:
        longvie.refuses(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--duration", "1e9"),
        ("--duration", "nan"),
        ("--frames", "-1"),
        ("--frames", "1000000000"),
        ("--size", "7x7"),
        ("--size", "100000x100000"),
        ("--fps", "0"),
        ("--fps", "nan"),
        ("--fps", "1e6"),
        ("--points", "0"),
        ("--points", "100000000"),
        ("--seed", "-1"),
        ("--seed", str(2**64)),
        ("--split", "both"),
    ],
)
def test_row_7_the_world_has_limits_too(longvie: Command, arguments: tuple[str, ...]) -> None:
    longvie.refused("world", "render", "--out", "scene", *arguments)
    assert not (longvie.room / "scene").exists()


# 8: seeds


@pytest.mark.parametrize("seed", ["-2", str(2**63), str(2**64), "abc", "1.5", "", "9" * 5000])
def test_row_8_seeds_that_are_none(longvie: Command, seed: str) -> None:
    assert "seed" in longvie.refuses("--seed", seed)


def test_row_8_minus_one_draws_a_seed_and_records_it(longvie: Command) -> None:
    said = longvie.accepts("--seed", "-1", "--frames", "1")
    seed = Run.open(longvie.room / "video.run").facts["request"]["script"]["seed"]
    assert seed >= 0
    assert f"seed {seed}" in said.out
    again = longvie.accepts("--seed", "-1", "--frames", "1")  # the same command finds its video
    assert "finished already" in again.out


# 9: YAML


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in pairwise(LETTERS)),
        "seed: !!python/object/apply:os.system ['touch owned']\n",
        "seed: !!python/name:os.system\n",
        "a: &a\n  b: *a\n",
        "seed: 1\n---\nseed: 2\n",
        "[" * 10_000,
        "a: " + "b" * (2 * MIB),
    ],
    ids=["bomb", "object", "name", "loop", "two", "deep", "large"],
)
def test_row_9_yaml_builds_nothing(longvie: Command, text: str) -> None:
    longvie.refuses("--config", written(longvie, "c.yaml", text))
    assert not (longvie.room / "owned").exists()


# 10: timelines


@pytest.mark.parametrize(
    "prompts",
    [
        [{"time": 2, "prompt": "b"}, {"time": 1, "prompt": "a"}],
        [{"time": 0, "prompt": "b"}, {"time": 0, "prompt": "a"}],
        [{"time": 0, "prompt": "b"}, {"time": 99, "prompt": "a"}],
        [{"time": 1, "prompt": "b"}],
        [],
        [{"time": at / 1e4, "prompt": "b"} for at in range(100_000)],
    ],
    ids=["unsorted", "overlapping", "past the end", "nothing at 0", "empty", "100 000"],
)
def test_row_10_timelines_that_cannot_be_followed(longvie: Command, prompts: list[dict[str, object]]) -> None:
    longvie.refuses("--prompts", written(longvie, "p.json", prompts), "--duration", "3")


@pytest.mark.parametrize("prompt", ["a[2s] | ", "a | b[2s]", "a[0s] | b", "a[-1] | b", "a[x1] | b | ", "a[1e999s] | b"])
def test_row_10_timelines_on_the_command_line(longvie: Command, prompt: str) -> None:
    longvie.refuses("--prompt", prompt)


def test_row_10_a_line_at_0_replaces_the_first(longvie: Command) -> None:
    prompts = written(
        longvie, "p.json", [{"time": 0, "prompt": "a storm"}, {"time": 0.5, "prompt": "a storm at night"}]
    )
    longvie.accepts("--prompts", prompts, "--prompt", "a ball", "--frames", "17")
    said = Run.open(longvie.room / "video.run").facts["request"]["script"]["prompts"]
    assert [line["prompt"] for line in said] == ["a storm", "a storm at night"]


# 11: keyframes


@pytest.mark.parametrize(
    "change",
    [{"strength": 2.0}, {"strength": -0.1}, {"strength": True}, {"time": 99}, {"time": -1}, {"image": "../none.png"}],
    ids=str,
)
def test_row_11_keyframes_out_of_range(longvie: Command, scene: Path, change: dict[str, object]) -> None:
    entry = {"time": 0.5, "image": str(scene / "first.png"), **change}
    longvie.refuses("--frames", "17", "--keyframes", written(longvie, "k.json", {"keyframes": [entry]}))


def test_row_11_a_keyframe_on_the_end_is_taken(longvie: Command, scene: Path) -> None:
    entry = {"time": 17 / 16, "image": str(scene / "first.png"), "strength": 1}
    longvie.accepts("--frames", "17", "--keyframes", written(longvie, "k.json", {"keyframes": [entry]}))


# 12: templates


@pytest.mark.parametrize(
    "prompt", ["{__class__} {0} {prompt.__init__.__globals__}", "%s %(x)s", "$HOME ${x} `id`", "[red]x[/]"]
)
def test_row_12_words_are_never_a_template(longvie: Command, prompt: str) -> None:
    said = longvie.accepts("--prompt", prompt, "--frames", "1")
    facts = Run.open(longvie.room / "video.run").facts
    assert facts["request"]["script"]["prompts"][0]["prompt"] == prompt
    assert "function" not in said.err
    listed = longvie("runs", "list", str(longvie.room))
    assert prompt[:10] in listed.out
