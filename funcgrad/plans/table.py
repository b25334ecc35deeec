"""A plan as rows of data, and as the table that `print` shows."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from funcgrad.errors import describe
from funcgrad.graph import Node, Structure, Value
from funcgrad.graph.printing import listed
from funcgrad.naming import printable
from funcgrad.plans.cost import Costs, bytes_of

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan


@dataclass(frozen=True)
class Row:
    """One node of a plan."""

    node: str
    op: str
    shape: str
    rules: tuple[str, ...]
    """One entry per rule: `w: linear_w`, with the kind where it is not exact."""
    reads: tuple[str, ...]
    """What the rules read, by the names they use; `*` marks what is an input of the graph."""
    keeps: tuple[str, ...]
    """The same as names of graph values: what the forward must leave behind."""
    new_bytes: int
    """Bytes of the kept values that no earlier row counts; inputs count nothing, they are there anyway."""
    forward_flops: float
    backward_flops: float
    """Over all turns of the loops around the node."""
    remakes: tuple[str, ...] = ()
    """The nodes that are run again before its rules."""
    depth: int = 0
    """How many nodes hold the graph that this one is in."""


@dataclass(frozen=True)
class Totals:
    """Sums over a plan."""

    kept_bytes: int
    input_bytes: int
    """Bytes of inputs and constants that rules read in place."""
    forward_flops: float
    backward_flops: float
    kinds: tuple[tuple[str, int], ...]
    """How many rules there are of each kind."""
    pruned: int
    remade: int
    """How many nodes are run again for the rules to read what they make; their FLOPs are among `backward_flops`."""

    @property
    def ratio(self) -> float:
        """Backward over forward FLOPs; the lecture says about two."""
        return self.backward_flops / self.forward_flops if self.forward_flops else 0.0


def make_rows(plan: "Plan") -> tuple[tuple[Row, ...], Totals]:
    """All rows, in forward order, those of a graph inside a node after the node's; and their sums."""
    given = _given(plan.structure)
    rows = tuple(_rows(plan, given, set(), Costs(), depth=0, kept=None))
    kinds = Counter(p.rule.kind.name if p.rule else p.label for p in plan.all_pullbacks if p.label != "label")
    outermost = [r for r in rows if r.depth == 0]
    totals = Totals(
        kept_bytes=sum(r.new_bytes for r in rows),
        input_bytes=sum(bytes_of(v) for v in plan.kept if v in given),
        forward_flops=sum(r.forward_flops for r in outermost),
        backward_flops=sum(r.backward_flops for r in outermost),
        kinds=tuple(kinds.most_common()),
        pruned=len(plan.pruned),
        remade=sum(len(r.remakes) for r in rows),
    )
    return rows, totals


def _given(structure: Structure) -> set[Value]:
    """Inputs and constants, under all their names: they are in memory whether the plan keeps them or not."""
    given = {*structure.inputs, *structure.constants}
    for node in structure.nodes:
        if node.op_name == "name" and node.inputs[0] in given:
            given.update(node.outputs)
    return given


def _rows(
    plan: "Plan", given: set[Value], counted: set[Value], costs: Costs, depth: int, kept: set[Value] | None
) -> Iterator[Row]:
    """The rows of a graph; inside a node, only what the node saves (`kept`) takes memory until the reverse pass."""
    for node in plan.structure.nodes:
        step, turns = plan.step_of.get(node), prod(node.loops)
        forward = turns * node.flops
        if step is None or not step.pullbacks:
            yield Row(node.name, node.op_name, _shape(node), (), (), (), 0, forward, 0.0, depth=depth)
            continue
        inside = {v for body in step.bodies for v in body.kept}
        reads = {v: name for v, name in step.reads.items() if isinstance(v, Value)}
        there = (given, counted, inside)
        new = [v for v in reads if not any(v in known for known in there) and (kept is None or v in kept)]
        counted.update(new)
        yield Row(
            node.name,
            node.op_name,
            _shape(node),
            tuple(_rule_text(p.arguments, p.name, p.label) for p in step.pullbacks),
            tuple(f"{name}*" if v in given else name for v, name in reads.items() if v not in inside),
            tuple(v.name for v in reads if v not in inside),
            sum(map(bytes_of, new)),
            forward,
            turns * (costs.of_remaking(step) + sum(costs.of_pullback(p, step) for p in step.pullbacks)),
            tuple(again.name for again in step.remade.nodes) if step.remade else (),
            depth,
        )
        for body in step.bodies:
            yield from _rows(body, given, counted, costs, depth + 1, set(step.saved) & (kept or set(step.saved)))


