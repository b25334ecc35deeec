"""A rule that is put in the place of another: for which functions, at which nodes."""

from dataclasses import dataclass, field, replace
from inspect import Parameter, Signature
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import PyTree
from funcgrad.errors import RuleError
from funcgrad.naming import Where, matches
from funcgrad.primitive import is_inexact
from funcgrad.registry.function import Function
from funcgrad.registry.kind import Marker, modified
from funcgrad.registry.rule import Rule
from funcgrad.registry.setting import names_around
from funcgrad.registry.targets import Target


@dataclass(frozen=True)
class Override:
    """One replaced rule: for which functions, at which nodes."""

    target: Target
    rule: Rule
    """Its arguments are none where it serves the only one of its function."""
    at: Where
    optional: bool = False
    """Whether it may match no node."""
    marker: Marker | None = None
    """Why the arguments have no cotangent; the rule is then that of `nothing`."""
    nodes: frozenset[str] | None = field(default=None, compare=False)
    """The names of the nodes at which it stands in one graph; None as long as there is no graph (`planning`)."""

    def __str__(self) -> str:
        arguments = ", ".join(self.rule.arguments) or "its argument"
        kept = f", keeping {', '.join(self.rule.keep)}" if self.rule.keep else ""
        kind = "marked" if self.marker else self.rule.kind
        return f"{self.target.title} at '{self.at}': {self.rule.name} for {arguments} ({kind}){kept}"

    def stands_at(self, node: str) -> bool:
        """Whether it is meant for the node of this name; without a graph, as far as names tell."""
        if self.nodes is not None:
            return node in self.nodes
        return self.at.may_be(lambda path: matches(path, node), self.target.title)

    def bound(self, function: Function, node: str) -> Rule:
        """The rule for a function that it is meant for.

        Raises:
            RuleError: the function has no such argument, or cannot give what the rule asks for.
        """
        rule = self.rule
        if self.target.op is not None:  # checked when the rule was put in
            return rule
        if not rule.arguments:
            arguments = (self.target.argument_of(function, rule.name),)
            rule = nothing(self.marker, arguments) if self.marker else replace(rule, arguments=arguments)
        if missing := [a for a in rule.arguments if a not in function.argument_slots]:
            raise RuleError(
                f"{node}: {function.name} has no argument '{missing[0]}' to override; it has "
                f"{', '.join(function.argument_slots)}."
            )
        rule.check(node, function.known, names_around(function.argument_names))
        return rule


def nothing(marker: Marker, arguments: tuple[str, ...]) -> Rule:
    """What a marker is as a rule: a rule above it that asks for `pull` gets zeros."""
    return Rule(_Nothing(arguments), arguments, modified, marker.value)


@dataclass(frozen=True)
class _Nothing:
    """A rule that gives zeros to some arguments."""

    arguments: tuple[str, ...]

    @property
    def __signature__(self) -> Signature:
        return Signature([Parameter(f"{a}_aval", Parameter.KEYWORD_ONLY) for a in self.arguments])

    def __call__(self, **avals: Any) -> PyTree:
        """Zeros like the argument, or a mapping for several."""
        zeros = {a: jax.tree.map(_zeros, avals[f"{a}_aval"]) for a in self.arguments}
        return zeros if len(zeros) > 1 else zeros[self.arguments[0]]


def _zeros(aval: Any) -> Any:
    return jnp.zeros(aval.shape, aval.dtype) if is_inexact(aval) else None
