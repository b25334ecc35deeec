"""What a plan says of each node, and of all of them: rows of names and numbers."""

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from funcgrad.errors import describe
from funcgrad.graph import Node, Structure, Value
from funcgrad.naming import unnumbered
from funcgrad.plans.cost import Costs, additions, bytes_of
from funcgrad.plans.pullback import Pullback
from funcgrad.view import Row, RowRead, RowRule, Totals

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan
    from funcgrad.plans.step import Step


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
        backward_flops=float(round(sum(r.backward_flops for r in outermost))),  # of shares, which may be fractions
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
    adding = additions(plan)
    for node in plan.structure.nodes:
        step, turns = plan.step_of.get(node), prod(node.loops)
        forward = turns * node.flops
        if step is None or not step.pullbacks:
            marks = _marks(plan, node)
            yield Row(node.name, node.op_name, _shapes(node), marks, forward_flops=forward, depth=depth)
            continue
        inside = {v for body in step.bodies for v in body.kept}
        reads = {v: name for v, name in step.reads.items() if isinstance(v, Value)}
        there = (given, counted, inside)
        new = [v for v in reads if not any(v in known for known in there) and (kept is None or v in kept)]
        counted.update(new)
        yield Row(
            node.name,
            node.op_name,
            _shapes(node),
            rules=(*map(_rule, step.pullbacks), *_marks(plan, node)),
            reads=tuple(RowRead(name, v.name, v in given) for v, name in reads.items() if v not in inside),
            new_bytes=sum(map(bytes_of, new)),
            forward_flops=forward,
            backward_flops=turns * (adding[step] + costs.of_step(step)),
            remakes=_remakes(step),
            hooks=tuple(hook.said for v in node.outputs for hook in plan.hooks.get(v, ())),
            depth=depth,
        )
        for body in step.bodies:
            yield from _rows(body, given, counted, costs, depth + 1, set(step.saved) & (kept or set(step.saved)))


def _remakes(step: "Step") -> tuple[str, ...]:
    """What runs again before the rules of a step; a loop whose turns do is named with how many at a time."""
    groups = () if step.groups is None else (f"{step.node.name} ({step.groups})",)
    return (*(node.name for node in step.runs_again), *groups)


def _marks(plan: "Plan", node: Node) -> tuple[RowRule, ...]:
    """The markers that were put in for arguments of a node."""
    return tuple(RowRule((a,), mark.value, "marked", "marked") for a, mark in plan.marked.get(node, ()))


def _rule(pullback: Pullback) -> RowRule:
    rule, label = pullback.rule, pullback.label
    kind = rule.kind.name if rule and label != "label" else label
    return RowRule(_arguments(pullback), pullback.name, kind, label)


def _arguments(pullback: Pullback) -> tuple[str, ...]:
    """What gets a cotangent; where the node holds graphs, the leaf of an argument by the name that it has inside."""
    if not pullback.node.bodies:
        return pullback.arguments
    node, body = pullback.node, pullback.node.bodies[0]
    inside, positional = body.structure.inputs, body.holder.input_names if body.holder.jaxprs else ()
    names = []
    for p, name in zip(pullback.positions, pullback.arguments, strict=True):
        i = p - body.holder.offset
        own = inside[i].name.removeprefix(f"{node.name}/") if 0 <= i < len(positional) else ""
        names.append(own if own and unnumbered(own) != positional[i] else name)
    return tuple(names)


def _shapes(node: Node) -> tuple[str, ...]:
    return tuple(describe(v.aval) for v in node.outputs)
