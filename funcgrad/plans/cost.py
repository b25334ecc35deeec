"""What a plan costs: FLOPs of its nodes and rules (`graph.flops`), bytes from shapes. Nothing runs."""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import jax

from funcgrad.aliases import Aval
from funcgrad.graph import Constant, Value, flops_of_jaxpr
from funcgrad.naming import at_node
from funcgrad.plans.pullback import Pullback
from funcgrad.registry import Equation

if TYPE_CHECKING:
    from funcgrad.plans.plan import Plan
    from funcgrad.plans.step import Step


class Costs:
    """Counts FLOPs, those of equal functions once: a graph of a thousand nodes has a few dozen kinds of them."""

    def __init__(self) -> None:
        self._found: dict[Hashable, float] = {}

    def of_step(self, step: "Step") -> float:
        """FLOPs of what is run again for the rules of a step, and of these."""
        return self.of_remaking(step) + sum(self.of_pullback(p, step) for p in step.pullbacks)

    def of_pullback(self, pullback: Pullback, step: "Step") -> float:
        """FLOPs of one rule of a step."""
        node = step.node
        operands = [_seen(v, step) for v in pullback.needs]
        operands += pullback.operand_avals
        # What is derived from equal equations has functions that are not equal: each is made for its node.
        is_derived = isinstance(node.function, Equation) and not node.bodies and not step.saved
        what = _signature(pullback) if is_derived else pullback.pull
        avals = (*(v.aval for v in pullback.needs), *pullback.operand_avals)
        with at_node(node.name, lambda: node.line):
            return self._of_function((what, avals), pullback.pull, operands)

    def of_remaking(self, step: "Step") -> float:
        """FLOPs of what is run again before the rules of a step."""
        return sum((node.flops for node in step.runs_again), 0.0)

    def _of_function(self, key: Hashable, function: Callable[..., Any], avals: Sequence[Any]) -> float:
        if key not in self._found:
            # Inside a partial, for JAX writes the attributes that a function has over those of its own wrapper.
            self._found[key] = flops_of_jaxpr(jax.make_jaxpr(partial(function))(*avals).jaxpr)
        return self._found[key]


def additions(plan: "Plan") -> "dict[Step, float]":
    """FLOPs of adding cotangents up, by step: a value that n nodes read costs n - 1 additions of its size.

    Its readers have equal shares of these, so that layers that are alike cost the same, the one that comes first in
    reverse order, whose cotangent is stored, as well.
    """
    targets = {step: [v for pullback in step.pullbacks for v in pullback.targets] for step in plan.steps}
    uses = Counter(v for own in targets.values() for v in own)
    seeds, loops = Counter(plan.sources), plan.structure.loops
    shares = {v: prod(v.seen_from(loops).shape) * (n + seeds[v] - 1) / n for v, n in uses.items()}
    return {step: sum((shares[v] for v in own), 0.0) for step, own in targets.items()}


def _seen(value: Value | Constant, step: "Step") -> Aval:
    """What a rule of `step` reads a value as: what is made again is as in the graph within."""
    if isinstance(value, Constant):
        return value.aval
    again = step.remade
    return value.seen_from(again.plan.structure.loops if again and value in again.found else step.node.loops)


def _signature(pullback: Pullback) -> Hashable:
    """Equal for pullbacks of equal equations to the same inputs from the same outputs."""
    node = pullback.node
    assert isinstance(node.function, Equation)
    sources = tuple(node.outputs.index(v) for v in pullback.sources)
    avals = tuple(v.aval for v in node.inputs)
    return node.function.key, pullback.rule, avals, pullback.arguments, pullback.reads, sources


def bytes_of(value: Value) -> int:
    """Bytes of a value, over all turns of the loops around it."""
    aval = value.seen_from(())
    return prod(aval.shape) * aval.dtype.itemsize
