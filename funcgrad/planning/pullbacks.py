"""Making the pullback of a node: what it reads, what it writes, and its function.

Rules with the same signature (rule, op, shapes, attributes) are one function in a plan, so that a network of many equal
layers traces each rule once (see `funcgrad.planning.sharing`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from funcgrad.aliases import Array, Aval
from funcgrad.graph import Constant, Node, Value
from funcgrad.naming import at_node
from funcgrad.planning.around import Around
from funcgrad.planning.captures import closes_over_trace
from funcgrad.planning.foreign import errors_from
from funcgrad.planning.recording import Recording
from funcgrad.plans import Pullback, as_array
from funcgrad.primitive import as_function, bodies, is_inexact, prune, traced_once, without_constants
from funcgrad.registry import Call, Equation, Function, Pull, Rule

RulePulls = dict[tuple[Any, ...], tuple[tuple[int, ...], tuple[int, ...], Pull, tuple[Any, ...]]]
"""The rules of a plan as flat functions, by rule and signature: what each reads and writes, the function, and the
arrays it takes first."""


def rule_pullback(
    node: Node,
    function: Function,
    rule: Rule,
    positions: tuple[int, ...],
    outputs: Sequence[Value],
    saved: Sequence[Value],
    made: RulePulls,
    find: Callable[..., Sequence[Value | Constant]] | None = None,
    around: Around | None = None,
) -> Pullback:
    """A rule for the inputs of a node at `positions`; equal ones are one function in `made`.

    `find` tells what the arrays stand for that a rule closes over, where these were traced with the node; rules that
    are written down close over none. `around` is what the rule is told beside that.
    """
    avals, values = _avals(node), (*node.inputs, *outputs, *saved)
    what = function.key if isinstance(function, Equation) else function
    signature = what, rule, positions, avals, around and around.setting
    found = made.get(signature)
    if found is None:
        found = made[signature] = _rule_pull(node, function, rule, positions, outputs, saved, around)
    taken, targets, pull, arrays = found
    names = [*function.leaf_names(avals), *rule.keep]
    if arrays:
        assert find is not None
        held = find(node, arrays, reader=f"rule {rule.name}")
        taken = (*range(len(values), len(values) + len(held)), *taken)
        names, values = [*names, *(v.name for v in held)], (*values, *held)
    made_here = make_pullback(node, rule, outputs, targets, values, taken, pull, names)
    return replace(made_here, signal=around.signal, key=around.key, at=around.at) if around else made_here


def derived_pullback(
    node: Node, call: Call, positions: tuple[int, ...], outputs: Sequence[Value], of_saved: bool = False
) -> Pullback:
    """`jax.vjp` of an op's plain forward; with `of_saved`, of what its saving forward saves."""
    avals = _avals(node)
    taken, pull = _derived_pull(call.recording, positions, avals, of_saved)
    return make_pullback(node, None, outputs, positions, node.inputs, taken, pull, call.plain.leaf_names(avals))


def equation_pullback(
    node: Node, equation: Equation, positions: tuple[int, ...], moving: tuple[int, ...], outputs: tuple[int, ...]
) -> Pullback:
    """J^T of one JAX equation by `jax.vjp`.

    Args:
        node: the node.
        equation: its function.
        positions: the inputs that get a cotangent.
        moving: the inputs that are differentiated; JAX's rules are told of all of them.
        outputs: the outputs that have a cotangent.
    """
    avals, sources = tuple(v.aval for v in node.outputs), [node.outputs[k] for k in outputs]
    # What has a body may hold arrays of the user's, and its body is no other's.
    derive = _equation_pull.function if bodies(equation.source) else _equation_pull
    with errors_from(node):
        taken, pull = derive(_Signature(equation), moving, positions, _avals(node), avals, outputs)
    return make_pullback(node, None, sources, positions, node.inputs, taken, pull, names_at(node))


