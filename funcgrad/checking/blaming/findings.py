"""What a report of blame lists."""

from dataclasses import dataclass

from funcgrad.errors import describe
from funcgrad.graph import Value


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: `forward` or `backward` (not finite from here on), `vanishing`, `exploding`, `dead`, `cut` (no cotangent
            passes) or `zero` (all of one becomes zero).
        node: the node's name.
        op: its op.
        line: the line of code that it was traced from; empty where nobody knows.
        detail: what was expected and what was found.
    """

    kind: str
    node: str
    op: str
    line: str
    detail: str

    def __str__(self) -> str:
        op = "" if self.node.rsplit("/", 1)[-1].split("#")[0] == self.op else f" ({self.op})"
        return f"{self.kind}: '{self.node}'{op}" + (f" at {self.line}" if self.line else "") + f": {self.detail}"


def described(v: Value) -> str:
    """A value as sentences write it: `'h' (f32[8,64])`."""
    return f"'{v.name}' ({describe(v.aval)})"
