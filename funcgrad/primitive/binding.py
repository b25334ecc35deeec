"""One JAX primitive per op, with generic rules for every transformation.

An op's primitive carries one parameter, a `call`, which knows the plain function and its pullbacks. JAX asks
five things of a primitive, and each has one answer here:

    lowering, evaluation   the plain function
    abstract evaluation    the plain function, traced once per signature
    batching               the call says how it absorbs a batch axis
    JVP                    a second primitive, the *tangent*: linear in the tangents
    transpose              of the tangent: the registered pullbacks, J^T

so reverse mode reaches the registered rule by JAX's own road (JVP, then transpose), while forward mode,
Hessians, `vmap`, `scan` and `checkpoint` need no rule of their own.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from funcgrad.aliases import Array, Aval
from funcgrad.primitive.batch_levels import Level, Linear
from funcgrad.primitive.contexts import traced_once
from funcgrad.primitive.jaxprs import READ_BY_NAME


@runtime_checkable
class Call(Protocol):
    """One application of an op as its primitives see it: flat leaves in, flat leaves out."""

    @property
    def name(self) -> str:
        """What profiles and jaxprs show."""
        ...

    @property
    def recording(self) -> "Call":
        """The same call, returning after its outputs the values its rules need saved."""
        ...

    def evaluate(self, *leaves: Array) -> list[Array]:
        """Apply the plain forward."""
        ...

    def traced(self, avals: Sequence[Aval]) -> Any | None:
        """Give the closed jaxpr that `evaluate` was traced to, if it was."""
        ...

    def output_avals(self, avals: Sequence[Aval]) -> list[Aval]:
        """Give the avals of what `evaluate` returns."""
        ...

    @property
    def axes(self) -> frozenset[Any]:
        """The names of the mapped axes that it sums over, or asks for its place along."""
        ...

    def absorb(self, leaves: list[Array], level: Level) -> tuple["Call", list[Array], list[bool]]:
        """Take in a batch axis that stands in front of the leaves flagged by `level`; say which outputs have it."""
        ...

    def linear(self, avals: Sequence[Aval], active: tuple[int, ...]) -> Linear:
        """Describe the tangent of a recording call with respect to the primals at positions `active`."""
        ...

    def differential(self, linear: Linear) -> "Differential":
        """Give J and J^T with respect to what `linear` says."""
        ...


class Differential(Protocol):
    """The derivative of a call as its primitives see it."""

    @property
    def pushes_by_rules(self) -> bool:
        """Whether J is found by transposing rules, which may read what changes between calls."""
        ...

    def push(self, values: list[Array], tangents: list[Array]) -> list[Array]:
        """Apply J: a tangent per inexact output."""
        ...

    def push_saved(self, primals: list[Array], tangents: list[Array]) -> list[Array]:
        """Give a tangent per inexact saved value."""
        ...

    def pull(self, values: list[Array], g: list[Array]) -> list[Array | None]:
        """Apply J^T: a cotangent per active primal, None where the op declares that there is none."""
        ...


class OpPrimitives:
    """The primitive that ops of one name share, and its tangent: which op it is, the call knows.

    JAX's tables hold what has been registered with them for ever, so an op must not stand there: it, and whatever its
    functions close over, could never be freed.
    """

    @classmethod
    @cache
    def named(cls, name: str) -> "OpPrimitives":
        """The pair for this name."""
        return cls(name)

    def __init__(self, name: str):
        # An op may be called as one of JAX's primitives that jaxprs are read by: its own primitive is not.
        name = f"{name}_op" if name in READ_BY_NAME else name
        self.forward = _primitive(name, _run_forward, _forward_avals)
        self.tangent = _primitive(f"{name}_tangent", _run_tangent, _tangent_avals)
        mlir.register_lowering(self.forward, _lower_forward)
        mlir.register_lowering(self.tangent, _lower_tangent)
        ad.primitive_jvps[self.forward] = partial(_forward_jvp, self)
        ad.primitive_jvps[self.tangent] = partial(_tangent_jvp, self)
        ad.primitive_transposes[self.tangent] = _tangent_transpose
        batching.fancy_primitive_batchers[self.forward] = partial(_forward_batch, self)
        batching.fancy_primitive_batchers[self.tangent] = partial(_tangent_batch, self)

    def bind(self, leaves: Sequence[Array], call: Call) -> list[Array]:
        """Apply the op: one equation in a jaxpr."""
        return self.forward.bind(*_vary_alike(leaves), call=call)

    def bind_tangent(self, linear: Linear, values: list[Array], tangents: list[Array], call: Call) -> list[Array]:
        """Apply J of the op: one linear equation in a jaxpr."""
        return self.tangent.bind(*_vary_alike([*values, *tangents]), call=call, linear=linear)


def _primitive(name: str, run: Callable[..., list[Array]], avals: Callable[..., list[Aval]]) -> core.Primitive:
    primitive = core.Primitive(name)
    primitive.multiple_results = True
    primitive.def_abstract_eval(avals)

    def evaluate(*operands: Array, **params: Any) -> list[Array]:
        if "linear" in params and params["call"].differential(params["linear"]).pushes_by_rules:
            return run(*operands, **params)
        return _jitted(run, *params.items())(*operands)

    primitive.def_impl(evaluate)
    return primitive


@traced_once()
def _jitted(run: Callable[..., list[Array]], *params: tuple[str, Any]) -> Callable[..., list[Array]]:
    """What evaluates a call outside of any trace."""
    function = partial(run, **dict(params))
    function.__name__ = dict(params)["call"].name  # pyright: ignore[reportAttributeAccessIssue]
    return jax.jit(function)


def _run_forward(*leaves: Array, call: Call) -> list[Array]:
    return call.evaluate(*leaves)


def _lower_forward(ctx: Any, *operands: Any, call: Call) -> Any:
    """Write the jaxpr that the call was traced to: half the work of tracing it again, as `lower_fun` does."""
    jaxpr = call.traced(ctx.avals_in)
    if jaxpr is None or jaxpr.consts:
        return mlir.lower_fun(_run_forward)(ctx, *operands, call=call)
    outputs, tokens = mlir.jaxpr_subcomp(
        ctx.module_context,
        jaxpr.jaxpr,
        ctx.name_stack,
        ctx.tokens_in,
        (),
        *operands,
        dim_var_values=ctx.dim_var_values,
        const_lowering=ctx.const_lowering,
        outer_traceback=None,
    )
    ctx.set_tokens_out(tokens)
    return outputs


def _forward_avals(*avals: Aval, call: Call) -> list[Aval]:
    return call.output_avals(avals)


def _forward_jvp(
    primitives: OpPrimitives, primals: Sequence[Array], tangents: Sequence[Any], *, call: Call
) -> tuple[list[Array], list[Any]]:
    recording = call.recording
    values = primitives.bind(primals, recording)
    active = tuple(i for i, t in enumerate(tangents) if type(t) is not ad.Zero)
    linear = recording.linear([jax.typeof(x) for x in primals], active)
    seeds = [tangents[i] for i in active]
    outputs, saved = values[: linear.n_outputs], values[linear.n_outputs :]
    out_tangents = _scatter(outputs, primitives.bind_tangent(linear, [*primals, *values], seeds, recording))
    if call != recording or not saved:
        return outputs, out_tangents
    saved_tangents = recording.differential(linear).push_saved(list(primals), seeds)
    return values, out_tangents + _scatter(saved, saved_tangents)


def _scatter(values: Sequence[Array], tangents: list[Array]) -> list[Any]:
    """A tangent per value; integer values have none, so they take none from the list."""
    source = iter(tangents)
    return [next(source) if is_inexact(jax.typeof(v)) else ad.Zero(jax.typeof(v).to_tangent_aval()) for v in values]


def _forward_batch(
    primitives: OpPrimitives, axis: Any, leaves: Sequence[Array], dims: Sequence[int | None], *, call: Call
) -> tuple[list[Array], list[int | None]]:
    leaves, level = _to_front(axis, leaves, dims, call)
    if level is None:
        outputs = primitives.bind(leaves, call)
        return outputs, [None] * len(outputs)
    call, leaves, flags = call.absorb(leaves, level)
    return primitives.bind(leaves, call), [0 if flag else None for flag in flags]


def _run_tangent(*operands: Array, call: Call, linear: Linear) -> list[Array]:
    return call.differential(linear).push(*linear.split(operands))


_lower_tangent = mlir.lower_fun(_run_tangent)


def _tangent_avals(*avals: Aval, call: Call, linear: Linear) -> list[Aval]:
    del call
    outputs = avals[linear.n_primals : linear.n_primals + linear.n_outputs]
    return [aval.to_tangent_aval() for aval in outputs if is_inexact(aval)]


def _tangent_jvp(
    primitives: OpPrimitives, operands: Sequence[Array], dots: Sequence[Any], *, call: Call, linear: Linear
) -> tuple[list[Array], list[Any]]:
    """d(J v) = J dv + (dJ) v, the second term by JAX on the plain expression of J."""
    values, tangents = linear.split(operands)
    value_dots, tangent_dots = linear.split(dots)
    out = primitives.bind_tangent(linear, values, tangents, call)
    terms = []
    if any(type(d) is not ad.Zero for d in tangent_dots):
        seeds = [ad.instantiate_zeros(d) for d in tangent_dots]
        terms.append(primitives.bind_tangent(linear, values, seeds, call))
    moving = [i for i, d in enumerate(value_dots) if type(d) is not ad.Zero]
    if moving:

        def push(*moved: Array) -> list[Array]:
            still = list(values)
            for i, x in zip(moving, moved, strict=True):
                still[i] = x
            return call.differential(linear).push(still, tangents)

        terms.append(jax.jvp(push, [values[i] for i in moving], [value_dots[i] for i in moving])[1])
    return out, [sum(column[1:], column[0]) for column in zip(*terms, strict=True)]


def _tangent_transpose(g: Sequence[Any], *operands: Any, call: Call, linear: Linear) -> list[Any]:
    values, tangents = linear.split(operands)
    # A constant arrives as the literal it is written as in the jaxpr; a rule reads arrays.
    values = [x if isinstance(x, jax.Array) else jnp.asarray(x, jax.typeof(x).dtype) for x in values]
    seeds = [ad.instantiate_zeros(x) for x in g]
    pulled = call.differential(linear).pull(values, seeds)
    cotangents = [
        None if not ad.is_undefined_primal(t) else ad.Zero(t.aval) if x is None else x
        for t, x in zip(tangents, pulled, strict=True)
    ]
    return [None] * len(values) + cotangents


def _tangent_batch(
    primitives: OpPrimitives, axis: Any, operands: Sequence[Array], dims: Any, *, call: Call, linear: Linear
) -> tuple[list[Array], list[int | None]]:
    operands, level = _to_front(axis, operands, dims, call)
    if level is not None:
        linear = linear._replace(levels=(level, *linear.levels))
        first, last = linear.n_primals, linear.n_primals + linear.n_outputs
        # A tangent has its output's aval, so the outputs must carry the axis.
        operands[first:last] = [
            x if flag else jnp.broadcast_to(x, (level.size, *x.shape))
            for x, flag in zip(operands[first:last], level.batched[first:last], strict=True)
        ]
        flags = level.batched[:first] + (True,) * linear.n_outputs + level.batched[last:]
        linear = linear._replace(levels=(level._replace(batched=flags), *linear.levels[1:]))
    tangents = primitives.bind_tangent(linear, *linear.split(operands), call)
    return tangents, [None if level is None else 0] * len(tangents)


def _to_front(axis: Any, operands: Sequence[Array], dims: Any, call: Call) -> tuple[list[Array], Level | None]:
    """The operands with the batch axis in front, and the level it makes; None where nothing is batched."""
    batched = tuple(isinstance(d, int) for d in dims)
    moved = [jnp.moveaxis(x, d, 0) if flag else x for x, d, flag in zip(operands, dims, batched, strict=True)]
    is_used = axis.name in call.axes
    if not any(batched) and not is_used:
        return list(operands), None
    return moved, Level(batched, axis.size, axis.spmd_name, axis.name if is_used else None)


def _vary_alike(operands: Sequence[Array]) -> Sequence[Array]:
    """Inside `shard_map`, make all operands vary over the same mesh axes, as JAX's own operations do."""
    varying = [getattr(jax.typeof(x), "manual_axis_type", None) for x in operands]
    axes = frozenset().union(*(v.varying for v in varying if v is not None))
    if not axes:
        return operands
    return [
        jax.lax.pcast(x, tuple(axes - v.varying), to="varying") if v is not None and axes - v.varying else x
        for x, v in zip(operands, varying, strict=True)
    ]


