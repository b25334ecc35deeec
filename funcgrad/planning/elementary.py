"""J^T of JAX's commonest equations, written down: what `jax.vjp` would derive, without tracing to derive it.

Each entry is, for an equation `y = f(in0, in1, ...)` and an argument, what its rule reads and the rule. They hold for
floating arrays of one dtype on no explicit mesh; anything else is derived, and so is every equation that is not here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.plans import Pull
from funcgrad.primitive import Equation, is_plain, typed
from funcgrad.registry import unbroadcast

OUTPUT = -1
"""The place of the output among what a rule reads."""


@dataclass(frozen=True)
class _Rule:
    """J^T with respect to one argument: `function(g, *reads)`, or `function(g, *reads, equation)`."""

    reads: tuple[int, ...]
    function: Callable[..., Array]
    needs_equation: bool = False


def _half(y: Array) -> Array:
    return lax.full_like(y, 0.5)


def _one(y: Array) -> Array:
    return lax.full_like(y, 1)


def _tanh(g: Array, y: Array) -> Array:
    return lax.mul(lax.add(g, lax.mul(g, y)), lax.sub(_one(y), y))


def _quotient(g: Array, x: Array, y: Array) -> Array:
    """With respect to y in x / y."""
    return lax.mul(lax.mul(lax.neg(g), x), lax.integer_pow(y, -2))


def _rsqrt(g: Array, x: Array, y: Array) -> Array:
    return lax.mul(g, lax.mul(lax.neg(_half(y)), lax.div(y, x)))


def _integer_pow(g: Array, x: Array, equation: Equation) -> Array:
    n = equation.source.params["y"]
    if n == 0:
        return lax.full_like(g, 0)
    if n == 2:  # every mean square: two equations instead of four
        return lax.mul(g, lax.add(x, x))
    return lax.mul(g, lax.mul(lax.full_like(x, n), lax.integer_pow(x, n - 1)))


def _identity(g: Array) -> Array:
    return g


def _maximum(g: Array, x: Array, other: Array) -> Array:
    """To the larger; where they are equal, half to each."""
    return _shared(g, x > other, x == other)


def _minimum(g: Array, x: Array, other: Array) -> Array:
    """To the smaller; where they are equal, half to each."""
    return _shared(g, x < other, x == other)


def _shared(g: Array, wins: Array, ties: Array) -> Array:
    """The inputs are compared with each other, not with the output: compiled code may compute an input a second time,
    rounded another way, and then neither is the output and nothing would flow.
    """
    return lax.mul(g, jnp.where(wins, _one(g), jnp.where(ties, _half(g), lax.full_like(g, 0))))


ELEMENTWISE: dict[str, tuple[_Rule, ...]] = {
    "add": (_Rule((), _identity), _Rule((), _identity)),
    "add_any": (_Rule((), _identity), _Rule((), _identity)),
    "sub": (_Rule((), _identity), _Rule((), lax.neg)),
    "mul": (_Rule((1,), lax.mul), _Rule((0,), lax.mul)),
    "div": (_Rule((1,), lax.div), _Rule((0, 1), _quotient)),
    "max": (_Rule((0, 1), _maximum), _Rule((1, 0), _maximum)),
    "min": (_Rule((0, 1), _minimum), _Rule((1, 0), _minimum)),
    "neg": (_Rule((), lax.neg),),
    "abs": (_Rule((0,), lambda g, x: lax.select(x >= 0, g, lax.neg(g))),),
    "copy": (_Rule((), _identity),),
    "copy_p": (_Rule((), _identity),),
    "name": (_Rule((), _identity),),
    "exp": (_Rule((OUTPUT,), lax.mul),),
    "log": (_Rule((0,), lax.div),),
    "sin": (_Rule((0,), lambda g, x: lax.mul(g, lax.cos(x))),),
    "cos": (_Rule((0,), lambda g, x: lax.neg(lax.mul(g, lax.sin(x)))),),
    "tanh": (_Rule((OUTPUT,), _tanh),),
    "logistic": (_Rule((OUTPUT,), lambda g, y: lax.mul(g, lax.mul(y, lax.sub(_one(y), y)))),),
    "sqrt": (_Rule((OUTPUT,), lambda g, y: lax.mul(g, lax.div(_half(y), y))),),
    "rsqrt": (_Rule((0, OUTPUT), _rsqrt),),
    "square": (_Rule((0,), lambda g, x: lax.mul(g, lax.mul(lax.full_like(x, 2), x))),),
    "integer_pow": (_Rule((0,), _integer_pow, needs_equation=True),),
}


def _reshape(g: Array, equation: Equation) -> Array:
    return lax.reshape(g, _shape(equation, 0))


def _transpose(g: Array, equation: Equation) -> Array:
    permutation = equation.source.params["permutation"]
    return lax.transpose(g, sorted(range(g.ndim), key=lambda axis: permutation[axis]))


def _broadcast_in_dim(g: Array, equation: Equation) -> Array:
    shape, axes = _shape(equation, 0), equation.source.params["broadcast_dimensions"]
    kept = {axis for n, axis in zip(shape, axes, strict=True) if n == g.shape[axis]}
    summed = tuple(axis for axis in range(g.ndim) if axis not in kept)
    return lax.reshape(jnp.sum(g, summed) if summed else g, shape)


def _reduce_sum(g: Array, equation: Equation) -> Array:
    shape, axes = _shape(equation, 0), equation.source.params["axes"]
    return lax.broadcast_in_dim(g, shape, [axis for axis in range(len(shape)) if axis not in axes])


def _convert(g: Array, equation: Equation) -> Array:
    return typed(g, equation.source.invars[0].aval)


def _select(which: int, g: Array, choice: Array) -> Array:
    nothing = lax.full_like(g, 0)
    return lax.select_n(choice, *((g, nothing) if which == 0 else (nothing, g)))


def _gather(g: Array, indices: Array, equation: Equation) -> Array:
    """What was read at several places is added up at each."""
    params, operand = equation.source.params, equation.source.invars[0].aval
    gathered = params["dimension_numbers"]
    scattered = lax.ScatterDimensionNumbers(
        update_window_dims=gathered.offset_dims,
        inserted_window_dims=gathered.collapsed_slice_dims,
        scatter_dims_to_operand_dims=gathered.start_index_map,
        operand_batching_dims=gathered.operand_batching_dims,
        scatter_indices_batching_dims=gathered.start_indices_batching_dims,
    )
    return lax.scatter_add(
        lax.full(operand.shape, 0, operand.dtype),
        indices,
        g,
        scattered,
        indices_are_sorted=params["indices_are_sorted"],
        unique_indices=params["unique_indices"],
        mode=params["mode"],
    )


def _dot_general(which: int, g: Array, other: Array, equation: Equation) -> Array:
    """The product of g with the other factor over that one's free axes, its axes put in the order of this factor's.

    For y[b, i, j] = Σ_k x[b, i, k] z[b, j, k]:  x̄[b, i, k] = Σ_j g[b, i, j] z[b, j, k],  and z̄ alike.
    """
    params = equation.source.params
    contracted, batch = params["dimension_numbers"]
    mine_c, mine_b, other_c, other_b = contracted[which], batch[which], contracted[1 - which], batch[1 - which]
    n_batch = len(mine_b)
    free = [axis for axis in range(len(_shape(equation, which))) if axis not in mine_c and axis not in mine_b]
    other_free = [axis for axis in range(other.ndim) if axis not in other_c and axis not in other_b]
    start = n_batch if which == 1 else n_batch + len(free)
    g_axes = list(range(start, start + len(other_free)))
    product = lax.dot_general(
        g,
        other,
        ((g_axes, other_free), (list(range(n_batch)), list(other_b))),
        precision=params["precision"],
        preferred_element_type=params["preferred_element_type"],
    )
    # What comes out: batch, my free axes, then the contracted axes in the order in which the other factor has them.
    left = sorted(range(len(other_c)), key=lambda k: other_c[k])
    order = [*mine_b, *free, *(mine_c[k] for k in left)]
    return lax.transpose(product, sorted(range(len(order)), key=lambda axis: order[axis]))


def _concatenate(which: int, g: Array, equation: Equation) -> Array:
    """The strip of g that this operand has become."""
    axis = equation.source.params["dimension"]
    sizes = [v.aval.shape[axis] for v in equation.source.invars]
    start = sum(sizes[:which])
    return lax.slice_in_dim(g, start, start + sizes[which], axis=axis)


OTHERS: dict[str, tuple[_Rule | None, ...]] = {
    "reshape": (_Rule((), _reshape, needs_equation=True),),
    "squeeze": (_Rule((), _reshape, needs_equation=True),),
    "transpose": (_Rule((), _transpose, needs_equation=True),),
    "broadcast_in_dim": (_Rule((), _broadcast_in_dim, needs_equation=True),),
    "reduce_sum": (_Rule((), _reduce_sum, needs_equation=True),),
    "convert_element_type": (_Rule((), _convert, needs_equation=True),),
    "select_n": (None, _Rule((0,), partial(_select, 0)), _Rule((0,), partial(_select, 1))),
    "gather": (_Rule((1,), _gather, needs_equation=True), None),
    "dot_general": (
        _Rule((1,), partial(_dot_general, 0), needs_equation=True),
        _Rule((0,), partial(_dot_general, 1), needs_equation=True),
    ),
}


def find_rules(
    equation: Equation, positions: Sequence[int], avals: Sequence[Aval], outputs: Sequence[Aval]
) -> tuple[tuple[int, ...], Pull] | None:
    """What the rules of the arguments at `positions` read, and the rules as one function; None where none is written.

    The places of what is read count the inputs, then the output.
    """
    name = equation.source.primitive.name
    rules = _rules_of(name, len(avals))
    if rules is None or not _applies(equation, name, avals, outputs):
        return None
    chosen = [rules[p] for p in positions if p < len(rules)]
    if len(chosen) < len(positions) or None in chosen:
        return None
    reads = tuple(dict.fromkeys(r if r != OUTPUT else len(avals) for rule in chosen if rule for r in rule.reads))

    def pull(*operands: Array) -> list[Array]:
        read, g = dict(zip(reads, operands, strict=False)), operands[-1]
        found = (_apply(rule, g, read, equation) for rule in chosen if rule)
        return [unbroadcast(x, avals[p]) for x, p in zip(found, positions, strict=True)]

    return reads, pull


def _rules_of(name: str, n_arguments: int) -> tuple[_Rule | None, ...] | None:
    if name == "concatenate":
        return tuple(_Rule((), partial(_concatenate, i), needs_equation=True) for i in range(n_arguments))
    return ELEMENTWISE.get(name) or OTHERS.get(name)


def _apply(rule: _Rule, g: Array, read: dict[int, Array], equation: Equation) -> Array:
    values = [read[r if r != OUTPUT else len(equation.source.invars)] for r in rule.reads]
    return rule.function(g, *values, equation) if rule.needs_equation else rule.function(g, *values)


def _applies(equation: Equation, name: str, avals: Sequence[Aval], outputs: Sequence[Aval]) -> bool:
    (output,) = outputs
    floating = [a for a in avals if jnp.issubdtype(a.dtype, jnp.inexact)]
    if not all(jnp.issubdtype(a.dtype, jnp.floating) and is_plain(a) for a in (*floating, output)):
        return False
    params = equation.source.params
    if name in ELEMENTWISE or name == "concatenate":
        return all(a.dtype == output.dtype for a in avals)
    if name == "select_n":
        return len(avals) == 3 and all(a.shape == output.shape for a in avals)
    if name == "gather":
        return prod(output.shape) > 0
    if name == "dot_general":
        return params.get("out_sharding") is None and {a.dtype for a in avals} == {output.dtype}
    if name in ("reshape", "broadcast_in_dim"):
        return len(avals) == 1 and params.get("sharding") is None and params.get("dimensions") is None
    return len(floating) == len(avals) == 1 and prod(avals[0].shape) > 0


def _shape(equation: Equation, position: int) -> tuple[int, ...]:
    return equation.source.invars[position].aval.shape
