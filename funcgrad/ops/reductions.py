"""Reductions over `axis`: an axis, several, or all (None). Axes count as in numpy; `keepdims` leaves them as 1."""

from math import prod

import jax.numpy as jnp

from funcgrad.aliases import Array, Aval
from funcgrad.ops.contraction import widen
from funcgrad.ops.shapes import normalize_axes
from funcgrad.registry import op, subgradient

Axes = int | tuple[int, ...] | None


@op
def sum(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = Σ x` over `axis`; `x_bar = g`, repeated along `axis`. Keeps nothing but the shape."""
    return jnp.sum(x, axis=axis, keepdims=keepdims)


@sum.pullback("x")
def sum_x(g: Array, x_aval: Aval, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g`, repeated along `axis`."""
    return jnp.broadcast_to(_restore(g, x_aval.ndim, axis, keepdims), x_aval.shape)


@op
def mean(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = Σ x / n` over `axis`, `n` the number of entries summed; `x_bar = g / n`, repeated. Keeps the shape."""
    return jnp.mean(x, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)


@mean.pullback("x")
def mean_x(g: Array, x_aval: Aval, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g / n`, repeated along `axis`."""
    n = prod(x_aval.shape[a] for a in normalize_axes(axis, x_aval.ndim))
    # Widened, because float16 ends at 65,504: more entries than that would divide by infinity.
    share = (widen(g) / n).astype(g.dtype) if n else g
    return jnp.broadcast_to(_restore(share, x_aval.ndim, axis, keepdims), x_aval.shape)


@op
def max(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = max x` over `axis`; `x_bar = g / m` at each of the `m` entries equal to the maximum. Keeps `x`."""
    return jnp.max(x, axis=axis, keepdims=keepdims)


@max.pullback("x", kind=subgradient("split evenly at ties"))
def max_x(g: Array, x: Array, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g / m` at the `m` winners, 0 elsewhere."""
    axes = normalize_axes(axis, x.ndim)
    # Not the output itself: where `x` is computed again, rounded otherwise, no entry need equal the output.
    winners = x == jnp.max(x, axis=axes, keepdims=True)
    g = widen(_restore(g, x.ndim, axis, keepdims))
    n = jnp.sum(winners, axis=axes, keepdims=True).astype(g.dtype)
    # The maximum of what has a NaN is no entry: 0 / 0 says so, where a plain 0 would hide it.
    return jnp.where(winners, g / n, 0 / n)


def _restore(reduced: Array, rank: int, axis: Axes, keepdims: bool) -> Array:
    """A reduced value with its axes back, as size 1."""
    return reduced if keepdims else jnp.expand_dims(reduced, normalize_axes(axis, rank))
