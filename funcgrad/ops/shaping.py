"""Rearranging entries: every pullback puts the cotangent back where the entry came from; nothing is kept."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.shapes import extent, shape_in
from funcgrad.registry import op


@op
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The entries of `x` in row-major order as `shape` (one axis may be -1); `x_bar` is `g` in the old shape."""
    return jnp.reshape(x, shape)


@reshape.saving("x_extent")
def reshape_saving(x: Array, *, shape: tuple[int, ...]) -> tuple[Array, dict[str, Array]]:
    """The new shape, and what the old one was."""
    return jnp.reshape(x, shape), {"x_extent": extent(x)}


@reshape.pullback("x")
def reshape_x(g: Array, x_extent: Array) -> Array:
    """`x_bar` is `g` in the shape of `x`."""
    return jnp.reshape(g, shape_in(x_extent))


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


@concatenate.saving("extents")
def concatenate_saving(xs: tuple[Array, ...] | list[Array], *, axis: int) -> tuple[Array, dict[str, list[Array]]]:
    """The arrays end to end, and the shape of each."""
    return jnp.concatenate(xs, axis), {"extents": [extent(x) for x in xs]}


@concatenate.pullback("xs")
def concatenate_xs(
    g: Array, xs: tuple[Array, ...] | list[Array], extents: list[Array], axis: int
) -> tuple[Array, ...] | list[Array]:
    """The sections of `g`, one for each of `xs`."""
    axis %= g.ndim
    ends = np.cumsum([shape_in(e)[axis] for e in extents]).tolist()
    sections = [lax.slice_in_dim(g, lo, hi, axis=axis) for lo, hi in zip([0, *ends], ends, strict=False)]
    return type(xs)(sections)
