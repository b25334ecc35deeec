"""Cells in columns, on lines that fit a page.

A cell is a text, or several, from the longest to the shortest, of which the first that fits is shown. Where all at
their longest are too wide, the column of the highest rank becomes narrower, then the widest ones; where even the
narrowest are, columns are left out, by rank. What fits in no form is cut, and ends in `…`.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from funcgrad.naming import printable
from funcgrad.view.words import columns_of, cut

PAGE = 100
"""How wide a page is where no terminal says so."""
_GAP = 2
_TIGHT = 12
"""How narrow texts are made where a page is too narrow for what they ask for."""

Cell = str | Sequence[str]


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    title: str
    least: int | None = None
    """How narrow it may become; None for numbers, which are shown whole and stand on the right."""
    rank: int = 0
    """The higher, the sooner it is made narrower and left out; 0: never left out."""


def page_width() -> int:
    """How wide a page is: as the terminal that is printed to, or `COLUMNS` in the environment, has it; else 100."""
    return shutil.get_terminal_size((PAGE, 0)).columns


def lay_out(columns: Sequence[Column], lines: Sequence[Sequence[Cell]], width: int | None) -> list[str]:
    """The lines of a table of at most `width` columns of a terminal, titles first; None for no limit."""
    cells = [[_forms(cell) for cell in line] for line in ([c.title for c in columns], *lines)]
    widest = [max(columns_of(line[i][0]) for line in cells) for i in range(len(columns))]
    chosen = list(range(len(columns)))
    if width is not None:
        chosen = _kept(columns, widest, width)
        widest = _narrowed(columns, widest, chosen, width)
    widths = [max(columns_of(_fitting(line[i], widest[i])) for line in cells) for i in range(len(columns))]
    if width is not None:
        widths = _widened(columns, cells, widths, chosen, width)
    is_left = [columns[i].least is not None for i in chosen]
    kept = [widths[i] for i in chosen]
    shown = [[_fitting(line[i], widths[i]) for i in chosen] for line in cells]
    return ["".join(map(_padded, line, kept, is_left)).rstrip() for line in shown]


def _forms(cell: Cell) -> list[str]:
    return [printable(text) for text in ((cell,) if isinstance(cell, str) else cell)]


def _padded(text: str, width: int, is_left: bool) -> str:
    space = " " * (width - columns_of(text))
    return f"{text}{space}{' ' * _GAP}" if is_left else f"{space}{text}{' ' * _GAP}"


def _narrowest(column: Column, widest: int) -> int:
    return widest if column.least is None else min(widest, max(column.least, columns_of(column.title)))


def _kept(columns: Sequence[Column], widest: Sequence[int], width: int) -> list[int]:
    """The columns that there is room for, by position."""
    kept = list(range(len(columns)))
    least = [_narrowest(c, w) for c, w in zip(columns, widest, strict=True)]
    while _total(least, kept) > width and any(columns[i].rank for i in kept):
        kept.remove(max(kept, key=lambda i: columns[i].rank))
    return kept


def _narrowed(columns: Sequence[Column], widest: Sequence[int], kept: Sequence[int], width: int) -> list[int]:
    """How wide each column may be, so that those that are kept fit; where numbers alone do not, as wide as it may."""
    room = [min(w, width) if c.least is not None else w for c, w in zip(columns, widest, strict=True)]
    least = [_narrowest(c, w) for c, w in zip(columns, room, strict=True)]
    tight = [w if c.least is None else min(w, _TIGHT) for c, w in zip(columns, least, strict=True)]
    if _total(least, kept) > width >= _total(tight, kept):
        least = tight
    for _ in range(_total(room, kept) - width):
        wide = [i for i in kept if room[i] > least[i]]
        if not wide:
            break
        room[max(wide, key=lambda i: (columns[i].rank, room[i]))] -= 1
    return room


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[i] + _GAP for i in kept) - _GAP


def _widened(
    columns: Sequence[Column],
    cells: Sequence[Sequence[Sequence[str]]],
    used: Sequence[int],
    kept: Sequence[int],
    width: int,
) -> list[int]:
    """What the forms leave of the page is for the longer forms of the columns that are left out last."""
    widths = list(used)
    for i in sorted(kept, key=lambda i: columns[i].rank):
        room = width - _total(widths, kept)
        if columns[i].least is not None and room > 0:
            widths[i] = max(columns_of(_fitting(line[i], widths[i] + room)) for line in cells)
    return widths


def _fitting(forms: Sequence[str], width: int) -> str:
    return next((text for text in forms if columns_of(text) <= width), None) or cut(forms[-1], width)
