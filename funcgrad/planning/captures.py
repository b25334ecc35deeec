"""What the rules of a custom derivative close over, as values of the graph."""

from collections.abc import Collection, Sequence
from typing import Any

import jax

from funcgrad.errors import GradientError
from funcgrad.graph import Constant, Node, Value
from funcgrad.planning.foreign import LostError, where
from funcgrad.primitive import has_ended


def captured(node: Node, arrays: Sequence[Any], varied: Collection[Value]) -> tuple[Value | Constant, ...]:
    """Find what arrays stand for: a value of the graph where they were traced with it, else themselves.

    Args:
        node: the node whose rules close over the arrays.
        arrays: the arrays.
        varied: what is differentiated. A rule says nothing of how its function depends on what it closes over.

    Raises:
        GradientError: an array is differentiated, or was traced in another part of the graph.
    """
    found = []
    for x in arrays:
        value, is_lost = None, has_ended(x)
        try:
            value = node.surroundings.find(x) if node.surroundings else None
        except LookupError:
            is_lost = True
        if is_lost:
            raise LostError(node)
        if value is not None and value in varied:
            raise GradientError(
                f"{where(node)}: a rule of its derivative closes over '{value.name}', which is differentiated, and "
                f"says nothing of how the function depends on it; pass it to '{node.op_name}' as an argument."
            )
        found.append(Constant(x, jax.typeof(x)) if value is None else value)
    return tuple(found)
