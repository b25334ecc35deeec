"""Softmax, its logarithm and its normalizer, accumulated in float32 at least.

All are written in `e^{z - max z}`, which cannot overflow. JAX differentiates the shift as a constant, because the
functions do not depend on it. An infinite maximum shifts by nothing, so masked rows (all `-inf`) stay well defined.
"""

from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import normalize_axes
from funcgrad.ops.contraction import narrow, widen
from funcgrad.registry import op

Axes = int | tuple[int, ...] | None


@op
def softmax(x: Array, *, axis: int = -1) -> Array:
    """`y_i = e^{x_i} / Σ_j e^{x_j}` along `axis`; `x_bar = y (g - Σ_j g_j y_j)`. Keeps the output.

    Args:
        x: floating, `[..., n, ...]`. An entry of `-inf` has no share; where all are, the result is NaN.
        axis: which one sums to 1.

    Returns:
        `y`, in the shape and dtype of `x`, summed in float32 at least.

    Raises:
        ShapeError: there is no such axis, or `x` is of integers.

    Example:
        >>> print(fg.ops.softmax(jnp.array([[0.0, 0.0], [1.0, -jnp.inf]])))
        [[0.5 0.5]
         [1.  0. ]]
    """
    axes = normalize_axes(axis, x.ndim)
    z = widen(x)
    highest, total = shifted_sum(z, axes)
    return narrow(lax.exp(z - lax.expand_dims(highest, axes)) / lax.expand_dims(total, axes), x)


@softmax.pullback("x")
def softmax_x(g: Array, y: Array, axis: int) -> Array:
    """`x_bar = y (g - Σ_j g_j y_j)`."""
    g, y = widen(g), widen(y)
    axes = normalize_axes(axis, y.ndim)
    return y * (g - lax.expand_dims(lax.reduce_sum(g * y, axes), axes))


@op
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """`y_i = x_i - log Σ_j e^{x_j}` along `axis`; `x_bar = g - e^y Σ_j g_j`. Keeps the output.

    Args:
        x: floating, `[..., n, ...]`.
        axis: along which `e^y` sums to 1.

    Returns:
        `y`, in the shape and dtype of `x`, summed in float32 at least.

    Raises:
        ShapeError: there is no such axis, or `x` is of integers.

    Example:
        >>> print(fg.ops.log_softmax(jnp.array([0.0, 1000.0])))
        [-1000.     0.]
    """
    axes = normalize_axes(axis, x.ndim)
    z = widen(x)
    highest, total = shifted_sum(z, axes)
    return narrow((z - lax.expand_dims(highest, axes)) - lax.expand_dims(lax.log(total), axes), x)


@log_softmax.pullback("x")
def log_softmax_x(g: Array, y: Array, axis: int) -> Array:
    """`x_bar = g - e^y Σ_j g_j`."""
    g = widen(g)
    axes = normalize_axes(axis, y.ndim)
    return g - lax.exp(widen(y)) * lax.expand_dims(lax.reduce_sum(g, axes), axes)


@op
def logsumexp(x: Array, *, axis: Axes = None, keepdims: bool = False) -> Array:
    """`y = log Σ e^x` over `axis`; `x_bar = g e^x / Σ e^x`, the softmax. `axis` and `keepdims` as in `sum`.

    Keeps `x`, and the largest entry and `Σ e^{x - max}` (one number each per sum): `e^{x - y}` would lose the
    digits that `y` rounds away. Where every entry is `-inf`, so is `y`, and `x_bar` is 0.

    Args:
        x: floating, of any shape.
        axis: one axis, several, or None for all.
        keepdims: leave the summed axes, with size 1.

    Returns:
        `y`, without the summed axes, in the dtype of `x`.

    Raises:
        ShapeError: there is no such axis, or `x` is of integers.

    Example:
        >>> print(f"{fg.ops.logsumexp(jnp.array([1000.0, 1000.0])):.3f}")
        1000.693
    """
    return logsumexp_saving(x, axis=axis, keepdims=keepdims)[0]


@logsumexp.saving("highest", "total")
def logsumexp_saving(x: Array, *, axis: Axes, keepdims: bool) -> tuple[Array, dict[str, Array]]:
    """The result, the largest entry, and `Σ e^{x - max}`."""
    axes = normalize_axes(axis, x.ndim)
    highest, total = shifted_sum(widen(x), axes)
    y = narrow(lax.log(total) + highest, x)
    return lax.expand_dims(y, axes) if keepdims else y, {"highest": highest, "total": total}


@logsumexp.pullback("x")
def logsumexp_x(g: Array, x: Array, highest: Array, total: Array, axis: Axes) -> Array:
    """`x_bar = g e^{x - max} / Σ e^{x - max}`."""
    axes = normalize_axes(axis, x.ndim)
    # The sum is 0 only where every entry is -inf; else it holds an e^0.
    scale = widen(g).reshape(total.shape) / lax.select(total == 0, lax.full_like(total, 1), total)
    return lax.exp(widen(x) - lax.expand_dims(highest, axes)) * lax.expand_dims(scale, axes)


def shifted_sum(z: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """The largest entry over `axes` (0 where it is infinite) and `Σ e^{z - max}`, both without the axes."""
    highest = lax.stop_gradient(lax.reduce_max(z, axes))
    highest = lax.select(lax.is_finite(highest), highest, lax.full_like(highest, 0))
    return highest, lax.reduce_sum(lax.exp(z - lax.expand_dims(highest, axes)), axes)
