"""The page about mutations: counts per module, and why each survivor does."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.mutation.running import Outcome
from tests.mutation.survivors import EXPLAINED

BEGIN, END = "<!-- begin -->", "<!-- end -->"


def find_unexplained(outcomes: Sequence[Outcome]) -> list[str]:
    """Survivors of which nobody has said why."""
    return [o.mutation.key for o in outcomes if o.verdict == "survived" and o.mutation.key not in EXPLAINED]


def write(page: Path, outcomes: Sequence[Outcome], offered: dict[str, int]) -> None:
    """Put tables of what became of the mutants in the place of those on the page."""
    text = page.read_text()
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    tables = "\n\n".join([_count(outcomes, offered), _explain(outcomes)])
    page.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}")


def _count(outcomes: Sequence[Outcome], offered: dict[str, int]) -> str:
    lines = [
        "| module | mutations | tried | killed | out of time | survived |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    counts = {module: Counter(o.verdict for o in outcomes if o.mutation.module == module) for module in offered}
    total: Counter[str] = sum(counts.values(), Counter())
    rows = [(f"`{module.removeprefix('funcgrad/')}`", offered[module], counts[module]) for module in offered]
    for name, n, found in [*rows, ("all", sum(offered.values()), total)]:
        cells = [n, found.total(), found["killed"], found["out of time"], found["survived"]]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _explain(outcomes: Sequence[Outcome]) -> str:
    lines = ["| where | mutation | why no test fails |", "| --- | --- | --- |"]
    for o in outcomes:
        if o.verdict == "survived":
            m = o.mutation
            before, after = (_as_code(x) for x in (m.before, m.after))
            where = f"`{m.module.removeprefix('funcgrad/')}` {m.function}"
            lines.append(f"| {where} | {before} → {after} | {EXPLAINED.get(m.key, '**a missing test**')} |")
    return "\n".join(lines)


def _as_code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"
