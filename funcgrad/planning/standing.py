"""Where the nodes and values of a graph stand, those inside of loops and branches too."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from funcgrad.graph import Body, Constant, Node, Structure, Value


class Standing(NamedTuple):
    """Where a node stands, or the one that makes a value."""

    structure: Structure
    place: int
    """Its place in that; -1 for what the graph takes, which is there before all nodes."""
    body: Body | None = None
    """What the graph is of the node that holds it."""
    around: Node | None = None
    """That node."""

    @property
    def node(self) -> Node | None:
        """The node; none for what the graph takes."""
        return self.structure.nodes[self.place] if self.place >= 0 else None


@dataclass(frozen=True, eq=False)
class Standings:
    """Those of one graph."""

    structure: Structure

    @cached_property
    def of_node(self) -> dict[Node, Standing]:
        """Where each node stands."""
        return {at.structure.nodes[at.place]: at for at in _places(Standing(self.structure, -1)) if at.place >= 0}

    @cached_property
    def of_value(self) -> dict[Value, Standing]:
        """Where each value is made."""
        found: dict[Value, Standing] = {}
        for at in _places(Standing(self.structure, -1)):
            structure = at.structure
            made = at.node.outputs if at.node is not None else (*structure.inputs, *structure.constants)
            found |= dict.fromkeys(made, at)
        return found

    def outside(self, value: Value) -> Value | Constant | None:
        """What a value is outside of the graph that takes it, all of it or by slices; None of what turns hand on."""
        at = self.of_value[value]
        if at.place >= 0 or at.body is None or at.around is None:
            return None
        i, holder = at.structure.inputs.index(value), at.body.holder
        return None if any(i == taken for _, taken in holder.feedback) else at.around.inputs[holder.offset + i]


def _places(at: Standing) -> Iterator[Standing]:
    """What a graph takes, and its nodes, those inside of others included."""
    yield at
    for i, node in enumerate(at.structure.nodes):
        yield at._replace(place=i)
        for body in node.bodies:
            yield from _places(Standing(body.structure, -1, body, node))
