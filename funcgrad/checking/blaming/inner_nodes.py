"""Inside of what the graph shows as one node (a `while` loop, a custom derivative): the inner node, and its turn.

The function is run once more, node by node outside of `jit`, up to where the number is born; there, the graph that the
node holds is run in the same way.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import jax

from funcgrad.checking.blaming.conditions import level_of
from funcgrad.graph import Node, Structure, Value, open_jaxpr, read
from funcgrad.primitive import Scan, While, as_function, closed, holder_of
from funcgrad.registry import Equation

_MOST_TURNS = 100_000
"""Of a loop that is followed turn by turn; a longer one is named as a whole."""


class Inner(NamedTuple):
    """The innermost node that makes what is not finite."""

    node: Node
    turns: tuple[int, ...]
    """Of the loops around it, from the outside in; those in the middle of which it stands."""
    holders: tuple[str, ...]
    """The nodes that hold it."""


def descend(structure: Structure, values: Mapping[Value, Any]) -> Inner | None:
    """The first node, at any depth, whose output is worse than all it reads; None if there is none after all.

    `values` are arrays for the graph's inputs and constants.
    """
    known: dict[Value, Any] = dict(values)
    for node in structure.nodes:
        leaves = read(node.inputs, known)
        outputs = node.run(*leaves)
        if _is_born(outputs, leaves):
            return _inside(node, leaves) or Inner(node, (), ())
        known.update(zip(node.outputs, outputs, strict=True))
    return None


def _inside(node: Node, leaves: Sequence[Any]) -> Inner | None:
    """The culprit inside of a node that holds graphs."""
    if not isinstance(node.function, Equation):
        return None
    holder = holder_of(node.function.source)
    if isinstance(holder, Scan | While):
        found = _in_turns(holder, leaves)
    elif holder is not None and (entering := holder.entering(leaves)) is not None:
        k, inputs = entering
        found = _in_jaxpr(holder.jaxprs[k], inputs)
    else:
        held = [closed(x) for x in node.function.source.params.values() if hasattr(x, "eqns") or hasattr(x, "consts")]
        fitting = [x for x in held if len(x.in_avals) == len(leaves)]
        found = _in_jaxpr(fitting[0], leaves) if fitting else None
    return found and found._replace(holders=(node.name, *found.holders))


def _in_jaxpr(inner: Any, leaves: Sequence[Any]) -> Inner | None:
    structure = open_jaxpr(inner)
    values = dict(zip(structure.inputs, leaves, strict=True))
    return descend(structure, values | dict(zip(structure.constants, inner.consts, strict=True)))


def _in_turns(loop: Scan | While, leaves: Sequence[Any]) -> Inner | None:
    (body,) = loop.jaxprs
    for turn in islice(loop.turns(leaves, jax.jit(as_function(body))), _MOST_TURNS):
        if _is_born(turn.outputs, turn.inputs):
            found = _in_jaxpr(body, turn.inputs)
            return found and found._replace(turns=(turn.number, *found.turns))
    return None


def _is_born(outputs: Sequence[Any], inputs: Sequence[Any]) -> bool:
    return max(map(level_of, outputs), default=0) > max(map(level_of, inputs), default=0)
