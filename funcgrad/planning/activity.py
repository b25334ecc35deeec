"""Which nodes and arguments a backward pass must visit: those between what is wanted and what it is wanted of."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from funcgrad.graph import Node, Structure, Value


@dataclass(frozen=True)
class Activity:
    """The part of a graph through which cotangents flow."""

    positions: dict[Node, tuple[int, ...]]
    """For every node on the way, the inputs that get a cotangent."""
    reached: frozenset[Value]
    """The values that get a cotangent."""


def find_activity(
    structure: Structure,
    wanted: Collection[Value],
    sources: Collection[Value],
    blocks: Callable[[Node, int], bool],
) -> Activity:
    """Find the nodes that depend on `wanted` and that `sources` depend on.

    A value depends on `wanted` through an inexact input that its node does not block.
    """
    varied = set(wanted)
    candidates: list[tuple[Node, tuple[int, ...]]] = []
    for node in structure.nodes:
        positions = tuple(i for i, v in enumerate(node.inputs) if v in varied and not blocks(node, i))
        outputs = [v for v in node.outputs if v.is_inexact]
        if positions and outputs:
            varied.update(outputs)
            candidates.append((node, positions))
    useful = {v for v in sources if v in varied}
    active: dict[Node, tuple[int, ...]] = {}
    for node, positions in reversed(candidates):
        if any(v in useful for v in node.outputs):
            active[node] = positions
            useful.update(v for i in positions if isinstance(v := node.inputs[i], Value))
    return Activity(dict(reversed(active.items())), frozenset(useful))
