"""Smooth activations: elementwise, each rule keeping one array of the input's size, the output wherever that will do.

The output is what the next linear layer keeps anyway, so a rule written in it costs no memory. The input is read by
soft_sign, silu, mish and gelu, whose output does not determine their derivative, or not well. A rule in the output is
right to a rounding of the largest output, so the last digits of a derivative that is nearly 0 are those of its terms.
"""

from math import pi, sqrt

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.contraction import narrow, widen
from funcgrad.ops.equations.elementwise import sigmoid_x, tanh_x
from funcgrad.registry import op


@op(elementwise=True)
def sigmoid(x: Array) -> Array:
    """`y = 1 / (1 + e^-x)`, the logistic function; `x_bar = g y (1 - y)`. Keeps the output.

    Args:
        x: floating or complex, of any shape.

    Returns:
        `y`, between 0 and 1, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.sigmoid(jnp.array([-2.0, 0.0, 2.0])), precision=3))
        [0.119 0.5   0.881]
    """
    return lax.logistic(x)


sigmoid.pullback("x")(sigmoid_x)


@op(elementwise=True)
def log_sigmoid(x: Array) -> Array:
    """`y = log sigmoid(x) = -log(1 + e^-x)`; `x_bar = g sigmoid(-x) = g (1 - e^y)`. Keeps the output.

    Far left, where `log(sigmoid(x))` would be the logarithm of 0, `y` is `x`.

    Args:
        x: floating, of any shape.

    Returns:
        `y`, at most 0, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.log_sigmoid(jnp.array([-100.0, 0.0, 2.0])), precision=3))
        [-100.      -0.693   -0.127]
    """
    return -log_one_plus_exp(-x)


@log_sigmoid.pullback("x")
def log_sigmoid_x(g: Array, y: Array) -> Array:
    """`x_bar = g (1 - e^y)`."""
    return g * _one_minus_exp(y)


@op(elementwise=True)
def tanh(x: Array) -> Array:
    """`y = tanh x`; `x_bar = g (1 + y)(1 - y)`, which loses no digits near 1 as `1 - y²` does. Keeps the output.

    Args:
        x: floating or complex, of any shape.

    Returns:
        `y`, between -1 and 1, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(f"{fg.grad(fg.ops.tanh)(0.5):.3f}")
        0.786
    """
    return lax.tanh(x)


tanh.pullback("x")(tanh_x)


@op(elementwise=True)
def soft_sign(x: Array) -> Array:
    """`y = x / (1 + |x|)`; `x_bar = g / (1 + |x|)²`. Keeps `x`.

    (It is `g (1 - |y|)²` too, but far out, where `y` falls off slowly, `1 - |y|` has lost its digits.)

    Args:
        x: floating, of any shape; integers become floating.

    Returns:
        `y`, between -1 and 1, in the shape of `x`.

    Example:
        >>> print(fg.ops.soft_sign(jnp.array([-3.0, 0.0, 1.0])))
        [-0.75  0.    0.5 ]
    """
    return x / (1 + lax.abs(x))


@soft_sign.pullback("x")
def soft_sign_x(g: Array, x: Array) -> Array:
    """`x_bar = g / (1 + |x|)²`; of complex `x`, with `s = 1 / (1 + |x|)`, `x_bar = g s - s² Re(g x) x* / |x|`.

    There `y = x s` is no holomorphic function, and `ds = -s² Re(x* dx) / |x|`.
    """
    scale = 1 + lax.abs(widen(x))
    if not jnp.iscomplexobj(x):
        return widen(g) / scale / scale
    of_scale = lax.real(g * x) / scale / scale
    return g / scale - of_scale * lax.conj(lax.sign(x))


@op(elementwise=True)
def softplus(x: Array) -> Array:
    """`y = log(1 + e^x)`, a smooth relu; `x_bar = g sigmoid(x) = g (1 - e^-y)`. Keeps the output.

    Args:
        x: floating, of any shape. Nothing overflows: far right `y` is `x`.

    Returns:
        `y`, at least 0, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.softplus(jnp.array([-1.0, 0.0, 100.0])), precision=3))
        [  0.313   0.693 100.   ]
    """
    return log_one_plus_exp(x)


