"""Reading jaxprs: which equations to open, how to run one, and cutting away what is not used."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core
from jax.interpreters import partial_eval
from jax.ref import AbstractRef, Ref

from funcgrad.aliases import Array, Aval
from funcgrad.primitive.contexts import running_traces
from funcgrad.primitive.upgrades import downgraded

# Calls that mean nothing but their body.
_TRANSPARENT = ("jit", "pjit", "closed_call", "eval_jaxpr")
# What JAX compiles the body of.
_COMPILED = frozenset(
    """jit pjit closed_call eval_jaxpr scan while cond remat2 remat checkpoint custom_jvp_call custom_vjp_call
    custom_vjp_call_jaxpr custom_linear_solve shard_map""".split()
)
FLAT = ("stop_gradient", "floor", "ceil", "round", "sign", "is_finite")
"""Primitives whose derivative is zero wherever there is one."""
READ_BY_NAME = _COMPILED | {*FLAT, "name", "call_hi_primitive"}
"""Primitives that an equation is known by: what it holds, or that no cotangent passes it."""


def is_literal(atom: Any) -> bool:
    """Whether an equation's input is a constant written in place."""
    return isinstance(atom, core.Literal)


def body(equation: Any) -> Any | None:
    """The closed jaxpr of a call that is transparent, None for any other equation.

    A `jit` that fixes shardings is not transparent: they would be lost. Nor is one that holds references.
    """
    if equation.primitive.name not in _TRANSPARENT:
        return None
    shardings = (*equation.params.get("in_shardings", ()), *equation.params.get("out_shardings", ()))
    if any(type(s).__name__ != "UnspecifiedValue" for s in shardings):
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return None if holds_references(inner.jaxpr) else inner


def is_jit(equation: Any) -> bool:
    """Whether it calls a jitted function, which has a name and may stay whole; other calls are plain ones."""
    return "donated_invars" in equation.params


def holds_references(jaxpr: Any) -> bool:
    """Whether equations of a jaxpr make, read or write a mutable array (`jax.new_ref`), or another thing than an array.

    A write then reaches a later read without being its operand, so that the equations are no DAG of values: they
    belong together, and JAX differentiates them as one.
    """
    if jaxpr not in _holding:
        _holding[jaxpr] = any(is_reference(v.aval) for e in jaxpr.eqns for v in (*e.invars, *e.outvars))
    return _holding[jaxpr]


_holding: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()
"""What is known of jaxprs: JAX has one for all traces of a jitted function."""


def is_reference(aval: Aval) -> bool:
    """Whether it describes a mutable array, or no array at all."""
    return isinstance(aval, AbstractRef) or is_object(aval)


def is_object(aval: Aval) -> bool:
    """Whether it describes an object of a type that JAX was taught ("hijax"): a box, a quantized array.

    What such a type is differentiated as, only JAX knows.
    """
    return getattr(aval, "is_high", False) and not isinstance(aval, AbstractRef)


def with_contents(closed: Any) -> Any:
    """A closed jaxpr with the arrays that it reads of objects it closes over, where it does nothing else with them."""
    known = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    objects = {v: x for v, x in known.items() if is_object(v.aval)}
    if not objects or any(not is_literal(a) and a in objects for a in closed.jaxpr.outvars):
        return closed
    users = [e for e in closed.jaxpr.eqns if any(not is_literal(a) and a in objects for a in e.invars)]
    if not all(e.outvars and all(not is_literal(a) and a in objects for a in e.invars) for e in users):
        return closed
    for e in users:
        known.update(zip(e.outvars, bind(e, e.params, [objects[a] for a in e.invars], e.ctx), strict=True))
    known = {v: x for v, x in known.items() if v not in objects}
    read = set(map(id, users))
    left = [e for e in closed.jaxpr.eqns if id(e) not in read]
    effects = closed.jaxpr.effects if any(e.effects for e in left) else set()
    jaxpr = closed.jaxpr.replace(constvars=list(known), eqns=left, effects=effects)
    return core.ClosedJaxpr(jaxpr, list(known.values()))


def without_donation(equation: Any) -> Any:
    """A jitted function's equation that leaves the arrays of its arguments alone."""
    donated = equation.params["donated_invars"]
    if not any(donated):
        return equation
    return equation.replace(params=equation.params | {"donated_invars": (False,) * len(donated)})


def bind(equation: Any, params: Mapping[str, Any], leaves: Sequence[Array], context: Any) -> list[Array]:
    """Apply an equation's primitive with these parameters, in the context in which it was traced."""
    primitive = equation.primitive
    # A constant may be a numpy array, which what libraries let their own primitives run does not take.
    leaves = [x if isinstance(x, jax.Array | Ref) or not np.ndim(x) else jnp.asarray(x) for x in leaves]
    with context.manager:
        outputs = primitive.bind(*leaves, **primitive.get_bind_params(dict(params)))
    return list(outputs) if primitive.multiple_results else [outputs]


