"""JAX's upgrade flags: what they turn into opaque primitives is opened as before. (Older JAX has one of them.)"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg

FLAGS = [
    flag for flag in ("jax_remat3", "jax_custom_vjp3", "jax_remat_barrier_no_cotangents") if hasattr(jax.config, flag)
]
X = jnp.linspace(0.1, 0.9, 4)

twice = jax.custom_vjp(lambda x, y: x * y)
twice.defvjp(lambda x, y: (x * y, y), lambda y, g: (2 * g * y, None))


@pytest.fixture(params=[False, True], ids=["as before", "upgraded"])
def upgraded(request):
    """The flags, off and on."""
    before = {flag: getattr(jax.config, flag) for flag in FLAGS}
    for flag in FLAGS:
        jax.config.update(flag, request.param)
    yield request.param
    for flag, value in before.items():
        jax.config.update(flag, value)


def network(policy=None):
    @jax.checkpoint if policy is None else lambda f: jax.checkpoint(f, policy=policy)
    def block(x):
        h = fg.name(fg.ops.tanh(x), "h")
        return h * twice(jnp.sin(h), x)

    return lambda x: jnp.sum(jax.lax.scan(lambda c, _: (block(c), None), block(x), None, length=2)[0])


def test_names_rules_and_taps_reach_into_checkpoints(upgraded):
    f = network()
    np.testing.assert_allclose(fg.grad(f)(X), jax.grad(f)(X), rtol=1e-12)
    assert fg.grad(f, wrt="h")(X).shape == (4,)
    _, readings = fg.grad(f, taps="h", stats="max")(X)
    assert readings["h"].cotangent["max"] > 0
    zero = fg.RuleSet().override(fg.ops.tanh, lambda g: 0 * g)
    assert not np.allclose(fg.grad(f, rules=zero)(X), fg.grad(f)(X))
    assert not hasattr(fg.trace(f, X), "call_hi_primitive")
    assert "call_hi_primitive" not in str(fg.trace(f, X))


def test_a_policy_reads_names(upgraded):
    plan = fg.plan(network(jax.checkpoint_policies.save_only_these_names("h")), X)
    assert "h" in {v.name for v in plan.kept}
    assert "h" not in {v.name for v in fg.plan(network(), X).kept}


def test_a_custom_derivative_is_named_and_its_none_is_no_cotangent(upgraded):
    f = lambda x, y: jnp.sum(twice(x, jax.lax.while_loop(lambda c: c[0] < 9, lambda c: c * 2, y)))
    x_bar, y_bar = fg.grad(f, (0, 1))(X, X)
    np.testing.assert_allclose(x_bar, 2 * 128 * X, rtol=1e-12)
    np.testing.assert_array_equal(y_bar, 0 * X)
    # Older JAX refuses it where the function is called, with its own error.
    kinds = (fg.errors.GradientError, jax.errors.UnexpectedTracerError)
    with pytest.raises(kinds, match=r"closes over 'x', which is differentiated|can't close over Tracers"):
        fg.grad(closing)(X)


def test_a_custom_derivative_defined_under_the_flags_keeps_its_arguments_and_rule(upgraded):
    """Older JAX looks at the flag where the function is defined, newer where it is called."""
    slope = jnp.arange(4.0)

    @jax.custom_vjp
    def tripled(x, y):
        return jnp.sum(slope * x * y)

    tripled.defvjp(lambda x, y: (jnp.sum(slope * x * y), (x, y)), lambda xy, g: (3 * g * slope * xy[1], 5 * g * xy[0]))
    for f in (tripled, jax.jit(tripled), lambda x, y: jax.vmap(tripled)(x[None], y[None])[0]):
        x_bar, y_bar = fg.grad(f, (0, 1))(X, 2 * X)
        np.testing.assert_allclose(x_bar, 6 * slope * X, rtol=1e-12)
        np.testing.assert_allclose(y_bar, 5 * X, rtol=1e-12)


def closing(x):
    f = jax.custom_vjp(lambda v: x * v)
    f.defvjp(lambda v: (x * v, None), lambda _, g: (x * g,))
    return jnp.sum(f(2 * x))
