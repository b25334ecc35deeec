"""What each reader of a value gives to its cotangent: the pass once more, with a copy of the value for each of them."""

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from funcgrad.autodiff.taps import Readings, Watched
from funcgrad.checking.blaming.conditions import level
from funcgrad.graph import Measurement, Structure, Value, apart, measured
from funcgrad.naming import Where

LevelsByUse = dict[tuple[str, str], np.ndarray]
"""By the names of a value and of a node that reads it: how bad the cotangent is that the node gives, turn by turn."""


@dataclass(frozen=True)
class Uses:
    """A watch, as `Request` takes it, over every use of some values."""

    names: Collection[str]
    measurement: Measurement
    copies: dict[Value, tuple[str, str]] = field(default_factory=dict)
    places: tuple[Where, ...] = ()
    """None: it asks for no call by its name."""

    def attach(self, structure: Structure) -> tuple[Structure, Watched]:
        """The graph with a copy of each value for each of its readers, and what is measured of them."""
        values = {v for v in structure.values if v.name in self.names}
        structure, copies = apart(structure, values, results=False)
        self.copies.update(copies)
        structure, made = measured(structure, dict.fromkeys(copies, self.measurement))
        return structure, Watched.of({v.name: v for v in copies}, made, self.measurement, structure.names)

    def read_levels(self, readings: Readings) -> LevelsByUse:
        """The readings by the two names; a use that gets no cotangent is left out."""
        found = ((use, readings[copy.name].cotangent) for copy, use in self.copies.items())
        return {use: level(g) for use, g in found if g is not None}
