"""HTML and SVG out of pieces: whatever is not markup already is text, and text is escaped."""

import html
import math

_EMPTY = frozenset({"img", "meta", "br", "wbr"})  # elements without an end


class Markup(str):
    """What may stand in a page as it is; only made here."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Any text of a stranger, safe between tags and in quoted attributes.

    What cannot be seen becomes the sign for that: control characters, halves of characters, and those that turn the
    direction of what is written after them.
    """
    if isinstance(value, Markup):
        return value
    seen = "".join(it if it.isprintable() or it == "\n" else "\N{REPLACEMENT CHARACTER}" for it in str(value))
    return Markup(html.escape(seen))


def element(name: str, *inside: object, **attributes: object) -> Markup:
    """`element("p", "a < b", class_="note")` is `<p class="note">a &lt; b</p>`.

    Args:
        inside: text or markup; None is left out.
        attributes: None and False are left out, True stands without a value; `_` is written `-`, but at the end, where
            it keeps the name from being one of Python's.
    """
    said = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in _EMPTY:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{together(*inside)}</{name}>")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def together(*parts: object) -> Markup:
    """One after the other; None is left out."""
    return Markup("".join(text(part) for part in parts if part is not None))


def digits(number: float) -> str:
    """Three digits that count, and never more than four after the point: 0.953, 12.3, 2,140, 4.2e-05."""
    size = abs(number)
    if size == 0 or not math.isfinite(size):
        return "0" if size == 0 else "–"
    if size < 1e-3:
        written = f"{number:.1e}"
    else:
        after = min(4, max(0, 2 - math.floor(math.log10(size))))
        written = f"{number:,.{after}f}"
    return written.replace("-", "−", 1) if number < 0 else written
