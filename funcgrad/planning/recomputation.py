"""Making values again instead of keeping them: the nodes it takes, from what is there."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from funcgrad.graph import Constant, Node, Value
from funcgrad.plans import Plan


@dataclass(frozen=True, eq=False)
class Recomputation:
    """The nodes of a plan's graph that make some of its values from known ones."""

    plan: Plan
    nodes: tuple[Node, ...]
    made: frozenset[Value]
    """What the nodes make."""
    reads: tuple[Value, ...]
    """The known values that are needed: read by the nodes, or wanted themselves."""

    @classmethod
    def of(cls, plan: Plan, known: Collection[Value], wanted: Collection[Value]) -> "Recomputation":
        """Find what it takes to have those of the wanted values that depend on known values alone.

        Nodes with effects are left out: they must not happen twice.
        """
        there, candidates = set(known), []
        for node in plan.structure.nodes:
            if not node.has_effects and all(v in there or isinstance(v, Constant) for v in plan.read_at(node)):
                there.update(plan.made_at(node))
                candidates.append(node)
        nodes, needed = [], {v for v in wanted if v in there}
        for node in reversed(candidates):
            if any(v in needed and v not in known for v in plan.made_at(node)):
                nodes.append(node)
                needed.update(v for v in plan.read_at(node) if isinstance(v, Value))
        made = frozenset(v for node in nodes for v in plan.made_at(node) if v not in known)
        return cls(plan, tuple(reversed(nodes)), made, tuple(v for v in dict.fromkeys(known) if v in needed))

    def run(self, values: dict[Value, Any]) -> dict[Value, Any]:
        """The values given, which are those of `reads`, and what the nodes make of them."""
        found = dict(values)
        for node in self.nodes:
            self.plan.run(node, found)
        return found | values
