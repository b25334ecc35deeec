"""Elementwise arithmetic. Arguments of two broadcast as in numpy; the library sums the cotangents back.

Each docstring gives `y = f(x)` and `x_bar`, with `g` the cotangent of `y`. A rule keeps the output rather than
an input where the derivative can be written in it. The rules of what is a primitive of JAX's too stand beside its row
(`equations/elementwise.py`); those here are of functions that broadcast.
"""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import align, lift
from funcgrad.ops.equations.elementwise import (
    HALF_AT_TIES,
    absolute_x,
    exp_x,
    identity,
    log_x,
    negative_x,
    sqrt_x,
    square_x,
    to_winner,
)
from funcgrad.registry import Marker, op, subgradient


@op(elementwise=True)
def add(a: Array, b: Array) -> Array:
    """`y = a + b`; `a_bar = b_bar = g`. Keeps nothing.

    Args:
        a: an array or a number.
        b: likewise, of a shape that broadcasts with that of `a`.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> print(fg.ops.add(jnp.ones((2, 1)), jnp.array([1.0, 2.0])))
        [[2. 3.]
         [2. 3.]]
    """
    return jnp.add(*align(a, b))


add.pullback("a")(identity)
add.pullback("b")(identity)


@op(elementwise=True)
def subtract(a: Array, b: Array) -> Array:
    """`y = a - b`; `a_bar = g`, `b_bar = -g`. Keeps nothing.

    Args:
        a: an array or a number.
        b: likewise, of a shape that broadcasts with that of `a`.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> print(fg.ops.subtract(jnp.array([3.0, 5.0]), 1.0))
        [2. 4.]
    """
    return jnp.subtract(*align(a, b))


subtract.pullback("a")(identity)
subtract.pullback("b")(negative_x)


@op(elementwise=True)
def multiply(a: Array, b: Array) -> Array:
    """`y = a b`; `a_bar = g b`, `b_bar = g a`. Keeps the other factor.

    Args:
        a: an array or a number.
        b: likewise, of a shape that broadcasts with that of `a`.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> print(fg.grad(lambda a, b: fg.ops.multiply(a, b).sum(), 1)(jnp.array([3.0, 5.0]), 2.0))
        8.0
    """
    return jnp.multiply(*align(a, b))


@multiply.pullback("a")
def multiply_a(g: Array, b: Array) -> Array:
    """`a_bar = g b`."""
    return g * lift(b, g)


@multiply.pullback("b")
def multiply_b(g: Array, a: Array) -> Array:
    """`b_bar = g a`."""
    return g * lift(a, g)


@op(elementwise=True)
def divide(a: Array, b: Array) -> Array:
    """`y = a / b`; `a_bar = g / b`, `b_bar = -(g / b) y`. Keeps `b` and, for `b_bar`, the output.

    Args:
        a: an array or a number.
        b: likewise, of a shape that broadcasts with that of `a`; where it is 0, `y` is infinite or NaN, as in IEEE 754.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> print(fg.ops.divide(jnp.array([3.0, 5.0]), 2.0))
        [1.5 2.5]
    """
    return jnp.divide(*align(a, b))


@divide.pullback("a")
def divide_a(g: Array, b: Array) -> Array:
    """`a_bar = g / b`."""
    return g / lift(b, g)


@divide.pullback("b")
def divide_b(g: Array, b: Array, y: Array) -> Array:
    """`b_bar = -(g / b) y`."""
    # Not `g y / b`: where XLA sees that y is a / b, it makes that `g a / b²`, and b² underflows before 1 / b overflows.
    return -(g / lift(b, g)) * y


@op(elementwise=True)
def negative(x: Array) -> Array:
    """`y = -x`; `x_bar = -g`. Keeps nothing.

    Args:
        x: an array.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is boolean.

    Example:
        >>> print(fg.ops.negative(jnp.array([3.0, -5.0])))
        [-3.  5.]
    """
    return lax.neg(x)


negative.pullback("x")(negative_x)


@op(elementwise=True)
def power(x: Array, *, exponent: int | float) -> Array:
    """`y = x^p` for a static exponent; `x_bar = g p x^(p-1)`, zero for `p = 0`. Keeps `x`.

    Args:
        x: an array; a negative entry has a power with a whole exponent only, else NaN.
        exponent: `p`, one number that is not differentiated. For `x^a` with an array `a` use `jnp.power`.

    Returns:
        `y`, in the shape of `x`.

    Raises:
        ShapeError: the exponent is an array, or negative for integers.

    Example:
        >>> print(jnp.array_str(fg.ops.power(jnp.array([2.0, 3.0]), exponent=-1), precision=3))
        [0.5   0.333]
    """
    return jnp.power(x, exponent)


@power.pullback("x")
def power_x(g: Array, x: Array, exponent: int | float) -> Array:
    """`x_bar = g p x^(p-1)`."""
    if exponent == 0:
        return jnp.zeros_like(g)
    return g * (exponent * jnp.power(x, exponent - 1))


