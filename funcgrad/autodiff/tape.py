"""The forward pass as a value: a tape that holds the plan and what its rules will read."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax

from funcgrad.adapters import Opened, opened
from funcgrad.aliases import Array, PyTree, PyTreeDef
from funcgrad.autodiff.selection import ByArgument, Selection
from funcgrad.autodiff.taps import Watch, Watched
from funcgrad.errors import GradientError, describe, describe_tree
from funcgrad.graph import Arguments, Value, trace_arguments
from funcgrad.planning import make_plan
from funcgrad.plans import Plan
from funcgrad.registry import RuleSet
from funcgrad.reverse import forward, reverse


@partial(jax.tree_util.register_dataclass, data_fields=["kept"], meta_fields=["plan", "selection", "output"])
@dataclass(frozen=True)
class Tape:
    """What a forward pass leaves behind: pull cotangents through it as often as you like.

    A pytree whose leaves are the kept arrays, so it may leave a jitted function and enter another.
    """

    plan: Plan
    kept: list[Any]
    selection: Selection
    output: "Output"

    def pull(self, cotangent: PyTree) -> PyTree:
        """Cotangents of the arguments, as a tuple, from that of the output.

        Args:
            cotangent: like the output: same structure, shapes and dtypes. Integer outputs have none; whatever
                stands in their place is ignored.

        Raises:
            GradientError: the cotangent is not like the output.
        """
        cotangents = reverse(self.plan, self.kept, self.output.seeds(cotangent))
        return self.selection.assemble(self.plan, cotangents)


class Output(NamedTuple):
    """The structure of what a function returns, and the graph values that stand for its leaves."""

    tree: PyTreeDef
    leaves: tuple[Any, ...]

    @property
    def sources(self) -> tuple[Value, ...]:
        """The leaves that can have a cotangent."""
        return tuple(v for v in self.leaves if isinstance(v, Value) and v.is_inexact)

    def seeds(self, cotangent: PyTree) -> list[Array]:
        """The leaves of a cotangent that belong to `sources`; GradientError if it is not like the output."""
        found, tree = jax.tree.flatten(cotangent)
        if tree != self.tree:
            raise GradientError(
                f"The cotangent must have the structure of the output, {self.describe()}, got "
                f"{describe_tree(cotangent)}."
            )
        seeds = []
        for value, leaf in zip(self.leaves, found, strict=True):
            if isinstance(value, Value) and value.is_inexact:
                if describe(leaf) != describe(value.aval):
                    raise GradientError(
                        f"The cotangent of output '{value.name}' must be {describe(value.aval)}, got {describe(leaf)}."
                    )
                seeds.append(leaf)
        return seeds

    def describe(self) -> str:
        """The output as `(f32[8,64], f32[])`."""
        return describe_tree(jax.tree.unflatten(self.tree, [v.aval for v in self.leaves]))


class Traced(NamedTuple):
    """A function traced at its arguments and planned; ready to run."""

    plan: Plan
    constants: tuple[Array, ...]
    inputs: list[Array]
    output: Output
    auxiliary: Output | None
    watched: Watched | None = None

    def run(self) -> tuple[PyTree, PyTree, list[Any], list[Array]]:
        """Run forward: the output, the auxiliary output, what the plan keeps, and what it observes."""
        plan = self.plan
        leaves, kept = forward(plan, self.constants, self.inputs, keep=(*plan.kept, *plan.observed))
        n, m = self.output.tree.num_leaves, len(plan.kept)
        auxiliary = self.auxiliary and jax.tree.unflatten(self.auxiliary.tree, leaves[n:])
        return jax.tree.unflatten(self.output.tree, leaves[:n]), auxiliary, kept[:m], kept[m:]


def trace_and_plan(
    call: Opened, arguments: Arguments, selection: Selection, rules: RuleSet | None, watch: Watch | None = None
) -> Traced:
    """Trace a function and plan its backward pass for what `selection` wants, watching what `watch` says."""
    graph = trace_arguments(call.fun, arguments, call.args, call.kwargs)
    structure = graph.structure
    output, auxiliary = Output(graph.output_tree, structure.outputs), None
    if call.has_aux:
        output, auxiliary = _split_auxiliary(output)
    structure, watched = watch.attach(structure) if watch else (structure, None)
    taps = list(watched.taps.values()) if watched else []
    plan = make_plan(structure, selection.wanted(graph), output.sources, rules, taps)
    return Traced(plan, graph.constants, arguments.inputs(call.args, call.kwargs), output, auxiliary, watched)


def _split_auxiliary(output: Output) -> tuple[Output, Output]:
    children = output.tree.children()
    if output.tree.node_data() is None or output.tree.node_data()[0] is not tuple or len(children) != 2:
        raise GradientError(
            f"With has_aux=True the function must return a pair (output, aux), got {output.describe()}."
        )
    n = children[0].num_leaves
    return Output(children[0], output.leaves[:n]), Output(children[1], output.leaves[n:])


def record(fun: Callable[..., Any], *primals: Any, has_aux: bool = False, rules: RuleSet | None = None) -> Any:
    """Run `fun` and keep its tape: `(output, tape)`, or `(output, tape, aux)` with `has_aux`.

    Args:
        fun: the function.
        primals: its arguments, pytrees of arrays; cotangents come out for all of them (`float0` for integers).
        has_aux: `fun` returns `(output, aux)`.
        rules: which J^T stands for which op, where not the ops' own.

    Raises:
        GradientError: an argument holds a leaf that is no array.
        RuleError: an override matches nothing, or a rule is marked not implemented.

    >>> y, tape = fg.record(network, params, x)
    >>> params_bar, x_bar = tape.pull(y_bar)
    """
    everything = tuple(range(len(primals)))
    with opened(fun, primals, {}, everything, has_aux) as call:
        arguments = Arguments.of(call.fun, call.args, call.kwargs, traced=everything)
        selection = ByArgument.of(everything, call.args, arguments, allow_int=True)
        traced = trace_and_plan(call, arguments, selection, rules)
        output, auxiliary, kept, _ = traced.run()
        auxiliary = call.close(auxiliary)
    tape = Tape(traced.plan, kept, selection, traced.output)
    return (output, tape, auxiliary) if has_aux else (output, tape)


def vjp(fun: Callable[..., Any], *primals: Any, has_aux: bool = False, rules: RuleSet | None = None) -> Any:
    """Run `fun` and make its pullback: `(output, pull)`, or `(output, pull, aux)`; a drop-in for `jax.vjp`.

    `pull(cotangent)` gives a tuple with a cotangent for each primal. Arguments and errors are those of `record`.
    """
    output, tape, *auxiliary = record(fun, *primals, has_aux=has_aux, rules=rules)
    return (output, jax.tree_util.Partial(Tape.pull, tape), *auxiliary)