def _rule_text(arguments: tuple[str, ...], name: str, label: str) -> str:
    text = f"{listed(arguments, 4)}: {name}"
    return text if label in ("exact", "derived", "label") else f"{text} [{label}]"


def _shape(node: Node) -> str:
    return listed([describe(v.aval) for v in node.outputs], 4)


def render(plan: "Plan") -> str:
    """The table."""
    rows, totals = plan.rows, plan.totals
    header = ("node", "op", "shape", "cotangent to: rule", "reads", "keeps", "forward", "backward")
    cells = [header, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, "─" * len(lines[0]))
    kinds = ", ".join(f"{n} {kind}" for kind, n in totals.kinds)
    compiled = []
    if plan.temp_bytes is not None:
        compiled = [f"compiled {quantity(plan.temp_bytes, 'B')} beside arguments and results, says XLA on this device"]
    lines += [
        lines[1],
        f"kept     {quantity(totals.kept_bytes, 'B')} for the backward pass"
        f" (and {quantity(totals.input_bytes, 'B')} of inputs and parameters, marked *, read in place)",
        *compiled,
        f"FLOPs    forward {quantity(totals.forward_flops)}, backward {quantity(totals.backward_flops)}:"
        f" {totals.ratio:.2f} times the forward",
        f"rules    {kinds or 'none'}",
        f"pruned   {totals.pruned} of {sum(r.depth == 0 for r in rows)} nodes, which no wanted gradient passes through",
        f"wanted   {listed([v.name for v in plan.wanted], 6)}",
    ]
    if totals.remade:
        again = [name for row in rows for name in row.remakes]
        lines.append(f"remade   {listed(again, 4)}: run again on the way back, and what they make is not kept")
    if plan.hooks:
        hooks = [f"{v.name}: {', '.join(h.name for h in found)}" for v, found in plan.hooks.items()]
        lines.append(f"hooks    {listed(hooks, 4, between='; ')}")
    if unreached := [v.name for v in plan.wanted if v not in plan.reached]:
        lines.append(f"zero     {listed(unreached, 6)}: nothing that is differentiated depends on them")
    if plan.suggestions:
        lines.append(f"could be {'; '.join(map(str, plan.suggestions[:_SUGGESTIONS]))}{_more(plan)}: see fg.ops")
    return "\n".join(map(printable, lines))


_SUGGESTIONS = 3


def _more(plan: "Plan") -> str:
    n = len(plan.suggestions) - _SUGGESTIONS
    return f"; and {n} more" if n > 0 else ""


def _cells(row: Row) -> tuple[str, ...]:
    active = bool(row.rules)
    return (
        "  " * row.depth + _shortened(row.node),
        row.op,
        row.shape,
        listed(row.rules, 4, between="; ") if active else "(pruned)",
        listed(row.reads, 4) if active else "",
        quantity(row.new_bytes, "B") if row.new_bytes else "",
        quantity(row.forward_flops),
        quantity(row.backward_flops) if active else "",
    )


def _shortened(name: str) -> str:
    """The path of a node; a long one of many scopes by its ends, `a/b/**/y/z/sin`, a pattern that it matches.

    Else a table of 400 scopes in each other has as many columns as all their names together, on each of its lines.
    """
    parts = re.split(r"(?<!\\)/", name)
    return name if len(name) <= _LONG or len(parts) < 7 else "/".join([*parts[:2], "**", *parts[-3:]])


_LONG = 72


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    left = [f"{c:<{w}}" for c, w in zip(cells[:5], widths[:5], strict=True)]
    right = [f"{c:>{w}}" for c, w in zip(cells[5:], widths[5:], strict=True)]
    return "  ".join(left + right).rstrip()


def quantity(x: int | float, unit: str = "") -> str:
    """A count with a decimal prefix: `1.23 M`, `4.1 kB`."""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(x) < 1000 or prefix == "T":
            break
        x /= 1000
    digits = f"{x:.0f}" if x == int(x) and not prefix else f"{x:.3g}"
    return f"{digits} {prefix}{unit}".rstrip()
