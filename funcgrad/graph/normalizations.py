"""Normalizations and softmaxes that are written out: an array joined with statistics of its own.

A join is a difference, quotient or product of two arrays that both depend, entry by entry or by reductions, on one and
the same array, and on a reduction of it at least once: `x - mean(x)`, `c * rsqrt(mean(c**2))`, `e / sum(e)`. What is
made from that array on is the normalization, one array in and one out. A pooled array that comes back by way of a
product with parameters, as in squeeze and excitation, is no statistic.
"""

from collections.abc import Collection, Iterator

from funcgrad.graph.channels import kind_of
from funcgrad.graph.structures import Structure
from funcgrad.graph.values import Constant, Measurement, Node, Value

_JOINS = frozenset(["sub", "div", "mul", "subtract", "divide", "multiply"])
_REDUCTIONS = frozenset([
    "reduce_sum", "reduce_max", "reduce_min", "sum", "mean", "logsumexp",
])  # fmt: skip
_OTHERS = frozenset([
    "abs", "absolute", "add", "add_any", "broadcast_in_dim", "clamp", "clip", "convert_element_type",
    "copy", "div", "divide", "eq", "exp", "exp2", "expand_dims", "ge", "gt", "integer_pow", "is_finite", "le", "log",
    "lt", "max", "maximum", "min", "minimum", "mul", "multiply", "name", "ne", "neg", "negative", "pow", "power",
    "reshape", "rsqrt", "select_n", "sign", "sqrt", "square", "squeeze", "stop_gradient", "sub", "subtract",
    "transpose", "where",
])  # fmt: skip
_JITTED = ("jit", "pjit")
_BETWEEN = ("exp", "exp2")
"""What a softmax does between its two statistics, the maximum and the sum."""


def normalizations(structure: Structure, fixed: Collection[Value]) -> Iterator[tuple[Node, ...]]:
    """The nodes of each, in order; neighbours are one, as the two parts of a layer norm or of a softmax.

    Args:
        structure: the graph.
        fixed: its values that depend on parameters and numbers alone.
    """
    search = _Search(structure, fixed)
    taken: set[Node] = set()
    for node in reversed(structure.nodes):
        if node not in taken and (found := search.whole(node)):
            taken.update(found)
            yield tuple(n for n in structure.nodes if n in found)


def _is_of_statistics(node: Node) -> bool:
    """Whether statistics may be made by it; of the jitted functions that are nodes, those of one number each."""
    if isinstance(node.function, Measurement):
        return False
    return kind_of(node) in _REDUCTIONS | _OTHERS or (kind_of(node) in _JITTED and node.op_name in _OTHERS)


class _Search:
    """Where normalizations are in one graph."""

    def __init__(self, structure: Structure, fixed: Collection[Value]) -> None:
        self.structure = structure
        self.fixed = fixed
        self.order = {node: i for i, node in enumerate(structure.nodes)}

    def whole(self, join: Node) -> set[Node]:
        """The nodes of the normalization that ends in a join, with those right before it; none where there is none."""
        members, x = self.part(join)
        before = self.structure.maker(x) if x is not None else None
        while members and before is not None:
            between = {before} if kind_of(before) in _BETWEEN else set()
            last = self.structure.maker(before.inputs[0]) if between else before
            earlier, x = self.part(last) if last is not None else (set(), None)
            together = members | between | earlier
            if not earlier or not self.is_closed(together, join):
                break
            members, before = together, self.structure.maker(x) if x is not None else None
        return members

    def part(self, join: Node) -> tuple[set[Node], Value | None]:
        """The nodes from one array to a join, and the array; none where that is no array with its statistics.

        Of the arrays that are not traced back, that which was made last is the next: so what is left at the end is the
        nearest array on all ways to the join.
        """
        if kind_of(join) not in _JOINS or len(self.moving(join)) != 2:
            return set(), None
        members, left = {join}, self.moving(join)
        while len(left) > 1:
            latest = max(left, key=self.place)
            maker = self.structure.maker(latest)
            if maker is None or not _is_of_statistics(maker):
                return set(), None
            members.add(maker)
            left = (left - {latest}) | self.moving(maker)
        is_normal = any(kind_of(node) in _REDUCTIONS for node in members) and self.is_closed(members, join)
        return (members, left.pop()) if is_normal else (set(), None)

    def moving(self, node: Node) -> set[Value]:
        """The activations that a node reads."""
        return {x for x in node.inputs if isinstance(x, Value) and x not in self.fixed}

    def place(self, x: Value | Constant) -> int:
        """How late a value is made."""
        maker = self.structure.maker(x)
        return -1 if maker is None else self.order[maker]

    def is_closed(self, members: Collection[Node], join: Node) -> bool:
        """Whether nothing outside reads what they make on the way."""
        inside = {v for node in members if node is not join for v in node.outputs}
        readers = {reader for v in inside for reader in self.structure.readers(v)}
        return inside.isdisjoint(self.structure.outputs) and readers <= set(members)
