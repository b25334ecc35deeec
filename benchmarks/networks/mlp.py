"""A deep multilayer perceptron."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.networks.network import Draw, Network, plain_cross_entropy
from funcgrad import ops


def mlp(batch: int = 64, width: int = 256, depth: int = 64) -> Network:
    """`depth` layers of linear and ReLU; the last one's outputs are the logits."""
    draw = Draw()
    params = [{"w": draw.weight(width, width, gain=1.4), "b": jnp.zeros(width)} for _ in range(depth)]
    return Network("mlp", with_ops, plain, params, (draw.normal(batch, width), draw.integers(batch, below=10)))


def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    for p in params:
        x = ops.relu(ops.linear(x, p["w"], p["b"]))
    return ops.mean(ops.cross_entropy(x, labels))


def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    for p in params:
        x = jax.nn.relu(x @ p["w"] + p["b"])
    return plain_cross_entropy(x, labels)
