"""Single layers, each against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import ops
from funcgrad.layers import (
    avg_pool2d,
    chain,
    concatenate,
    conv2d,
    dropout,
    flatten,
    initializer,
    layer_norm,
    linear,
    max_pool2d,
)
from tests.raising import raises_sentence

KEY = jax.random.key(1)


def windows(x, size):
    """`x[n, h, w, c]` as `[n, h/size, size, w/size, size, c]`."""
    n, h, w, c = x.shape
    return x.reshape(n, h // size, size, w // size, size, c)


def test_linear(rng):
    x = rng.normal(size=(2, 3, 4))
    params, state = linear(5, b_init="ones").init(KEY, x)
    w, b = np.asarray(params["w"]), np.asarray(params["b"])
    assert state == {}
    assert w.shape == (4, 5)
    np.testing.assert_array_equal(b, np.ones(5))
    np.testing.assert_allclose(linear(5)(params, x), np.einsum("abi,ij->abj", x, w) + b, rtol=1e-12)


def test_linear_without_bias(rng):
    x = rng.normal(size=(3, 4))
    net = linear(5, use_bias=False)
    params, _ = net.init(KEY, x)
    assert set(params) == {"w"}
    np.testing.assert_allclose(net(params, x), x @ np.asarray(params["w"]), rtol=1e-12)


def test_conv2d(rng):
    x = rng.normal(size=(2, 5, 6, 3))
    net = conv2d(4, (2, 3), padding="VALID", b_init="ones")
    params, _ = net.init(KEY, x)
    w = np.asarray(params["w"])
    assert w.shape == (2, 3, 3, 4)
    patches = np.lib.stride_tricks.sliding_window_view(x, (2, 3), axis=(1, 2))  # [n, h', w', c, kh, kw]
    np.testing.assert_allclose(net(params, x), np.einsum("nhwcij,ijcf->nhwf", patches, w) + 1, rtol=1e-10)


def test_layer_norm(rng):
    x = rng.normal(size=(3, 8))
    net = layer_norm(eps=1e-3)
    params, _ = net.init(KEY, x)
    params = {"scale": 2 * params["scale"], "bias": params["bias"] + 1}
    expected = 2 * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-3) + 1
    np.testing.assert_allclose(net(params, x), expected, rtol=1e-10)


def test_pools(rng):
    x = rng.normal(size=(2, 4, 6, 3))
    np.testing.assert_allclose(max_pool2d(2)({}, x), windows(x, 2).max(axis=(2, 4)))
    np.testing.assert_allclose(avg_pool2d(2)({}, x), windows(x, 2).mean(axis=(2, 4)), rtol=1e-12)
    np.testing.assert_allclose(max_pool2d(2, stride=1)({}, x).shape, (2, 3, 5, 3))


def test_flatten(rng):
    x = rng.normal(size=(2, 3, 4))
    np.testing.assert_array_equal(flatten()({}, x), x.reshape(2, 12))
    np.testing.assert_array_equal(flatten(keep=0)({}, x), x.reshape(24))


def test_concatenate(rng):
    a, b, c = (rng.normal(size=(2, n)) for n in (1, 2, 3))
    np.testing.assert_array_equal(concatenate()({}, a, b, c), np.concatenate([a, b, c], axis=-1))


def test_dropout_is_the_identity_outside_training(rng):
    x = rng.normal(size=(5, 6))
    np.testing.assert_array_equal(dropout(0.5)({}, x), x)
    np.testing.assert_array_equal(dropout(0.0)({}, x, train=True), x)


def test_dropout_keeps_a_share_and_scales_it():
    y = np.asarray(dropout(0.25)({}, jnp.ones(20000), key=KEY, train=True))
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert abs((y == 0).mean() - 0.25) < 0.02


def test_dropouts_of_one_network_are_independent():
    net = chain(dropout(0.5), dropout(0.5))
    y = np.asarray(net({}, jnp.ones(20000), key=KEY, train=True))
    assert abs((y != 0).mean() - 0.25) < 0.02


@pytest.mark.parametrize("name", ["he_normal", "zeros", "ones", "glorot_uniform", "orthogonal"])
def test_initializers_are_those_of_jax(name):
    from jax.nn import initializers

    start = getattr(initializers, name)
    expected = (start if name in ("zeros", "ones") else start())(KEY, (4, 5), jnp.float64)
    np.testing.assert_array_equal(initializer(name)(KEY, (4, 5), jnp.float64), expected)


def test_initializer_options_and_functions(rng):
    x = rng.normal(size=(2, 3))
    std = 0.02
    params, _ = linear(2000, w_init=initializer("normal", stddev=std)).init(KEY, x)
    assert abs(np.std(params["w"]) - std) < std / 10
    filled, _ = linear(4, w_init=lambda key, shape, dtype: jnp.full(shape, 3, dtype)).init(KEY, x)
    np.testing.assert_array_equal(filled["w"], np.full((3, 4), 3.0))


@pytest.mark.parametrize(
    ("use", "kind", "sentence"),
    [
        (
            lambda x: chain(dropout(0.5))({}, x, train=True),
            fg.errors.GraphError,
            r"dropout0/dropout: train=True needs a random key, got None; pass key= to apply\.",
        ),
        (
            lambda x: chain(linear(3))({}, x),
            fg.errors.GraphError,
            r"linear0/linear: params must have 'w', got none; pass the params that init returned\.",
        ),
        (
            lambda x: chain(linear(3))({"linear0": {"kernel": x}}, x),
            fg.errors.GraphError,
            r"linear0/linear: params must have 'w', got kernel; pass the params that init returned\.",
        ),
        (
            lambda x: linear(3).init(KEY, (2, 3)),
            fg.errors.ShapeError,
            r"linear: init takes input specs with shape and dtype, got tuple; "
            r"pass an array or a jax\.ShapeDtypeStruct\.",
        ),
        (
            lambda x: chain(linear(3)).init(KEY, jnp.arange(3)),
            fg.errors.ShapeError,
            r"linear0/linear: the input must be floating, got i64\[3\]; convert it\.",
        ),
        (
            lambda x: conv2d(3, 3).init(KEY, x),
            fg.errors.ShapeError,
            r"conv2d: the input must have at least 3 axes, got f64\[2,3\]\.",
        ),
        (
            lambda x: chain(flatten(keep=3))({}, x),
            fg.errors.ShapeError,
            r"flatten0/flatten: the input must have at least keep=3 axes, got f64\[2,3\]\.",
        ),
        (
            lambda x: chain(a=linear(3))({"a": {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}}, x),
            fg.errors.ShapeError,
            r"a/linear: w must be \[3, m\] \(because of x: f64\[2,3\]\), got f64\[4,3\]\.",
        ),
        (
            lambda x: chain(linear(3), ops.add).init(KEY, x),
            fg.errors.ShapeError,
            r"add: takes 2 inputs, got 1\.",
        ),
        (
            lambda x: linear(3)({}, x, x),
            fg.errors.ShapeError,
            r"linear: takes 1 input, got 2\.",
        ),
    ],
)
def test_bad_use(use, kind, sentence, rng):
    with raises_sentence(kind, sentence):
        use(rng.normal(size=(2, 3)))
