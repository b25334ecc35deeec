"""Rearranging entries: every pullback puts the cotangent back where the entry came from; nothing is kept."""

from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, Aval
from funcgrad.ops.axes import find_axis
from funcgrad.ops.equations.moving import sections, transpose_operand
from funcgrad.ops.labelled_axes import cut_by_labels
from funcgrad.primitive import cut, explicit_mesh, n_parts
from funcgrad.registry import op


@op
def reshape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The entries of `x` in row-major order as `shape` (one axis may be -1); `x_bar` is `g` in the old shape.

    Args:
        x: an array.
        shape: the new sizes, a tuple, with as many entries in all.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: the shape has another number of entries, or is no tuple.

    Example:
        >>> fg.ops.reshape(jnp.ones((2, 6)), shape=(4, -1)).shape
        (4, 3)
    """
    if explicit_mesh([jax.typeof(x)]) is None:
        return jnp.reshape(x, shape)
    before, after = _common_axes(x, shape)
    if any(name is not None and label is None for name, label in zip(cut(jax.typeof(x)), before, strict=True)):
        return jnp.reshape(x, shape)  # JAX knows, or refuses: rows would have to go from device to device
    return cut_by_labels(lambda x: jnp.reshape(x, shape), (x,), (before,), after)


def _common_axes(x: Array, shape: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    """Labels of the axes of `x` and of those that it is given, the same where a device keeps the same entries.

    These are the axes in front and at the end that stay, and between them the first one: entries are in row-major
    order, so that as many equal parts of one are the parts of the other.
    """
    old = x.shape
    new = jax.eval_shape(lambda x: jnp.reshape(x, shape), jax.ShapeDtypeStruct(old, x.dtype)).shape
    before: list[Any] = [None] * len(old)
    after: list[Any] = [None] * len(new)
    front = next((i for i, (m, n) in enumerate(zip(old, new, strict=False)) if m != n), min(len(old), len(new)))
    for i in range(front):
        before[i] = after[i] = i
    for i in range(1, min(len(old), len(new)) - front + 1):
        if old[-i] != new[-i]:
            break
        before[-i] = after[-i] = -i
    if front < min(len(old), len(new)) and before[front] is after[front] is None:
        n = n_parts(jax.typeof(x), front)
        before[front] = after[front] = front if new[front] % n == 0 else None
    return before, after


@reshape.pullback("x")
def reshape_x(g: Array, x_aval: Aval) -> Array:
    """`x_bar` is `g` in the shape of `x`."""
    return jnp.reshape(g, x_aval.shape)


@op
def transpose(x: Array, *, axes: tuple[int, ...] | None = None) -> Array:
    """Axis `i` of `y` is axis `axes[i]` of `x` (None: reversed); `x_bar` is `g` with the inverse permutation.

    Args:
        x: an array.
        axes: a permutation of its axes, a tuple.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: `axes` is no permutation of the axes of `x`.

    Example:
        >>> fg.ops.transpose(jnp.ones((2, 3, 4)), axes=(0, 2, 1)).shape
        (2, 4, 3)
    """
    return jnp.transpose(x, axes)


@transpose.pullback("x")
def transpose_x(g: Array, axes: tuple[int, ...] | None) -> Array:
    """`x_bar` is `g` with the inverse permutation."""
    return transpose_operand(g, range(g.ndim)[::-1] if axes is None else [a % g.ndim for a in axes])


@op
def broadcast_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """`x` repeated to `shape`; `x_bar` is `g` summed over the repetitions (by the library).

    Args:
        x: an array.
        shape: the new sizes, a tuple; axes are added in front, and those of size 1 are repeated.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: `x` does not broadcast to the shape.

    Example:
        >>> print(fg.grad(lambda x: fg.ops.broadcast_to(x, shape=(3, 2)).sum())(jnp.ones(2)))
        [3. 3.]
    """
    return jnp.broadcast_to(x, shape)


@broadcast_to.pullback("x")
def broadcast_to_x(g: Array) -> Array:
    """`x_bar` is `g`, summed over the repetitions by the library."""
    return g


@op
def concatenate(xs: tuple[Array, ...] | list[Array], *, axis: int = 0) -> Array:
    """The arrays of `xs` end to end along `axis`; the cotangent of each is its section of `g`.

    Args:
        xs: a tuple or a list of arrays, whose shapes differ along that axis at most.
        axis: along which.

    Returns:
        `y`, in the dtype that they have together.

    Raises:
        ShapeError: there are no arrays, there is no such axis, or the shapes differ along another one.

    Example:
        >>> print(fg.ops.concatenate((jnp.zeros(2), jnp.ones(3))))
        [0. 0. 1. 1. 1.]
    """
    if not xs:
        raise ValueError("xs must hold an array at least, got none")
    labels: list[Any] = list(range(xs[0].ndim))
    labels[find_axis(axis, xs[0].ndim)] = None
    if any(cut(jax.typeof(x))[axis] is not None for x in xs):
        return jnp.concatenate(xs, axis)
    return cut_by_labels(lambda *xs: jnp.concatenate(xs, axis), xs, [labels] * len(xs), labels)


@concatenate.pullback("xs")
def concatenate_xs(g: Array, xs_aval: tuple[Aval, ...] | list[Aval], axis: int) -> tuple[Array, ...] | list[Array]:
    """The sections of `g`, one for each of `xs`."""
    return type(xs_aval)(sections(g, xs_aval, axis % g.ndim))
