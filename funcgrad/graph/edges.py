"""Uses of a value apart: what each of its readers gives back, before it is added up."""

from collections.abc import Collection
from dataclasses import replace

import jax

from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Node, Value
from funcgrad.naming import name
from funcgrad.registry import Equation


def apart(structure: Structure, values: Collection[Value]) -> tuple[Structure, dict[Value, tuple[str, str]]]:
    """The graph in which every node reads its own copy of each of the values.

    Returns:
        The graph, and for each copy the names of the value and of the node that reads it.
    """
    copies: dict[Value, tuple[str, str]] = {}
    return _apart(structure, values, copies), copies


def _apart(structure: Structure, values: Collection[Value], copies: dict[Value, tuple[str, str]]) -> Structure:
    nodes: list[Node] = []
    for node in structure.nodes:
        read = [v for v in node.inputs if isinstance(v, Value) and v in values]
        own = {v: Value(f"{v.name}>{node.name}", v.aval, v.loops) for v in dict.fromkeys(read)}
        for v, copy in own.items():
            copies[copy] = (v.name, node.name)
            nodes.append(Node(copy.name, node.scope, _label(v), (v,), (copy,)))
        inputs = tuple(own.get(v, v) if isinstance(v, Value) else v for v in node.inputs)
        bodies = tuple(replace(b, structure=_apart(b.structure, values, copies)) for b in node.bodies)
        nodes.append(replace(node, inputs=inputs, bodies=bodies) if own or bodies else node)
    return replace(structure, nodes=tuple(nodes))


def _label(value: Value) -> Equation:
    """An equation that hands on a value as it is."""
    return Equation(jax.make_jaxpr(lambda x: name(x, "use"))(value.aval).eqns[0])
