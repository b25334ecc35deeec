"""Watching values of a graph: nodes that measure them, put in without changing what the graph computes."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import jax

from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Measurement, Node, Value


def measured(
    structure: Structure, values: Mapping[Value, Measurement]
) -> tuple[Structure, dict[Value, tuple[Value, ...]]]:
    """The graph with a measuring node behind each of the values, and the values it makes, one per statistic.

    Values may stand inside of loops, branches and checkpoints; `measurable` lists those that can.
    """
    made: dict[Value, tuple[Value, ...]] = {}
    return _measured(structure, values, made), made


def measurable(structure: Structure) -> Iterator[Value]:
    """The values that can be watched: all floating ones but those inside `while` loops, which nobody can count."""
    yield from (v for v in structure.inputs if v.is_inexact)
    for node in structure.nodes:
        yield from (v for v in node.outputs if v.is_inexact)
        if node.op_name != "while":
            for body in node.bodies:
                yield from measurable(body.structure)


def _measured(
    structure: Structure, values: Mapping[Value, Measurement], made: dict[Value, tuple[Value, ...]]
) -> Structure:
    nodes = [_measure(v, values[v], made) for v in structure.inputs if v in values]
    for node in structure.nodes:
        if node.bodies and node.op_name != "while":
            bodies = (replace(b, structure=_measured(b.structure, values, made)) for b in node.bodies)
            node = replace(node, bodies=tuple(bodies))
        nodes.append(node)
        nodes += [_measure(v, values[v], made) for v in node.outputs if v in values]
    return replace(structure, nodes=tuple(nodes))


def _measure(value: Value, measurement: Measurement, made: dict[Value, tuple[Value, ...]]) -> Node:
    avals = jax.eval_shape(measurement.run, value.aval)
    names = (f"{value.name}:{name}" for name, _ in measurement.statistics)
    made[value] = tuple(Value(name, aval, value.loops) for name, aval in zip(names, avals, strict=True))
    return Node(f"{value.name}:measure", "", measurement, (value,), made[value])
