"""A model of another library, and its gradient as that library's users take it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

ValueAndGrad = Callable[..., Callable[..., Any]]
"""Our `value_and_grad`, or the library's own, from a loss to a function that returns `(value, gradient)`."""


def itself(x: Any) -> Any:
    return x


def second(_: Any, y: Any) -> Any:
    return y


def nothing(_: Any) -> None:
    return None


@dataclass(frozen=True)
class Model:
    """Losses on a model that nobody changed."""

    name: str
    loss: Callable[..., Any]
    """`loss(model, *batch)`, as it is written for this library."""
    model: Any
    """A module, or the parameters that a function takes."""
    batch: tuple[Any, ...]
    value_and_grad: ValueAndGrad = jax.value_and_grad
    """The library's own."""
    arrays: Callable[[Any], Any] = itself
    """What of the model may enter `jax.jit`."""
    rebuild: Callable[[Any, Any], Any] = second
    """The model with other arrays, `rebuild(model, arrays)`."""
    changed: Callable[[Any], Any] = nothing
    """What the forward changes in the model."""
    more: Callable[..., Any] | None = None
    """The loss of a second player: `more(other, one, *batch)`, where `loss` takes `(one, other, *batch)`."""

    def step(self, value_and_grad: ValueAndGrad) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """All that is computed, as a function of arrays, and its arguments."""

        def run(arrays: Any, *batch: Any) -> Any:
            model = self.rebuild(self.model, arrays)
            if self.more is None:
                return value_and_grad(self.loss)(model, *batch), self.changed(model)
            one, other = model
            return value_and_grad(self.loss)(one, other, *batch), value_and_grad(self.more)(other, one, *batch)

        return run, (self.arrays(self.model), *self.batch)


def normal(seed: int, *shape: int) -> jax.Array:
    """Standard normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32)


def integers(seed: int, *shape: int, below: int) -> jax.Array:
    """Labels or token numbers."""
    return jax.random.randint(jax.random.key(seed), shape, 0, below)
