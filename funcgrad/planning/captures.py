"""What rules close over, as values of the graph: those of a custom derivative, and those of an op."""

from collections.abc import Collection, Sequence
from types import FunctionType
from typing import Any

import jax
from jax.core import Tracer

from funcgrad.adapters import read_beside
from funcgrad.errors import GradientError
from funcgrad.graph import Constant, Node, Value
from funcgrad.planning.foreign import LostError, where
from funcgrad.primitive import has_ended
from funcgrad.registry import Rule


def closes_over_trace(rule: Rule, node: Node) -> bool:
    """Whether an op's rule reads an array of the trace that the node is from, which has ended when the rule runs.

    It is looked for where Python functions keep what they read beside their arguments.

    Raises:
        GradientError: the rule reads an array of a `vmap`, or another transformation, that is over.
    """
    function, around = rule.function, node.surroundings
    if around is None or (isinstance(function, FunctionType) and not _keeps(function)):
        return False
    held = jax.tree.leaves([*(x for _, x in read_beside(function, set())), *_defaults(function)])
    traced = [x for x in held if isinstance(x, Tracer)]
    if any(has_ended(x) and not around.holds(x) for x in traced):
        raise LostError(node, f"rule {rule.name}")
    return any(map(around.holds, traced))


def _keeps(function: FunctionType) -> bool:
    return bool(function.__closure__ or function.__defaults__ or function.__kwdefaults__)


def _defaults(function: Any) -> list[Any]:
    by_name = getattr(function, "__kwdefaults__", None) or {}
    return [*(getattr(function, "__defaults__", None) or ()), *by_name.values()]


def captured(
    node: Node, arrays: Sequence[Any], varied: Collection[Value], reader: str = "a rule of its derivative"
) -> tuple[Value | Constant, ...]:
    """Find what arrays stand for: a value of the graph where they were traced with it, else themselves.

    Args:
        node: the node whose rules close over the arrays.
        arrays: the arrays.
        varied: what is differentiated. A rule says nothing of how its function depends on what it closes over.
        reader: what closes over the arrays, as errors call it.

    Raises:
        GradientError: an array is differentiated, was traced in another part of the graph, or is made after the node:
            JAX runs the rule at once, and something that it reads was changed before we do.
    """
    found = []
    for x in arrays:
        try:
            value = node.surroundings.find(x) if node.surroundings else None
        except LookupError:
            raise LostError(node, reader) from None
        if value is None and has_ended(x):
            raise LostError(node, reader)
        if value is not None and node.surroundings and not node.surroundings.precedes(x, node):
            made_later = f"'{value.name}', which is made after it (what the rule reads has changed meanwhile)"
            raise LostError(node, reader, made_later)
        if value is not None and value in varied:
            raise GradientError(
                f"{where(node)}: {reader} closes over '{value.name}', which is differentiated, and "
                f"says nothing of how the function depends on it; pass it to '{node.op_name}' as an argument."
            )
        found.append(Constant(x, jax.typeof(x)) if value is None else value)
    return tuple(found)
