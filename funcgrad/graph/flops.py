"""FLOPs of functions and nodes, counted on jaxprs. Nothing runs.

A matrix product counts 2 m n k, a convolution 2 per kernel entry and output, an elementwise operation 1 per
output, a reduction 1 per input; moving data counts nothing. This is the count of XLA's own cost analysis, taken
before XLA fuses or drops anything.
"""

from functools import partial
from math import prod
from typing import Any

import jax

from funcgrad.primitive import bodies, downgraded, holder_of, traced_once
from funcgrad.registry import Call

_FREE = frozenset(
    """broadcast_in_dim reshape transpose squeeze expand_dims slice dynamic_slice dynamic_update_slice concatenate
    gather pad rev copy copy_p convert_element_type bitcast_convert_type iota name stop_gradient split stack unstack
    optimization_barrier defer device_put sharding_constraint random_wrap random_unwrap pvary""".split()
)


def flops_of_jaxpr(jaxpr: Any) -> float:
    """FLOPs of a jaxpr; a `while` counts as one turn, a `cond` as its dearest branch."""
    return sum(map(flops_of_equation, jaxpr.eqns), 0.0)


def flops_of_equation(equation: Any) -> float:
    """FLOPs of one equation."""
    equation = downgraded(equation)
    name = equation.primitive.name
    if isinstance(call := equation.params.get("call"), Call):
        # Its primitive may be called as one of JAX's. An op's tangent is linear in as many outputs as the op has: its
        # forward stands for its cost.
        operands = tuple(v.aval for v in equation.invars[: call.tree.num_leaves])
        return flops_of_call(call, operands)
    outputs = sum(prod(v.aval.shape) for v in equation.outvars)
    if name == "dot_general":
        contracted = equation.params["dimension_numbers"][0][0]
        return 2.0 * outputs * prod(equation.invars[0].aval.shape[d] for d in contracted)
    if name == "conv_general_dilated":
        kernel, features = equation.invars[1].aval.shape, equation.params["dimension_numbers"].rhs_spec[0]
        return 2.0 * outputs * prod(kernel) / kernel[features] / prod(equation.params["lhs_dilation"])
    if inner := bodies(equation):
        costs = [flops_of_jaxpr(body) for body in inner]
        holder = holder_of(equation)
        return sum(costs) if holder is None else holder.flops(costs)
    if name.startswith(("reduce_", "cum", "arg")):
        return float(sum(prod(v.aval.shape) for v in equation.invars))
    return 0.0 if name in _FREE else float(outputs)


@traced_once()
def flops_of_call(call: Call, avals: tuple[Any, ...]) -> float:
    """FLOPs of the forward of an op: a graph of a thousand nodes has a few dozen kinds of them."""
    # Inside a partial, for JAX writes the attributes that a function has over those of its own wrapper.
    return flops_of_jaxpr(jax.make_jaxpr(partial(call.evaluate))(*avals).jaxpr)
