"""Elementwise primitives: one line each. `g` is the cotangent of the output, `y` (or `out`) the output.

What an op of ours computes as a primitive does, it is pulled back by the same function.
"""

from math import log, pi, sqrt

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from funcgrad.aliases import Array
from funcgrad.ops.equations.guards import same_floats
from funcgrad.ops.equations.operands import POSITIVE, TIED, X, Y
from funcgrad.registry import row, subgradient


def full(x: Array, value: int | float) -> Array:
    """A number as an array like `x`."""
    return lax.full_like(x, value)


def identity(g: Array) -> Array:
    """The cotangent as it arrives."""
    return g


def negative_x(g: Array) -> Array:
    """`x_bar = -g`."""
    return lax.neg(g)


def exp_x(g: Array, y: Array) -> Array:
    """`x_bar = g y`."""
    return lax.mul(g, y)


def exp2_x(g: Array, y: Array) -> Array:
    """`x_bar = g y log 2`."""
    return lax.mul(lax.mul(g, y), full(y, log(2)))


def expm1_x(g: Array, y: Array) -> Array:
    """`x_bar = g (y + 1)`."""
    return lax.mul(g, lax.add(y, full(y, 1)))


def log_x(g: Array, x: Array) -> Array:
    """`x_bar = g / x`."""
    return lax.div(g, x)


def log1p_x(g: Array, x: Array) -> Array:
    """`x_bar = g / (1 + x)`."""
    return lax.div(g, lax.add(x, full(x, 1)))


def tan_x(g: Array, y: Array) -> Array:
    """`x_bar = g (1 + y²)`."""
    return lax.mul(g, lax.add(full(y, 1), lax.square(y)))


def tanh_x(g: Array, y: Array) -> Array:
    """`x_bar = g (1 + y)(1 - y)`, which loses no digits near 1 nor near -1."""
    one = full(y, 1)
    return lax.mul(lax.mul(g, lax.add(one, y)), lax.sub(one, y))


def sigmoid_x(g: Array, y: Array) -> Array:
    """`x_bar = g y (1 - y)`."""
    return lax.mul(lax.mul(g, y), lax.sub(full(y, 1), y))


def erf_x(g: Array, x: Array) -> Array:
    """`x_bar = g (2 / √π) e^(-x²)`."""
    return lax.mul(lax.mul(g, full(x, 2 / sqrt(pi))), lax.exp(lax.neg(lax.square(x))))


def erfc_x(g: Array, x: Array) -> Array:
    """`x_bar = -g (2 / √π) e^(-x²)`."""
    return lax.neg(erf_x(g, x))


def sqrt_x(g: Array, y: Array) -> Array:
    """`x_bar = g / (2 y)`."""
    return lax.mul(g, lax.div(full(y, 0.5), y))


def rsqrt_x(g: Array, x: Array, y: Array) -> Array:
    """`x_bar = -g y / (2 x)`."""
    return lax.mul(g, lax.mul(full(y, -0.5), lax.div(y, x)))


def square_x(g: Array, x: Array) -> Array:
    """`x_bar = 2 g x`."""
    return lax.mul(g, lax.add(x, x))


def integer_pow_x(g: Array, x: Array, exponent: int) -> Array:
    """`x_bar = g n xⁿ⁻¹`."""
    if exponent == 0:
        return full(g, 0)
    if exponent == 2:  # every mean square: two equations instead of four
        return square_x(g, x)
    return lax.mul(g, lax.mul(full(x, exponent), lax.integer_pow(x, exponent - 1)))


def pow_x(g: Array, x: Array, y: Array) -> Array:
    """`x_bar = g y x^(y - 1)`."""
    return lax.mul(g, lax.mul(y, lax.pow(x, lax.sub(y, full(y, 1)))))


def pow_y(g: Array, x: Array, out: Array) -> Array:
    """`y_bar = g x^y log x`, and 0 where x is 0."""
    base = lax.select(lax.eq(x, full(x, 0)), full(x, 1), x)
    return lax.mul(g, lax.mul(lax.log(base), out))


def div_y(g: Array, y: Array, out: Array) -> Array:
    """`y_bar = -(g / y) out`: its quotient is that of `x_bar`, and no y² underflows."""
    return lax.mul(lax.neg(lax.div(g, y)), out)


def absolute_x(g: Array, x: Array) -> Array:
    """`x_bar = g sign(x)`, with `sign(0) = 1` as in JAX; for complex numbers `g conj(x) / |x|`."""
    if jnp.iscomplexobj(x):
        return g.astype(x.dtype) * jnp.conj(jnp.sign(x))
    return lax.select(lax.ge(x, full(x, 0)), g, lax.neg(g))


