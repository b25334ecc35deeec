"""The embedding layer, and its table tied to the output projection."""

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg
from funcgrad import layers, ops
from funcgrad.errors import ShapeError
from funcgrad.layers import chain, dag, embedding, linear, node, parametric
from tests.raising import raises_sentence

KEY = jax.random.key(5)
IDS = np.array([[1, 6, 1], [0, 2, 6]])


def test_rows_of_the_table():
    net = chain(embedding(7, 3, dtype="float64"), linear(2))
    params, state = net.init(KEY, IDS)
    table = params["embedding0"]["table"]
    assert (table.shape, table.dtype, state) == ((7, 3), jnp.float64, {})
    np.testing.assert_array_equal(embedding(7, 3)({"table": table}, IDS), np.asarray(table)[IDS])
    assert eval(repr(net), vars(layers)) == net


def test_start():
    params, _ = embedding(500, 40).init(KEY, IDS)
    assert params["table"].dtype == jnp.float32
    assert abs(float(jnp.std(params["table"])) - 0.02) < 1e-3


def test_a_tied_projection_adds_its_gradient():
    def project(params, h):
        return ops.linear(h, ops.transpose(params["table"]))

    net = dag(
        "ids",
        h=node(embedding(7, 3, dtype="float64"), "ids", params="table"),
        mixed=node(jnp.tanh, "h"),
        logits=node(parametric(project), "mixed", params="table"),
    )
    params, _ = net.init(KEY, IDS)
    assert set(params) == {"table"}
    found = fg.grad(lambda p: jnp.sum(jnp.sin(net(p, IDS))))(params)["table"]["table"]
    expected = jax.grad(lambda t: jnp.sum(jnp.sin(jnp.tanh(t[IDS]) @ t.T)))(params["table"]["table"])
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_ids_must_be_integers():
    with raises_sentence(
        ShapeError,
        r"embedding0/embedding: cannot take table: f32\[7,3\], ids: f64\[2\]; ids must be integers, got float64\.",
    ):
        chain(embedding(7, 3)).init(KEY, jnp.ones(2))