@softplus.pullback("x")
def softplus_x(g: Array, y: Array) -> Array:
    """`x_bar = g (1 - e^-y)`."""
    return g * _one_minus_exp(-y)


def _one_minus_exp(y: Array) -> Array:
    """`1 - e^y = 2 t / (1 + t)` with `t = tanh(-y/2)`, for `y <= 0`; XLA's expm1 computes this and `e^y - 1`."""
    t = lax.tanh(-0.5 * y)
    return 2 * t / (1 + t)


def log_one_plus_exp(x: Array) -> Array:
    """`log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)`, with the sign chosen so that JAX derives `sigmoid(x)` at 0 too."""
    positive = x > 0
    return lax.select(positive, x, lax.full_like(x, 0)) + lax.log1p(lax.exp(lax.select(positive, -x, x)))


@op(elementwise=True)
def squareplus(x: Array, *, b: int | float = 4.0) -> Array:
    """`y = (x + r) / 2` with `r = √(x² + b)`; `x_bar = g y / r = g y² / (y² + b/4)`. Keeps the output.

    `dy/dx = (1 + x/r) / 2 = y/r`, and `y (r - x) / 2 = b/4` gives `r = y + b / (4y)`. Source: Barron 2021, eq. 1.

    Args:
        x: floating, of any shape.
        b: how far the bend reaches: at 0 the value is `√b / 2`.

    Returns:
        `y`, above 0, in the shape and dtype of `x`.

    Raises:
        ShapeError: `b` is not positive, so there is a kink (use relu for 0) or no real output.

    Example:
        >>> print(jnp.array_str(fg.ops.squareplus(jnp.array([-2.0, 0.0, 2.0])), precision=3))
        [0.414 1.    2.414]
    """
    if b <= 0:
        raise ValueError(f"b must be positive, got {b}; use relu for 0")
    wide = widen(x)
    # (x + r)/2 and (r - x)/2 have the product b/4; the one without cancellation makes the other.
    positive = wide > 0
    half = (lax.select(positive, wide, -wide) + lax.sqrt(wide * wide + b)) * 0.5
    return narrow(lax.select(positive, half, (b / 4) / half), x)


@squareplus.pullback("x")
def squareplus_x(g: Array, y: Array, b: int | float) -> Array:
    """`x_bar = g y² / (y² + b/4)`."""
    y = widen(y)
    # The bound, where the slope is long 1, keeps the square finite.
    y2 = lax.square(lax.min(y, lax.full_like(y, 1e15 * max(1, b) ** 0.5)))
    return widen(g) * (y2 / (y2 + b / 4))


@op(elementwise=True)
def silu(x: Array) -> Array:
    """`y = x s` with `s = sigmoid(x)`, also called swish; `x_bar = g s (1 + x (1 - s))`. Keeps `x`.

    It falls to -0.278 at -1.278 and rises on both sides, so `y` does not tell `x`. Source: Elfwing et al. 2018, eq. 4.

    Args:
        x: floating, of any shape.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.silu(jnp.array([-1.278, 0.0, 2.0])), precision=3))
        [-0.278  0.     1.762]
    """
    return x * lax.logistic(x)


@silu.pullback("x")
def silu_x(g: Array, x: Array) -> Array:
    """`x_bar = g s (1 + x (1 - s))`."""
    return widen(g) * silu_slope(widen(x))


def silu_slope(x: Array) -> Array:
    """The derivative of silu, `s (1 + x (1 - s))`."""
    s = lax.logistic(x)
    return s * (1 + x * (1 - s))


@op(elementwise=True)
def mish(x: Array) -> Array:
    """`y = x t` with `t = tanh(softplus(x))`; `x_bar = g (t + x s (1 - t²))`, `s = sigmoid(x)`. Keeps `x`.

    `tanh(log(1 + e^x)) = ((1 + e^x)² - 1) / ((1 + e^x)² + 1)`, so one exponential makes both `t` and `s`.
    Source: Misra 2019.

    Args:
        x: floating, of any shape.

    Returns:
        `y`, at least -0.309, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.mish(jnp.array([-1.0, 0.0, 2.0])), precision=3))
        [-0.303  0.     1.944]
    """
    wide = widen(x)
    return narrow(wide * _mish_gate(wide)[0], x)


