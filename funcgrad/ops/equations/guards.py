"""For which equations a row holds: real floating arrays, on no explicit mesh."""

from functools import cache
from math import prod
from typing import Any

import jax.numpy as jnp

from funcgrad.aliases import Aval
from funcgrad.primitive import is_plain
from funcgrad.registry import Equation


def plain_floats(equation: Equation) -> bool:
    """Whether what is floating among the arguments, and the only output, is real and on no explicit mesh."""
    outputs = equation.output_avals
    if len(outputs) != 1 or not _is_floating(outputs[0].dtype):
        return False
    return all(is_plain(a) and _is_floating(a.dtype) for a in (*equation.avals, *outputs) if _is_inexact(a.dtype))


def same_floats(equation: Equation) -> bool:
    """Whether all arguments are such, of the output's dtype."""
    dtype = equation.output_avals[0].dtype
    return all(a.dtype == dtype for a in equation.avals) and plain_floats(equation)


def one_filled(equation: Equation) -> bool:
    """Whether there is one argument, floating, with entries."""
    avals = equation.avals
    return plain_floats(equation) and len(avals) == 1 and _is_inexact(avals[0].dtype) and _filled(avals)


def one_as_it_stands(equation: Equation) -> bool:
    """Whether there is one argument, whose axes are not reordered, nor cut anew."""
    params = equation.source.params
    settled = params.get("sharding") is None and params.get("dimensions") is None
    return plain_floats(equation) and len(equation.avals) == 1 and settled


def strips_of_one(equation: Equation) -> bool:
    """Whether there is one argument, real and on no explicit mesh, and every output is of its dtype."""
    avals, outputs = equation.avals, equation.output_avals
    is_real = all(_is_floating(a.dtype) and is_plain(a) for a in (*avals, *outputs))
    return is_real and len(avals) == 1 and {a.dtype for a in outputs} == {avals[0].dtype}


def _filled(avals: tuple[Aval, ...]) -> bool:
    return all(prod(a.shape) > 0 for a in avals)


@cache
def _is_floating(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


@cache
def _is_inexact(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))
