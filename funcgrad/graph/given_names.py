"""What the user has named, found in jaxprs before any of it becomes a value."""

from collections.abc import Callable, Iterator
from typing import Any

from funcgrad.naming import escape
from funcgrad.primitive import bodies, body, is_jit, scope_of

# The parameters in which loops, branches and calls have their bodies: what has none of them is not looked into.
_HOLDING = frozenset(("jaxpr", "call_jaxpr", "fun_jaxpr", "branches", "body_jaxpr", "cond_jaxpr"))


def labels_in(jaxpr: Any, whole: Callable[[Any], bool] | None = None) -> Iterator[str]:
    """The names that `fg.name` gives in a jaxpr and the jaxprs inside, as paths from where the jaxpr stands.

    Not those inside of jitted functions that stay one node, as `whole` says of their jaxpr.
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name == "name":
            yield join(escape(scope_of(equation)), label_of(equation))
        elif not _HOLDING.isdisjoint(equation.params):
            if whole and is_jit(equation) and (called := body(equation)) is not None and whole(called):
                continue
            scope = escape(scope_of(equation))
            yield from (join(scope, path) for inner in bodies(equation) for path in labels_in(inner, whole))


def label_of(equation: Any) -> str:
    """The name that a `name` equation gives; JAX takes an empty one, which is none."""
    return escape(equation.params["name"]) or "name"


def join(scope: str, name: str) -> str:
    """A name in a scope."""
    return f"{scope}/{name}" if scope else name