def to_winner(g: Array, wins: Array, ties: Array) -> Array:
    """The cotangent of one of two candidates: all where it wins, half at a tie.

    The inputs are compared with each other, not with the output: compiled code may compute an input a second time,
    rounded another way, and then neither is the output and nothing would flow.
    """
    return lax.select(wins, g, lax.select(ties, lax.mul(g, full(g, 0.5)), full(g, 0)))


def _weighed(g: Array, wins: Array, ties: Array) -> Array:
    """The same as a product with 1, a half or 0, as JAX has it: an infinite cotangent of what lost is NaN and not 0."""
    return lax.mul(g, lax.select(wins, full(g, 1), lax.select(ties, full(g, 0.5), full(g, 0))))


def clamp_x(g: Array, min: Array, x: Array, max: Array) -> Array:
    """`x_bar = g` between the bounds, 0 elsewhere."""
    return lax.select(lax.bitwise_and(x > min, x < max), g, full(g, 0))


HALF_AT_TIES = subgradient("half to each at a tie", even_at_ties=True)


def _add_cotangents(x: Array, y: Array) -> Array:
    """What JAX does with the cotangents of a value that is read twice."""
    return jax.linear_transpose(lambda v: (v, v), x)((x, y))[0]


row("add", same_floats, x=identity, y=identity).example(lax.add, X, Y)
row("add_any", same_floats, x=identity, y=identity).example(_add_cotangents, X, Y)
row("sub", same_floats, x=identity, y=negative_x).example(lax.sub, X, Y)
row("mul", same_floats, x=lambda g, y: lax.mul(g, y), y=lambda g, x: lax.mul(g, x)).example(lax.mul, X, Y)
row("div", same_floats, x=lambda g, y: lax.div(g, y), y=div_y).example(lax.div, X, Y)
row(
    "max",
    same_floats,
    HALF_AT_TIES,
    x=lambda g, x, y: _weighed(g, x > y, x == y),
    y=lambda g, x, y: _weighed(g, y > x, x == y),
).example(lax.max, X, TIED)
row(
    "min",
    same_floats,
    HALF_AT_TIES,
    x=lambda g, x, y: _weighed(g, x < y, x == y),
    y=lambda g, x, y: _weighed(g, y < x, x == y),
).example(lax.min, X, TIED)
row("clamp", same_floats, subgradient("0 on a bound"), x=clamp_x).example(lax.clamp, X - 1, Y, X + 1)
row("pow", same_floats, x=pow_x, y=pow_y).example(lax.pow, POSITIVE, Y)
row("neg", same_floats, x=negative_x).example(lax.neg, X)
row("abs", same_floats, subgradient({0: 1}), x=absolute_x).example(lax.abs, X)
row("copy", same_floats, operand=identity).example(jnp.copy, X)
row("name", same_floats, x=identity).example(lambda x: checkpoint_name(x, "x"), X)
row("exp", same_floats, x=exp_x).example(lax.exp, X)
row("exp2", same_floats, x=exp2_x).example(lax.exp2, X)
row("expm1", same_floats, x=expm1_x).example(lax.expm1, X)
row("log", same_floats, x=log_x).example(lax.log, POSITIVE)
row("log1p", same_floats, x=log1p_x).example(lax.log1p, POSITIVE)
row("sin", same_floats, x=lambda g, x: lax.mul(g, lax.cos(x))).example(lax.sin, X)
row("cos", same_floats, x=lambda g, x: lax.neg(lax.mul(g, lax.sin(x)))).example(lax.cos, X)
row("tan", same_floats, x=tan_x).example(lax.tan, X)
row("tanh", same_floats, x=tanh_x).example(lax.tanh, X)
row("logistic", same_floats, x=sigmoid_x).example(lax.logistic, X)
row("erf", same_floats, x=erf_x).example(lax.erf, X)
row("erfc", same_floats, x=erfc_x).example(lax.erfc, X)
row("sqrt", same_floats, x=sqrt_x).example(lax.sqrt, POSITIVE)
row("rsqrt", same_floats, x=rsqrt_x).example(lax.rsqrt, POSITIVE)
row("square", same_floats, x=square_x).example(lax.square, X)
row("integer_pow", same_floats, x=integer_pow_x).example(lambda x: lax.integer_pow(x, 3), X).example(
    lambda x: lax.integer_pow(x, -2), POSITIVE
)