@mish.pullback("x")
def mish_x(g: Array, x: Array) -> Array:
    """`x_bar = g (t + x s (1 - t²))`."""
    x = widen(x)
    t, s = _mish_gate(x)
    return widen(g) * (t + x * (s * (1 - t) * (1 + t)))


def _mish_gate(x: Array) -> tuple[Array, Array]:
    """`tanh(softplus(x))` and `sigmoid(x)`, written in `w = e^-|x|`, which does not overflow.

    With `n = e^x (e^x + 2)`, `t = n / (n + 2)`; for positive `x` both sides are divided by `e^2x`.
    """
    positive = x > 0
    w = lax.exp(lax.select(positive, -x, x))
    n = lax.select(positive, 1 + 2 * w, w * (w + 2))
    rest = 2 * lax.select(positive, w * w, lax.full_like(w, 1))
    return n / (n + rest), lax.select(positive, lax.full_like(w, 1), w) / (1 + w)


@op(elementwise=True)
def gelu(x: Array, *, approximate: bool = True) -> Array:
    """`y = x Φ(x)`, with Φ the normal distribution function; `x_bar = g (Φ(x) + x φ(x))`. Keeps `x`.

    With `approximate`, `Φ(x) = (1 + tanh u) / 2` where `u = √(2/π) (x + 0.044715 x³)`, and the pullback is written in
    `s = 1 / (1 + e^(-2u))`, which is the same: `x_bar = g s (1 + 2 (1 - s) x u')`. A compiler does not see that it
    is, and makes it again where otherwise it would store `tanh u`, one more array of the input's size. Without, the
    pullback writes Φ as the forward does. Source: Hendrycks and Gimpel 2016.

    Args:
        x: floating, of any shape.
        approximate: by tanh, as JAX does by default; else by the error function, as PyTorch does. The two differ by
            less than 5e-4.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is of integers.

    Example:
        >>> print(jnp.array_str(fg.ops.gelu(jnp.array([-1.0, 0.0, 2.0])), precision=3))
        [-0.159  0.     1.955]
        >>> print(jnp.array_str(fg.ops.gelu(jnp.array([-1.0, 0.0, 2.0]), approximate=False), precision=3))
        [-0.159  0.     1.954]
    """
    wide = widen(x)
    return narrow(wide * _normal_distribution(wide, approximate), x)


@gelu.pullback("x")
def gelu_x(g: Array, x: Array, approximate: bool) -> Array:
    """`x_bar = g (Φ(x) + x φ(x))`."""
    x = widen(x)
    # Beyond ±40 the density is 0 in every dtype; the bound keeps 0 · ∞ out of its product with x and x³.
    bounded = lax.clamp(lax.full_like(x, -40), x, lax.full_like(x, 40))
    if approximate:
        # Not the forward's tanh: XLA would store that, 4 of 12 MiB in a residual net, 24 of 147 in a transformer.
        s = lax.logistic(2 * _normal_argument(x))
        slope = bounded * (2 * _ROOT * (1 + 3 * _CUBIC * bounded * bounded))
        return widen(g) * (s * (1 + (1 - s) * slope))
    z = -sqrt(0.5) * x
    # Φ holds e^(-z²) too, so it must be z that is squared here for the compiler to see it.
    density = (1 / sqrt(2 * pi)) * lax.exp(-(z * z))
    return widen(g) * (_normal_distribution(x, approximate) + bounded * density)


_ROOT, _CUBIC = sqrt(2 / pi), 0.044715


def _normal_argument(x: Array) -> Array:
    return _ROOT * x * (1 + _CUBIC * (x * x))


def _normal_distribution(x: Array, approximate: bool) -> Array:
    if approximate:
        return 0.5 * (1 + lax.tanh(_normal_argument(x)))
    return 0.5 * lax.erfc(-sqrt(0.5) * x)