def residual_pullback(
    node: Node,
    recording: Recording,
    ahead: Sequence[Value | Constant],
    back: Sequence[Value | Constant],
    outputs: tuple[int, ...],
    residuals: Sequence[Value],
) -> Pullback:
    """The pullback of a node whose forward pass leaves residuals behind; its ways close over `ahead` and `back`."""
    n, own = len(node.inputs), names_at(node)
    values = (*node.inputs, *ahead, *node.outputs, *residuals, *back)
    new = [f"residual{i}" for i in range(len(residuals))]
    names = [*own[:n], *(v.name for v in ahead), *own[n:], *new, *(v.name for v in back)]
    sources = [node.outputs[k] for k in outputs]
    taken = (*recording.reads, *range(len(values) - len(back), len(values)))
    is_custom = isinstance(node.function, Equation) and node.function.is_custom_vjp
    how = f"{node.op_name} (custom_vjp)" if is_custom else "jax.vjp"
    return make_pullback(node, None, sources, recording.positions, values, taken, recording.pull, names, derivation=how)


def make_pullback(
    node: Node,
    rule: Rule | None,
    outputs: Sequence[Value],
    targets: Sequence[int],
    values: Sequence[Value | Constant],
    taken: Sequence[int],
    pull: Pull,
    names: Sequence[str],
    inputs: Sequence[str] | None = None,
    derivation: str = "jax.vjp",
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
        positions=tuple(targets),
        reads=tuple(names[t] for t in taken),
        derivation=derivation,
    )


def names_at(node: Node) -> Sequence[str]:
    """What a node's function calls its inputs and outputs."""
    assert isinstance(node.function, Function)
    return node.function.leaf_names(_avals(node))


def _avals(node: Node) -> tuple[Aval, ...]:
    return tuple(v.aval for v in node.inputs)


def _rule_pull(
    node: Node,
    function: Function,
    rule: Rule,
    positions: tuple[int, ...],
    outputs: Sequence[Value],
    saved: Sequence[Value],
    around: Around | None,
) -> tuple[tuple[int, ...], tuple[int, ...], Pull, tuple[Any, ...]]:
    """A rule as a flat function, and the arrays it takes first: those of the trace that it closes over."""
    setting, extra = (around.setting, around.avals) if around else (None, [])
    taken, targets, pull = function.pullback(rule, positions, _avals(node), setting)
    operands = [(*node.inputs, *outputs, *saved)[t].aval for t in taken]
    g_avals = [v.aval for v in outputs if v.is_inexact]
    if not closes_over_trace(rule, node):
        if setting is None or not setting.reads_arguments:
            return taken, targets, pull, ()
        with at_node(node.name, lambda: node.line):
            return *_without_unread(pull, taken, targets, [*operands, *g_avals, *extra]), ()
    with at_node(node.name, lambda: node.line):
        closed, arrays = without_constants(jax.make_jaxpr(pull)(*operands, *g_avals, *extra))
    return taken, targets, as_function(closed), tuple(arrays)


def _without_unread(
    pull: Pull, taken: tuple[int, ...], targets: tuple[int, ...], avals: Sequence[Aval]
) -> tuple[tuple[int, ...], tuple[int, ...], Pull]:
    """A rule that takes what it really reads: what it replaces, and the forward, cost nothing unless they are run."""
    smaller, used = prune(pull, avals)
    n = len(taken)
    late = tuple(i for i in used if i >= n)

    def pull_used(*operands: Array) -> Sequence[Any]:
        rest = operands[len(operands) - (len(avals) - n) :]
        return smaller(*operands[: len(operands) - len(rest)], *[rest[i - n] for i in late])

    return tuple(taken[i] for i in used if i < n), targets, pull_used


@traced_once()
def _derived_pull(
    call: Call, positions: tuple[int, ...], avals: tuple[Aval, ...], of_saved: bool
) -> tuple[tuple[int, ...], Pull]:
    pull = call.differential(call.linear(avals, positions)).derived(avals, positions, of_saved)
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
