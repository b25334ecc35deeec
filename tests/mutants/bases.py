"""Ops with right rules, to be spoilt."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from tests.mutants.mutant import Base, normal


def product(x, w):
    return x @ w


def product_x(g, w):
    return g @ w.T


def product_w(g, x):
    return x.T @ g


PRODUCT = Base(product, {"x": product_x, "w": product_w}, ((normal(4, 3), normal(3, 2)),))
SQUARE = Base(product, PRODUCT.rules, ((normal(3, 3), normal(3, 3)),))


def affine(x, w, b):
    return jnp.matmul(x, w) + b.reshape((1,) * (x.ndim - 1) + b.shape)


def affine_x(g, w):
    return jnp.matmul(g, w.T)


def affine_w(g, x):
    return jnp.einsum("...i,...j->ij", x, g)


def affine_b(g):
    return g.sum(tuple(range(g.ndim - 1)))


AFFINE = Base(
    affine, {"x": affine_x, "w": affine_w, "b": affine_b}, ((normal(3, 3), normal(3, 3), normal(3)),),
    {"leading": ("x",), "shapes": "x[..., n] w[n, m] b[m]"},
)  # fmt: skip


def sine(x):
    return jnp.sin(x)


def sine_x(g, x):
    return g * jnp.cos(x)


SINE = Base(sine, {"x": sine_x}, ((normal(3, 4),),), {"elementwise": True})
WHOLE = Base(sine, {"x": sine_x}, ((normal(3, 4),),))
"""The same without a claim about broadcasting."""
MANY = Base(sine, {"x": sine_x}, ((normal(10_000),),))


def tanh(x):
    return jnp.tanh(x)


def tanh_x(g, y):
    return g * (1 - y) * (1 + y)


TANH = Base(tanh, {"x": tanh_x}, ((normal(3, 4),),), {"elementwise": True})


def wave(x):
    return x * jnp.sin(x)


def wave_x(g, x):
    return g * (jnp.sin(x) + x * jnp.cos(x))


WAVE = Base(wave, {"x": wave_x}, ((normal(5),),))


def times(a, b):
    return a * b if a.ndim == b.ndim else jnp.multiply(*_ranked(a, b))


def _ranked(a, b):
    n = max(a.ndim, b.ndim)
    return tuple(x.reshape((1,) * (n - x.ndim) + x.shape) for x in (a, b))


def times_a(g, b):
    return times(g, b)


def times_b(g, a):
    return times(g, a)


TIMES = Base(times, {"a": times_a, "b": times_b}, ((normal(3, 3), normal(3, 3)),), {"elementwise": True})


def ratio(a, b):
    return a / b


def ratio_a(g, b):
    return g / b


def ratio_b(g, b, y):
    return -g * y / b


RATIO = Base(ratio, {"a": ratio_a, "b": ratio_b}, ((normal(4), 1 + normal(4) ** 2),))


def power(x, *, exponent=3):
    return x**exponent


def power_x(g, x, exponent):
    return g * exponent * x ** (exponent - 1)


POWER = Base(power, {"x": power_x}, ((normal(4),),), attributes={"exponent": 4})


def average(x):
    return jnp.mean(x, -1)


def average_x(g, x_aval):
    return jnp.broadcast_to(g[..., None] / x_aval.shape[-1], x_aval.shape)


AVERAGE = Base(average, {"x": average_x}, ((normal(3, 5),),))


def softmax(x):
    return jax.nn.softmax(x)


def softmax_x(g, y):
    return y * (g - (g * y).sum(-1, keepdims=True))


SOFTMAX = Base(softmax, {"x": softmax_x}, ((normal(3, 5),),))


def standardize(x):
    centered = x - x.mean(-1, keepdims=True)
    return centered / jnp.sqrt((centered**2).mean(-1, keepdims=True) + 1e-6)


def standardize_x(g, x, y):
    deviation = jnp.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return (g - g.mean(-1, keepdims=True) - y * (g * y).mean(-1, keepdims=True)) / deviation


STANDARDIZE = Base(standardize, {"x": standardize_x}, ((normal(3, 6),),))


def relu(x):
    return jax.nn.relu(x)


def relu_x(g, y):
    return jnp.where(y > 0, g, jnp.zeros_like(g))


RELU = Base(relu, {"x": relu_x}, ((normal(3, 4),),), {"elementwise": True}, kind=fg.subgradient({0: 0}))


def highest(x):
    return x.max(-1)


def highest_x(g, x):
    at = x == x.max(-1, keepdims=True)
    n = at.sum(-1, keepdims=True).astype(g.dtype)
    return jnp.where(at, g[..., None] / n, 0 / n)


HIGHEST = Base(
    highest, {"x": highest_x}, ((normal(3, 4),),), kind=fg.subgradient("split evenly at ties", even_at_ties=True)
)


def moments(x):
    mean = x.mean(-1)
    return mean, ((x - mean[..., None]) ** 2).mean(-1)


def moments_x(g_mean, g_var, x, mean):
    return (g_mean[..., None] + 2 * g_var[..., None] * (x - mean[..., None])) / x.shape[-1]


MOMENTS = Base(moments, {"x": moments_x}, ((normal(3, 4),),), {"outputs": ("mean", "var")})


def accumulate(x):
    return jnp.cumsum(x)


def accumulate_x(g):
    return jnp.flip(jnp.cumsum(jnp.flip(g)))


ACCUMULATE = Base(accumulate, {"x": accumulate_x}, ((normal(6),),))


def spread(x, b):
    """A bias for rows of a square."""
    return x + b[None, :]


def spread_x(g):
    return g


def spread_b(g):
    return g.sum(0)


SPREAD = Base(spread, {"x": spread_x, "b": spread_b}, ((normal(3, 3), normal(3)),))


def pick(x, i):
    return x[i]


def pick_x(g, i, x_aval):
    return jnp.zeros(x_aval.shape, g.dtype).at[i].add(g)


PICK = Base(pick, {"x": pick_x}, ((normal(5, 2), np.array([1, 3, 1, 0])),))
