"""Reading and adding at integer indices: reading is linear, and its transpose adds where it read.

Indices count from 0 and never from the end. One outside of `0..n-1` is a mistake that nothing can raise inside a
compiled function, so what is read there is NaN (for integers the least number, as in `jnp.take`), and what is added
there is dropped; it has no gradient. An index that stands several times gets the sum of its cotangents, float32 at
least.
"""

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, Aval
from funcgrad.ops.axes import find_axis
from funcgrad.ops.contraction import accumulator, widen
from funcgrad.ops.labelled_axes import cut_by_labels
from funcgrad.registry import Marker, op


@op(leading=("ids",), shapes="table[n, d] ids[...]")
def embedding(table: Array, ids: Array) -> Array:
    """Rows of a table: `table[n, d]`, integer `ids[...] -> y[..., d]`.

    `table_bar[i] = Σ g` over the places where `ids` is `i`. Keeps the ids, and of the table its shape. Leading axes
    of the ids are batch axes, so a `vmap` over them leaves one sum for `table_bar`.

    Args:
        table: a row for each id.
        ids: integers from 0 to `n - 1`; they are not differentiated. Others read NaN.

    Returns:
        `y[..., d]`, in the dtype of the table.

    Raises:
        ShapeError: the ids are not integers, or the table is no matrix.

    Example:
        >>> table, ids = jnp.array([[0.0, 1.0], [2.0, 3.0]]), jnp.array([1, 1, 0])
        >>> print(fg.grad(lambda table: fg.ops.embedding(table, ids).sum())(table))
        [[1. 1.]
         [2. 2.]]
    """
    _check_integers("ids", ids)
    return _read(table, ids, 0)


@embedding.pullback("table")
def embedding_table(g: Array, table_aval: Aval, ids: Array) -> Array:
    """`table_bar[i] = Σ g` over the places of `i`."""
    return _add_at(_zeros(table_aval), ids, g, 0)


embedding.mark(ids=Marker.NON_DIFFERENTIABLE)


@op
def take(x: Array, indices: Array, *, axis: int) -> Array:
    """Slices of `x` along an axis: `x[a..., n, b...]`, integer `indices[i...] -> y[a..., i..., b...]`.

    `x_bar` is zero but for `g`, added where it was read. Keeps the indices and the shape of `x`.

    Args:
        x: what is read.
        indices: integers from 0 to `n - 1`; they are not differentiated. Others read NaN.
        axis: along which.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: `x` has no such axis; the indices are not integers.

    Example:
        >>> print(fg.ops.take(jnp.array([[0.0, 1.0], [2.0, 3.0]]), jnp.array([1, 0]), axis=1))
        [[1. 0.]
         [3. 2.]]
    """
    _check_integers("indices", indices)
    at = _axis(x, axis)
    return _read(x, indices, at)


@take.pullback("x")
def take_x(g: Array, x_aval: Aval, indices: Array, axis: int) -> Array:
    """`x_bar`: `g`, added where it was read."""
    return _add_at(_zeros(x_aval), indices, g, _axis(x_aval, axis))


take.mark(indices=Marker.NON_DIFFERENTIABLE)


@op
def take_along_axis(x: Array, indices: Array, *, axis: int) -> Array:
    """Along an axis, one index per line: `x[..., n, ...]`, integer `indices[..., m, ...] -> y[..., m, ...]`.

    `y[i, j, k] = x[i, indices[i, j, k], k]` for the middle axis of three; the other axes broadcast, as in numpy.
    `x_bar` is zero but for `g`, added where it was read. Keeps the indices and the shape of `x`.

    Args:
        x: what is read.
        indices: integers from 0 to `n - 1`; they are not differentiated. Others read NaN.
        axis: along which.

    Returns:
        `y`, in the dtype of `x`.

    Raises:
        ShapeError: `x` has no such axis; the indices are not integers, or have another rank than `x`.

    Example:
        >>> x, best = jnp.array([[0.0, 1.0], [3.0, 2.0]]), jnp.array([[1], [0]])
        >>> print(fg.ops.take_along_axis(x, best, axis=1))
        [[1.]
         [3.]]
    """
    _check_integers("indices", indices)
    if indices.ndim != x.ndim:
        raise ValueError(f"indices must have as many axes as x, {x.ndim}, got {indices.ndim}")
    return _read_along(x, indices, _axis(x, axis))


