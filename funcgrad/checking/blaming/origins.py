"""Where infinity or NaN is born: forward, at a node whose output is worse than all it reads; backward, likewise."""

from collections.abc import Iterable, Sequence

import numpy as np

from funcgrad.checking.blaming.conditions import FINITE, INFINITE, NAN, Conditions, worst
from funcgrad.checking.blaming.connections import Place
from funcgrad.checking.blaming.findings import Finding, described
from funcgrad.checking.blaming.uses import LevelsByUse
from funcgrad.graph import Constant, Node, Value

Turn = tuple[int, ...]
_Found = tuple[tuple[int, ...], Node, str]
"""When it happens, at which node, and what."""


def find_wrong_arguments(conditions: Conditions) -> list[Finding]:
    """Arguments, and arrays closed over, that come in with NaN; with infinity, if the result is not finite either."""
    structure = conditions.connections.structure
    least = NAN if not any(conditions.value(v).any() for v in structure.outputs) else INFINITE
    found = []
    for v in (*structure.inputs, *structure.constants):
        if (conditions.value(v) >= least).any():
            what = _word(conditions.value(v), (), ())
            found.append(Finding.at_argument("forward", v, f"{described(v)} comes in with {what}"))
    return found


class Spoiled:
    """The values that are not finite because of a finding: what comes of them is no finding of its own."""

    def __init__(self, conditions: Conditions, causes: Iterable[Value]):
        self.conditions = conditions
        self.causes = frozenset(causes)
        self._known: dict[Value, bool] = {}

    def __contains__(self, v: object) -> bool:
        return isinstance(v, Value) and self._is_spoiled(v)

    def _is_spoiled(self, v: Value) -> bool:
        if v in self._known:
            return self._known[v]
        self._known[v] = False  # what comes back to itself in a loop
        where, bad = self.conditions.connections, bool(self.conditions.value(v).any())
        if v in self.causes:
            self._known[v] = bad
        elif bad and v in where.maker:
            self._known[v] = any(x in self for x in where.maker[v].node.inputs)
        elif bad and (entry := where.entries.get(v)) is not None:
            self._known[v] = entry.outside in self or entry.fed_back in self
        return self._known[v]

    def reach(self, place: Place, turn: Turn) -> bool:
        """Whether what a node reads in a turn is spoiled."""
        return self._any(place.node.inputs, turn)

    def touch(self, place: Place, turn: Turn) -> bool:
        """Whether what a node reads or makes in a turn is spoiled."""
        return self._any((*place.node.inputs, *place.node.outputs), turn)

    def _any(self, values: Iterable[Value | Constant], turn: Turn) -> bool:
        return any(x in self and _at(self.conditions.value(x), turn) > FINITE for x in values)


def find_forward_origins(conditions: Conditions, of_arguments: Sequence[Finding]) -> tuple[list[Finding], Spoiled]:
    """The nodes whose output is worse than all they read, in the order in which that happens; what they spoil.

    A node that makes NaN of the infinity of another is its consequence, and left out.
    """
    named = {f.node for f in of_arguments}
    structure = conditions.connections.structure
    causes = [v for v in (*structure.inputs, *structure.constants) if v.name in named]
    candidates = []
    for place in conditions.connections.places:
        for v in place.node.outputs:
            if v in conditions.readings and (born := conditions.value(v) > conditions.before(v)).any():
                candidates.append((place, v, _first(born, v.loops, place)))
    clean = [v for place, v, turn in candidates if not _reads_bad(conditions, place, turn)]
    spoiled = Spoiled(conditions, [*causes, *clean])
    found: list[_Found] = []
    for place, v, turn in candidates:
        if not spoiled.reach(place, turn):
            what = _word(conditions.value(v), turn, v.loops)
            detail = f"its output {described(v)} has {what}, and {_inputs(conditions, v)}{turn_text(turn, v.loops)}"
            found.append((place.order(turn, v.loops), place.node, detail))
    born_at = {v for place, v, turn in candidates if not spoiled.reach(place, turn)}
    return _in_order("forward", found), Spoiled(conditions, [*causes, *born_at])


def _reads_bad(conditions: Conditions, place: Place, turn: Turn) -> bool:
    return any(_at(conditions.value(x), turn) > FINITE for x in place.node.inputs)


def _at(levels: np.ndarray, turn: Turn) -> int:
    """The level in a turn; of what is outside of inner loops, in the turns of the outer ones."""
    return int(levels[turn[: levels.ndim]]) if levels.ndim <= len(turn) else int(levels.max())


def _inputs(conditions: Conditions, v: Value) -> str:
    """What the node that makes v read, as far as it was watched."""
    read = [x for x in conditions.connections.maker[v].node.inputs if isinstance(x, Value) and x.is_inexact]
    if all(x in conditions.readings or x in conditions.connections.structure.constants for x in read):
        names = ", ".join(f"'{x.name}'" for x in dict.fromkeys(read))
        return f"what it reads has none ({names})" if names else "it reads no array"
    behind = ", ".join(f"'{x.name}'" for x in _nearest(conditions, v))
    if not behind:
        return "nothing was watched before it: it is one of the nodes before, or an argument"
    return f"what was watched before it has none ({behind}): it is one of the nodes between"


