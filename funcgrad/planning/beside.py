"""What is kept for rules beside a node's inputs and outputs, in the place of what it is made of.

A rule that asks for `x` keeps `x`. One whose `keep` has `{"positive": lambda x: pack(x > 0)}` keeps a bit for each
entry: the step's forward runs the node and then these functions on what it has, and what they make is among what the
step saves, as what an op's own saving forward makes is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax

from funcgrad.aliases import Array, Aval
from funcgrad.graph import Node, Value
from funcgrad.naming import at_node
from funcgrad.plans import Step, as_array
from funcgrad.registry import Call, Equation, Rule

Keep = Callable[..., Sequence[Array]]
RulesKept = dict[tuple[Any, ...], tuple[Keep, tuple[Aval, ...]]]
"""What rules of a plan keep beside, by rule and signature: the flat function, and the avals of what it makes."""


@dataclass(frozen=True)
class Beside:
    """What the rules at one node keep beside."""

    node: Node
    rules: tuple[Rule, ...] = ()
    """Those that do."""
    values: tuple[tuple[Value, ...], ...] = ()
    """What each keeps."""
    functions: tuple[Keep, ...] = ()
    """What makes it, of the node's inputs, its outputs and what it saves."""

    def of(self, rule: Rule | None) -> tuple[Value, ...]:
        """What one rule keeps."""
        return self.values[self.rules.index(rule)] if rule in self.rules else ()

    def reads(self, names: Sequence[str]) -> bool:
        """Whether any of it is made of what has one of these names."""
        return any(name in rule.kept_of for rule in self.rules for name in names)

    def made_by(self, step: Step) -> Step:
        """The step, whose forward makes it too."""
        if not self.rules:
            return step
        saved = (*step.saved, *(v for values in self.values for v in values))
        return replace(step, saved=saved, forward=partial(_run, self, step.forward))


def find_beside(
    node: Node,
    function: Call | Equation,
    rules: Sequence[Rule],
    made: Sequence[Value],
    add: Callable[[Node, str, Aval, Rule], Value],
    known: RulesKept,
) -> Beside:
    """What the rules at a node keep beside, of its inputs and of what it has `made`; `add` makes a value for it."""
    keeping = tuple(rule for rule in rules if rule.keep)
    values, functions = [], []
    for rule in keeping:
        keep, avals = _kept(node, function, rule, made, known)
        values.append(tuple(add(node, f".{name}", aval, rule) for name, aval in zip(rule.keep, avals, strict=True)))
        functions.append(keep)
    return Beside(node, keeping, tuple(values), tuple(functions))


def _kept(
    node: Node, function: Call | Equation, rule: Rule, made: Sequence[Value], known: RulesKept
) -> tuple[Keep, tuple[Aval, ...]]:
    inputs = tuple(v.aval for v in node.inputs)
    signature = function.key if isinstance(function, Equation) else function, rule, inputs
    if signature not in known:
        keep = function.keeping(rule, inputs)
        with at_node(node.name, lambda: node.line):
            traced = jax.make_jaxpr(keep)(*inputs, *(v.aval for v in made))
        known[signature] = keep, tuple(traced.out_avals)
    return known[signature]


def _run(beside: Beside, forward: Callable[..., list[Any]], *leaves: Any) -> list[Any]:
    """What a node makes and saves, then what is kept beside."""
    node, found = beside.node, forward(*leaves)
    inputs = [as_array(x, v.aval) for x, v in zip(leaves, node.inputs, strict=False)]
    with at_node(node.name, lambda: node.line):
        return [*found, *(x for keep in beside.functions for x in keep(*inputs, *map(as_array, found)))]
