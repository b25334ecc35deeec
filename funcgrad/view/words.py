"""How lists, counts and long names are written, wherever something is shown."""

import re
import textwrap
import unicodedata
from collections.abc import Sequence


def listed(items: Sequence[str], most: int = 8, between: str = ", ") -> str:
    """The first few, and how many more: a loop may have as many operands as a model has parameters."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return between.join(items[:most]) + more


def shorter_lists(items: Sequence[str], between: str = ", ") -> list[str]:
    """A list of a few items, then of ever fewer."""
    few = min(len(items), 4)
    return [listed(items, 4, between), *(between.join([*items[:k], "…"]) for k in range(few - 1, 0, -1))]


def quantity(x: int | float, unit: str = "") -> str:
    """A count with a decimal prefix: `1.23 M`, `4.1 kB`."""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(x) < 1000 or prefix == "T":
            break
        x /= 1000
    digits = f"{x:.0f}" if x == int(x) and not prefix else f"{x:.3g}"
    return f"{digits} {prefix}{unit}".rstrip()


def columns_of(text: str) -> int:
    """How many columns of a terminal a text takes: letters of some scripts take two, accents none."""
    if text.isascii():
        return len(text)
    return sum(map(_columns_of_letter, text))


def _columns_of_letter(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int) -> str:
    """The text, ended by `…` where it takes more than `width` columns."""
    if columns_of(text) <= width:
        return text
    end = used = 0
    for letter in text:
        used += _columns_of_letter(letter)
        if used > width - 1:
            break
        end += 1
    return text[:end].rstrip() + "…"


def indentation(depth: int, width: int | None) -> str:
    """How far a line stands in: two columns for each level, as long as four fifths of the page are left."""
    return " " * (2 * depth if width is None else min(2 * depth, width // 5))


def wrapped(text: str, width: int | None, indent: int) -> list[str]:
    """A text on lines that fit, those after the first further in; one line where there is no limit."""
    if width is None:
        return [text]
    lines = textwrap.wrap(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
    return [cut(line, width) for line in lines]


def parts_of(path: str) -> list[str]:
    """The parts of a path; a slash that belongs to a name is escaped."""
    return re.split(r"(?<!\\)/", path)


def shorter_paths(path: str) -> list[str]:
    """A path, then ever shorter patterns that it matches: `a/b/**/y/z/sin`, `**/z/sin`, `**/sin`."""
    parts = parts_of(path)
    by_ends = ["/".join([*parts[:2], "**", *parts[-3:]])] if len(parts) > 6 else []
    by_end = ["/".join(["**", *parts[-n:]]) for n in (3, 2, 1) if len(parts) > n + 1]
    return [path, *by_ends, *by_end]
