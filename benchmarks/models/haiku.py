"""A perceptron in Haiku."""

from typing import Any

import haiku as hk
import jax
import optax

from benchmarks.models.model import Model, integers, normal


def mlp(batch: int = 256, width: int = 256, depth: int = 16) -> Model:
    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([width] * depth)(x)))
    x = normal(0, batch, width)

    def loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net.apply(params, x), labels).mean()

    return Model("haiku mlp", loss, net.init(jax.random.key(0), x), (x, integers(1, batch, below=width)))
