"""Sums over batch axes: where a parameter meets every example, its cotangent is a contraction over the examples.

Leading axes are flattened first, because a 2-D matrix product is what every backend runs fastest. Rules see no
explicit axes of a mesh, but the forward of an op that declares no batch axes does; there the axes stay, since the
flattening could join one that is cut to one that is not.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from funcgrad.aliases import Array
from funcgrad.ops.axes import flatten_leading
from funcgrad.primitive import explicit_mesh


def widen(x: Array) -> Array:
    """float16 and bfloat16 as float32, where a rule adds up many terms; anything else as it is."""
    return x.astype(jnp.float32) if x.dtype in (jnp.float16, jnp.bfloat16) else x


def narrow(y: Array, like: Array) -> Array:
    """`widen` undone: a result in the dtype of an argument; ValueError for integers, which would cut it off."""
    if not jnp.issubdtype(like.dtype, jnp.inexact):
        raise ValueError(f"the result would be of {like.dtype}, without its fractions; pass floating numbers")
    return y.astype(like.dtype)


def accumulator(dtype: Any) -> Any:
    """The dtype in which products of `dtype` are summed."""
    return jnp.float32 if dtype in (jnp.float16, jnp.bfloat16) else dtype


def contract_leading(x: Array, g: Array) -> Array:
    """`x[..., n], g[..., m] -> [n, m]`: the sum over all leading axes of the outer products."""
    x, g = flatten_leading(x, 1), flatten_leading(g, 1)
    return lax.dot_general(x, g, (((0,), (0,)), ((), ())), preferred_element_type=accumulator(x.dtype))


def sum_leading(g: Array, keep: int) -> Array:
    """The sum over all but the last `keep` axes, accumulated in float32 at least."""
    return jnp.sum(widen(g), axis=tuple(range(g.ndim - keep)))


def bias_cotangent(g: Array) -> Array:
    """`Σ g` over all axes but the last, of a cotangent that other rules read as well.

    The barrier makes the sum read what they read. Without it XLA takes the rule that made `g` into the sum, and the
    folding out of it: on CPU `[8, 128, 1024]` then takes 3.5 ms instead of 0.1 ms.
    """
    return sum_leading(lax.optimization_barrier(fold_leading(g)), keep=1)


_LANES = 8
"""Partial sums that `sum_last` keeps side by side."""


def sum_last(x: Array) -> Array:
    """`Σ_n x[..., n]`; where the rows are long, as the sum of eight sums over every eighth entry.

    XLA:CPU adds eight columns in one vector instruction and the entries of a row one by one. It would make one sum of
    the two, but for the barrier. In 64 blocks with a layer norm the row sums take 1.0 ms of the step instead of 1.7
    (as products with ones 0.7, but every product is compiled by itself, and compiling takes twice as long).
    """
    n = x.shape[-1]
    if n % _LANES or n <= _LANES**2 or explicit_mesh([jax.typeof(x)]) is not None:
        return jnp.sum(x, axis=-1)
    lanes = jnp.sum(x.reshape(*x.shape[:-1], n // _LANES, _LANES), axis=-2)
    return jnp.sum(lax.optimization_barrier(lanes), axis=-1)


def fold_leading(x: Array, keep: int = 1) -> Array:
    """`flatten_leading`, except on a mesh with explicit axes, where the axes stay.

    XLA:CPU sums over one leading axis in vector instructions, but an elementwise expression over several it
    evaluates entry by entry: `Σ g x_hat` over `[32, 32, 32, 64]` takes 15 ms, over `[32768, 64]` 1 ms. So the
    operands of such an expression are folded, not its result.
    """
    return x if explicit_mesh([jax.typeof(x)]) is not None else flatten_leading(x, keep)