@take_along_axis.pullback("x")
def take_along_axis_x(g: Array, x_aval: Aval, indices: Array, axis: int) -> Array:
    """`x_bar`: `g`, added where it was read; the transpose of reading."""
    like = jax.ShapeDtypeStruct(x_aval.shape, accumulator(x_aval.dtype))
    return jax.linear_transpose(lambda x: _read_along(x, indices, _axis(x_aval, axis)), like)(widen(g))[0]


take_along_axis.mark(indices=Marker.NON_DIFFERENTIABLE)


@op
def scatter_add(x: Array, indices: Array, updates: Array) -> Array:
    """`x` with updates added to its slices: `x[n, b...]`, integer `indices[i...]`, `updates[i..., b...] -> y[n, b...]`.

    `y[j] = x[j] + Σ updates` over the places where `indices` is `j`, so `x_bar = g`, and `updates_bar` reads `g` at
    the indices. Keeps the indices. With `x = 0` it is a sum by segment.

    Args:
        x: what is added to.
        indices: integers from 0 to `n - 1`; they are not differentiated. Updates at others are dropped.
        updates: a slice of `x` for each index.

    Returns:
        `y`, in the shape and dtype of `x`.

    Raises:
        ShapeError: the indices are not integers; the updates are not one slice per index.

    Example:
        >>> segments, updates = jnp.array([0, 1, 0]), jnp.array([1.0, 2.0, 3.0])
        >>> print(fg.ops.scatter_add(jnp.zeros(2), segments, updates))
        [4. 2.]
    """
    _check_integers("indices", indices)
    if x.ndim < 1:
        raise ValueError("x must have an axis to index")
    if updates.shape != (expected := (*indices.shape, *x.shape[1:])):
        raise ValueError(f"updates must be [{', '.join(map(str, expected))}], a slice of x for every index")
    return _add_at(widen(x), indices, updates, 0).astype(x.dtype)


@scatter_add.pullback("x")
def scatter_add_x(g: Array) -> Array:
    """`x_bar = g`."""
    return g


@scatter_add.pullback("updates")
def scatter_add_updates(g: Array, indices: Array) -> Array:
    """`updates_bar = g[indices]`, 0 for an index that was dropped."""
    return _read(g, indices, 0, outside=0)


scatter_add.mark(indices=Marker.NON_DIFFERENTIABLE)


def _check_integers(name: str, indices: Array) -> None:
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers, got {indices.dtype}")


def _axis(x: Array | Aval, axis: int) -> int:
    """The axis as a non-negative number."""
    return find_axis(axis, x.ndim)


def _read(x: Array, indices: Array, axis: int, outside: int | float | None = None) -> Array:
    def read(x: Array, indices: Array) -> Array:
        slices = x.at[(slice(None),) * axis + (indices,)]
        return slices.get(mode="fill", fill_value=outside, wrap_negative_indices=False)

    of_x, of_indices = list(range(x.ndim)), [f"i{k}" for k in range(indices.ndim)]
    output = [*of_x[:axis], *of_indices, *of_x[axis + 1 :]]
    # The indices come first: where a table is cut like the batch, the rows read are cut like the batch.
    return cut_by_labels(lambda indices, x: read(x, indices), (indices, x), (of_indices, of_x), output)


def _read_along(x: Array, indices: Array, axis: int) -> Array:
    def read(x: Array, indices: Array) -> Array:
        indices = indices if indices.dtype.itemsize >= 4 else indices.astype(jnp.int32)
        n = jnp.asarray(x.shape[axis], indices.dtype)
        return jnp.take_along_axis(x, jnp.where(indices < 0, n, indices), axis=axis, mode="fill")

    output = [*range(x.ndim)]
    lines = [*output[:axis], "n", *output[axis + 1 :]]
    return cut_by_labels(read, (x, indices), (lines, output), output)


def _add_at(x: Array, indices: Array, updates: Array, axis: int) -> Array:
    def add(x: Array, indices: Array, updates: Array) -> Array:
        slices = x.at[(slice(None),) * axis + (indices,)]
        return slices.add(widen(updates), mode="drop", wrap_negative_indices=False)

    of_x, of_indices = list(range(x.ndim)), [f"i{k}" for k in range(indices.ndim)]
    of_updates = [*of_x[:axis], *of_indices, *of_x[axis + 1 :]]
    return cut_by_labels(add, (x, indices, updates), (of_x, of_indices, of_updates), of_x)


def _zeros(aval: Aval) -> Array:
    """Zeros to add `g` to, float32 at least."""
    return jnp.zeros(aval.shape, accumulator(aval.dtype))
