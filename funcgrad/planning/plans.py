"""One backward pass, decided before anything runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from funcgrad.errors import RuleError
from funcgrad.graph import Node, Structure, Value
from funcgrad.planning.activity import find_activity
from funcgrad.planning.pullbacks import (
    Pullback,
    derived_pullback,
    equation_pullback,
    residual_pullback,
    rule_pullback,
    run_with_residuals,
    share,
)
from funcgrad.planning.table import Row, Totals, make_rows, render
from funcgrad.primitive import Equation, bodies, scope_of
from funcgrad.registry import Call, Marker, Op, Outline, Rule, RuleSet, matches


@dataclass(frozen=True, eq=False)
class Step:
    """One node of the backward pass: its rules, and what its forward must leave for them."""

    node: Node
    positions: tuple[int, ...]
    """The inputs that get a cotangent."""
    pullbacks: tuple[Pullback, ...]
    saved: tuple[Value, ...]
    """Values that only the rules read, made by the forward beside the node's outputs."""

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The node's outputs that can have a cotangent."""
        return tuple(v for v in self.node.outputs if v.is_inexact)

    def forward(self, leaves: Sequence[Any]) -> list[Any]:
        """Run the node: its outputs, then what it saves."""
        function = self.node.function
        if not self.saved:
            return self.node.run(*leaves)
        if isinstance(function, Call):
            return function.op.primitives.bind(leaves, function.recording)
        outputs, pull = run_with_residuals(self.node, self.positions, leaves)
        return [*outputs, pull]


@dataclass(frozen=True, eq=False)
class Plan:
    """A backward pass as data: what is wanted, the rule at every node, what is kept until it is read.

    Made by `fg.plan`. `print` it for the table of nodes, rules, bytes and FLOPs.
    """

    structure: Structure
    wanted: tuple[Value, ...]
    """The values whose cotangents come out."""
    sources: tuple[Value, ...]
    """The values whose cotangents go in."""
    steps: tuple[Step, ...]
    """The active nodes, in forward order."""
    reached: frozenset[Value]
    """The values that get a cotangent."""

    @cached_property
    def kept(self) -> tuple[Value, ...]:
        """Every value that some rule reads, in the order of first use: what the forward leaves behind."""
        return tuple(dict.fromkeys(v for p in self.pullbacks for v in p.needs if isinstance(v, Value)))

    @property
    def pullbacks(self) -> Iterator[Pullback]:
        """All rules of all steps, in forward order."""
        return (p for step in self.steps for p in step.pullbacks)

    @cached_property
    def step_of(self) -> dict[Node, Step]:
        """The active step of a node."""
        return {step.node: step for step in self.steps}

    @cached_property
    def pruned(self) -> tuple[Node, ...]:
        """Nodes that the backward pass does not visit."""
        return tuple(n for n in self.structure.nodes if n not in self.step_of)

    @cached_property
    def _table(self) -> tuple[tuple[Row, ...], Totals]:
        return make_rows(self)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The table as data, a row per node."""
        return self._table[0]

    @property
    def totals(self) -> Totals:
        """Bytes, FLOPs and rules of the whole pass."""
        return self._table[1]

    def __str__(self) -> str:
        return render(self)


def make_plan(
    structure: Structure, wanted: Sequence[Value], sources: Sequence[Value], rules: RuleSet | None = None
) -> Plan:
    """Plan the cotangents of `wanted`, given those of `sources`.

    Raises:
        RuleError: an override matches no node or one inside a loop's body, or a rule that the pass needs is
            marked not implemented.
    """
    rules = rules or RuleSet()
    rules.check([(n.function.op, n.name) for n in structure.nodes if isinstance(n.function, Call)])
    _check_reach(rules, structure)
    activity = find_activity(structure, wanted, sources, lambda node, i: _blocks(node, i, rules))
    steps = [_plan_step(node, positions, rules, activity.reached) for node, positions in activity.positions.items()]
    return Plan(structure, tuple(wanted), tuple(sources), _share(steps), activity.reached)


def _share(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The steps, their common pullbacks traced once."""
    shared = share(p for step in steps for p in step.pullbacks)
    return tuple(
        replace(s, pullbacks=tuple(replace(p, pull=shared.get(p.pull, p.pull)) for p in s.pullbacks)) for s in steps
    )


