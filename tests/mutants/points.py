"""Wrong at some arguments only."""

import jax
import jax.numpy as jnp

import funcgrad as fg
from tests.mutants import bases
from tests.mutants.mutant import Base, wrong


@wrong(bases.HIGHEST, "x", "at ties everybody gets the whole cotangent")
def all_at_ties(g, x, y):
    return jnp.where(x == y[..., None], g[..., None], jnp.zeros_like(x))


@wrong(bases.HIGHEST, "x", "at ties nobody gets anything")
def none_at_ties(g, x, y):
    at = x == y[..., None]
    return jnp.where(at & (at.sum(-1, keepdims=True) == 1), g[..., None], jnp.zeros_like(x))


@wrong(bases.HIGHEST, "x", "zeros where the largest entry is NaN")
def zeros_at_nan(g, x, y):
    at = x == y[..., None]
    n = at.sum(-1, keepdims=True).astype(g.dtype)
    return jnp.where(at, g[..., None] / n, jnp.zeros_like(x))


@wrong(bases.RELU, "x", "another slope at the kink than declared")
def another_convention(g, x):
    return jnp.where(x >= 0, g, jnp.zeros_like(g))


@wrong(bases.RELU, "x", "a slope at the kink that is no subgradient", kind=fg.subgradient("by hand"))
def no_subgradient(g, x):
    return jnp.where(x == 0, 2 * g, jnp.where(x > 0, g, jnp.zeros_like(g)))


@wrong(bases.RELU, "x", "exact, and not JAX's slope at the kink", kind=fg.exact)
def exact_at_a_kink(g, x):
    return jnp.where(x >= 0, g, jnp.zeros_like(g))


@wrong(bases.RELU, "x", "right at the kink, wrong beside it")
def leaking(g, y):
    return jnp.where(y > 0, g, 1e-4 * g)


@wrong(bases.SINE, "x", "wrong for negative arguments")
def negative_arguments(g, x):
    return g * jnp.where(x < 0, jnp.sin(x), jnp.cos(x))


POSITIVE = Base(bases.wave, bases.WAVE.rules, ((abs(bases.WAVE.cases[0][0]),),))


@wrong(POSITIVE, "x", "wrong for negative arguments, of which the example has none")
def unseen_negative_arguments(g, x):
    return bases.wave_x(g, jnp.abs(x))


@wrong(bases.SINE, "x", "wrong beyond |x| = 10")
def large_arguments(g, x):
    return g * jnp.cos(jnp.clip(x, -10, 10))


@wrong(bases.WAVE, "x", "NaN at x = 0")
def nan_at_the_origin(g, x):
    return g * (x * x * jnp.cos(x) + x * jnp.sin(x)) / x


def softplus(x):
    return jax.nn.softplus(x)


def softplus_x(g, x):
    return g * jax.nn.sigmoid(x)


SOFTPLUS = Base(softplus, {"x": softplus_x}, ((200 * bases.SINE.cases[0][0],),), {"elementwise": True})


@wrong(SOFTPLUS, "x", "overflows where the forward does not")
def overflow(g, x):
    return g * jnp.exp(x) / (1 + jnp.exp(x))


@wrong(bases.PICK, "x", "index 0 taken for padding")
def padding_index(g, i, x_aval):
    return bases.pick_x(jnp.where((i == 0)[:, None], jnp.zeros_like(g), g), i, x_aval)


@wrong(bases.TIMES, "a", "lost where the other argument is zero and g is large")
def where_both_matter(g, b):
    return jnp.where(jnp.abs(bases.times(g, b)) > 1e10, jnp.zeros_like(bases.times(g, b)), bases.times(g, b))
