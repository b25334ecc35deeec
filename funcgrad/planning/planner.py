"""From what is wanted to a plan: the active nodes, the rule at each, and the plans of the graphs that nodes hold."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from funcgrad.graph import Body, Measurement, Node, Structure, Value
from funcgrad.naming import Names
from funcgrad.planning.activity import Activity, BodyActivity, Watching, find_activity
from funcgrad.planning.around import Around, Signal, find_around
from funcgrad.planning.beside import Beside, RulesKept, find_beside
from funcgrad.planning.captures import captured
from funcgrad.planning.custom_tangents import tangent_pullback
from funcgrad.planning.fitting import Limit, fence_reads, fit
from funcgrad.planning.flows import Flows
from funcgrad.planning.holders import MAKERS
from funcgrad.planning.origins import Origins
from funcgrad.planning.pullbacks import RulePulls, derived_pullback, equation_pullback, residual_pullback, rule_pullback
from funcgrad.planning.replacements import Hooked, find_replacements
from funcgrad.planning.segments import Remaking, remake_segments
from funcgrad.planning.sharing import Shared, share
from funcgrad.planning.standing import Standings
from funcgrad.planning.storing import store_results
from funcgrad.planning.views import find_views
from funcgrad.plans import Plan, Step, Tap
from funcgrad.primitive import TangentRule
from funcgrad.registry import Call, Equation, Hook, Marker, Outline, Rule, RuleSet, rules_of


def make_plan(
    structure: Structure,
    wanted: Sequence[Value],
    sources: Sequence[Value],
    rules: RuleSet | None = None,
    taps: Sequence[Tap] = (),
    segments: Sequence[Collection[Value]] = (),
    limit: Limit | None = None,
) -> Plan:
    """Plan the cotangents of `wanted`, given those of `sources`.

    Taps whose values get a cotangent are read; the plan's `readings` lists them. What measuring nodes of the graph
    make is the plan's `observed`. The values in `segments` are made again instead of kept (`planning/segments.py`),
    and, within a `limit`, what is found for it.

    Raises:
        BudgetError: nothing stays within the limit.
        RuleError: an override matches no node or one inside a body that cannot be opened, or a rule that the pass
            needs is marked not implemented.
        GradientError: the pass leads through a `while` loop.
    """
    rules, hooked = find_replacements(rules or RuleSet(), structure)
    planner = _Planner(rules, hooked, wanted, sources, {tap.value: tap for tap in taps}, structure)

    def make(more: Remaking) -> Plan:
        planner.remaking = Remaking(tuple(segments)) + more
        return planner.plan(structure, planner.activity, wanted, sources)

    return make(Remaking()) if limit is None else fit(lambda more: fence_reads(make(more)), limit)


class _Planner:
    """Plans a graph and those inside it under one set of rules."""

    def __init__(
        self,
        rules: RuleSet,
        hooked: Hooked,
        wanted: Sequence[Value],
        sources: Sequence[Value],
        taps: dict[Value, Tap],
        whole: Structure,
    ):
        self.rules = rules
        self.hooked = hooked
        self.wanted = frozenset(wanted)
        self.sources = sources
        self.standings = Standings(whole)
        self.signal = Signal(rules, self.standings, sources)
        self.taps = taps
        self.whole = whole
        self.remaking = Remaking()
        self.rule_pulls: RulePulls = {}
        self.rules_kept: RulesKept = {}
        self.shared: Shared = {}
        self.added: dict[tuple[Any, ...], Value] = {}
        self.flows = Flows(self.replaces if rules.overrides else None)

    @cached_property
    def activity(self) -> Activity:
        """What gets a cotangent in the whole graph.

        So does the value whose cotangent rules ask for as `loss_g`, whether or not it depends on what is wanted.
        """
        found, signal = self.activity_of(self.wanted), self.signal.value
        if signal is None or found.reaches(signal):
            return found
        is_asked = any(self.signal.is_asked_at(node) for part in found.all for node in part.positions)
        return self.activity_of({*self.wanted, signal}) if is_asked else found

    def activity_of(self, wanted: Collection[Value]) -> Activity:
        """What gets a cotangent where some values are wanted."""
        watching = Watching(frozenset(self.taps), self.serves)
        return find_activity(self.whole, wanted, self.sources, self.blocks, self.flows, watching)

    @cached_property
    def names(self) -> Names:
        """What may not be the name of a value that the plan adds."""
        return self.whole.names

    def value(self, node: Node, name: str, aval: Any, rule: Rule | None = None) -> Value:
        """A value that the plan adds at a node, or for one rule there, of this name or one like it.

        When the node is planned again, it is the same one.
        """
        key = node, name, aval, rule
        if key not in self.added:
            self.added[key] = Value(self.names.give(f"{node.name}{name}"), aval, node.loops)
        return self.added[key]

    def blocks(self, node: Node, position: int) -> bool:
        """Whether a node passes no cotangent to the input at a position."""
        if not node.inputs[position].is_inexact:
            return True
        function = node.function
        if isinstance(function, Measurement):
            return function.blocks(position)
        return self.rules.blocks(function, position, node.name)

    def replaces(self, node: Node, position: int) -> bool:
        """Whether a rule was put in for the input of a node at a position."""
        return self.replaced(node, position) is not None

    def replaced(self, node: Node, position: int) -> Rule | Marker | None:
        """What was put in for the input of a node at a position."""
        function = node.function
        if not self.rules.overrides or isinstance(function, Measurement):
            return None
        return self.rules.replaced(function, function.argument_of(position), node.name)

    def marked(self, structure: Structure, activity: Activity) -> dict[Node, tuple[tuple[str, Marker], ...]]:
        """The arguments that depend on what is wanted and get no cotangent, for a marker was put in."""
        found: dict[Node, tuple[tuple[str, Marker], ...]] = {}
        if not any(override.marker for override in self.rules.overrides):
            return found
        for node in structure.nodes:
            for i, v in enumerate(node.inputs):
                mark = self.replaced(node, i) if v in activity.varied and v.is_inexact else None
                if isinstance(mark, Marker) and not isinstance(node.function, Measurement):
                    marks = dict(found.get(node, ())) | {node.function.argument_of(i): mark}
                    found[node] = tuple(marks.items())
        return found

    def serves(self, node: Node, position: int) -> bool:
        """Whether a visited node can give an input its share for nothing but the rule that is written for it.

        A derived rule might raise, and watching must not.
        """
        function = node.function
        if isinstance(function, Measurement) or node.bodies or (isinstance(function, Call) and function.saving):
            return False
        return isinstance(self.rules.find(function, function.argument_of(position), node.name), Rule)

    def plan(self, structure: Structure, activity: Activity, wanted: Sequence[Value], sources: Sequence[Value]) -> Plan:
        steps = [
            self.step(node, activity.positions.get(node, ()), activity)
            for node in structure.nodes
            if node in activity.positions or any(_is_observed(body) for body in node.bodies)
        ]
        direct = [*structure.inputs, *(v for node in structure.nodes for v in node.outputs)]
        watched = self.taps.keys() & (activity.reached | activity.beside) if self.taps else ()
        taps = tuple(self.taps[v] for v in direct if v in watched)
        readings = (r for v in structure.values if v in watched for r in self.taps[v].readings) if watched else ()
        signals = {p.signal for step in steps for p in step.pullbacks if p.signal is not None}
        told = () if self.signal.is_of(structure) else tuple(signals)
        plan = Plan(
            structure,
            wanted=tuple(wanted),
            sources=(*sources, *told),
            told=told,
            steps=_share(steps, self.shared),
            reached=activity.reached,
            taps=taps,
            readings=tuple(readings) if self.taps else (),
            observed=tuple(structure.observed),
            hooks=self.hooks(structure),
            marked=self.marked(structure, activity),
        )
        return store_results(remake_segments(plan, [*self.remaking.segments, *find_views(plan)]))

    def hooks(self, structure: Structure) -> dict[Value, tuple[Hook, ...]]:
        """The hooks of the values whose cotangents are whole in a graph."""
        values = (*structure.inputs, *(v for node in structure.nodes for v in node.outputs)) if self.hooked else ()
        key = self.rules.key
        return {v: tuple(h.at_value(v.name, key) for h in self.hooked[v]) for v in values if v in self.hooked}

    def step(self, node: Node, positions: tuple[int, ...], activity: Activity) -> Step:
        function = node.function
        if isinstance(function, Call):
            return self.call(node, function, positions, activity)
        assert isinstance(function, Equation)
        if node.holder is not None:
            nothing = (BodyActivity((), (), Activity({}, frozenset())),) * len(node.bodies)
            return MAKERS[type(node.holder)](node, positions, activity.inside.get(node, nothing), self)
        return self.equation(node, function, positions, activity)

    def equation(self, node: Node, function: Equation, positions: tuple[int, ...], activity: Activity) -> Step:
        """The step of a node of JAX's that holds no graphs: its rules, and what is derived for the other inputs."""
        found = self.rules_at(node, function, positions)
        find = partial(captured, varied=activity.varied)
        beside = self.beside(node, function, found, node.outputs)
        pullbacks = [
            rule_pullback(
                node, function, rule, at, node.outputs, beside.of(rule), self.rule_pulls, find, self.around(node, rule)
            )
            for rule, at in found
            if rule
        ]
        left = tuple(p for rule, at in found if rule is None for p in at)
        if not left:
            return beside.made_by(Step(node, positions, tuple(pullbacks), (), node.run))
        derived = self.derived(node, function, left, activity)
        return beside.made_by(replace(derived, positions=positions, pullbacks=(*pullbacks, *derived.pullbacks)))

    def derived(self, node: Node, function: Equation, positions: tuple[int, ...], activity: Activity) -> Step:
        """The step of a node of JAX's for the inputs that have no rule of their own."""
        moving = self.flows.derived(node, activity.moving.get(node, positions))
        outputs = tuple(k for k, v in enumerate(node.outputs) if v in activity.reached)
        find = partial(captured, node, varied=activity.varied)
        if function.keeps_residuals(in_loop=bool(node.loops)):
            recording = self.flows.recording(node, moving, outputs)
            ahead, back = find(recording.ahead), find(recording.back)
            residuals = tuple(self.value(node, f"/residual{i}", a) for i, a in enumerate(recording.residuals))
            pullback = residual_pullback(node, recording, ahead, back, outputs, residuals)
            return Step(node, positions, (pullback,), residuals, recording.forward, captured=ahead)
        if function.is_custom_jvp and (rule := self.flows.rule(node, moving)) is not None:
            pullback = tangent_pullback(node, rule, find(rule.tangent_arrays), positions, outputs)
            run = partial(_run_primal, rule, len(node.inputs))
            return Step(node, positions, (pullback,), (), run, captured=find(rule.primal_arrays))
        return Step(node, positions, (equation_pullback(node, function, positions, moving, outputs),), (), node.run)

    def rules_at(
        self, node: Node, function: Call | Equation, positions: tuple[int, ...]
    ) -> list[tuple[Rule | None, tuple[int, ...]]]:
        """The rules for the inputs of a node, each once; None stands for a derived one."""
        find = partial(self.rules.find, function, node=node.name) if self.rules.overrides else function.rules.get
        return rules_of(function, positions, find, node.name)

    def around(self, node: Node, rule: Rule) -> Around | None:
        """What a rule is told at a node beside what the node has."""
        function = node.function
        if not self.rules.overrides or isinstance(function, Measurement):
            return None
        origins = Origins(node, self.standings)
        setting = self.rules.setting(function, rule, node, origins.find)
        return find_around(self.rules, setting, origins, self.signal, self.activity)

    def is_apart(self, value: Value) -> bool:
        """Whether a value's cotangent is asked for by itself."""
        return value in self.wanted or value in self.taps

    def body(self, structure: Structure, active: BodyActivity, summed: Sequence[Value] = ()) -> Plan:
        """The plan of a graph that a node holds; see `BodyPlanner`."""
        reached = active.activity.reached
        inside = [v for v in structure.values if v in self.wanted and v in reached]
        sources = [v for k in active.outputs if isinstance(v := structure.outputs[k], Value)]
        inputs = [structure.inputs[i] for i in active.inputs]
        return self.plan(structure, active.activity, [*inputs, *inside], [*sources, *summed])

    def call(self, node: Node, call: Call, positions: tuple[int, ...], activity: Activity) -> Step:
        """The step of an op's node."""
        outline = call.recording.outline(tuple(v.aval for v in node.inputs))
        outputs = node.outputs[: outline.n_outputs]
        # In the graph of a gradient, an op may be saving already: what it saves are then outputs of its node.
        saved = node.outputs[outline.n_outputs :] if call.saving else self.saved(node, call.recording, outline)
        find = partial(captured, varied=activity.varied)
        found = self.rules_at(node, call, positions)
        beside = self.beside(node, call.recording, found, (*outputs, *saved))
        pullbacks = [
            rule_pullback(
                node,
                call.recording,
                rule,
                at,
                outputs,
                (*saved, *beside.of(rule)),
                self.rule_pulls,
                find,
                self.around(node, rule),
            )
            if rule
            else derived_pullback(node, call, at, outputs)
            for rule, at in found
        ]
        if call.saving and any(v in activity.reached for v in saved):
            pullbacks.append(derived_pullback(node, call, positions, saved, of_saved=True))
        is_read = any(v in saved for p in pullbacks for v in p.needs) or beside.reads(call.op.saved)
        if call.saving or not is_read:
            return beside.made_by(Step(node, positions, tuple(pullbacks), (), node.run))
        return beside.made_by(Step(node, positions, tuple(pullbacks), saved, partial(_run_recording, call)))

    def beside(
        self,
        node: Node,
        function: Call | Equation,
        found: Sequence[tuple[Rule | None, tuple[int, ...]]],
        made: Sequence[Value],
    ) -> Beside:
        """What is kept for the rules at a node beside what it makes."""
        return find_beside(node, function, [rule for rule, _ in found if rule], made, self.value, self.rules_kept)

    def saved(self, node: Node, recording: Call, outline: Outline) -> tuple[Value, ...]:
        """What an op's saving forward makes beside its outputs."""
        avals = outline.avals[outline.n_outputs :]
        fields = recording.leaf_names([v.aval for v in node.inputs])[-len(avals) :] if avals else []
        return tuple(self.value(node, f".{name}", aval) for name, aval in zip(fields, avals, strict=True))


def _run_primal(rule: TangentRule, n_inputs: int, *operands: Any) -> list[Any]:
    """The outputs of a `custom_jvp` as its rule writes them."""
    return rule.primal(*operands[n_inputs:], *operands[rule.n_closed_over : n_inputs])


def _run_recording(call: Call, *leaves: Any) -> list[Any]:
    return call.op.primitives.bind(leaves, call.recording)


def _share(steps: Sequence[Step], made: Shared) -> tuple[Step, ...]:
    """The steps, their common pullbacks traced once."""
    shared = share((p for step in steps for p in step.pullbacks), made)
    return tuple(
        replace(s, pullbacks=tuple(replace(p, pull=shared.get(p.pull, p.pull)) for p in s.pullbacks)) for s in steps
    )


def _is_observed(body: Body) -> bool:
    """Whether something is measured in a body; not where traces share it."""
    return body.found is None and any(True for _ in body.structure.observed)
