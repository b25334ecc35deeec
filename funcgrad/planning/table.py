"""A plan as rows of data, and as the table that `print` shows."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from funcgrad.errors import describe
from funcgrad.graph import Node, Structure, Value
from funcgrad.planning.cost import kept_bytes, node_flops, pullback_flops

if TYPE_CHECKING:
    from funcgrad.planning.plans import Plan, Step


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

    @property
    def ratio(self) -> float:
        """Backward over forward FLOPs; the lecture says about two."""
        return self.backward_flops / self.forward_flops if self.forward_flops else 0.0


def make_rows(plan: "Plan") -> tuple[tuple[Row, ...], Totals]:
    """All rows, in forward order, and their sums."""
    counted: set[Value] = set()
    given = _given(plan.structure)
    rows = [
        _active_row(plan.step_of[n], counted, given) if n in plan.step_of else _pruned_row(n)
        for n in plan.structure.nodes
    ]
    kinds = Counter(p.rule.kind.name if p.rule else p.label for p in plan.pullbacks)
    del kinds["label"]
    totals = Totals(
        kept_bytes=sum(r.new_bytes for r in rows),
        input_bytes=sum(kept_bytes(v, plan.structure.nodes[0], ()) for v in plan.kept if v in given),
        forward_flops=sum(r.forward_flops for r in rows),
        backward_flops=sum(r.backward_flops for r in rows),
        kinds=tuple(kinds.most_common()),
        pruned=len(plan.pruned),
    )
    return tuple(rows), totals


def _given(structure: Structure) -> set[Value]:
    """Inputs and constants, under all their names: they are in memory whether the plan keeps them or not."""
    given = {*structure.inputs, *structure.constants}
    for node in structure.nodes:
        if node.op_name == "name" and node.inputs[0] in given:
            given.update(node.outputs)
    return given


def _active_row(step: "Step", counted: set[Value], given: set[Value]) -> Row:
    node, new_bytes = step.node, 0
    named = dict(item for p in step.pullbacks for item in zip(p.needs, p.reads, strict=True))
    read = {v: name for v, name in named.items() if isinstance(v, Value)}
    for value in read:
        if value not in given and value not in counted:
            counted.add(value)
            new_bytes += kept_bytes(value, node, step.positions)
    return Row(
        node.name,
        node.op_name,
        _shape(node),
        tuple(_rule_text(p.arguments, p.name, p.label) for p in step.pullbacks),
        tuple(f"{name}*" if v in given else name for v, name in read.items()),
        tuple(v.name for v in read),
        new_bytes,
        node_flops(node),
        sum(pullback_flops(p, step.positions) for p in step.pullbacks),
    )


def _rule_text(arguments: tuple[str, ...], name: str, label: str) -> str:
    text = f"{', '.join(arguments)}: {name}"
    return text if label in ("exact", "derived", "label") else f"{text} [{label}]"


def _pruned_row(node: Node) -> Row:
    return Row(node.name, node.op_name, _shape(node), (), (), (), 0, node_flops(node), 0.0)


def _shape(node: Node) -> str:
    return ", ".join(describe(v.aval) for v in node.outputs)


def render(plan: "Plan") -> str:
    """The table."""
    rows, totals = plan.rows, plan.totals
    header = ("node", "op", "shape", "cotangent to: rule", "reads", "keeps", "forward", "backward")
    cells = [header, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, "─" * len(lines[0]))
    kinds = ", ".join(f"{n} {kind}" for kind, n in totals.kinds)
    lines += [
        lines[1],
        f"kept     {quantity(totals.kept_bytes, 'B')} for the backward pass"
        f" (and {quantity(totals.input_bytes, 'B')} of inputs and parameters, marked *, read in place)",
        f"FLOPs    forward {quantity(totals.forward_flops)}, backward {quantity(totals.backward_flops)}:"
        f" {totals.ratio:.2f} times the forward",
        f"rules    {kinds or 'none'}",
        f"pruned   {totals.pruned} of {len(rows)} nodes, which no wanted gradient passes through",
        f"wanted   {_listed([v.name for v in plan.wanted])}",
    ]
    if unreached := [v.name for v in plan.wanted if v not in plan.reached]:
        lines.append(f"zero     {_listed(unreached)}: nothing that is differentiated depends on them")
    return "\n".join(lines)


def _listed(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _cells(row: Row) -> tuple[str, ...]:
    active = bool(row.rules)
    return (
        row.node,
        row.op,
        row.shape,
        "; ".join(row.rules) if active else "(pruned)",
        ", ".join(row.reads) if active else "",
        quantity(row.new_bytes, "B") if row.new_bytes else "",
        quantity(row.forward_flops),
        quantity(row.backward_flops) if active else "",
    )


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
