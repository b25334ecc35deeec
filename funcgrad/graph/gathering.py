"""A function of JAX's that is written out where it is called, put together again to a call.

`jax.nn.softmax` is neither a primitive nor jitted: a trace has its equations, and nothing says that they belong
together. But they stand one after the other as the function writes them for an argument of the same type, which is how
they are found.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import jax

from funcgrad.primitive import is_literal


def gathered(jaxpr: Any, functions: Sequence[Callable[..., Any]], is_meant: Callable[[Any], bool]) -> list[Any]:
    """The equations of a jaxpr, with one call in the place of those that a function of one array wrote.

    Not where something else reads what the function computes on the way, and only where the call `is_meant`: opened
    again, its inside would be put together to the same call.
    """
    equations = list(jaxpr.eqns)
    for function in functions:
        found: list[Any] = []
        written = cache(partial(_written, function))
        readers = Counter(a for e in equations for a in e.invars if not is_literal(a))
        readers.update(a for a in jaxpr.outvars if not is_literal(a))
        at = 0
        while at < len(equations):
            call, n = _call_at(equations[at:], function, written, readers)
            if n > 1 and not is_meant(call):
                call, n = equations[at], 1
            found.append(call)
            at += n
        equations = found
    return equations


def _written(function: Callable[..., Any], aval: Any) -> Any | None:
    """What a function writes for an array; None where it does not take it, as softmax a number."""
    try:
        return jax.make_jaxpr(function)(aval).jaxpr
    except Exception:
        return None


def _call_at(
    equations: Sequence[Any], function: Callable[..., Any], written: Callable[[Any], Any], readers: Counter[Any]
) -> tuple[Any, int]:
    """The first of some equations, or a call of the function in the place of the first ones; and how many these are."""
    for variable in (a for a in equations[0].invars if not is_literal(a)):
        if (pattern := written(variable.aval)) is None:
            continue
        window = equations[: len(pattern.eqns)]
        known = _matched(pattern, window, variable)
        if known is None:
            continue
        result = known[pattern.outvars[0]]
        inner = Counter(a for e in window for a in e.invars if not is_literal(a))
        if any(readers[v] > inner[v] for e in window for v in e.outvars if v is not result):
            continue
        (call,) = jax.make_jaxpr(jax.jit(function))(variable.aval).eqns
        return call.replace(invars=[variable], outvars=[result], source_info=window[0].source_info), len(window)
    return equations[0], 1


def _matched(pattern: Any, window: Sequence[Any], variable: Any) -> dict[Any, Any] | None:
    """What stands for the variables of a pattern of which `variable` is the argument; None where it is another."""
    if len(window) < max(len(pattern.eqns), 1) or len(pattern.outvars) != 1 or pattern.constvars:
        return None
    known = {pattern.invars[0]: variable}
    for theirs, ours in zip(pattern.eqns, window, strict=True):
        if theirs.primitive is not ours.primitive or len(theirs.invars) != len(ours.invars):
            return None
        if not all(_is_same(a, b, known) for a, b in zip(theirs.invars, ours.invars, strict=True)):
            return None
        if not _are_equal(theirs.params, ours.params):
            return None
        known.update(zip(theirs.outvars, ours.outvars, strict=True))
    return known if pattern.outvars[0] in known else None


def _is_same(theirs: Any, ours: Any, known: dict[Any, Any]) -> bool:
    if is_literal(theirs) or is_literal(ours):
        both = is_literal(theirs) and is_literal(ours)
        return both and theirs.aval == ours.aval and _are_equal(theirs.val, ours.val)
    return known.get(theirs) is ours


def _are_equal(theirs: Any, ours: Any) -> bool:
    """Also numbers of numpy's, which `vmap` writes for axes, and numbers of Python's."""
    try:
        return bool(theirs == ours)
    except ValueError:  # arrays
        return False
