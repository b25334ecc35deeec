"""Differentiating a node on the way forward, by JAX: what it leaves behind for the way back, traced once.

That is how a custom derivative and whatever else holds jaxprs that are not opened is pulled back, so that its body and
its rules run once. It is traced while the pass is planned, which tells which inputs a cotangent gets to: a rule may
give None for one, and then nothing that only leads there is visited, as under `jax.grad`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from funcgrad.aliases import Array, Aval
from funcgrad.graph import Node
from funcgrad.planning.foreign import LostError
from funcgrad.plans import as_array
from funcgrad.primitive import as_function, holds_tracers, is_literal, is_reference, typed, without_constants


@dataclass(frozen=True, eq=False)
class Recording:
    """A node's forward pass that leaves residuals, and the way back from them."""

    positions: tuple[int, ...]
    """The inputs that a cotangent gets to."""
    forward: Callable[..., list[Any]]
    """From the node's inputs and `ahead` to its outputs and the residuals that are new."""
    ahead: tuple[Any, ...]
    """The arrays that the way forward closes over, those that were traced among them."""
    residuals: tuple[Aval, ...]
    """Of the residuals that are new: neither inputs, nor of `ahead`, nor outputs."""
    reads: tuple[int, ...]
    """Where each residual of `jax.vjp` is, counted through inputs, `ahead`, outputs and new residuals."""
    pull: Callable[..., list[Array]]
    """From the residuals at `reads`, `back` and the cotangents of the outputs to those of the inputs `positions`."""
    back: tuple[Any, ...]
    """The arrays that the way back closes over."""


def record(node: Node, moving: tuple[int, ...], outputs: tuple[int, ...]) -> Recording:
    """Trace a node under `jax.vjp`.

    Args:
        node: the node.
        moving: the inputs that depend on what is wanted; the node's rules are told that these are differentiated.
        outputs: the outputs that have a cotangent. That of any other is a symbolic zero.
    """
    arrived: set[int] = set()
    passes = {p: _noting_cotangents(p, arrived) for p in moving}

    def ahead(*leaves: Any) -> tuple[list[Array], Any]:
        def outputs_of(*moved: Array) -> tuple[list[Array], list[Array]]:
            found = node.run(*_put(leaves, {p: passes[p](x) for p, x in zip(moving, moved, strict=True)}))
            return [found[k] for k in outputs], found

        _, pull, found = jax.vjp(outputs_of, *[leaves[p] for p in moving], has_aux=True)
        return found, pull

    avals, n_outputs = [v.aval for v in node.inputs], len(node.outputs)
    traced, (_, residuals) = jax.make_jaxpr(ahead, return_shape=True)(*avals)
    tree = jax.tree.structure(residuals)

    def back(*operands: Array) -> list[Array]:
        kept, g = operands[: tree.num_leaves], operands[tree.num_leaves :]
        return list(jax.tree.unflatten(tree, kept)(list(g)))

    g_avals = [node.outputs[k].aval for k in outputs]
    traced_back = jax.make_jaxpr(back)(*traced.out_avals[n_outputs:], *g_avals)
    if holds_tracers(traced.jaxpr) or holds_tracers(traced_back.jaxpr):
        raise LostError(node)
    chosen = [i for i, p in enumerate(moving) if p in arrived]
    (way_ahead, arrays), (way_back, arrays_back) = without_constants(traced), without_constants(traced_back)
    reads, new = _find_residuals(way_ahead.jaxpr, len(arrays), n_outputs)
    run, pull = as_function(way_ahead), as_function(way_back)
    residual_avals = traced.out_avals[n_outputs:]

    def forward(*operands: Any) -> list[Any]:
        given = [_as_operand(x, v) for x, v in zip(operands, avals, strict=False)]
        found = run(*map(_as_operand, operands[len(avals) :]), *given)
        return [*found[:n_outputs], *(found[k] for k in new)]

    def pull_arrived(*operands: Any) -> list[Array]:
        kept, others = operands[: len(reads)], operands[len(reads) :]
        arrays, g = others[: len(arrays_back)], others[len(arrays_back) :]
        found = pull(*map(_as_operand, arrays), *map(_as_operand, kept, residual_avals), *g)
        # A rule may return another dtype than its argument's; what comes next was traced for that of the argument.
        return [typed(found[i], avals[moving[i]]) for i in chosen]

    positions = tuple(moving[i] for i in chosen)
    avals_of_new = tuple(traced.out_avals[k] for k in new)
    return Recording(positions, forward, tuple(arrays), avals_of_new, reads, pull_arrived, tuple(arrays_back))


