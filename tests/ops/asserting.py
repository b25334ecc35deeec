"""What it means for a rule to be right, as `assert_*` helpers that name the op, the argument and the numbers.

The oracle is JAX's own derivative of the plain function, in float64. Everything of one check runs in two compiled
functions, one for the op and one for the plain function.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.registry import Op

Arrays = list[jax.Array]
SEEDS = ("random", "zero", "tiny", "huge", "first", "last")


class Flat:
    """An op applied to the inexact leaves of its arguments only, in a given dtype."""

    def __init__(self, op: Op, args: tuple[Any, ...], attributes: dict[str, Any], dtype: Any = np.float64):
        self.op, self.attributes = op, attributes
        leaves = jax.tree_util.tree_leaves_with_path(args)
        self.tree = jax.tree.structure(args)
        self.leaves = [jnp.asarray(x) for _, x in leaves]
        self.moving = [i for i, x in enumerate(self.leaves) if jnp.issubdtype(x.dtype, jnp.inexact)]
        self.names = [op.arguments[leaves[i][0][0].idx] + jax.tree_util.keystr(leaves[i][0][1:]) for i in self.moving]
        self.low = [self.leaves[i].astype(dtype) for i in self.moving]
        # The oracle sees the numbers after rounding, so that only the arithmetic differs.
        self.exact = [x.astype(np.float64) for x in self.low]

    def function(self, plain: bool) -> Callable[..., Arrays]:
        """The op, or its plain function, from inexact leaves to inexact output leaves."""
        call = self.op.function if plain else self.op

        def flat(*moving: jax.Array) -> Arrays:
            leaves = list(self.leaves)
            for i, x in zip(self.moving, moving, strict=True):
                leaves[i] = x
            outputs = jax.tree.leaves(call(*jax.tree.unflatten(self.tree, leaves), **self.attributes))
            return [y for y in outputs if jnp.issubdtype(y.dtype, jnp.inexact)]

        return flat

    def seeds(self, outputs: Sequence[Any]) -> dict[str, Arrays]:
        """Cotangents: random, zero, of extreme size, and at a single entry."""
        rng = np.random.default_rng(1)
        dtype = outputs[0].dtype
        draw = [rng.normal(size=y.shape) for y in outputs]
        size = 1e4 if dtype == np.float16 else 1e20
        made = {
            "random": draw,
            "zero": [np.zeros(y.shape) for y in outputs],
            "tiny": [d / size if dtype != np.float16 else d * 2**-8 for d in draw],
            "huge": [d * (size if dtype != np.float16 else 16) for d in draw],
            "first": [_one_hot(y.shape, 0) for y in outputs],
            "last": [_one_hot(y.shape, -1) for y in outputs],
        }
        return {n: [jnp.asarray(d).astype(y.dtype) for d, y in zip(ds, outputs, strict=True)] for n, ds in made.items()}


def _one_hot(shape: tuple[int, ...], where: int) -> np.ndarray:
    out = np.zeros(shape)
    if out.size:
        out.flat[where] = 1.0
    return out


def assert_close(
    found: Any, expected: Any, what: str, dtype: Any = np.float64, ulps: float = 0, floor: float = 0.0
) -> None:
    """Equal in shape and, NaN and infinity included, in value: 1e-10 in float64, `ulps` units otherwise.

    The unit is one rounding of the largest entry, since a sum's error is relative to its terms. `floor` is an
    error always allowed, for sums whose terms cancel to nothing.
    """
    # Rounding the oracle turns what the dtype cannot hold into infinity, as it should be.
    found, expected = (np.asarray(jnp.asarray(x).astype(dtype), np.float64) for x in (found, expected))
    assert found.shape == expected.shape, f"{what}: shape {found.shape} instead of {expected.shape}"
    assert np.array_equal(np.isfinite(found), np.isfinite(expected)), f"{what}: NaN or infinity differs"
    finite = np.isfinite(expected)
    assert np.array_equal(found[~finite], expected[~finite], equal_nan=True), f"{what}: NaN or infinity differs"
    if not finite.any():
        return
    scale = np.abs(expected[finite]).max()
    unit = 1e-10 if dtype == np.float64 else ulps * float(jnp.finfo(dtype).eps)
    error = np.abs(found[finite] - expected[finite]).max()
    assert error <= unit * scale + 4 * float(jnp.finfo(dtype).tiny) + floor, (
        f"{what}: off by {error:.3g} where the largest entry is {scale:.3g}; allowed {unit * scale:.3g}"
    )


def assert_rule(
    op: Op, args: tuple[Any, ...], attributes: dict[str, Any], dtype: Any = np.float64, jit: bool = True
) -> None:
    """Forward and every cotangent, for every kind of seed, against the oracle."""
    flat = Flat(op, args, attributes, dtype)
    plain, ours = flat.function(plain=True), flat.function(plain=False)
    seeds = flat.seeds(jax.eval_shape(ours, *flat.low))
    wide = {n: [s.astype(np.float64) for s in ss] for n, ss in seeds.items()}

    def both(function: Callable[..., Arrays]) -> Callable[..., Any]:
        def evaluate(moving: Arrays, seeds: dict[str, Arrays]) -> tuple[Arrays, dict[str, Any]]:
            outputs, pull = jax.vjp(function, *moving)
            return outputs, {n: pull(s) for n, s in seeds.items()}

        return jax.jit(evaluate) if jit else evaluate

    outputs, cotangents = both(ours)(flat.low, seeds)
    expected_outputs, expected = both(plain)(flat.exact, wide)
    ulps = 8 if jnp.finfo(dtype).bits == 16 else 16
    for y, y0 in zip(outputs, expected_outputs, strict=True):
        assert_close(y, y0, f"{op.name}: output", dtype, ulps)
    for seed in seeds:
        for name, x, c, c0 in zip(flat.names, flat.low, cotangents[seed], expected[seed], strict=True):
            assert c.dtype == x.dtype, f"{op.name}: cotangent of {name} is {c.dtype} instead of {x.dtype}"
            assert_close(c, c0, f"{op.name}: cotangent of {name} for a {seed} seed", dtype, ulps)


def assert_vmap(op: Op, args: tuple[Any, ...], attributes: dict[str, Any], batched: Sequence[int]) -> None:
    """`vmap` of the op and of its gradient, and the gradient of its `vmap`, with some leaves batched."""
    flat = Flat(op, args, attributes)
    if not flat.moving:
        return
    axes = tuple(0 if i in batched else None for i in range(len(flat.moving)))
    rng = np.random.default_rng(2)
    inputs = [
        jnp.stack([x, x + rng.normal(size=x.shape), x * 0.5]) if i in batched else x for i, x in enumerate(flat.exact)
    ]

    def everything(plain: bool) -> Any:
        function = flat.function(plain)

        @jax.jit
        def evaluate(*inputs: jax.Array) -> Any:
            mapped = jax.vmap(function, in_axes=axes)
            outputs, pull = jax.vjp(mapped, *inputs)
            weights = [_weights(y.shape) for y in outputs]

            def scalar(*moving: jax.Array) -> jax.Array:
                return sum(jnp.vdot(_weights(y.shape), y) for y in function(*moving))

            per_example = jax.vmap(jax.grad(scalar, argnums=tuple(range(len(inputs)))), in_axes=axes)(*inputs)
            return outputs, pull(weights), per_example

        return evaluate(*inputs)

    ours, oracle = everything(plain=False), everything(plain=True)
    for what, found, expected in zip(("vmap", "grad of vmap", "vmap of grad"), ours, oracle, strict=True):
        for name, a, b in zip(_names(flat, found), found, expected, strict=True):
            assert_close(a, b, f"{op.name}: {what} of {name}, leaves {list(batched)} batched")


def _names(flat: Flat, found: Sequence[Any]) -> list[str]:
    return flat.names if len(found) == len(flat.names) else ["output"] * len(found)


def _weights(shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(5).normal(size=shape))


def assert_second_order(op: Op, args: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """Reverse over reverse, forward over reverse, reverse over forward, and <g, J t> = <J^T g, t>."""
    flat = Flat(op, args, attributes)
    rng = np.random.default_rng(3)
    tangents = [jnp.asarray(rng.normal(size=x.shape)) for x in flat.exact]

    def everything(plain: bool) -> Any:
        function = flat.function(plain)

        @jax.jit
        def evaluate(moving: Arrays) -> Any:
            def scalar(moving: Arrays) -> jax.Array:
                return sum(jnp.vdot(_weights(y.shape), jnp.sin(y)) for y in function(*moving))

            def slope(moving: Arrays) -> jax.Array:
                return sum(jnp.vdot(g, t) for g, t in zip(jax.grad(scalar)(moving), tangents, strict=True))

            return {
                "reverse over reverse": jax.grad(slope)(moving),
                "forward over reverse": jax.jvp(jax.grad(scalar), (moving,), (tangents,))[1],
                "reverse over forward": jax.grad(lambda m: jax.jvp(scalar, (m,), (tangents,))[1])(moving),
                "forward": [jax.jvp(scalar, (moving,), (tangents,))[1]],
                "forward by reverse": [slope(moving)],
            }

        return evaluate(flat.exact)

    ours, oracle = everything(plain=False), everything(plain=True)
    for what, found in ours.items():
        for name, a, b in zip(_names(flat, found), found, oracle[what], strict=True):
            assert_close(a, b, f"{op.name}: {what} with respect to {name}", floor=1e-13)
    assert_close(
        ours["forward"][0], ours["forward by reverse"][0], f"{op.name}: <g, J t> against <J^T g, t>", floor=1e-13
    )


def assert_nan_propagates(op: Op, args: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """A NaN in any argument reaches the output where the plain function lets it; one in `g`, every cotangent."""
    flat = Flat(op, args, attributes)
    plain, ours = flat.function(plain=True), flat.function(plain=False)
    poisoned = [[x.at[(0,) * x.ndim].set(jnp.nan) if i == j else x for j, x in enumerate(flat.exact)]
                for i, target in enumerate(flat.exact) if target.size]  # fmt: skip
    for moving in poisoned:
        found, expected = (jax.tree.map(np.isnan, f(*moving)) for f in (ours, plain))
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)), f"{op.name}: NaN lost forward"

    def pulled(function: Callable[..., Arrays]) -> Any:
        outputs, pull = jax.vjp(function, *flat.exact)
        return jax.tree.map(np.isnan, pull([jnp.full(y.shape, jnp.nan) for y in outputs]))

    for name, a, b in zip(flat.names, pulled(ours), pulled(plain), strict=True):
        # A rule may select where the oracle multiplies by 0, so it may give fewer NaNs, but not none.
        assert np.any(a) == np.any(b), f"{op.name}: NaN in g lost on the way to {name}"
        assert not np.any(a & ~b), f"{op.name}: NaN from nowhere in the cotangent of {name}"
