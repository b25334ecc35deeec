"""A perceptron in Flax Linen."""

from typing import Any

import jax
import optax
from flax import linen

from benchmarks.models.model import Model, integers, normal


class Mlp(linen.Module):
    width: int
    depth: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(self.depth - 1):
            x = linen.relu(linen.Dense(self.width)(x))
        return linen.Dense(self.width)(x)


def mlp(batch: int = 256, width: int = 256, depth: int = 16) -> Model:
    net, x = Mlp(width, depth), normal(0, batch, width)

    def loss(params: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(net.apply({"params": params}, x), labels).mean()

    params = net.init(jax.random.key(0), x)["params"]
    return Model("linen mlp", loss, params, (x, integers(1, batch, below=width)))
