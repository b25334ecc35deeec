"""How a call is batched and pushed forward, by what its op declares."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg

X = jnp.linspace(-1.0, 1.0, 24).reshape(2, 3, 4)
V = jnp.linspace(0.3, -0.8, 8).reshape(2, 4)


def test_an_argument_without_the_declared_axes_is_batched_by_itself():
    @fg.op(name="product_of_any", core_axes=2, replace=True)
    def product_of_any(x, v):
        return x @ v

    expected = jnp.einsum("bij,bj->bi", X, V)
    np.testing.assert_allclose(jax.vmap(product_of_any)(X, V), expected, rtol=1e-14)
    pulled = jax.vmap(jax.grad(lambda x, v: product_of_any(x, v).sum(), 1))(X, V)
    np.testing.assert_allclose(pulled, X.sum(1), rtol=1e-14)


def test_forward_mode_where_no_rule_is_registered():
    @fg.op(name="without_rules", replace=True)
    def without_rules(x):
        return jnp.sin(x)

    found = jax.jvp(without_rules, [V], [2 * V])[1]
    np.testing.assert_allclose(found, 2 * V * jnp.cos(V), rtol=1e-14)


def test_an_integer_output_has_no_tangent():
    """It stands in front, so that whoever counts it gives the next one's tangent a wrong place."""

    @fg.op(name="ranked", replace=True)
    def ranked(x):
        return jnp.argmax(x), jnp.sin(x)

    loss = lambda x: jnp.sum(ranked(x)[1] ** 2)
    mesh = jax.make_mesh((4,), ("d",))
    with jax.set_mesh(mesh):
        cut = jax.device_put(X[0, 0], jax.NamedSharding(mesh, jax.P("d")))
        dot = jax.jvp(ranked, [cut], [2 * cut])[1][1]
        assert jax.typeof(dot).sharding.spec == jax.P("d")
        np.testing.assert_allclose(dot, 2 * X[0, 0] * jnp.cos(X[0, 0]), rtol=1e-14)
    for grad in (fg.grad(loss), jax.grad(loss)):
        np.testing.assert_allclose(grad(V[0]), jnp.sin(2 * V[0]), rtol=1e-13)
    np.testing.assert_allclose(jax.jvp(ranked, [V], [V])[1][1], V * jnp.cos(V), rtol=1e-14)


def test_forward_mode_through_a_surrogate_that_reads_a_saved_value():
    @fg.op(name="saved_surrogate", replace=True)
    def saved_surrogate(x):
        return jnp.sign(x)

    @saved_surrogate.saving("slope")
    def saved_surrogate_saving(x):
        return jnp.sign(x), {"slope": 1 - jnp.tanh(x) ** 2}

    @saved_surrogate.pullback("x", kind=fg.surrogate(of=jnp.tanh))
    def saved_surrogate_x(g, slope):
        return g * slope

    found = jax.jvp(saved_surrogate, [V], [2 * V])[1]
    np.testing.assert_allclose(found, jax.jvp(jnp.tanh, [V], [2 * V])[1], rtol=1e-14)


def test_a_rule_that_is_no_derivative_runs_anew_each_time():
    """It may read what has changed since: where nothing is traced, its J is not compiled."""
    scale = [2.0]

    @fg.op(name="turning", replace=True)
    def turning(x):
        return 1.0 * x

    @turning.pullback("x", kind=fg.modified)
    def turning_x(g):
        return scale[0] * g

    assert jax.jvp(turning, [V], [V])[1][0, 0] == 2 * V[0, 0]
    scale[0] = -3.0
    np.testing.assert_array_equal(jax.jvp(turning, [V], [V])[1], -3 * V)


def test_saved_values_are_pushed_forward_with_the_tangents_that_are_batched():
    @fg.op(name="saved_product", replace=True)
    def saved_product(x, w):
        return jnp.sin(x * w)

    @saved_product.saving("slope")
    def saved_product_saving(x, w):
        return jnp.sin(x * w), {"slope": jnp.cos(x * w)}

    @saved_product.pullback("x", "w")
    def saved_product_x(g, x, w, slope):
        return {"x": g * slope * w, "w": g * slope * x}

    def along(op):
        slopes = jax.grad(lambda x, w: jax.vmap(op, (0, None))(x, w).sum(), (0, 1))
        return jax.jvp(slopes, (V, V[0]), (2 * V, V[1]))[1]

    for found, expected in zip(along(saved_product), along(lambda x, w: jnp.sin(x * w)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
