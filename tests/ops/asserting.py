"""What it means for a rule to be right, as `assert_*` helpers that name the op, the argument and the numbers.

The oracle is JAX's own derivative of the plain function, in float64. What costs is compiling, so there are few and
small programs: one of the op in each dtype, and one of its plain function, take a seed and run once for each; the
assertions that need them share them (`Programs`), the oracle also between dtypes.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcgrad.registry import Op

Arrays = list[Any]
SEEDS = ("random", "zero", "tiny", "huge", "first", "last")


class Flat:
    """An op applied to the inexact leaves of its arguments only, in a given dtype."""

    def __init__(self, op: Op, args: tuple[Any, ...], attributes: dict[str, Any], dtype: Any = np.float64):
        self.op, self.attributes, self.dtype = op, attributes, dtype
        leaves = jax.tree_util.tree_leaves_with_path(args)
        self.tree = jax.tree.structure(args)
        self.leaves = [jnp.asarray(x) for _, x in leaves]
        self.moving = [i for i, x in enumerate(self.leaves) if jnp.issubdtype(x.dtype, jnp.inexact)]
        self.names = [op.arguments[leaves[i][0][0].idx] + jax.tree_util.keystr(leaves[i][0][1:]) for i in self.moving]
        self.low = [cast(self.leaves[i], dtype) for i in self.moving]
        # The oracle sees the numbers after rounding, so that only the arithmetic differs.
        self.exact = [cast(x, np.float64) for x in self.low]

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

    def pulled(self, plain: bool) -> Callable[[Arrays, Arrays], tuple[Arrays, Arrays]]:
        """From inexact leaves and a seed: the outputs, and the cotangents of the leaves."""
        function = self.function(plain)

        def evaluate(moving: Arrays, seed: Arrays) -> tuple[Arrays, Arrays]:
            outputs, pull = jax.vjp(function, *moving)
            return outputs, pull(seed)

        return evaluate

    @cached_property
    def outputs(self) -> Sequence[Any]:
        """The shapes and dtypes of the inexact outputs."""
        return jax.eval_shape(self.function(plain=False), *self.low)

    def seeds(self) -> dict[str, Arrays]:
        """Cotangents: random, zero, of extreme size, and at a single entry."""
        rng = np.random.default_rng(1)
        outputs = self.outputs
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
        return {n: [cast(d, y.dtype) for d, y in zip(ds, outputs, strict=True)] for n, ds in made.items()}


def cast(x: Any, dtype: Any) -> np.ndarray:
    """An array in another dtype, by numpy: JAX would compile a program for each shape."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(x).astype(dtype)


class Programs:
    """The compiled programs of an op at some arguments: its own in each dtype, and the oracle in float64.

    The last one made is kept, as tests of the same case follow each other.
    """

    _last: "Programs | None" = None

    def __init__(self, op: Op, args: tuple[Any, ...], attributes: dict[str, Any]):
        self.op, self.args, self.attributes = op, args, attributes
        self.flat = Flat(op, args, attributes)
        self.oracle = jax.jit(self.flat.pulled(plain=True))
        self._ours: dict[Any, tuple[Flat, Callable[..., Any]]] = {}

    @classmethod
    def of(cls, op: Op, args: tuple[Any, ...], attributes: dict[str, Any]) -> "Programs":
        """Those of the last call, if it was for the same."""
        last = cls._last
        if last is None or last.op is not op or last.args is not args or last.attributes is not attributes:
            last = cls._last = cls(op, args, attributes)
        return last

    def ours(self, dtype: Any) -> tuple[Flat, Callable[..., Any]]:
        """The arguments in a dtype, and the program of the op there."""
        if dtype not in self._ours:
            flat = Flat(self.op, self.args, self.attributes, dtype)
            self._ours[dtype] = flat, jax.jit(flat.pulled(plain=False))
        return self._ours[dtype]


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
    found, expected = (cast(cast(x, dtype), np.float64) for x in (found, expected))
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


