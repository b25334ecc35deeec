"""The forward pass, which leaves behind what the rules will read, and the reverse pass, which applies them.

For a node a = φ(b; c), with g = [∂ℓ/∂a], the lecture's

    [∂ℓ/∂b] = Σ over the nodes that read b of  J^T_{φ|b} g        and the same for c

is the body of `reverse`: `pullback` is J^T, `cotangents` is the sum.
"""

from collections.abc import Sequence
from typing import Any

from funcgrad.aliases import Array
from funcgrad.graph import Value, read
from funcgrad.plans import Plan
from funcgrad.reverse.cotangents import Cotangents


def forward(
    plan: Plan, constants: Sequence[Array], inputs: Sequence[Any], keep: Sequence[Value] | None = None
) -> tuple[list[Any], list[Any]]:
    """Run the graph: its outputs, and what `plan.kept` lists, or other values, `keep`."""
    structure = plan.structure
    values: dict[Value, Any] = dict(zip(structure.constants, constants, strict=True))
    values.update(zip(structure.inputs, inputs, strict=True))
    for node in structure.nodes:
        plan.run(node, values)
    return read(structure.outputs, values), read(plan.kept if keep is None else keep, values)


def reverse(plan: Plan, kept: Sequence[Any], seeds: Sequence[Array]) -> list[Any]:
    """Run a plan backwards: the cotangents of `plan.wanted`, from those of `plan.sources`; then what taps read."""
    values = dict(zip(plan.kept, kept, strict=True))
    witness = next((x for v, x in values.items() if v.is_inexact), None)
    cotangents = Cotangents(plan.lasting, plan.structure.loops, plan.hooks, plan.settled, witness)
    cotangents.add(plan.sources, seeds)
    for step in reversed(plan.steps):
        g = cotangents.pop(step.outputs)
        there, g = step.remake(values, until=g)  # as they are, where everything is kept
        for pullback in step.pullbacks:
            cotangents.add(pullback.targets, pullback(g, there))
        if step.in_turn:
            cotangents.delay(step.targets, until=plan.wanted)
    for tap in plan.taps:
        (g,) = cotangents.pop([tap.value]).values()
        cotangents.add(tap.readings, tap.measurement.run(g))
    found = cotangents.pop(plan.returns)
    return [found[v] for v in plan.returns]
