"""Rearranging entries: every pullback puts the cotangent back where the entry came from; nothing is kept."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.registry import op


@op
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The entries of `x` in row-major order as `shape` (one axis may be -1); `x_bar` is `g` in the old shape."""
    return jnp.reshape(x, shape)


@reshape.pullback("x")
def reshape_x(g: Array, x_aval: Aval) -> Array:
    """`x_bar` is `g` in the shape of `x`."""
    return jnp.reshape(g, x_aval.shape)


@op
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> Array:
    """Axis `i` of `y` is axis `axes[i]` of `x` (None: reversed); `x_bar` is `g` with the inverse permutation."""
    return jnp.transpose(x, axes)


@transpose.pullback("x")
def transpose_x(g: Array, axes: tuple[int, ...] | None) -> Array:
    """`x_bar` is `g` with the inverse permutation."""
    if axes is None:
        return jnp.transpose(g)
    inverse = np.argsort([a % g.ndim for a in axes])
    return jnp.transpose(g, tuple(int(a) for a in inverse))


@op
def broadcast_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """`x` repeated to `shape`; `x_bar` is `g` summed over the repetitions (by the library)."""
    return jnp.broadcast_to(x, shape)


@broadcast_to.pullback("x")
def broadcast_to_x(g: Array) -> Array:
    """`x_bar` is `g`, summed over the repetitions by the library."""
    return g


@op
def concatenate(xs: tuple[Array, ...] | list[Array], *, axis: int = 0) -> Array:
    """The arrays of `xs` end to end along `axis`; the cotangent of each is its section of `g`."""
    return jnp.concatenate(xs, axis)


@concatenate.pullback("xs")
def concatenate_xs(g: Array, xs_aval: tuple[Aval, ...] | list[Aval], axis: int) -> tuple[Array, ...] | list[Array]:
    """The sections of `g`, one for each of `xs`."""
    axis %= g.ndim
    ends = np.cumsum([x.shape[axis] for x in xs_aval]).tolist()
    sections = [lax.slice_in_dim(g, lo, hi, axis=axis) for lo, hi in zip([0, *ends], ends, strict=False)]
    return type(xs_aval)(sections)
