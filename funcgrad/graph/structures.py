"""A DAG without its arrays, and the DAGs that its nodes hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from funcgrad.graph.values import Constant, Measurement, Node, Value
from funcgrad.naming import Names


@dataclass(frozen=True, eq=False)
class Structure:
    """Nodes in topological order, and what goes in and out."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    constants: tuple[Value, ...]
    outputs: tuple[Value | Constant, ...]
    loops: tuple[int, ...] = ()
    """The lengths of the loops it is in."""

    @property
    def values(self) -> Iterator[Value]:
        """Inputs, then every node's outputs; after those of a loop or branch, the values inside."""
        yield from self.inputs
        for node in self.nodes:
            yield from node.outputs
            for body in node.bodies:
                yield from body.structure.values

    @property
    def names(self) -> Names:
        """The names of all values and nodes, so that what is added has others."""
        return Names(self._all_names)

    @cached_property
    def _all_names(self) -> set[str]:
        """Kept, for all traces of one jitted function share its graph."""
        own = (*self.constants, *self.inputs, *self.nodes, *(v for node in self.nodes for v in node.outputs))
        inside = (body.structure._all_names for node in self.nodes for body in node.bodies)
        return {x.name for x in own}.union(*inside)

    @property
    def observed(self) -> Iterator[Value]:
        """What measuring nodes make, here and inside of nodes; nothing is measured where traces share a graph."""
        for node in self.nodes:
            if isinstance(node.function, Measurement):
                yield from node.outputs
            for body in node.bodies:
                if body.found is None:
                    yield from body.structure.observed

    @property
    def all_nodes(self) -> Iterator[Node]:
        """The nodes; after a loop or branch, those inside."""
        for node in self.nodes:
            yield node
            for body in node.bodies:
                yield from body.structure.all_nodes

    def upto(self, outputs: Sequence[Value | Constant], beside: Sequence[Value] = ()) -> "Structure":
        """The part that computes `outputs`, and the values `beside` them: the nodes they depend on, and what has
        effects before the last of these.
        """
        needed, nodes = {*outputs, *beside}, []
        for node in reversed(self.nodes):
            if (nodes and node.has_effects) or not needed.isdisjoint(node.outputs):
                nodes.append(node)
                needed.update(node.inputs)
        return replace(self, nodes=tuple(reversed(nodes)), outputs=tuple(outputs))


@dataclass(frozen=True, eq=False)
class Body:
    """A graph inside a node: of a loop's turn, of a branch, of a checkpoint.

    The node's inputs, from position `offset` on, are the inputs of `structure`, and its outputs those of `structure`.
    In a loop they are so turn by turn: `feedback` lists pairs (output, input), the output of one turn being that input
    of the next; other inputs and outputs may be slices of the node's.
    """

    structure: Structure
    offset: int
    feedback: tuple[tuple[int, int], ...]
    found: dict[Any, Any] | None = None
    """What planning found of it, where all traces of one jitted function share it; None for one trace's own."""
