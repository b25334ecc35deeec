"""One application of an op: its attributes, the structure of its arguments, the batch levels it carries.

A call is what the op's primitive holds as its only parameter, so it is hashable and knows no arrays. Everything
here maps flat leaves to flat leaves; `Slot`s say which leaves make up the value that a rule knows by name.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.core import Tracer

from funcgrad.aliases import Array, Aval, PyTree, PyTreeDef
from funcgrad.errors import FuncgradError, RuleError, ShapeError, describe, said_by
from funcgrad.naming import name_here
from funcgrad.primitive import (
    Levels,
    Linear,
    as_function,
    axis_names,
    current_context,
    exact,
    exact_structure,
    example_of,
    on_automatic_axes,
    refuses,
    traced_once,
    vectorize,
)
from funcgrad.registry.attributes import find_wrong
from funcgrad.registry.batching import absorb
from funcgrad.registry.broadcasting import check_core
from funcgrad.registry.cuts import batch_cut, describe_cut
from funcgrad.registry.differential import Differential
from funcgrad.registry.function import Function, Pull, Slot, leaf_names, targets_of, with_integers
from funcgrad.registry.kind import STOPPING, Marker
from funcgrad.registry.rule import Rule
from funcgrad.registry.setting import Setting

if TYPE_CHECKING:
    from funcgrad.registry.op import Op


class Outline(NamedTuple):
    """What a call returns, before anything runs."""

    evaluate: Callable[..., list[Array]]
    """The call on leaves of the same avals."""
    jaxpr: Any | None
    """What the call was traced to; None for a plain call that was not traced, because its recording was."""
    avals: tuple[Aval, ...]
    """Avals of the outputs, then of the saved values."""
    outputs: PyTreeDef
    saved: PyTreeDef
    axes: frozenset[Hashable]
    """The names of the mapped axes that the op sums over, or asks for its place along."""

    @property
    def n_outputs(self) -> int:
        """Number of output leaves."""
        return self.outputs.num_leaves

    def unflatten_outputs(self, leaves: Sequence[Array]) -> PyTree:
        """The op's result as its function returns it."""
        return jax.tree.unflatten(self.outputs, leaves)


