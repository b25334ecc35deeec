"""Which nodes and arguments a backward pass must visit: those between what is wanted and what it is wanted of."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from funcgrad.graph import Body, Node, Structure, Value


@dataclass(frozen=True)
class Activity:
    """The part of a graph through which cotangents flow."""

    positions: dict[Node, tuple[int, ...]]
    """For every node on the way, the inputs that get a cotangent."""
    reached: frozenset[Value]
    """The values that get a cotangent."""
    inside: "dict[Node, tuple[BodyActivity, ...]]" = field(default_factory=dict)
    """The same for the graphs that nodes hold."""


@dataclass(frozen=True)
class BodyActivity:
    """The active part of a graph that a node holds."""

    inputs: tuple[int, ...]
    """The inputs of the body that get a cotangent."""
    outputs: tuple[int, ...]
    """The outputs of the body that can have one."""
    activity: Activity


Blocks = Callable[[Node, int], bool]
"""Whether a node passes no cotangent to the input at a position."""


def find_activity(
    structure: Structure, wanted: Collection[Value], sources: Collection[Value], blocks: Blocks
) -> Activity:
    """Find the nodes that depend on `wanted` and that `sources` depend on.

    A value depends on `wanted` through an inexact input that its node does not block. Wanted values may stand inside
    of loops and branches.
    """
    return _Search(frozenset(wanted), blocks).between(structure, frozenset(), sources)


class _Search:
    """What is wanted, at any depth, and what blocks."""

    def __init__(self, wanted: frozenset[Value], blocks: Blocks):
        self.wanted = wanted
        self.blocks = blocks

    def between(self, structure: Structure, given: Collection[Value], sources: Iterable[Value]) -> Activity:
        """The activity between the values `given` (and all that are wanted) and `sources`."""
        varied, candidates = self.vary(structure, given)
        useful = {v for v in sources if v in varied}
        active: dict[Node, tuple[int, ...]] = {}
        inside: dict[Node, tuple[BodyActivity, ...]] = {}
        for node, positions in reversed(candidates):
            used = [i for i, v in enumerate(node.outputs) if v in useful]
            if not used:
                continue
            if node.bodies:
                inside[node] = tuple(self.within(b, positions, used) for b in node.bodies)
                found = {i + b.offset for b, a in zip(node.bodies, inside[node], strict=True) for i in a.inputs}
                positions = tuple(p for p in positions if p in found)
                useful.update(v for a in inside[node] for v in a.activity.reached)
            active[node] = positions
            useful.update(v for i in positions if isinstance(v := node.inputs[i], Value))
        return Activity(dict(reversed(active.items())), frozenset(useful), inside)

    def vary(
        self, structure: Structure, given: Collection[Value]
    ) -> tuple[set[Value], list[tuple[Node, tuple[int, ...]]]]:
        """What depends on the values `given` and those wanted; the nodes on the way, with the inputs that do."""
        varied = {*given, *self.wanted}
        candidates = []
        for node in structure.nodes:
            positions = tuple(i for i, v in enumerate(node.inputs) if v in varied and not self.blocks(node, i))
            if outputs := [v for v in self.varied_outputs(node, positions) if v.is_inexact]:
                varied.update(outputs)
                candidates.append((node, positions))
        return varied, candidates

    def varied_outputs(self, node: Node, positions: tuple[int, ...]) -> list[Value]:
        """The outputs of a node that depend on its inputs at `positions`, or on values wanted inside."""
        if not node.bodies:
            return list(node.outputs) if positions else []
        return [node.outputs[k] for body in node.bodies for k in self.circulate(body, positions)[1]]

    def circulate(self, body: Body, positions: tuple[int, ...]) -> tuple[set[int], set[int]]:
        """The inputs and outputs of a body that vary when the node's inputs at `positions` do, over all turns."""
        structure = body.structure
        inputs = {p - body.offset for p in positions if 0 <= p - body.offset < len(structure.inputs)}
        while True:
            varied, _ = self.vary(structure, [structure.inputs[i] for i in inputs])
            outputs = {k for k, v in enumerate(structure.outputs) if v in varied}
            returning = {i for k, i in body.feedback if k in outputs}
            if returning <= inputs:
                return inputs, outputs
            inputs |= returning

    def within(self, body: Body, positions: tuple[int, ...], used: Collection[int]) -> BodyActivity:
        """The activity of a body whose node uses the outputs `used`: those that come back are used by other turns."""
        structure = body.structure
        inputs, outputs = self.circulate(body, positions)
        given, used = [structure.inputs[i] for i in inputs], set(used)
        while True:
            sources = {k: v for k in sorted(used & outputs) if isinstance(v := structure.outputs[k], Value)}
            activity = self.between(structure, given, sources.values())
            reached = tuple(i for i in sorted(inputs) if structure.inputs[i] in activity.reached)
            returning = {k for k, i in body.feedback if i in reached}
            if returning <= used:
                return BodyActivity(reached, tuple(sources), activity)
            used |= returning
