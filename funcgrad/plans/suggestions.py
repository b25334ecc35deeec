"""Patterns in a graph of plain JAX for which funcgrad has an op that keeps less or is faster.

Only the wiring is looked at: a product with a reciprocal root of a mean square, an exponential over its own sum. What
is found is a hint to a reader, who knows what the code means; nothing is replaced.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from funcgrad.graph import Constant, Node, Structure, Value
from funcgrad.registry import Call

_MOVES = ("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "convert_element_type", "transpose", "copy", "name")
_SCALES = ("mul", "div", "add", "sub", "select_n", "max", "stop_gradient")


@dataclass(frozen=True)
class Suggestion:
    """A node at which an op of ours could stand."""

    op: str
    """Its name in `fg.ops`."""
    node: str
    """The last node of the pattern."""
    gain: str

    def __str__(self) -> str:
        return f"{self.op} at {self.node} ({self.gain})"


def find_patterns(structure: Structure) -> list[Suggestion]:
    """The suggestions for a graph and those inside of its nodes, in order."""
    found = []
    makers = {v: node for node in structure.nodes for v in node.outputs if not _is_users(node)}
    look = Look(makers)
    for node in structure.nodes:
        for op, (matches, gain) in PATTERNS.items():
            if not _is_users(node) and matches(look, node):
                found.append(Suggestion(op, node.name, gain))
                break
        for body in node.bodies:
            found += find_patterns(body.structure)
    return found


def _is_users(node: Node) -> bool:
    """Whether it is an op of somebody else's, which may be called `div` and be none."""
    return isinstance(node.function, Call) and not node.function.op.__module__.startswith("funcgrad.")


@dataclass(frozen=True)
class Look:
    """Looking upwards in a graph."""

    makers: dict[Value, Node]

    def maker(self, value: Value | Constant) -> Node | None:
        """The node that makes a value, not counting what only moves or casts it."""
        node = self.makers.get(value) if isinstance(value, Value) else None
        while node is not None and node.op_name in _MOVES:
            above = node.inputs[0]
            node = self.makers.get(above) if isinstance(above, Value) else None
        return node

    def makers_of(self, node: Node | None, *names: str) -> Iterator[Node]:
        """The makers of a node's inputs that have such a name."""
        for value in node.inputs if node else ():
            if (maker := self.maker(value)) is not None and maker.op_name in names:
                yield maker

    def above(self, node: Node, *names: str, depth: int = 8) -> Iterator[Node]:
        """The nodes of such a name above a node, through what scales, shifts, masks and moves."""
        for value in node.inputs:
            maker = self.maker(value)
            if maker is None:
                continue
            if maker.op_name in names:
                yield maker
            elif depth and maker.op_name in (*_SCALES, "integer_pow", "square", "reduce_sum"):
                yield from self.above(maker, *names, depth=depth - 1)


def _is_softmax(look: Look, node: Node) -> bool:
    """E / Σ e for the same exponential e."""
    if node.op_name != "div":
        return False
    top, bottom = look.maker(node.inputs[0]), look.maker(node.inputs[1])
    return top is not None and top.op_name == "exp" and top in look.makers_of(bottom, "exp") and _sums(bottom)


def _sums(node: Node | None) -> bool:
    return node is not None and node.op_name == "reduce_sum"


def _is_log_softmax(look: Look, node: Node) -> bool:
    """Z - log Σ exp z."""
    if node.op_name != "sub":
        return False
    for log in look.makers_of(node, "log"):
        for total in look.makers_of(log, "reduce_sum"):
            for exp in look.makers_of(total, "exp"):
                if look.maker(exp.inputs[0]) is look.maker(node.inputs[0]):
                    return True
    return False


def _is_cross_entropy(look: Look, node: Node) -> bool:
    """An entry of a log-softmax, gathered or multiplied by labels."""
    if node.op_name not in ("gather", "mul"):
        return False
    return any(_is_log_softmax(look, above) for above in look.makers_of(node, "sub"))


def _is_attention(look: Look, node: Node) -> bool:
    """A product with the softmax of a product."""
    if node.op_name != "dot_general":
        return False
    for weights in look.makers_of(node, "div"):
        if _is_softmax(look, weights):
            scores = look.maker(weights.inputs[0])
            return scores is not None and any(True for _ in look.above(scores, "dot_general"))
    return False


def _is_normalization(look: Look, node: Node) -> bool:
    """A product with (or a quotient by) a root of a mean of squares."""
    roots = ("rsqrt",) if node.op_name == "mul" else ("sqrt",) if node.op_name == "div" else ()
    for root in look.makers_of(node, *roots):
        sums = list(look.above(root, "reduce_sum", depth=4))
        if any(any(True for _ in look.makers_of(s, "square", "integer_pow", "mul")) for s in sums):
            return True
    return False


def _is_max_pool(look: Look, node: Node) -> bool:
    del look
    return node.op_name == "reduce_window_max"


PATTERNS: dict[str, tuple[Callable[[Look, Node], bool], str]] = {
    "attention": (_is_attention, "one rule for q, k and v; in blocks for long sequences"),
    "cross_entropy": (_is_cross_entropy, "no probabilities beside the logits"),
    "softmax": (_is_softmax, "keeps its output only"),
    "layer_norm": (_is_normalization, "or rms_norm, batch_norm: keeps one array and a number per row"),
    "max_pool2d": (_is_max_pool, "finds the maximum's place forward; no select_and_scatter"),
}
"""What is looked for, in this order at each node: how, and what the op gains."""
