"""The product of two arrays over some of their axes."""

import math
from typing import Any

import jax
import numpy as np
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.equations.guards import same_floats
from funcgrad.ops.equations.operands import IMAGE, X, Y
from funcgrad.primitive import explicit_mesh
from funcgrad.registry import Equation, row

_FACTOR = np.cos(np.arange(120.0)).reshape(4, 2, 3, 5)


def dot_general_lhs(
    g: Array, rhs: Array, lhs_aval: Aval, dimension_numbers: Any, precision: Any, preferred_element_type: Any
) -> Array:
    """For `y[b, i, j] = Σ_k l[b, i, k] r[b, j, k]`: `l_bar[b, i, k] = Σ_j g[b, i, j] r[b, j, k]`."""
    return _product(0, g, rhs, lhs_aval, dimension_numbers, precision, preferred_element_type)


def dot_general_rhs(
    g: Array, lhs: Array, rhs_aval: Aval, dimension_numbers: Any, precision: Any, preferred_element_type: Any
) -> Array:
    """For `y[b, i, j] = Σ_k l[b, i, k] r[b, j, k]`: `r_bar[b, j, k] = Σ_i g[b, i, j] l[b, i, k]`."""
    return _product(1, g, lhs, rhs_aval, dimension_numbers, precision, preferred_element_type)


def _product(
    which: int, g: Array, other: Array, aval: Aval, dimension_numbers: Any, precision: Any, dtype: Any
) -> Array:
    """The product of g with the other factor over that one's free axes, its axes put in the order of this factor's."""
    contracted, batch = dimension_numbers
    mine_c, mine_b, other_c, other_b = contracted[which], batch[which], contracted[1 - which], batch[1 - which]
    n_batch = len(mine_b)
    free = [axis for axis in range(len(aval.shape)) if axis not in mine_c and axis not in mine_b]
    other_free = [axis for axis in range(other.ndim) if axis not in other_c and axis not in other_b]
    start = n_batch if which == 1 else n_batch + len(free)
    g_axes = list(range(start, start + len(other_free)))
    if not mine_b and len(other_free) > 1 and _adjoin(other_free) and explicit_mesh([jax.typeof(g)]) is None:
        g, g_axes = _joined(g, g_axes)
        other, other_free = _joined(other, other_free)
    contraction = ((g_axes, other_free), (list(range(n_batch)), list(other_b)))
    product = lax.dot_general(g, other, contraction, precision=precision, preferred_element_type=dtype)
    # What comes out: batch, my free axes, then the contracted axes in the order in which the other factor has them.
    left = sorted(range(len(other_c)), key=lambda k: other_c[k])
    order = [*mine_b, *free, *(mine_c[k] for k in left)]
    return lax.transpose(product, sorted(range(len(order)), key=lambda axis: order[axis]))


def _adjoin(axes: list[int]) -> bool:
    return axes == list(range(axes[0], axes[0] + len(axes)))


def _joined(x: Array, axes: list[int]) -> tuple[Array, list[int]]:
    """Neighbouring axes as one, and which one that is.

    XLA:CPU contracts two matrices over their rows as they stand. Where a sum goes over two axes of each, the batch's
    and the tokens', it transposes a copy of one of them first: of an activation, that is as much memory again.
    """
    begin, end = axes[0], axes[-1] + 1
    return x.reshape(*x.shape[:begin], math.prod(x.shape[begin:end]), *x.shape[end:]), [begin]


def _on_no_mesh(equation: Equation) -> bool:
    return same_floats(equation) and equation.source.params.get("out_sharding") is None


row("dot_general", _on_no_mesh, lhs=dot_general_lhs, rhs=dot_general_rhs).example(lax.dot, X, Y.T).example(
    lambda lhs, rhs: lax.dot_general(lhs, rhs, (((2, 1), (0, 2)), ((0,), (1,)))), IMAGE, _FACTOR
)
