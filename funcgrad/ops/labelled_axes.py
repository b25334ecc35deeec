"""Axes with labels: how a result is cut over a mesh whose axes are explicit, where JAX does not decide it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from funcgrad.aliases import Array
from funcgrad.primitive import cut, explicit_mesh, labelled_cut, on_automatic_axes

Labels = Sequence[Any]


def cut_by_labels(
    function: Callable[..., Array], operands: Sequence[Array], labels: Sequence[Labels], output: Labels
) -> Array:
    """`function(*operands)`; on a mesh with explicit axes the result's axes are cut as the operands' of those labels.

    An axis whose label the output lacks was summed over or picked from.
    """
    avals = [jax.typeof(x) for x in operands]
    if explicit_mesh(avals) is None:
        return function(*operands)
    spec = labelled_cut(zip(labels, map(cut, avals), strict=True), output)
    return on_automatic_axes(function, avals, lambda _: spec)(*operands)
