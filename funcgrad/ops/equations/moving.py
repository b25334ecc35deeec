"""Primitives that move, repeat or choose entries: their rules read shapes and indices only."""

from collections.abc import Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.equations.guards import one_as_it_stands, one_filled, plain_floats, same_floats, strips_of_one
from funcgrad.ops.equations.operands import IMAGE, TIED, X, Y
from funcgrad.primitive import typed
from funcgrad.registry import Equation, Marker, row

_ROWS = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))


def reshape_operand(g: Array, operand_aval: Aval) -> Array:
    """The entries in their old shape."""
    return lax.reshape(g, operand_aval.shape)


def squeeze_array(g: Array, array_aval: Aval) -> Array:
    """With the axes of size 1 again."""
    return lax.reshape(g, array_aval.shape)


def transpose_operand(g: Array, permutation: Sequence[Any]) -> Array:
    """The axes back in their old order."""
    return lax.transpose(g, sorted(range(g.ndim), key=lambda axis: permutation[axis]))


def broadcast_in_dim_operand(g: Array, operand_aval: Aval, broadcast_dimensions: Sequence[Any]) -> Array:
    """Summed over the axes along which the operand was repeated."""
    shape = operand_aval.shape
    kept = {axis for n, axis in zip(shape, broadcast_dimensions, strict=True) if n == g.shape[axis]}
    summed = tuple(axis for axis in range(g.ndim) if axis not in kept)
    return lax.reshape(jnp.sum(g, summed) if summed else g, shape)


def convert_element_type_operand(g: Array, operand_aval: Aval) -> Array:
    """In the operand's dtype."""
    return typed(g, operand_aval)


def select_n_case0(g: Array, which: Array) -> Array:
    """What was chosen from the first."""
    return lax.select_n(which, g, lax.full_like(g, 0))


def select_n_case1(g: Array, which: Array) -> Array:
    """What was chosen from the second."""
    return lax.select_n(which, lax.full_like(g, 0), g)


def sections(g: Array, avals: Sequence[Aval], axis: Any) -> list[Array]:
    """The strips of g along an axis that arrays of these avals have become, one after the other."""
    strips, start = [], 0
    for aval in avals:
        end = start + aval.shape[axis]
        strips.append(lax.slice_in_dim(g, start, end, axis=axis))
        start = end
    return strips


def concatenate_operands(g: Array, operands_aval: Any, dimension: Any) -> Any:
    """The strip of g that each operand has become."""
    return tuple(sections(g, operands_aval, dimension)) if isinstance(operands_aval, tuple) else g


def stack_operands(g: Array, operands_aval: Any, axis: Any) -> Any:
    """The slice of g that each operand has become."""
    if not isinstance(operands_aval, tuple):
        return lax.squeeze(g, (axis,))
    return tuple(lax.index_in_dim(g, i, axis, keepdims=False) for i in range(len(operands_aval)))


def unstack_x(g: Any, axis: Any) -> Array:
    """The entries in one array again."""
    return jnp.stack(g if isinstance(g, tuple) else [g], axis)


def split_operand(g: Any, axis: Any) -> Array:
    """The strips end to end again."""
    return lax.concatenate(g, axis) if isinstance(g, tuple) else g


def rev_operand(g: Array, dimensions: Sequence[Any]) -> Array:
    """Turned round again."""
    return lax.rev(g, dimensions)


def pad_operand(g: Array, padding_config: Sequence[Any]) -> Array:
    """What is no padding."""
    trimmed = lax.pad(g, _nothing(g), [(-low, -high, 0) for low, high, _ in padding_config])
    strides = [inside + 1 for _, _, inside in padding_config]
    return lax.slice(trimmed, [0] * g.ndim, trimmed.shape, strides) if max(strides, default=1) > 1 else trimmed


def pad_padding_value(g: Array, operand_aval: Aval, padding_config: Sequence[Any]) -> Array:
    """The sum over the padding."""
    is_padding = lax.pad(lax.full(operand_aval.shape, False), np.array(True), padding_config)
    return lax.reduce_sum(lax.select(is_padding, g, lax.full_like(g, 0)), range(g.ndim))


def slice_operand(g: Array, operand_aval: Aval, start_indices: Sequence[Any], strides: Sequence[Any] | None) -> Array:
    """With zeros where nothing was read."""
    padding = []
    for n, m, start, stride in zip(operand_aval.shape, g.shape, start_indices, strides or [1] * g.ndim, strict=True):
        padding.append((start, n - start - 1 - (m - 1) * stride, stride - 1))
    return lax.pad(g, _nothing(g), padding)


def _nothing(g: Array) -> Array:
    return lax.full((), 0, g.dtype)


def dynamic_slice_operand(g: Array, operand_aval: Aval, start_indices: Any) -> Array:
    """With zeros where nothing was read."""
    return _put(lax.full(operand_aval.shape, 0, operand_aval.dtype), g, start_indices)


def dynamic_update_slice_operand(g: Array, update_aval: Aval, start_indices: Any) -> Array:
    """With zeros where it was overwritten."""
    return _put(g, lax.full(update_aval.shape, 0, update_aval.dtype), start_indices)


def dynamic_update_slice_update(g: Array, update_aval: Aval, start_indices: Any) -> Array:
    """What stands where it was written."""
    return lax.dynamic_slice(g, _each(start_indices), update_aval.shape, allow_negative_indices=False)


