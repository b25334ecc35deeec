"""Which primitive of JAX's a node applies.

A node's name is display: an op of ours, a jitted function or a custom derivative may well be called `scan` or `max`,
as its author likes. So whoever asks what a node is asks for the primitive of its equation.
"""

from funcgrad.graph import Node
from funcgrad.registry import Equation


def primitive_of(node: Node) -> str:
    """The name of JAX's primitive, `scan`, `while`, `cond`, `max`; empty for an op of ours and for what measures."""
    return node.function.source.primitive.name if isinstance(node.function, Equation) else ""
