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


@jax.custom_vjp
def by_two(x):
    return jnp.sin(x)


by_two.defvjp(lambda x: (jnp.sin(x), (jnp.cos(x), 3 * x)), lambda kept, g: (g * kept[0] / kept[1],))

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


@pytest.mark.parametrize("around", [lambda f: f, jax.checkpoint])
def test_each_of_several_residuals_is_itself(around):
    x = jnp.linspace(0.5, 1.5, 3)
    loss = lambda x: jnp.sum(around(by_two)(x))
    np.testing.assert_allclose(fg.grad(loss)(x), jnp.cos(x) / (3 * x), rtol=1e-14)


def test_a_plan_asks_a_rule_once():
    asked = []
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), jnp.cos(x)), lambda kept, g: (asked.append(g) or g * kept,))
    fg.plan(lambda x: jnp.sum(f(x)), jnp.ones(3))
    assert len(asked) == 1
