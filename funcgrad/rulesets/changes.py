"""What the hooks of the catalogue are: a function of a cotangent at some parameters, as a value."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.errors import RuleError, describe
from funcgrad.ops.contraction import widen


@dataclass(frozen=True)
class Change:
    """A function of `g` at some parameters, numbers or traced: made with the same ones it is equal, and can be pickled.

    It runs in float32 where `g` has half of that, and returns what it was given, a `g` of the same dtype.
    """

    name: str
    function: Callable[..., Array]
    """Of `g`, of the parameters, and of a random `key` where it draws."""
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def __name__(self) -> str:
        return titled(self.name, dict(self.parameters))

    @property
    def __signature__(self) -> Signature:
        draws = "key" in inspect.signature(self.function).parameters
        return Signature([Parameter(n, Parameter.POSITIONAL_OR_KEYWORD) for n in ("g", "key")[: 1 + draws]])

    def __call__(self, g: Array, **key: Any) -> Array:
        """The changed cotangent."""
        return self.function(widen(g), **dict(self.parameters), **key).astype(g.dtype)


def titled(name: str, parameters: dict[str, Any]) -> str:
    """A change as it is called: `scale(factor=0.5)`, `scale(factor=f32[])`."""
    is_plain = lambda x: isinstance(x, bool | int | float)  # noqa: E731
    said = (f"{n}={x if is_plain(x) else describe(x)}" for n, x in parameters.items())
    return f"{name}({', '.join(said)})" if parameters else name


def times(g: Array, factor: Any) -> Array:
    """`factor g`, in the dtype of `g`, whatever that of the factor is."""
    return g * like(factor, g)


def like(number: Any, g: Array) -> Array:
    """A real number, given or traced, in the precision of `g`."""
    return jnp.asarray(number).astype(g.real.dtype)


def length(g: Array, per_example: bool) -> Array:
    """`‖g‖`, or that of each entry along axis 0; its axes have length 1, so that it broadcasts. A scalar is one entry.

    The largest entry is taken out: its square may overflow, and a gradient that is to be clipped is large.
    """
    axes = tuple(range(1, g.ndim)) if per_example else None
    largest = jnp.max(jnp.abs(g), axes, keepdims=True, initial=0)
    unit = jnp.where(largest == 0, 1, largest)
    return unit * jnp.sqrt(jnp.sum(jnp.abs(g / unit) ** 2, axes, keepdims=True))


def require_range(what: str, number: Any, low: float, below: float) -> None:
    """RuleError if a number that is known is not in `[low, below)`; what is traced cannot be asked."""
    if isinstance(number, int | float) and not low <= number < below:
        limits = f"from {low:g} on" if below == float("inf") else f"from {low:g} to below {below:g}"
        raise RuleError(f"{what} must be {limits}, got {number:g}.")
