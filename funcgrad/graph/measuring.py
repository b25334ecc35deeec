"""Watching values of a graph: nodes that measure them, put in without changing what the graph computes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import jax

from funcgrad.aliases import Aval
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Measurement, Node, Value
from funcgrad.naming import Names


def measured(
    structure: Structure, values: Mapping[Value, Measurement]
) -> tuple[Structure, dict[Value, tuple[Value, ...]]]:
    """The graph with a measuring node behind each of the values, and the values it makes, one per statistic.

    Values may stand inside of loops, branches and checkpoints; `measurable` lists those that can.
    """
    measures = _Measures(values, structure.names)
    return measures.put_into(structure), measures.made


def measurable(structure: Structure) -> Iterator[Value]:
    """The values that can be watched: all floating ones but those inside `while` loops, which nobody can count."""
    yield from (v for v in structure.inputs if v.is_inexact)
    for node in structure.nodes:
        yield from (v for v in node.outputs if v.is_inexact)
        if node.holder is not None and node.holder.is_countable:
            for body in node.bodies:
                yield from measurable(body.structure)


class _Measures:
    """The measuring nodes of a graph, as they are made."""

    def __init__(self, values: Mapping[Value, Measurement], names: Names):
        self.values = values
        self.names = names
        self.made: dict[Value, tuple[Value, ...]] = {}
        self.avals: dict[tuple[Measurement, Aval], list[Aval]] = {}

    def put_into(self, structure: Structure) -> Structure:
        nodes = [self.node(v) for v in structure.inputs if v in self.values]
        for node in structure.nodes:
            if node.holder is not None and node.holder.is_countable:
                bodies = (replace(body, structure=self.put_into(body.structure)) for body in node.bodies)
                node = replace(node, bodies=tuple(bodies))
            nodes.append(node)
            nodes += [self.node(v) for v in node.outputs if v in self.values]
        return replace(structure, nodes=tuple(nodes))

    def node(self, value: Value) -> Node:
        measurement = self.values[value]
        key = (measurement, value.aval)
        if key not in self.avals:
            self.avals[key] = jax.eval_shape(measurement.run, value.aval)
        names = (self.names.give(f"{value.name}:{name}") for name, _ in measurement.statistics)
        outputs = (Value(name, aval, value.loops) for name, aval in zip(names, self.avals[key], strict=True))
        self.made[value] = tuple(outputs)
        return Node(self.names.give(f"{value.name}:measure"), "", measurement, (value,), self.made[value])
