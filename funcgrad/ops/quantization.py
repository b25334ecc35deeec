"""Functions that take few values: steps, signs, rounding to a grid.

They are flat almost everywhere, and their rules say so: what is flat is marked zero, so that a plan stops there and
`fg.blame` calls the gradient cut. What is to pass nevertheless is a choice, and published ones are sets of rules:
`fg.rulesets.straight_through` and `fg.rulesets.surrogates`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import align
from funcgrad.ops.contraction import narrow, widen
from funcgrad.registry import Marker, op


@op(elementwise=True)
def heaviside(x: Array) -> Array:
    """`y = 1` where `x > 0`, else 0; NaN where `x` is. No cotangent passes: `x` is marked zero.

    A spike, where `x` is a membrane less its threshold; `fg.rulesets.surrogates` has what passes instead.

    Args:
        x: real, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Example:
        >>> spikes = lambda x: fg.ops.heaviside(x).sum()
        >>> x = jnp.array([-1.0, 0.0, 1.0])
        >>> print(fg.ops.heaviside(x), fg.grad(spikes)(x))
        [0. 0. 1.] [0. 0. 0.]
        >>> print(fg.grad(spikes, rules=fg.rulesets.surrogates.fast_sigmoid(slope=1.0))(x))
        [0.25 1.   0.25]
    """
    flat = lax.stop_gradient(x)
    below = lax.select(flat <= 0, lax.full_like(x, 0), flat)
    return lax.select(flat > 0, lax.full_like(x, 1), below)


heaviside.mark(x=Marker.ZERO)


@op(elementwise=True)
def binarize(x: Array) -> Array:
    """`y = 1` where `x >= 0`, else -1; NaN where `x` is. No cotangent passes: `x` is marked zero.

    Unlike `jnp.sign` it has two values: 0 becomes 1. Source: Courbariaux et al. 2016, eq. 1.

    Args:
        x: real, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Example:
        >>> print(fg.ops.binarize(jnp.array([-0.3, 0.0, 2.0])))
        [-1.  1.  1.]
        >>> rules = fg.rulesets.straight_through.clipped(fg.ops.binarize)
        >>> print(fg.grad(lambda x: fg.ops.binarize(x).sum(), rules=rules)(jnp.array([-0.3, 0.0, 2.0])))
        [1. 1. 0.]
    """
    flat = lax.stop_gradient(x)
    below = lax.select(flat < 0, lax.full_like(x, -1), flat)
    return lax.select(flat >= 0, lax.full_like(x, 1), below)


binarize.mark(x=Marker.ZERO)


@op(elementwise=True)
def ternarize(x: Array, threshold: Array) -> Array:
    """`y = sign(x)` where `|x| > t`, else 0; NaN where `x` is. No cotangent passes: both are marked zero.

    Source: Li et al. 2016, eq. 3, who take 0.7 times the mean of `|x|` for the threshold.

    Args:
        x: real, of any shape.
        threshold: `t`, of a shape that broadcasts with that of `x`.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> print(fg.ops.ternarize(jnp.array([-2.0, -0.3, 0.0, 0.8]), 0.5))
        [-1.  0.  0.  1.]
    """
    x, threshold = align(x, threshold)
    return lax.stop_gradient(jnp.where(jnp.abs(x) <= threshold, 0, jnp.sign(x)))


ternarize.mark(x=Marker.ZERO, threshold=Marker.ZERO)


@op(elementwise=True)
def fake_quantize(
    x: Array, scale: Array, zero_point: Array | None = None, *, low: int = -128, high: int = 127
) -> Array:
    """`y = s k` with the whole number `k = clip(round(x / s) + z, low, high) - z`, ties to even; `s_bar = g y / s`.

    What a program in whole numbers computes, in floating ones. `k` is flat in `x`, which is marked zero, so the exact
    cotangent of the scale is `g k`. Three methods put others there: `fg.rulesets.straight_through.affine`, `lsq` and
    `pact`. Keeps the output. Source: Jacob et al. 2018, eq. 12.

    Args:
        x: floating, of any shape.
        scale: `s`, the width of a step, not 0; of a shape that broadcasts with that of `x`: a number, or one for each
            channel.
        zero_point: `z`, the whole number that 0 becomes; 0 where it is left out. It is not differentiated.
        low: the lowest whole number: -128 of int8.
        high: the highest.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: the shapes do not broadcast; `low` is not below `high`; `x` is of integers.

    Example:
        >>> print(fg.ops.fake_quantize(jnp.array([-9.0, 0.3, 0.8]), 0.5, low=-8, high=7))
        [-4.   0.5  1. ]
    """
    if not low < high:
        raise ValueError(f"low must be below high, got low={low} and high={high}")
    wide_x, wide_scale = align(widen(jnp.asarray(x)), widen(jnp.asarray(scale)))
    shift = jnp.zeros((), wide_x.dtype) if zero_point is None else jnp.asarray(zero_point).astype(wide_x.dtype)
    wide_x, wide_scale, shift = align(wide_x, wide_scale, shift)
    whole = jnp.clip(jnp.round(lax.stop_gradient(wide_x / wide_scale)) + shift, low, high) - shift
    return narrow(wide_scale * whole, jnp.asarray(x))


@fake_quantize.pullback("scale")
def fake_quantize_scale(g: Array, y: Array, scale: Array) -> Array:
    """`s_bar = g y / s`, as `y` is `s` times a number that does not move."""
    g, y, scale = align(widen(g), widen(y), widen(scale))
    return g * y / scale


fake_quantize.mark(x=Marker.ZERO, zero_point=Marker.NON_DIFFERENTIABLE)


@op
def stochastic_round(x: Array, key: Array) -> Array:
    """`y = floor(x) + [x - floor(x) > u]`, `u` uniform in [0, 1), so that its mean is `x`; `x` is marked zero.

    `u` depends on key and shape only, not on the dtype.
    `fg.rulesets.straight_through.identity(fg.ops.stochastic_round)` lets pass what the mean does. Source: Gupta et al.
    2015, section 3.

    Args:
        x: floating, of any shape.
        key: a random key, as of `jax.random.key`; it is not differentiated.

    Returns:
        `y`, whole numbers in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> y = fg.ops.stochastic_round(jnp.full(1000, 0.25), jax.random.key(0))
        >>> print(jnp.unique(y), bool(abs(y.mean() - 0.25) < 0.05))
        [0. 1.] True
    """
    wide = widen(lax.stop_gradient(x))
    below = jnp.floor(wide)
    uniform = jax.random.uniform(key, x.shape, jnp.float32).astype(wide.dtype)
    return narrow(jnp.where(wide - below > uniform, below + 1, below), x)


stochastic_round.mark(x=Marker.ZERO, key=Marker.NON_DIFFERENTIABLE)
