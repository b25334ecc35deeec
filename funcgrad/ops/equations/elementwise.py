"""Elementwise primitives: one line each. `g` is the cotangent of the output, `y` (or `out`) the output."""

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.equations.guards import same_floats
from funcgrad.registry import row, subgradient


def full(x: Array, value: int | float) -> Array:
    """A number as an array like `x`."""
    return lax.full_like(x, value)


def identity(g: Array) -> Array:
    """The cotangent as it arrives."""
    return g


def exp_x(g: Array, y: Array) -> Array:
    """`x_bar = g y`."""
    return lax.mul(g, y)


def log_x(g: Array, x: Array) -> Array:
    """`x_bar = g / x`."""
    return lax.div(g, x)


def tanh_x(g: Array, y: Array) -> Array:
    """`x_bar = g (1 + y) (1 - y)`, which loses no digits near 1."""
    return lax.mul(lax.add(g, lax.mul(g, y)), lax.sub(full(y, 1), y))


def logistic_x(g: Array, y: Array) -> Array:
    """`x_bar = g y (1 - y)`."""
    return lax.mul(g, lax.mul(y, lax.sub(full(y, 1), y)))


def sqrt_x(g: Array, y: Array) -> Array:
    """`x_bar = g / (2 y)`."""
    return lax.mul(g, lax.div(full(y, 0.5), y))


def rsqrt_x(g: Array, x: Array, y: Array) -> Array:
    """`x_bar = -g y / (2 x)`."""
    return lax.mul(g, lax.mul(full(y, -0.5), lax.div(y, x)))


def square_x(g: Array, x: Array) -> Array:
    """`x_bar = 2 g x`."""
    return lax.mul(g, lax.mul(full(x, 2), x))


def integer_pow_x(g: Array, x: Array, exponent: int) -> Array:
    """`x_bar = g n xⁿ⁻¹`."""
    if exponent == 0:
        return full(g, 0)
    if exponent == 2:  # every mean square: two equations instead of four
        return lax.mul(g, lax.add(x, x))
    return lax.mul(g, lax.mul(full(x, exponent), lax.integer_pow(x, exponent - 1)))


def div_y(g: Array, x: Array, y: Array) -> Array:
    """`y_bar = -g x / y²`."""
    return lax.mul(lax.mul(lax.neg(g), x), lax.integer_pow(y, -2))


def _to_winner(g: Array, wins: Array, ties: Array) -> Array:
    """The inputs are compared with each other, not with the output: compiled code may compute an input a second time,
    rounded another way, and then neither is the output and nothing would flow.
    """
    return lax.mul(g, jnp.where(wins, full(g, 1), jnp.where(ties, full(g, 0.5), full(g, 0))))


_at_ties = subgradient("half to each at a tie")

row("add", same_floats, x=identity, y=identity)
row("add_any", same_floats, x=identity, y=identity)
row("sub", same_floats, x=identity, y=lambda g: lax.neg(g))
row("mul", same_floats, x=lambda g, y: lax.mul(g, y), y=lambda g, x: lax.mul(g, x))
row("div", same_floats, x=lambda g, y: lax.div(g, y), y=div_y)
row(
    "max",
    same_floats,
    _at_ties,
    x=lambda g, x, y: _to_winner(g, x > y, x == y),
    y=lambda g, x, y: _to_winner(g, y > x, x == y),
)
row(
    "min",
    same_floats,
    _at_ties,
    x=lambda g, x, y: _to_winner(g, x < y, x == y),
    y=lambda g, x, y: _to_winner(g, y < x, x == y),
)
row("neg", same_floats, x=lambda g: lax.neg(g))
row("abs", same_floats, subgradient("1 at 0"), x=lambda g, x: lax.select(x >= 0, g, lax.neg(g)))
row("copy", same_floats, operand=identity)
row("copy_p", same_floats, operand=identity)
row("name", same_floats, x=identity)
row("exp", same_floats, x=exp_x)
row("log", same_floats, x=log_x)
row("sin", same_floats, x=lambda g, x: lax.mul(g, lax.cos(x)))
row("cos", same_floats, x=lambda g, x: lax.neg(lax.mul(g, lax.sin(x))))
row("tanh", same_floats, x=tanh_x)
row("logistic", same_floats, x=logistic_x)
row("sqrt", same_floats, x=sqrt_x)
row("rsqrt", same_floats, x=rsqrt_x)
row("square", same_floats, x=square_x)
row("integer_pow", same_floats, x=integer_pow_x)
