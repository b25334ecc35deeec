"""Primitives that move, repeat, choose or add up entries: their rules read shapes and indices only."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.equations.guards import one_as_it_stands, one_filled, plain_floats, same_floats
from funcgrad.primitive import typed
from funcgrad.registry import Equation, Marker, row


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


def reduce_sum_operand(g: Array, operand_aval: Aval, axes: Sequence[Any]) -> Array:
    """Repeated along the axes that were summed."""
    shape = operand_aval.shape
    return lax.broadcast_in_dim(g, shape, [axis for axis in range(len(shape)) if axis not in axes])


def convert_element_type_operand(g: Array, operand_aval: Aval) -> Array:
    """In the operand's dtype."""
    return typed(g, operand_aval)


def select_n_case0(g: Array, which: Array) -> Array:
    """What was chosen from the first."""
    return lax.select_n(which, g, lax.full_like(g, 0))


def select_n_case1(g: Array, which: Array) -> Array:
    """What was chosen from the second."""
    return lax.select_n(which, lax.full_like(g, 0), g)


def concatenate_operands(g: Array, operands_aval: Any, dimension: Any) -> Any:
    """The strip of g that each operand has become."""
    if not isinstance(operands_aval, tuple):
        return g
    strips, start = [], 0
    for aval in operands_aval:
        end = start + aval.shape[dimension]
        strips.append(lax.slice_in_dim(g, start, end, axis=dimension))
        start = end
    return tuple(strips)


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
    (shape,), avals = {a.shape for a in equation.output_avals}, equation.avals
    return plain_floats(equation) and len(avals) == 3 and all(a.shape == shape for a in avals)


def _reads_entries(equation: Equation) -> bool:
    return plain_floats(equation) and 0 not in equation.output_avals[0].shape


row("reshape", one_as_it_stands, operand=reshape_operand)
row("squeeze", one_filled, array=squeeze_array)
row("transpose", one_filled, operand=transpose_operand)
row("broadcast_in_dim", one_as_it_stands, operand=broadcast_in_dim_operand)
row("reduce_sum", one_filled, operand=reduce_sum_operand)
row("convert_element_type", one_filled, operand=convert_element_type_operand)
row("select_n", _one_of_two, which=Marker.NON_DIFFERENTIABLE, case0=select_n_case0, case1=select_n_case1)
row("concatenate", same_floats, operands=concatenate_operands)
row("gather", _reads_entries, operand=gather_operand, start_indices=Marker.NON_DIFFERENTIABLE)
