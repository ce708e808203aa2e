"""Requests and settings as text: JSON and YAML, read strictly.

Both give the same plain values: dictionaries with text keys, lists, text, whole numbers, finite numbers, true, false,
null. What parsers usually let pass is refused and named: NaN and infinity, numbers too large for a float, the same key
twice, text that is not Unicode, deep nesting. YAML is read by the rules of version 1.2, so that `1e-4` is a number and
`no`, `1:30` and dates are text; anchors are allowed in moderation, tags never build objects.
"""

import json
import math
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from longvie.errors import ConfigError, InputError, LimitError
from longvie.limits import LOCAL, Limits
from longvie.media.files import open_regular, shown

_Field = tuple[Any, str | int] | None  # a name or number, and the field that it is in
# Strings are swallowed whole (also one without an end), so that brackets in them do not count.
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\Z)|[\[{]|[\]}]', re.DOTALL)


def read_json(source: Path | bytes, *, limits: Limits = LOCAL, error: type[InputError] = ConfigError) -> Any:
    """The value of a JSON document (RFC 8259, UTF-8).

    Args:
        source: a file, or the text itself as bytes.
        error: the class to raise, for messages about scripts rather than settings.

    Raises:
        InputError: of the class `error`; not JSON, or refused as the top of this file says; names the field.
        LimitError: too long, too deep, too many values; found before anything is built.
    """
    text, what = _text(source, "JSON", limits.document_bytes, limits, error)
    _check_nesting(text, what, limits)
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, what, error))
    except json.JSONDecodeError as reason:
        raise error(f"{what} is not JSON: {reason.msg} at line {reason.lineno}, column {reason.colno}") from None
    except ValueError:  # Python reads no whole number of more than 4300 digits
        raise error(f"{what} holds a number with thousands of digits") from None
    return _plain(value, what, limits, error)


def read_yaml(source: Path | bytes, *, limits: Limits = LOCAL, error: type[InputError] = ConfigError) -> Any:
    """The value of one YAML document, of the same kinds as JSON has; arguments and errors as in `read_json`."""
    text, what = _text(source, "YAML", limits.yaml_bytes, limits, error)
    try:
        _check_events(text, what, limits, error)
        value = yaml.load(text, Loader=_Yaml)
    except yaml.MarkedYAMLError as reason:
        line = f" at line {reason.problem_mark.line + 1}" if reason.problem_mark else ""
        raise error(f"{what} is not YAML that is read here{line}: {_printable(reason.problem)}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise error(f"{what} is not YAML that is read here") from None
    return _plain(value, what, limits, error)


def _text(source: Path | bytes, kind: str, ceiling: int, limits: Limits, error: type[InputError]) -> tuple[str, str]:
    """The decoded text, and what to call it in a message."""
    name = "yaml_bytes" if kind == "YAML" else "document_bytes"
    if isinstance(source, bytes):
        data, what = source, f"the {kind} text"
    else:
        what = shown(source)
        with open_regular(source, limits=limits, error=error) as file:
            data = file.read(ceiling + 1)
    limits.check(name, len(data), what)
    try:
        return data.decode("utf-8-sig"), what
    except UnicodeDecodeError as reason:
        raise error(f"{what} is not UTF-8 text (byte {reason.start})") from None


def _check_nesting(text: str, what: str, limits: Limits) -> None:
    """Depth and count of objects and lists, before the parser recurses into them."""
    depth = opened = 0
    for found in _BRACKETS.finditer(text):
        mark = found[0][0]
        if mark in "[{":
            depth, opened = depth + 1, opened + 1
            if depth > limits.document_depth or opened > limits.document_items:
                raise _too_much(depth, opened, what, limits)
        elif mark in "]}":
            depth -= 1


def _unique(pairs: list[tuple[str, Any]], what: str, error: type[InputError]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise error(f"{what} gives '{_printable(twice)}' twice; which one counts?")
    return fields


class _Yaml(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML with the scalars of JSON and no key twice."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - theirs

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.constructor.ConstructorError(None, None, f"'{twice}' is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _scalar(tag: str, pattern: str, first: str) -> None:
    _Yaml.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))


_scalar("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_scalar("null", "~|null|Null|NULL", "~nN")
_Yaml.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^$"), [""])
_scalar("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789")
_scalar(
    "float",
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+.0123456789",
)
_scalar("merge", "<<", "<")


def _check_events(text: str, what: str, limits: Limits, error: type[InputError]) -> None:
    """Depth, size, aliases and documents, before anything is built."""
    depth = aliases = documents = 0
    for items, event in enumerate(yaml.parse(text, Loader=_Yaml)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > limits.document_depth or items > limits.document_items:
                raise _too_much(depth, items, what, limits)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
            limits.check("yaml_aliases", aliases, what)
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise error(f"{what} holds several YAML documents; give one")


def _plain(value: Any, what: str, limits: Limits, error: type[InputError]) -> Any:
    """Walk what was built; aliases count each time they are used, so that a small text cannot stand for a large one."""
    waiting: list[tuple[_Field, Any, int]] = [(None, value, 0)]
    items = 0
    while waiting:
        field, item, depth = waiting.pop()
        items += 1
        if depth > limits.document_depth or items > limits.document_items:
            raise _too_much(depth, items, what, limits)
        if isinstance(item, dict):
            waiting += [((field, name), inner, depth + 1) for name, inner in item.items()]
        elif isinstance(item, list):
            waiting += [((field, index), inner, depth + 1) for index, inner in enumerate(item)]
        if item is not None and type(item) not in (bool, int) and (problem := _problem(item)):
            where = f"field '{_printable(_dotted(field))}' of {what}" if field else what
            raise error(f"{where} {problem}")
    return value


def _dotted(field: _Field) -> str:
    names = []
    while field is not None:
        field, name = field
        names.append(f"[{name}]" if isinstance(name, int) else f".{name}")
    return "".join(reversed(names)).lstrip(".")


def _problem(item: Any) -> str | None:
    """What is wrong with one value, its fields aside."""
    if isinstance(item, float):
        return None if math.isfinite(item) else f"is {item}; a finite number is needed"
    if isinstance(item, dict):
        odd = next((name for name in item if not isinstance(name, str) or not _is_unicode(name)), None)
        return None if odd is None else f"has the key {_printable(repr(odd))}, which is not text; put it in quotes"
    if isinstance(item, str):
        return None if _is_unicode(item) else "holds half of a surrogate pair, which is not text"
    return None if isinstance(item, list) else f"is a {type(item).__name__}; text, numbers, lists and fields are read"


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _too_much(depth: int, items: int, what: str, limits: Limits) -> LimitError:
    ceilings = f"{limits.document_depth} levels and {limits.document_items:,} items"
    return LimitError(f"{what} holds {items:,} items on {depth} levels or more; up to {ceilings} are accepted")


def _printable(text: str | None) -> str:
    """Text of strangers, short and without control characters, for a message."""
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text or "")
    return clean if len(clean) <= 80 else clean[:79] + "…"
