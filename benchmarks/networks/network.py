"""What a network of the benchmark is, and the pieces that its plain JAX spellings share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import optax


@dataclass(frozen=True)
class Network:
    """A loss in two spellings, and what to run it on. Other libraries are given these parameters (`peers`)."""

    name: str
    loss: Callable[..., Any]
    """`loss(params, *batch)` with funcgrad ops; returns `(loss, new state)` where there is state."""
    plain: Callable[..., Any]
    """The same in plain JAX, as an expert writes it."""
    params: Any
    batch: tuple[Any, ...]
    """Inputs and labels; a network with state (running statistics) has the state first."""
    has_state: bool = False


class Draw:
    """Random numbers, the same in every run."""

    def __init__(self, seed: int = 0):
        self.keys: Iterator[jax.Array] = iter(jax.random.split(jax.random.key(seed), 1000))

    def normal(self, *shape: int) -> jax.Array:
        """Standard normal."""
        return jax.random.normal(next(self.keys), shape)

    def weight(self, *shape: int, gain: float = 1.0) -> jax.Array:
        """A weight or kernel whose last axis is the output: variance `gain² / (inputs)`."""
        fan_in = 1
        for n in shape[:-1]:
            fan_in *= n
        return self.normal(*shape) * (gain * fan_in**-0.5)

    def integers(self, *shape: int, below: int) -> jax.Array:
        """Labels or token numbers."""
        return jax.random.randint(next(self.keys), shape, 0, below)


def plain_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """The mean over all labels."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def plain_layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Layer norm over the last axis."""
    return jax.nn.standardize(x, axis=-1, epsilon=1e-6) * scale + bias
