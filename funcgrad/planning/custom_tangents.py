"""J^T of a function whose tangent is given (`jax.custom_jvp`): that tangent, transposed by J^T of its equations.

`jax.vjp` finds the same, but derives it anew at every call of the function: in a network of many ReLUs that is much of
the time of tracing it. Here tangents of equal equations are transposed once.
"""

from collections.abc import Sequence
from typing import Any

import jax

from funcgrad.aliases import Array
from funcgrad.graph import Constant, Node, Value, open_jaxpr
from funcgrad.planning.activity import find_activity, find_varied
from funcgrad.planning.foreign import errors_from
from funcgrad.planning.pullbacks import make_pullback, names_at, rule_pullback
from funcgrad.plans import Plan, Pullback, Recomputation, Step, as_array
from funcgrad.primitive import Tangent, TangentRule, as_function, prune, traced_once, zeros_of
from funcgrad.registry import Equation, Pull, rules_of
from funcgrad.reverse import reverse


def tangent_pullback(
    node: Node,
    rule: TangentRule,
    arrays: Sequence[Value | Constant],
    positions: tuple[int, ...],
    outputs: tuple[int, ...],
) -> Pullback:
    """J^T of a `custom_jvp` by the tangent it was given; `arrays` is what the tangent closes over."""
    n = rule.n_closed_over
    values, names = (*arrays, *node.inputs[n:]), [*(v.name for v in arrays), *names_at(node)[n:]]
    with errors_from(node):
        taken, pull = find_transpose(rule.tangent, tuple(p - n for p in positions), outputs)
    sources = [node.outputs[k] for k in outputs]
    how = f"{node.op_name} (tangent, transposed)"
    return make_pullback(node, None, sources, positions, values, taken, pull, names, names_at(node), how)


def find_links(tangent: Tangent) -> dict[int, frozenset[int]]:
    """For each input that the rule takes a tangent of, the outputs whose tangents it enters."""
    return _links(tangent) if tangent.is_remembered else _links.function(tangent)


@traced_once()
def _links(tangent: Tangent) -> dict[int, frozenset[int]]:
    structure = open_jaxpr(tangent.closed)
    dots = structure.inputs[len(structure.inputs) - len(tangent.moving) :]
    links = {}
    for position, dot in zip(tangent.moving, dots, strict=True):
        varied = find_varied(structure, [dot], _blocks)
        links[position] = frozenset(k for k, v in zip(tangent.outputs, structure.outputs, strict=True) if v in varied)
    return links


def find_transpose(
    tangent: Tangent, positions: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[tuple[int, ...], Pull]:
    """What the transposed tangent reads, and the function: from that and the cotangents of the outputs.

    What is read is counted through the arrays that the rule closes over, and then the function's inputs. Where the
    tangent has equations whose J^T is not written down, JAX transposes it.

    Args:
        tangent: the tangent.
        positions: the inputs that get a cotangent.
        outputs: the outputs that have one.
    """
    find = _transpose if tangent.is_remembered else _transpose.function
    return find(tangent, positions, outputs)


@traced_once()
def _transpose(tangent: Tangent, positions: tuple[int, ...], outputs: tuple[int, ...]) -> tuple[tuple[int, ...], Pull]:
    return _transpose_by_rules(tangent, positions, outputs) or _transpose_by_jax(tangent, positions, outputs)


def _transpose_by_rules(
    tangent: Tangent, positions: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[tuple[int, ...], Pull] | None:
    structure = open_jaxpr(tangent.closed)
    n = len(structure.inputs) - len(tangent.moving)
    given, dots = structure.inputs[:n], structure.inputs[n:]
    moving = tuple(dots[tangent.moving.index(p)] for p in positions)
    moved = [structure.outputs[tangent.outputs.index(k)] for k in outputs]
    sources = [v for v in moved if isinstance(v, Value)]
    activity = find_activity(structure, moving, sources, _blocks)
    steps = [_step(node, at) for node, at in activity.positions.items()]
    if any(step is None for step in steps):
        return None
    plan = Plan(structure, moving, tuple(sources), tuple(s for s in steps if s), activity.reached)
    again = Recomputation.of(plan, given, plan.kept)
    if not again.found.issuperset(plan.kept):  # it is not linear, which JAX will say
        return None

    def pull(*operands: Array) -> Sequence[Any]:
        values, _ = again.run(dict(zip(again.given, operands, strict=False)), until={})
        seeds = [g for g, v in zip(operands[len(again.given) :], moved, strict=True) if isinstance(v, Value)]
        return reverse(plan, [values[v] for v in plan.kept], seeds)

    return tuple(given.index(v) for v in again.given), pull


def _transpose_by_jax(
    tangent: Tangent, positions: tuple[int, ...], outputs: tuple[int, ...]
) -> tuple[tuple[int, ...], Pull]:
    run, avals = as_function(tangent.closed), tangent.closed.in_avals
    n = len(avals) - len(tangent.moving)
    moved, chosen = [n + tangent.moving.index(p) for p in positions], [tangent.outputs.index(k) for k in outputs]

    def pull(*operands: Array) -> Sequence[Any]:
        def push(dots: Sequence[Array]) -> list[Array]:
            # The tangents of what gets no cotangent are as good as zero.
            at = dict(zip(moved, dots, strict=True))
            still = [zeros_of(a) for a in avals[n:]]
            found = run(*operands[:n], *(at.get(n + i, x) for i, x in enumerate(still)))
            return [found[k] for k in chosen]

        return jax.linear_transpose(push, [avals[i] for i in moved])(list(operands[n:]))[0]

    smaller, used = prune(pull, [*avals[:n], *(tangent.closed.out_avals[k] for k in chosen)])
    kept_g = [i - n for i in used if i >= n]
    taken = tuple(i for i in used if i < n)

    def pull_used(*operands: Array) -> Sequence[Any]:
        g = operands[len(taken) :]
        return list(map(as_array, smaller(*operands[: len(taken)], *[g[i] for i in kept_g])))

    return taken, pull_used


def _step(node: Node, positions: tuple[int, ...]) -> Step | None:
    """The step of a node by rules that are written down; None where some are not."""
    function = node.function
    if not isinstance(function, Equation):
        return None
    found = rules_of(function, positions, function.rules.get, node.name)
    pullbacks = [rule_pullback(node, function, rule, at, node.outputs, (), {}) for rule, at in found if rule]
    return Step(node, positions, tuple(pullbacks), (), node.run) if len(pullbacks) == len(found) else None


def _blocks(node: Node, position: int) -> bool:
    return not node.inputs[position].is_inexact or node.function.blocks(position)
