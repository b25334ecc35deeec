"""The condition of every value and cotangent of a pass: finite, infinite or NaN, and how large; turn by turn in loops.

What was not measured is in the condition of what it is made of: forward of a node's inputs, backward of the cotangents
of a value's readers. So a pass of which only some values are watched can be asked as well.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from funcgrad.autodiff.taps import Reading, Readings
from funcgrad.graph import Addresses, Constant, Measurement, Node, Structure, Value, measurable
from funcgrad.naming import Where
from funcgrad.primitive import is_inexact, loop_of

FINITE, INFINITE, NAN = 0, 1, 2
"""Levels: what is born at a node is a level above that of everything the node got."""


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
    holder: Node


class Exit(NamedTuple):
    """Where an output of a body goes to."""

    outside: Value
    fed_back: Value | None
    """The input of the next turn."""
    backwards: bool


@dataclass(frozen=True, eq=False)
class Map:
    """Who makes and who reads each value, at any depth."""

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
                back = {i: outputs[o] for o, i in body.feedback}
                for i, v in enumerate(body.structure.inputs):
                    found[v] = Entry(node.inputs[body.offset + i], back.get(i), node)
        return found

    @cached_property
    def exits(self) -> dict[Value, list[Exit]]:
        """Outputs of bodies."""
        found: dict[Value, list[Exit]] = defaultdict(list)
        for node in (p.node for p in self.places):
            for body in node.bodies:
                back = dict(body.feedback)
                for o, v in enumerate(body.structure.outputs):
                    if isinstance(v, Value):
                        fed_back = body.structure.inputs[back[o]] if o in back else None
                        found[v].append(Exit(node.outputs[o], fed_back, _runs_backwards(node)))
        return found


def _places(structure: Structure, path: tuple[int | None, ...], backwards: tuple[bool, ...]) -> Iterator[Place]:
    for i, node in enumerate(structure.nodes):
        if isinstance(node.function, Measurement):
            continue
        yield Place(node, (*path, i), backwards)
        is_loop = node.op_name == "scan"
        inner, directions = (*path, i, *([None] if is_loop else [])), (_runs_backwards(node),) if is_loop else ()
        for body in node.bodies:
            yield from _places(body.structure, inner, (*backwards, *directions))


def _depth(place: Place) -> int:
    return len(place.path)


def _runs_backwards(node: Node) -> bool:
    return node.op_name == "scan" and loop_of(node.origin).backwards


class Conditions:
    """What readings say of the values of a graph, measured or not."""

    def __init__(self, structure: Structure, constants: Mapping[Value, Any], readings: Readings):
        self.map = Map(structure)
        self.readings = _by_value(structure, readings)
        self._forward: dict[Value, np.ndarray] = {v: np.asarray(level_of(x)) for v, x in constants.items()}
        self._backward: dict[Value, np.ndarray] = {}
        by_depth = sorted(reversed(self.map.places), key=_depth)
        for place in self.map.places:  # in the order in which nothing has to be looked for far away
            for v in place.node.outputs:
                self.value(v)
        for place in by_depth:
            for v in place.node.outputs:
                self.cotangent(v)

    def value(self, v: Value | Constant) -> np.ndarray:
        """The level of a value, with an axis per loop around it."""
        if isinstance(v, Constant):
            return np.asarray(level_of(v.content))
        if v not in self._forward:
            self._forward[v] = np.asarray(FINITE)  # what comes back to itself in a loop adds nothing
            self._forward[v] = level(self.readings[v].value) if v in self.readings else self.before(v)
        return self._forward[v]

    def before(self, v: Value) -> np.ndarray:
        """The worst of what a value is made of."""
        if v in self.map.maker:
            return worst([self.value(x) for x in self.map.maker[v].node.inputs], v.loops)
        if v not in self.map.entries:
            return np.asarray(FINITE)
        entry = self.map.entries[v]
        parts = [self.value(entry.outside)]
        if entry.fed_back is not None and v.loops:
            parts.append(_shifted(self.value(entry.fed_back), v.loops, -1 if _runs_backwards(entry.holder) else 1))
        return worst(parts, v.loops)

    def cotangent(self, v: Value) -> np.ndarray:
        """The level of the cotangent of a value; finite where none comes."""
        if v not in self._backward:
            self._backward[v] = np.asarray(FINITE)
            reading = self.readings.get(v)
            if reading is None:
                self._backward[v] = self.after(v)
            elif reading.cotangent is not None:
                self._backward[v] = level(reading.cotangent)
        return self._backward[v]

    def after(self, v: Value) -> np.ndarray:
        """The worst of the cotangents that those of a value's readers got."""
        parts = [self.cotangent(y) for place in self.map.readers.get(v, ()) for y in place.node.outputs]
        for way_out in self.map.exits.get(v, ()):
            parts.append(self.cotangent(way_out.outside))
            if way_out.fed_back is not None and v.loops:
                parts.append(_shifted(self.cotangent(way_out.fed_back), v.loops, 1 if way_out.backwards else -1))
        return worst(parts, v.loops)


def level(statistics: Mapping[str, Any]) -> np.ndarray:
    """FINITE, INFINITE or NAN, by the first statistic that can tell; `finite` alone cannot tell NaN from infinity."""
    for name in ("max", "norm", "rms"):
        if name in statistics:
            x = np.asarray(statistics[name]).astype(np.float64)
            return np.where(np.isnan(x), NAN, np.where(np.isinf(x), INFINITE, FINITE))
    return (
        np.where(np.asarray(statistics["finite"]), FINITE, INFINITE) if "finite" in statistics else np.asarray(FINITE)
    )


def size(statistics: Mapping[str, Any] | None) -> float | None:
    """The norm, or else the largest magnitude; the largest over all turns. None where neither was taken."""
    for name in ("norm", "max", "rms"):
        if statistics is not None and name in statistics:
            return float(np.max(np.asarray(statistics[name]).astype(np.float64), initial=0.0))
    return None


def _by_value(structure: Structure, readings: Readings) -> dict[Value, Reading]:
    """The readings by the values of this graph; GradientError where a name is not in it."""
    by_name = {v.name: v for v in measurable(structure)}
    addresses, found = Addresses(structure, by_name.values()), {}
    for name, reading in readings.items():
        if name in by_name:
            found[by_name[name]] = reading
        else:
            found.update(dict.fromkeys(addresses.find(Where(name)).values.values(), reading))
    return found


def level_of(x: Any) -> int:
    """The level of an array that is here; one that is still to be computed counts as finite."""
    if isinstance(x, Tracer) or not is_inexact(jax.typeof(x)):
        return FINITE
    x = np.asarray(x)
    x = x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)
    return NAN if np.isnan(x).any() else INFINITE if np.isinf(x).any() else FINITE


def worst(parts: Sequence[Any], loops: tuple[int, ...]) -> np.ndarray:
    """Elementwise over the turns of `loops`; what is outside of a loop holds for all its turns."""
    return np.maximum.reduce([_spread(np.asarray(x), loops) for x in (FINITE, *parts)])


def _spread(x: np.ndarray, loops: tuple[int, ...]) -> np.ndarray:
    x = x[..., *(None,) * (len(loops) - x.ndim)] if x.ndim < len(loops) else x
    return np.broadcast_to(x, loops)


def _shifted(x: np.ndarray, loops: tuple[int, ...], by: int) -> np.ndarray:
    """The turn before (`by=1`) or after (`by=-1`) along the innermost loop; finite where there is none."""
    x = np.roll(_spread(x, loops), by, axis=-1)
    x[..., 0 if by > 0 else -1] = FINITE
    return x
