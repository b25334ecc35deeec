"""Custom derivatives differentiated on the way forward: what comes back is of the dtype that it belongs to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg


@jax.custom_vjp
def doubled(x):
    return 2 * x


@jax.custom_vjp
def tripled(x):
    return 3 * x


# The first gives float32 whatever its argument is; the second multiplies by it, so that it takes nothing else.
doubled.defvjp(lambda x: (doubled(x), None), lambda _, g: (2 * g.astype(jnp.float32),))
tripled.defvjp(lambda x: (tripled(x), x), lambda x, g: (3 * g * jnp.ones_like(x),))


@pytest.mark.parametrize(
    ("f", "slope"),
    [
        (lambda x: doubled(x).sum(), 2.0),
        (lambda x: doubled(tripled(x)).sum(), 6.0),
        (lambda x: doubled(x).sum() + x.sum(), 3.0),
        (jax.checkpoint(lambda x: doubled(tripled(x)).sum()), 6.0),
        (lambda x: jax.lax.scan(lambda c, _: (doubled(tripled(c)), None), x, None, length=2)[0].sum(), 36.0),
    ],
    ids=["alone", "before another", "beside another use", "checkpoint", "scan"],
)
def test_a_rule_that_returns_another_dtype_than_its_argument(f, slope):
    gradient = fg.grad(f)(jnp.ones(2, jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(np.float32), np.full(2, slope, np.float32))
