"""Of an elementwise op after a product its result is stored, and not the product beside it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.primitive import store
from tests.lowering import lowered
from tests.planning.asserting import assert_like_jax

X, W = jnp.linspace(-1.0, 1.0, 256 * 16).reshape(256, 16), jnp.cos(jnp.arange(256.0)).reshape(16, 16) / 2


def perceptron(x, w):
    for _ in range(4):
        x = ops.relu(ops.linear(x, w))
    return jnp.sum(x**2)


def normalized(x, w):
    return jnp.sum(ops.relu(ops.layer_norm(ops.linear(x, w))))


def reads_its_input(x, w):
    return jnp.sum(ops.gelu(ops.linear(x, w)))


def in_a_loop(x, w):
    return jnp.sum(jax.lax.scan(lambda x, _: (ops.relu(ops.linear(x, w)), None), x, length=2)[0])


STORED = {perceptron: 4, normalized: 0, reads_its_input: 0, in_a_loop: 0}


@pytest.mark.parametrize("f", STORED, ids=lambda f: f.__name__)
def test_results_are_stored_where_nobody_keeps_the_product(f):
    assert str(jax.make_jaxpr(fg.grad(f, (0, 1)))(X, W)).count(" store ") == STORED[f]
    assert_like_jax(f, X[:4], W)


def test_only_on_the_cpu():
    here, there = lowered(fg.grad(perceptron), X, W, platforms=("cpu",)), lowered(fg.grad(perceptron), X, W)
    assert "minimum" in here
    assert "minimum" not in there


def test_what_is_stored_is_the_same_number_and_differentiable():
    special = jnp.array([0.0, -0.0, jnp.inf, -jnp.inf, jnp.nan, -1.0, -2.0])
    found = jax.jit(store)(special)
    np.testing.assert_array_equal(found, special)
    np.testing.assert_array_equal(jnp.signbit(found), jnp.signbit(special))
    x, w = X[:3], W
    np.testing.assert_allclose(
        jax.jvp(fg.grad(perceptron), (x, w), (x, w))[1], jax.jvp(jax.grad(perceptron), (x, w), (x, w))[1], rtol=1e-11
    )
    over = jax.vmap(fg.grad(perceptron), (0, None))
    np.testing.assert_allclose(
        over(X[:6].reshape(2, 3, 16), w), jax.vmap(jax.grad(perceptron), (0, None))(X[:6].reshape(2, 3, 16), w)
    )
