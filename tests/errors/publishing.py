"""The page of all errors: an entry per place, written from what was recorded, and read back."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from tests.errors.sites import Site, all_sites

INTRODUCTION = """\
# Every error, and the test that produces it

This page is generated from the source and from what the tests saw:

    python -m tests.errors --publish docs/errors.md

An error is one sentence: where, what is expected, what is found, what to do. Here is one for every place in `funcgrad`
that makes one, file by file in the order of the source, as the named test got it; that test matches the whole sentence.
All classes but Python's own derive from `fg.errors.FuncgradError`. A `ValueError` is the reason that an op's function
gives; it reaches you at the end of a `ShapeError` that says where, and what the arguments are.

Two more are left out because no one meets them: `Wrong` and `Open` end a single check of `fg.check`, whose report has
a row for it. What JAX says of a function that it cannot trace is JAX's, and is not listed.
"""


@dataclass(frozen=True)
class Entry:
    """What the page says of a place."""

    module: str
    function: str
    kind: str
    sentence: str
    test: str
    """As pytest names it, without parameters: `tests/ops/test_losses.py::test_errors`."""


def page(recorded: Mapping[Site, list[tuple[str, str]]]) -> str:
    """The whole page.

    Raises:
        LookupError: no test produces the error of some places.
    """
    if silent := [str(site) for site in all_sites() if site not in recorded]:
        raise LookupError(f"no test with raises_sentence produces these: {'; '.join(silent)}")
    return "\n".join([INTRODUCTION, *_tables(_entry(site, *recorded[site][0]) for site in all_sites())])


def differences(sites: Iterable[Site], entries: Iterable[Entry]) -> list[str]:
    """Where the page is not what the source says, a line each: nothing if every place has its entry, in order."""
    written, held = defaultdict(list), defaultdict(list)
    for site in sites:
        written[site.module, site.function, site.kind].append(site)
    for entry in entries:
        held[entry.module, entry.function, entry.kind].append(entry)
    found = []
    for key in dict.fromkeys([*written, *held]):
        module, function, kind = key
        where, n, m = f"{module}: {kind} in {function}", len(written[key]), len(held[key])
        if n != m:
            found.append(f"{where}: {n} in the source, {m} on the page")
        else:
            pairs = zip(written[key], held[key], strict=True)
            found += [f"{where}: does not say {e.sentence!r}" for s, e in pairs if not s.matches(e.sentence)]
    return found


def read(text: str) -> list[Entry]:
    """The entries of a page, in its order."""
    entries, module = [], ""
    for line in text.splitlines():
        if title := re.fullmatch(r"## (\S+)", line):
            module = title[1]
        elif row := re.fullmatch(r"\| `(\S+)` \| (\w+) \| (`.*`) \| \[(\S+)\]\(\.\./(\S+)\) \|", line):
            entries.append(Entry(module, row[1], row[2], _from_code(row[3]), f"{row[5]}::{row[4]}"))
    return entries


def _entry(site: Site, test: str, sentence: str) -> Entry:
    said = re.sub(r"(\w\.py):\d+\)", r"\1:…)", sentence)  # lines of tests move, and a page is not made for that
    return Entry(site.module, site.function, site.kind, said, test.partition("[")[0])


def _tables(entries: Iterable[Entry]) -> Iterator[str]:
    for module, rows in groupby(entries, key=lambda e: e.module):
        yield f"## {module}\n\n| in | class | sentence | test |\n|---|---|---|---|"
        yield from map(_row, rows)
        yield ""


def _row(entry: Entry) -> str:
    file, _, name = entry.test.partition("::")
    return f"| `{entry.function}` | {entry.kind} | {_code(entry.sentence)} | [{name}](../{file}) |"


def _code(sentence: str) -> str:
    """As code in a table's cell, where a bar is escaped even so, and a backtick asks for two around."""
    code = sentence.replace("|", "\\|")
    return f"`` {code} ``" if "`" in code else f"`{code}`"


def _from_code(code: str) -> str:
    return (code[3:-3] if code.startswith("``") else code[1:-1]).replace("\\|", "|")
