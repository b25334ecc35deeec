"""The limit of a step: the matrix products and convolutions of its program, and nothing else, back to back.

A network cannot be faster than its products in the order in which they come. Each product of the traced gradient
program becomes one of a new program with operands of the same shapes. Operands are the latest unused results of
that shape, or else fresh arrays: so each product has operands of its own and its result is used or returned, and
the compiler can neither drop nor merge any, while memory is reused as in the network.
"""

from collections.abc import Callable
from typing import Any

import jax

from funcgrad.primitive import bodies
from funcgrad.registry import Call, Equation

PRODUCTS = ("dot_general", "conv_general_dilated")


def products(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """The product equations of a function, in order, those inside ops and of every turn of a scan too."""
    return _products_of(jax.make_jaxpr(function)(*arguments).jaxpr)


def _products_of(jaxpr: Any) -> list[Any]:
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name in PRODUCTS:
            found.append(equation)
        elif isinstance(call := equation.params.get("call"), Call):
            found += products(call.evaluate, *(v.aval for v in equation.invars))
        else:
            inner = [e for body in bodies(equation) for e in _products_of(body)]
            found += inner * equation.params.get("length", 1)
    return found


def back_to_back(equations: list[Any]) -> tuple[Callable[..., list[jax.Array]], tuple[jax.Array, ...]]:
    """A function that runs these products and nothing else, and its arguments."""
    fresh: list[Any] = []
    unused: dict[tuple[Any, Any], int] = {}
    for equation in equations:
        for v in equation.invars:
            if unused.get(key := (v.aval.shape, v.aval.dtype), 0):
                unused[key] -= 1
            else:
                fresh.append(v.aval)
        (out,) = equation.outvars
        unused[out.aval.shape, out.aval.dtype] = unused.get((out.aval.shape, out.aval.dtype), 0) + 1

    def run(*arguments: jax.Array) -> list[jax.Array]:
        sources, results = iter(arguments), {}

        def operand(aval: Any) -> jax.Array:
            waiting = results.get((aval.shape, aval.dtype))
            return waiting.pop() if waiting else next(sources)

        for equation in equations:
            operands = [operand(v.aval) for v in equation.invars]
            (result,) = Equation(equation).run(*operands)
            results.setdefault((result.shape, result.dtype), []).append(result)
        return [r for waiting in results.values() for r in waiting]

    keys = jax.random.split(jax.random.key(0), max(len(fresh), 1))
    return run, tuple(jax.random.normal(k, a.shape, a.dtype) for k, a in zip(keys, fresh, strict=False))
