"""What is read from JSON and YAML, and what is refused and how it is named."""

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from longvie.documents import read_json, read_yaml
from longvie.errors import ConfigError, InputError, LimitError, ScriptError
from longvie.limits import Limits


def refused(read: Callable[[], object]) -> str:
    began = time.process_time()
    with pytest.raises((InputError, LimitError)) as info:
        read()
    assert time.process_time() - began < 1
    said = str(info.value)
    assert len(said) < 300 and said.isprintable() and "Traceback" not in said
    return said


PLAIN: dict[str, Any] = {"a": [1, -2.5, True, None, "ö\n"], "b": {"c": {}, "d": []}, "e": 1e-4}


def test_plain_values_come_back(tmp_path: Path) -> None:
    json_text = b'{"a": [1, -2.5, true, null, "\\u00f6\\n"], "b": {"c": {}, "d": []}, "e": 1e-4}'
    yaml_text = 'a: [1, -2.5, true, null, "ö\\n"]\nb:\n  c: {}\n  d: []\ne: 1e-4\n'.encode()
    assert read_json(json_text) == read_yaml(yaml_text) == read_yaml(json_text) == PLAIN
    assert read_json(b"\xef\xbb\xbf" + json_text) == PLAIN  # a byte order mark is not part of the text
    (tmp_path / "x.json").write_bytes(json_text)
    (tmp_path / "x.yaml").write_bytes(yaml_text)
    assert read_json(tmp_path / "x.json") == read_yaml(tmp_path / "x.yaml") == PLAIN


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"sampling": {"scale": [1, NaN]}}', "field 'sampling.scale[1]' of the JSON text is nan; a finite number"),
        ('{"seconds": Infinity}', "field 'seconds' of the JSON text is inf"),
        ('{"seconds": -Infinity}', "is -inf"),
        ('{"seconds": 1e400}', "field 'seconds' of the JSON text is inf"),
        ("NaN", "the JSON text is nan"),
        ('{"a": 1, "b": {"seed": 1, "seed": 2}}', "gives 'seed' twice"),
        ('{"a\\n": 1, "a\\n": 2}', "gives 'a�' twice"),
        ('{"a": ' + "9" * 5000 + "}", "thousands of digits"),
        ('{"a": "\\ud800"}', "field 'a' of the JSON text holds half of a surrogate pair"),
        ('{"\\ud800": 1}', "has the key"),
        ("", "is not JSON: Expecting value at line 1, column 1"),
        ("{'a': 1}", "is not JSON"),
        ('{"a": 1}\n{"b": 2}', "is not JSON: Extra data at line 2"),
        ('{"a": 01}', "is not JSON"),
        ('{"a": "\t"}', "is not JSON: Invalid control character"),
        ("// comment\n1", "is not JSON"),
    ],
)
def test_json_that_is_refused(text: str, said: str) -> None:
    assert said in refused(lambda: read_json(text.encode()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: .nan", "field 'a' of the YAML text is nan"),
        ("a: [1, {b: -.inf}]", "field 'a[1].b' of the YAML text is -inf"),
        ("a: 1e400", "is inf"),
        ("seed: 1\nseed: 2", "'seed' is given twice"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: !!binary aGVsbG8=", "is a bytes"),
        ("a: !!set {x}", "is a set"),
        ("a: !!timestamp 2020-01-01", "is a date"),
        ("1: one", "has the key 1, which is not text"),
        ("true: one", "has the key True"),
        ("? [a, b]\n: c", "unhashable"),
        ("a: 1\n---\nb: 2", "several YAML documents"),
        ("a: 'b", "is not YAML that is read here at line"),
        ("a:\n\t- b", "is not YAML"),
        ("a: \x00", "is not YAML"),
        ("a: " + "9" * 5000, "is not YAML"),
        ("a: *nowhere", "undefined alias"),
    ],
)
def test_yaml_that_is_refused(text: str, said: str) -> None:
    assert said in refused(lambda: read_yaml(text.encode()))


def test_yaml_scalars_are_those_of_version_1_2() -> None:
    text = b"[1e-4, -3, 0, .5, 1., +2, no, On, 1:30, 2020-01-01, 0o17, 017, 1_000, 0x1F, 5s, ~, '', <, e5, '1']"
    read = read_yaml(text)
    assert read == [1e-4, -3, 0, 0.5, 1.0, 2, "no", "On", "1:30", "2020-01-01", "0o17", "017", "1_000", "0x1F", "5s",
                    None, "", "<", "e5", "1"]  # fmt: skip
    assert [type(value) for value in read[:6]] == [float, int, int, float, float, int]


def test_anchors_and_merging_in_moderation() -> None:
    assert read_yaml(b"base: &b {x: 1, y: 2}\nmore:\n  <<: *b\n  y: 3\n")["more"] == {"x": 1, "y": 3}
    assert "aliases, at most 100" in refused(lambda: read_yaml(b"a: &a 1\nb: [" + b"*a," * 101 + b"]"))


def test_alias_bombs_count_what_they_stand_for() -> None:
    rows = [b"a: &a [1,1,1,1,1,1,1,1,1]"]
    for name, before in zip(b"bcdefghi", b"abcdefgh", strict=True):
        rows.append(b"%c: &%c [%s]" % (name, name, b",".join([b"*%c" % before] * 9)))
    assert "items" in refused(lambda: read_yaml(b"\n".join(rows), limits=Limits(document_items=100_000)))
    assert "levels" in refused(lambda: read_yaml(b"a: &a [*a]"))


@pytest.mark.parametrize("read", [read_json, read_yaml])
def test_depth(read: Callable[[bytes], object]) -> None:
    assert read(b"[" * 32 + b"]" * 32) is not None
    assert read(b'["' + b"[" * 100 + b'", "\\"[[[["]' + b" " * 50) is not None  # brackets in text do not count
    for bomb in (b"[" * 33 + b"]" * 33, b"[" * 10_000, b'{"a":' * 10_000, b"[" * 10_000 + b"]" * 10_000):
        assert "levels" in refused(lambda bomb=bomb: read(bomb))


def test_size_is_checked_before_reading(tmp_path: Path) -> None:
    with (tmp_path / "big.json").open("wb") as file:
        file.truncate(50 * 2**20)
    (tmp_path / "big.yaml").write_bytes(b"- 1\n" * 2**17)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "bytes of text, at most 8,388,608" in refused(lambda: read_json(tmp_path / "big.json"))
    assert "bytes of text, at most 262,144" in refused(lambda: read_yaml(tmp_path / "big.yaml"))
    assert "2 bytes of text, at most 1" in refused(lambda: read_json(b"11", limits=Limits(document_bytes=1)))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20 * 1024  # kB


def test_many_small_items() -> None:
    few = Limits(document_items=10_000)
    for text in (b"[" + b"1," * 10_001 + b"1]", b"[" + b"[]," * 10_001 + b"1]"):
        assert "items" in refused(lambda text=text: read_json(text, limits=few))
    assert "items" in refused(lambda: read_yaml(b"- 1\n" * 10_001, limits=few))
    assert "is not JSON" in refused(lambda: read_json(b'"' + b'\\"' * 10**6))  # one text without an end


def test_the_asker_names_the_class_of_error(tmp_path: Path) -> None:
    with pytest.raises(ScriptError, match=r"there is no file 'x\.json'"):
        read_json(tmp_path / "x.json", error=ScriptError)
    (tmp_path / "link.yaml").symlink_to(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match="is a symbolic link"):
        read_yaml(tmp_path / "link.yaml")
    with pytest.raises(ScriptError, match="is not UTF-8 text \\(byte 1\\)"):
        read_json(b"1\xff", error=ScriptError)
