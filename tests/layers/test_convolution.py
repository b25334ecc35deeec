"""Convolutions and pools as layers: shapes of their parameters, and that their fields reach the op."""

import jax
import numpy as np
import pytest

import funcgrad as fg
from funcgrad import layers, ops
from tests.raising import raises_sentence

KEY = jax.random.key(3)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolutions(axes, rng):
    x = rng.normal(size=(2, *(5, 4, 3)[:axes], 4))
    fields = {"stride": 2, "padding": ((1, 0),) * axes, "dilation": 2, "groups": 2}
    for kind, more in (("conv", {}), ("conv_transpose", {"output_padding": 1})):
        net = getattr(layers, f"{kind}{axes}d")(6, 2, **fields, **more, b_init="ones")
        params, _ = net.init(KEY, x)
        assert params["w"].shape == (2,) * axes + (2, 6)
        expected = getattr(ops, f"{kind}{axes}d")(x, params["w"], params["b"], **fields, **more)
        np.testing.assert_array_equal(net(params, x), expected)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_pools(axes, rng):
    x = rng.normal(size=(2, *(5, 4, 3)[:axes], 4))
    fields = {"window": 2, "stride": 1, "padding": "SAME"}
    for kind, more in (("max", {}), ("avg", {"count_padding": False})):
        net = getattr(layers, f"{kind}_pool{axes}d")(**fields, **more)
        np.testing.assert_array_equal(net({}, x), getattr(ops, f"{kind}_pool{axes}d")(x, **fields, **more))
    image = tuple(range(1, axes + 1))
    np.testing.assert_array_equal(layers.global_max_pool(axes)({}, x), x.max(image))
    np.testing.assert_allclose(layers.global_avg_pool(axes)({}, x), x.mean(image), rtol=1e-12)


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (layers.conv3d(2, 3), r"conv3d: the input must have at least 4 axes, got f64\[5,4,3\]\."),
        (layers.conv1d(2, (3, 3)), r"conv1d: window must be a number of at least 1, got \(3, 3\)\."),
        (layers.conv1d(4, 3, groups=2), r"conv1d: groups must divide the input's channels, 3, got 2\."),
    ],
)
def test_bad_fields(net, sentence, rng):
    with raises_sentence(fg.errors.ShapeError, sentence):
        net.init(KEY, rng.normal(size=(5, 4, 3)))
