"""Which J^T stands for which op and argument, at which nodes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from funcgrad.aliases import PureFunction
from funcgrad.errors import RuleError, describe, require
from funcgrad.naming import matches
from funcgrad.registry.op import Op
from funcgrad.registry.rule import Kind, Marker, Rule, modified

if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True)
class Override:
    """One replaced rule: for which op, at which nodes."""

    op: Op
    rule: Rule
    at: str

    def __str__(self) -> str:
        return (
            f"{self.op.name} at '{self.at}': {self.rule.name} for {', '.join(self.rule.arguments)} ({self.rule.kind})"
        )


@dataclass(frozen=True)
class RuleSet:
    """An immutable choice of rules: the ops' own, with overrides; the latest matching override wins.

    `override` leaves the set as it is and returns another one: keep what it returns.

    >>> rules = fg.RuleSet().override(fg.ops.relu, guided_relu, at="block3/*")
    >>> fg.grad(loss, rules=rules)(params, x)
    """

    overrides: tuple[Override, ...] = ()

    def __repr__(self) -> str:
        listed = "; ".join(map(str, self.overrides))
        return f"<RuleSet of {listed or 'no overrides'}; immutable: override(...) returns another set>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its ops and rules, each as its module and name."""
        for override in self.overrides:
            if any(mark in getattr(override.rule.function, "__qualname__", "") for mark in ("<locals>", "<lambda>")):
                raise RuleError(
                    f"A RuleSet with rule {override.rule.name} cannot be pickled, because no other process can find "
                    f"a function that is defined inside another or has no name; define it at the top level of a module."
                )
        return type(self), (self.overrides,)

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Self":
        """Nothing of it changes, so its copy is itself."""
        return self

    @classmethod
    def of(cls, rules: "RuleSet | None") -> "RuleSet":
        """What was passed as `rules=`: RuleError unless it is a set of rules, or None for the ops' own."""
        if rules is None:
            return cls()
        if not isinstance(rules, RuleSet):
            found = "a function" if callable(rules) else describe(rules)
            raise RuleError(
                f"rules= expects an fg.RuleSet, got {found}; write fg.RuleSet().override(op, rule), which says for "
                f"which op a rule stands."
            )
        return rules

    def override(
        self,
        op: Op,
        rule: PureFunction | Rule,
        *arguments: str,
        at: str = "**",
        kind: Kind = modified,
    ) -> "Self":
        """A new set in which `rule` stands for the pullback of `op` at the nodes whose names match `at`.

        Args:
            op: the op.
            rule: a function as for `op.pullback`, or a `Rule`.
            arguments: the arguments it serves; may be left out for an op with one argument.
            at: a glob over node names, `*` within a segment, `**` across segments.
            kind: what the rule claims; `modified` by default.

        Raises:
            RuleError: the op has no such argument, or the rule asks for something the op cannot give. A pattern
                that matches no node raises when the set is used in a plan.
        """
        if not isinstance(op, Op):
            raise RuleError(f"RuleSet.override expects an op made by fg.op, got {type(op).__name__}.")
        require(at, str, "override: at=", "a glob over names of nodes, as 'encoder/**'", RuleError)
        if not isinstance(rule, Rule):
            rule = Rule(rule, arguments or _only_argument(op), kind)
        for a in rule.arguments:
            if a not in op.arguments:
                raise RuleError(f"{op.name} has no argument '{a}' to override; it has {', '.join(op.arguments)}.")
        op.check_rule(rule)
        return type(self)((*self.overrides, Override(op, rule, at)))

    def find(self, op: Op, argument: str, node: str) -> Rule | Marker | None:
        """The rule for an argument of an op at a node; None where it is to be derived."""
        for override in reversed(self.overrides):
            if override.op is op and argument in override.rule.arguments and matches(override.at, node):
                return override.rule
        return op.rules.get(argument)

    def check(self, nodes: Iterable[tuple[Op, str]]) -> None:
        """RuleError if an override matches none of the nodes, given as (op, name)."""
        nodes = list(nodes)
        for override in self.overrides:
            if not any(op is override.op and matches(override.at, name) for op, name in nodes):
                there = [name for op, name in nodes if op is override.op]
                hint = f"its nodes are {', '.join(there[:5])}" if there else f"the graph has no {override.op.name} node"
                raise RuleError(f"The override of {override.op.name} at '{override.at}' matches nothing; {hint}.")

    def diff(self, other: "RuleSet") -> str:
        """What `other` overrides that this set does not (`+`), and the other way round (`-`)."""
        require(other, RuleSet, "RuleSet.diff: the other", "a set of rules", RuleError)
        lines = [f"- {o}" for o in self.overrides if o not in other.overrides]
        lines += [f"+ {o}" for o in other.overrides if o not in self.overrides]
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n".join(map(str, self.overrides)) or "the ops' own rules"


def _only_argument(op: Op) -> tuple[str, ...]:
    if len(op.arguments) != 1:
        raise RuleError(
            f"{op.name} has several arguments ({', '.join(op.arguments)}); say which the rule serves: "
            f"override({op.name}, rule, '{op.arguments[0]}')."
        )
    return op.arguments
