"""Making the pullback of a node: what it reads, what it writes, and its function.

Rules with the same signature (rule, op, shapes, attributes) are one function in a plan, so that a network of many equal
layers traces each rule once (see `funcgrad.planning.sharing`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from funcgrad.aliases import Array, Aval
from funcgrad.graph import Constant, Node, Value
from funcgrad.naming import standing_at
from funcgrad.planning.captures import closes_over_trace
from funcgrad.planning.elementary import find_rules
from funcgrad.planning.foreign import answering_for
from funcgrad.planning.recording import Recording
from funcgrad.planning.tangents import find_transpose
from funcgrad.plans import Pull, Pullback, as_array
from funcgrad.primitive import (
    Equation,
    TangentRule,
    as_function,
    bodies,
    is_inexact,
    prune,
    traced_once,
    without_constants,
)
from funcgrad.registry import Call, Rule

RulePulls = dict[tuple[Any, ...], tuple[tuple[int, ...], tuple[int, ...], Pull, tuple[Any, ...]]]
"""The rules of a plan as flat functions, by rule and signature: what each reads and writes, the function, and the
arrays it takes first."""


def rule_pullback(
    node: Node,
    call: Call,
    rule: Rule,
    positions: tuple[int, ...],
    outputs: Sequence[Value],
    saved: Sequence[Value],
    made: RulePulls,
    find: Callable[..., Sequence[Value | Constant]],
) -> Pullback:
    """A hand rule for the inputs of an op node at `positions`; equal ones are one function in `made`.

    `find` tells what the arrays stand for that a rule closes over, where these were traced with the node.
    """
    avals, values = _avals(node), (*node.inputs, *outputs, *saved)
    signature = call.recording, rule, positions, avals
    if signature not in made:
        made[signature] = _rule_pull(node, *signature)
    taken, targets, pull, arrays = made[signature]
    names = call.recording.leaf_names(call.recording.outline(avals))
    held = find(node, arrays, reader=f"rule {rule.name}") if arrays else ()
    taken = (*range(len(values), len(values) + len(held)), *taken)
    names = [*names, *(v.name for v in held)]
    return _make(node, rule, outputs, targets, (*values, *held), taken, pull, names)


def derived_pullback(
    node: Node, call: Call, positions: tuple[int, ...], outputs: Sequence[Value], of_saved: bool = False
) -> Pullback:
    """`jax.vjp` of an op's plain forward; with `of_saved`, of what its saving forward saves."""
    avals = _avals(node)
    taken, pull = _derived_pull(call.recording, positions, avals, of_saved)
    return _make(node, None, outputs, positions, node.inputs, taken, pull, call.leaf_names(call.outline(avals)))


def equation_pullback(
    node: Node, equation: Equation, positions: tuple[int, ...], moving: tuple[int, ...], outputs: tuple[int, ...]
) -> Pullback:
    """J^T of one JAX equation: written down, or by `jax.vjp`.

    Args:
        node: the node.
        equation: its function.
        positions: the inputs that get a cotangent.
        moving: the inputs that are differentiated; JAX's rules are told of all of them.
        outputs: the outputs that have a cotangent.
    """
    avals, sources = tuple(v.aval for v in node.outputs), [node.outputs[k] for k in outputs]
    if len(avals) == 1 and (written := find_rules(equation, positions, _avals(node), avals)):
        taken, pull = written
        return _make(
            node, None, node.outputs, positions, (*node.inputs, *node.outputs), taken, pull, [*_places(node), "y"]
        )
    # What has a body may hold arrays of the user's, and its body is no other's.
    derive = _equation_pull.function if bodies(equation.source) else _equation_pull
    with answering_for(node):
        taken, pull = derive(_Signature(equation), moving, positions, _avals(node), avals, outputs)
    return _make(node, None, sources, positions, node.inputs, taken, pull, _places(node))


def tangent_pullback(
    node: Node,
    rule: TangentRule,
    arrays: Sequence[Value | Constant],
    positions: tuple[int, ...],
    outputs: tuple[int, ...],
) -> Pullback:
    """J^T of a `custom_jvp` by the tangent it was given; `arrays` is what the tangent closes over."""
    n = rule.n_closed_over
    values, names = (*arrays, *node.inputs[n:]), [*(v.name for v in arrays), *_places(node)[n:]]
    with answering_for(node):
        taken, pull = find_transpose(rule.tangent, tuple(p - n for p in positions), outputs)
    sources = [node.outputs[k] for k in outputs]
    return _make(node, None, sources, positions, values, taken, pull, names, _places(node))


