"""What a plan costs: FLOPs counted on jaxprs, bytes from shapes. Nothing runs.

A matrix product counts 2 m n k, a convolution 2 per kernel entry and output, an elementwise operation 1 per
output, a reduction 1 per input; moving data counts nothing. This is the count of XLA's own cost analysis, taken
before XLA fuses or drops anything.
"""

from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, Any

import jax

from funcgrad.aliases import Aval
from funcgrad.graph import Constant, Node, Value
from funcgrad.plans.pullback import Pullback
from funcgrad.primitive import bodies, downgraded, traced_once
from funcgrad.registry import Call

if TYPE_CHECKING:
    from funcgrad.plans.plan import Step

_FREE = frozenset(
    """broadcast_in_dim reshape transpose squeeze expand_dims slice dynamic_slice dynamic_update_slice concatenate
    gather pad rev copy copy_p convert_element_type bitcast_convert_type iota name stop_gradient split
    optimization_barrier defer device_put sharding_constraint random_wrap random_unwrap pvary""".split()
)


def jaxpr_flops(jaxpr: Any) -> float:
    """FLOPs of a jaxpr; a `while` counts as one turn, a `cond` as its dearest branch."""
    return sum(map(_equation_flops, jaxpr.eqns), 0.0)


def _equation_flops(equation: Any) -> float:
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
        operands = [v.aval for v in equation.invars[: call.tree.num_leaves]]
        return _function_flops(call.run, tuple(operands))
    if inner := bodies(equation):
        costs = [jaxpr_flops(body) for body in inner]
        return max(costs) if name == "cond" else sum(costs) * equation.params.get("length", 1)
    if name.startswith(("reduce_", "cum", "arg")):
        return float(sum(prod(v.aval.shape) for v in equation.invars))
    return 0.0 if name in _FREE else float(outputs)


@traced_once()
def _function_flops(function: Callable[..., Any], avals: tuple[Aval, ...]) -> float:
    return jaxpr_flops(jax.make_jaxpr(function)(*avals).jaxpr)


def node_flops(node: Node) -> float:
    """FLOPs of a node's forward."""
    run = node.function.run
    return _function_flops(run, tuple(v.aval for v in node.inputs))


def pullback_flops(pullback: Pullback, step: "Step") -> float:
    """FLOPs of one rule of a step."""
    loops, g = step.node.loops, [v.aval for v in pullback.sources]
    needs = [_seen_from(loops, v, step) for v in pullback.needs]
    if any(v.aval is None for v in pullback.needs):
        return jaxpr_flops(jax.make_jaxpr(pullback.pull)(*needs, *g).jaxpr)
    return _function_flops(pullback.pull, (*needs, *g))


def _seen_from(loops: tuple[int, ...], value: Value | Constant, step: "Step") -> Any:
    """The aval inside the outer `loops`; for residuals, the shapes in them."""
    if isinstance(value, Constant):
        return value.aval
    return residuals(step, value) if value.aval is None else value.seen_from(loops)


def kept_bytes(value: Value, step: "Step") -> int:
    """Bytes of a value that a rule of `step` reads, over all turns of loops; for residuals, of all arrays in them."""
    if value.aval is None:
        return prod(value.loops) * sum(map(array_bytes, jax.tree.leaves(residuals(step, value))))
    return array_bytes(value.seen_from(()))


def array_bytes(aval: Aval) -> int:
    """Bytes of one array."""
    return prod(aval.shape) * aval.dtype.itemsize


def residuals(step: "Step", value: Value) -> Any:
    """The shapes inside the `jax.vjp` function that a node's forward leaves behind."""
    return _saved_shapes(step)[step.saved.index(value)]


@traced_once(most=256)
def _saved_shapes(step: "Step") -> list[Any]:
    return jax.eval_shape(step.forward, *(v.aval for v in step.node.inputs))[len(step.node.outputs) :]
