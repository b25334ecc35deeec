"""J^T of a function whose tangent is given (`jax.custom_jvp`): that tangent, transposed by J^T of its equations.

`jax.vjp` finds the same, but derives it anew at every call of the function: in a network of many ReLUs that is much of
the time of tracing it. Here tangents of equal equations are transposed once.
"""

from collections.abc import Sequence
from typing import Any

from funcgrad.aliases import Array
from funcgrad.graph import Node, Value, open_jaxpr
from funcgrad.planning.activity import find_activity
from funcgrad.planning.elementary import find_rules
from funcgrad.planning.recomputation import Recomputation
from funcgrad.plans import Plan, Pull, Pullback, Step
from funcgrad.primitive import Equation, Tangent, traced_once
from funcgrad.reverse import reverse


def find_transpose(equation: Equation, positions: tuple[int, ...]) -> tuple[tuple[int, ...], Pull] | None:
    """The inputs that the transposed tangent reads, and the function: from those and the cotangents of the outputs.

    None where the equation has no tangent of its own, or one with equations whose J^T is not written down.
    """
    tangent = Tangent.of(equation)
    if tangent is None:
        return None
    # One that closes over arrays of the user's is not remembered: nor could it be equal to another.
    return _transpose.function(tangent, positions) if tangent.closed.consts else _transpose(tangent, positions)


@traced_once()
def _transpose(tangent: Tangent, positions: tuple[int, ...]) -> tuple[tuple[int, ...], Pull] | None:
    structure = open_jaxpr(tangent.closed)
    n = len(structure.inputs) // 2
    primals, moving = structure.inputs[:n], tuple(structure.inputs[n + p] for p in positions)
    sources = [v for v in structure.outputs if isinstance(v, Value)]
    activity = find_activity(structure, moving, sources, _blocks)
    steps = [_step(node, at) for node, at in activity.positions.items()]
    if any(step is None for step in steps):
        return None
    plan = Plan(structure, moving, tuple(sources), tuple(s for s in steps if s), activity.reached)
    constants = dict(zip(structure.constants, tangent.closed.consts, strict=True))
    again = Recomputation.of(plan, [*primals, *constants], plan.kept)
    if not again.made.union(again.reads).issuperset(plan.kept):  # it is not linear, which JAX will say
        return None
    reads = [v for v in again.reads if v not in constants]

    def pull(*operands: Array) -> Sequence[Any]:
        values = again.run(constants | dict(zip(reads, operands, strict=False)))
        g = zip(operands[len(reads) :], structure.outputs, strict=True)
        seeds = [x for x, v in g if isinstance(v, Value)]
        return reverse(plan, [values[v] for v in plan.kept], seeds)

    return tuple(primals.index(v) for v in reads), pull


def _step(node: Node, positions: tuple[int, ...]) -> Step | None:
    """The step of a node by a rule that is written down."""
    if not isinstance(node.function, Equation) or len(node.outputs) != 1:
        return None
    (output,) = node.outputs
    rules = find_rules(node.function, positions, [v.aval for v in node.inputs], [output.aval])
    if rules is None:
        return None
    taken, pull = rules
    values, targets = (*node.inputs, output), tuple(v for p in positions if isinstance(v := node.inputs[p], Value))
    pullback = Pullback(node, None, (output,), targets, tuple(values[t] for t in taken), pull, (), ())
    return Step(node, positions, (pullback,), (), node.run)


def _blocks(node: Node, position: int) -> bool:
    return not node.inputs[position].is_inexact or (isinstance(node.function, Equation) and node.function.blocks)
