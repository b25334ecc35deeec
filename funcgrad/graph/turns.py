"""One turn of a value inside of loops, as a value of the graph around them.

The loop's body returns the value beside what it returned before, so that the loop has it of all turns, and a node takes
the turn that is asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import jax

from funcgrad.aliases import Array
from funcgrad.errors import GradientError
from funcgrad.graph.graphs import Graph, evaluate
from funcgrad.graph.structures import Body, Structure
from funcgrad.graph.values import Node, Value
from funcgrad.naming import Names
from funcgrad.primitive import Scan
from funcgrad.registry import Equation

Turn = tuple[int, ...]
"""A turn for each of the loops that a value is in, the outermost first."""


def checked_turn(value: Value, turn: Turn) -> Turn:
    """A turn of a value, each number counted from the front.

    Raises:
        GradientError: the value is in no loop, in another number of loops, or they have fewer turns.
    """
    if not value.loops:
        raise GradientError(f"'{value.name}' is in no loop, so it has no turns; leave out turn={_written(turn)}.")
    if len(turn) != len(value.loops):
        raise GradientError(
            f"'{value.name}' is in {len(value.loops)} loop{'s' * (len(value.loops) > 1)}, of "
            f"{' and '.join(map(str, value.loops))} turns, the outermost first; turn= takes a number for each, got "
            f"{_written(turn)}."
        )
    if not all(-n <= t < n for t, n in zip(turn, value.loops, strict=True)):
        raise GradientError(
            f"'{value.name}' has {' times '.join(map(str, value.loops))} turns, counted from 0, or from -1 backwards, "
            f"got turn={_written(turn)}."
        )
    return tuple(t % n for t, n in zip(turn, value.loops, strict=True))


def _written(turn: Turn) -> str:
    return str(turn[0] if len(turn) == 1 else turn)


def with_turns(graph: Graph, turns: Mapping[str, tuple[Value, Turn]]) -> tuple[Graph, dict[str, Value]]:
    """The graph in which turns of values inside of loops are values, and these by the names that they are asked by.

    Raises:
        GradientError: a value is inside of a branch or a checkpoint, which returns nothing of its inside.
    """
    structure, found = graph.structure, {}
    for name, (value, turn) in turns.items():
        structure, found[name] = _with_turn(structure, name, value, turn)
    return replace(graph, structure=structure), found


def _with_turn(structure: Structure, name: str, value: Value, turn: Turn) -> tuple[Structure, Value]:
    names = structure.names
    structure, stacked, at = _returning(structure, value, names)

    def take(x: Array) -> Array:
        return x[turn]

    take.__name__ = "turn"
    (equation,) = jax.make_jaxpr(jax.jit(take))(stacked.aval).eqns
    taken = Value(names.give(name), value.aval)
    node = Node(taken.name, structure.nodes[at].scope, Equation.of(equation), (stacked,), (taken,), (), equation)
    nodes = (*structure.nodes[: at + 1], node, *structure.nodes[at + 1 :])
    return replace(structure, nodes=nodes), taken


def _returning(structure: Structure, value: Value, names: Names) -> tuple[Structure, Value, int]:
    """The graph in which the loop around a value returns it; its turns, stacked; and where the loop stands."""
    at, node, k = next(
        (i, node, k)
        for i, node in enumerate(structure.nodes)
        for k, body in enumerate(node.bodies)
        if any(v is value for v in body.structure.values)
    )
    body = node.bodies[k]
    if not isinstance(node.holder, Scan) or not isinstance(node.function, Equation):
        raise GradientError(
            f"of='{value.name}' is inside '{node.name}' (a {node.op_name}), which returns nothing of what it does; "
            f"return it from there, and name what comes out with fg.name."
        )
    inside, inner = body.structure, value
    if value not in inside.inputs and all(value not in n.outputs for n in inside.nodes):
        inside, inner, _ = _returning(inside, value, names)
    inside = replace(inside, outputs=(*inside.outputs, inner))
    aval = jax.ShapeDtypeStruct((inside.loops[-1], *inner.aval.shape), inner.aval.dtype)
    stacked = Value(names.give(f"{value.name}:turns"), aval, structure.loops)
    function = Returning(node.function.source, node.function.applied, body=replace(body, structure=inside))
    grown = replace(node, function=function, outputs=(*node.outputs, stacked), bodies=(function.body,))
    return replace(structure, nodes=(*structure.nodes[:at], grown, *structure.nodes[at + 1 :])), stacked, at


@dataclass(frozen=True, eq=False)
class Returning(Equation):
    """A loop whose body returns more than its equation says."""

    body: Body = field(kw_only=True)

    def run(self, *leaves: Array) -> list[Array]:
        """The loop, from its body."""

        def turn(*inputs: Array) -> list[Array]:
            return evaluate(self.body.structure, (), inputs)

        return self.body.holder.run([turn], *leaves)
