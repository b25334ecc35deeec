"""For which equations a row holds: real floating arrays, on no explicit mesh."""

from math import prod

import jax.numpy as jnp

from funcgrad.aliases import Aval
from funcgrad.primitive import is_plain
from funcgrad.registry import Equation


def plain_floats(equation: Equation) -> bool:
    """Whether what is floating among the arguments, and the only output, is real and on no explicit mesh."""
    outputs = equation.output_avals
    floating = [a for a in (*equation.avals, *outputs) if jnp.issubdtype(a.dtype, jnp.inexact)]
    is_real = all(jnp.issubdtype(a.dtype, jnp.floating) and is_plain(a) for a in floating)
    return is_real and len(outputs) == 1 and jnp.issubdtype(outputs[0].dtype, jnp.floating)


def same_floats(equation: Equation) -> bool:
    """Whether all arguments are such, of the output's dtype."""
    return plain_floats(equation) and {a.dtype for a in equation.avals} == {equation.output_avals[0].dtype}


def one_filled(equation: Equation) -> bool:
    """Whether there is one argument, floating, with entries."""
    avals = equation.avals
    return plain_floats(equation) and len(avals) == 1 and jnp.issubdtype(avals[0].dtype, jnp.inexact) and _filled(avals)


def one_as_it_stands(equation: Equation) -> bool:
    """Whether there is one argument, whose axes are not reordered, nor cut anew."""
    params = equation.source.params
    settled = params.get("sharding") is None and params.get("dimensions") is None
    return plain_floats(equation) and len(equation.avals) == 1 and settled


def _filled(avals: tuple[Aval, ...]) -> bool:
    return all(prod(a.shape) > 0 for a in avals)
