"""Gradients that are exactly zero: where no cotangent passes, and where all of one becomes zero."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from funcgrad.checking.blaming.conditions import Conditions, size
from funcgrad.checking.blaming.connections import Place
from funcgrad.checking.blaming.findings import Finding
from funcgrad.graph import Constant, Node, Value

Blocks = Callable[[Node, Value], bool]
"""Whether a node passes no cotangent to a value that it reads."""


def find_zero_gradients(
    conditions: Conditions, wanted: Sequence[Value], blocks: Blocks, known: Iterable[str]
) -> Iterator[Finding]:
    """Findings for the values among `wanted` that get no cotangent, or one of zeros, the nodes from the loss back.

    Nodes that are `known` to be dead are left out: that their gradient is zero follows.
    """
    readings = {v: conditions.readings[v] for v in wanted if v in conditions.readings and v.aval.size}
    needed = _needed(conditions)
    cut: dict[Place, list[str]] = {}
    died: dict[Place, list[str]] = {}
    for v in (v for v, r in readings.items() if r.cotangent is None):
        places = [p for p in _ends(conditions, v, blocks) if not needed.isdisjoint(p.node.outputs)]
        if not places:
            yield Finding.at_argument("cut", v, f"the result does not depend on '{v.name}'")
        for place in places:
            cut.setdefault(place, []).append(v.name)
    for v in (v for v, r in readings.items() if size(r.cotangent) == 0):
        for place in _where_it_dies(conditions, v):
            died.setdefault(place, []).append(v.name)
    yield from _findings("cut", cut, "no cotangent passes it, and", known)
    yield from _findings("zero", died, "the cotangent it gives is zero everywhere, the one it got is not;", known)


def _findings(kind: str, found: dict[Place, list[str]], why: str, known: Iterable[str]) -> Iterator[Finding]:
    for place in sorted(found, key=lambda p: tuple(i or 0 for i in p.path), reverse=True):
        node = place.node
        if node.name not in known:
            yield Finding.at(kind, node, f"{why} {_gradients(found[place])}")


def _gradients(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{n}'" for n in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"the gradient by {shown} is zero"


def _needed(conditions: Conditions) -> set[Value | Constant]:
    """What the result is made of, whether a cotangent passes or not; all that nodes hold."""
    structure = conditions.connections.structure
    needed: set[Value | Constant] = set(structure.outputs)
    for place in reversed(conditions.connections.places):
        inside = len(place.path) > 1
        if inside or not needed.isdisjoint(place.node.outputs):
            needed.update(place.node.inputs)
            needed.update(place.node.outputs if inside else ())
    return needed


def _forward(conditions: Conditions, v: Value) -> list[tuple[Place, list[Value]]]:
    """The readers of a value, each with the values to look at next: its outputs, or what it is inside of the node."""
    steps = []
    for place in conditions.connections.readers.get(v, ()):
        bodies = [b for b in place.node.bodies if b.holder.is_countable]
        inner = [
            b.structure.inputs[i - b.holder.offset]
            for b in bodies
            for i, x in enumerate(place.node.inputs)
            if x is v and 0 <= i - b.holder.offset < len(b.structure.inputs)
        ]
        steps.append((place, inner or list(place.node.outputs)))
    return steps


def _outside(conditions: Conditions, v: Value) -> list[Value]:
    """Where a value goes that a body returns."""
    ways = conditions.connections.exits.get(v, ())
    return [x for way in ways for x in (way.outside, way.fed_back) if x is not None]


def _ends(conditions: Conditions, v: Value, blocks: Blocks) -> list[Place]:
    """The nodes that keep every cotangent from a value."""
    found, seen, stack = [], {v}, [v]
    while stack:
        x = stack.pop()
        after = _outside(conditions, x)
        for place, outputs in _forward(conditions, x):
            if blocks(place.node, x) or not any(y.is_inexact for y in outputs):
                found.append(place)
            else:
                after += outputs
        new = [y for y in after if y.is_inexact and y not in seen]
        seen.update(new)
        stack += new
    return list(dict.fromkeys(found))


def _where_it_dies(conditions: Conditions, v: Value) -> list[Place]:
    """The nodes that got a cotangent and give one of zeros to a value, or to what is made of it."""
    found, seen, stack = [], {v}, [v]
    while stack:
        x = stack.pop()
        after = _outside(conditions, x)
        for place, outputs in _forward(conditions, x):
            if any(_lives(conditions, y) for y in outputs):
                found.append(place)
            else:
                after += outputs
        new = [y for y in after if y not in seen and _is_zero(conditions, y)]
        seen.update(new)
        stack += new
    return list(dict.fromkeys(found))


def _lives(conditions: Conditions, v: Value) -> bool:
    """Whether a cotangent came that is not zero; one without entries did not die where it came from."""
    reading = conditions.readings.get(v)
    return reading is not None and reading.cotangent is not None and (size(reading.cotangent) != 0 or not v.aval.size)


def _is_zero(conditions: Conditions, v: Value) -> bool:
    reading = conditions.readings.get(v)
    return reading is not None and size(reading.cotangent) == 0
