"""What a plan costs: FLOPs of its nodes and rules (`graph.flops`), bytes from shapes. Nothing runs."""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import jax

from funcgrad.aliases import Aval
from funcgrad.graph import Constant, Value, flops_of_jaxpr
from funcgrad.naming import standing_at
from funcgrad.plans.pullback import Pullback
from funcgrad.registry import Equation

if TYPE_CHECKING:
    from funcgrad.plans.plan import Step


class Costs:
    """Counts FLOPs, those of equal functions once: a graph of a thousand nodes has a few dozen kinds of them."""

    def __init__(self) -> None:
        self._found: dict[Hashable, float] = {}
        self._saved: dict[Step, list[Any]] = {}

    def of_pullback(self, pullback: Pullback, step: "Step") -> float:
        """FLOPs of one rule of a step."""
        node = step.node
        operands = [self._seen_from(node.loops, v, step) for v in pullback.needs]
        operands += [v.aval for v in pullback.sources]
        # What is derived from equal equations has functions that are not equal: each is made for its node.
        is_derived = isinstance(node.function, Equation) and not node.bodies and not step.saved
        what = _signature(pullback) if is_derived else pullback.pull
        avals = tuple(v.aval for v in (*pullback.needs, *pullback.sources))
        with standing_at(node.name, lambda: node.line):
            return self._of_function((what, avals), pullback.pull, operands)

    def kept_bytes(self, value: Value, step: "Step") -> int:
        """Bytes of what a rule of `step` reads, over all turns of loops; for residuals, of all arrays in them."""
        if value.aval is None:
            return prod(value.loops) * sum(map(array_bytes, jax.tree.leaves(self._residuals(value, step))))
        return array_bytes(value.seen_from(()))

    def _seen_from(self, loops: tuple[int, ...], value: Value | Constant, step: "Step") -> Any:
        """The aval inside the outer `loops`; for residuals, the shapes in them."""
        if isinstance(value, Constant):
            return value.aval
        return self._residuals(value, step) if value.aval is None else value.seen_from(loops)

    def _residuals(self, value: Value, step: "Step") -> Any:
        """The shapes inside the `jax.vjp` function that a node's forward leaves behind."""
        if step not in self._saved:
            avals = [v.aval for v in (*step.node.inputs, *step.captured)]
            self._saved[step] = jax.eval_shape(step.forward, *avals)[len(step.node.outputs) :]
        return self._saved[step][step.saved.index(value)]

    def _of_function(self, key: Hashable, function: Callable[..., Any], avals: Sequence[Any]) -> float:
        if key not in self._found:
            # Inside a partial, for JAX writes the attributes that a function has over those of its own wrapper.
            self._found[key] = flops_of_jaxpr(jax.make_jaxpr(partial(function))(*avals).jaxpr)
        return self._found[key]


def _signature(pullback: Pullback) -> Hashable:
    """Equal for pullbacks of equal equations to the same inputs from the same outputs."""
    node = pullback.node
    assert isinstance(node.function, Equation)
    sources = tuple(node.outputs.index(v) for v in pullback.sources)
    return node.function.key, tuple(v.aval for v in node.inputs), pullback.arguments, pullback.reads, sources


def array_bytes(aval: Aval) -> int:
    """Bytes of one array."""
    return prod(aval.shape) * aval.dtype.itemsize
