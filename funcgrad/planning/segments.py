"""Parts of a graph that are run again on the way back, each once, for all steps whose rules read what it makes.

A plan keeps what its rules read. Given sets of values that are not to be kept, *segments*, the nodes that make them are
run again when the reverse pass comes to the first step that reads one of them, and what they made is dropped after the
last. What those nodes read and no segment makes is kept in their place: of a block x + f(x) all of whose inner values
are a segment, that is x.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter

from funcgrad.graph import Constant, Node, Value
from funcgrad.plans import Plan, Recomputation, Step, few_fences


@dataclass(frozen=True)
class Remaking:
    """What a plan makes again instead of keeping it."""

    segments: tuple[Collection[Value], ...] = ()
    """Sets of values, in its graph or in those that nodes hold."""
    groups: Mapping[Node, tuple[int, ...]] = field(default_factory=dict)
    """Of loops whose turns run again, how many do at a time; see `plans.groups`."""

    def __add__(self, other: "Remaking") -> "Remaking":
        return Remaking((*self.segments, *other.segments), {**self.groups, **other.groups})

    def __bool__(self) -> bool:
        return bool(self.segments or self.groups)


def remake_segments(plan: Plan, segments: Sequence[Collection[Value]]) -> Plan:
    """The plan with what is in `segments` made again instead of kept.

    Values of a segment that no rule reads are made if those that are read need them. Inputs, and what nodes with
    effects make, stay kept: effects must not happen twice.

    Args:
        plan: a plan that keeps all that its rules read.
        segments: sets of values of its graph. Each is made at once, so a large one needs its room at once; one whose
            nodes read what another makes has that made first.
    """
    parts = _parts(plan, segments) if segments else []
    part_of = {v: part for part in parts for v in part.made}
    if not part_of:
        return plan
    # In reverse order: which segments are made at a step, for what it reads and for what making that reads.
    steps, there = [], set[int]()
    for step in reversed(plan.steps):
        due = _due(step.asks, part_of, there)
        there.update(part.number for part in due)
        again = _merge(plan, due) if due else None
        asked = {*step.asks, *(again.given if again else ())}
        borrowed = frozenset(v for v in asked if v in part_of).union(again.made if again else ())
        steps.append(replace(step, again=again, borrowed=borrowed))
    return replace(plan, steps=_returning(reversed(steps)))


class _Part:
    """The nodes that make a segment."""

    def __init__(self, number: int):
        self.number = number
        self.nodes: list[tuple[int, Node]] = []
        """Each with its place in the graph."""
        self.made: set[Value] = set()
        self.read: set[Value] = set()


def _parts(plan: Plan, segments: Sequence[Collection[Value]]) -> list[_Part]:
    """What of each segment has to be run again, found from the rules' needs backwards.

    A node that makes values of several segments belongs to the first. What it saves for its rules is made again with
    its outputs.
    """
    number_of = {v: k for k, segment in reversed(list(enumerate(segments))) for v in segment}
    for step in plan.steps:
        numbers = [number_of[v] for v in step.node.outputs if v in number_of]
        number_of |= dict.fromkeys(step.saved, min(numbers)) if numbers else {}
    parts = [_Part(k) for k in range(len(segments))]
    needed = {v for step in plan.steps for v in step.asks if v in number_of}
    for place, node in reversed(list(enumerate(plan.structure.nodes))) if needed else ():
        made = [v for v in plan.made_at(node) if v in number_of]
        if node.has_effects or not needed.intersection(made):
            continue
        part = parts[min(number_of[v] for v in made)]
        reads = {v for v in plan.read_at(node) if isinstance(v, Value)}
        part.nodes.append((place, node))
        part.made.update(made)
        part.read.update(reads)
        needed.update(v for v in reads if v in number_of)
    return parts


def _due(asks: Collection[Value | Constant], part_of: Mapping[Value, _Part], there: Collection[int]) -> list[_Part]:
    """The segments to be made now: of what is asked for, and of what making them reads."""
    due: dict[int, _Part] = {}
    pending = [part_of[v] for v in asks if isinstance(v, Value) and v in part_of]
    while pending:
        part = pending.pop()
        if part.number not in due and part.number not in there:
            due[part.number] = part
            pending += [part_of[v] for v in part.read if v in part_of]
    return list(due.values())


def _merge(plan: Plan, parts: Sequence[_Part]) -> Recomputation:
    """One run of all the nodes of some segments."""
    nodes = tuple(node for _, node in sorted((pair for part in parts for pair in part.nodes), key=itemgetter(0)))
    made = frozenset[Value]().union(*(part.made for part in parts))
    reads = dict.fromkeys(v for node in nodes for v in plan.read_at(node) if isinstance(v, Value) and v not in made)
    return Recomputation(plan, nodes, made, {v: v for v in reads}, few_fences(plan, nodes))


def _returning(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps, each with what no step reads after it on the way back."""
    seen, found = set[Value](), []
    for step in steps:
        found.append(replace(step, returned=step.borrowed - seen))
        seen.update(step.borrowed)
    return tuple(found)