@op(elementwise=True)
def square(x: Array) -> Array:
    """`y = x^2`; `x_bar = 2 g x`. Keeps `x`.

    Args:
        x: an array.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `x` is boolean.

    Example:
        >>> print(fg.ops.square(jnp.array([-3.0, 2.0])))
        [9. 4.]
    """
    return lax.square(x)


square.pullback("x")(square_x)


@op(elementwise=True)
def exp(x: Array) -> Array:
    """`y = e^x`; `x_bar = g y`. Keeps the output.

    Args:
        x: an array; integers become floating.

    Returns:
        `y`, in the shape of `x`.

    Example:
        >>> print(jnp.array_str(fg.ops.exp(jnp.array([0.0, 1.0])), precision=3))
        [1.    2.718]
    """
    return jnp.exp(x)


exp.pullback("x")(exp_x)


@op(elementwise=True)
def log(x: Array) -> Array:
    """`y = log x`; `x_bar = g / x`. Keeps `x`.

    Args:
        x: an array; integers become floating. 0 has the logarithm `-inf`, a negative number NaN.

    Returns:
        `y`, the natural logarithm, in the shape of `x`.

    Example:
        >>> print(fg.ops.log(jnp.array([0.0, 1.0])))
        [-inf   0.]
    """
    return jnp.log(x)


log.pullback("x")(log_x)


@op(elementwise=True)
def sqrt(x: Array) -> Array:
    """`y = x^(1/2)`; `x_bar = g / (2 y)`, infinite at 0. Keeps the output.

    Args:
        x: an array; integers become floating. A negative number has the root NaN.

    Returns:
        `y`, in the shape of `x`.

    Example:
        >>> x = jnp.array([0.0, 4.0])
        >>> print(fg.ops.sqrt(x), fg.grad(lambda x: fg.ops.sqrt(x).sum())(x))
        [0. 2.] [ inf 0.25]
    """
    return jnp.sqrt(x)


sqrt.pullback("x")(sqrt_x)


@op(elementwise=True)
def absolute(x: Array) -> Array:
    """`y = |x|`; `x_bar = g` where `x >= 0`, else `-g` (complex: `g conj(x) / |x|`). Keeps `x`.

    Args:
        x: an array, real or complex.

    Returns:
        `y`, in the shape of `x`, and real.

    Raises:
        ShapeError: `x` is boolean.

    Example:
        >>> x = jnp.array([-3.0, 0.0, 2.0])
        >>> print(fg.ops.absolute(x), fg.grad(lambda x: fg.ops.absolute(x).sum())(x))
        [3. 0. 2.] [-1.  1.  1.]
    """
    return lax.abs(x)


absolute.pullback("x", kind=subgradient({0: 1}))(absolute_x)


@op(elementwise=True)
def maximum(a: Array, b: Array) -> Array:
    """`y = max(a, b)`; `a_bar = g [a > b] + g/2 [a = b]`, `b_bar` likewise. Keeps both arguments.

    Args:
        a: an array or a number.
        b: likewise, of a shape that broadcasts with that of `a`.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> a, b = jnp.array([1.0, 2.0, 3.0]), jnp.array([3.0, 2.0, 1.0])
        >>> print(fg.grad(lambda a, b: fg.ops.maximum(a, b).sum())(a, b))
        [0.  0.5 1. ]
    """
    return jnp.maximum(*align(a, b))


@op(elementwise=True)
def minimum(a: Array, b: Array) -> Array:
    """`y = min(a, b)`; `a_bar = g [a < b] + g/2 [a = b]`, `b_bar` likewise. Keeps both arguments.

    Args:
        a: an array or a number.
        b: likewise, of a shape that broadcasts with that of `a`.

    Returns:
        `y`, in the shape and dtype that the two have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> a, b = jnp.array([1.0, 2.0, 3.0]), jnp.array([3.0, 2.0, 1.0])
        >>> print(fg.grad(lambda a, b: fg.ops.minimum(a, b).sum())(a, b))
        [1.  0.5 0. ]
    """
    return jnp.minimum(*align(a, b))


@maximum.pullback("a", kind=HALF_AT_TIES)
def maximum_a(g: Array, a: Array, b: Array) -> Array:
    """`a_bar = g [a > b] + g/2 [a = b]`."""
    a, b = lift(a, g), lift(b, g)
    return to_winner(g, a > b, a == b)


@maximum.pullback("b", kind=HALF_AT_TIES)
def maximum_b(g: Array, a: Array, b: Array) -> Array:
    """`b_bar = g [b > a] + g/2 [a = b]`."""
    a, b = lift(a, g), lift(b, g)
    return to_winner(g, b > a, a == b)


