"""What a rule that is put in may ask for beside what its function has: what it replaces, and what is around it.

- `pull`: the J^T that it replaces, from a cotangent to that of its argument (a mapping, where it serves several);
- `f`: the forward, as a function of the arguments; those that are left out are the node's own;
- `node`: the node at which it stands;
- `loss_g`: the cotangent of one value for all nodes, which methods of feedback alignment broadcast;
- `key`: a random key of the node's own, another one in each turn of a loop;
- `w_origin`: of an argument `w`, where its value comes from (`registry/origin.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from funcgrad.aliases import Array, Aval, PyTree
from funcgrad.errors import RuleError, describe, describe_tree
from funcgrad.primitive import is_inexact
from funcgrad.registry.origin import ORIGIN
from funcgrad.registry.rule import Rule

if TYPE_CHECKING:
    from funcgrad.registry.function import Function, Reading

AROUND = ("pull", "f", "node", "loss_g", "key")
"""The names, in order; an argument or attribute of the same name comes first."""


def names_around(arguments: Sequence[str]) -> tuple[str, ...]:
    """What a rule that is put in may ask for beside what a function of these arguments has."""
    return (*AROUND, *(f"{a}{ORIGIN}" for a in arguments))


def asked_around(rule: Rule, function: "Function") -> tuple[str, ...]:
    """What a rule asks for that is not in its function."""
    return tuple(n for n in names_around(function.argument_names) if n in rule.needs and n not in function.known)


@dataclass(frozen=True)
class Setting:
    """What is around one rule at one node."""

    asked: tuple[str, ...]
    """What the rule asks for."""
    replaced: "tuple[Replaced, ...]" = ()
    """What it replaces, where it asks for that."""
    node: Any = None
    """The node, likewise."""
    origins: tuple[tuple[str, PyTree], ...] = ()
    """The origins, likewise, by the names that it asks for."""

    @property
    def operands(self) -> tuple[str, ...]:
        """What is handed over each time the rule runs, after the cotangents; also for the rules that it replaces."""
        below = [below.setting.operands for below in self.replaced if below.setting]
        own = (*self.asked, *(("at",) if any(o.at for _, tree in self.origins for o in jax.tree.leaves(tree)) else ()))
        return tuple(n for n in ("loss_g", "key", "at") if n in own or any(n in names for names in below))

    @property
    def reads_arguments(self) -> bool:
        """Whether anything is run on the node's arguments."""
        return "pull" in self.asked or "f" in self.asked


@dataclass(frozen=True)
class Replaced:
    """What would stand for some arguments if a rule did not."""

    rule: Rule | None
    """None for what is derived, and for an argument that is marked."""
    arguments: tuple[str, ...]
    setting: Setting | None = None
    """What is around that rule."""


def offer(
    setting: Setting,
    reading: "Reading",
    rule: Rule,
    values: Mapping[int, Any],
    g: Sequence[Array],
    extra: Sequence[Any],
) -> dict[str, Any]:
    """What a rule asked for, by name.

    Args:
        setting: what is around it.
        reading: its function.
        rule: the rule.
        values: leaves of the arguments, and of what else it reads, by position.
        g: the cotangents that arrived.
        extra: the setting's `operands`.
    """
    handed = dict(zip(setting.operands, extra, strict=True))
    offered: dict[str, Any] = {n: x for n, x in handed.items() if n in setting.asked}
    if "node" in setting.asked:
        offered["node"] = setting.node
    for name, tree in setting.origins:
        offered[name] = jax.tree.map(lambda origin: origin.told(handed.get("at", ())), tree)
    if "f" in setting.asked:
        offered["f"] = _forward(reading, values)
    if "pull" in setting.asked:
        offered["pull"] = _replaced_pull(setting, reading, rule, values, g, handed)
    return offered