@dataclass(frozen=True)
class Call(Function):
    """An op with everything but its arrays."""

    op: "Op"
    tree: PyTreeDef
    """Structure of the tuple of arguments."""
    attributes: tuple[tuple[str, Any], ...] = field(default=(), compare=False)
    saving: bool = False
    levels: Levels = ()
    context: int = field(default_factory=current_context)
    """What else decided the trace when the op was applied (see `funcgrad.primitive.contexts`)."""
    axes: frozenset[Hashable] = field(default=frozenset(), compare=False)
    """The names of the mapped axes that it sums over, or asks for its place along."""
    exact_attributes: Hashable = field(init=False, repr=False)
    """What tells apart attributes that are equal but not the same."""

    def __post_init__(self) -> None:
        key = tuple((name, exact(value)) for name, value in self.attributes), exact_structure(self.tree)
        object.__setattr__(self, "exact_attributes", key)

    def __repr__(self) -> str:
        marks = [f"{n}={v!r}" for n, v in self.attributes]
        return f"{self.op.name}({', '.join(marks)})" + "·vmap" * len(self.levels)

    @property
    def name(self) -> str:
        """The op's name."""
        return self.op.name

    @property
    def recording(self) -> "Call":
        """The same call, saving what the op's rules may read."""
        return replace(self, saving=self.op.saving_function is not None)

    @property
    def plain(self) -> "Call":
        """The same call, saving nothing."""
        return replace(self, saving=False)

    @cached_property
    def argument_slots(self) -> Mapping[str, Slot]:
        """Which leaves make up which argument."""
        slots, start = {}, 0
        for argument, tree in zip(self.op.arguments, self.tree.children(), strict=True):
            slots[argument] = Slot(tree, tuple(range(start, start + tree.num_leaves)))
            start += tree.num_leaves
        return slots

    def argument_of(self, position: int) -> str:
        """The argument to which the leaf at `position` belongs."""
        return next(a for a, slot in self.argument_slots.items() if position in slot.positions)

    @cached_property
    def rules(self) -> Mapping[str, Rule | Marker]:
        """The op's own rules."""
        return self.op.rules

    @property
    def known(self) -> tuple[str, ...]:
        """The names that a rule may ask for."""
        return self.op.known

    def blocks(self, position: int) -> bool:
        """Whether nothing flows to the leaf at a position, because its argument is marked so."""
        return self.op.rules.get(self.argument_of(position)) in STOPPING

    # -- forward ---------------------------------------------------------------------------------------------

    def run(self, *leaves: Array) -> list[Array]:
        """Apply the op: outputs, then saved values, as one equation of a jaxpr."""
        return self.op.primitives.bind(leaves, self)

    def evaluate(self, *leaves: Array) -> list[Array]:
        """Outputs, then saved values, over all batch levels: what the op's primitive runs."""
        return self.outline([jax.typeof(x) for x in leaves]).evaluate(*leaves)

    def run_one(self, *leaves: Array) -> list[Array]:
        """Outputs, then saved values, of one example: by its trace, the only one that calls the op's function."""
        one = replace(self, levels=())
        jaxpr, _, _ = _trace.within(self.context, one, tuple(jax.typeof(x) for x in leaves))
        return as_function(jaxpr)(*leaves)

    def _run_plain(self, *leaves: Array) -> list[Array]:
        """A plain call of an op that has a saving forward, which must agree with it."""
        avals = [jax.typeof(x) for x in leaves]
        declared = self.outline(avals).avals
        outputs = on_automatic_axes(vectorize(self.run_one, self.levels), avals, declared)(*leaves)
        for found, expected in zip(outputs, declared, strict=True):
            if (found.shape, found.dtype) != (expected.shape, expected.dtype):
                raise RuleError(
                    f"{self.name}: the saving forward must return what the op does, {describe(found)}, "
                    f"got {describe(expected)}."
                )
        return outputs

    def _evaluate(self, *leaves: Array) -> tuple[PyTree, dict[str, PyTree]]:
        arguments, attributes = jax.tree.unflatten(self.tree, leaves), dict(self.attributes)
        if not self.saving:
            output = self.op.function(*arguments, **attributes)
            self._check_output(output)
            return output, {}
        assert self.op.saving_function is not None
        output, saved = self.op.saving_function(*arguments, **attributes)
        self._check_output(output)
        if set(saved) != set(self.op.saved):
            expected, found = ", ".join(self.op.saved), ", ".join(saved)
            raise RuleError(f"{self.name}: the saving forward must return the saved values {expected}, got {found}.")
        return output, saved

    def _check_output(self, output: PyTree) -> None:
        """RuleError unless the op returns arrays."""
        leaves = jax.tree.leaves(output)
        wrong = [x for x in leaves if not isinstance(x, jax.Array | np.ndarray | np.generic)]
        if wrong or not leaves:
            found = type(wrong[0]).__name__ if wrong else str(output)
            raise RuleError(f"{name_here(self.name)}: the op must return an array, or a pytree of arrays, got {found}.")

    def outline(self, avals: Sequence[Aval]) -> Outline:
        """Trace the call once per signature."""
        return _outline.within(self.context, self, tuple(avals))

    def traced(self, avals: Sequence[Aval]) -> Any | None:
        """The jaxpr of `evaluate`, where there is one."""
        return self.outline(avals).jaxpr

    def output_avals(self, avals: Sequence[Aval]) -> list[Aval]:
        """Avals of what `evaluate` returns."""
        return list(self.outline(avals).avals)

    def check(self, where: str, leaves: Sequence[Any]) -> list[Aval]:
        """Avals of the leaves; ShapeError unless the op can take them."""
        avals = []
        for i, leaf in enumerate(leaves):
            try:
                avals.append(jax.typeof(leaf))
            except TypeError:
                raise ShapeError(f"{where}: {self.argument_of(i)} must be an array, got {describe(leaf)}.") from None
        arguments = {a: s.take(avals) for a, s in self.argument_slots.items()}
        self.op.shapes.check(where, {a: v for a, v in arguments.items() if hasattr(v, "shape")})
        try:
            self.outline(avals)
        except Exception as error:
            if wrong := find_wrong(self.op.function, self.attributes):
                raise ShapeError(f"{where}: attribute {wrong}.") from error
            if isinstance(error, FuncgradError):
                raise
            found = ", ".join(f"{self.argument_of(i)}: {describe_cut(a)}" for i, a in enumerate(avals)) or "nothing"
            if refuses(error):
                raise ShapeError(
                    f"{where}: cannot take {found}, because JAX leaves open how the result is cut; make whole with "
                    f"jax.reshard what is cut along other axes than the batch."
                ) from error
            if isinstance(error, (TypeError, ValueError)) and str(error).strip():
                reason = str(error).strip().splitlines()[0].rstrip(".")
                raise ShapeError(f"{where}: cannot take {found}; {reason}.") from error
            raise ShapeError(f"{where}: cannot take {found}; the op's function raised {said_by(error)}.") from error
        return avals

    # -- transformations -------------------------------------------------------------------------------------

    absorb = absorb

    def linear(self, avals: Sequence[Aval], active: tuple[int, ...]) -> Linear:
        """Describe the tangent with respect to the leaves at positions `active`."""
        outline = self.outline(avals)
        n_values = len(outline.avals)
        levels = tuple(
            level._replace(batched=(*level.batched, *(True,) * n_values, *(level.batched[i] for i in active)))
            for level in self.levels
        )
        return Linear(len(avals), outline.n_outputs, n_values - outline.n_outputs, active, levels)

    def differential(self, linear: Linear) -> Differential:
        """J and J^T at the leaves that `linear` says."""
        return Differential(self, linear)

    def pullback(
        self, rule: Rule, positions: tuple[int, ...], avals: Sequence[Aval], setting: Setting | None = None
    ) -> tuple[tuple[int, ...], tuple[int, ...], Pull]:
        """A rule for leaves at `positions` as a flat function over all levels; see `Function`."""
        targets = targets_of(self.argument_slots, rule, positions)
        linear = self.linear(avals[: self.tree.num_leaves], positions)
        taken, pull = self.differential(linear).by_rule(rule, avals, targets, setting)
        return taken, targets, pull

    def keeping(self, rule: Rule, avals: Sequence[Aval]) -> Callable[..., list[Array]]:
        """What is kept for a rule, over all levels; see `Function`."""
        return self.differential(self.linear(avals, ())).keeping(rule, avals)

    def leaf_names(self, avals: Sequence[Aval]) -> list[str]:
        """What rules call each primal, output and saved leaf."""
        return leaf_names(self.slots(self.outline(avals)))

    def peel(self, levels: Levels, avals: Sequence[Aval]) -> tuple["Call", list[Aval]]:
        """The per-example call and the per-example avals of its primals, which come first."""
        depths = [sum(level.batched[i] for level in levels) for i in range(self.tree.num_leaves)]
        return replace(self, levels=()), list(map(example_of, avals, depths))

    def slots(self, outline: Outline) -> dict[str, Slot]:
        """Every name a rule may ask for beside cotangents and attributes."""
        slots, start = dict(self.argument_slots), self.tree.num_leaves
        names = self.op.outputs
        trees = list(zip(names, outline.outputs.children(), strict=True)) if names else [("y", outline.outputs)]
        # A saved dictionary flattens in the order of its sorted keys; that of a plain call is empty.
        trees += zip(sorted(self.op.saved), outline.saved.children(), strict=False)
        for name, tree in trees:
            slots[name] = Slot(tree, tuple(range(start, start + tree.num_leaves)))
            start += tree.num_leaves
        return slots

    def cotangents(self, outline: Outline, g: Sequence[Array]) -> dict[str, PyTree]:
        """Cotangents of the outputs under the names rules know; integer outputs get `float0` zeros, as in JAX."""
        tree = jax.tree.unflatten(outline.outputs, with_integers(g, outline.avals[: outline.n_outputs]))
        return {f"g_{n}": x for n, x in zip(self.op.outputs, tree, strict=True)} if self.op.outputs else {"g": tree}


