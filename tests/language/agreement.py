"""The one comparison of this suite: `fg.vjp` against `jax.vjp`, values and cotangents."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import funcgrad as fg

_POOL = np.random.default_rng(11).normal(size=4096)


def assert_agrees(
    function: Callable[..., Any],
    args: Sequence[Any],
    *others: Sequence[Any],
    tolerances: Sequence[float] = (16.0,),
    jit: bool = True,
    vjp: Callable[..., Any] = fg.vjp,
    value_and_grad: Callable[..., Any] = fg.value_and_grad,
) -> None:
    """Values and cotangents of all arguments, from random output cotangents, equal those that JAX gives.

    A real scalar is differentiated by `value_and_grad` as well.

    Args:
        function: what to differentiate.
        args: its arguments, arrays in pytrees; integers and booleans must get `float0`.
        others: more of them, of other dtypes; one program for all takes 0.7 of the time of one for each.
        tolerances: for each, how far apart, in units of the dtype's resolution and of the largest entry.
        jit: whether all run in one compiled function.
        vjp: what to compare.
        value_and_grad: likewise.
    """

    def both(args: Sequence[Any], pool: jax.Array) -> tuple[Any, Any]:
        expected, expected_pull = jax.vjp(function, *args)
        seeds = _seeds(expected, pool)
        found, pull = vjp(function, *args)
        theirs, ours = (expected, expected_pull(seeds)), (found, pull(seeds))
        if _is_real_scalar(expected) and (argnums := _differentiable(args)):
            theirs = (*theirs, jax.value_and_grad(function, argnums)(*args))
            ours = (*ours, value_and_grad(function, argnums)(*args))
        assert_alike(ours, theirs)
        return _inexact(ours), _inexact(theirs)

    def each(every: Sequence[Sequence[Any]], pool: jax.Array) -> list[tuple[Any, Any]]:
        return [both(args, pool) for args in every]

    pairs = (jax.jit(each) if jit else each)((args, *others), jnp.asarray(_POOL))
    for (ours, theirs), tolerance in zip(pairs, tolerances, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_near(a, b, tolerance)


def pull_everything(vjp: Callable[..., Any], function: Callable[..., Any], args: Sequence[Any]) -> list[Any]:
    """The floating values and cotangents of one `vjp` alone, from the same output cotangents."""

    def values_and_cotangents(args: Sequence[Any], pool: jax.Array) -> list[Any]:
        output, pull = vjp(function, *args)
        return _inexact((output, pull(_seeds(output, pool))))

    return jax.jit(values_and_cotangents)(args, jnp.asarray(_POOL))


def assert_alike(found: Any, expected: Any) -> None:
    """Same structure and containers; leaf by leaf the same type, shape, dtype, weak type and sharding.

    What is no array must be the same object.
    """
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        is_placed = all(isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer) for x in (a, b))
        ours, theirs = _face(a, is_placed), _face(b, is_placed)
        assert ours == theirs, f"{ours}, where JAX gives {theirs}"


def _face(x: Any, is_placed: bool) -> tuple[Any, ...]:
    """All that a leaf is beside its entries; its sharding is that of its type unless it is placed on devices.

    A number of JAX's own (`TypedFloat`, which JAX hands out where it should be an array) counts as an array.
    """
    is_array = isinstance(x, jax.Array) or type(x).__module__ == "jax._src.literals"
    if isinstance(x, np.ndarray):
        return (type(x), x.shape, x.dtype)
    if not is_array:
        return (type(x), x if isinstance(x, bool | int | float | complex | np.generic) else id(x))
    aval = jax.typeof(x)
    return (jax.Array, aval.shape, aval.dtype, aval.weak_type, x.sharding if is_placed else aval.sharding)


def assert_same(found: Any, expected: Any) -> None:
    """Alike, and all floating entries near; for what took more than one pass of rounding."""
    assert_alike(found, expected)
    for a, b in zip(_inexact(found), _inexact(expected), strict=True):
        assert_near(a, b, tolerance=1024)


def assert_near(found: Any, expected: Any, tolerance: float = 16.0) -> None:
    """Equal up to rounding; NaN and infinity where they are expected, and only there."""
    dtype = jnp.result_type(expected)
    wide = np.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else np.float64
    a, b = np.asarray(found).astype(wide), np.asarray(expected).astype(wide)
    finite = np.isfinite(b)
    np.testing.assert_array_equal(np.where(finite, 0, a), np.where(finite, 0, b))
    scale = np.max(np.abs(b[finite]), initial=0.0)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(a[finite], b[finite], rtol=0.0, atol=tolerance * eps * scale)


def _seeds(output: Any, pool: jax.Array) -> Any:
    """Cotangents like the output, taken from the pool (so that they are no constants, which XLA would fold)."""

    def seed(x: Any) -> Any:
        aval = jax.typeof(x)
        if not jnp.issubdtype(aval.dtype, jnp.inexact):
            return np.zeros(aval.shape, jax.dtypes.float0)
        parts = jnp.resize(pool, (2, *aval.shape))
        is_complex = jnp.issubdtype(aval.dtype, jnp.complexfloating)
        return (parts[0] + 1j * parts[1] if is_complex else parts[0]).astype(aval.dtype)

    return jax.tree.map(seed, output)


def _inexact(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if jnp.issubdtype(jnp.result_type(x), jnp.inexact)]


def _differentiable(args: Sequence[Any]) -> tuple[int, ...]:
    """The arguments all of whose leaves are floating or complex."""
    inexact = lambda x: jnp.issubdtype(jnp.result_type(x), jnp.inexact)
    return tuple(i for i, a in enumerate(args) if all(map(inexact, jax.tree.leaves(a))))


def _is_real_scalar(output: Any) -> bool:
    leaves, structure = jax.tree.flatten(output)
    if len(leaves) != 1 or not jax.tree_util.treedef_is_leaf(structure):
        return False
    aval = jax.typeof(leaves[0])
    return aval.shape == () and jnp.issubdtype(aval.dtype, jnp.floating)
