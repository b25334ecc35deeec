"""Primitives that add up or choose among the entries along axes."""

from collections.abc import Sequence
from typing import Any

from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.contraction import widen
from funcgrad.ops.equations.guards import one_filled
from funcgrad.ops.equations.operands import IMAGE, TIED
from funcgrad.registry import row, subgradient

EVEN_AT_TIES = subgradient("split evenly at ties", even_at_ties=True)


def reduce_sum_operand(g: Array, operand_aval: Aval, axes: Sequence[Any]) -> Array:
    """Repeated along the axes that were summed."""
    return _repeated(g, operand_aval.shape, axes)


def reduce_max_operand(g: Array, operand: Array, axes: Sequence[Any]) -> Array:
    """`g / m` at each of the `m` entries equal to the maximum, 0 elsewhere."""
    return _to_winners(g, operand, lax.reduce_max(operand, axes), axes)


def reduce_min_operand(g: Array, operand: Array, axes: Sequence[Any]) -> Array:
    """`g / m` at each of the `m` entries equal to the minimum, 0 elsewhere."""
    return _to_winners(g, operand, lax.reduce_min(operand, axes), axes)


def _to_winners(g: Array, operand: Array, best: Array, axes: Sequence[Any]) -> Array:
    """Shared equally among the entries that are the best.

    `best` is not the output itself: where the operand is computed again, rounded otherwise, no entry need equal the
    output. The best of what has a NaN is no entry: 0 / 0 says so, where a plain 0 would hide it.
    """
    shape, wide = operand.shape, widen(g)
    winners = lax.eq(operand, _repeated(best, shape, axes))
    n = lax.reduce_sum(lax.convert_element_type(winners, wide.dtype), axes)
    share, nothing = lax.div(wide, n), lax.div(lax.full_like(n, 0), n)
    return lax.select(winners, _repeated(share, shape, axes), _repeated(nothing, shape, axes))


def _repeated(x: Array, shape: tuple[int, ...], axes: Sequence[Any]) -> Array:
    """What was reduced over the axes, at each entry of `shape`."""
    return lax.broadcast_in_dim(x, shape, [axis for axis in range(len(shape)) if axis not in axes])


def cumsum_operand(g: Array, axis: Any, reverse: bool) -> Array:
    """What each entry was added to: summed from the other end."""
    return lax.cumsum(g, axis, not reverse)


row("reduce_sum", one_filled, operand=reduce_sum_operand).example(lambda x: lax.reduce_sum(x, (0, 2)), IMAGE)
row("reduce_max", one_filled, EVEN_AT_TIES, operand=reduce_max_operand).example(
    lambda x: lax.reduce_max(x, (1,)), IMAGE
).example(lambda x: lax.reduce_max(x, (0,)), TIED.round())
row("reduce_min", one_filled, EVEN_AT_TIES, operand=reduce_min_operand).example(
    lambda x: lax.reduce_min(x, (1,)), IMAGE
)
row("cumsum", one_filled, operand=cumsum_operand).example(lambda x: lax.cumsum(x, 1), IMAGE).example(
    lambda x: lax.cumsum(x, 0, reverse=True), IMAGE
)
