"""A rule that is put in the place of another: for which functions, at which nodes."""

from dataclasses import dataclass, field, replace

from funcgrad.errors import RuleError
from funcgrad.naming import Where, matches
from funcgrad.registry.function import Function
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
    nodes: frozenset[str] | None = field(default=None, compare=False)
    """The names of the nodes at which it stands in one graph; None as long as there is no graph (`planning`)."""

    def __str__(self) -> str:
        arguments = ", ".join(self.rule.arguments) or "its argument"
        kept = f", keeping {', '.join(self.rule.keep)}" if self.rule.keep else ""
        return f"{self.target.title} at '{self.at}': {self.rule.name} for {arguments} ({self.rule.kind}){kept}"

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
            rule = replace(rule, arguments=(self.target.argument_of(function, rule.name),))
        if missing := [a for a in rule.arguments if a not in function.argument_slots]:
            raise RuleError(
                f"{node}: {function.name} has no argument '{missing[0]}' to override; it has "
                f"{', '.join(function.argument_slots)}."
            )
        rule.check(node, function.known, names_around(function.argument_names))
        return rule
