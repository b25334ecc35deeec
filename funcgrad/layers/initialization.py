"""How parameters start: `jax.nn.initializers`, by name so that a layer prints and compares by value."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.errors import GraphError
from funcgrad.layers.printing import call, did_you_mean

Initializer = str | Callable[..., Array]
"""A name in `jax.nn.initializers`, or any `(key, shape, dtype) -> array`."""


@dataclass(frozen=True, init=False, repr=False)
class initializer:
    """One of `jax.nn.initializers` with options, called as `(key, shape, dtype)`.

    It prints and compares by name and options, where JAX's own are closures: so does every layer that holds one.

    Args:
        name: of an initializer of JAX's.
        options: its arguments.

    Raises:
        GraphError: JAX has no initializer of that name.

    Example:
        >>> start = fg.layers.initializer("normal", stddev=0.02)
        >>> print(start, start(jax.random.key(0), (2, 3)).shape)
        initializer('normal', stddev=0.02) (2, 3)
    """

    name: str
    options: tuple[tuple[str, Any], ...]

    def __init__(self, name: str, **options: Any):
        if name not in (known := _known()):
            raise GraphError(f"jax.nn.initializers has no '{name}'; {did_you_mean(name, known)}")
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "options", tuple(sorted(options.items())))

    def __call__(self, key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        """Draw an array."""
        found = getattr(jax.nn.initializers, self.name)
        is_itself = "shape" in inspect.signature(found).parameters and not self.options  # zeros, ones
        start = found if is_itself else found(**dict(self.options))
        return start(key, shape, dtype)

    def __repr__(self) -> str:
        return call("initializer", [repr(self.name), *(f"{n}={v!r}" for n, v in self.options)])


def as_key(key: Any) -> Array:
    """A key as it is; an integer as `jax.random.key` of it."""
    return jax.random.key(key) if isinstance(key, int) else key


def draw(start: Initializer, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """A parameter, from an initializer or its name."""
    return (initializer(start) if isinstance(start, str) else start)(as_key(key), shape, dtype)


def _known() -> tuple[str, ...]:
    return tuple(n for n in dir(jax.nn.initializers) if n[0].islower() and callable(getattr(jax.nn.initializers, n)))
