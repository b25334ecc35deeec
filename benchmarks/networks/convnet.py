"""A small convolutional network with max pooling."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.networks.network import Draw, Network, plain_cross_entropy
from funcgrad import ops


def convnet(batch: int = 32, size: int = 32, width: int = 32) -> Network:
    """Three times convolution, ReLU and 2x2 max pooling; then two linear layers."""
    draw, flat = Draw(), 2 * width * (size // 8) ** 2
    params = {
        "kernels": [draw.weight(3, 3, i, o) for i, o in ((3, width), (width, 2 * width), (2 * width, 2 * width))],
        "w": draw.weight(flat, 128),
        "out": draw.weight(128, 10),
    }
    images = draw.normal(batch, size, size, 3)
    return Network("convnet", with_ops, plain, params, (images, draw.integers(batch, below=10)))


def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    for k in params["kernels"]:
        x = ops.max_pool2d(ops.relu(ops.conv2d(x, k)), window=2)
    x = ops.relu(ops.linear(x.reshape(len(x), -1), params["w"]))
    return ops.mean(ops.cross_entropy(ops.linear(x, params["out"]), labels))


def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    for k in params["kernels"]:
        x = lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = lax.reduce_window(jax.nn.relu(x), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = jax.nn.relu(x.reshape(len(x), -1) @ params["w"])
    return plain_cross_entropy(x @ params["out"], labels)
