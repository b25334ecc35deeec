"""J and J^T of a call with respect to some of its arguments, over all its batch levels.

This is the road that `jax.grad`, `jax.jvp` and their like take through an op; a plan takes its pullbacks from here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from funcgrad.aliases import Array, Aval
from funcgrad.errors import FuncgradError, RuleError
from funcgrad.naming import name_here
from funcgrad.primitive import Linear, is_inexact, on_automatic_axes, vectorize
from funcgrad.registry.broadcasting import Room
from funcgrad.registry.function import Pull, Reading, rules_of, targets_of
from funcgrad.registry.rule import Rule
from funcgrad.registry.setting import Setting

if TYPE_CHECKING:
    from funcgrad.registry.call import Call, Outline


@dataclass(frozen=True)
class Differential:
    """The derivative of a call at the leaves that `linear` says."""

    call: "Call"
    linear: Linear

    @cached_property
    def rules(self) -> list[tuple[Rule | None, tuple[int, ...]]]:
        """The op's own rules for the active leaves, each once; None stands for `derived`."""
        call = self.call
        return rules_of(call, self.linear.active, call.op.rules.get, name_here(call.name))

    @property
    def pushes_by_rules(self) -> bool:
        """Whether some rule is not the forward's derivative, so that J is its transpose."""
        return any(rule is not None and not rule.kind.is_derivative for rule, _ in self.rules)

    def push(self, values: list[Array], tangents: list[Array]) -> list[Array]:
        """J: a tangent per inexact output."""
        linear = self.linear
        one = lambda *operands: self._push_one(*linear.split(operands))  # noqa: E731
        avals = [jax.typeof(x) for x in values]
        outputs = [a for a in avals[linear.n_primals :][: linear.n_outputs] if is_inexact(a)]
        return on_automatic_axes(vectorize(one, linear.levels), avals, outputs)(*values, *tangents)

    def _push_one(self, values: list[Array], tangents: list[Array]) -> list[Array]:
        """J by rule: JAX's derivative of the forward, or the transpose of a rule that is not its derivative."""
        linear = self.linear
        primals = values[: linear.n_primals]
        outputs = [x for x in values[linear.n_primals :][: linear.n_outputs] if is_inexact(jax.typeof(x))]
        seeds = dict(zip(linear.active, tangents, strict=True))
        total = [jnp.zeros_like(x) for x in outputs]
        for rule, positions in self.rules:
            if isinstance(rule, Rule) and not rule.kind.is_derivative:
                term = self._push_by_transpose(rule, values, {p: seeds[p] for p in positions})
            else:
                term = self._push_by_jvp(primals, {p: seeds[p] for p in positions}, n=linear.n_outputs)
            total = [a + b for a, b in zip(total, term, strict=True)]
        return total

    def _push_by_jvp(self, primals: list[Array], seeds: dict[int, Array], n: int | None, start: int = 0) -> list[Array]:
        def inexact_outputs(*moved: Array) -> list[Array]:
            values = self.call.run_one(*_put(primals, dict(zip(seeds, moved, strict=True))))
            return [x for x in values[start:][:n] if is_inexact(jax.typeof(x))]

        return jax.jvp(inexact_outputs, [primals[p] for p in seeds], list(seeds.values()))[1]

    def _push_by_transpose(self, rule: Rule, values: list[Array], seeds: dict[int, Array]) -> list[Array]:
        refusal = (
            f"{self.call.name}: forward mode through the {rule.kind} rule {rule.name} is its transpose, and it is not "
            f"linear in g; use reverse mode."
        )
        if not rule.kind.is_linear:  # one that does not read g has a transpose, which is zero
            raise RuleError(refusal)
        one = self.linear._replace(levels=())
        avals = [jax.typeof(x) for x in values]
        targets = targets_of(self.call.argument_slots, rule, one.active)
        positions, pull = replace(self, linear=one).by_rule(rule, avals, targets)
        g_avals = [a for a in avals[one.n_primals :][: one.n_outputs] if is_inexact(a)]
        try:
            push = jax.linear_transpose(lambda g: pull(*[values[p] for p in positions], *g), g_avals)
            return push([seeds[p] for p in targets])[0]
        except FuncgradError:
            raise
        except (NotImplementedError, AssertionError, TypeError, RuntimeError) as error:
            raise RuleError(refusal) from error

    def push_saved(self, primals: list[Array], tangents: list[Array]) -> list[Array]:
        """J of the saved values, by JAX on the saving forward."""
        linear = self.linear

        def one(*operands: Array) -> list[Array]:
            seeds = dict(zip(linear.active, operands[linear.n_primals :], strict=True))
            return self._push_by_jvp(list(operands[: linear.n_primals]), seeds, n=None, start=linear.n_outputs)

        flags = [*range(linear.n_primals), *(linear.n_values + k for k in range(len(linear.active)))]
        levels = tuple(v._replace(batched=tuple(v.batched[f] for f in flags)) for v in linear.levels)
        avals = [jax.typeof(x) for x in primals]
        saved = [a for a in self.call.outline(avals).avals[linear.n_outputs :] if is_inexact(a)]
        return on_automatic_axes(vectorize(one, levels), avals, saved)(*primals, *tangents)

    def pull(self, values: list[Array], g: list[Array]) -> list[Array | None]:
        """J^T by the op's own rules: a cotangent per active leaf, None where nothing flows."""
        avals = [jax.typeof(x) for x in values]
        found: dict[int, Array | None] = {}
        for rule, positions in self.rules:
            if rule is None:
                taken, pull, targets = range(self.linear.n_primals), self.derived(avals, positions), positions
            else:
                targets = targets_of(self.call.argument_slots, rule, self.linear.active)
                taken, pull = self.by_rule(rule, avals, targets)
            found.update(zip(targets, pull(*[values[p] for p in taken], *g), strict=True))
        return [found.get(p) for p in self.linear.active]

    def by_rule(
        self, rule: Rule, avals: Sequence[Aval], targets: tuple[int, ...], setting: Setting | None = None
    ) -> tuple[tuple[int, ...], Pull]:
        """The positions of the values that a rule takes, and the rule as a function of these and the cotangents."""
        linear = self.linear
        positions, pull = self._reading(avals).flat(rule, targets, setting)
        pull = linear.transpose(pull, positions, targets, len(setting.operands) if setting else 0)
        return positions, on_automatic_axes(pull, avals, [avals[t] for t in targets])

    def keeping(self, rule: Rule, avals: Sequence[Aval]) -> Callable[..., list[Array]]:
        """What is kept for a rule, each of it with all levels in front."""
        return vectorize(self._reading(avals).keep(rule), self.linear.levels)

    def _reading(self, avals: Sequence[Aval]) -> Reading:
        """All that a rule can read of one example."""
        call = self.call
        one, primal_avals = call.peel(self.linear.levels, avals)
        outline = one.outline(primal_avals)
        return Reading(
            call.name,
            call.argument_slots,
            one.slots(outline),
            dict(call.attributes),
            primal_avals,
            _room(one, outline, primal_avals),
            partial(one.cotangents, outline),
            outline.outputs,
            one.plain.run,
        )

    def derived(
        self, avals: Sequence[Aval], targets: tuple[int, ...], of_saved: bool = False
    ) -> Callable[..., list[Array]]:
        """J^T by `jax.vjp` of the plain forward, as a flat function of all primals and the cotangents.

        The cotangents are those of the outputs, or of the saved values with `of_saved`.
        """
        linear = self.linear
        one, primal_avals = self.call.peel(linear.levels, avals)
        n_outputs = one.outline(primal_avals).n_outputs

        def pull(*operands: Array) -> list[Array]:
            primals, g = list(operands[: linear.n_primals]), operands[linear.n_primals :]

            def inexact_outputs(*moved: Array) -> list[Array]:
                leaves = _put(primals, dict(zip(targets, moved, strict=True)))
                values = (one if of_saved else one.plain).run_one(*leaves)
                outputs = values[n_outputs:] if of_saved else values[:n_outputs]
                return [x for x in outputs if is_inexact(jax.typeof(x))]

            return list(jax.vjp(inexact_outputs, *[primals[t] for t in targets])[1](list(g)))

        pull_all = linear.transpose(pull, range(linear.n_primals), targets)
        return on_automatic_axes(pull_all, avals, [avals[t] for t in targets])


def _room(call: "Call", outline: "Outline", avals: Sequence[Aval]) -> Room:
    """To which shapes the arguments may have been broadcast."""
    op = call.op
    # What declares nothing may broadcast as `matmul` does.
    core_axes = 2 if op.core_axes is None and not op.leading and not op.shapes.axes else op.core_axes
    outputs = tuple(a.shape for a in outline.avals[: outline.n_outputs])
    return Room(outputs, tuple(a.shape for a in avals), core_axes)


def _put(leaves: Sequence[Array], replacing: dict[int, Array]) -> list[Array]:
    return [replacing.get(i, x) for i, x in enumerate(leaves)]