def step_by_step(function: Callable[[Arrays, Arrays], Any]) -> Callable[[Arrays, Arrays], Any]:
    """Run without compiling it whole, on arrays of JAX, as a jitted function gets them."""
    return lambda moving, seed: function(*jax.tree.map(jnp.asarray, (moving, seed)))


def assert_rule(
    op: Op, args: tuple[Any, ...], attributes: dict[str, Any], dtype: Any = np.float64, jit: bool = True
) -> None:
    """Forward and every cotangent, for every kind of seed, against the oracle."""
    programs = Programs.of(op, args, attributes)
    flat, ours = programs.ours(dtype)
    oracle = programs.oracle
    if not jit:
        ours, oracle = (step_by_step(flat.pulled(plain)) for plain in (False, True))
    ulps = 8 if jnp.finfo(dtype).bits == 16 else 16
    for seed, low in flat.seeds().items():
        outputs, cotangents = ours(flat.low, low)
        expected_outputs, expected = oracle(flat.exact, [cast(s, np.float64) for s in low])
        for y, y0 in zip(outputs, expected_outputs, strict=True):
            assert_close(y, y0, f"{op.name}: output", dtype, ulps)
        for name, x, c, c0 in zip(flat.names, flat.low, cotangents, expected, strict=True):
            assert c.dtype == x.dtype, f"{op.name}: cotangent of {name} is {c.dtype} instead of {x.dtype}"
            assert_close(c, c0, f"{op.name}: cotangent of {name} for a {seed} seed", dtype, ulps)


def assert_vmap(op: Op, args: tuple[Any, ...], attributes: dict[str, Any], batched: Sequence[int]) -> None:
    """`vmap` of the op and of its gradient, and the gradient of its `vmap`, with some leaves batched.

    The oracle takes the examples one by one, so it knows nothing of `vmap`: what all examples share gets the sum.
    """
    programs = Programs.of(op, args, attributes)
    flat = programs.flat
    if not flat.moving:
        return
    axes = tuple(0 if i in batched else None for i in range(len(flat.moving)))
    rng = np.random.default_rng(2)
    inputs = [
        np.stack([x, x + rng.normal(size=x.shape), x * 0.5]) if i in batched else x for i, x in enumerate(flat.exact)
    ]
    shared, each = ([_weights(y.shape) for y in flat.outputs], [_weights((3, *y.shape)) for y in flat.outputs])

    @jax.jit
    def ours(inputs: Arrays, shared: Arrays, each: Arrays) -> Any:
        function = flat.function(plain=False)
        outputs, pull = jax.vjp(jax.vmap(function, in_axes=axes), *inputs)
        pull_one = lambda *moving: jax.vjp(function, *moving)[1](shared)
        return outputs, pull(each), jax.vmap(pull_one, in_axes=axes)(*inputs)

    def one_by_one(seeds: Sequence[Arrays]) -> tuple[Arrays, Arrays]:
        at = lambda i: [x[i] if axis == 0 else x for x, axis in zip(inputs, axes, strict=True)]
        found = [programs.oracle(at(i), list(seed)) for i, seed in enumerate(seeds)]
        return [np.stack(ys) for ys in zip(*(y for y, _ in found), strict=True)], [
            np.stack(cs) for cs in zip(*(c for _, c in found), strict=True)
        ]

    outputs, cotangents = one_by_one(list(zip(*each, strict=True)))
    of_vmap = [c if axis == 0 else c.sum(0) for c, axis in zip(cotangents, axes, strict=True)]
    oracle = outputs, of_vmap, one_by_one([shared] * 3)[1]
    for what, found, expected in zip(
        ("vmap", "grad of vmap", "vmap of grad"), ours(inputs, shared, each), oracle, strict=True
    ):
        for name, a, b in zip(_names(flat, found), found, expected, strict=True):
            assert_close(a, b, f"{op.name}: {what} of {name}, leaves {list(batched)} batched")


