"""How an op's results are cut, told by its declaration; what is left to JAX, and what JAX leaves open."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import funcgrad as fg
from funcgrad import ops
from funcgrad.errors import ShapeError
from tests.raising import raises_sentence


@pytest.fixture
def place():
    mesh = jax.make_mesh((4,), ("d",))
    with jax.set_mesh(mesh):
        yield lambda shape, *axes: jax.device_put(jnp.ones(shape), NamedSharding(mesh, P(*axes)))


def spec(x):
    return jax.typeof(x).sharding.spec


@pytest.mark.parametrize(
    ("shapes", "axes", "expected"),
    [
        (((4, 3), (3,)), (("d",), ()), P("d", None)),
        (((4, 3), (4, 1)), ((), ("d",)), P("d", None)),
        (((2, 4, 3), (4, 3)), ((), ("d",)), P(None, "d", None)),
        (((4, 4), (4, 4)), (("d",), (None, "d")), P("d", None)),
    ],
)
def test_elementwise_ops_follow_what_is_broadcast(place, shapes, axes, expected):
    with jax.numpy_rank_promotion("allow"):
        assert spec(ops.maximum(*(place(s, *a) for s, a in zip(shapes, axes, strict=True)))) == expected


def test_leading_axes_are_those_of_the_result(place):
    assert spec(ops.linear(place((4, 2, 3), "d"), place((3, 5)))) == P("d", None, None)
    y = ops.rnn(place((4, 6, 2), "d"), place((4, 3)), place((2, 3)), place((3, 3)), place((3,)))
    assert spec(y) == P("d", None, None)
    assert spec(ops.linear(place((2, 3)), place((3, 4), None, "d"))) == P(None, "d")  # JAX's own type


def test_axes_of_vmap_are_in_front(place):
    logits, labels = place((2, 4, 5), None, "d"), jnp.zeros((2, 4), int)
    assert spec(jax.vmap(ops.cross_entropy)(logits, labels)) == P(None, "d")
    assert spec(jax.vmap(ops.softmax)(place((4, 2, 5), "d"))) == P("d", None, None)

    x, w = place((2, 4, 3), None, "d"), place((2, 3, 5))  # a batch of w is no axis more of x's
    assert spec(jax.vmap(ops.linear)(x, w)) == P(None, "d", None)


def test_what_is_saved_of_a_parameter_alone_is_whole(place):
    @fg.op(name="scaled_by_saved", elementwise=True, replace=True)
    def scaled(x, w):
        return x * jnp.exp(w)

    @scaled.saving("e")
    def scaled_saving(x, w):
        e = jnp.exp(w)
        return x * e, {"e": e}

    scaled.pullback("x")(lambda g, e: g * e)
    scaled.pullback("w")(lambda g, x, e: g * x * e)
    with jax.numpy_rank_promotion("allow"):
        found = jax.grad(lambda x, w: scaled(x, w).sum(), (0, 1))(place((4, 3), "d"), place((3,)))
    assert [spec(x) for x in found] == [P("d", None), P(None)]
    np.testing.assert_allclose(found[1], 4 * np.exp(np.ones(3)), rtol=1e-14)


def test_core_axes_that_are_cut_are_left_to_jax(place):
    assert spec(ops.matmul(place((2, 3)), place((3, 4), None, "d"))) == P(None, "d")


@pytest.mark.parametrize(
    ("shape", "new", "axes", "expected"),
    [
        ((8, 6), (4, 2, 6), ("d",), P("d", None, None)),
        ((4, 2, 6), (8, 6), ("d",), P("d", None)),
        ((2, 4, 6), (2, 4, 3, 2), (None, "d"), P(None, "d", None, None)),
        ((3, 2, 4), (6, 4), (None, None, "d"), P(None, "d")),
        ((2, 8, 3), (2, -1, 2, 3), (None, "d"), P(None, "d", None, None)),
    ],
)
def test_reshape_keeps_the_entries_of_a_device(place, shape, new, axes, expected):
    assert spec(ops.reshape(place(shape, *axes), shape=new)) == expected


def test_what_jax_leaves_open(place):
    sentence = (
        r"conv2d: cannot take x: f64\[4,8,8,3\], kernel: f64\[4,4,3,5\] cut P\('d', None, None, None\), because JAX "
        r"leaves open how the result is cut; make whole with jax\.reshard what is cut along other axes than the batch\."
    )
    with raises_sentence(ShapeError, sentence):
        ops.conv2d(place((4, 8, 8, 3)), place((4, 4, 3, 5), "d"))
    with raises_sentence(ShapeError, r"reshape: cannot take x: f64\[4,6\] cut P\('d', None\), because JAX leaves .*"):
        ops.reshape(place((4, 6), "d"), shape=(3, 8))
