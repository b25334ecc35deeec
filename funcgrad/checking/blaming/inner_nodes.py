"""Inside of what the graph shows as one node (a `while` loop, a custom derivative): the inner node, and its turn.

The function is run once more, node by node outside of `jit`, up to where the number is born; there, the graph that the
node holds is run in the same way.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from funcgrad.checking.blaming.conditions import level_of
from funcgrad.graph import Node, Structure, Value, open_jaxpr, read
from funcgrad.primitive import as_function, closed, loop_of
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
    source = node.function.source
    if source.primitive.name == "while":
        found = _in_while(source.params, leaves)
    elif source.primitive.name == "scan":
        found = _in_scan(source, leaves)
    elif source.primitive.name == "cond":
        found = _Body(source.params["branches"][int(leaves[0])]).descend(leaves[1:])
    else:
        held = [closed(x) for x in source.params.values() if hasattr(x, "eqns") or hasattr(x, "consts")]
        fitting = [x for x in held if len(x.in_avals) == len(leaves)]
        found = _Body(fitting[0]).descend(leaves) if fitting else None
    return found and found._replace(holders=(node.name, *found.holders))


class _Body:
    """A jaxpr, to be run as a whole or node by node."""

    def __init__(self, jaxpr: Any):
        self.closed = closed(jaxpr)
        self.run = jax.jit(as_function(self.closed))

    def descend(self, leaves: Sequence[Any]) -> Inner | None:
        structure = open_jaxpr(self.closed)
        values = dict(zip(structure.inputs, leaves, strict=True))
        return descend(structure, values | dict(zip(structure.constants, self.closed.consts, strict=True)))


def _in_while(params: Mapping[str, Any], leaves: Sequence[Any]) -> Inner | None:
    n, m = params["cond_nconsts"], params["body_nconsts"]
    goes_on, body = _Body(params["cond_jaxpr"]), _Body(params["body_jaxpr"])
    of_condition, of_body, carry = leaves[:n], leaves[n : n + m], list(leaves[n + m :])
    for turn in range(_MOST_TURNS):
        if not bool(goes_on.run(*of_condition, *carry)[0]):
            return None
        after = body.run(*of_body, *carry)
        if _is_born(after, [*of_body, *carry]):
            found = body.descend([*of_body, *carry])
            return found and found._replace(turns=(turn, *found.turns))
        carry = after
    return None


def _in_scan(equation: Any, leaves: Sequence[Any]) -> Inner | None:
    loop, body = loop_of(equation), _Body(equation.params["jaxpr"])
    constants, carry, slices = (
        leaves[: loop.n_constants],
        list(leaves[loop.n_constants : loop.n_unsliced]),
        leaves[loop.n_unsliced :],
    )
    turns = range(min(loop.length, _MOST_TURNS))
    for turn in reversed(turns) if loop.backwards else turns:
        entering = [*constants, *carry, *(x[turn] for x in slices)]
        after = body.run(*entering)
        if _is_born(after, entering):
            found = body.descend(entering)
            return found and found._replace(turns=(turn, *found.turns))
        carry = after[: loop.n_carry]
    return None


def _is_born(outputs: Sequence[Any], inputs: Sequence[Any]) -> bool:
    return max(map(level_of, outputs), default=0) > max(map(level_of, inputs), default=0)
