"""Wrong second derivatives."""

import jax
import jax.numpy as jnp

from tests.mutants import bases
from tests.mutants.mutant import planted, wrong


@wrong(bases.WAVE, "x", "cut off from its arguments")
def detached(g, x):
    x = jax.lax.stop_gradient(x)
    return g * (jnp.sin(x) + x * jnp.cos(x))


@wrong(bases.SINE, "x", "cut off from g")
def detached_from_g(g, x):
    return jax.lax.stop_gradient(g) * jnp.cos(x)


@planted(bases.WHOLE, "a saved value cut off from the arguments")
def detached_saved(name):
    op = bases.Base(bases.sine, {}, bases.WHOLE.cases).make(name)
    op.saving("slope")(lambda x: (jnp.sin(x), {"slope": jax.lax.stop_gradient(jnp.cos(x))}))

    @op.pullback("x")
    def by_slope(g, slope):
        return g * slope

    return op


@jax.custom_jvp
def cosine(x):
    return jnp.cos(x)


@cosine.defjvp
def _cosine_jvp(primals, tangents):
    return jnp.cos(primals[0]), jnp.sin(primals[0]) * tangents[0]


@wrong(bases.SINE, "x", "right, by a function whose own derivative has the wrong sign")
def through_a_wrong_derivative(g, x):
    return g * cosine(x)


@wrong(bases.SINE, "x", "a table, right to 10⁻¹³, and flat between its entries")
def by_rounding(g, x):
    steps = jnp.round(x * 2.0**40)
    return g * jnp.cos(steps / 2.0**40) if g.dtype == jnp.float64 else g * jnp.cos(x)
