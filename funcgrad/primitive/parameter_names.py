"""What the operands of an equation are called: as the parameters of the public function that makes it.

The operands of a primitive of `jax.lax` are called as the first parameters of the function of its name, `lhs` and
`rhs` of `dot_general`; those of a jitted function or of one with a derivative of its own as that function calls them.
Several operands that make up one argument (the arrays that are concatenated, the leaves of a pytree) share its name.
"""

import inspect
import keyword
import re
from functools import cache
from itertools import chain, repeat
from typing import Any

import jax

from funcgrad.primitive.holders import Checkpoint, holder_of

_NAMES = {
    "add_any": "x y",
    "concatenate": "operands*",
    "copy": "operand",
    "copy_p": "operand",
    "custom_linear_solve": "operands*",
    "dynamic_slice": "operand start_indices*",
    "dynamic_update_slice": "operand update start_indices*",
    "name": "x",
    "optimization_barrier": "operand*",
    "psum": "x*",
    "reduce": "operands*",
    "reduce_window_max": "operand",
    "reduce_window_min": "operand",
    "reduce_window_sum": "operand",
    "sort": "operand*",
    "stack": "operands*",
    "triangular_solve": "a b",
    "unstack": "x",
}
"""The primitives whose operands are other than the first parameters of a function of the same name; `*` for all that
are left."""
_IDENTIFIER = re.compile(r"[^\W\d]\w*")


def parameter_names(equation: Any) -> tuple[str, ...]:
    """One name per operand of an equation; `in0`, `in1`, ... where nobody has named them."""
    n = len(equation.invars)
    holder = holder_of(equation)
    if holder is not None and not isinstance(holder, Checkpoint):
        return (*holder.deciding, *holder.input_names)
    if (of_function := _names_of_function(equation)) is not None:
        n_closed_over = n - len(of_function)
        return (*(f"closed_over{i}" for i in range(n_closed_over)), *of_function)
    return _names_of_primitive(equation.primitive.name, n)


def _names_of_function(equation: Any) -> list[str] | None:
    """What the function that an equation calls names its inputs."""
    params = equation.params
    inner = params.get("call_jaxpr") or params.get("fun_jaxpr") or params.get("jaxpr")
    if inner is None:
        return None
    jaxpr = getattr(inner, "jaxpr", inner)
    names = getattr(getattr(jaxpr, "debug_info", None), "arg_names", None)
    if not names or len(names) > len(equation.invars):
        return None
    found = [_IDENTIFIER.match(name or "") for name in names]
    if not all(match and not keyword.iskeyword(match[0]) for match in found):
        return None
    return [match[0] for match in found if match]


@cache
def _names_of_primitive(name: str, n: int) -> tuple[str, ...]:
    if name in _NAMES:
        *single, last = _NAMES[name].split()
        filled = chain(single, repeat(last[:-1]) if last.endswith("*") else [last])
        names = [parameter for parameter, _ in zip(filled, range(n), strict=False)]
    else:
        names = _public_names(name, n)
    return tuple(names) if len(names) == n else tuple(f"in{i}" for i in range(n))


def _public_names(name: str, n: int) -> list[str]:
    function = getattr(jax.lax, name.replace("-", "_"), None)
    if not callable(function):
        return []
    names: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            stem = parameter.name.removesuffix("s")
            return [*names, *(f"{stem}{i}" for i in range(n - len(names)))]
        names.append(parameter.name)
    return names[:n]