@traced_once()
def _trace(call: Call, avals: tuple[Aval, ...]) -> tuple[Any, PyTreeDef, PyTreeDef]:
    """The jaxpr of one example, and the structures of the outputs and of the saved values."""
    evaluate = _with_its_batch(call._evaluate, call, avals)
    jaxpr, (output, saved) = jax.make_jaxpr(evaluate, return_shape=True)(*avals)
    if any(isinstance(x, Tracer) for x in jaxpr.consts):
        raise RuleError(
            f"{name_here(call.name)}: the op's function closes over a value that is being traced, to which no "
            f"cotangent could flow; make that value an argument of the op."
        )
    outputs = jax.tree.structure(output)
    if call.op.core_axes is not None:
        check_core(name_here(call.name), call.op.core_axes, avals, jaxpr.out_avals[: outputs.num_leaves])
    return jaxpr, outputs, jax.tree.structure(saved)


@traced_once()
def _outline(call: Call, avals: tuple[Aval, ...]) -> Outline:
    if call.recording != call:
        # What an op returns is known from its saving forward, so that the two are not both traced at every use.
        recording = call.recording.outline(avals)
        nothing = jax.tree.structure({})
        avals, axes = recording.avals[: recording.n_outputs], recording.axes
        return Outline(call._run_plain, None, avals, recording.outputs, nothing, axes)
    if not call.levels:
        jaxpr, outputs, saved = _trace.within(call.context, call, avals)
        axes = axis_names(jaxpr.jaxpr)
        return Outline(as_function(jaxpr), jaxpr, tuple(jaxpr.out_avals), outputs, saved, axes)
    seen = []

    def one(*leaves: Array) -> list[Array]:
        example = replace(call, levels=()).outline([jax.typeof(x) for x in leaves])
        seen.append(example)
        return example.evaluate(*leaves)

    jaxpr = jax.make_jaxpr(_with_its_batch(vectorize(one, call.levels), call, avals))(*avals)
    avals, example = tuple(jaxpr.out_avals), seen[-1]
    return Outline(as_function(jaxpr), jaxpr, avals, example.outputs, example.saved, call.axes)


def _with_its_batch(evaluate: Callable[..., Any], call: Call, avals: Sequence[Aval]) -> Callable[..., Any]:
    """A forward whose results are cut like the batch, where the op says what that is, and JAX is not asked."""
    batch = batch_cut(call, avals)
    return evaluate if batch is None else on_automatic_axes(evaluate, avals, batch)
