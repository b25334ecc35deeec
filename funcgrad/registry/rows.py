"""The table of rules that are written down for JAX's primitives."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from funcgrad.aliases import PureFunction
from funcgrad.errors import RuleError
from funcgrad.registry.kind import Kind, Marker, exact
from funcgrad.registry.rule import Rule

if TYPE_CHECKING:
    from funcgrad.registry.equation import Equation

Guard = Callable[["Equation"], bool]


class Use(NamedTuple):
    """One way to meet a primitive: a function of its operands that is this one equation, and the operands."""

    function: PureFunction
    operands: tuple[Any, ...]


@dataclass(frozen=True)
class Row:
    """The rules of one primitive, by argument, the equations for which they hold, and some of these."""

    rules: dict[str, Rule | Marker]
    holds: Guard
    uses: list[Use] = field(default_factory=list)

    def example(self, function: PureFunction, *operands: Any) -> "Row":
        """Add an equation at which `fg.check` checks the rules; the first is the one for the costlier checks.

        Args:
            function: of the primitive's operands, all of them arrays; it leaves one equation in a trace.
            operands: where to check.

        Returns:
            The row itself, for the next example.

        >>> row("integer_pow", same_floats, x=integer_pow_x).example(lambda x: lax.integer_pow(x, 3), x)
        """
        self.uses.append(Use(function, operands))
        return self


_ROWS: dict[str, Row] = {}


def row(primitive: str, when: Guard, kind: Kind = exact, **rules: PureFunction | Marker) -> Row:
    """Write down the rules of a primitive of JAX's.

    Args:
        primitive: its name.
        when: the equations for which they hold; for others the rules are derived, as for arguments without one.
        kind: what the rules claim.
        rules: a function for each argument, which asks for what it reads by name (see `Rule`): the parameters of the
            public function of `jax.lax`, the output `y` (`out`, where an argument is called so), the parameters of
            the primitive. A function without a name is called after the primitive and the argument.

    Returns:
        The row, to which examples are added.

    Raises:
        RuleError: the primitive has rules already.
    """
    if primitive in _ROWS:
        raise RuleError(f"The primitive '{primitive}' has rules already; use fg.RuleSet().override(...) for others.")
    made = {
        a: r if isinstance(r, Marker) else _named(Rule(r, (a,), kind), f"{primitive}_{a}") for a, r in rules.items()
    }
    _ROWS[primitive] = Row(made, when)
    return _ROWS[primitive]


def _named(rule: Rule, title: str) -> Rule:
    return replace(rule, title=title) if rule.name == "<lambda>" else rule


def row_of(primitive: str) -> Row | None:
    """The rules of a primitive, None where none are written down."""
    return _ROWS.get(primitive)


def written() -> dict[str, Row]:
    """All rows, by primitive."""
    return dict(_ROWS)