def is_inexact(aval: Aval) -> bool:
    """Whether values of this aval can have a cotangent: floating or complex."""
    return jnp.issubdtype(aval.dtype, jnp.inexact)


def type_of(x: Any) -> Aval | None:
    """The aval of anything that JAX takes for an array (numbers and numpy arrays too); None of anything else."""
    try:
        return jax.typeof(x)
    except (TypeError, OverflowError):
        return None


def typed(x: Any, aval: Aval) -> Array:
    """Anything like an array as a JAX array of an aval's dtype, and as weakly typed as the aval is."""
    array = jnp.asarray(x, aval.dtype)
    weak_type = getattr(aval, "weak_type", False)
    if jax.typeof(array).weak_type == weak_type:
        return array
    return jax.lax.convert_element_type_p.bind(array, new_dtype=array.dtype, weak_type=weak_type, sharding=None)


def is_plain(aval: Aval) -> bool:
    """Whether values of this aval are on no explicit mesh, and vary over no axis of a `shard_map`."""
    manual = getattr(aval, "manual_axis_type", None)
    return aval.sharding.mesh.empty and not (manual and manual.varying)


def no_cotangent(shape: tuple[int, ...]) -> Any:
    """What stands for the cotangent of integers, as JAX has it: zeros of `float0`."""
    return ad.instantiate_zeros(ad.Zero(jax.typeof(np.zeros(shape, jax.dtypes.float0))))


def zeros_of(aval: Any) -> Array:
    """Zeros of this aval, with its sharding and the mesh axes it varies over; or of a `jax.ShapeDtypeStruct`."""
    if isinstance(aval, jax.ShapeDtypeStruct):
        return jnp.zeros(aval.shape, aval.dtype)
    return ad.instantiate_zeros(ad.Zero(aval))


def one_like(x: Array) -> Array:
    """The number 1 as an array like a scalar: of its dtype, weak type, sharding.

    Under `jit` it is a number in the jaxpr, which costs a third of what `full_like` takes to find that out.
    """
    aval = jax.typeof(x)
    if isinstance(x, Tracer) and is_plain(aval) and not aval.weak_type:
        return jnp.asarray(np.ones((), aval.dtype))
    return jax.lax.full_like(x, 1)
