"""Indexing: indices outside, repeated ones, dtypes, vmap, sharding, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.raising import raises_sentence

TABLE = np.random.default_rng(0).normal(size=(5, 3))
OUTSIDE = np.array([1, -1, 5, 1])


@pytest.mark.parametrize(
    "read",
    [
        ops.embedding,
        lambda x, i: ops.take(x, i, axis=0),
        lambda x, i: ops.take_along_axis(x, jnp.broadcast_to(i[:, None], (4, 3)), axis=0),
    ],
)
def test_outside_is_nan_and_has_no_gradient(read):
    y, pull = jax.vjp(lambda t: read(t, OUTSIDE), TABLE)
    np.testing.assert_array_equal(np.isnan(y), [[False] * 3, [True] * 3, [True] * 3, [False] * 3])
    expected = np.zeros((5, 3))
    expected[1] = 2
    np.testing.assert_array_equal(pull(jnp.ones((4, 3)))[0], expected)


def test_added_outside_is_dropped():
    y, pull = jax.vjp(lambda u: ops.scatter_add(jnp.zeros((5, 3)), OUTSIDE, u), np.ones((4, 3)))
    np.testing.assert_array_equal(y.sum(1), [0, 6, 0, 0, 0])
    np.testing.assert_array_equal(pull(jnp.ones((5, 3)))[0].sum(1), [3, 0, 0, 3])


def test_small_integers_reach_every_row():
    table = np.arange(200.0)[:, None]
    np.testing.assert_array_equal(ops.embedding(table, np.array([150], np.uint8)), [[150.0]])
    along = ops.take_along_axis(np.arange(300.0), np.array([-3, 7], np.int8), axis=0)
    np.testing.assert_array_equal(along, [np.nan, 7])


def test_integers_are_read_as_numpy_reads_them():
    x, i = np.arange(12).reshape(3, 4), np.array([[0, 2], [1, 1]])
    np.testing.assert_array_equal(ops.take(x, i, axis=-1), np.take(x, i, axis=-1))
    np.testing.assert_array_equal(ops.take_along_axis(x, i[:1], axis=1), np.take_along_axis(x, i[:1], axis=1))


@pytest.mark.parametrize("op", ["embedding", "take", "take_along_axis", "scatter_add"])
def test_repeated_indices_are_summed_in_float32(op):
    # Adding ones one by one in bfloat16 stops at 256.
    n, ones = 1000, jnp.ones((1000, 1), jnp.bfloat16)
    i, x = jnp.zeros(n, jnp.int32), jnp.zeros((2, 1), jnp.bfloat16)
    functions = {
        "embedding": lambda x: ops.embedding(x, i),
        "take": lambda x: ops.take(x, i, axis=0),
        "take_along_axis": lambda x: ops.take_along_axis(x, i[:, None], axis=0),
    }
    if op == "scatter_add":
        found = ops.scatter_add(x, i, ones)
    else:
        (found,) = jax.vjp(functions[op], x)[1](ones)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found.astype(np.float32)[:, 0], [1000, 0])


def test_embedding_tied_to_the_output_projection():
    ids = np.array([[1, 2, 1], [4, 0, 1]])

    def loss(read, project):
        return jnp.sum(jnp.sin(ops.linear(jnp.tanh(ops.embedding(read, ids)), project.T)))

    terms = jax.grad(loss, (0, 1))(TABLE, TABLE)
    tied = fg.grad(lambda t: loss(t, t))(TABLE)
    np.testing.assert_allclose(tied, terms[0] + terms[1], rtol=1e-12)


def test_a_vmap_over_ids_leaves_one_sum():
    ids = jnp.zeros((7, 4), jnp.int32)

    def gradient(table):
        return jax.grad(lambda t: jnp.sum(jax.vmap(ops.embedding, (None, 0))(t, ids)))(table)

    assert "f64[7,5,3]" not in str(jax.make_jaxpr(gradient)(TABLE))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: ops.embedding(TABLE, np.ones(2)),
            r"embedding: cannot take table: f64\[5,3\], ids: f64\[2\]; ids must be integers, got float64\.",
        ),
        (
            lambda: ops.embedding(TABLE[0], np.array(1)),
            r"embedding: table must be \[n, d\], got f64\[3\]\.",
        ),
        (
            lambda: ops.take(TABLE, OUTSIDE, axis=2),
            r"take: cannot take x: f64\[5,3\], indices: i64\[4\]; axis must be one of the 2 axes of x, got 2\.",
        ),
        (
            lambda: ops.take_along_axis(TABLE, OUTSIDE, axis=0),
            r"take_along_axis: cannot take x: f64\[5,3\], indices: i64\[4\]; "
            r"indices must have as many axes as x, 2, got 1\.",
        ),
        (
            lambda: ops.scatter_add(TABLE, OUTSIDE, TABLE),
            r"scatter_add: cannot take x: f64\[5,3\], indices: i64\[4\], updates: f64\[5,3\]; "
            r"updates must be \[4, 3\], a slice of x for every index\.",
        ),
        (
            lambda: ops.scatter_add(TABLE[0, 0], OUTSIDE, TABLE),
            r"scatter_add: cannot take x: f64\[\], indices: i64\[4\], updates: f64\[5,3\]; "
            r"x must have an axis to index\.",
        ),
    ],
)
def test_errors(call, sentence):
    with raises_sentence(ShapeError, sentence):
        call()