def _names(flat: Flat, found: Sequence[Any]) -> list[str]:
    return flat.names if len(found) == len(flat.names) else ["output"] * len(found)


def _weights(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(5).normal(size=shape)


def assert_second_order(op: Op, args: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """Reverse over reverse, forward over reverse, reverse over forward, and <g, J t> = <J^T g, t>.

    All three are the Hessian times a tangent, which the oracle takes forward over reverse.
    """
    flat = Flat(op, args, attributes)
    rng = np.random.default_rng(3)
    tangents = [rng.normal(size=x.shape) for x in flat.exact]

    def scalar_of(plain: bool) -> Callable[[Arrays], jax.Array]:
        function = flat.function(plain)
        return lambda moving: sum(jnp.vdot(_weights(y.shape), jnp.sin(y)) for y in function(*moving))

    @jax.jit
    def ours(moving: Arrays, tangents: Arrays) -> dict[str, Any]:
        scalar = scalar_of(plain=False)

        def slope(moving: Arrays) -> jax.Array:
            return sum(jnp.vdot(g, t) for g, t in zip(jax.grad(scalar)(moving), tangents, strict=True))

        def push(moving: Arrays) -> jax.Array:
            return jax.jvp(scalar, (moving,), (tangents,))[1]

        by_reverse, reverse_over_reverse = jax.value_and_grad(slope)(moving)
        forward, reverse_over_forward = jax.value_and_grad(push)(moving)
        return {
            "reverse over reverse": reverse_over_reverse,
            "forward over reverse": jax.jvp(jax.grad(scalar), (moving,), (tangents,))[1],
            "reverse over forward": reverse_over_forward,
            "forward": [forward],
            "forward by reverse": [by_reverse],
        }

    @jax.jit
    def oracle(moving: Arrays, tangents: Arrays) -> tuple[Arrays, Arrays]:
        scalar = scalar_of(plain=True)
        gradient, product = jax.jvp(jax.grad(scalar), (moving,), (tangents,))
        return product, [sum(jnp.vdot(g, t) for g, t in zip(gradient, tangents, strict=True))]

    found = ours(flat.exact, tangents)
    product, directional = oracle(flat.exact, tangents)
    for what, values in found.items():
        expected = directional if what.startswith("forward") and "over" not in what else product
        for name, a, b in zip(_names(flat, values), values, expected, strict=True):
            assert_close(a, b, f"{op.name}: {what} with respect to {name}", floor=1e-13)
    assert_close(
        found["forward"][0], found["forward by reverse"][0], f"{op.name}: <g, J t> against <J^T g, t>", floor=1e-13
    )


def assert_nan_propagates(op: Op, args: tuple[Any, ...], attributes: dict[str, Any]) -> None:
    """A NaN in any argument reaches the output where the plain function lets it; one in `g`, every cotangent."""
    programs = Programs.of(op, args, attributes)
    flat, ours = programs.ours(np.float64)
    seed = [np.ones(y.shape) for y in flat.outputs]
    for i, target in enumerate(flat.exact):
        if target.size:
            poisoned = list(flat.exact)
            poisoned[i] = target.copy()
            poisoned[i][(0,) * target.ndim] = np.nan
            found, expected = (jax.tree.map(np.isnan, f(poisoned, seed)[0]) for f in (ours, programs.oracle))
            assert all(map(np.array_equal, found, expected)), f"{op.name}: NaN lost forward"

    of_nan = [np.full(y.shape, np.nan) for y in flat.outputs]
    pulled = [jax.tree.map(np.isnan, f(flat.exact, of_nan)[1]) for f in (ours, programs.oracle)]
    for name, a, b in zip(flat.names, *pulled, strict=True):
        # A rule may select where the oracle multiplies by 0, so it may give fewer NaNs, but not none.
        assert np.any(a) == np.any(b), f"{op.name}: NaN in g lost on the way to {name}"
        assert not np.any(a & ~b), f"{op.name}: NaN from nowhere in the cotangent of {name}"
