"""Layers that make and read tokens, against numpy by hand."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.errors import ShapeError
from funcgrad.layers import class_token, patches, position_embedding, select, unembed
from tests.raising import raises_sentence

KEY = jax.random.key(0)


def test_patches_are_a_convolution_of_their_own_stride(rng):
    x = jnp.asarray(rng.normal(size=(2, 6, 9, 2)))
    layer = patches(5, 3)
    params, _ = layer.init(KEY, x)
    kernel = params["w"].reshape(3, 3, 2, 5)
    expected = jax.lax.conv_general_dilated(x, kernel, (3, 3), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    np.testing.assert_allclose(layer(params, x), expected.reshape(2, 6, 5), rtol=1e-12)


def test_patches_must_tile():
    with raises_sentence(
        ShapeError, re.escape("patches: patches of 4 must tile the image, got f64[1,6,8,1]; resize it.")
    ):
        layer = patches(5, 4)
        layer.init(KEY, jnp.ones((1, 8, 8, 1)))
        layer.forward({}, jnp.ones((1, 6, 8, 1)))


def test_class_token_and_positions(rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 4)))
    params, _ = class_token().init(KEY, x)
    longer = class_token()(params, x)
    np.testing.assert_array_equal(longer[:, 1:], x)
    np.testing.assert_array_equal(longer[:, 0], np.broadcast_to(params["token"], (2, 4)))
    positions = position_embedding()
    params, _ = positions.init(KEY, x)
    np.testing.assert_array_equal(positions(params, x[:, :2]), x[:, :2] + params["table"][None, :2])
    with raises_sentence(
        ShapeError,
        re.escape(
            "position_embedding: there are positions for 3 tokens, got f64[2,4,4]; init it at the longest sequence."
        ),
    ):
        positions(params, longer)


def test_select(rng):
    x = jnp.asarray(rng.normal(size=(2, 3, 4)))
    np.testing.assert_array_equal(select(0)({}, x), x[:, 0])
    np.testing.assert_array_equal(select(-1, axis=0)({}, x), x[-1])
    with raises_sentence(ShapeError, re.escape("select: there is no entry 3 along axis -2 of f64[2,3,4].")):
        select(3)({}, x)


def test_unembed(rng):
    table, x = jnp.asarray(rng.normal(size=(7, 4))), jnp.asarray(rng.normal(size=(2, 3, 4)))
    np.testing.assert_allclose(unembed({"table": table}, x), np.asarray(x) @ np.asarray(table).T, rtol=1e-12)