def residual_pullback(
    node: Node,
    recording: Recording,
    arrays: Sequence[Value | Constant],
    outputs: tuple[int, ...],
    residuals: Value,
) -> Pullback:
    """The pullback of a node whose forward pass leaves residuals behind; `arrays` is what it closes over."""
    n = len(node.inputs)
    values, names = (*node.inputs, residuals, *arrays), [*_places(node), "residuals", *(v.name for v in arrays)]
    sources, taken = [node.outputs[k] for k in outputs], range(n, n + 1 + len(arrays))
    return _make(node, None, sources, recording.positions, values, taken, recording.pull, names)


def _make(
    node: Node,
    rule: Rule | None,
    outputs: Sequence[Value],
    targets: Sequence[int],
    values: Sequence[Value | Constant],
    taken: Sequence[int],
    pull: Pull,
    names: Sequence[str],
    inputs: Sequence[str] | None = None,
) -> Pullback:
    """A pullback that reads the `values` at positions `taken`.

    `names` are those of all values; of which the first are the node's inputs, unless these have names of their own.
    """
    return Pullback(
        node,
        rule,
        sources=tuple(v for v in outputs if v.is_inexact),
        targets=tuple(v for t in targets if isinstance(v := node.inputs[t], Value)),
        needs=tuple(values[t] for t in taken),
        pull=pull,
        arguments=tuple((inputs or names)[t] for t in targets),
        reads=tuple(names[t] for t in taken),
    )


def _places(node: Node) -> list[str]:
    """Names for the inputs of an equation, which has none."""
    return [f"in{i}" for i in range(len(node.inputs))]


def _avals(node: Node) -> tuple[Aval, ...]:
    return tuple(v.aval for v in node.inputs)


def _rule_pull(
    node: Node, call: Call, rule: Rule, positions: tuple[int, ...], avals: tuple[Aval, ...]
) -> tuple[tuple[int, ...], tuple[int, ...], Pull, tuple[Any, ...]]:
    linear, targets = call.linear(avals, positions), call.targets(rule, positions)
    taken, pull = call.pullback(linear, rule, avals)
    if not closes_over_trace(rule, node):
        return taken, targets, pull, ()
    outline = call.outline(avals)
    operands = [(*avals, *outline.avals)[t] for t in taken]
    g_avals = [a for a in outline.avals[: outline.n_outputs] if is_inexact(a)]
    with standing_at(node.name, lambda: node.line):
        closed, arrays = without_constants(jax.make_jaxpr(pull)(*operands, *g_avals))
    return taken, targets, as_function(closed), tuple(arrays)


@traced_once()
def _derived_pull(
    call: Call, positions: tuple[int, ...], avals: tuple[Aval, ...], of_saved: bool
) -> tuple[tuple[int, ...], Pull]:
    pull = call.derived(call.linear(avals, positions), avals, positions, of_saved)
    outline = call.outline(avals)
    outputs = outline.avals[outline.n_outputs :] if of_saved else outline.avals[: outline.n_outputs]
    return _pruned(pull, avals, outputs)


@dataclass(frozen=True)
class _Signature:
    """An equation, equal to others that compute the same function."""

    equation: Equation

    def __hash__(self) -> int:
        return hash(self.equation.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Signature) and self.equation.key == other.equation.key


@traced_once()
def _equation_pull(
    signature: _Signature,
    moving: tuple[int, ...],
    positions: tuple[int, ...],
    avals: tuple[Aval, ...],
    outputs: tuple[Aval, ...],
    used: tuple[int, ...],
) -> tuple[tuple[int, ...], Pull]:
    run = signature.equation.run

    def pull(*operands: Array) -> Sequence[Array]:
        leaves, g = operands[: len(avals)], operands[len(avals) :]

        def used_outputs(*moved: Array) -> list[Array]:
            found = run(*_put(leaves, moving, moved))
            return [found[k] for k in used]

        found = jax.vjp(used_outputs, *[leaves[p] for p in moving])[1](list(g))
        return [found[moving.index(p)] for p in positions]

    return _pruned(pull, avals, [outputs[k] for k in used])


def _pruned(pull: Pull, avals: Sequence[Aval], outputs: Sequence[Aval]) -> tuple[tuple[int, ...], Pull]:
    """A pullback of all primals, cut down to the primals it reads (a sum reads none)."""
    g_avals = [a for a in outputs if is_inexact(a)]
    smaller, used = prune(pull, [*avals, *g_avals])
    taken = tuple(i for i in used if i < len(avals))
    kept_g = [i - len(avals) for i in used if i >= len(avals)]

    def pull_used(*operands: Array) -> Sequence[Any]:
        g = operands[len(taken) :]
        return list(map(as_array, smaller(*operands[: len(taken)], *[g[i] for i in kept_g])))

    return taken, pull_used


def _put(leaves: Sequence[Any], positions: Sequence[int], moved: Sequence[Any]) -> list[Any]:
    replaced = dict(zip(positions, moved, strict=True))
    return [replaced.get(i, x) for i, x in enumerate(leaves)]
