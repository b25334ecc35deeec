"""Making values again instead of keeping them: the nodes it takes, from what is there."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from funcgrad.aliases import Array
from funcgrad.graph import Constant, Node, Value, read
from funcgrad.plans.cost import bytes_of
from funcgrad.plans.pullback import as_array
from funcgrad.primitive import fence

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan

_Given = Mapping[Value, Value | Constant]
PRODUCTS = {"linear", "matmul", "einsum", "dot_general", "conv", "conv_general_dilated"}
"""What takes its operands from memory, and XLA never makes twice."""
_VIEWS = {"reshape", "squeeze", "expand_dims", "transpose", "broadcast_in_dim", "broadcast_to", "name"}


def is_view(node: Node) -> bool:
    """Whether a node's output has no entries but those of its first input."""
    return node.op_name in _VIEWS and not node.bodies


@dataclass(frozen=True, eq=False)
class Recomputation:
    """The nodes of a plan's graph that make some of its values from known ones."""

    plan: "Plan"
    nodes: tuple[Node, ...]
    made: frozenset[Value]
    """What the nodes make."""
    given: _Given
    """The known values that are needed, read by the nodes or wanted themselves; and what each is where it is run: of a
    graph that a node holds, the inputs have other names outside of it."""
    fenced: frozenset[Value] = frozenset()
    """Those of `given` that the compiler may not know again, nor use before the cotangents are there."""

    @classmethod
    def of(
        cls,
        plan: "Plan",
        known: Collection[Value],
        wanted: Collection[Value],
        outside: _Given | None = None,
        fences: Callable[[Value], bool] = lambda v: False,  # noqa: ARG005  (none)
    ) -> "Recomputation":
        """Find what it takes to have those of the wanted values that depend on known values alone.

        Nodes with effects are left out: they must not happen twice.

        Args:
            plan: the plan in whose graph the values are.
            known: the values that are there.
            wanted: the values that are to be there.
            outside: what known values are where it is run, as far as they are others.
            fences: which of the known values are fenced, if a node reads them. Those that only rules read wait for
                the cotangent with their rules.
        """
        there, candidates = set(known), []
        for node in plan.structure.nodes:
            if not node.has_effects and all(v in there or isinstance(v, Constant) for v in plan.read_at(node)):
                there.update(plan.made_at(node))
                candidates.append(node)
        nodes, needed, read_again = [], {v for v in wanted if v in there}, set()
        for node in reversed(candidates):
            if any(v in needed and v not in known for v in plan.made_at(node)):
                nodes.append(node)
                reads = [v for v in plan.read_at(node) if isinstance(v, Value)]
                read_again.update(reads)
                needed.update(reads)
        made = frozenset(v for node in nodes for v in plan.made_at(node) if v not in known)
        outside = outside or {}
        given = {v: outside.get(v, v) for v in dict.fromkeys(known) if v in needed}
        fenced = frozenset(v for v in given if v in read_again and fences(v))
        return cls(plan, tuple(reversed(nodes)), made, given, fenced)

    @cached_property
    def found(self) -> frozenset[Value]:
        """What is there after it: what was given, by its name inside, and what is made."""
        return self.made.union(self.given)

    def names_of_given(self, names: Mapping[Value | Constant, str]) -> dict[Value, str]:
        """What is given, each by its name, or, where only a view of it is asked for, as that is called in `names`."""
        called = dict(names)
        for node in reversed(self.nodes):
            if is_view(node) and node.outputs[0] in called:
                called.setdefault(node.inputs[0], called[node.outputs[0]])
        return {v: called.get(v, v.name) for v in self.given}

    def run(
        self, values: Mapping[Value, Any], until: dict[Value, Array]
    ) -> tuple[dict[Value, Any], dict[Value, Array]]:
        """The values that are `found`, from those where it is run; and the cotangents `until`, to be read from now on.

        What is made of fenced values is made once `until` is there. XLA would else take it for what it was on the way
        forward, and keep that.
        """
        arrays = read(self.given.values(), values)
        given = {v: as_array(x, v.aval) for v, x in zip(self.given, arrays, strict=True)}
        if self.fenced:
            behind = [v for v in given if v in self.fenced]
            late, g = fence([given[v] for v in behind], until=list(until.values()))
            given, until = given | dict(zip(behind, late, strict=True)), dict(zip(until, g, strict=True))
        found = dict(given)
        for node in self.nodes:
            self.plan.run(node, found)
        return found | given, until


def few_fences(plan: "Plan", nodes: Sequence[Node]) -> frozenset[Value]:
    """Few of the values that nodes are given, such that each node waits for one of them.

    A compiler that may start a node early keeps what it makes. A fence costs compile time (a chain of six transformer
    blocks: 7.5 s with the activations fenced, 9.4 s with the parameters too), so inputs of the graph are fenced only
    for nodes that read nothing else; and for products, whose operand behind a fence is a copy: there the smaller one
    is. Views wait with those that read them: there is nothing to make.
    """
    inputs = {*plan.structure.inputs, *plan.structure.constants}
    fenced, late, constant = set[Value](), set[Value](), set[Value]()
    origin: dict[Value, Value] = {}
    for node in nodes:
        values = (origin.get(v, v) for v in plan.read_at(node) if isinstance(v, Value) and v not in constant)
        reads = list(dict.fromkeys(values))
        if not reads:  # made of nothing, or of what is: it waits for nothing, and nothing waits for it
            constant.update(plan.made_at(node))
        elif is_view(node):
            origin[node.outputs[0]] = reads[0]
        else:
            if not late.intersection(reads):
                inner = [v for v in reads if v not in inputs]
                is_product = node.op_name in PRODUCTS and not node.bodies
                fenced.add(min(reads, key=bytes_of) if is_product else [*inner, *reads][0])
            late.update(fenced, plan.made_at(node))
    return frozenset(fenced)
