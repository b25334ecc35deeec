"""A plan as what can be shown of it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from funcgrad.graph import Value, Wires
from funcgrad.registry import Hook
from funcgrad.view import Box, Facts, Row, Scene, Wire

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan


def make_scene(plan: "Plan") -> Scene:
    """The boxes of the plan's graph with its rows, those of the plans within nodes, and the facts of the whole."""
    return _scene(plan, iter(plan.rows), Wires(), facts=_facts(plan))


def _scene(
    plan: "Plan",
    rows: Iterator[Row],
    wires: Wires,
    entries: Sequence[tuple[Wire, Wire]] = (),
    facts: Facts | None = None,
) -> Scene:
    """The scene of one graph; `rows` are those of the whole plan from here on, in the order of `Plan.rows`."""
    boxes: list[Box] = []
    for node in plan.structure.nodes:
        row, step = next(rows), plan.step_of.get(node)
        bodies = step.bodies if step and step.pullbacks else ()  # else they have no rows
        inner = tuple(_scene(body, rows, wires, wires.entries(node, i)) for i, body in enumerate(bodies))
        boxes.append(wires.box(node, inner, row))
    return wires.scene(plan.structure, boxes, entries, facts)


def _facts(plan: "Plan") -> Facts:
    return Facts(
        totals=plan.totals,
        wanted=tuple(v.name for v in plan.wanted),
        zero=tuple(v.name for v in plan.wanted if v not in plan.reached),
        remade=tuple(name for row in plan.rows for name in row.remakes),
        hooks=tuple(f"{v.name}: {', '.join(h.said for h in hooks)}" for v, hooks in _hooks(plan)),
        suggestions=tuple(map(str, plan.suggestions)),
        repeated_bytes=plan.repeated_bytes,
        compiled_bytes=plan.temp_bytes,
        budget=plan.memory.budget,
    )


def _hooks(plan: "Plan") -> Iterator[tuple[Value, tuple[Hook, ...]]]:
    """The hooks of a plan, and of the plans within its nodes."""
    yield from plan.hooks.items()
    for step in plan.steps:
        for body in step.bodies:
            yield from _hooks(body)
