"""Which nodes and arguments a backward pass must visit: those between what is wanted and what it is wanted of."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

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
    moving: dict[Node, tuple[int, ...]] = field(default_factory=dict)
    """For every node on the way, the inputs that depend on what is wanted, whether or not a cotangent gets to them."""
    varied: frozenset[Value] = frozenset()
    """The values that depend on what is wanted, whether or not anything is made of them."""
    beside: frozenset[Value] = frozenset()
    """Watched values that get a cotangent, though they do not depend on what is wanted."""

    @property
    def all(self) -> "Iterator[Activity]":
        """It, and those of the graphs that nodes hold."""
        yield self
        for bodies in self.inside.values():
            for body in bodies:
                yield from body.activity.all

    def reaches(self, value: Value) -> bool:
        """Whether a value gets a cotangent, at any depth."""
        return any(value in part.reached for part in self.all)


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


@runtime_checkable
class Flow(Protocol):
    """How what moves, and what gets a cotangent, passes through a node that holds no graphs."""

    def moved(self, node: Node, moving: tuple[int, ...]) -> Sequence[int]:
        """Tell which outputs move where the inputs `moving` do."""
        ...

    def reached(self, node: Node, moving: tuple[int, ...], outputs: tuple[int, ...]) -> tuple[int, ...]:
        """Tell which of the inputs `moving` get a cotangent where the outputs at `outputs` have one."""
        ...


class EverywhereFlow:
    """Every output depends on every input."""

    def moved(self, node: Node, moving: tuple[int, ...]) -> Sequence[int]:
        """All of them."""
        del moving
        return range(len(node.outputs))

    def reached(self, node: Node, moving: tuple[int, ...], outputs: tuple[int, ...]) -> tuple[int, ...]:
        """All of them."""
        del node, outputs
        return moving


EVERYWHERE = EverywhereFlow()


@dataclass(frozen=True)
class Watching:
    """The values that are watched; they decide nothing, but are given what is there to be had."""

    values: frozenset[Value] = frozenset()
    serves: Blocks = lambda node, position: False  # noqa: ARG005  (of no watched value)
    """Whether a node that is visited anyway can give the input at a position its share as well."""


def find_activity(
    structure: Structure,
    wanted: Collection[Value],
    sources: Collection[Value],
    blocks: Blocks,
    flow: Flow = EVERYWHERE,
    watching: Watching | None = None,
) -> Activity:
    """Find the nodes that depend on `wanted` and that `sources` depend on.

    A value depends on `wanted` through an inexact input that its node does not block, as far as `flow` lets it. Wanted
    values may stand inside of loops and branches.
    """
    return _Search(frozenset(wanted), blocks, flow, watching or Watching()).between(structure, frozenset(), sources)


def find_varied(
    structure: Structure, given: Collection[Value], blocks: Blocks, flow: Flow = EVERYWHERE
) -> Collection[Value]:
    """Find the values that depend on the values `given`, these included."""
    return _Search(frozenset(), blocks, flow, Watching()).vary(structure, given)[0]


class _Search:
    """What is wanted, at any depth, and what blocks."""

    def __init__(self, wanted: frozenset[Value], blocks: Blocks, flow: Flow, watching: Watching):
        self.wanted = wanted
        self.blocks = blocks
        self.flow = flow
        self.watching = watching

    def between(self, structure: Structure, given: Collection[Value], sources: Iterable[Value]) -> Activity:
        """The activity between the values `given` (and all that are wanted) and `sources`."""
        varied, candidates = self.vary(structure, given)
        sources = tuple(sources)
        useful = {v for v in sources if v in varied}
        active: dict[Node, tuple[int, ...]] = {}
        inside: dict[Node, tuple[BodyActivity, ...]] = {}
        for node, moving in reversed(candidates):
            used = tuple(i for i, v in enumerate(node.outputs) if v in useful)
            if not used:
                continue
            if node.bodies:
                inside[node] = tuple(self.within(b, moving, used) for b in node.bodies)
                found = {i + b.holder.offset for b, a in zip(node.bodies, inside[node], strict=True) for i in a.inputs}
                positions = tuple(p for p in moving if p in found)
                if all(body.found is None for body in node.bodies):  # else nobody asks what is reached inside
                    useful.update(v for a in inside[node] for v in a.activity.reached)
            else:
                positions = self.flow.reached(node, moving, used)
            active[node] = positions
            useful.update(v for i in positions if isinstance(v := node.inputs[i], Value))
        moving = {node: at for node, at in candidates if node in active}
        positions = dict(reversed(active.items()))
        beside = {v for bodies in inside.values() for body in bodies for v in body.activity.beside}
        for value, uses in self.attend(structure, sources, positions, useful).items():
            beside.add(value)
            for node, i in uses:
                positions[node] = tuple(sorted({*positions[node], i}))
        return Activity(positions, frozenset(useful), inside, moving, frozenset(varied), frozenset(beside))

    def attend(
        self, structure: Structure, sources: Iterable[Value], active: Collection[Node], reached: Collection[Value]
    ) -> dict[Value, list[tuple[Node, int]]]:
        """The watched values that are not reached but may be: all their ways to the sources begin at active nodes.

        Each with the uses that add to its cotangent. In a body, what is an output may have more of them outside, so
        it is left alone.
        """
        ends = {*sources, *(v for v in structure.outputs if isinstance(v, Value))}
        watched = {v for v in self.watching.values if v not in reached and v not in ends}
        if not watched:
            return {}
        leading, uses = set(ends), {}
        for node in reversed(structure.nodes):
            if not leading.isdisjoint(node.outputs):
                open_at = [i for i, v in enumerate(node.inputs) if isinstance(v, Value) and not self.blocks(node, i)]
                leading.update(v for i in open_at if isinstance(v := node.inputs[i], Value))
                for i in open_at:
                    if (v := node.inputs[i]) in watched:
                        uses.setdefault(v, []).append((node, i))
        serves = self.watching.serves
        return {v: at for v, at in uses.items() if all(node in active and serves(node, i) for node, i in at)}

    def vary(
        self, structure: Structure, given: Collection[Value]
    ) -> tuple[set[Value], list[tuple[Node, tuple[int, ...]]]]:
        """What depends on the values `given` and those wanted; the nodes on the way, with the inputs that do."""
        varied = {*given, *self.wanted}
        candidates = []
        for node in structure.nodes:
            moving = tuple(i for i, v in enumerate(node.inputs) if v in varied and not self.blocks(node, i))
            if outputs := [v for v in self.varied_outputs(node, moving) if v.is_inexact]:
                varied.update(outputs)
                candidates.append((node, moving))
        return varied, candidates

    def varied_outputs(self, node: Node, moving: tuple[int, ...]) -> list[Value]:
        """The outputs of a node that depend on its inputs at `moving`, or on values wanted inside."""
        if not node.bodies:
            return [node.outputs[k] for k in self.flow.moved(node, moving)] if moving else []
        return [node.outputs[k] for body in node.bodies for k in self.circulate(body, moving)[1]]

    def circulate(self, body: Body, positions: tuple[int, ...]) -> tuple[set[int], set[int]]:
        """The inputs and outputs of a body that vary when the node's inputs at `positions` do, over all turns."""
        return body.remembered(("varied", positions), lambda: self.find_circulation(body, positions))

    def find_circulation(self, body: Body, positions: tuple[int, ...]) -> tuple[set[int], set[int]]:
        """The same, found anew."""
        structure = body.structure
        offset = body.holder.offset
        inputs = {p - offset for p in positions if 0 <= p - offset < len(structure.inputs)}
        while True:
            varied, _ = self.vary(structure, [structure.inputs[i] for i in inputs])
            outputs = {k for k, v in enumerate(structure.outputs) if v in varied}
            returning = {i for k, i in body.holder.feedback if k in outputs}
            if returning <= inputs:
                return inputs, outputs
            inputs |= returning

    def within(self, body: Body, positions: tuple[int, ...], used: Collection[int]) -> BodyActivity:
        """The activity of a body whose node uses the outputs `used`: those that come back are used by other turns."""
        key = ("active", positions, tuple(used))
        return body.remembered(key, lambda: self.find_within(body, positions, used))

    def find_within(self, body: Body, positions: tuple[int, ...], used: Collection[int]) -> BodyActivity:
        """The same, found anew."""
        structure = body.structure
        inputs, outputs = self.circulate(body, positions)
        given, used = [structure.inputs[i] for i in inputs], set(used)
        while True:
            sources = {k: v for k in sorted(used & outputs) if isinstance(v := structure.outputs[k], Value)}
            activity = self.between(structure, given, sources.values())
            reached = tuple(i for i in sorted(inputs) if structure.inputs[i] in activity.reached)
            returning = {k for k, i in body.holder.feedback if i in reached}
            if returning <= used:
                return BodyActivity(reached, tuple(sources), activity)
            used |= returning
