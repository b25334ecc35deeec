"""Pooling's own behaviour: ties, padding, what is kept, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from tests.raising import raises_sentence

X = jnp.ones((1, 4, 4, 1))


def winners(pool, x, **attributes):
    """Where the cotangents of the maxima go, each of them 1."""
    return np.asarray(jax.grad(lambda x: jnp.sum(pool(x, **attributes)))(jnp.asarray(x)))


@pytest.mark.parametrize("k", [3, 10], ids=["in one pass", "in a loop"])
def test_the_first_maximum_in_row_major_order_wins(k, rng):
    x = rng.integers(0, 3, size=(k + 4, k + 3))
    found = winners(ops.max_pool2d, x[..., None].astype(float), window=k, stride=2)[..., 0]
    expected = np.zeros_like(found)
    for i in range(0, 5, 2):
        for j in range(0, 4, 2):
            u, v = np.unravel_index(np.argmax(x[i : i + k, j : j + k]), (k, k))
            expected[i + u, j + v] += 1
    np.testing.assert_array_equal(found, expected)


def test_the_first_maximum_of_a_volume_wins(rng):
    x = rng.integers(0, 3, size=(4, 4, 4)).astype(float)
    found = winners(ops.max_pool3d, x[..., None], window=2)[..., 0]
    for corner in np.ndindex(2, 2, 2):
        block = tuple(slice(2 * c, 2 * c + 2) for c in corner)
        assert np.argmax(found[block]) == np.argmax(x[block])
        assert found[block].sum() == 1
    image = winners(ops.global_max_pool, x[..., None], dims=3)
    assert np.argmax(image) == np.argmax(x)
    assert image.sum() == 1


def test_padding_never_wins():
    x = -jnp.ones((3, 3, 1))
    found = ops.max_pool2d(x, window=3, stride=2, padding="SAME")
    np.testing.assert_array_equal(found, -np.ones((2, 2, 1)))
    assert winners(ops.max_pool2d, x, window=3, stride=2, padding="SAME").sum() == 4


def test_a_mean_counts_padding_or_not():
    x = jnp.ones((3, 1))
    attributes = {"window": 2, "stride": 1, "padding": ((2, 1),)}
    np.testing.assert_array_equal(ops.avg_pool1d(x, **attributes)[:, 0], [0, 0.5, 1, 1, 0.5])
    np.testing.assert_array_equal(ops.avg_pool1d(x, **attributes, count_padding=False)[:, 0], [0, 1, 1, 1, 1])


def test_a_mean_of_many_halves_is_summed_in_float32():
    x = jnp.full((64, 64, 1), 1.0078125, jnp.bfloat16)
    for mean in (ops.avg_pool2d(x, window=64), ops.global_avg_pool(x)):
        assert mean.dtype == jnp.bfloat16
        np.testing.assert_array_equal(mean.astype(float), np.full(mean.shape, 1.0078125))


@pytest.mark.parametrize(("window", "kept"), [(2, np.uint8), (15, np.uint8), (16, np.int32)])
def test_only_the_places_are_kept(window, kept):
    x = jnp.zeros((32, 32, 3), jnp.float32)
    y, saved = ops.max_pool2d.saving_function(x, window=window, stride=None, padding="VALID")
    assert saved["place"].dtype == kept
    assert saved["place"].shape == y.shape


@pytest.mark.parametrize(
    ("padding", "pairs"), [(1, ((1, 1), (1, 1))), ((0, 1), ((0, 0), (1, 1))), ((1, (0, 1)), ((1, 1), (0, 1)))]
)
def test_padding_by_numbers(padding, pairs, rng):
    x, kernel = rng.normal(size=(1, 4, 5, 2)), rng.normal(size=(2, 2, 2, 3))
    calls = [
        lambda x, p: ops.max_pool2d(x, window=2, stride=1, padding=p),
        lambda x, p: ops.avg_pool2d(x, window=2, padding=p, count_padding=False),
        lambda x, p: ops.conv2d(x, kernel, padding=p),
        lambda x, p: ops.conv_transpose2d(x, kernel, stride=2, padding=p),
    ]
    for call in calls:
        found, expected = (jax.vjp(lambda x: call(x, p), x) for p in (padding, pairs))  # noqa: B023
        np.testing.assert_array_equal(found[0], expected[0])
        g = jnp.asarray(rng.normal(size=found[0].shape))
        np.testing.assert_array_equal(found[1](g)[0], expected[1](g)[0])


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda: ops.max_pool2d(X, window=(2, 2, 2)),
         r"max_pool2d: cannot take x: f64\[1,4,4,1\]; window must be a number of at least 1 or 2 of them, "
         r"got \(2, 2, 2\)\."),
        (lambda: ops.avg_pool1d(X, window=0),
         r"avg_pool1d: cannot take x: f64\[1,4,4,1\]; window must be a number of at least 1, got 0\."),
        (lambda: ops.avg_pool3d(X, window=2, padding="FULL"),
         r"avg_pool3d: cannot take x: f64\[1,4,4,1\]; padding must be 'SAME', 'VALID', a number or "
         r"\(\(front, back\), \(top, bottom\), \(left, right\)\), got 'FULL'\."),
        (lambda: ops.max_pool2d(X, window=2, padding=(1, 1, 1)),
         r"max_pool2d: cannot take x: f64\[1,4,4,1\]; padding must be 'SAME', 'VALID', a number or "
         r"\(\(top, bottom\), \(left, right\)\), got \(1, 1, 1\)\."),
        (lambda: ops.global_avg_pool(X, dims=4),
         r"global_avg_pool: cannot take x: f64\[1,4,4,1\]; x must have 4 image axes and a channel axis; "
         r"say how many with dims=\."),
        (lambda: ops.global_max_pool(X[:, :0]),
         r"global_max_pool: cannot take x: f64\[1,0,4,1\]; the image must not be empty, got \(0, 4\)\."),
    ],
)  # fmt: skip
def test_bad_arguments(use, sentence):
    with raises_sentence(fg.errors.ShapeError, sentence):
        use()
