"""Models in Equinox: perceptron, convnet, vision transformer, a neural ODE, and a GAN with its two losses."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from equinox import nn

from benchmarks.models.model import Model, integers, normal
from benchmarks.peers.equinox_nn import Convnet, ViT

KEYS = jax.random.split(jax.random.key(0), 4)


def cross_entropy(model: Callable[..., Any], x: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), labels).mean()


def _model(
    name: str, loss: Callable[..., Any], model: Any, *batch: Any, more: Callable[..., Any] | None = None
) -> Model:
    return Model(
        f"equinox {name}",
        loss,
        model,
        batch,
        value_and_grad=eqx.filter_value_and_grad,
        arrays=lambda model: eqx.filter(model, eqx.is_array),
        rebuild=lambda model, arrays: eqx.combine(arrays, eqx.filter(model, eqx.is_array, inverse=True)),
        more=more,
    )


def mlp(batch: int = 256, width: int = 256, depth: int = 16) -> Model:
    model = nn.MLP(width, width, width, depth - 1, key=KEYS[0])
    return _model("mlp", cross_entropy, model, normal(0, batch, width), integers(1, batch, below=width))


def cnn(batch: int = 32, size: int = 32, width: int = 16) -> Model:
    model = Convnet(width, (size // 8) ** 2 * 2 * width)
    return _model("cnn", cross_entropy, model, normal(0, batch, 3, size, size), integers(1, batch, below=10))


def vit(batch: int = 8, size: int = 32, width: int = 128, depth: int = 4) -> Model:
    model = ViT((size // 4) ** 2, width, depth)
    return _model("vit", cross_entropy, model, normal(0, batch, 3, size, size), integers(1, batch, below=10))


class NeuralOde(eqx.Module):
    """`dy/dt = f(y)` from 0 to 1 in fixed steps of the classical Runge-Kutta method."""

    field: nn.MLP
    steps: int

    def __init__(self, size: int, width: int, steps: int):
        self.field, self.steps = nn.MLP(size, size, width, 2, jax.nn.softplus, key=KEYS[0]), steps

    def __call__(self, y: jax.Array) -> jax.Array:
        h = 1 / self.steps

        def advance(y: jax.Array, _: None) -> tuple[jax.Array, None]:
            k1 = self.field(y)
            k2 = self.field(y + h / 2 * k1)
            k3 = self.field(y + h / 2 * k2)
            k4 = self.field(y + h * k3)
            return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

        return jax.lax.scan(advance, y, None, length=self.steps)[0]


def squared_error(model: Callable[..., Any], x: jax.Array, targets: jax.Array) -> jax.Array:
    return optax.squared_error(jax.vmap(model)(x), targets).mean()


def neural_ode(batch: int = 64, size: int = 16, width: int = 64, steps: int = 20) -> Model:
    model = NeuralOde(size, width, steps)
    return _model("neural ode", squared_error, model, normal(0, batch, size), normal(1, batch, size))


def critic_loss(critic: nn.MLP, generator: nn.MLP, real: jax.Array, noise: jax.Array) -> jax.Array:
    made = jax.vmap(generator)(noise)
    logits = jnp.concatenate([jax.vmap(critic)(real), jax.vmap(critic)(made)])
    labels = jnp.concatenate([jnp.ones(len(real)), jnp.zeros(len(made))])
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean()


def generator_loss(generator: nn.MLP, critic: nn.MLP, real: jax.Array, noise: jax.Array) -> jax.Array:
    del real
    logits = jax.vmap(critic)(jax.vmap(generator)(noise))
    return optax.sigmoid_binary_cross_entropy(logits, jnp.ones(len(noise))).mean()


def gan(batch: int = 128, size: int = 64, width: int = 128) -> Model:
    """Two players, each with its own loss."""
    critic = nn.MLP(size, "scalar", width, 3, jax.nn.leaky_relu, key=KEYS[0])
    generator = nn.MLP(16, size, width, 3, key=KEYS[1])
    batches = normal(0, batch, size), normal(1, batch, 16)
    return _model("gan", critic_loss, (critic, generator), *batches, more=generator_loss)
