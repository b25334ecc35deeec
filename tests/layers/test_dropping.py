"""Stochastic depth; dropout is tested with the other single layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcgrad import ops
from funcgrad.errors import GraphError, ShapeError
from funcgrad.layers import chain, drop_path, linear, residual
from tests.raising import raises_sentence

KEY = jax.random.key(2)


def test_whole_examples_are_dropped_and_the_others_scaled():
    y = np.asarray(drop_path(0.25)({}, jnp.ones((20000, 2, 3)), key=KEY, train=True))
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert (y == y[:, :1, :1]).all()
    assert abs((y == 0).mean() - 0.25) < 0.02


def test_a_dropped_example_skips_the_body(rng):
    x = rng.normal(size=(50, 4))
    net = residual(chain(linear(4), drop_path(0.5)))
    params, _ = net.init(KEY, x)
    np.testing.assert_allclose(net(params, x), x + linear(4)(params["body"]["linear0"], x), rtol=1e-12)
    y = np.asarray(net(params, x, key=KEY, train=True))
    skipped = (y == x).all(1)
    assert 10 < skipped.sum() < 40
    expected = x + 2 * np.asarray(linear(4)(params["body"]["linear0"], x))
    np.testing.assert_allclose(y[~skipped], expected[~skipped], rtol=1e-10)


def test_the_bits_are_made_again_from_the_key():
    assert set(ops.drop_path.rules["x"].needs) == {"g", "key", "rate"}


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (lambda: drop_path(1.0), GraphError, r"drop_path: rate must be in \[0, 1\), got 1\.0\."),
        (
            lambda: drop_path(0.5)({}, jnp.ones((2, 3)), train=True),
            GraphError,
            r"drop_path: train=True needs a random key, got None; pass key= to apply\.",
        ),
        (
            lambda: ops.drop_path(jnp.ones(()), KEY, rate=0.5),
            ShapeError,
            r"drop_path: cannot take x: f64\[\], key: key<fry>\[\]; x must be \[b, \.\.\.\], "
            r"with an axis of examples\.",
        ),
    ],
)
def test_errors(call, kind, sentence):
    with raises_sentence(kind, sentence):
        call()
