"""A value that XLA:CPU may make no earlier than another one.

What a rule reads of the forward pass it may read in another form: transposed, one row in two, times something. XLA:CPU
makes that form as soon as it can, in the forward pass, and keeps it until the rule comes. There is no fence against it:
it drops `lax.optimization_barrier` before it orders the program, and then takes equal expressions for one.

So `defer` chooses between `x` and zero by what cannot be known before `until` is: whether the sign of its first entry,
shifted out of its bits, is nothing. XLA's passes do not see that it always is; LLVM, which comes after them, does, and
the choice costs nothing where it is fused into what reads it.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core
from jax.interpreters import ad, batching, mlir, partial_eval

from funcgrad.aliases import Array
from funcgrad.primitive.binding import is_inexact, is_plain


def defer(x: Array, until: Array) -> Array:
    """`x`, which a compiled program on CPU makes no earlier than `until`.

    For rules that read a value in a form of their own (a transposed copy, say), with their cotangent as `until`. What
    elementwise operations made is then made again rather than kept. Elsewhere than on CPU, on a mesh with explicit
    axes and inside `shard_map` it is `x` alone.
    """
    plain = all(is_plain(jax.typeof(v)) and v.size for v in (x, until))
    return _defer.bind(x, until) if plain and is_inexact(jax.typeof(until)) else x


def fence(values: Sequence[Array], until: Sequence[Array]) -> tuple[list[Array], list[Array]]:
    """`values` that no compiled program makes before `until`, nor knows again, and `until`; the numbers stay.

    For what is made a second time: from fenced values, the compiler can neither take the second making for the first
    nor start it early. Everywhere but on CPU a barrier does that, which needs `until` to be read from behind it; on
    CPU `defer` does.
    """
    late, g = lax.optimization_barrier((list(values), list(until)))
    return [functools.reduce(defer, g, x) for x in late], list(g)


def store(x: Array) -> Array:
    """`x`, which XLA:CPU stores rather than makes again inside of what reads it.

    It makes again whatever reads at most one array of full size, an addition of a bias with a ReLU say, and keeps that
    array then, beside `x` if a product reads `x` too. `max(x, min(x, -1))` is `x`, zeros' signs and NaNs included, and
    reads two. Elsewhere than on CPU it is `x` alone.
    """
    is_real = jnp.issubdtype(x.dtype, jnp.floating)
    return _store.bind(x) if is_real and is_plain(jax.typeof(x)) else x


def settle(x: Array, witness: Array) -> Array:
    """`x`, which XLA:CPU makes once and stores, however many read it.

    A sum that only elementwise operations read it makes again inside of each of them, and keeps its terms: of the
    cotangents along a residual stream, those of all blocks. What a division gives it makes once; so `x` is divided by
    a one that cannot be known before `witness` is. LLVM, which comes after that, leaves the division out. Elsewhere
    than on CPU it is `x` alone.
    """
    is_real = jnp.issubdtype(x.dtype, jnp.floating) and is_inexact(jax.typeof(witness))
    plain = all(is_plain(jax.typeof(v)) and v.size for v in (x, witness))
    return _settle.bind(x, witness) if is_real and plain else x


def _first(x: Any, until: Any = None) -> Any:
    del until
    return x


def _nothing(until: Array) -> Array:
    """Zero, which XLA cannot know before `until` is there."""
    first = lax.squeeze(lax.slice(until, (0,) * until.ndim, (1,) * until.ndim), range(until.ndim))
    first = lax.convert_element_type(lax.real(first) if jnp.iscomplexobj(first) else first, jnp.float32)
    bits = lax.bitcast_convert_type(first, jnp.uint32)
    return lax.shift_right_logical(lax.shift_right_logical(bits, np.uint32(31)), np.uint32(1))


def _chosen(x: Array, until: Array) -> Array:
    return lax.select_n(lax.ne(_nothing(until), np.uint32(0)), x, lax.full_like(x, 0))


def _divided(x: Array, witness: Array) -> Array:
    # By a broadcast, of a scalar or a row, XLA would multiply with the inverse instead, which is not dear.
    bits = lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")
    is_never = lax.gt(lax.broadcast(_nothing(witness).astype(bits.dtype), x.shape), bits)
    return lax.div(x, lax.select_n(is_never, lax.full_like(x, 1), lax.full_like(x, 2)))


def _absorbed(x: Array) -> Array:
    return lax.max(x, lax.min(x, lax.full_like(x, -1)))


def _guard(name: str, lowered: Callable[[Array, Array], Array]) -> Any:
    """A primitive of two arrays that is the first of them, and on CPU lowered as a function is."""
    guard = core.Primitive(name)

    def jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Any]:
        (x, until), (x_dot, _) = primals, tangents
        return guard.bind(x, until), x_dot if type(x_dot) is ad.Zero else guard.bind(x_dot, until)

    def known(trace: Any, x: Any, until: Any) -> Any:
        """A known value stays known: a program that is linear in `until` must not become one that multiplies by it."""
        return x if x.is_known() else trace.default_process_primitive(guard, (x, until), {})

    guard.def_impl(_first)
    guard.def_abstract_eval(_first)
    mlir.register_lowering(guard, mlir.lower_fun(_first, multiple_results=False))
    mlir.register_lowering(guard, mlir.lower_fun(lowered, multiple_results=False), platform="cpu")
    ad.primitive_jvps[guard] = jvp
    ad.primitive_transposes[guard] = _transpose
    batching.primitive_batchers[guard] = lambda operands, dims: (guard.bind(*operands), dims[0])
    partial_eval.custom_partial_eval_rules[guard] = known
    return guard


def _transpose(g: Any, x: Any, until: Any) -> tuple[Any, None]:
    del x, until
    return g, None


_defer, _settle = _guard("defer", _chosen), _guard("settle", _divided)

_store = core.Primitive("store")
_store.def_impl(_first)
_store.def_abstract_eval(_first)
mlir.register_lowering(_store, mlir.lower_fun(_first, multiple_results=False))
mlir.register_lowering(_store, mlir.lower_fun(_absorbed, multiple_results=False), platform="cpu")
ad.primitive_jvps[_store] = lambda primals, tangents: (_store.bind(*primals), *tangents)
batching.primitive_batchers[_store] = lambda operands, dims: (_store.bind(*operands), *dims)
