"""What is around a rule that was put in, in one plan: the value whose cotangent it is told, and its random key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from funcgrad.aliases import Aval
from funcgrad.errors import GradientError, RuleError
from funcgrad.graph import Addresses, Node, Structure, Value
from funcgrad.registry import RuleSet, Setting, key_at


@dataclass(frozen=True)
class Around:
    """What one rule is told beside what its node has."""

    setting: Setting
    signal: Value | None
    """The value whose cotangent it asks for, if it does."""
    key: Any
    """The key of its node, likewise."""

    @property
    def avals(self) -> list[Aval]:
        """Of what is handed over each time, after the cotangents."""
        found = {"loss_g": self.signal and self.signal.aval, "key": None if self.key is None else jax.typeof(self.key)}
        return [found[n] for n in self.setting.operands]


def find_around(
    rules: RuleSet, setting: Setting | None, node: Node, structure: Structure, sources: Sequence[Value]
) -> Around | None:
    """What a rule with a `setting` is told at a node of a graph, of which `sources` are differentiated.

    Raises:
        RuleError: its signal is no value, comes before the node, or is outside of the loop that the node is in.
    """
    if setting is None:
        return None
    asks = setting.operands
    signal = find_signal(rules, node, structure, sources) if "loss_g" in asks else None
    return Around(setting, signal, key_at(rules.key, node.name) if "key" in asks else None)


def find_signal(rules: RuleSet, node: Node, structure: Structure, sources: Sequence[Value]) -> Value:
    """The value whose cotangent rules ask for as `loss_g`."""
    found: Sequence[Value] = sources
    if rules.signal is not None:
        try:
            found = tuple(Addresses(structure).find(rules.signal).values.values())
        except GradientError as error:
            raise RuleError(f"with_signal('{rules.signal}'): {str(error)[:1].lower()}{str(error)[1:]}") from None
    where = f"{node.name}: the rule asks for loss_g, the cotangent of"
    if len(found) != 1:
        names = ", ".join(f"'{v.name}'" for v in found[:5]) or "no value"
        raise RuleError(f"{where} one value, and there is {names}; say which by rules.with_signal(name).")
    (value,) = found
    made = {v: i for i, n in enumerate(structure.nodes) for v in n.outputs}
    if node not in structure.nodes or value not in made:
        raise RuleError(
            f"{where} '{value.name}', and one of the two is inside of a loop, a branch or a checkpoint; choose a value "
            f"and nodes outside of these."
        )
    if made[value] < structure.nodes.index(node):
        raise RuleError(
            f"{where} '{value.name}', which is made before it, so that the cotangent is not there yet; choose a value "
            f"that comes later, or narrow at=."
        )
    return value
