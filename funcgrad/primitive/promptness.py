"""The rules of custom derivatives run where `jax.grad` runs them: when the function is called.

An equation holds its rule as a function, and JAX traces that when it comes to differentiate the equation. By then a
Python loop around the call has gone on, and a list that the rule reads may hold something else. But JAX remembers what
a rule gave for each set of arguments that move: it is enough that somebody asks once, at once.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend import linear_util

from funcgrad.aliases import Aval
from funcgrad.primitive.jaxprs import FLAT, variable_of
from funcgrad.primitive.tangent_rules import closed_over


@contextlib.contextmanager
def prompt_rules(inputs: Sequence[Any], moving: Collection[int], around: Sequence[Any] = ()) -> Iterator[None]:
    """While a function is traced, run the rules that the inputs at positions `moving` get to where they are called.

    Only in the trace of these inputs: of what is inside of a `jit`, a loop or a checkpoint JAX makes a jaxpr first,
    also under `jax.grad`. A rule that raises does so again if the gradient passes. Where fewer arguments of a function
    move than it seems here (an output of a jitted function need not depend on all of its inputs), its rule is asked
    later.

    Args:
        inputs: the function's inputs, as they are traced.
        moving: the positions of those that it is differentiated by.
        around: what it is traced at. Where that is differentiated itself, the rules inside of rules are asked as well.
    """
    moved = [x for x in (inputs[k] for k in moving) if isinstance(x, Tracer) and _is_inexact(x.aval)]
    if moved:
        frame = moved[0]._trace.frame
        order = 1 + max(map(_order, around), default=0)
        frame.tracing_eqns = _Equations(frame.tracing_eqns, set(map(variable_of, moved)), order)
    yield


class _Equations(list[Any]):
    """The equations of a trace that is going on; each is looked at when it is written down."""

    def __init__(self, equations: Sequence[Any], varied: set[Any], order: int):
        super().__init__(equations)
        self.varied = varied
        """The variables that depend on what moves."""
        self.order = order
        """How many derivatives are taken, as far as can be seen from here."""

    def append(self, entry: Any) -> None:
        super().append(entry)
        equation = entry if hasattr(entry, "params") else entry()
        moves = [variable_of(x) in self.varied for x in equation.in_tracers]
        if any(moves) and equation.primitive.name not in FLAT:
            self.varied.update(v for v in equation.outvars if _is_inexact(v.aval))
            _run_rule(equation.params, moves, self.order)


def _order(x: Any) -> int:
    """How often an array is differentiated by what is around: at least once, where anything but a jaxpr is made."""
    if not isinstance(x, Tracer):
        return 0
    equations = getattr(getattr(x._trace, "frame", None), "tracing_eqns", None)
    return equations.order if isinstance(equations, _Equations) else int(equations is None)


def _run_rule(params: dict[str, Any], moves: Sequence[bool], order: int) -> None:
    moves = moves[params.get("num_consts", 0) :]
    if not any(moves):
        return
    if "jvp_jaxpr_fun" in params:
        asked = [params["symbolic_zeros"] and not moved for moved in moves]
        params["jvp_jaxpr_fun"] = _asked_once(params["jvp_jaxpr_fun"], asked, order)
    elif "fwd_jaxpr_thunk" in params:
        params["fwd_jaxpr_thunk"] = _asked_once(params["fwd_jaxpr_thunk"], moves, order)


def _asked_once(thunk: Any, flags: Sequence[bool], order: int) -> Any:
    """What makes the jaxpr of a rule, after it was asked for one; as it is, where the rule is one of JAX's own.

    Whoever calls the function takes it for a sign that the rule alone was run if it has left the structure of its
    results; so that is put away, until somebody asks for the jaxpr.
    """
    made_by = closed_over(thunk.f, "fn")
    rule = closed_over(made_by, "jvp") or closed_over(made_by, "fwd")
    if rule is None or _is_jaxs(rule.f):  # none is found where the derivative itself is being differentiated
        return thunk
    stores = [store for store in rule.stores if store is not None]
    with contextlib.suppress(Exception):
        jaxpr, *_ = thunk.call_wrapped(*flags)
        for equation in jaxpr.eqns if order > 1 else ():
            _run_rule(equation.params, [_is_inexact(v.aval) for v in equation.invars], order - 1)
    left = []
    for store in stores:
        with contextlib.suppress(linear_util.StoreException):  # an empty one
            left.append((store, store.val))
        store.reset()

    def ask(*flags: bool) -> Any:
        found = thunk.call_wrapped(*flags)
        for store, value in left:
            with contextlib.suppress(linear_util.StoreException):  # what was asked for anew has left the same
                store.store(value)
        return found

    return linear_util.wrap_init(ask, debug_info=thunk.debug_info)


def _is_jaxs(rule: Any) -> bool:
    """Whether a rule is one of JAX's own, made of its functions alone: it reads nothing that changes.

    Those of all ReLUs may then be one (see `rule_key`).
    """
    if (getattr(rule, "__module__", None) or "").partition(".")[0] != "jax":
        return False
    inside = jax.tree.leaves([cell.cell_contents for cell in getattr(rule, "__closure__", None) or ()])
    return all(_is_jaxs(x) for x in inside if callable(x))


def _is_inexact(aval: Aval) -> bool:
    return hasattr(aval, "dtype") and jnp.issubdtype(aval.dtype, jnp.inexact)
