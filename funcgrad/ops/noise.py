"""Dropout: noise that is made again from its key rather than kept."""

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array
from funcgrad.registry import Marker, op


@op
def dropout(x: Array, key: Array, *, rate: int | float) -> Array:
    """`y = x m / (1 - rate)`, `m` a mask of independent bits, 0 with probability `rate`; `x_bar = g m / (1 - rate)`.

    The pullback makes the mask again from the key, so nothing of the size of `x` is kept; the mask depends on
    key, shape and rate only, not on the dtype. `rate=0` is the identity, `rate=1` gives zeros.
    Source: Srivastava et al. 2014.

    Raises:
        ShapeError: the rate is not in [0, 1].

    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate}")
    return _thin(x, key, rate)


@dropout.pullback("x")
def dropout_x(g: Array, key: Array, rate: int | float) -> Array:
    """`x_bar = g m / (1 - rate)`, with the mask made again."""
    return _thin(g, key, rate)


dropout.mark(key=Marker.NON_DIFFERENTIABLE)


def _thin(x: Array, key: Array, rate: int | float) -> Array:
    threshold = round(rate * 2**32)
    if threshold == 0:
        return x
    if threshold == 2**32:
        return jnp.zeros_like(x)
    keep = jax.random.bits(key, x.shape, jnp.uint32) >= jnp.uint32(threshold)
    return jnp.where(keep, x / (1 - rate), 0)
