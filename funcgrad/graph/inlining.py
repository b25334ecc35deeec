"""Graphs without the nodes that only hold a part of them."""

from collections.abc import Mapping
from dataclasses import replace

from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Node, Value
from funcgrad.primitive import Checkpoint


def without_checkpoints(structure: Structure) -> Structure:
    """The graph with the nodes of its checkpoints, and of those in what it holds, in their places.

    They keep their names. What the outputs of a checkpoint were called, nothing is any more; a checkpoint that nothing
    is known of the inside stays.
    """
    nodes: list[Node] = []
    known: dict[Value | Constant, Value | Constant] = {}
    for node in structure.nodes:
        node = _reading(node, known)
        bodies = tuple(replace(b, structure=without_checkpoints(b.structure), found=None) for b in node.bodies)
        if isinstance(node.holder, Checkpoint):
            (inside,) = (body.structure for body in bodies)
            here: dict[Value | Constant, Value | Constant] = dict(zip(inside.inputs, node.inputs, strict=True))
            nodes += [_reading(inner, here) for inner in inside.nodes]
            known |= zip(node.outputs, (here.get(v, v) for v in inside.outputs), strict=True)
        else:
            nodes.append(replace(node, bodies=bodies))
    return replace(structure, nodes=tuple(nodes), outputs=tuple(known.get(v, v) for v in structure.outputs))


def _reading(node: Node, known: Mapping[Value | Constant, Value | Constant]) -> Node:
    """The node, with what is `known` for its inputs."""
    return replace(node, inputs=tuple(known.get(v, v) for v in node.inputs))
