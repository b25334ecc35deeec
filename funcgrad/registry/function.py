"""What every node of a graph applies: a function of named arguments, with a rule for each.

An op of ours, a primitive of JAX's, a function with a derivative of its own and a jitted function are all of this kind:
a rule finds what it needs by name, whoever wrote it, and stands for J^T with respect to the arguments that it serves.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np

from funcgrad.aliases import Array, Aval, PyTree, PyTreeDef
from funcgrad.errors import RuleError
from funcgrad.naming import name_here
from funcgrad.primitive import is_inexact
from funcgrad.registry.broadcasting import Room
from funcgrad.registry.kind import Marker
from funcgrad.registry.rule import Rule
from funcgrad.registry.setting import Setting, offer

Pull = Callable[..., Sequence[Any]]
"""From the values that a rule reads and a cotangent per inexact output to those of its targets."""


_LEAF = jax.tree.structure(0)


class Slot(NamedTuple):
    """The structure of a named value, and where its leaves stand among a function's values."""

    tree: PyTreeDef
    positions: tuple[int, ...]

    def take(self, values: Sequence[Any] | Mapping[int, Any]) -> PyTree:
        """The named value, from all values."""
        if self.tree == _LEAF:  # nearly always; a third of the time
            return values[self.positions[0]]
        return jax.tree.unflatten(self.tree, [values[p] for p in self.positions])


class Function(ABC):
    """What a node applies to flat leaves; named values are made up of those that their slots say."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What graphs print, and what rules are registered for."""

    @cached_property
    @abstractmethod
    def argument_slots(self) -> Mapping[str, Slot]:
        """Which leaves make up which argument, in order."""

    @cached_property
    @abstractmethod
    def rules(self) -> Mapping[str, Rule | Marker]:
        """Its own rules, by argument; what has none is derived."""

    @property
    @abstractmethod
    def known(self) -> tuple[str, ...]:
        """The names that a rule may ask for."""

    @property
    def argument_names(self) -> tuple[str, ...]:
        """The arguments that have an origin."""
        return tuple(self.argument_slots)

    def slot_of(self, argument: str) -> "Slot":
        """Which leaves make up an argument that has an origin."""
        return self.argument_slots[argument]

    @abstractmethod
    def leaf_names(self, avals: Sequence[Aval]) -> Sequence[str]:
        """What rules call each leaf of the inputs, of the outputs, and of what is saved."""

    @abstractmethod
    def argument_of(self, position: int) -> str:
        """The argument to which the leaf at a position belongs."""

    @abstractmethod
    def blocks(self, position: int) -> bool:
        """Whether no cotangent passes to the inexact leaf at a position, unless a rule is put in."""

    @abstractmethod
    def run(self, *leaves: Array) -> list[Array]:
        """Apply it: as one equation of a jaxpr, where it is traced."""

    @abstractmethod
    def pullback(
        self, rule: Rule, positions: tuple[int, ...], avals: Sequence[Aval], setting: Setting | None = None
    ) -> tuple[tuple[int, ...], tuple[int, ...], Pull]:
        """A rule for inputs at `positions` as a flat function; `setting` is what it asks for that is around it.

        Returns the positions of what it reads, among inputs, outputs and saved values; those of its targets; and the
        function.
        """

    @abstractmethod
    def keeping(self, rule: Rule, avals: Sequence[Aval]) -> Callable[..., list[Array]]:
        """What is kept for a rule, in order, as a flat function of the inputs, the outputs and what is saved."""


def rules_of(
    function: Function, positions: Sequence[int], find: Callable[[str], Rule | Marker | None], where: str
) -> list[tuple[Rule | None, tuple[int, ...]]]:
    """The rules for the inputs at `positions`, each once; None stands for what is derived.

    Marked arguments have none: nothing flows to them.

    Args:
        function: the function.
        positions: the inputs that may get a cotangent.
        find: the rule for an argument.
        where: the node, or the function, for errors.

    Raises:
        RuleError: an argument is marked not implemented.
    """
    groups: dict[Rule | None, list[int]] = {}
    for p in positions:
        argument = function.argument_of(p)
        rule = find(argument)
        if rule is Marker.NOT_IMPLEMENTED:
            raise RuleError(
                f"{where}: the derivative with respect to {argument} is marked not implemented, and the gradient "
                f"passes through it; register a rule, override it, or detach {argument}."
            )
        if not isinstance(rule, Marker):
            groups.setdefault(rule, []).append(p)
    return [(rule, tuple(group)) for rule, group in groups.items()]


