"""The condition of every value and cotangent of a pass: finite, infinite or NaN, and how large; turn by turn in loops.

What was not measured is in the condition of what it is made of: forward of a node's inputs, backward of the cotangents
of a value's readers. So a pass of which only some values are watched can be asked as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from funcgrad.autodiff.taps import Reading, Readings
from funcgrad.checking.blaming.connections import Connections, Place
from funcgrad.graph import Addresses, Constant, Structure, Value, measurable
from funcgrad.naming import Where
from funcgrad.primitive import is_inexact

FINITE, INFINITE, NAN = 0, 1, 2
"""Levels: what is born at a node is a level above that of everything the node got."""


def _depth(place: Place) -> int:
    return len(place.path)


class Conditions:
    """What readings say of the values of a graph, measured or not."""

    def __init__(self, structure: Structure, constants: Mapping[Value, Any], readings: Readings):
        self.connections = Connections(structure)
        self.readings = _by_value(structure, readings)
        self._forward: dict[Value, np.ndarray] = {v: np.asarray(level_of(x)) for v, x in constants.items()}
        self._backward: dict[Value, np.ndarray] = {}
        by_depth = sorted(reversed(self.connections.places), key=_depth)
        for place in self.connections.places:  # in the order in which nothing has to be looked for far away
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
        if v in self.connections.maker:
            return worst([self.value(x) for x in self.connections.maker[v].node.inputs], v.loops)
        if v not in self.connections.entries:
            return np.asarray(FINITE)
        entry = self.connections.entries[v]
        parts = [self.value(entry.outside)]
        if entry.fed_back is not None and v.loops:
            parts.append(_shifted(self.value(entry.fed_back), v.loops, -1 if entry.backwards else 1))
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
        parts = [self.cotangent(y) for place in self.connections.readers.get(v, ()) for y in place.node.outputs]
        for way_out in self.connections.exits.get(v, ()):
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
