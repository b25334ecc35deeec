"""Wrong in some dtypes only."""

import jax
import jax.numpy as jnp

from tests.mutants import bases
from tests.mutants.mutant import Base, normal, wrong

DTYPE = "float64 only"


@wrong(bases.PRODUCT, "w", "computed in float32")
def coarse(g, x):
    return (x.astype(jnp.float32).T @ g.astype(jnp.float32)).astype(g.dtype)


@wrong(bases.PRODUCT, "w", "returned in float32", group="contract")
def wrong_dtype(g, x):
    return (x.T @ g).astype(jnp.float32)


@wrong(bases.PRODUCT, "w", "returned as integers", group="contract")
def integers(g, x):
    return (x.T @ g).astype(jnp.int32)


@wrong(bases.PRODUCT, "w", "returned complex", group="contract")
def complex_result(g, x):
    return (x.T @ g) * (1 + 0j)


@wrong(bases.WHOLE, "x", "wrong in bfloat16 only", group="numerics", beyond=DTYPE)
def wrong_in_bfloat16(g, x):
    return g * jnp.cos(x) * jnp.asarray(1.1 if g.dtype == jnp.bfloat16 else 1, g.dtype)


@wrong(bases.WHOLE, "x", "wrong in float16 only", group="numerics", beyond=DTYPE)
def wrong_in_float16(g, x):
    return g * jnp.cos(x) * jnp.asarray(1.01 if g.dtype == jnp.float16 else 1, g.dtype)


@wrong(bases.WHOLE, "x", "wrong in float32 only", group="numerics", beyond=DTYPE)
def wrong_in_float32(g, x):
    return g * jnp.cos(x) * jnp.asarray(1.00001 if g.dtype == jnp.float32 else 1, g.dtype)


LONG = Base(lambda x, w: x @ w, bases.PRODUCT.rules, ((normal(600, 3) ** 2, normal(3, 2)),))


@wrong(LONG, "w", "a long sum accumulated in half precision", group="numerics", beyond=DTYPE)
def accumulated_in_half(g, x):
    def body(total, row):
        return total + row[0][:, None] * row[1][None, :], None

    return jax.lax.scan(body, jnp.zeros((x.shape[1], g.shape[1]), g.dtype), (x, g))[0]


@wrong(bases.TANH, "x", "cancellation: 1 - y² from a rounded y", group="numerics", beyond=DTYPE)
def cancellation(g, x):
    e = jnp.exp(2 * x + 8) / jnp.exp(jnp.full_like(x, 8))
    return g * (1 - ((e - 1) / (e + 1)) ** 2 + 100) - g * 100
