"""Where equations stand: in the scopes that the user wrote, and in functions whose names are scopes too.

A jitted function leaves its name in the trace. A function of `jax.nn` that JAX writes out where it is called (gelu,
softmax, logsumexp) leaves its equations, and in each of them the frames of Python that were running.
"""

import re
from functools import lru_cache
from inspect import isfunction, unwrap
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import jax

from funcgrad.primitive.jaxprs import bodies, is_jit

_WRAPPER = re.compile(r"\b(?:jvp|vmap|transpose|linearize|jit|remat|checkpoint|rematted_computation)\(([^()]*)\)")
_JAX = str(Path(jax.__file__).parent)
_PUBLIC = {name: unwrap(f) for name, f in vars(jax.nn).items() if isfunction(f) and not name.startswith("_")}
# By identity: to hash a code object is to hash its text. The functions live as long as JAX.
_WRITTEN_OUT = {id(f.__code__): name for name, f in _PUBLIC.items()}


def scope_of(equation: Any) -> str:
    """The path of named scopes around an equation, without the transformations it went through."""
    return _scope_in(equation.source_info.name_stack)


@lru_cache(maxsize=4096)
def _scope_in(name_stack: Any) -> str:
    """The scopes in a stack of names, which equations have in common."""
    stack, previous = str(name_stack), None
    while previous != stack:
        previous, stack = stack, _WRAPPER.sub(r"\1", stack)
    return "/".join(part for part in stack.split("/") if part)


def scope_with_functions(equation: Any) -> str:
    """The scopes around an equation, and inside of them the functions of `jax.nn` in which it was written out.

    `jnp.einsum` makes a scope of its formula, `ij,jk->ik`, which is inside of these.
    """
    scope, functions = scope_of(equation), _functions_around(equation)
    if not functions:
        return scope
    parts = [part for part in scope.split("/") if part]
    n = next((i for i, part in enumerate(parts) if _is_formula(part)), len(parts))
    return "/".join((*parts[:n], *functions, *parts[n:]))


def _is_formula(part: str) -> bool:
    return "->" in part


def _functions_around(equation: Any) -> tuple[str, ...]:
    """The functions of `jax.nn` in which an equation was written out, the outermost first.

    Its frames begin where the jaxpr's trace began, so that what called a jitted function is not among them. Looking
    for one takes half a microsecond where there is none.
    """
    trace = equation.source_info.traceback
    codes = trace.raw_frames()[0] if trace is not None else ()
    if _WRITTEN_OUT.keys().isdisjoint(map(id, codes)):
        return ()
    names = [_WRITTEN_OUT[id(code)] for code in reversed(codes) if id(code) in _WRITTEN_OUT]
    # What was put together to a call again is a node of that name, which does not stand in itself.
    return tuple(names[:-1] if is_jit(equation) and equation.params["name"] == names[-1] else names)


def name_as_scope(equation: Any, inner: Any) -> str:
    """The scope that the name of a call is for what is `inner`, its closed jaxpr; empty where it is none.

    Not so the names of wrappers (`_where`, `<lambda>`), of what is one equation, nor of what has scopes inside: those
    say more, and models have their paths there.
    """
    if not is_jit(equation) or len(inner.jaxpr.eqns) < 2:
        return ""
    name = equation.params["name"]
    if not name.isidentifier() or name.startswith("_") or _has_scopes(inner.jaxpr):
        return ""
    # `jax.jit(jax.nn.gelu)` is gelu once: its frames say so already.
    return "" if name in _PUBLIC and _functions_around(inner.jaxpr.eqns[0])[:1] == (name,) else name


_scoped: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""What is known of jaxprs: JAX has one for all calls of a jitted function."""


def _has_scopes(jaxpr: Any) -> bool:
    if jaxpr not in _scoped:
        _scoped[jaxpr] = any(_is_scoped(e) or any(map(_has_scopes, bodies(e))) for e in jaxpr.eqns)
    return _scoped[jaxpr]


def _is_scoped(equation: Any) -> bool:
    scope = scope_of(equation)
    return bool(scope) and not all(map(_is_formula, scope.split("/")))


def is_all(equation: Any, jaxpr: Any) -> bool:
    """Whether a function is nothing but this call, of a function that the user wrote: `jax.jit(loss)` is `loss`."""
    inner = equation.params.get("jaxpr")
    info = getattr(getattr(inner, "jaxpr", None), "debug_info", None)
    return len(jaxpr.eqns) == 1 and not str(getattr(info, "func_filename", "")).startswith(_JAX)