def _find_residuals(jaxpr: Any, n_arrays: int, n_outputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where each residual is, and which results of a jaxpr are new residuals.

    A rule often keeps its arguments, which are there anyway. Taken for arrays of their own, they would be counted
    twice; and in a loop they would be stacked, a weight once per turn.
    """
    arrays, inputs = jaxpr.invars[:n_arrays], jaxpr.invars[n_arrays:]
    outputs, residuals = jaxpr.outvars[:n_outputs], jaxpr.outvars[n_outputs:]
    there: dict[Any, int] = {}
    for i, var in enumerate([*inputs, *arrays, *outputs]):
        if not is_literal(var):
            there.setdefault(var, i)
    n_there, reads, new = len(inputs) + n_arrays + n_outputs, [], []
    for k, var in enumerate(residuals):
        at = None if is_literal(var) else there.get(var)
        if at is None:
            at = n_there + len(new)
            new.append(n_outputs + k)
            if not is_literal(var):
                there[var] = at
        reads.append(at)
    return tuple(reads), tuple(new)


def find_moved(node: Node, moving: tuple[int, ...]) -> tuple[int, ...]:
    """The outputs of a node that have a tangent where its inputs at `moving` do, as JAX's rules have it."""
    found: set[int] = set()

    def outputs_of(*leaves: Any) -> Any:
        def moved_outputs(*moved: Array) -> list[Array]:
            outputs = node.run(*_put(leaves, dict(zip(moving, moved, strict=True))))
            inexact = ((k, x) for k, x in enumerate(outputs) if node.outputs[k].is_inexact)
            return [_noting_tangents(k, found)(x) for k, x in inexact]

        return jax.vjp(moved_outputs, *[leaves[p] for p in moving])[0]

    jax.make_jaxpr(outputs_of)(*(v.aval for v in node.inputs))
    return tuple(sorted(found))


def _noting_cotangents(position: int, found: set[int]) -> Callable[[Array], Array]:
    """The identity; when a cotangent passes, its position is noted."""

    @jax.custom_vjp
    def identity(x: Array) -> Array:
        return x

    def back(_: None, g: Any) -> tuple[Any]:
        if not isinstance(g, SymbolicZero):
            found.add(position)
        return (g,)

    identity.defvjp(lambda x: (x.value, None), back, symbolic_zeros=True)
    return identity


def _noting_tangents(position: int, found: set[int]) -> Callable[[Array], Array]:
    """The identity; when a tangent passes, its position is noted."""

    @jax.custom_jvp
    def identity(x: Array) -> Array:
        return x

    def tangent(primals: Sequence[Array], tangents: Sequence[Any]) -> tuple[Array, Any]:
        if not isinstance(tangents[0], SymbolicZero):
            found.add(position)
        return primals[0], tangents[0]

    identity.defjvp(tangent, symbolic_zeros=True)
    return identity


def _as_operand(x: Any, aval: Any = None) -> Any:
    return x if is_reference(aval or jax.typeof(x)) else as_array(x, aval)


def _put(leaves: Sequence[Any], replacing: dict[int, Any]) -> list[Any]:
    return [replacing.get(i, x) for i, x in enumerate(leaves)]
