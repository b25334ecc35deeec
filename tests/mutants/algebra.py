"""Wrong formulas."""

import jax.numpy as jnp

from tests.mutants import bases
from tests.mutants.mutant import wrong


@wrong(bases.PRODUCT, "w", "the sign")
def sign(g, x):
    return -(x.T @ g)


@wrong(bases.SQUARE, "w", "transposed, where the shapes allow it")
def transposed(g, x):
    return g.T @ x


@wrong(bases.SQUARE, "x", "the other matrix not transposed")
def not_transposed(g, w):
    return g @ w


@wrong(bases.PRODUCT, "w", "1.001 times as large")
def a_thousandth_more(g, x):
    return 1.001 * (x.T @ g)


@wrong(bases.WAVE, "x", "one term of the product rule dropped")
def dropped_term(g, x):
    return g * jnp.sin(x)


@wrong(bases.SINE, "x", "the function for its derivative")
def wrong_function(g, x):
    return g * jnp.sin(x)


@wrong(bases.TIMES, "a", "its own argument instead of the other")
def own_argument(g, a):
    return bases.times(g, a)


@wrong(bases.TANH, "x", "1 - y instead of 1 - y²")
def forgotten_square(g, y):
    return g * (1 - y)


@wrong(bases.AVERAGE, "x", "a mean pulled back as a sum")
def mean_as_sum(g, x_aval):
    return jnp.broadcast_to(g[..., None], x_aval.shape)


@wrong(bases.SOFTMAX, "x", "the diagonal of the Jacobian only")
def diagonal_only(g, y):
    return g * y * (1 - y)


@wrong(bases.STANDARDIZE, "x", "the statistics taken for constants")
def constant_statistics(g, x):
    return g / jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)


@wrong(bases.RATIO, "b", "the minus of a quotient")
def quotient_sign(g, b, y):
    return g * y / b


@wrong(bases.POWER, "x", "the exponent not lowered")
def exponent_not_lowered(g, x, exponent):
    return g * exponent * x**exponent


@wrong(bases.POWER, "x", "an attribute ignored: right for its default only")
def ignored_attribute(g, x):
    return g * 3 * x**2


@wrong(bases.ACCUMULATE, "x", "summed from the wrong end")
def wrong_end(g):
    return jnp.cumsum(g)


@wrong(bases.PICK, "x", "repeated indices: the last one wins")
def last_index_wins(g, i, x_aval):
    return jnp.zeros(x_aval.shape, g.dtype).at[i].set(g)


@wrong(bases.RATIO, "a", "a small number added to a denominator")
def padded_denominator(g, b):
    return g / (b + 1e-6)


@wrong(bases.SINE, "x", "conjugated: wrong for complex numbers only", beyond="real numbers only")
def conjugated(g, x):
    return g * jnp.conj(jnp.cos(x))
