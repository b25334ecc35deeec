"""Reductions over `axis`: an axis, several, or all (None). Axes count as in numpy; `keepdims` leaves them as 1."""

from math import prod

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.axes import normalize_axes
from funcgrad.ops.contraction import widen
from funcgrad.ops.equations.reducing import EVEN_AT_TIES, reduce_max_operand, reduce_sum_operand
from funcgrad.registry import op

Axes = int | tuple[int, ...] | None


@op
def sum(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = Σ x` over `axis`; `x_bar = g`, repeated along `axis`. Keeps nothing but the shape.

    Args:
        x: an array.
        axis: one axis, several, or None for all.
        keepdims: leave the summed axes, with size 1.

    Returns:
        `y`, without the summed axes.

    Raises:
        ShapeError: there is no such axis, or it is named twice.

    Example:
        >>> print(fg.ops.sum(jnp.ones((2, 3)), axis=0))
        [2. 2. 2.]
    """
    return jnp.sum(x, axis=axis, keepdims=keepdims)


@sum.pullback("x")
def sum_x(g: Array, x_aval: Aval, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g`, repeated along `axis`."""
    axes = normalize_axes(axis, x_aval.ndim)
    return reduce_sum_operand(_reduced(g, axes, keepdims), x_aval, axes)


@op
def mean(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = Σ x / n` over `axis`, `n` the number of entries summed; `x_bar = g / n`, repeated. Keeps the shape.

    Args:
        x: an array; integers have a floating mean.
        axis: one axis, several, or None for all.
        keepdims: leave the summed axes, with size 1.

    Returns:
        `y`, without the summed axes. The mean of nothing is NaN.

    Raises:
        ShapeError: there is no such axis, or it is named twice.

    Example:
        >>> print(fg.grad(lambda x: fg.ops.mean(x))(jnp.array([1.0, 2.0, 3.0, 4.0])))
        [0.25 0.25 0.25 0.25]
    """
    return jnp.mean(x, axis=normalize_axes(axis, x.ndim), keepdims=keepdims)


@mean.pullback("x")
def mean_x(g: Array, x_aval: Aval, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g / n`, repeated along `axis`."""
    axes = normalize_axes(axis, x_aval.ndim)
    n = prod(x_aval.shape[a] for a in axes)
    # Widened, because float16 ends at 65,504: more entries than that would divide by infinity.
    share = (widen(g) / n).astype(g.dtype) if n else g
    return reduce_sum_operand(_reduced(share, axes, keepdims), x_aval, axes)


@op
def max(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = max x` over `axis`; `x_bar = g / m` at each of the `m` entries equal to the maximum. Keeps `x`.

    Args:
        x: a real array.
        axis: one axis, several, or None for all.
        keepdims: leave the reduced axes, with size 1.

    Returns:
        `y`, without the reduced axes, in the dtype of `x`.

    Raises:
        ShapeError: there is no such axis, it is named twice, or it is empty.

    Example:
        >>> print(fg.grad(lambda x: fg.ops.max(x))(jnp.array([1.0, 3.0, 3.0])))
        [0.  0.5 0.5]
    """
    return jnp.max(x, axis=axis, keepdims=keepdims)


@max.pullback("x", kind=EVEN_AT_TIES)
def max_x(g: Array, x: Array, axis: Axes, keepdims: bool) -> Array:
    """`x_bar = g / m` at the `m` winners, 0 elsewhere."""
    axes = normalize_axes(axis, x.ndim)
    return reduce_max_operand(_reduced(g, axes, keepdims), x, axes)


def _reduced(g: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The cotangent without the axes of size 1 that were kept."""
    return lax.squeeze(g, axes) if keepdims else g
