"""Piecewise activations: elementwise, with the value that each kink takes stated; it is the one of `jax.nn`.

A rule reads the output where that tells the pieces apart, so that no input is kept; where two pieces meet in one
value (the flat ends of hard_tanh), and JAX distinguishes the point itself, it reads the input.
"""

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.arithmetic import pass_between
from funcgrad.ops.contraction import widen
from funcgrad.registry import op, subgradient


@op(elementwise=True)
def relu(x: Array) -> Array:
    """`y = max(x, 0)`; `x_bar = g [y > 0]`, so 0 at 0. Keeps the output.

    Args:
        x: real, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Example:
        >>> x = jnp.array([-1.0, 0.0, 2.0])
        >>> print(fg.ops.relu(x), fg.grad(lambda x: fg.ops.relu(x).sum())(x))
        [0. 0. 2.] [0. 0. 1.]
    """
    return jax.nn.relu(x)


@relu.pullback("x", kind=subgradient({0: 0}))
def relu_x(g: Array, y: Array) -> Array:
    """`x_bar = g [y > 0]`."""
    return lax.select(y > 0, g, lax.full_like(g, 0))


@op(elementwise=True)
def leaky_relu(x: Array, *, negative_slope: int | float = 0.01) -> Array:
    """`y = x` where `x >= 0`, else `s x`; `x_bar = g` where `x >= 0`, else `s g`. Keeps where `x >= 0`, a byte each.

    (The output's sign does not say where: `s x` of a tiny negative `x` underflows to 0.)

    Args:
        x: floating, of any shape.
        negative_slope: `s`, the slope left of 0.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(fg.ops.leaky_relu(jnp.array([-2.0, 0.0, 2.0]), negative_slope=0.5))
        [-1.  0.  2.]
    """
    return leaky_relu_saving(x, negative_slope=negative_slope)[0]


@leaky_relu.saving("passes")
def leaky_relu_saving(x: Array, *, negative_slope: int | float) -> tuple[Array, dict[str, Array]]:
    """The output, and where the input passes as it is."""
    passes = x >= 0
    return lax.select(passes, x, negative_slope * x), {"passes": passes}


@leaky_relu.pullback("x", kind=subgradient({0: 1}))
def leaky_relu_x(g: Array, passes: Array, negative_slope: int | float) -> Array:
    """`x_bar = g` where `x >= 0`, else `s g`."""
    return lax.select(passes, g, negative_slope * g)


@op(elementwise=True)
def relu6(x: Array) -> Array:
    """`y = min(max(x, 0), 6)`; `x_bar = g [0 < y < 6]`, so 0 at 0 and 6. Keeps the output.

    Source: Krizhevsky 2010 (Convolutional deep belief networks on CIFAR-10).

    Args:
        x: real, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Example:
        >>> print(fg.ops.relu6(jnp.array([-1.0, 3.0, 9.0])))
        [0. 3. 6.]
    """
    return _relu6(x)


@relu6.pullback("x", kind=subgradient({0: 0, 6: 0}))
def relu6_x(g: Array, y: Array) -> Array:
    """`x_bar = g [0 < y < 6]`."""
    return _pass_inside(g, y, 6)


def _relu6(x: Array) -> Array:
    # The derivative of `clamp` is 0 on a bound.
    return lax.clamp(lax.full_like(x, 0), x, lax.full_like(x, 6))


def _pass_inside(g: Array, y: Array, high: int) -> Array:
    return lax.select((y > 0) & (y < high), g, lax.full_like(g, 0))


@op(elementwise=True)
def hard_tanh(x: Array) -> Array:
    """`y = min(max(x, -1), 1)`; `x_bar = g [-1 <= x <= 1]`, so `g` at -1 and 1. Keeps `x`.

    Args:
        x: real, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Example:
        >>> x = jnp.array([-3.0, -1.0, 0.5])
        >>> print(fg.ops.hard_tanh(x), fg.grad(lambda x: fg.ops.hard_tanh(x).sum())(x))
        [-1.  -1.   0.5] [0. 1. 1.]
    """
    low, high = lax.full_like(x, -1), lax.full_like(x, 1)
    return lax.select(x > 1, high, lax.select(x < -1, low, x))


