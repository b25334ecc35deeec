"""A deep residual network of layer norm, linear and GELU."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.networks.network import Draw, Network, plain_cross_entropy, plain_layer_norm
from funcgrad import ops


def residual(batch: int = 64, width: int = 256, depth: int = 64) -> Network:
    """`depth` blocks `x + gelu(linear(layer_norm(x)))`."""
    draw = Draw()
    params = [
        {"s": jnp.ones(width), "c": jnp.zeros(width), "w": draw.weight(width, width), "b": jnp.zeros(width)}
        for _ in range(depth)
    ]
    return Network("residual", with_ops, plain, params, (draw.normal(batch, width), draw.integers(batch, below=10)))


def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    for p in params:
        x = x + ops.gelu(ops.linear(ops.layer_norm(x, p["s"], p["c"]), p["w"], p["b"]))
    return ops.mean(ops.cross_entropy(x, labels))


def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    for p in params:
        x = x + jax.nn.gelu(plain_layer_norm(x, p["s"], p["c"]) @ p["w"] + p["b"])
    return plain_cross_entropy(x, labels)
