"""A vision transformer: 4x4 patches, learned positions, the mean over patches. Source: Dosovitskiy et al. 2021."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.networks.blocks import block, draw_block, draw_norm, plain_block
from benchmarks.networks.network import Draw, Network, plain_cross_entropy, plain_layer_norm
from funcgrad import ops

HEAD, PATCH = 32, 4
"""Width of a head, and of a patch."""


def vit(batch: int = 16, size: int = 32, width: int = 192, depth: int = 6) -> Network:
    """Classify images."""
    draw = Draw()
    params = {
        "patch": {"kernel": draw.weight(PATCH, PATCH, 3, width), "b": jnp.zeros(width)},
        "positions": draw.normal((size // PATCH) ** 2, width) * 0.02,
        "blocks": [draw_block(draw, width) for _ in range(depth)],
        "norm": draw_norm(width),
        "out": {"w": draw.weight(width, 10), "b": jnp.zeros(10)},
    }
    images = draw.normal(batch, size, size, 3)
    return Network("vit", with_ops, plain, params, (images, draw.integers(batch, below=10)))


def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    x = ops.conv2d(x, params["patch"]["kernel"], params["patch"]["b"], stride=PATCH, padding="VALID")
    x = x.reshape(len(x), -1, x.shape[-1]) + params["positions"]
    for p in params["blocks"]:
        x = block(p, x, x.shape[-1] // HEAD, causal=False)
    x = ops.layer_norm(x, params["norm"]["scale"], params["norm"]["bias"])
    logits = ops.linear(ops.mean(x, axis=1), params["out"]["w"], params["out"]["b"])
    return ops.mean(ops.cross_entropy(logits, labels))


def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    kernel = params["patch"]["kernel"]
    x = lax.conv_general_dilated(x, kernel, (PATCH, PATCH), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    x = (x + params["patch"]["b"]).reshape(len(x), -1, x.shape[-1]) + params["positions"]
    for p in params["blocks"]:
        x = plain_block(p, x, x.shape[-1] // HEAD, causal=False)
    x = plain_layer_norm(x, params["norm"]["scale"], params["norm"]["bias"])
    return plain_cross_entropy(x.mean(1) @ params["out"]["w"] + params["out"]["b"], labels)