@hard_tanh.pullback("x", kind=subgradient({-1: 1, 1: 1}))
def hard_tanh_x(g: Array, x: Array) -> Array:
    """`x_bar = g [-1 <= x <= 1]`."""
    return lax.select((x >= -1) & (x <= 1), g, lax.full_like(g, 0))  # complex numbers in order, as the forward has them


@op(elementwise=True)
def hard_sigmoid(x: Array) -> Array:
    """`y = relu6(x + 3) / 6`; `x_bar = g/6 [0 < y < 1]`, so 0 at ±3. Keeps the output.

    Source: Howard et al. 2019, the gate of their h-swish.

    Args:
        x: floating, of any shape.

    Returns:
        `y`, between 0 and 1, in the shape of `x`.

    Example:
        >>> print(fg.ops.hard_sigmoid(jnp.array([-4.0, 0.0, 1.5])))
        [0.   0.5  0.75]
    """
    return _relu6(x + 3) / 6


@hard_sigmoid.pullback("x", kind=subgradient({-3: 0, 3: 0}))
def hard_sigmoid_x(g: Array, y: Array) -> Array:
    """`x_bar = g/6 [0 < y < 1]`."""
    return _pass_inside(g / 6, y, 1)


@op(elementwise=True)
def hard_silu(x: Array) -> Array:
    """`y = x h` with `h = hard_sigmoid(x)`; `x_bar = g (h + x h')`, `h' = 0` at ±3 as there. Keeps `x`.

    Source: Howard et al. 2019 (there: h-swish).

    Args:
        x: floating, of any shape.

    Returns:
        `y`, in the shape of `x`: 0 left of -3, `x` right of 3.

    Example:
        >>> print(fg.ops.hard_silu(jnp.array([-1.5, 0.0, 4.0])))
        [-0.375  0.     4.   ]
    """
    return x * (_relu6(x + 3) / 6)


@hard_silu.pullback("x", kind=subgradient({-3: 0, 3: 1}))
def hard_silu_x(g: Array, x: Array) -> Array:
    """`x_bar = g h + g x/6 [0 < h < 1]`."""
    g, x = widen(g), widen(x)
    h = _relu6(x + 3) / 6
    return g * h + _pass_inside(g * x / 6, h, 1)


@op(elementwise=True)
def elu(x: Array, *, alpha: int | float = 1.0) -> Array:
    """`y = x` where `x > 0`, else `alpha (e^x - 1)`; `x_bar = g` where `y > 0`, else `g (y + alpha)`.

    Keeps the output. At 0 the derivative is `alpha`; far left, where the slope is below a rounding of `alpha`, the
    rule gives 0. Source: Clevert et al. 2016, eq. 15.

    Args:
        x: floating, of any shape.
        alpha: minus the limit far left.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `alpha` is negative, so the output's sign would not tell the branch; `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.elu(jnp.array([-1.0, 0.0, 2.0])), precision=3))
        [-0.632  0.     2.   ]
    """
    if alpha < 0:
        raise ValueError(f"alpha must not be negative, got {alpha}")
    return _exponential_linear(x, alpha)


@elu.pullback("x", kind=subgradient({0: "alpha"}))
def elu_x(g: Array, y: Array, alpha: int | float) -> Array:
    """`x_bar = g` where `y > 0`, else `g (y + alpha)`."""
    return lax.select(y > 0, g, g * (y + alpha))


@op(elementwise=True)
def celu(x: Array, *, alpha: int | float = 1.0) -> Array:
    """`y = x` where `x > 0`, else `alpha (e^(x/alpha) - 1)`; `x_bar = g` where `y > 0`, else `g (1 + y/alpha)`.

    Keeps the output, and is as precise far left as elu. No kink: the derivative at 0 is 1. Source: Barron 2017.

    Args:
        x: floating, of any shape.
        alpha: minus the limit far left, and how slowly it is approached.

    Returns:
        `y`, in the shape of `x`.

    Raises:
        ShapeError: `alpha` is not positive.

    Example:
        >>> print(jnp.array_str(fg.ops.celu(jnp.array([-1.0, 0.0, 2.0]), alpha=2.0), precision=3))
        [-0.787  0.     2.   ]
    """
    if alpha <= 0:
        raise ValueError(f"alpha must be positive, got {alpha}")
    return jnp.maximum(x, 0) + alpha * lax.expm1(jnp.minimum(x, 0) / alpha)


