"""Names of values, as `of=` and `wrt=` take them."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from funcgrad.errors import GradientError
from tests.raising import raises_sentence

X = jnp.linspace(0.2, 1.4, 3)


def counted(x):
    place = fg.name(jnp.argmax(x), "place")
    return (jnp.sin(x) * place.astype(x.dtype)).sum()


def test_a_whole_number_has_no_gradient():
    with raises_sentence(GradientError, r"'place' is i64\[\]; only floating or complex values have gradients\."):
        fg.grad(counted, wrt="place")(X)


def test_an_argument_of_several_arrays_is_all_of_them():
    def loss(params, x):
        return (params["w"] * x).sum() + params["b"]

    seeds = {"params/b": jnp.array(2.0), "params/w": X}
    found = fg.grad(loss, of="params", wrt="params", cotangent=seeds)({"w": X, "b": jnp.array(1.0)}, X)
    np.testing.assert_array_equal(found["w"], X)
    np.testing.assert_array_equal(found["b"], 2.0)


def test_a_value_inside_of_a_branch_is_no_source():
    def f(x):
        return jax.lax.cond(x[0] > 0, lambda x: fg.name(jnp.sin(x), "inside"), jnp.cos, x).sum()

    with raises_sentence(
        GradientError,
        r"of='inside' is inside 'cond' \(a cond\), which runs as one node; return it from there, and name what comes "
        r"out with fg\.name\.",
    ):
        fg.grad(f, of="inside")(X)


def test_a_complex_argument_of_a_real_function_has_its_jacobian_in_reverse():
    z = jax.lax.complex(X, 2 * X)
    magnitude = lambda z: jnp.real(z * jnp.conj(z))
    found = fg.jacobian(magnitude)(z)
    expected = jax.vmap(jax.vjp(magnitude, z)[1])(jnp.eye(3))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_a_tap_takes_a_function_as_a_statistic():
    def spread(x):
        return x.max() - x.min()

    _, readings = fg.grad(lambda x: fg.name(jnp.sin(x), "h").sum(), taps="h", stats=spread)(X)
    assert "spread" in str(readings)
