"""The table of rules that are written down for JAX's primitives."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from funcgrad.aliases import PureFunction
from funcgrad.errors import RuleError
from funcgrad.registry.rule import Kind, Marker, Rule, exact

if TYPE_CHECKING:
    from funcgrad.registry.equation import Equation

Guard = Callable[["Equation"], bool]


@dataclass(frozen=True)
class Row:
    """The rules of one primitive, by argument, and the equations for which they hold."""

    rules: dict[str, Rule | Marker]
    holds: Guard


_ROWS: dict[str, Row] = {}


def row(primitive: str, when: Guard, kind: Kind = exact, **rules: PureFunction | Marker) -> None:
    """Write down the rules of a primitive of JAX's.

    Args:
        primitive: its name.
        when: the equations for which they hold; for others the rules are derived, as for arguments without one.
        kind: what the rules claim.
        rules: a function for each argument, which asks for what it reads by name (see `Rule`): the parameters of the
            public function of `jax.lax`, the output `y` (`out`, where an argument is called so), the parameters of
            the primitive. A function without a name is called after the primitive and the argument.

    Raises:
        RuleError: the primitive has rules already.
    """
    if primitive in _ROWS:
        raise RuleError(f"The primitive '{primitive}' has rules already; use fg.RuleSet().override(...) for others.")
    made = {
        a: r if isinstance(r, Marker) else _named(Rule(r, (a,), kind), f"{primitive}_{a}") for a, r in rules.items()
    }
    _ROWS[primitive] = Row(made, when)


def _named(rule: Rule, title: str) -> Rule:
    return replace(rule, title=title) if rule.name == "<lambda>" else rule


def row_of(primitive: str) -> Row | None:
    """The rules of a primitive, None where none are written down."""
    return _ROWS.get(primitive)


def written() -> dict[str, Row]:
    """All rows, by primitive."""
    return dict(_ROWS)
