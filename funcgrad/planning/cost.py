"""What a plan costs: FLOPs counted on jaxprs, bytes from shapes. Nothing runs.

A matrix product counts 2 m n k, a convolution 2 per kernel entry and output, an elementwise operation 1 per
output, a reduction 1 per input; moving data counts nothing. This is the count of XLA's own cost analysis, taken
before XLA fuses or drops anything.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import jax

from funcgrad.aliases import Aval
from funcgrad.graph import Node, Value
from funcgrad.planning.pullbacks import Pullback, run_with_residuals
from funcgrad.primitive import bodies
from funcgrad.registry import Call

_FREE = frozenset(
    """broadcast_in_dim reshape transpose squeeze expand_dims slice dynamic_slice dynamic_update_slice concatenate
    gather pad rev copy copy_p convert_element_type bitcast_convert_type iota name stop_gradient split
    optimization_barrier device_put sharding_constraint random_wrap random_unwrap pvary""".split()
)


def jaxpr_flops(jaxpr: Any) -> float:
    """FLOPs of a jaxpr; a `while` counts as one turn, a `cond` as its dearest branch."""
    return sum(map(_equation_flops, jaxpr.eqns), 0.0)


def _equation_flops(equation: Any) -> float:
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


@lru_cache(maxsize=8192)
def _function_flops(function: Callable[..., Any], avals: tuple[Aval, ...]) -> float:
    return jaxpr_flops(jax.make_jaxpr(function)(*avals).jaxpr)


def node_flops(node: Node) -> float:
    """FLOPs of a node's forward."""
    run = node.function.run
    return _function_flops(run, tuple(v.aval for v in node.inputs))


def pullback_flops(pullback: Pullback, positions: tuple[int, ...]) -> float:
    """FLOPs of one rule; `positions` are the active inputs of its node."""
    g = [v.aval for v in pullback.sources]
    if any(v.aval is None for v in pullback.needs):
        return jaxpr_flops(jax.make_jaxpr(pullback.pull)(_residuals(pullback.node, positions), *g).jaxpr)
    return _function_flops(pullback.pull, (*(v.aval for v in pullback.needs), *g))


def value_bytes(aval: Aval) -> int:
    """Bytes of one array."""
    return prod(aval.shape) * aval.dtype.itemsize


def kept_bytes(value: Value, node: Node, positions: tuple[int, ...]) -> int:
    """Bytes of a value that a rule of `node` reads; for residuals, those of all arrays in them."""
    if value.aval is None:
        return sum(map(value_bytes, jax.tree.leaves(_residuals(node, positions))))
    return value_bytes(value.aval)


@lru_cache(maxsize=256)
def _residuals(node: Node, positions: tuple[int, ...]) -> Any:
    """The shapes inside the `jax.vjp` function that a node's forward leaves behind."""

    def residuals(*leaves: Any) -> Any:
        return run_with_residuals(node, positions, leaves)[1]

    avals: Sequence[Aval] = [v.aval for v in node.inputs]
    return jax.eval_shape(residuals, *avals)