def _check_reach(rules: RuleSet, structure: Structure) -> None:
    """RuleError if an override is meant for ops inside the body of an equation, where JAX differentiates."""
    for override in rules.overrides:
        for node in structure.nodes:
            inside = bodies(node.function.source) if isinstance(node.function, Equation) else []
            for name in (n for inner in inside for n in _ops_inside(inner, node.scope, override.op)):
                if matches(override.at, name):
                    raise RuleError(
                        f"The override of {override.op.name} at '{override.at}' matches '{name}' inside the body of "
                        f"'{node.name}', where rules cannot be replaced; narrow the pattern, or unroll '{node.name}'."
                    )


def _ops_inside(jaxpr: Any, scope: str, op: Op) -> Iterator[str]:
    for equation in jaxpr.eqns:
        here = "/".join(part for part in (scope, scope_of(equation)) if part)
        if equation.primitive is op.primitives.forward:
            yield f"{here}/{op.name}" if here else op.name
        for inner in bodies(equation):
            yield from _ops_inside(inner, here, op)


def _blocks(node: Node, position: int, rules: RuleSet) -> bool:
    if not node.inputs[position].is_inexact:
        return True
    if isinstance(node.function, Equation):
        return node.function.blocks
    rule = rules.find(node.function.op, node.function.argument_of(position), node.name)
    return rule in (Marker.ZERO, Marker.NON_DIFFERENTIABLE)


def _plan_step(node: Node, positions: tuple[int, ...], rules: RuleSet, reached: frozenset[Value]) -> Step:
    function = node.function
    if isinstance(function, Call):
        return _plan_call(node, function, positions, rules, reached)
    if function.keeps_residuals:
        residuals = Value(f"{node.name}/residuals", None)
        return Step(node, positions, (residual_pullback(node, positions, residuals),), (residuals,))
    return Step(node, positions, (equation_pullback(node, function, positions),), ())


def _plan_call(node: Node, call: Call, positions: tuple[int, ...], rules: RuleSet, reached: frozenset[Value]) -> Step:
    outline = call.recording.outline(tuple(v.aval for v in node.inputs))
    outputs = node.outputs[: outline.n_outputs]
    # In the graph of a gradient, an op may be saving already: what it saves are then outputs of its node.
    saved = node.outputs[outline.n_outputs :] if call.saving else _saved_values(node, call.recording, outline)
    pullbacks = [
        rule_pullback(node, call, rule, group, outputs, saved) if rule else derived_pullback(node, call, group, outputs)
        for rule, group in _rules_at(node, call, positions, rules)
    ]
    if call.saving:
        if any(v in reached for v in saved):
            pullbacks.append(derived_pullback(node, call, positions, saved, of_saved=True))
        saved = ()
    needs_saved = any(v in saved for p in pullbacks for v in p.needs)
    return Step(node, positions, tuple(pullbacks), saved if needs_saved else ())


def _rules_at(
    node: Node, call: Call, positions: tuple[int, ...], rules: RuleSet
) -> list[tuple[Rule | None, tuple[int, ...]]]:
    groups: dict[Rule | None, list[int]] = {}
    for p in positions:
        argument = call.argument_of(p)
        rule = rules.find(call.op, argument, node.name)
        if isinstance(rule, Marker):
            raise RuleError(
                f"{node.name}: the derivative with respect to {argument} is marked not implemented, and the gradient "
                f"passes through it; register a rule, override it, or detach {argument}."
            )
        groups.setdefault(rule, []).append(p)
    return [(rule, tuple(group)) for rule, group in groups.items()]


def _saved_values(node: Node, recording: Call, outline: Outline) -> tuple[Value, ...]:
    avals = outline.avals[outline.n_outputs :]
    names = recording.leaf_names(outline)[-len(avals) :] if avals else []
    return tuple(Value(f"{node.name}.{name}", aval) for name, aval in zip(names, avals, strict=True))
