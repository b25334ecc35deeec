"""A wrong rule, planted: an op that would pass for right, where it is wrong, and where it can be seen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import funcgrad as fg
from funcgrad.registry import Kind, Op

_rng = np.random.default_rng(17)


def normal(*shape: int) -> np.ndarray:
    return _rng.normal(size=shape)


@dataclass(frozen=True)
class Base:
    """An op with right rules, of which one is replaced."""

    function: Callable[..., Any]
    rules: dict[str, Callable[..., Any]]
    cases: tuple[tuple[Any, ...], ...]
    options: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    kind: Kind = fg.exact

    def make(self, name: str, **replaced: Callable[..., Any]) -> Op:
        """The op with some rules replaced; the right one without."""
        op = fg.op(name=name, replace=True, **self.options)(self.function)
        for argument, rule in (self.rules | replaced).items():
            op.pullback(argument, kind=self.kind)(rule)
        return op


@dataclass(frozen=True)
class Mutant:
    """One wrong rule."""

    name: str
    family: str
    what: str
    """What is wrong, in a few words."""
    make: Callable[[], Op]
    """The op with the wrong rule."""
    right: Callable[[], Op]
    """The same op with the right one."""
    cases: tuple[tuple[Any, ...], ...]
    attributes: dict[str, Any]
    group: str
    """The group of the report's row that catches it first."""
    beyond: str = ""
    """Why peers that check a function in float64 against finite differences cannot express it; empty if they can."""


MUTANTS: list[Mutant] = []


def wrong(
    base: Base,
    argument: str,
    what: str,
    group: str = "values",
    kind: Kind | None = None,
    beyond: str = "",
    cases: tuple[tuple[Any, ...], ...] | None = None,
) -> Callable[..., Any]:
    """Plant the decorated function as the rule of `base` for `argument`."""

    def plant(rule: Callable[..., Any]) -> Callable[..., Any]:
        where = Base(base.function, base.rules, cases or base.cases, base.options, base.attributes, kind or base.kind)
        add(rule, what, lambda name: where.make(name, **{argument: rule}), where, group, beyond)
        return rule

    return plant


def planted(base: Base, what: str, group: str = "values", beyond: str = "") -> Callable[..., Any]:
    """Plant the op that the decorated function makes, given its name; `base` is the right one."""

    def plant(make: Callable[[str], Op]) -> Callable[[str], Op]:
        add(make, what, make, base, group, beyond)
        return make

    return plant


def add(source: Callable[..., Any], what: str, make: Callable[[str], Op], base: Base, group: str, beyond: str) -> None:
    name, family = source.__name__, source.__module__.rpartition(".")[2]
    assert all(m.name != name for m in MUTANTS), name
    MUTANTS.append(
        Mutant(
            name, family, what, lambda: make(name), lambda: base.make(f"right_{name}"), base.cases, base.attributes,
            group, beyond,
        )
    )  # fmt: skip