@celu.pullback("x")
def celu_x(g: Array, y: Array, alpha: int | float) -> Array:
    """`x_bar = g` where `y > 0`, else `g (1 + y/alpha)`."""
    return lax.select(y > 0, g, g * (1 + y / alpha))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@op(elementwise=True)
def selu(x: Array) -> Array:
    """`y = λ elu(x)` with `alpha` and `λ` such that layers normalize themselves; `x_bar` as of elu, times `λ`.

    Keeps the output; `λ alpha` at 0. Source: Klambauer et al. 2017, eq. 2.

    Args:
        x: floating, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.selu(jnp.array([-1.0, 0.0, 2.0])), precision=3))
        [-1.111  0.     2.101]
    """
    return _SELU_SCALE * _exponential_linear(x, _SELU_ALPHA)


@selu.pullback("x", kind=subgradient({0: _SELU_SCALE * _SELU_ALPHA}))
def selu_x(g: Array, y: Array) -> Array:
    """`x_bar = λ g` where `y > 0`, else `g (y + λ alpha)`."""
    return lax.select(y > 0, _SELU_SCALE * g, g * (y + _SELU_SCALE * _SELU_ALPHA))


def _exponential_linear(x: Array, alpha: float) -> Array:
    positive = x > 0
    # Without the inner choice, JAX's derivative for positive x would be 0 times an overflow.
    return lax.select(positive, x, alpha * lax.expm1(lax.select(positive, lax.full_like(x, 0), x)))


@op(elementwise=True)
def sparse_plus(x: Array) -> Array:
    """`y = 0` where `x <= -1`, `(x + 1)²/4` between, `x` where `x >= 1`; `x_bar = g min(√y, 1)`. Keeps the output.

    No kink, `(x + 1)/2 = √y` between. Source: Martins and Astudillo 2016, as its Fenchel-Young loss.

    Args:
        x: floating, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(fg.ops.sparse_plus(jnp.array([-2.0, 0.0, 3.0])))
        [0.   0.25 3.  ]
    """
    between = lax.select(x >= 1, x, lax.square(x + 1) / 4)
    return lax.select(x <= -1, lax.full_like(x, 0), between)


@sparse_plus.pullback("x")
def sparse_plus_x(g: Array, y: Array) -> Array:
    """`x_bar = g min(√y, 1)`."""
    # The root of 0 is taken of 1 instead: its own derivative, infinite, would spoil second derivatives.
    root = lax.sqrt(lax.select(y == 0, lax.full_like(y, 1), y))
    return lax.select(y == 0, lax.full_like(g, 0), g * jnp.minimum(root, 1))


@op(elementwise=True)
def sparse_sigmoid(x: Array) -> Array:
    """`y = min(max((x + 1)/2, 0), 1)`, the derivative of sparse_plus; `x_bar = g/2` inside, `g/4` at ±1, 0 outside.

    Keeps `x`.

    Args:
        x: floating, of any shape.

    Returns:
        `y`, between 0 and 1, in the shape of `x`.

    Example:
        >>> x = jnp.array([-1.0, 0.0, 3.0])
        >>> print(fg.ops.sparse_sigmoid(x), fg.grad(lambda x: fg.ops.sparse_sigmoid(x).sum())(x))
        [0.  0.5 1. ] [0.25 0.5  0.  ]
    """
    return jnp.minimum(jnp.maximum(x + 1, 0), 2) * 0.5


@sparse_sigmoid.pullback("x", kind=subgradient({-1: 0.25, 1: 0.25}))
def sparse_sigmoid_x(g: Array, x: Array) -> Array:
    """`x_bar = g/2 [-1 < x < 1] + g/4 [x = -1 or x = 1]`."""
    return pass_between(g * 0.5, x + 1, 0, 2)