def targets_of(slots: Mapping[str, Slot], rule: Rule, active: Sequence[int]) -> tuple[int, ...]:
    """Positions of the active leaves that a rule gives cotangents of."""
    return tuple(p for a in rule.arguments for p in slots[a].positions if p in active)


def leaf_names(slots: Mapping[str, Slot]) -> list[str]:
    """What each leaf of named values is called: `x`; `xs0`, `xs1` for a tuple's."""
    return [n if t.num_leaves == 1 else f"{n}{i}" for n, (t, _) in slots.items() for i in range(t.num_leaves)]


class Reading(NamedTuple):
    """All that a rule of one function can read."""

    name: str
    """The function's."""
    arguments: Mapping[str, Slot]
    slots: Mapping[str, Slot]
    """Arguments, outputs and saved values."""
    statics: Mapping[str, Any]
    """Attributes and parameters."""
    avals: Sequence[Aval]
    """Of the arguments' leaves."""
    room: Room
    cotangents: Callable[[Sequence[Array]], Mapping[str, PyTree]]
    """Those of the inexact outputs under the names that rules know."""
    outputs: PyTreeDef
    """The structure of what it returns."""
    run: Callable[..., Sequence[Array]]
    """The forward on flat leaves: the outputs, and no more."""
    affine: Callable[[Sequence[Any]], Any] | None = None
    """Of an affine region, what it is made of (`registry/region.py`)."""

    @property
    def where(self) -> str:
        """What errors call the node."""
        return name_here(self.name)

    def flat(self, rule: Rule, targets: Sequence[int], setting: Setting | None = None) -> tuple[tuple[int, ...], Pull]:
        """The positions of the values that a rule takes; and the rule as a function of these and the cotangents.

        It returns a cotangent per target. What the `setting` hands over each time comes after the cotangents. What is
        kept for the rule comes after all other values.
        """
        first = sum(len(slot.positions) for slot in self.slots.values())
        slots = {**self.slots, **{n: Slot(_LEAF, (first + i,)) for i, n in enumerate(rule.keep)}}
        named = [n for n in rule.needs if n in slots]
        positions = tuple(dict.fromkeys(p for n in named for p in slots[n].positions))
        asks_affine = self.affine is not None and "affine" in rule.needs
        if setting is not None or asks_affine:
            around = self._read_around(setting) if setting is not None else []
            positions = tuple(dict.fromkeys((*positions, *around, *(range(len(self.avals)) if asks_affine else ()))))
        n_extra = len(setting.operands) if setting is not None else 0
        statics = {n: v for n, v in self._fixed.items() if n in rule.needs and n not in slots}
        served = {a: self.arguments[a].take(self.avals) for a in rule.arguments}
        order = [p for a in rule.arguments for p in self.arguments[a].positions]

        def pull(*operands: Array) -> list[Any]:
            values = dict(zip(positions, operands, strict=False))
            needs = {n: slots[n].take(values) for n in named}
            g = operands[len(positions) : len(operands) - n_extra]
            needs |= {n: x for n, x in self.cotangents(g).items() if n in rule.needs}
            if asks_affine and self.affine is not None:
                needs["affine"] = self.affine([values[i] for i in range(len(self.avals))])
            if setting is not None:
                needs |= offer(setting, self, rule, values, g, operands[len(operands) - n_extra :])
            found = rule.apply(needs | statics, served, self.where, self.room)
            result = dict(zip(order, found, strict=True))
            return [result[t] for t in targets]

        return positions, pull

    def keep(self, rule: Rule) -> Callable[..., list[Array]]:
        """What is kept for a rule, as a function of all other values."""

        def made(*values: Array) -> list[Array]:
            there = {
                n: slot.take(values) for n, slot in self.slots.items() if max(slot.positions, default=0) < len(values)
            }
            return list(rule.made_for(self._fixed | there, self.where).values())

        return made

    @property
    def _fixed(self) -> dict[str, Any]:
        """Attributes and parameters, and the avals of arguments."""
        return {**self.statics, **{f"{a}_aval": slot.take(self.avals) for a, slot in self.arguments.items()}}

    def _read_around(self, setting: Setting) -> list[int]:
        """The positions of what runs around a rule: the arguments, and what the rules read that it replaces."""
        positions = list(range(len(self.avals))) if setting.reads_arguments else []
        for below in setting.replaced:
            if below.rule is not None:
                positions += self.flat(below.rule, (), below.setting)[0]
        return positions


def with_integers(g: Sequence[Array], avals: Sequence[Aval]) -> list[Any]:
    """A cotangent per output: those of inexact outputs as given, `float0` zeros for integers, as in JAX."""
    source = iter(g)
    return [next(source) if is_inexact(a) else np.zeros(a.shape, jax.dtypes.float0) for a in avals]
