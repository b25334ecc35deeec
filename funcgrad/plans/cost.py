"""What a plan costs: FLOPs counted on jaxprs, bytes from shapes. Nothing runs.

A matrix product counts 2 m n k, a convolution 2 per kernel entry and output, an elementwise operation 1 per
output, a reduction 1 per input; moving data counts nothing. This is the count of XLA's own cost analysis, taken
before XLA fuses or drops anything.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import jax

from funcgrad.aliases import Aval
from funcgrad.graph import Constant, Node, Value
from funcgrad.naming import standing_at
from funcgrad.plans.pullback import Pullback
from funcgrad.primitive import bodies, downgraded
from funcgrad.registry import Call, Equation

if TYPE_CHECKING:
    from funcgrad.plans.plan import Step

_FREE = frozenset(
    """broadcast_in_dim reshape transpose squeeze expand_dims slice dynamic_slice dynamic_update_slice concatenate
    gather pad rev copy copy_p convert_element_type bitcast_convert_type iota name stop_gradient split
    optimization_barrier defer device_put sharding_constraint random_wrap random_unwrap pvary""".split()
)


class Costs:
    """Counts FLOPs, those of equal functions once: a graph of a thousand nodes has a few dozen kinds of them."""

    def __init__(self) -> None:
        self._found: dict[Hashable, float] = {}

    def of_jaxpr(self, jaxpr: Any) -> float:
        """FLOPs of a jaxpr; a `while` counts as one turn, a `cond` as its dearest branch."""
        return sum(map(self._of_equation, jaxpr.eqns), 0.0)

    def of_node(self, node: Node) -> float:
        """FLOPs of a node's forward."""
        if isinstance(node.function, Equation):
            return self._of_equation(node.function.source)
        function, avals = node.function, tuple(v.aval for v in node.inputs)
        return self._of_function((function, avals), function.run, avals)

    def of_pullback(self, pullback: Pullback, step: "Step") -> float:
        """FLOPs of one rule of a step."""
        node = step.node
        operands = [_seen(v, step) for v in pullback.needs]
        operands += [v.aval for v in pullback.sources]
        # What is derived from equal equations has functions that are not equal: each is made for its node.
        is_derived = isinstance(node.function, Equation) and not node.bodies and not step.saved
        what = _signature(pullback) if is_derived else pullback.pull
        avals = tuple(v.aval for v in (*pullback.needs, *pullback.sources))
        with standing_at(node.name, lambda: node.line):
            return self._of_function((what, avals), pullback.pull, operands)

    def of_remaking(self, step: "Step") -> float:
        """FLOPs of what is run again before the rules of a step."""
        return sum(map(self.of_node, step.remade.nodes), 0.0) if step.remade else 0.0

    def _of_function(self, key: Hashable, function: Callable[..., Any], avals: Sequence[Any]) -> float:
        if key not in self._found:
            # Inside a partial, for JAX writes the attributes that a function has over those of its own wrapper.
            self._found[key] = self.of_jaxpr(jax.make_jaxpr(partial(function))(*avals).jaxpr)
        return self._found[key]

    def _of_equation(self, equation: Any) -> float:
        equation = downgraded(equation)
        name = equation.primitive.name
        outputs = sum(prod(v.aval.shape) for v in equation.outvars)
        if name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            return 2.0 * outputs * prod(equation.invars[0].aval.shape[d] for d in contracted)
        if name == "conv_general_dilated":
            kernel, features = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec[0]
            return 2.0 * outputs * prod(kernel) / kernel[features] / prod(equation.params["lhs_dilation"])
        if isinstance(call := equation.params.get("call"), Call):
            # An op's tangent is linear in as many outputs as the op has: its forward stands for its cost.
            operands = tuple(v.aval for v in equation.invars[: call.tree.num_leaves])
            return self._of_function((call, operands), call.evaluate, operands)
        if inner := bodies(equation):
            costs = [self.of_jaxpr(body) for body in inner]
            return max(costs) if name == "cond" else sum(costs) * equation.params.get("length", 1)
        if name.startswith(("reduce_", "cum", "arg")):
            return float(sum(prod(v.aval.shape) for v in equation.invars))
        return 0.0 if name in _FREE else float(outputs)


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
    return node.function.key, tuple(v.aval for v in node.inputs), pullback.arguments, pullback.reads, sources


def bytes_of(value: Value) -> int:
    """Bytes of a value, over all turns of the loops around it."""
    aval = value.seen_from(())
    return prod(aval.shape) * aval.dtype.itemsize
