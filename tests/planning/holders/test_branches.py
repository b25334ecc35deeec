"""The reverse pass of a `cond` is that of the branch taken; what branches keep shares its room."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.planning.asserting import assert_like_jax

X = jnp.linspace(-1.0, 1.0, 12).reshape(3, 4)
W = jnp.linspace(0.5, -0.5, 16).reshape(4, 4)


def two(x, w):
    def left(x, w):
        with fg.scope("left"):
            return ops.tanh(ops.linear(x, w)), 1

    def right(x, w):
        with fg.scope("right"):
            return jnp.sin(jnp.cos(x)), 2

    y, n = jax.lax.cond(x[0, 0] > 0.0, left, right, x, w)
    return jnp.sum(y**2) * n


@jax.custom_vjp
def tripled(x):
    return jnp.sin(x)


tripled.defvjp(lambda x: (jnp.sin(x), jnp.cos(x)), lambda cosine, g: (3 * g * cosine,))


CASES = {
    "left": (two, -X, W),
    "right": (two, X, W),
    "switch": (lambda x: jax.lax.switch(1, [jnp.sin, lambda x: x * x, jnp.cos], x).sum(), X),
    "index out of bounds": (
        lambda x: jax.lax.switch(x.astype(jnp.int32)[0, 0] + 9, [jnp.sin, lambda x: x * x], x).sum(),
        X,
    ),
    "a branch that is constant": (
        lambda x: jax.lax.cond(x.sum() > -1, lambda x: jnp.ones_like(x), jnp.sin, x).sum(),
        X,
    ),
    "a branch that hands on": (lambda x: jax.lax.cond(x.sum() > -1, lambda x: x, jnp.sin, x).sum(), X),
    "a number": (lambda x: jax.lax.cond(x.sum() > -1, lambda x: 2.0, lambda x: x[0, 0], x), X),
    "nothing wanted in one": (lambda x: jax.lax.cond(x.sum() < -1, lambda x: X, lambda x: x * x, x).sum(), X),
    "custom rule": (lambda x: jax.lax.cond(x.sum() > -1, tripled, lambda x: x * 2.0, x).sum(), X),
    "custom rule in a loop": (
        lambda x: jax.lax.cond(
            x.sum() > -1, lambda x: jax.lax.scan(lambda c, _: (tripled(c), None), x, length=3)[0], jnp.sin, x
        ).sum(),
        X,
    ),
    "keys": (
        lambda x: jax.lax.cond(
            x.sum() > -1,
            lambda k, x: jax.random.normal(jax.random.split(k)[0], x.shape) * x,
            lambda k, x: x * x,
            jax.random.key(0),
            x,
        ).sum(),
        X,
    ),
    "vmapped index": (lambda x: jax.vmap(lambda r: jax.lax.cond(r[0] > 0, jnp.sin, jnp.cos, r))(x).sum(), X),
    "nested": (
        lambda x: jax.lax.cond(
            x.sum() > -1, lambda x: jax.lax.cond(x[0, 0] > 0, jnp.exp, lambda x: x**3, x), jnp.sin, x
        ).sum(),
        X,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_branch_has_the_gradient_that_jax_gives_it(case):
    assert_like_jax(*CASES[case])


def test_wanted_values_inside_a_branch_are_zero_where_the_other_ran():
    found = fg.grad(two, wrt="**")(X, W)
    assert np.any(found["right/cos"] != 0)
    assert not np.any(found["left/linear"])
    found = fg.grad(two, wrt="**")(X + 1.5, W)
    assert np.any(found["left/linear"] != 0)
    assert not np.any(found["right/cos"])


def test_rules_are_overridden_inside_a_branch():
    rules = fg.RuleSet().override(ops.tanh, lambda g: g, at="left/*")
    found = fg.grad(two, rules=rules)(X + 1.5, W)
    y = jnp.tanh((X + 1.5) @ W)
    np.testing.assert_allclose(found, 2 * y @ W.T, rtol=1e-12)


def test_what_branches_keep_shares_its_room():
    f = lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: jnp.sin(jnp.sin(x)), lambda x: jnp.cos(jnp.cos(x)), x).sum()
    (step, _) = fg.plan(f, X).steps
    assert len(step.saved) == 1
    assert fg.plan(f, X).totals.kept_bytes == X.nbytes + np.dtype(np.int32).itemsize


def by_platform(x):
    """The branch of another platform holds a loop, which a program for this one must not."""
    loop = lambda x: jax.lax.scan(lambda c, y: (c * y, None), x, x[0])[0]
    return jnp.sum(jnp.exp(jax.lax.platform_dependent(x, cpu=jnp.sin, cuda=loop, rocm=loop, default=jnp.cos)))


@pytest.mark.parametrize(("platform", "has_loop"), [("cpu", False), ("cuda", True), ("rocm", True), ("tpu", False)])
def test_only_the_branch_of_the_platform_is_compiled(platform, has_loop):
    gradient = jax.jit(fg.grad(by_platform))
    lowered = gradient.trace(X).lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.while" in lowered) == has_loop
    for call in (gradient, fg.grad(by_platform)):
        np.testing.assert_allclose(call(X), jnp.cos(X) * jnp.exp(jnp.sin(X)), rtol=1e-12)
