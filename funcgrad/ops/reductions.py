"""Reductions over `axis`: an axis, several, or all (None). Axes count as in numpy; `keepdims` leaves them as 1."""

from math import prod

import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.ops.shapes import extent, normalize_axes, shape_in
from funcgrad.registry import op, subgradient

Axes = int | tuple[int, ...] | None


@op
def sum(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = Σ x` over `axis`; `x_bar = g`, repeated along `axis`. Keeps nothing but the shape."""
    return jnp.sum(x, axis=axis, keepdims=keepdims)


@sum.saving("x_extent")
def sum_saving(x: Array, *, axis: Axes, keepdims: bool) -> tuple[Array, dict[str, Array]]:
    """The sum, and the shape of `x`."""
    return jnp.sum(x, axis=axis, keepdims=keepdims), {"x_extent": extent(x)}


@sum.pullback("x")
def sum_x(g: Array, x_extent: Array, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g`, repeated along `axis`."""
    return jnp.broadcast_to(_restore(g, x_extent.ndim - 1, axis, keepdims), shape_in(x_extent))


@op
def mean(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = Σ x / n` over `axis`, `n` the number of entries summed; `x_bar = g / n`, repeated. Keeps the shape."""
    return jnp.mean(x, axis=axis, keepdims=keepdims)


@mean.saving("x_extent")
def mean_saving(x: Array, *, axis: Axes, keepdims: bool) -> tuple[Array, dict[str, Array]]:
    """The mean, and the shape of `x`."""
    return jnp.mean(x, axis=axis, keepdims=keepdims), {"x_extent": extent(x)}


@mean.pullback("x")
def mean_x(g: Array, x_extent: Array, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g / n`, repeated along `axis`."""
    shape = shape_in(x_extent)
    n = prod(shape[a] for a in normalize_axes(axis, len(shape)))
    return jnp.broadcast_to(_restore(g / n if n else g, len(shape), axis, keepdims), shape)


@op
def max(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = max x` over `axis`; `x_bar = g / m` at each of the `m` entries equal to the maximum. Keeps `x` and `y`."""
    return jnp.max(x, axis=axis, keepdims=keepdims)


@max.pullback("x", kind=subgradient("split evenly at ties"))
def max_x(g: Array, x: Array, y: Array, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g / m` at the `m` winners, 0 elsewhere."""
    winners = x == _restore(y, x.ndim, axis, keepdims)
    n = jnp.sum(winners, axis=normalize_axes(axis, x.ndim), keepdims=True).astype(g.dtype)
    return jnp.where(winners, _restore(g, x.ndim, axis, keepdims) / n, 0)


def _restore(reduced: Array, rank: int, axis: Axes, keepdims: bool) -> Array:
    """A reduced value with its axes back, as size 1."""
    return reduced if keepdims else jnp.expand_dims(reduced, normalize_axes(axis, rank))