def _nearest(conditions: Conditions, v: Value) -> list[Value]:
    """The watched values that v is made of, with none in between."""
    found, seen, stack = [], {v}, [v]
    connections = conditions.connections
    while stack:
        x = stack.pop()
        if x is not v and x in conditions.readings:
            found.append(x)
            continue
        before: Sequence[Value | Constant] = ()
        if x in connections.maker:
            before = connections.maker[x].node.inputs
        elif x in connections.entries:
            before = (connections.entries[x].outside,)
        new = [y for y in before if isinstance(y, Value) and y not in seen]
        seen.update(new)
        stack += new
    return found[::-1]


def find_suspects(conditions: Conditions) -> dict[Value, list[Place]]:
    """The values whose cotangent is worse than what some of their readers got, and these readers."""
    found = {}
    for v, reading in conditions.readings.items():
        if reading.cotangent is not None and conditions.cotangent(v).any():
            worse = [
                p
                for p in conditions.connections.readers.get(v, [])
                if _pulls_back(conditions, p.node) and (conditions.cotangent(v) > _got(conditions, p, v.loops)).any()
            ]
            if worse:
                found[v] = worse
    return found


def _pulls_back(conditions: Conditions, node: Node) -> bool:
    """Whether a node can have given a cotangent: it got one. What is bool or integer gets none."""
    watched = [conditions.readings.get(y) for y in node.outputs if y.is_inexact]
    return any(reading is None or reading.cotangent is not None for reading in watched)


def find_backward_origins(conditions: Conditions, spoiled: Spoiled, by_use: LevelsByUse) -> list[Finding]:
    """The nodes that give a cotangent worse than those they got, in the order of the reverse pass.

    Where a value has several readers, `by_use` says which of them gave what; without, the last of them is named, and
    the others beside it. A node that reads or makes what a forward finding has spoiled is a consequence, and left out.
    """
    found = []
    for v, readers in find_suspects(conditions).items():
        born = conditions.cotangent(v) > conditions.after(v)
        known = {p: by_use[v.name, p.node.name] for p in readers if (v.name, p.node.name) in by_use}
        guilty = {p: g > got for p, g in known.items() if (g > (got := _got(conditions, p, v.loops))).any()}
        if not guilty and born.any():
            guilty = {readers[-1]: born}
        for place, when in guilty.items():
            others = [] if known else readers[:-1]
            turn = _first(when, v.loops, place, reverse=True)
            # What makes NaN of an infinite cotangent is a consequence of what made that.
            if not spoiled.touch(place, turn) and _at(_got(conditions, place, v.loops), turn) == FINITE:
                detail = _given(conditions, v, place, known.get(place, conditions.cotangent(v)), turn, others)
                found.append((tuple(-i for i in place.order(turn, v.loops)), place.node, detail))
    return _in_order("backward", found)


def _got(conditions: Conditions, place: Place, loops: tuple[int, ...]) -> np.ndarray:
    """The worst of the cotangents of a node's outputs."""
    return worst([conditions.cotangent(y) for y in place.node.outputs], loops)


def _given(
    conditions: Conditions, v: Value, place: Place, levels: np.ndarray, turn: Turn, others: Sequence[Place]
) -> str:
    what, got = _word(levels, turn, v.loops), "those it got have none"
    if any(conditions.value(x).any() for x in place.node.inputs):
        got += ", but it reads values that are not finite"
    also = " or ".join(f"'{p.node.name}'" for p in others)
    also = f" (or {also} does)" if also else ""
    return f"the cotangent it gives to {described(v)}{also} has {what}, and {got}{turn_text(turn, v.loops)}"


def _in_order(kind: str, found: Iterable[_Found]) -> list[Finding]:
    """A finding per node, the first first; of a node that holds the culprit, nothing."""
    first: dict[Node, tuple[tuple[int, ...], str]] = {}
    for order, node, detail in sorted(found, key=lambda item: item[0]):
        first.setdefault(node, (order, detail))
    holders = {n for n in first if any(inner in first for b in n.bodies for inner in b.structure.all_nodes)}
    return [Finding.at(kind, n, d) for n, (_, d) in first.items() if n not in holders]


def _first(born: np.ndarray, loops: tuple[int, ...], place: Place, reverse: bool = False) -> Turn:
    """The turn in which it happens first."""
    turns = [tuple(map(int, t)) for t in np.argwhere(np.broadcast_to(born, loops))]
    return (max if reverse else min)(turns, key=lambda turn: place.order(turn, loops))


def _word(levels: np.ndarray, turn: Turn, loops: tuple[int, ...]) -> str:
    return "NaN" if np.broadcast_to(levels, loops)[turn] == NAN else "infinity"


def turn_text(turn: Turn, loops: tuple[int, ...]) -> str:
    """`, in turn 2 of 5`, loop by loop."""
    return "".join(f", in turn {t} of {n}" for t, n in zip(turn, loops, strict=True))
