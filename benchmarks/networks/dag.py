"""The lecture's graph: a skip connection and a shared parameter."""

from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.networks.network import Draw, Network, plain_cross_entropy
from funcgrad import ops


def dag(batch: int = 64, width: int = 256) -> Network:
    """x1 = tanh(x w1), x2 = relu((x1 + x) w2), x3 = relu((x1 + x2) w1)."""
    draw = Draw()
    params = {"w1": draw.weight(width, width), "w2": draw.weight(width, width), "out": draw.weight(width, 10)}
    return Network("dag", with_ops, plain, params, (draw.normal(batch, width), draw.integers(batch, below=10)))


def with_ops(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    x1 = ops.tanh(ops.linear(x, params["w1"]))
    x2 = ops.relu(ops.linear(x1 + x, params["w2"]))
    x3 = ops.relu(ops.linear(x1 + x2, params["w1"]))
    return ops.mean(ops.cross_entropy(ops.linear(x3, params["out"]), labels))


def plain(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
    x1 = jnp.tanh(x @ params["w1"])
    x2 = jax.nn.relu((x1 + x) @ params["w2"])
    x3 = jax.nn.relu((x1 + x2) @ params["w1"])
    return plain_cross_entropy(x3 @ params["out"], labels)
