"""What an audit says of a cotangent that is wrong, and how far off a right one may be."""

from dataclasses import dataclass

FREE = 32.0
"""Errors up to so many roundings of the largest entry are allowed."""


@dataclass(frozen=True)
class Failure:
    """One argument of one node whose cotangent is wrong; `print` shows it as a line.

    Attributes:
        node: the node's name, as `fg.trace` prints it.
        argument: the argument, as the node's function calls it.
        rule: what made the cotangent: `rule tanh_x`, `reverse` of a loop, `its custom_vjp`.
        line: the line of code that it was traced from; empty where nobody knows.
        detail: where, expected, found.

    >>> import jax.numpy as jnp
    >>> import funcgrad as fg
    >>> rules = fg.RuleSet().override(fg.ops.tanh, lambda g: 2 * g, kind=fg.exact)
    >>> (failure,) = fg.audit(lambda x: fg.ops.tanh(x).sum(), jnp.ones(2), rules=rules).failures
    >>> failure.node, failure.argument, failure.rule
    ('tanh', 'x', 'rule <lambda>')
    """

    node: str
    argument: str
    rule: str
    line: str
    detail: str

    def __str__(self) -> str:
        at = f" at {self.line}" if self.line else ""
        return f"'{self.node}'{at}: the cotangent of {self.argument} by {self.rule} {self.detail}"