def named(params: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """An equation's parameters in an order of their own."""
    return tuple(sorted(params.items(), key=lambda item: item[0]))


def variable_of(x: Any) -> Any | None:
    """The variable that stands for an array of a trace, in the jaxpr that came of it; None for anything else."""
    variable = x.val if isinstance(x, partial_eval.DynamicJaxprTracer) else None
    return variable if isinstance(variable, core.Var) else None


def has_ended(x: Any) -> bool:
    """Whether an array is of a trace or another transformation that is over, and so is no array any more."""
    if not isinstance(x, Tracer):
        return False
    return not x._trace.is_valid() or x._trace not in running_traces(x._trace)


def holds_tracers(jaxpr: Any) -> bool:
    """Whether a jaxpr inside of a jaxpr has a traced array among its constants, which JAX could not compile.

    Of JAX's own calls and loops: what the primitives of libraries hold is their affair. Those of lineax keep the jaxpr
    of an operator, whose arrays are operands.
    """
    for equation in jaxpr.eqns:
        if equation.primitive.name not in _COMPILED:
            continue
        held = [x for p in equation.params.values() for x in (p if isinstance(p, tuple | list) else (p,))]
        if any(isinstance(c, Tracer) for x in held for c in getattr(x, "consts", ())):
            return True
        if any(holds_tracers(getattr(inner, "jaxpr", inner)) for inner in bodies(equation)):
            return True
    return False


def without_constants(closed: Any) -> tuple[Any, list[Any]]:
    """A closed jaxpr that takes its constants as its first inputs, and the constants.

    Newer JAX traces the rule of a custom derivative to such a one anyway.
    """
    jaxpr, constants = closed.jaxpr, list(closed.consts)
    if jaxpr.constvars:
        inputs = [*jaxpr.constvars, *jaxpr.invars]
        jaxpr = jaxpr.replace(constvars=[], invars=inputs, debug_info=jaxpr.debug_info.with_unknown_names())
    return core.ClosedJaxpr(jaxpr, ()), constants


_sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def size_of(closed: Any) -> int:
    """How many equations a closed jaxpr has, those of the jaxprs inside it included."""
    if closed not in _sizes:
        inside = (inner for equation in closed.jaxpr.eqns for inner in bodies(equation))
        _sizes[closed] = len(closed.jaxpr.eqns) + sum(_count(inner) for inner in inside)
    return _sizes[closed]


def _count(jaxpr: Any) -> int:
    return sum(1 + sum(map(_count, bodies(equation))) for equation in jaxpr.eqns)


def bodies(equation: Any) -> list[Any]:
    """The jaxprs inside an equation (of a loop, a branch, a call)."""
    return list(core.jaxprs_in_params(downgraded(equation).params))


def axis_names(jaxpr: Any) -> frozenset[Any]:
    """The mapped axes over which a jaxpr sums, or along which it asks for its place; also inside of ops."""
    names = {effect.name for effect in jaxpr.effects if type(effect).__name__ == "NamedAxisEffect"}
    for equation in jaxpr.eqns:
        if (call := equation.params.get("call")) is not None and hasattr(call, "traced"):
            inner = call.traced([v.aval for v in equation.invars])
            names |= axis_names(inner.jaxpr) if inner is not None else frozenset()
        for inside in bodies(equation):
            names |= axis_names(getattr(inside, "jaxpr", inside))
    return frozenset(names)


def as_function(jaxpr: Any) -> Callable[..., list[Array]]:
    """What `jax.make_jaxpr` made, as a function again: cheaper to trace than the one it was made from."""
    return core.jaxpr_as_fun(jaxpr)


def as_one_call(
    function: Callable[..., list[Array]], positions: Collection[int], n_inputs: int
) -> Callable[..., list[Array]]:
    """A flat function as one equation of a jaxpr, differentiated by JAX with respect to its inputs at `positions`.

    JAX runs the function's rules while it differentiates, at the place where they are defined. In a jaxpr they would
    run when all traces that they know of have ended.
    """

    def ahead(*leaves: Array) -> tuple[list[Array], Any]:
        def of(*moved: Array) -> list[Array]:
            at = dict(zip(positions, moved, strict=True))
            return function(*(at.get(i, x) for i, x in enumerate(leaves)))

        return jax.vjp(of, *[leaves[i] for i in positions])

    def back(pull: Any, g: list[Any]) -> tuple[Any, ...]:
        found = dict(zip(positions, pull(g), strict=True))
        return tuple(found.get(i) for i in range(n_inputs))

    one = jax.custom_vjp(function)
    one.defvjp(ahead, back)
    return one


def prune(function: Callable[..., Sequence[Array]], avals: Sequence[Aval]) -> tuple[Any, tuple[int, ...]]:
    """A flat function without its dead code, and the positions of the inputs it really takes."""
    closed = jax.make_jaxpr(function)(*avals)
    jaxpr, used = partial_eval.dce_jaxpr(closed.jaxpr, [True] * len(closed.jaxpr.outvars))
    return as_function(core.ClosedJaxpr(jaxpr, closed.consts)), tuple(i for i, u in enumerate(used) if u)
