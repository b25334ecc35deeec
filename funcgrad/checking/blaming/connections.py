"""Who makes and who reads each value of a graph, at any depth of loops and branches, and in which order they run."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from funcgrad.graph import Constant, Measurement, Node, Structure, Value


class Place(NamedTuple):
    """A node, and where its turn comes."""

    node: Node
    path: tuple[int | None, ...]
    """Positions from the outside in; None where the turn of a loop belongs."""
    backwards: tuple[bool, ...]
    """For each loop around it, whether it runs from the last slice to the first."""

    def order(self, turn: Sequence[int], loops: tuple[int, ...]) -> tuple[int, ...]:
        """When it runs at these turns, comparable with other nodes."""
        steps = iter(n - 1 - t if b else t for t, n, b in zip(turn, loops, self.backwards, strict=True))
        return tuple(next(steps) if p is None else p for p in self.path)


class Entry(NamedTuple):
    """Where an input of a body comes from."""

    outside: Value | Constant
    fed_back: Value | Constant | None
    """What the turn before returned for it."""
    backwards: bool


class Exit(NamedTuple):
    """Where an output of a body goes to."""

    outside: Value
    fed_back: Value | None
    """The input of the next turn."""
    backwards: bool


@dataclass(frozen=True, eq=False)
class Connections:
    """Who makes and who reads each value, at any depth.

    An output of a body is no value of the graph outside: `entries` and `exits` are the ways between the two.
    """

    structure: Structure

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """All nodes in forward order, but those that measure; what a node holds comes after it."""
        return tuple(_places(self.structure, (), ()))

    @cached_property
    def maker(self) -> dict[Value, Place]:
        """Who makes a value."""
        return {v: place for place in self.places for v in place.node.outputs}

    @cached_property
    def readers(self) -> dict[Value, list[Place]]:
        """Who reads a value, in its own graph."""
        found: dict[Value, list[Place]] = defaultdict(list)
        for place in self.places:
            for v in dict.fromkeys(place.node.inputs):
                if isinstance(v, Value):
                    found[v].append(place)
        return found

    @cached_property
    def entries(self) -> dict[Value, Entry]:
        """Inputs of bodies."""
        found = {}
        for node in (p.node for p in self.places):
            for body in node.bodies:
                outputs = body.structure.outputs
                back = {i: outputs[o] for o, i in body.holder.feedback}
                for i, v in enumerate(body.structure.inputs):
                    found[v] = Entry(node.inputs[body.holder.offset + i], back.get(i), body.holder.backwards)
        return found

    @cached_property
    def exits(self) -> dict[Value, list[Exit]]:
        """Outputs of bodies."""
        found: dict[Value, list[Exit]] = defaultdict(list)
        for node in (p.node for p in self.places):
            for body in node.bodies:
                back = dict(body.holder.feedback)
                for o, v in enumerate(body.structure.outputs):
                    if isinstance(v, Value):
                        fed_back = body.structure.inputs[back[o]] if o in back else None
                        found[v].append(Exit(node.outputs[o], fed_back, body.holder.backwards))
        return found


def _places(structure: Structure, path: tuple[int | None, ...], backwards: tuple[bool, ...]) -> Iterator[Place]:
    for i, node in enumerate(structure.nodes):
        if isinstance(node.function, Measurement):
            continue
        yield Place(node, (*path, i), backwards)
        for body in node.bodies:
            n = len(body.holder.lengths)
            inner, directions = (*path, i, *(None,) * n), (*backwards, *(body.holder.backwards,) * n)
            yield from _places(body.structure, inner, directions)
