"""A gradient that is asked for: a function traced at its arguments, cut down to what is needed, and planned."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
from jax.core import Tracer

from funcgrad.adapters import ArrayCall, open_call, parameter_names
from funcgrad.aliases import Array, PyTree, PyTreeDef
from funcgrad.autodiff.named_values import Names, find_sources, listed
from funcgrad.autodiff.selection import Argnums, Selection, Unreachable, WantedPlaces, Wrt
from funcgrad.autodiff.taps import Watch, Watched
from funcgrad.errors import FuncgradError, GradientError, describe, describe_tree
from funcgrad.graph import (
    Arguments,
    Constant,
    Graph,
    Meant,
    Structure,
    Tracing,
    Value,
    asks_for_values,
    trace_arguments,
    with_regions,
    with_uses,
    without_checkpoints,
)
from funcgrad.naming import Where, escape, matches, unnumbered
from funcgrad.planning import Limit, LostError, make_plan
from funcgrad.plans import Plan, as_array
from funcgrad.primitive import body, is_staged, one_like, size_of, type_of, typed
from funcgrad.registry import Equation, RuleSet, Target
from funcgrad.reverse import forward

SMALL = 8
"""How many equations a jitted function has at least that stays whole while it is traced.

Of 16 plain blocks, each with the ten equations of `jnp.var`, a second trace takes 1.05 of JAX's time where they are
opened, and 0.83 where they stay whole; between 6 and 10 it makes no difference.
"""


class Output(NamedTuple):
    """What is differentiated: the structure of it, and the graph values that stand for its leaves."""

    tree: PyTreeDef
    leaves: tuple[Value | Constant, ...]
    is_inner: bool = False
    """Whether it was asked for by name, `of=`."""

    @property
    def sources(self) -> tuple[Value, ...]:
        """The leaves that can have a cotangent."""
        return tuple(filter(is_source, self.leaves))

    @property
    def subject(self) -> str:
        """What errors call it."""
        if self.is_inner:
            return " and ".join(f"'{v.name}'" for v in self.leaves)
        return "The loss" if [v.aval.shape for v in self.leaves] == [()] else "The output"

    def seeds(self, cotangent: PyTree) -> list[Array]:
        """The leaves of a cotangent that belong to `sources`; GradientError if it is not like the output.

        As `jax.vjp` does, take numbers and numpy arrays that JAX reads as the dtype of the output.
        """
        found, tree = jax.tree.flatten(cotangent)
        if tree != self.tree:
            raise GradientError(
                f"The cotangent must have the structure of the output, {self.describe()}, got "
                f"{describe_tree(cotangent)}."
            )
        seeds = []
        for value, leaf in zip(self.leaves, found, strict=True):
            if is_source(value):
                aval = type_of(leaf)
                if aval is None or (aval.shape, aval.dtype) != (value.aval.shape, value.aval.dtype):
                    raise GradientError(
                        f"The cotangent of output '{value.name}' must be {describe(value.aval)}, got "
                        f"{describe(leaf if aval is None else aval)}."
                    )
                seeds.append(typed(leaf, aval))
        return seeds

    def check(self) -> None:
        """GradientError unless all leaves are arrays or numbers."""
        if any(v.aval is None for v in self.leaves):
            raise GradientError(
                f"The function must return arrays, got {self.describe()}; return anything else beside them, with "
                f"has_aux=True."
            )

    def ones(self, value: PyTree) -> list[Array]:
        """The cotangents of `sources` where each is a loss, with this value: 1; of an array, where its sum is one."""
        leaves = zip(self.leaves, jax.tree.leaves(value), strict=True)
        return [jnp.ones_like(x) if jnp.ndim(x) else one_like(x) for v, x in leaves if is_source(v)]

    def describe(self) -> str:
        """The output as `(f32[8,64], f32[])`."""
        leaves = [v.content if isinstance(v, Constant) and v.aval is None else v.aval for v in self.leaves]
        return describe_tree(jax.tree.unflatten(self.tree, leaves))


def is_source(leaf: Value | Constant) -> TypeGuard[Value]:
    """Whether a leaf of an output can have a cotangent."""
    return isinstance(leaf, Value) and leaf.is_inexact


class Traced(NamedTuple):
    """A function traced at its arguments and planned; ready to run."""

    plan: Plan
    selection: Selection
    constants: tuple[Array, ...]
    inputs: list[Any]
    output: Output
    auxiliary: Output | None
    watched: Watched | None = None

    def run(self) -> tuple[PyTree, PyTree, list[Any], list[Array]]:
        """Run forward: the output, the auxiliary output, what the plan keeps, and what it observes."""
        plan, n = self.plan, len(self.plan.kept)
        leaves, kept = forward(plan, self.constants, self.inputs, keep=(*plan.kept, *plan.observed))
        return *self.unflatten(leaves), kept[:n], kept[n:]

    def unflatten(self, leaves: Sequence[Any]) -> tuple[PyTree, PyTree]:
        """The output and the auxiliary output, from what the graph returns."""
        n = self.output.tree.num_leaves
        auxiliary = self.auxiliary and jax.tree.unflatten(self.auxiliary.tree, leaves[n:])
        return jax.tree.unflatten(self.output.tree, leaves[:n]), auxiliary


class Request(NamedTuple):
    """What the caller asked for: see `value_and_grad`, whose arguments these are."""

    fun: Callable[..., Any]
    argnums: Argnums
    has_aux: bool = False
    allow_int: bool = False
    of: Names | None = None
    wrt: Wrt | None = None
    unreachable: Unreachable = "raise"
    rules: RuleSet | None = None
    watch: Watch | None = None
    limit: Limit | None = None
    """What the memory of both passes shall stay within; jitted functions inside are then opened."""
    of_everything: bool = False
    """Whether modules among the arguments are differentiated by all of their variables."""

    @contextmanager
    def traced_at(
        self, args: Sequence[Any], kwargs: dict[str, Any], runs: bool = True, opens: bool = True
    ) -> Iterator[tuple[ArrayCall, Traced]]:
        """Trace and plan at these arguments, which may be only described unless it `runs`.

        With `of` the function is run only up to there, so modules among the arguments keep their state. Unless it
        `opens` them, jitted functions inside stay whole where nothing inside of them was asked for.
        """
        _ = self.chosen  # refuses what is no set of rules, before anything is traced
        parameters = parameter_names(self.fun, len(args))
        asked = WantedPlaces.of(self.argnums, self.wrt, self.unreachable, parameters, tuple(kwargs))
        wanted = dict.fromkeys(asked.wanted, ...) if self.of_everything else asked.wanted
        is_pure = self.of is not None
        with open_call(self.fun, parameters, args, kwargs, wanted, self.has_aux, is_pure) as call:
            arguments = Arguments.of(parameters, call.args, call.kwargs, traced=asked.traced, described=not runs)
            selection = asked.select_from(call, arguments, self.allow_int, described=not runs)
            yield call, self._traced(call, arguments, selection, parameters, opens)

    def _traced(
        self, call: ArrayCall, arguments: Arguments, selection: Selection, parameters: Sequence[str], opens: bool
    ) -> Traced:
        """Trace and plan with arguments described and chosen from.

        Where the function has a use for what is in its arrays, those that are not differentiated keep their contents,
        as under `jax.grad`. Only then: a graph made so lacks what is computed from these alone. And where a custom
        rule closes over what only is there while the function runs, JAX differentiates the whole, unless something
        inside is asked for.
        """
        leaves = selection.leaves_of(arguments)
        moving = range(len(arguments.names)) if selection.values else leaves
        try:
            tracing = trace_arguments(call.fun, arguments, call.args, call.kwargs, moving=moving)
            return self._planned(tracing, call, selection, parameters, opens)
        except Exception as error:
            if not (isinstance(error, LostError) or asks_for_values(error)):
                raise
        known = arguments.knowing(call.args, call.kwargs, traced=leaves)
        tracing = trace_arguments(call.fun, known, call.args, call.kwargs, is_eager=True, moving=moving)
        try:
            return self._planned(tracing, call, selection, parameters, opens)
        except LostError as error:
            if self.names_something:
                raise
            lost = error
        tracing = trace_arguments(call.fun, known, call.args, call.kwargs, is_eager=True, whole=leaves)
        try:
            return self._planned(tracing, call, selection, parameters, opens)
        except LostError:
            raise lost from None  # of the node that it is about

    @property
    def names_something(self) -> bool:
        """Whether anything inside of the function is asked for."""
        return self.of is not None or bool(self.chosen.overrides or self.chosen.hooks)

    @property
    def chosen(self) -> RuleSet:
        """The rules; RuleError if what was passed is none."""
        return RuleSet.of(self.rules)

    def _planned(
        self, tracing: Tracing, call: ArrayCall, selection: Selection, parameters: Sequence[str], opens: bool
    ) -> Traced:
        is_meant = self._meant(selection)
        ops = (atom.op for where in self._asked(selection) for atom in where.atoms)
        targets = (Target.of(op) for op in ops if op is not None and not isinstance(op, str))
        written_out = (target.written_out for target in targets if target.written_out is not None)
        calls_of = tuple(dict.fromkeys((*self.chosen.written_out, *written_out)))
        if not (opens or self.limit or selection.values or self.of is not None or self.watch or self.chosen.hooks):
            try:
                graph = tracing.open_graph(self._whole(tracing), is_meant, calls_of)
                return self._plan(tracing, graph, call, selection, parameters)
            except FuncgradError:
                pass  # of the opened graph, the sentence has the name that the node has in a printed one
        return self._plan(tracing, tracing.open_graph(None, is_meant, calls_of), call, selection, parameters)

    def _asked(self, selection: Selection) -> tuple[Where, ...]:
        """All places of values that are asked for."""
        of = () if self.of is None else listed("of", self.of)
        watched, hooked = self.watch.places if self.watch else (), (hook.at for hook in self.chosen.hooks)
        return (*(where for where in of if isinstance(where, Where)), *selection.values, *watched, *hooked)

    def _meant(self, selection: Selection) -> Meant:
        """What stays one node: a call or a loop that has a rule, and a call whose result is asked for by its name."""
        rules = self.chosen
        atoms = [atom for where in self._asked(selection) for atom in where.atoms]
        named = [unnumbered(atom.path) for atom in atoms if atom.path is not None]
        ops = [atom for atom in atoms if atom.op is not None]

        def is_meant(function: Equation, node: str) -> bool:
            if rules.means(function, node):
                return True
            if body(function.source) is None:
                return False
            name = escape(function.name)
            return any(atom.may_apply(function.name) for atom in ops) or any(
                pattern.rpartition("/")[2] == name and matches(pattern, unnumbered(node)) for pattern in named
            )

        return is_meant

    def _whole(self, tracing: Tracing) -> Callable[[Any], bool]:
        """Which jitted functions stay whole: all where the call runs at once, as under `jax.grad`.

        While it is traced, it is the large ones: JAX then writes a call for each, and tracing the few equations of a
        small one costs less than that. None in which a rule is replaced.
        """
        is_traced = is_staged() or any(isinstance(x, Tracer) for x in (*tracing.inputs, *tracing.closed.consts))
        rules = self.chosen

        def whole(inner: Any) -> bool:
            if is_traced and size_of(inner) < SMALL:
                return False
            return not rules.reaches_into(inner.jaxpr)

        return whole

    def _plan(
        self, tracing: Tracing, graph: Graph, call: ArrayCall, selection: Selection, parameters: Sequence[str]
    ) -> Traced:
        if self.limit is not None and self.limit.asked.checkpoints == "replaced":
            graph = replace(graph, structure=without_checkpoints(graph.structure))
        differentiated = None if selection.values else selection.within(graph)[1]
        graph = replace(graph, structure=with_regions(graph.structure, self.chosen, differentiated))
        graph = with_uses(graph, self._asked(selection))
        output, auxiliary = Output(graph.output_tree, graph.structure.outputs), None
        if call.has_aux:
            output, auxiliary = _split_auxiliary(output)
        if self.of is None:
            output.check()
        else:
            graph, tree, sources = find_sources(self.of, graph, parameters)
            output = Output(tree, sources, is_inner=True)
        selection, wanted = selection.within(graph)
        needed = (*output.leaves, *(auxiliary.leaves if auxiliary else ()))
        plan, watched = self._made_plan(graph.structure, needed, wanted, output.sources)
        selection.check(plan, output.subject)
        chosen = frozenset(wanted)
        inputs = [
            as_array(x) if v in chosen and not isinstance(x, jax.ShapeDtypeStruct) else x
            for v, x in zip(plan.structure.inputs, tracing.inputs, strict=True)
        ]
        return Traced(plan, selection, graph.constants, inputs, output, auxiliary, watched)

    def _made_plan(
        self, whole: Structure, needed: Sequence[Value | Constant], wanted: Sequence[Value], sources: Sequence[Value]
    ) -> tuple[Plan, Watched | None]:
        """Plan the graph, with `of` only what is `needed` of it, and what is watched.

        Only a plan tells what rules close over; that may be made by nodes which nothing else needs.
        """
        beside: tuple[Value, ...] = ()
        while True:
            structure = whole if self.of is None else whole.upto(needed, beside)
            structure, watched = self.watch.attach(structure) if self.watch else (structure, None)
            taps = list(watched.taps.values()) if watched else []
            plan = make_plan(structure, wanted, sources, self.rules, taps, limit=self.limit)
            lacking = [] if self.of is None else [v for v in plan.lacking if v not in beside]
            if not lacking:
                return plan, watched
            beside = (*beside, *lacking)


def _split_auxiliary(output: Output) -> tuple[Output, Output]:
    children, node = output.tree.children(), output.tree.node_data()
    if node is None or not issubclass(node[0], tuple | list) or len(children) != 2:
        raise GradientError(
            f"With has_aux=True the function must return a pair (output, aux), got {output.describe()}."
        )
    n = children[0].num_leaves
    return Output(children[0], output.leaves[:n]), Output(children[1], output.leaves[n:])
