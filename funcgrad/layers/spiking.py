"""Spiking neurons: cells, which `recurrent` takes along the time axis."""

from typing import Any, Literal

import jax.numpy as jnp

from funcgrad import ops
from funcgrad.aliases import Array, PyTree
from funcgrad.errors import GraphError
from funcgrad.layers.layer import array_spec
from funcgrad.layers.recurrence import Cell
from funcgrad.naming import detach


class leaky_integrate_and_fire(Cell):
    """A membrane that leaks, sums up its input and spikes: `(x[..., n], u[..., n]) -> (y, u)`; it has no parameters.

    `u' = β u + x - θ r` or, reset to zero, `u' = β (1 - r) u + x`, and `y = heaviside(u' - θ)`; `r` is the spike of the
    step before, `heaviside(u - θ)`. The step is flat (see `fg.ops.heaviside`): nothing passes through it but what a
    set of `fg.rulesets.surrogates` lets. Source: Eshraghian et al. 2023, and snntorch's Leaky, which it agrees with.

    Args:
        beta: `β`, how much of the membrane is left after a step, from 0 to 1.
        threshold: `θ`.
        reset: `"subtract"` the threshold after a spike, or set the membrane to `"zero"`.
        detach_reset: no cotangent passes through `r`, whatever the rules, as in snntorch.

    Raises:
        GraphError: `reset` is neither.

    Example:
        >>> spikes = fg.layers.recurrent(fg.layers.leaky_integrate_and_fire(beta=0.5))
        >>> loss = lambda x: jnp.sum(spikes({}, x))
        >>> x = jnp.full((4, 1), 0.75)
        >>> print(spikes({}, x).ravel(), fg.grad(loss)(x).ravel())
        [0. 1. 0. 0.] [0. 0. 0. 0.]
        >>> rules = fg.rulesets.surrogates.boxcar()
        >>> print(fg.grad(loss, rules=rules)(x).ravel())
        [0.9375 0.875  0.75   0.5   ]
    """

    beta: float = 0.9
    threshold: float = 1.0
    reset: Literal["subtract", "zero"] = "subtract"
    detach_reset: bool = True

    def __post_init__(self) -> None:
        if self.reset not in ("subtract", "zero"):
            raise GraphError(f"leaky_integrate_and_fire: reset must be 'subtract' or 'zero', got {self.reset!r}.")

    def init(self, key: Array, *specs: Any) -> tuple[PyTree, PyTree]:
        """Nothing: the input is the current, which a layer before makes."""
        del key
        array_spec(self, specs[0], least_ndim=1)
        return {}, {}

    def zero_carry(self, x: Any) -> Array:
        """`u = 0`."""
        return jnp.zeros(x.shape, x.dtype)

    def forward(self, params: PyTree, x: Array, u: Array) -> tuple[Array, Array]:
        """The spikes, and the membrane."""
        del params
        r = ops.heaviside(u - self.threshold)
        r = detach(r) if self.detach_reset else r
        if self.reset == "subtract":
            u = self.beta * u + x - self.threshold * r
        else:
            u = self.beta * (1 - r) * u + x
        return ops.heaviside(u - self.threshold), u
