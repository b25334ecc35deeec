"""A graph as what can be shown of it."""

from collections.abc import Iterable, Sequence

from funcgrad.aliases import Aval
from funcgrad.errors import describe
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.view import Box, Facts, Row, Scene, Wire


def make_scene(structure: Structure) -> Scene:
    """The boxes of a graph, and those of the graphs that its nodes hold."""
    return _scene(structure, Wires())


def _scene(structure: Structure, wires: "Wires", entries: Sequence[tuple[Wire, Wire]] = ()) -> Scene:
    return wires.scene(structure, (_box(node, wires) for node in structure.nodes), entries)


def _box(node: Node, wires: "Wires") -> Box:
    scenes = tuple(_scene(body.structure, wires, wires.entries(node, i)) for i, body in enumerate(node.bodies))
    return wires.box(node, scenes)


class Wires:
    """The wires that stand for values, and what is made of them."""

    def __init__(self) -> None:
        self._found: dict[Value | Constant, Wire] = {}
        self._shapes: dict[Aval, str] = {}  # a graph of a thousand values has a few dozen kinds of them

    def of(self, values: Iterable[Value | Constant]) -> tuple[Wire, ...]:
        """The wires of values; what is written into the graph has one by its number."""
        return tuple(map(self._wire, values))

    def _wire(self, value: Value | Constant) -> Wire:
        if value not in self._found:
            is_constant = isinstance(value, Constant)
            self._found[value] = Wire(value.name, "" if is_constant else self._shape(value.aval), is_constant)
        return self._found[value]

    def _shape(self, aval: Aval) -> str:
        if aval not in self._shapes:
            self._shapes[aval] = describe(aval)
        return self._shapes[aval]

    def entries(self, node: Node, i: int) -> list[tuple[Wire, Wire]]:
        """What goes into the `i`th graph that a node holds: pairs of the wire outside and the one inside."""
        body = node.bodies[i]
        inside = body.structure.inputs
        outside = node.inputs[body.holder.offset :][: len(inside)]
        return list(zip(self.of(outside), self.of(inside), strict=True))

    def box(self, node: Node, scenes: tuple[Scene, ...], row: Row | None = None) -> Box:
        """A node, with the graphs that it holds and what a plan says of it."""
        return Box(node.name, node.scope, node.op_name, self.of(node.inputs), self.of(node.outputs), scenes, row)

    def scene(
        self,
        structure: Structure,
        boxes: Iterable[Box],
        entries: Sequence[tuple[Wire, Wire]] = (),
        facts: Facts | None = None,
    ) -> Scene:
        """A graph whose nodes are `boxes`."""
        return Scene(tuple(boxes), self.of(structure.inputs), self.of(structure.outputs), tuple(entries), facts)
