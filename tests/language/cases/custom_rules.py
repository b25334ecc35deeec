"""Functions with a derivative of their own; each rule here is wrong by a factor, so that one sees whose was taken."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from tests.language.case import Family
from tests.language.drawing import integers, normal

FAMILY = Family("custom_rules")
case, each = FAMILY.case, FAMILY.each
lax = jax.lax


@jax.custom_jvp
def tripled(x, y):
    """x y, with three times its derivative by x."""
    return x * y


@tripled.defjvp
def tripled_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return tripled(x, y), 3.0 * dx * y + x * dy


@partial(jax.custom_jvp, nondiff_argnums=(0, 2))
def applied(function, x, times):
    for _ in range(times):
        x = function(x)
    return x


@applied.defjvp
def applied_jvp(function, times, primals, tangents):
    return applied(function, primals[0], times), 7.0 * tangents[0]


@jax.custom_jvp
def summed(x, y):
    return jnp.sin(x) + y


summed.defjvps(lambda dx, out, x, y: 5.0 * dx, None)


@jax.custom_jvp
def passed(x):
    return x


passed.defjvp(lambda primals, tangents: (0.5 * primals[0] ** 2, 31.0 * tangents[0]))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def powered(n, x):
    return x**n


@powered.defjvp
def powered_jvp(n, primals, tangents):
    return powered(n, primals[0]), 29.0 * n * tangents[0]


@jax.custom_vjp
def clipped(x, low):
    """x, with its cotangent clipped."""
    return x


clipped.defvjp(lambda x, low: (x, low), lambda low, g: (jnp.maximum(g, low), jnp.zeros_like(low)))


@partial(jax.custom_vjp, nondiff_argnums=(0, 2))
def mapped(function, x, factor):
    return function(x) * factor


mapped.defvjp(
    lambda function, x, factor: (function(x) * factor, x), lambda function, factor, x, g: (11.0 * factor * g * x,)
)


@jax.custom_vjp
def picked(table, i):
    """A row of a table by an integer, whose cotangent is `float0`."""
    return table[i]


picked.defvjp(
    lambda table, i: (table[i], (i, table.shape)),
    lambda kept, g: (2.0 * jnp.zeros(kept[1], g.dtype).at[kept[0]].set(g), np.zeros((), jax.dtypes.float0)),
)


@jax.custom_vjp
def noticing(x, y):
    """x y; its rule sees which arguments are differentiated, and which cotangents are zero."""
    return x * y, x + y


def noticing_forward(x, y):
    return (x.value * y.value, x.value + y.value), (x.value, y.value, x.perturbed, y.perturbed)


def noticing_backward(kept, g):
    x, y, _, _ = kept
    first = jnp.zeros_like(x) if isinstance(g[0], jax.custom_derivatives.SymbolicZero) else g[0]
    return 13.0 * first * y, first * x


noticing.defvjp(noticing_forward, noticing_backward, symbolic_zeros=True)


@jax.custom_jvp
def lazily(x, y):
    return x * y


def lazily_jvp(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    moving = [t for t in (dx, dy) if not isinstance(t, jax.custom_derivatives.SymbolicZero)]
    return x * y, sum((t * 2.0 for t in moving), start=jnp.zeros_like(x))


lazily.defjvp(lazily_jvp, symbolic_zeros=True)


@jax.custom_vjp
def ignoring(x, y, n):
    return x * y


ignoring.defvjp(lambda x, y, n: (x * y, y), lambda y, g: (23.0 * g * y, None, None))


def reading_nothing(x):
    return ignoring(x, jnp.sin(x), jnp.arange(3))


def closing(x):
    """A rule inside the function, which closes over a value of it."""
    y = lax.stop_gradient(jnp.cos(x))

    @jax.custom_vjp
    def doubled(v):
        return 2.0 * v

    doubled.defvjp(lambda v: (2.0 * v, y), lambda y, g: (g * y,))
    return doubled(x)


case("custom_jvp", normal(3), normal(3), call=lambda x, y: jnp.sin(tripled(x, y)) * x)
case("custom_jvp", normal(3), call=lambda x: applied(jnp.sin, x, 2), label="nondiff_argnums")
case("custom_jvp", normal(3), normal(3), call=summed, label="defjvps")
case(
    "custom_jvp",
    normal(3),
    normal(3),
    call=lambda x, y: lazily(x, y) + lazily(x, 2.0 * jnp.ones_like(x)),
    label="symbolic zeros",
)
case("custom_jvp", normal(4, 3), normal(3), call=jax.vmap(tripled, (0, None)), label="vmapped")
case(
    "custom_jvp",
    normal(3),
    normal(4, 3),
    call=lambda c, xs: lax.scan(lambda c, x: (tripled(c, x), c), c, xs),
    label="inside scan",
)
case("custom_jvp", normal(3), normal(3), call=jax.jit(lambda x, y: jax.jit(tripled)(x, y) * y), label="inside jit")
case("custom_jvp", integers(3, 3), normal(3), call=powered, label="an array among nondiff_argnums")
case("custom_vjp", normal(3), np.array(-0.1), call=lambda x, low: clipped(jnp.sin(x), low) * 2)
case("custom_vjp", normal(3), call=lambda x: mapped(jnp.sin, x, 3.0), label="nondiff_argnums")
case("custom_vjp", normal(4, 3), np.int32(2), call=lambda t, i: jnp.sin(picked(t, i)), label="integer input")
case("custom_vjp", normal(3), normal(3), call=lambda x, y: noticing(x, y)[0] * x, label="symbolic zeros")
case("custom_vjp", normal(3), call=lambda x: noticing(x, jnp.ones_like(x)), label="symbolic zeros, not perturbed")
case("custom_vjp", normal(4, 3), np.array(-0.1), call=jax.vmap(clipped, (0, None)), label="vmapped")
case(
    "custom_vjp",
    normal(3),
    normal(4, 3),
    call=lambda c, xs: lax.scan(lambda c, x: (clipped(c * x, x), c), c, xs),
    label="inside scan",
)
case(
    "custom_vjp",
    normal(3),
    np.array(-0.1),
    call=jax.checkpoint(lambda x, low: jnp.sin(clipped(x, low))),
    label="inside checkpoint",
)
case("custom_vjp", normal(3), call=lambda x: reading_nothing(x) * 2, label="None for a cotangent")
case("custom_vjp", normal(3), call=closing, label="a rule that closes over a value of the function")
case(
    "custom_jvp",
    normal(3),
    call=lambda x: jax.grad(lambda x: jnp.sum(passed(x) ** 2 * x))(x),
    label="second derivatives by a rule that writes its function out",
    dtypes="fh",
)
