"""Primitives that slide windows: convolutions.

Along one axis, with `t - 1` zeros between the entries of `x` (its dilation is `t`), `p` zeros before the first, a
kernel of dilation `d` and windows `s` apart (`ops/correlation.py` derives all three):

    z[i] = Σ_u x̃[i s + u d - p] k[u]
    x_bar[j] = Σ_u z̃_bar[j t + p - u d] k[u]
    k_bar[u] = Σ_i x̃[u d + i s - p] z_bar[i].

So each is a convolution again: of `z_bar` with the kernel turned, stride and dilation of `x` exchanged, and of `x` with
`z_bar`, stride and dilation of the kernel exchanged.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.equations.guards import same_floats
from funcgrad.registry import Equation, row


class _Axis(NamedTuple):
    """The windows along one axis; sizes with the zeros between the entries."""

    x: int
    kernel: int
    z: int
    before: int

    @property
    def around_z(self) -> tuple[int, int]:
        """The zeros around `z_bar` for `x_bar`."""
        before = self.kernel - 1 - self.before
        return before, self.x + self.kernel - 1 - self.z - before

    @property
    def around_x(self) -> tuple[int, int]:
        """The zeros around `x` for the kernel's cotangent: the last row is met exactly."""
        return self.before, self.kernel + self.z - 1 - self.x - self.before


def _axes(arrays: Sequence[Any], specs: Any, dilations: Sequence[Sequence[Any]], padding: Sequence[Any]) -> list[_Axis]:
    """The windows of input, kernel and output (arrays or avals), where their entries are so far apart."""
    x, kernel, z = (
        [(array.shape[axis] - 1) * t + 1 for axis, t in zip(spec[2:], by, strict=True)]
        for array, spec, by in zip(arrays, specs, dilations, strict=True)
    )
    return [_Axis(*sizes) for sizes in zip(x, kernel, z, (before for before, _ in padding), strict=True)]


def conv_general_dilated_lhs(
    g: Array,
    rhs: Array,
    lhs_aval: Aval,
    window_strides: Sequence[Any],
    padding: Sequence[Any],
    lhs_dilation: Sequence[Any],
    rhs_dilation: Sequence[Any],
    dimension_numbers: Any,
    feature_group_count: Any,
    precision: Any,
    preferred_element_type: Any,
) -> Array:
    """The cotangent, spread, convolved with the kernel turned, whose channels go the other way."""
    of_lhs, (out, into, *inside), of_out = dimension_numbers
    axes = _axes((lhs_aval, rhs, g), dimension_numbers, (lhs_dilation, rhs_dilation, window_strides), padding)
    return lax.conv_general_dilated(
        g,
        lax.rev(_with_groups_inside(rhs, out, into, feature_group_count), inside),
        lhs_dilation,
        [axis.around_z for axis in axes],
        window_strides,
        rhs_dilation,
        lax.ConvDimensionNumbers(of_out, (into, out, *inside), of_lhs),
        feature_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def conv_general_dilated_rhs(
    g: Array,
    lhs: Array,
    rhs_aval: Aval,
    window_strides: Sequence[Any],
    padding: Sequence[Any],
    lhs_dilation: Sequence[Any],
    rhs_dilation: Sequence[Any],
    dimension_numbers: Any,
    feature_group_count: Any,
    precision: Any,
    preferred_element_type: Any,
) -> Array:
    """The input convolved with the cotangent as a kernel: examples are summed over, so they stand for channels."""
    axes = _axes((lhs, rhs_aval, g), dimension_numbers, (lhs_dilation, rhs_dilation, window_strides), padding)
    of_lhs, of_rhs, of_out = dimension_numbers
    swapped = [(second, first, *inside) for first, second, *inside in (of_lhs, of_out, of_rhs)]
    return lax.conv_general_dilated(
        lhs,
        g,
        rhs_dilation,
        [axis.around_x for axis in axes],
        lhs_dilation,
        window_strides,
        lax.ConvDimensionNumbers(*swapped),
        batch_group_count=feature_group_count,
        precision=precision,
        preferred_element_type=preferred_element_type,
    )


def _with_groups_inside(rhs: Array, out: int, into: int, groups: int) -> Array:
    """The kernel `[out = groups · m, into]` as `[m, groups · into]`, wherever these axes stand."""
    if groups == 1:
        return rhs
    order = (out, into, *(a for a in range(rhs.ndim) if a not in (out, into)))
    front = lax.transpose(rhs, order)
    m, n, inside = front.shape[0] // groups, front.shape[1], front.shape[2:]
    turned = lax.transpose(lax.reshape(front, (groups, m, n, *inside)), (1, 0, *range(2, rhs.ndim + 1)))
    joined = lax.reshape(turned, (m, groups * n, *inside))
    return lax.transpose(joined, sorted(range(rhs.ndim), key=lambda axis: order[axis]))


def _is_ordinary(equation: Equation) -> bool:
    params = equation.source.params
    is_filled = all(0 not in a.shape for a in (*equation.avals, *equation.output_avals))
    return same_floats(equation) and params["batch_group_count"] == 1 and is_filled


_IMAGES, _KERNEL = np.sin(np.arange(120.0)).reshape(2, 5, 3, 4), np.cos(np.arange(48.0)).reshape(3, 2, 2, 4)

row("conv_general_dilated", _is_ordinary, lhs=conv_general_dilated_lhs, rhs=conv_general_dilated_rhs).example(
    lambda lhs, rhs: lax.conv_general_dilated(
        lhs, rhs, (2, 1), ((1, 2), (0, 1)), (1, 2), (1, 2), ("NHWC", "HWIO", "NHWC"), feature_group_count=2
    ),
    _IMAGES,
    _KERNEL,
)
