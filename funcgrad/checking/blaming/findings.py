"""What a report of blame lists."""

from collections.abc import Sequence
from dataclasses import dataclass

from funcgrad.errors import describe
from funcgrad.graph import Node, Value
from funcgrad.naming import escape, unnumbered


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `print` shows it as a line.

    Attributes:
        kind: `forward` or `backward` (not finite from here on), `vanishing`, `exploding`, `dead`, `cut` (no cotangent
            passes) or `zero` (all of one becomes zero).
        node: the node's name, as `fg.trace` prints it; that of an argument, where it came in so.
        op: its op; `argument` for an argument.
        line: the line of code that it was traced from, `model.py:41 (...)`; empty where nobody knows.
        detail: what was expected and what was found.
        shows_op: whether the line says the op beside the name, which does not tell it.

    >>> import jax.numpy as jnp
    >>> import funcgrad as fg
    >>> finding = fg.blame(lambda x: jnp.log(x).sum(), jnp.array([1.0, -1.0], "float32")).forward
    >>> finding.kind, finding.node, finding.detail
    ('forward', 'log', "its output 'log' (f32[2]) has NaN, and what it reads has none ('x')")
    """

    kind: str
    node: str
    op: str
    line: str
    detail: str
    shows_op: bool = False

    @classmethod
    def at(cls, kind: str, node: Node, detail: str, holders: Sequence[str] = (), line: str = "") -> "Finding":
        """A finding at a node, which stands inside of its `holders`; `line` is for a node that has none."""
        own = "/".join(part for part in (node.scope, escape(node.op_name)) if part)
        name = "/".join((*holders, node.name))
        return cls(kind, name, node.op_name, node.line or line, detail, unnumbered(node.name) != own)

    @classmethod
    def at_argument(cls, kind: str, v: Value, detail: str) -> "Finding":
        """A finding at what the function was given."""
        return cls(kind, v.name, "argument", "", detail, shows_op=True)

    def __str__(self) -> str:
        op, at = f" ({self.op})" if self.shows_op else "", f" at {self.line}" if self.line else ""
        return f"{self.kind}: '{self.node}'{op}{at}: {self.detail}"


def described(v: Value) -> str:
    """A value as sentences write it: `'h' (f32[8,64])`."""
    return f"'{v.name}' ({describe(v.aval)})"
