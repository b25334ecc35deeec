"""The table of `docs/checking.md`: which checker catches which mutant. Written by `python -m tests.mutants`."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

import funcgrad as fg
from funcgrad.registry import Op
from tests.mutants import FAMILIES, MUTANTS, Mutant
from tests.mutants.peers import passes_check_grads, passes_gradcheck

DOCUMENT = Path(__file__).parents[2] / "docs" / "checking.md"
START, END = "<!-- the battery: python -m tests.mutants -->", "<!-- end -->"
CAUGHT, MISSED, REJECTS_ALL, BEYOND = "caught", "**missed**", "rejects right ones too", "cannot express"


class Line(NamedTuple):
    """One mutant: what each checker says."""

    what: str
    row: str
    check_grads: str
    gradcheck: str


def line(mutant: Mutant) -> Line:
    """Run all three on one mutant, and the peers on its right version too."""
    report = fg.check(mutant.make(), mutant.cases, mutant.attributes, fail_fast=True)
    row = f"{report.wrong[0].group}: {report.wrong[0].name}" if report.wrong else MISSED
    return Line(mutant.what, row, *(_peer(passes, mutant) for passes in (passes_check_grads, passes_gradcheck)))


def _peer(passes: Callable[[Op, Mutant], bool], mutant: Mutant) -> str:
    if mutant.beyond:
        return BEYOND
    if not passes(mutant.right(), mutant):
        return REJECTS_ALL
    return MISSED if passes(mutant.make(), mutant) else CAUGHT


def render(lines: dict[str, list[Line]]) -> str:
    """Markdown: the sums, then a table by family."""
    every = [x for family in lines.values() for x in family]
    ours = sum(x.row != MISSED for x in every)
    theirs = [sum(getattr(x, peer) == CAUGHT for x in every) for peer in ("check_grads", "gradcheck")]
    text = [
        f"`fg.check` catches {ours} of {len(every)}, `jax.test_util.check_grads` {theirs[0]}, "
        f"`torch.autograd.gradcheck` {theirs[1]}.",
        "",
        "| planted | `fg.check`: first wrong row | `check_grads` | `gradcheck` |",
        "|---|---|---|---|",
    ]
    for family, rows in lines.items():
        text.append(f"| **{FAMILIES[family]}** | | | |")
        text += [f"| {x.what.replace('|', chr(92) + '|')} | {x.row} | {x.check_grads} | {x.gradcheck} |" for x in rows]
    return "\n".join(text)


def write(families: Collection[str] = tuple(FAMILIES)) -> None:
    """Run the families named, keep what the document says of the others, and put the table where it belongs."""
    known = written()
    lines = {
        family: [line(m) if family in families else Line(m.what, *known[m.what]) for m in MUTANTS if m.family == family]
        for family in FAMILIES
    }
    before, rest = DOCUMENT.read_text().split(START)
    DOCUMENT.write_text(f"{before}{START}\n{render(lines)}\n{END}{rest.split(END)[1]}")


def written() -> dict[str, tuple[str, str, str]]:
    """What the document says now, by what was planted."""
    body = DOCUMENT.read_text().split(START)[1].split(END)[0]
    _, *lines = [row for row in body.splitlines() if row.startswith("| ")]
    rows = [[c.strip() for c in row.split(" | ")] for row in lines]
    return {
        first.removeprefix("| ").replace(chr(92) + "|", "|"): (a, b, c.removesuffix("|").strip())
        for first, a, b, c in (r for r in rows if len(r) == 4)
    }
