"""What ops refuse, and the sizes at which nothing is left to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.raising import raises_sentence

X = jnp.linspace(-1.0, 1.0, 6).reshape(2, 3)

REFUSED = [
    (lambda: ops.elu(X, alpha=-1.0), r"elu: cannot take x: f64\[2,3\]; alpha must not be negative, got -1\.0\."),
    (
        lambda: ops.clip(X, low=1.0, high=0.5),
        r"clip: cannot take x: f64\[2,3\]; low must be below high, got low=1\.0 and high=0\.5\.",
    ),
    (
        lambda: ops.scatter_add(jnp.ones(()), jnp.array([0]), jnp.ones(1)),
        r"scatter_add: cannot take x: f64\[\], indices: i64\[1\], updates: f64\[1\]; x must have an axis to index\.",
    ),
    (
        lambda: ops.scatter_add(X, jnp.array([0]), jnp.ones(3)),
        r"scatter_add: cannot take x: f64\[2,3\], indices: i64\[1\], updates: f64\[3\]; updates must be \[1, 3\], a "
        r"slice of x for every index\.",
    ),
]


@pytest.mark.parametrize(("call", "sentence"), REFUSED, ids=["elu", "clip", "no axis", "updates"])
def test_an_op_says_what_it_cannot_take(call, sentence):
    with raises_sentence(ShapeError, sentence):
        call()


def test_a_window_that_fits_nowhere_pools_nothing_and_pulls_back_zeros():
    x = jnp.ones((1, 2, 2, 3))
    value, pull = jax.vjp(lambda x: ops.max_pool2d(x, window=3), x)
    assert value.shape == (1, 0, 0, 3)
    np.testing.assert_array_equal(pull(value)[0], jnp.zeros_like(x))
    np.testing.assert_array_equal(fg.vjp(lambda x: ops.max_pool2d(x, window=3), x)[1](value)[0], jnp.zeros_like(x))
