"""Calls of a network as people first write them: each is taken, or told in one sentence what it lacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcgrad import ops
from funcgrad.errors import GraphError, ShapeError
from funcgrad.layers import (
    batch_norm,
    chain,
    class_token,
    conv2d,
    conv3d,
    dag,
    dropout,
    flatten,
    layer_norm,
    linear,
    lstm_cell,
    mixed,
    node,
    parallel,
    parametric,
    recurrent,
    repeat,
    residual,
)
from tests.raising import raises_sentence

X = np.ones((4, 3))
KEY = jax.random.key(0)
NETS = {
    "chain": chain(linear(3), ops.relu),
    "parallel": parallel(linear(3), linear(2)),
    "residual": residual(linear(3)),
    "repeat": repeat(linear(3), 2),
    "dag": dag("x", y=node(linear(3), "x")),
    "mixed": mixed(chain(linear(3))),
    "linear": linear(3),
}


@pytest.mark.parametrize("name", NETS)
def test_without_parameters(name):
    sentence = (
        rf"{name}: net\(params, x\) takes the parameters first, got f64\[4,3\] alone; params, state = net\.init\(key, "
        r"x\) makes them\."
    )
    with raises_sentence(GraphError, sentence):
        NETS[name](X)


def test_a_network_that_takes_no_input_is_called_with_parameters_alone():
    assert parametric(lambda w: 2 * w)(jnp.array(3.0)) == 6


ORDER = r" must be a mapping such as init returned, got f64\[4,3\]; the order is net\(params, \*inputs\), "
ORDER += r"net\.apply\(params, state, \*inputs\)\."


@pytest.mark.parametrize("name", ["chain", "parallel", "dag"])
def test_arguments_in_another_order(name):
    net = NETS[name]
    params, _ = net.init(KEY, X)
    with raises_sentence(GraphError, rf"{name}: params" + ORDER):
        net(X, params)
    with raises_sentence(GraphError, rf"{name}: state" + ORDER):
        net.apply(params, X, X)


def test_apply_without_a_state():
    params, _ = linear(3).init(KEY, X)
    with raises_sentence(ShapeError, r"linear: takes 1 input, got 0\."):
        linear(3).apply(params, X)


@pytest.mark.parametrize(
    ("net", "where"),
    [
        (chain(linear(2)), "linear0/linear"),
        (linear(2), "linear"),
        (chain(ops.relu), "relu"),
        (flatten(), "flatten"),
        (layer_norm(), "layer_norm"),
        (dag("x", y=node(ops.relu, "x")), "y/relu"),
    ],
)
@pytest.mark.parametrize("x", [[[1.0, 2.0, 3.0]], [(1, 2), (3, 4)], (1.0, 2.0)])
def test_lists_where_arrays_belong(net, where, x):
    with raises_sentence(ShapeError, rf"{where}: inputs must be arrays, got a {type(x).__name__}; use jnp\.asarray\."):
        net({}, x)


def test_tuples_of_arrays_are_inputs_like_others():
    cell = recurrent(lstm_cell(2))
    x, carry = jnp.ones((1, 3, 2)), (jnp.zeros((1, 2)), jnp.zeros((1, 2)))
    params, _ = cell.init(KEY, x)
    np.testing.assert_array_equal(cell(params, x, carry), cell(params, x))


@pytest.mark.parametrize(
    "layer",
    [chain(linear(3)), linear(3), recurrent(lstm_cell(3)), class_token(), repeat(linear(3), 2), batch_norm()],
    ids=repr,
)
def test_integers_are_keys(layer):
    jax.tree.map(np.testing.assert_array_equal, layer.init(3, X), layer.init(jax.random.key(3), X))


def test_an_integer_is_the_key_of_a_dropout():
    net = chain(dropout(0.5))
    found, expected = (net.apply({}, {}, X, key=key, train=True)[0] for key in (3, jax.random.key(3)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["bf16", "bfloat16", jnp.bfloat16, np.dtype("bfloat16"), " bf16 "])
def test_a_dtype_is_a_policy(dtype):
    assert mixed(linear(3), dtype) == mixed(linear(3), "compute=bfloat16")
    assert mixed(linear(3), "f16").policy.compute == "float16"


@pytest.mark.parametrize("dtype", ["bf17", jnp.int32, 16])
def test_what_is_no_dtype_is_no_policy(dtype):
    with raises_sentence(GraphError, r"Policy: compute must be a floating dtype such as 'bfloat16', got .*\."):
        mixed(linear(3), dtype)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (conv2d(8, 3), (2, 3, 32, 32)),
        (conv2d(8, 5), (2, 1, 28, 28)),
        (chain(conv2d(8, 3)), (2, 3, 8, 8)),
        (conv3d(8, 3), (2, 1, 16, 16, 16)),
    ],
)
def test_images_with_channels_first(layer, shape):
    where, found = type(layer).__name__, ",".join(map(str, shape))
    where = "conv2d0/conv2d" if where == "chain" else where
    sentence = (
        rf"{where}: images must have their channels last, got f32\[{found}\]; transpose them \(should they be "
        rf"{shape[1]} high with {shape[-1]} channels, init at another width\)\."
    )
    with raises_sentence(ShapeError, sentence):
        layer.init(KEY, jax.ShapeDtypeStruct(shape, jnp.float32))


@pytest.mark.parametrize(
    "shape", [(2, 32, 32, 3), (2, 3, 16, 32), (2, 3, 3, 3), (2, 16, 16, 16), (3, 32, 32), (8, 1, 1, 1)]
)
def test_images_that_may_be_meant_so(shape):
    params, _ = conv2d(2, 1).init(KEY, jax.ShapeDtypeStruct(shape, jnp.float32))
    assert params["w"].shape == (1, 1, shape[-1], 2)
