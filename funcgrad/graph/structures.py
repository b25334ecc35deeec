"""A DAG without its arrays, and the DAGs that its nodes hold."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

from funcgrad.graph.values import Constant, Measurement, Node, Value
from funcgrad.naming import Names
from funcgrad.primitive import Holder, current_context
from funcgrad.registry import Call

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Structure:
    """Nodes in topological order, and what goes in and out."""

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    constants: tuple[Value, ...]
    outputs: tuple[Value | Constant, ...]
    loops: tuple[int, ...] = ()
    """The lengths of the loops it is in."""
    modules: Mapping[str, type] = field(default_factory=dict, repr=False)
    """The classes of the modules that scopes are named after."""

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

    def only_reader(self, node: Node) -> Node | None:
        """The node that alone reads what another makes; None where several do, or the graph returns it."""
        if len(node.outputs) != 1 or node.outputs[0] in self.outputs:
            return None
        readers = self.readers(node.outputs[0])
        return readers[0] if len(readers) == 1 else None

    def maker(self, x: Value | Constant) -> Node | None:
        """The node that makes a value; None of what goes in."""
        return self._makers.get(x)

    @cached_property
    def _makers(self) -> dict[Value | Constant, Node]:
        return {v: node for node in self.nodes for v in node.outputs}

    def readers(self, x: Value) -> Sequence[Node]:
        """The nodes that read a value."""
        return self._readers.get(x, ())

    @cached_property
    def _readers(self) -> dict[Value | Constant, list[Node]]:
        found: dict[Value | Constant, list[Node]] = {}
        for node in self.nodes:
            for x in dict.fromkeys(node.inputs):
                found.setdefault(x, []).append(node)
        return found

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

    The node's inputs, from the holder's `offset` on, are the inputs of `structure`, and its outputs those of
    `structure`. In a loop they are so turn by turn, and the holder's `feedback` says what comes back; other inputs and
    outputs may be slices of the node's.
    """

    structure: Structure
    holder: Holder
    """What the node is."""
    found: dict[Any, Any] | None = None
    """What planning found of it, where all traces of one jitted function share it; None for one trace's own.

    JAX has one jaxpr for all calls of a jitted function with arguments of the same avals, and what is opened, found
    active, planned and compiled of it is kept beside that jaxpr, for as long as it lives.
    """

    def remembered(self, key: tuple[Hashable, ...], make: Callable[[], T]) -> T:
        """What `make` finds of it, once for all traces that share it; of one trace's own body, each time.

        It depends on the context that decides a trace, and on the rules of the ops inside, of which more may be
        registered.
        """
        if self.found is None:
            return make()
        if "ops" not in self.found:
            calls = (n.function for n in self.structure.all_nodes if isinstance(n.function, Call))
            self.found["ops"] = tuple(dict.fromkeys(call.op for call in calls))
        rules = tuple(rule for op in self.found["ops"] for rule in op.rules.items())
        key = (current_context(), rules, *key)
        if key not in self.found:
            self.found[key] = make()
        return self.found[key]
