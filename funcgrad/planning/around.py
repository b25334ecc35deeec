"""What is around a rule that was put in, in one plan: the value whose cotangent it is told, and its random key."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from funcgrad.aliases import Aval
from funcgrad.errors import GradientError, RuleError
from funcgrad.graph import Addresses, Node, Structure, Value
from funcgrad.planning.activity import Activity
from funcgrad.planning.origins import Origins
from funcgrad.planning.standing import Standing, Standings
from funcgrad.registry import RuleSet, Setting, key_at


@dataclass(frozen=True)
class Around:
    """What one rule is told beside what its node has."""

    setting: Setting
    signal: Value | None
    """The value whose cotangent it asks for, if it does."""
    key: Any
    """The key of its node, likewise."""
    at: tuple[Any, ...]
    """Which slices the arguments are whose origins it asks for."""

    @property
    def avals(self) -> list[Aval]:
        """Of what is handed over each time, after the cotangents."""
        found = {
            "loss_g": self.signal and self.signal.aval,
            "key": None if self.key is None else jax.typeof(self.key),
            "at": jax.ShapeDtypeStruct((len(self.at),), jnp.int32),
        }
        return [found[n] for n in self.setting.operands]


def find_around(
    rules: RuleSet, setting: Setting | None, origins: Origins, signal: "Signal", activity: Activity
) -> Around | None:
    """What a rule with a `setting` is told at a node of a graph, of which this is what gets a cotangent.

    Raises:
        RuleError: its signal is no value that it can be told of, see `Signal.told_at`.
    """
    if setting is None:
        return None
    asks, node = setting.operands, origins.node
    told = signal.told_at(node, activity) if "loss_g" in asks else None
    return Around(setting, told, key_at(rules.key, node.name) if "key" in asks else None, origins.at)


@dataclass(frozen=True, eq=False)
class Signal:
    """The value whose cotangent rules may ask for as `loss_g`, in one graph.

    It is whole when the reverse pass comes to any node before the value. Where such a node holds graphs, the rules
    inside of these are told it as well: it is a constant of their reverse pass, as it is of all turns of a loop.
    """

    rules: RuleSet
    standings: Standings
    sources: Sequence[Value]
    """What is differentiated: where the set names no value, that is the signal."""

    @cached_property
    def value(self) -> Value | None:
        """The value; None where there is none, or several."""
        try:
            found = self._found
        except RuleError:
            return None
        return found[0] if len(found) == 1 else None

    def is_of(self, structure: Structure) -> bool:
        """Whether the value is made in this graph, and not in one around it."""
        return self.value is not None and self.standings.of_value[self.value].structure is structure

    def is_asked_at(self, node: Node) -> bool:
        """Whether a rule that asks for it may stand at a node."""
        return any(node.name in (o.nodes or ()) for o in self.rules.overrides if "loss_g" in o.rule.needs)

    def told_at(self, node: Node, activity: Activity) -> Value:
        """The value, for a rule at a node.

        Raises:
            RuleError: it is no value, or several; it comes before the node, stands in a graph that does not hold the
                node, or is none that the output depends on.
        """
        where = f"{node.name}: the rule asks for loss_g, the cotangent of"
        if len(self._found) != 1:
            names = ", ".join(f"'{v.name}'" for v in self._found[:5]) or "no value"
            raise RuleError(f"{where} one value, and there is {names}; say which by rules.with_signal(name).")
        (value,) = self._found
        made = self.standings.of_value[value]
        standing: Standing | None = self.standings.of_node[node]
        while standing is not None and standing.structure is not made.structure:
            standing = None if standing.around is None else self.standings.of_node[standing.around]
        if standing is None:
            assert made.around is not None
            raise RuleError(
                f"{where} '{value.name}', which is inside of '{made.around.name}', where the node is not; choose a "
                f"value outside of that, or nodes that stand in there with it."
            )
        if made.place < standing.place:
            raise RuleError(
                f"{where} '{value.name}', which is made before it, so that the cotangent is not there yet; choose a "
                f"value that comes later, or narrow at=."
            )
        if not activity.reaches(value):
            raise RuleError(
                f"{where} '{value.name}', on which {_named(self.sources)} does not depend; choose a value on the way "
                f"from the node to that."
            )
        return value

    @cached_property
    def _found(self) -> Sequence[Value]:
        if self.rules.signal is None:
            return self.sources
        try:
            return tuple(Addresses(self.standings.structure).find(self.rules.signal).values.values())
        except GradientError as error:
            raise RuleError(f"with_signal('{self.rules.signal}'): {str(error)[:1].lower()}{str(error)[1:]}") from None


def _named(values: Sequence[Value]) -> str:
    return " or ".join(f"'{v.name}'" for v in values) or "the output"
