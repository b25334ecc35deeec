"""Activations: elementwise, each rule keeping one array of the input's size, the output wherever that will do.

The output is what the next linear layer keeps anyway, so a rule written in it costs no memory. Rules that read
the input are silu and gelu, whose output does not determine their derivative.
"""

from math import pi, sqrt

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.contraction import widen
from funcgrad.registry import op, subgradient


@op(elementwise=True)
def relu(x: Array) -> Array:
    """`y = max(x, 0)`; `x_bar = g [y > 0]`, so 0 at 0. Keeps the output."""
    return jax.nn.relu(x)


@relu.pullback("x", kind=subgradient("0 at 0"))
def relu_x(g: Array, y: Array) -> Array:
    """`x_bar = g [y > 0]`."""
    return jnp.where(y > 0, g, 0)


@op(elementwise=True)
def leaky_relu(x: Array, *, negative_slope: int | float = 0.01) -> Array:
    """`y = x` where `x >= 0`, else `s x`; `x_bar = g` where `y >= 0`, else `s g`. Keeps the output.

    Raises:
        ShapeError: the slope is not positive, so the output's sign would not tell the branch.

    """
    if negative_slope <= 0:
        raise ValueError(f"negative_slope must be positive, got {negative_slope}; use relu for 0")
    return jnp.where(x >= 0, x, negative_slope * x)


@leaky_relu.pullback("x", kind=subgradient("1 at 0"))
def leaky_relu_x(g: Array, y: Array, negative_slope: int | float) -> Array:
    """`x_bar = g` where `y >= 0`, else `s g`."""
    return jnp.where(y >= 0, g, negative_slope * g)


@op(elementwise=True)
def elu(x: Array, *, alpha: int | float = 1.0) -> Array:
    """`y = x` where `x > 0`, else `alpha (e^x - 1)`; `x_bar = g` where `y > 0`, else `g (y + alpha)`.

    Keeps the output. At 0 the derivative is `alpha`; far left, where the slope is below a rounding of `alpha`, the
    rule gives 0. Source: Clevert et al. 2016, eq. 15.

    Raises:
        ShapeError: `alpha` is negative, so the output's sign would not tell the branch.

    """
    if alpha < 0:
        raise ValueError(f"alpha must not be negative, got {alpha}")
    return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x)))


@elu.pullback("x", kind=subgradient("alpha at 0"))
def elu_x(g: Array, y: Array, alpha: int | float) -> Array:
    """`x_bar = g` where `y > 0`, else `g (y + alpha)`."""
    return jnp.where(y > 0, g, g * (y + alpha))


@op(elementwise=True)
def sigmoid(x: Array) -> Array:
    """`y = 1 / (1 + e^-x)`; `x_bar = g y (1 - y)`. Keeps the output."""
    return lax.logistic(x)


@sigmoid.pullback("x")
def sigmoid_x(g: Array, y: Array) -> Array:
    """`x_bar = g y (1 - y)`."""
    return g * y * (1 - y)


@op(elementwise=True)
def tanh(x: Array) -> Array:
    """`y = tanh x`; `x_bar = g (1 + y)(1 - y)`, which loses no digits near 1. Keeps the output."""
    return jnp.tanh(x)


@tanh.pullback("x")
def tanh_x(g: Array, y: Array) -> Array:
    """`x_bar = g (1 + y)(1 - y)`."""
    return g * (1 + y) * (1 - y)


@op(elementwise=True)
def softplus(x: Array) -> Array:
    """`y = log(1 + e^x)`; `x_bar = g sigmoid(x) = g (1 - e^-y)`. Keeps the output."""
    return jnp.logaddexp(x, jnp.zeros((), x.dtype).reshape((1,) * x.ndim))


@softplus.pullback("x")
def softplus_x(g: Array, y: Array) -> Array:
    """`x_bar = g (1 - e^-y)`."""
    return -g * jnp.expm1(-y)


@op(elementwise=True)
def silu(x: Array) -> Array:
    """`y = x s` with `s = sigmoid(x)`; `x_bar = g s (1 + x (1 - s))`. Keeps `x`."""
    return x * lax.logistic(x)


@silu.pullback("x")
def silu_x(g: Array, x: Array) -> Array:
    """`x_bar = g s (1 + x (1 - s))`."""
    x = widen(x)
    s = lax.logistic(x)
    return widen(g) * (s * (1 + x * (1 - s)))


@op(elementwise=True)
def gelu(x: Array, *, approximate: bool = True) -> Array:
    """`y = x Φ(x)`, with Φ the normal distribution function; `x_bar = g (Φ(x) + x φ(x))`. Keeps `x`.

    With `approximate`, `Φ(x) = (1 + tanh u) / 2` where `u = √(2/π) (x + 0.044715 x³)`, and
    `φ(x) = (1 - tanh² u) u' / 2`. Source: Hendrycks and Gimpel 2016.
    """
    return jax.nn.gelu(x, approximate=approximate)


@gelu.pullback("x")
def gelu_x(g: Array, x: Array, approximate: bool) -> Array:
    """`x_bar = g (Φ(x) + x φ(x))`."""
    # Beyond ±40 the derivative is 0 or 1 in every dtype; clipping keeps x³ from overflowing to 0 · inf.
    x = jnp.clip(widen(x), -40, 40)
    distribution, density = _normal_by_tanh(x) if approximate else _normal(x)
    return widen(g) * (distribution + x * density)


def _normal(x: Array) -> tuple[Array, Array]:
    return lax.erfc(-x * sqrt(0.5)) / 2, jnp.exp(-x * x / 2) / sqrt(2 * pi)


def _normal_by_tanh(x: Array) -> tuple[Array, Array]:
    x2 = x * x
    t = jnp.tanh(sqrt(2 / pi) * x * (1 + 0.044715 * x2))
    return (1 + t) / 2, (1 + t) * (1 - t) * (sqrt(2 / pi) / 2 * (1 + 3 * 0.044715 * x2))
