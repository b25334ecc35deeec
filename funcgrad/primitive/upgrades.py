"""Equations of JAX's upgraded primitives, read as what they were before.

With `JAX_REMAT3` and `JAX_CUSTOM_VJP3` checkpoints, their names and custom derivatives are objects inside one opaque
primitive, `call_hi_primitive`. They still hold what their equations held, under other names. What a custom derivative
closes over became two arguments before the others in later JAX; before, it takes its arguments alone.
"""

from typing import Any

import jax
from jax.extend import core
from jax.extend.core import primitives

_CUSTOM_VJP = core.Primitive("custom_vjp_call")
_CUSTOM_VJP.multiple_results = True


def downgraded(equation: Any) -> Any:
    """The equation as it was written before the upgrade, to be read; any other equation as it is."""
    if equation.primitive.name != "call_hi_primitive":
        return equation
    held = equation.params["_prim"]
    kind = type(held).__name__
    if kind == "RematTraced":
        params = {"jaxpr": held.jaxpr, "policy": held.policy, "prevent_cse": held.prevent_cse, "differentiated": False}
        return equation.replace(primitive=primitives.remat_p, params=params)
    if kind in ("CheckpointName", "CheckpointNameFwd"):
        return equation.replace(primitive=primitives.name_p, params={"name": held.name})
    if kind == "CustomVJPTraced":
        n_consts = len(jax.tree.leaves(held.in_avals[:2])) if hasattr(held, "drop_fwd_consts") else 0
        params = {"call_jaxpr": held.traced.jaxpr, "num_consts": n_consts, "symbolic_zeros": held.symbolic_zeros}
        return equation.replace(primitive=_CUSTOM_VJP, params=params)
    return equation