def _forward(reading: "Reading", values: Mapping[int, Any]) -> Callable[..., PyTree]:
    """The forward as a function of the arguments; those that are left out are the node's own."""
    names = tuple(reading.arguments)

    def f(*args: PyTree, **by_name: PyTree) -> PyTree:
        given = dict(zip(names, args, strict=False)) | by_name
        unknown = [n for n in by_name if n not in names]
        if unknown or len(args) > len(names):
            found = f"'{unknown[0]}'" if unknown else f"{len(args)} of them"
            raise RuleError(f"{reading.where}: f takes {', '.join(names)}, got {found}.")
        leaves = dict(values)
        for name, x in given.items():
            slot = reading.arguments[name]
            if jax.tree.structure(x) != slot.tree:
                expected = describe_tree(slot.take(reading.avals))
                raise RuleError(f"{reading.where}: f takes {name} as {expected}, got {describe_tree(x)}.")
            leaves.update(zip(slot.positions, jax.tree.leaves(x), strict=True))
        return jax.tree.unflatten(reading.outputs, reading.run(*[leaves[i] for i in range(len(reading.avals))]))

    return f


def _replaced_pull(
    setting: Setting,
    reading: "Reading",
    rule: Rule,
    values: Mapping[int, Any],
    g: Sequence[Array],
    handed: Mapping[str, Any],
) -> Callable[..., PyTree]:
    """The J^T that a rule replaces, for its arguments."""
    expected = [jax.typeof(x) for x in g]

    def pull(*args: PyTree, **by_name: PyTree) -> PyTree:
        given = (*args, *by_name.values())
        if len(given) != 1 or not by_name.keys() <= {"g"}:
            raise RuleError(
                f"{reading.where}: rule {rule.name} calls pull with ({_written(args, by_name)}), and it takes one "
                f"argument, the cotangent {describe_tree(tuple(expected) if len(expected) > 1 else expected[0])}."
            )
        every = jax.tree.leaves(given)
        leaves = [x for x in every if is_inexact(jax.typeof(x))]
        found = [jax.typeof(x) for x in leaves]
        if [(a.shape, a.dtype) for a in found] != [(a.shape, a.dtype) for a in expected]:
            raise RuleError(
                f"{reading.where}: rule {rule.name} calls pull with {_listed(every)}, and the cotangent there is "
                f"{_listed(expected)}."
            )
        bars: dict[str, PyTree] = {}
        for below in setting.replaced:
            bars |= _bars(below, reading, values, leaves, handed)
        return bars[rule.arguments[0]] if len(rule.arguments) == 1 else {a: bars[a] for a in rule.arguments}

    return pull


def _bars(
    below: Replaced, reading: "Reading", values: Mapping[int, Any], g: Sequence[Array], handed: Mapping[str, Any]
) -> dict[str, PyTree]:
    """The cotangents of the arguments that one of the replaced rules serves, or that are derived together."""
    slots = {a: reading.arguments[a] for a in below.arguments}
    targets = [p for slot in slots.values() for p in slot.positions if is_inexact(reading.avals[p])]
    if not targets:  # an argument that is absent (None) or of integers, for which no rule runs
        found: Sequence[Array | None] = ()
    elif below.rule is None:
        found = _derived(reading, values, targets, g)
    else:
        positions, pull = reading.flat(below.rule, targets, below.setting)
        extra = [handed[n] for n in below.setting.operands] if below.setting else []
        found = pull(*[values[p] for p in positions], *g, *extra)
    by_position = dict(zip(targets, found, strict=True))
    none = dict.fromkeys(range(len(reading.avals)))
    return {a: slot.take(none | by_position) for a, slot in slots.items()}


def _derived(
    reading: "Reading", values: Mapping[int, Any], targets: Sequence[int], g: Sequence[Array]
) -> Sequence[Array]:
    """J^T by `jax.vjp` of the forward."""

    def inexact_outputs(*moved: Array) -> list[Array]:
        leaves = dict(values) | dict(zip(targets, moved, strict=True))
        outputs = reading.run(*[leaves[i] for i in range(len(reading.avals))])
        return [x for x in outputs if is_inexact(jax.typeof(x))]

    return jax.vjp(inexact_outputs, *[values[t] for t in targets])[1](list(g))


def _listed(avals: Sequence[Aval | Array]) -> str:
    return ", ".join(map(describe, avals)) or "nothing"


def _written(args: Sequence[PyTree], by_name: Mapping[str, PyTree]) -> str:
    """What something is called with."""
    return ", ".join([*map(describe_tree, args), *(f"{n}={describe_tree(x)}" for n, x in by_name.items())])