@minimum.pullback("a", kind=HALF_AT_TIES)
def minimum_a(g: Array, a: Array, b: Array) -> Array:
    """`a_bar = g [a < b] + g/2 [a = b]`."""
    a, b = lift(a, g), lift(b, g)
    return to_winner(g, a < b, a == b)


@minimum.pullback("b", kind=HALF_AT_TIES)
def minimum_b(g: Array, a: Array, b: Array) -> Array:
    """`b_bar = g [b < a] + g/2 [a = b]`."""
    a, b = lift(a, g), lift(b, g)
    return to_winner(g, b < a, a == b)


@op(elementwise=True)
def where(condition: Array, a: Array, b: Array) -> Array:
    """`y = a` where `condition`, else `b`; `a_bar = g [condition]`, `b_bar = g [not condition]`.

    Keeps the condition. A NaN or infinity in the branch not taken does not pass, neither forward nor back.

    Args:
        condition: boolean, or what numpy takes to be true; it is not differentiated.
        a: what to take where it holds.
        b: what to take elsewhere; the three shapes broadcast.

    Returns:
        `y`, in the shape that the three have together.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> x = jnp.array([0.0, 4.0])
        >>> print(fg.grad(lambda x: fg.ops.where(x > 0, x, 0.0).sum())(x))
        [0. 1.]
    """
    return jnp.where(*align(condition, a, b))


@where.pullback("a")
def where_a(g: Array, condition: Array) -> Array:
    """`a_bar = g [condition]`."""
    return jnp.where(lift(condition, g), g, 0)


@where.pullback("b")
def where_b(g: Array, condition: Array) -> Array:
    """`b_bar = g [not condition]`."""
    return jnp.where(lift(condition, g), 0, g)


where.mark(condition=Marker.NON_DIFFERENTIABLE)


@op(elementwise=True)
def logaddexp(a: Array, b: Array) -> Array:
    """`y = log(e^a + e^b)`; `a_bar = g σ(a - b)`, `b_bar = g σ(b - a)`, with σ the logistic function.

    Keeps both arguments. Where both are the same infinity, each gets half.

    Args:
        a: a floating array or number.
        b: likewise, of a shape that broadcasts with that of `a`.

    Returns:
        `y`, in the shape and dtype that the two have together; nothing overflows.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> print(jnp.array_str(fg.ops.logaddexp(jnp.array([0.0, 100.0]), 0.0), precision=3))
        [  0.693 100.   ]
    """
    return jnp.logaddexp(*align(a, b))


@logaddexp.pullback("a", kind=subgradient("half to each at equal infinities"))
def logaddexp_a(g: Array, a: Array, b: Array) -> Array:
    """`a_bar = g σ(a - b)`."""
    return g * lax.logistic(_difference(lift(a, g), lift(b, g)))


@logaddexp.pullback("b", kind=subgradient("half to each at equal infinities"))
def logaddexp_b(g: Array, a: Array, b: Array) -> Array:
    """`b_bar = g σ(b - a)`."""
    return g * lax.logistic(_difference(lift(b, g), lift(a, g)))


def _difference(a: Array, b: Array) -> Array:
    """`a - b`, and 0 where both are the same infinity."""
    same = (a == b) & ~lax.is_finite(b)
    return jnp.where(same, 0, a - b)


@op(elementwise=True)
def clip(x: Array, *, low: int | float, high: int | float) -> Array:
    """`y = min(max(x, low), high)`; `x_bar = g` inside, `g/2` on a bound, 0 outside. Keeps `x`.

    Args:
        x: a real array.
        low: the lower bound, one number that is not differentiated.
        high: the upper bound, likewise.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: `low` is not below `high`, or a bound of integers is no whole number.

    Example:
        >>> x = jnp.array([-2.0, 0.0, 0.5])
        >>> print(fg.ops.clip(x, low=0, high=1), fg.grad(lambda x: fg.ops.clip(x, low=0, high=1).sum())(x))
        [0.  0.  0.5] [0.  0.5 1. ]
    """
    if not low < high:
        raise ValueError(f"low must be below high, got low={low} and high={high}")
    if not jnp.issubdtype(x.dtype, jnp.inexact) and not all(float(b).is_integer() for b in (low, high)):
        raise ValueError(f"bounds of {x.dtype} must be whole numbers, got low={low} and high={high}")
    return lax.min(lax.max(x, jnp.asarray(low, x.dtype)), jnp.asarray(high, x.dtype))


@clip.pullback("x", kind=subgradient("half on a bound"))
def clip_x(g: Array, x: Array, low: int | float, high: int | float) -> Array:
    """`x_bar = g [low < x < high] + g/2 [x = low or x = high]`."""
    return pass_between(g, x, low, high)


def pass_between(g: Array, x: Array, low: int | float, high: int | float) -> Array:
    """`g` where `low < x < high`, `g/2` on a bound, 0 outside: the pullback of `min(max(x, low), high)` in JAX."""
    return to_winner(g, (x > low) & (x < high), (x == low) | (x == high))
