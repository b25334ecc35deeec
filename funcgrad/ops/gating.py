"""Gated linear units: one half of the features decides how much of the other passes."""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.activations import silu_slope
from funcgrad.ops.axes import align, find_axis, lift
from funcgrad.ops.contraction import widen
from funcgrad.registry import op


@op
def glu(x: Array, *, axis: int = -1) -> Array:
    """`y = a σ(b)` for the halves `a, b` of `x` along `axis`: `x[..., 2n, ...] -> y[..., n, ...]`.

        a_bar = g s,   b_bar = g a s (1 - s),   s = σ(b).

    Keeps `x`. Source: Dauphin et al. 2017, eq. 1.

    Args:
        x: floating; the first half along `axis` is what passes, the second decides how much of it.
        axis: the one that is halved.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: there is no such axis, its size is odd, or `x` is of integers.

    Example:
        >>> print(fg.ops.glu(jnp.array([1.0, 2.0, 0.0, 100.0])))
        [0.5 2. ]
    """
    find_axis(axis, x.ndim)
    if x.shape[axis] % 2:
        raise ValueError(f"axis {axis} must have an even size, got {x.shape[axis]}")
    a, b = _halves(x, axis)
    return a * lax.logistic(b)


@glu.pullback("x")
def glu_x(g: Array, x: Array, axis: int) -> Array:
    """`x_bar`: `g s` beside `g a s (1 - s)`."""
    g = widen(g)
    a, b = _halves(widen(x), axis)
    s = lax.logistic(b)
    return lax.concatenate([g * s, g * a * (s * (1 - s))], axis % x.ndim)


def _halves(x: Array, axis: int) -> tuple[Array, Array]:
    n = x.shape[axis] // 2
    return lax.slice_in_dim(x, 0, n, axis=axis), lax.slice_in_dim(x, n, 2 * n, axis=axis)


@op(elementwise=True)
def swiglu(gate: Array, up: Array) -> Array:
    """`y = silu(gate) up = gate s up`, `s = σ(gate)`, elementwise (arguments broadcast).

        gate_bar = g up s (1 + gate (1 - s)),   up_bar = g gate s.

    Keeps `gate` and `up`: neither `s` nor `silu(gate)`. Source: Shazeer 2020, eq. 6.

    Args:
        gate: floating, one projection of the features.
        up: another one, of a shape that broadcasts with it.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast, or `gate` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.swiglu(jnp.array([0.0, 2.0]), jnp.array([5.0, 1.0])), precision=3))
        [0.    1.762]
    """
    gate, up = align(gate, up)
    wide = widen(gate)
    return (wide * lax.logistic(wide) * widen(up)).astype(jnp.result_type(gate, up))


@swiglu.pullback("gate")
def swiglu_gate(g: Array, gate: Array, up: Array) -> Array:
    """`gate_bar = g up s (1 + gate (1 - s))`."""
    return widen(g) * lift(widen(up), g) * lift(silu_slope(widen(gate)), g)


@swiglu.pullback("up")
def swiglu_up(g: Array, gate: Array) -> Array:
    """`up_bar = g gate s`."""
    gate = lift(widen(gate), g)
    return widen(g) * (gate * lax.logistic(gate))