def _put(x: Array, update: Array, start_indices: Any) -> Array:
    # The operand's indices are those of the equation, which counts none from the end.
    return lax.dynamic_update_slice(x, update, _each(start_indices), allow_negative_indices=False)


def _each(start_indices: Any) -> Sequence[Array]:
    return start_indices if isinstance(start_indices, tuple) else (start_indices,)


def gather_operand(
    g: Array,
    start_indices: Array,
    operand_aval: Aval,
    dimension_numbers: lax.GatherDimensionNumbers,
    indices_are_sorted: bool,
    unique_indices: bool,
    mode: Any,
) -> Array:
    """What was read at several places is added up at each."""
    scattered = lax.ScatterDimensionNumbers(
        update_window_dims=dimension_numbers.offset_dims,
        inserted_window_dims=dimension_numbers.collapsed_slice_dims,
        scatter_dims_to_operand_dims=dimension_numbers.start_index_map,
        operand_batching_dims=dimension_numbers.operand_batching_dims,
        scatter_indices_batching_dims=dimension_numbers.start_indices_batching_dims,
    )
    return lax.scatter_add(
        lax.full(operand_aval.shape, 0, operand_aval.dtype),
        start_indices,
        g,
        scattered,
        indices_are_sorted=indices_are_sorted,
        unique_indices=unique_indices,
        mode=mode,
    )


def _one_of_two(equation: Equation) -> bool:
    which, *cases = equation.avals
    shape = equation.output_avals[0].shape
    return plain_floats(equation) and len(cases) == 2 and which.shape in ((), shape)


def _reads_entries(equation: Equation) -> bool:
    return plain_floats(equation) and 0 not in equation.output_avals[0].shape


def _filled_with_its_own(equation: Equation) -> bool:
    return same_floats(equation) and all(prod(a.shape) for a in (*equation.avals, *equation.output_avals))


def _updated(equation: Equation) -> bool:
    operand, update, *_ = equation.avals
    return _reads_entries(equation) and prod(update.shape) > 0 and operand.dtype == update.dtype


row("reshape", one_as_it_stands, operand=reshape_operand).example(lambda x: lax.reshape(x, (4, 6)), IMAGE)
row("squeeze", one_filled, array=squeeze_array).example(lambda x: lax.squeeze(x, (1,)), X[:, None])
row("transpose", one_filled, operand=transpose_operand).example(lambda x: lax.transpose(x, (2, 0, 1)), IMAGE)
row("rev", one_filled, operand=rev_operand).example(lambda x: lax.rev(x, (0, 2)), IMAGE)
row("broadcast_in_dim", one_as_it_stands, operand=broadcast_in_dim_operand).example(
    lambda x: lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)), X
).example(lambda x: lax.broadcast_in_dim(x, (2, 4, 3), (0, 1, 2)), X[:, None])
row("convert_element_type", one_filled, operand=convert_element_type_operand).example(
    # No dtype below the widest loses no digits of it, which the checker would see.
    lambda x: lax.convert_element_type_p.bind(x, new_dtype=x.dtype, weak_type=True, sharding=None),
    X,
)
row("select_n", _one_of_two, which=Marker.NON_DIFFERENTIABLE, case0=select_n_case0, case1=select_n_case1).example(
    lax.select_n, X > TIED, X, TIED
).example(lax.select_n, np.array(True), X, TIED)
row("concatenate", same_floats, operands=concatenate_operands).example(lambda *xs: lax.concatenate(xs, 0), X, TIED, Y)
row("stack", same_floats, operands=stack_operands).example(lambda *xs: jnp.stack(xs, 1), X, TIED, Y)
row("unstack", strips_of_one, x=unstack_x).example(lambda x: jnp.unstack(x, axis=1), X)
row("split", strips_of_one, operand=split_operand).example(lambda x: lax.split(x, (1, 2), 1), X)
row("pad", _filled_with_its_own, operand=pad_operand, padding_value=pad_padding_value).example(
    lambda x, value: lax.pad(x, value, ((0, 1, 0), (2, -1, 1))), X, np.array(0.5)
)
row("slice", _reads_entries, operand=slice_operand).example(
    lambda x: lax.slice(x, (0, 1, 1), (2, 3, 4), (1, 1, 2)), IMAGE
)
row("dynamic_slice", _reads_entries, operand=dynamic_slice_operand, start_indices=Marker.NON_DIFFERENTIABLE).example(
    lambda x, *at: lax.dynamic_slice(x, at, (2, 2), allow_negative_indices=False), X, np.array(-6), np.array(1)
)
row(
    "dynamic_update_slice",
    _updated,
    operand=dynamic_update_slice_operand,
    update=dynamic_update_slice_update,
    start_indices=Marker.NON_DIFFERENTIABLE,
).example(
    lambda x, u, *at: lax.dynamic_update_slice(x, u, at, allow_negative_indices=False),
    X,
    TIED[:1, :2],
    np.array(1),
    np.array(-5),
)
row("gather", _reads_entries, operand=gather_operand, start_indices=Marker.NON_DIFFERENTIABLE).example(
    lambda x, at: lax.gather(x, at, _ROWS, (1, 3)), X, np.array([[1], [0], [1]])
)
