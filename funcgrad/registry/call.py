"""One application of an op: its attributes, the structure of its arguments, the batch levels it carries.

A call is what the op's primitive holds as its only parameter, so it is hashable and knows no arrays. Everything
here maps flat leaves to flat leaves; `Slot`s say which leaves make up the value that a rule knows by name.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from funcgrad.aliases import Array, Aval, PyTree, PyTreeDef
from funcgrad.errors import FuncgradError, RuleError, ShapeError, describe, said_by
from funcgrad.naming import place
from funcgrad.primitive import (
    Level,
    Levels,
    Linear,
    as_function,
    axis_names,
    current_context,
    exact,
    exact_structure,
    example_of,
    is_current,
    is_inexact,
    is_plain,
    on_automatic_axes,
    refuses,
    traced_once,
    vectorize,
)
from funcgrad.registry.attributes import find_wrong
from funcgrad.registry.broadcasting import Room, check_absorbed, check_core, declared
from funcgrad.registry.cuts import batch_cut, describe_cut
from funcgrad.registry.function import Function, Pull, Reading, Slot, leaf_names, rules_of, targets_of, with_integers
from funcgrad.registry.rule import Marker, Rule

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
        return self.op.rules.get(self.argument_of(position)) in (Marker.ZERO, Marker.NON_DIFFERENTIABLE)

    # -- forward ---------------------------------------------------------------------------------------------

    def run(self, *leaves: Array) -> list[Array]:
        """Apply the op: outputs, then saved values, as one equation of a jaxpr."""
        return self.op.primitives.bind(leaves, self)

    def evaluate(self, *leaves: Array) -> list[Array]:
        """Outputs, then saved values, over all batch levels: what the op's primitive runs."""
        return self.outline([jax.typeof(x) for x in leaves]).evaluate(*leaves)

    def _run_one(self, *leaves: Array) -> list[Array]:
        """Outputs, then saved values, of one example: by its trace, the only one that calls the op's function."""
        one = replace(self, levels=())
        jaxpr, _, _ = _trace.within(self.context, one, tuple(jax.typeof(x) for x in leaves))
        return as_function(jaxpr)(*leaves)

    def _run_plain(self, *leaves: Array) -> list[Array]:
        """A plain call of an op that has a saving forward, which must agree with it."""
        avals = [jax.typeof(x) for x in leaves]
        declared = self.outline(avals).avals
        outputs = on_automatic_axes(vectorize(self._run_one, self.levels), avals, declared)(*leaves)
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
            raise RuleError(f"{place(self.name)}: the op must return an array, or a pytree of arrays, got {found}.")

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

    # -- batching --------------------------------------------------------------------------------------------

    def absorb(self, leaves: list[Array], level: Level) -> tuple["Call", list[Array], list[bool]]:
        """Take in a batch axis: as one axis more where the op declares that it can, else as a level.

        Returns the call, its arguments, and which of its outputs (and saved values) have the axis in front.
        """
        absorbed = self._align_leaves(leaves, level)
        if absorbed is not None:
            here = replace(self, context=current_context())
            return here, absorbed, self._check_absorbed(leaves, level, here.outline([jax.typeof(x) for x in absorbed]))
        call = replace(self, levels=(level, *self.levels), axes=self.axes - {level.axis_name})
        return call, leaves, [True] * len(call.output_avals([jax.typeof(x) for x in leaves]))

    def _align_leaves(self, leaves: list[Array], level: Level) -> list[Array] | None:
        """The arguments of the op with one axis more; None where it does not declare that this is the same.

        Nor is it the same where the op would be traced anew in another context, or has a place along the axis.
        """
        if self.levels or level.axis_name is not None or not is_current(self.context):
            return None
        ranks = [np.ndim(x) - flag for x, flag in zip(leaves, level.batched, strict=True)]
        if self.op.core_axes is not None and min(ranks) >= self.op.core_axes:
            return _align(leaves, level.batched, max(ranks))
        leading = {p for a in self.op.leading for p in self.argument_slots[a].positions}
        if not all(i in leading for i, flag in enumerate(level.batched) if flag):
            return None
        return [
            jnp.broadcast_to(x, (level.size, *x.shape)) if i in leading and not flag else x
            for i, (x, flag) in enumerate(zip(leaves, level.batched, strict=True))
        ]

    def _check_absorbed(self, leaves: list[Array], level: Level, after: Outline) -> list[bool]:
        """Which outputs and saved values have the absorbed axis; RuleError unless all outputs have."""
        avals = [jax.typeof(x) for x in leaves]
        if not all(map(is_plain, avals)):
            return [True] * len(after.avals)
        _, examples = self._peel((level,), avals)
        before, n = self.outline(examples), after.n_outputs
        where, core_axes = place(self.name), self.op.core_axes
        promise = declared(core_axes) if core_axes is not None else f"leading={self.op.leading}"
        check_absorbed(where, promise, level.size, before.avals[:n], after.avals[:n])
        # A saved value may be of one argument alone, which has not the axis.
        saved = zip(before.avals[n:], after.avals[n:], strict=True)
        return [True] * n + [len(new.shape) > len(old.shape) for old, new in saved]

    # -- J and J^T -------------------------------------------------------------------------------------------

    def linear(self, avals: Sequence[Aval], active: tuple[int, ...]) -> Linear:
        """Describe the tangent with respect to the leaves at positions `active`."""
        outline = self.outline(avals)
        n_values = len(outline.avals)
        levels = tuple(
            level._replace(batched=(*level.batched, *(True,) * n_values, *(level.batched[i] for i in active)))
            for level in self.levels
        )
        return Linear(len(avals), outline.n_outputs, n_values - outline.n_outputs, active, levels)

    def pushes_by_rules(self, linear: Linear) -> bool:
        """Whether some rule is not the forward's derivative, so that J is its transpose."""
        return any(rule is not None and not rule.kind.is_derivative for rule, _ in self.rules_for(linear.active))

    def push(self, linear: Linear, values: list[Array], tangents: list[Array]) -> list[Array]:
        """J: a tangent per inexact output."""
        one = lambda *operands: self._push_one(linear, *linear.split(operands))  # noqa: E731
        avals = [jax.typeof(x) for x in values]
        outputs = [a for a in avals[linear.n_primals :][: linear.n_outputs] if is_inexact(a)]
        return on_automatic_axes(vectorize(one, linear.levels), avals, outputs)(*values, *tangents)

    def _push_one(self, linear: Linear, values: list[Array], tangents: list[Array]) -> list[Array]:
        """J by rule: JAX's derivative of the forward, or the transpose of a rule that is not its derivative."""
        primals = values[: linear.n_primals]
        outputs = [x for x in values[linear.n_primals :][: linear.n_outputs] if is_inexact(jax.typeof(x))]
        seeds = dict(zip(linear.active, tangents, strict=True))
        total = [jnp.zeros_like(x) for x in outputs]
        for rule, positions in self.rules_for(linear.active):
            if isinstance(rule, Rule) and not rule.kind.is_derivative:
                term = self._push_by_transpose(rule, linear, values, {p: seeds[p] for p in positions})
            else:
                term = self._push_by_jvp(primals, {p: seeds[p] for p in positions}, n=linear.n_outputs)
            total = [a + b for a, b in zip(total, term, strict=True)]
        return total

    def _push_by_jvp(self, primals: list[Array], seeds: dict[int, Array], n: int | None, start: int = 0) -> list[Array]:
        def inexact_outputs(*moved: Array) -> list[Array]:
            values = self._run_one(*_put(primals, dict(zip(seeds, moved, strict=True))))
            return [x for x in values[start:][:n] if is_inexact(jax.typeof(x))]

        return jax.jvp(inexact_outputs, [primals[p] for p in seeds], list(seeds.values()))[1]

    def _push_by_transpose(
        self, rule: Rule, linear: Linear, values: list[Array], seeds: dict[int, Array]
    ) -> list[Array]:
        one = linear._replace(levels=())
        avals = [jax.typeof(x) for x in values]
        targets = targets_of(self.argument_slots, rule, one.active)
        positions, pull = self._pulled(one, rule, avals, targets)
        g_avals = [a for a in avals[one.n_primals :][: one.n_outputs] if is_inexact(a)]
        try:
            push = jax.linear_transpose(lambda g: pull(*[values[p] for p in positions], *g), g_avals)
            return push([seeds[p] for p in targets])[0]
        except FuncgradError:
            raise
        except (NotImplementedError, AssertionError, TypeError, RuntimeError) as error:
            raise RuleError(
                f"{self.name}: forward mode through the {rule.kind} rule {rule.name} is its transpose, and it is not "
                f"linear in g; use reverse mode."
            ) from error

    def push_saved(self, linear: Linear, primals: list[Array], tangents: list[Array]) -> list[Array]:
        """J of the saved values, by JAX on the saving forward."""

        def one(*operands: Array) -> list[Array]:
            seeds = dict(zip(linear.active, operands[linear.n_primals :], strict=True))
            return self._push_by_jvp(list(operands[: linear.n_primals]), seeds, n=None, start=linear.n_outputs)

        flags = [*range(linear.n_primals), *(linear.n_values + k for k in range(len(linear.active)))]
        levels = tuple(v._replace(batched=tuple(v.batched[f] for f in flags)) for v in linear.levels)
        avals = [jax.typeof(x) for x in primals]
        saved = [a for a in self.outline(avals).avals[linear.n_outputs :] if is_inexact(a)]
        return on_automatic_axes(vectorize(one, levels), avals, saved)(*primals, *tangents)

    def pull(self, linear: Linear, values: list[Array], g: list[Array]) -> list[Array | None]:
        """J^T by the op's own rules: a cotangent per active leaf, None where nothing flows."""
        avals = [jax.typeof(x) for x in values]
        found: dict[int, Array | None] = {}
        for rule, positions in self.rules_for(linear.active):
            if rule is None:
                taken, pull, targets = range(linear.n_primals), self.derived(linear, avals, positions), positions
            else:
                targets = targets_of(self.argument_slots, rule, linear.active)
                taken, pull = self._pulled(linear, rule, avals, targets)
            found.update(zip(targets, pull(*[values[p] for p in taken], *g), strict=True))
        return [found.get(p) for p in linear.active]

    def rules_for(self, active: Sequence[int]) -> list[tuple[Rule | None, tuple[int, ...]]]:
        """The op's own rules for the leaves at positions `active`, each once; None stands for `derived`."""
        return rules_of(self, active, self.op.rules.get, place(self.name))

    def pullback(
        self, rule: Rule, positions: tuple[int, ...], avals: Sequence[Aval]
    ) -> tuple[tuple[int, ...], tuple[int, ...], Pull]:
        """A rule for leaves at `positions` as a flat function over all levels; see `Function`."""
        targets = targets_of(self.argument_slots, rule, positions)
        linear = self.linear(avals[: self.tree.num_leaves], positions)
        taken, pull = self._pulled(linear, rule, avals, targets)
        return taken, targets, pull

    def _pulled(
        self, linear: Linear, rule: Rule, avals: Sequence[Aval], targets: tuple[int, ...]
    ) -> tuple[tuple[int, ...], Pull]:
        """The positions of the values that a rule takes, and the rule as a function of these and the cotangents."""
        one, primal_avals = self._peel(linear.levels, avals)
        outline = one.outline(primal_avals)
        reading = Reading(
            self.name,
            self.argument_slots,
            one._slots(outline),
            dict(self.attributes),
            primal_avals,
            one._room(outline, primal_avals),
            partial(one._cotangents, outline),
        )
        positions, pull = reading.flat(rule, targets)
        pull = linear.transpose(pull, positions, targets)
        return positions, on_automatic_axes(pull, avals, [avals[t] for t in targets])

    def _room(self, outline: Outline, avals: Sequence[Aval]) -> Room:
        """To which shapes the arguments may have been broadcast."""
        op = self.op
        # What declares nothing may broadcast as `matmul` does.
        core_axes = 2 if op.core_axes is None and not op.leading and not op.shapes.axes else op.core_axes
        outputs = tuple(a.shape for a in outline.avals[: outline.n_outputs])
        return Room(outputs, tuple(a.shape for a in avals), core_axes)

    def derived(
        self, linear: Linear, avals: Sequence[Aval], targets: tuple[int, ...], of_saved: bool = False
    ) -> Callable[..., list[Array]]:
        """J^T by `jax.vjp` of the plain forward, as a flat function of all primals and the cotangents.

        The cotangents are those of the outputs, or of the saved values with `of_saved`.
        """
        one, primal_avals = self._peel(linear.levels, avals)
        n_outputs = one.outline(primal_avals).n_outputs

        def pull(*operands: Array) -> list[Array]:
            primals, g = list(operands[: linear.n_primals]), operands[linear.n_primals :]

            def inexact_outputs(*moved: Array) -> list[Array]:
                leaves = _put(primals, dict(zip(targets, moved, strict=True)))
                values = (one if of_saved else one.plain)._run_one(*leaves)
                outputs = values[n_outputs:] if of_saved else values[:n_outputs]
                return [x for x in outputs if is_inexact(jax.typeof(x))]

            return list(jax.vjp(inexact_outputs, *[primals[t] for t in targets])[1](list(g)))

        pull_all = linear.transpose(pull, range(linear.n_primals), targets)
        return on_automatic_axes(pull_all, avals, [avals[t] for t in targets])

    def leaf_names(self, avals: Sequence[Aval]) -> list[str]:
        """What rules call each primal, output and saved leaf."""
        return leaf_names(self._slots(self.outline(avals)))

    def _peel(self, levels: Levels, avals: Sequence[Aval]) -> tuple["Call", list[Aval]]:
        """The per-example call and the per-example avals of its primals, which come first."""
        depths = [sum(level.batched[i] for level in levels) for i in range(self.tree.num_leaves)]
        return replace(self, levels=()), list(map(example_of, avals, depths))

    def _slots(self, outline: Outline) -> dict[str, Slot]:
        """Every name a rule may ask for beside cotangents and attributes."""
        slots, start = dict(self.argument_slots), self.tree.num_leaves
        names = self.op.outputs
        trees = list(zip(names, outline.outputs.children(), strict=True)) if names else [("y", outline.outputs)]
        # A saved dictionary flattens in the order of its sorted keys.
        trees += list(zip(sorted(self.op.saved), outline.saved.children(), strict=False)) if self.saving else []
        for name, tree in trees:
            slots[name] = Slot(tree, tuple(range(start, start + tree.num_leaves)))
            start += tree.num_leaves
        return slots

    def _cotangents(self, outline: Outline, g: Sequence[Array]) -> dict[str, PyTree]:
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
            f"{place(call.name)}: the op's function closes over a value that is being traced, to which no cotangent "
            f"could flow; make that value an argument of the op."
        )
    outputs = jax.tree.structure(output)
    if call.op.core_axes is not None:
        check_core(place(call.name), call.op.core_axes, avals, jaxpr.out_avals[: outputs.num_leaves])
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


def _put(leaves: Sequence[Array], replacing: dict[int, Array]) -> list[Array]:
    return [replacing.get(i, x) for i, x in enumerate(leaves)]


def _align(leaves: Sequence[Array], batched: tuple[bool, ...], rank: int) -> list[Array]:
    """Insert axes after the batch axis, so that numpy broadcasting lines up as it did per example."""
    return [
        jnp.reshape(x, (x.shape[0], *(1,) * (rank - x.ndim + 1), *x.shape[1:])) if flag else x
        for x, flag in zip(leaves, batched, strict=True)
    ]
