"""Watching a pass: values and cotangents, or statistics of them, read from the pass itself.

What is watched inside of a loop is read turn by turn, so that it costs a number per turn and not an array.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from funcgrad.aliases import Array
from funcgrad.errors import GradientError, describe, printed, require
from funcgrad.graph import Addresses, Measurement, Statistic, Structure, Value, measurable, measured, merged
from funcgrad.naming import Names, Where
from funcgrad.plans import Plan, Tap
from funcgrad.view import Column, lay_out, page_width, shorter_paths


def _norm(x: Array) -> Array:
    """Scaled by a power of two where squares would leave the range of the dtype."""
    x = jnp.abs(_wide(x))
    largest, exponent = jnp.max(x, initial=0), jnp.finfo(x.dtype).maxexp
    high, low = 2.0 ** (exponent * 3 // 8), 2.0 ** (-exponent * 3 // 8)
    factor = jnp.where(largest > high, low * low, jnp.where(largest < low, high * high, 1.0)).astype(x.dtype)
    # Of zeros known when compiling, XLA squares the factor first, which is infinite, and 0 times that is NaN.
    return jnp.where(largest == 0, largest, jnp.sqrt(jnp.sum((x * factor) ** 2)) / factor)


def _wide(x: Array) -> Array:
    return x.astype(jnp.float32) if x.dtype.itemsize < 4 else x


def _finite(x: Array) -> Array:
    """Read off the largest magnitude, which is taken already: a reduction takes XLA longer to compile than a node."""
    if jnp.iscomplexobj(x):  # whose magnitude may overflow where no part of it does
        return jnp.all(jnp.isfinite(x))
    return jnp.isfinite(jnp.max(jnp.abs(x), initial=0))


STATISTICS: Mapping[str, Statistic] = {
    "norm": _norm,
    "max": lambda x: jnp.max(jnp.abs(x), initial=0),
    "mean": lambda x: jnp.mean(_wide(x)),
    "rms": lambda x: _norm(x) / jnp.sqrt(jnp.asarray(max(x.size, 1), _wide(x).real.dtype)),
    "finite": _finite,
    "zeros": lambda x: jnp.mean(jnp.asarray(x == 0, jnp.float32)),
    "value": lambda x: x,
}
"""Statistics by name: the Euclidean norm (which does not overflow where the array does not), the largest magnitude,
mean, root mean square, whether all entries are finite, the share of zeros, and the array itself."""


@partial(jax.tree_util.register_dataclass, data_fields=["value", "cotangent"], meta_fields=[])
@dataclass(frozen=True)
class Reading:
    """Statistics by name of one watched value; inside of loops, with an axis per loop in front."""

    value: dict[str, Array]
    cotangent: dict[str, Array] | None
    """None where the gradient does not pass."""


@partial(jax.tree_util.register_dataclass, data_fields=["entries"], meta_fields=["names"])
@dataclass(frozen=True)
class Readings(Mapping[str, Reading]):
    """What was watched, by name, in the order of the pass. A pytree; print it for a table."""

    names: tuple[str, ...]
    entries: tuple[Reading, ...]

    def __getitem__(self, name: str) -> Reading:
        return dict(zip(self.names, self.entries, strict=True))[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        columns = list(dict.fromkeys(s for r in self.entries for s in r.value))
        titles = [f"{s} of {what}" for what in ("value", "cotangent") for s in columns]
        lines = []
        for name, reading in self.items():
            parts = (reading.value, reading.cotangent or {})
            lines.append([shorter_paths(name), *(_cell(part.get(s), s) for part in parts for s in columns)])
        return "\n".join(lay_out([Column("", least=24), *map(Column, titles)], lines, page_width()))


def _cell(x: Any, statistic: str) -> str:
    """A statistic as the table shows it: a number; the range of numbers, one at each turn of a loop; else its shape."""
    if x is None:
        return "-"
    is_scalar = x.ndim == 0 or (statistic in STATISTICS and statistic != "value")
    if isinstance(x, Tracer) or not is_scalar or not x.size:
        return describe(x)
    if x.dtype == bool:
        return str(bool(x.all()))
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return f"{x.item():.3g}" if x.ndim == 0 else describe(x)
    low, high = f"{float(x.min()):.3g}", f"{float(x.max()):.3g}"
    return low if low == high else f"{low} … {high}"


_TAPS = "a name or a glob of values, as 'block*/attn', an fg.Where, or several"
_STATS = "the name of a statistic, a function of an array, or several"


def _several(given: Any, option: str, expected: str) -> Iterable[Any]:
    require(given, Iterable, option, expected)
    return given


@dataclass(frozen=True)
class Watch:
    """What to watch, and which statistics to take."""

    places: tuple[Where, ...]
    measurement: Measurement

    @classmethod
    def of(cls, taps: str | Where | Sequence[str | Where], stats: Sequence[str | Statistic]) -> "Watch":
        """Read `taps=` and `stats=`; GradientError for what is no name, and for an unknown statistic."""
        chosen = []
        for stat in (stats,) if isinstance(stats, str) or callable(stats) else _several(stats, "stats", _STATS):
            if callable(stat):
                chosen.append((getattr(stat, "__name__", repr(stat)), stat))
            elif isinstance(stat, str) and stat in STATISTICS:
                chosen.append((stat, STATISTICS[stat]))
            else:
                raise GradientError(
                    f"No statistic is called {printed(stat)}; there are {', '.join(STATISTICS)}, or pass a function of "
                    f"arrays."
                )
        places = (taps,) if isinstance(taps, str | Where) else tuple(_several(taps, "taps", _TAPS))
        for place in places:
            require(place, (str, Where), "taps", _TAPS)
            if isinstance(place, Where) and place.turn is not None:
                raise GradientError(
                    f"taps: a value is watched at every turn of a loop, got '{place}'; leave out turn=, and take the "
                    f"turn from the reading."
                )
        return cls(tuple(map(Where.of, places)), Measurement(tuple(chosen)))

    def attach(self, structure: Structure) -> tuple[Structure, "Watched"]:
        """The graph with measuring nodes, and what they and the taps measure."""
        values = list(measurable(structure))
        addresses = Addresses(structure, values)
        found = merged(map(addresses.find, self.places))
        order = {v: i for i, v in enumerate(values)}
        found = dict(sorted(found.items(), key=lambda item: order[item[1]]))
        structure, made = measured(structure, dict.fromkeys(found.values(), self.measurement))
        return structure, Watched.of(found, made, self.measurement, structure.names)


@dataclass(frozen=True, eq=False)
class Watched:
    """The values that are watched, by name; for each, its statistics in the graph, and its tap."""

    values: dict[str, Value]
    made: dict[Value, tuple[Value, ...]]
    taps: dict[Value, Tap]
    measurement: Measurement

    @classmethod
    def of(
        cls,
        values: dict[str, Value],
        made: dict[Value, tuple[Value, ...]],
        measurement: Measurement,
        names: Names,
    ) -> "Watched":
        """With taps on their cotangents, whose statistics are arrays like those of the values; `names` are taken."""
        taps = {}
        for v in values.values():
            pairs = zip((name for name, _ in measurement.statistics), made[v], strict=True)
            readings = (Value(names.give(f"{v.name}:cotangent:{name}"), like.aval, v.loops) for name, like in pairs)
            taps[v] = Tap(v, measurement, tuple(readings))
        return cls(values, made, taps, measurement)

    def assemble(self, plan: Plan, observed: Sequence[Array], readings: Sequence[Array]) -> Readings:
        """The readings, from the arrays of `plan.observed` and `plan.readings`."""
        statistics = [name for name, _ in self.measurement.statistics]
        seen = dict(zip(plan.observed, observed, strict=True))
        read = dict(zip(plan.readings, readings, strict=True))
        entries = []
        for v in self.values.values():
            g = [read[r] for r in self.taps[v].readings if r in read]
            value = dict(zip(statistics, (seen[s] for s in self.made[v]), strict=True))
            entries.append(Reading(value, dict(zip(statistics, g, strict=True)) if g else None))
        return Readings(tuple(self.values), tuple(entries))
