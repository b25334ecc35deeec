"""Noise that is made again from its key rather than kept: dropout by entry and by example."""

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

    Args:
        x: an array.
        key: a random key, as of `jax.random.key`; it is not differentiated.
        rate: the probability of a 0.

    Returns:
        `y`, in the shape of `x`.

    Raises:
        ShapeError: the rate is not in [0, 1].

    Example:
        >>> y = fg.ops.dropout(jnp.ones(1000), jax.random.key(0), rate=0.5)
        >>> print(jnp.unique(y), bool(abs(y.mean() - 1) < 0.1))
        [0. 2.] True
    """
    return _thin(x, key, rate, x.shape)


@dropout.pullback("x")
def dropout_x(g: Array, key: Array, rate: int | float) -> Array:
    """`x_bar = g m / (1 - rate)`, with the mask made again."""
    return _thin(g, key, rate, g.shape)


dropout.mark(key=Marker.NON_DIFFERENTIABLE)


@op
def drop_path(x: Array, key: Array, *, rate: int | float) -> Array:
    """Stochastic depth: `y = x m / (1 - rate)`, one bit `m[b]` per example of `x[b, ...]`; `x_bar = g m / (1 - rate)`.

    Dropped examples skip the branch whose output `x` is. The pullback makes the bits again from the key, so nothing
    is kept; they depend on key, number of examples and rate only. `rate=0` is the identity, `rate=1` gives zeros.
    Source: Huang et al. 2016.

    Args:
        x: examples, `[b, ...]`.
        key: a random key, as of `jax.random.key`; it is not differentiated.
        rate: the probability that an example becomes 0.

    Returns:
        `y`, in the shape of `x`.

    Raises:
        ShapeError: the rate is not in [0, 1]; `x` has no axis of examples.

    Example:
        >>> y = fg.ops.drop_path(jnp.ones((100, 2)), jax.random.key(0), rate=0.5)
        >>> print(jnp.unique(y, axis=0))
        [[0. 0.]
         [2. 2.]]
    """
    if x.ndim < 1:
        raise ValueError("x must be [b, ...], with an axis of examples")
    return _thin(x, key, rate, _examples(x))


@drop_path.pullback("x")
def drop_path_x(g: Array, key: Array, rate: int | float) -> Array:
    """`x_bar = g m / (1 - rate)`, with the bits made again."""
    return _thin(g, key, rate, _examples(g))


drop_path.mark(key=Marker.NON_DIFFERENTIABLE)


def _examples(x: Array) -> tuple[int, ...]:
    """The shape of one bit per example."""
    return (x.shape[0], *(1,) * (x.ndim - 1))


def _thin(x: Array, key: Array, rate: int | float, shape: tuple[int, ...]) -> Array:
    """`x m / (1 - rate)`, `m` a mask of that shape."""
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate}")
    threshold = round(rate * 2**32)
    if threshold == 0:
        return x
    if threshold == 2**32:
        return jnp.zeros_like(x)
    keep = jax.random.bits(key, shape, jnp.uint32) >= jnp.uint32(threshold)
    return jnp.where(keep, x / (1 - rate), 0)
