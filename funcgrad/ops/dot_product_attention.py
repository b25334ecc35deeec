"""Attention: softmax-weighted sums over a sequence, with the weights made again in the pullback.

Axes: `b` any leading axes, `t` queries, `s` keys, `h` query heads, `n` key heads (`h` a multiple of `n`), `d`
features. Inside, heads stand before time, so that every product is one batched matrix product:

    z = scale q kᵀ + bias,   e = exp(z - max_s z),   l = Σ_s e,   y = e v / l.

The weights `p = e / l` are never formed. With `ĝ = g / l` and `δ = Σ_d ĝ y = Σ_s p g·v` the pullback is

    v_bar = eᵀ ĝ,   z_bar = e (ĝ vᵀ - δ),   q_bar = scale z_bar k,   k_bar = scale z_barᵀ q,   bias_bar = z_bar:

one pass over a `t s` array beside the products, since normalizing is left to arrays of size `t d`. Products that
contract over `t` are written with `d` in front of `s`, which reads `e` and `z_bar` as they lie in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from funcgrad.aliases import Array
from funcgrad.errors import describe
from funcgrad.ops.contraction import accumulator, narrow, widen
from funcgrad.registry import Marker, op
from funcgrad.registry.rule import unbroadcast

STRIPS = 4
"""A causal call is cut into at most so many strips of queries, each with its own keys: 5/8 of the products remain.

More leave out more and cost more to compile: both passes over `[2, 1024, 4, 64]` on CPU take 87 ms uncut, 77 in two
strips, 65 in four, 63 in eight, and 0.35, 0.5, 1.0 and 1.8 s to compile (processor time).
"""
STRIP = 64
"""Strips have at least so many queries: thinner ones cost more in small products than they leave out. Of 256 queries, 4
strips take 2.8 ms, 8 take 3.1, and 16 take 4.8."""


@op(core_axes=3)
def attention(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None = None,
    mask: Array | None = None,
    *,
    causal: bool = False,
    scale: int | float | None = None,
    block: int | None = None,
) -> Array:
    """`y = softmax(scale q kᵀ + bias) v` head by head: `q[..., t, h, d]`, `k[..., s, n, d]`, `v[..., s, n, d]`.

    Query head `i` reads key head `i // (h / n)`. `bias` (added) and the boolean `mask` (True: attend) broadcast to
    `[..., h, t, s]`, leading axes broadcast as numpy's do, and the output is `[..., t, h, d]`. With `causal`,
    query `i` sees the keys `j <= i`, counted from the start of both even where `t != s`, as in
    `jax.nn.dot_product_attention`. A query that sees no key gets output 0 and gives gradient 0.

    Keeps `q`, `k`, `v`, the output, and two numbers per query and head (`highest` and `total`, the max and Σ e of
    the module's formulas): no `[t, s]` array. The pullback (formulas: module docstring) writes `exp(z - max)` as
    the forward does, so a compiler that sees both computes it once and stores it. With `block`, both walk over
    that many queries at a time, and nothing of size `t s` exists, at the price of making `z` twice. A causal call
    leaves out most of the masked half of the products. Softmax and sums are in float32 at least.
    Sources: Vaswani et al. 2017, eq. 1; Ainslie et al. 2023 (grouped heads); Rabe and Staats 2021 and Dao et al.
    2022, algorithm 4 (the blocked form and its pullback).

    Args:
        q: queries.
        k: keys.
        v: values.
        bias: added to the scaled products.
        mask: True where a query may attend to a key.
        causal: whether a query sees only keys that do not come after it.
        scale: factor on the products; `1/√d` by default.
        block: queries at a time; None for all at once, best for `t` up to about a thousand.

    Returns:
        `y[..., t, h, e]`, `e` the features of `v`, in the dtype of `q`.

    Raises:
        ShapeError: the shapes do not fit each other, the mask is not boolean, the block is not positive, or `q`, `k`
            and `v` are of several dtypes or of integers.

    Example:
        >>> q, k = jnp.ones((2, 5, 4, 8)), jnp.ones((2, 7, 2, 8))  # 4 query heads share 2 of keys and values
        >>> fg.ops.attention(q, k, k).shape
        (2, 5, 4, 8)
        >>> v = jnp.arange(3.0).reshape(3, 1, 1)
        >>> print(fg.ops.attention(jnp.ones((3, 1, 1)), jnp.ones((3, 1, 1)), v, causal=True)[:, 0, 0])
        [0.  0.5 1. ]
    """
    return _attend(q, k, v, bias, mask, causal, scale, block)[0]


@attention.saving("highest", "total")
def attention_saving(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None,
    mask: Array | None,
    *,
    causal: bool,
    scale: int | float | None,
    block: int | None,
) -> tuple[Array, dict[str, Array]]:
    """The output, and max and Σ e per row of logits, `[..., h, t]`."""
    y, highest, total = _attend(q, k, v, bias, mask, causal, scale, block)
    return y, {"highest": highest, "total": total}


@attention.pullback("q", "k", "v", "bias")
def attention_all(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None,
    mask: Array | None,
    y: Array,
    highest: Array,
    total: Array,
    causal: bool,
    scale: int | float | None,
    block: int | None,
) -> dict[str, Array | tuple[()]]:
    """All four cotangents, since they share `z_bar`."""
    rows = _rows(q, k, v, bias, mask, causal, scale)
    delta = jnp.moveaxis(jnp.sum(widen(g) * widen(y), axis=-1), -1, -2) / total
    g = (widen(_heads_first(g)) / total[..., None]).astype(rows.q.dtype)
    cotangents = _Cotangents(g, delta[..., None], highest[..., None])
    strips = _strips(rows.n_queries, rows.n_keys, causal, block)
    parts = [_pull(rows.strip(*strip), cotangents.part(strip[0], strip[1] - strip[0]), block) for strip in strips]
    q_bar = jnp.concatenate([p.q for p in parts], axis=-2)
    k_bar, v_bar = (_sum_prefixes(xs, rows.n_keys) for xs in ([p.k for p in parts], [p.v for p in parts]))
    biases = [p.bias for p in parts if p.bias is not None]
    return {
        "q": jnp.moveaxis(q_bar, -2, -3) * rows.scale,
        "k": jnp.moveaxis(k_bar, -1, -3) * rows.scale,
        "v": jnp.moveaxis(v_bar, -1, -3),
        "bias": () if rows.bias is None else _join_bias(biases, rows.bias.shape[-2], rows.n_keys),
    }


attention.mark(mask=Marker.NON_DIFFERENTIABLE)


@dataclass(frozen=True)
class _Rows:
    """Some queries, and the keys, values, biases and mask entries that they meet."""

    q: Array
    """`[..., h, t, d]`"""
    k: Array
    """`[..., n, s, d]`"""
    v: Array
    """`[..., n, s, e]`"""
    bias: Array | None
    """`[..., h or 1, t or 1, s or 1]`, as the mask."""
    mask: Array | None
    causal: bool
    scale: int | float
    first: int | Array = 0
    """The number of the first query."""

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return self.q.shape[-2]

    @property
    def n_keys(self) -> int:
        """Number of keys."""
        return self.k.shape[-2]

    def strip(self, start: int, stop: int, n_keys: int) -> "_Rows":
        """Queries `start` to `stop` and the first `n_keys` keys."""
        axes = {"k": -2, "v": -2, "bias": -1, "mask": -1}
        parts = {n: _part(x, 0, n_keys, axis) for n, axis in axes.items() if (x := getattr(self, n)) is not None}
        return replace(self, **parts).part(start, stop - start)

    def part(self, start: int | Array, size: int) -> "_Rows":
        """`size` queries from `start` on."""
        names = ("q", "bias", "mask")
        parts = {n: _part(x, start, size, axis=-2) for n in names if (x := getattr(self, n)) is not None}
        return replace(self, **parts, first=self.first + start)

    def logits(self) -> Array:
        """`z = scale q kᵀ + bias`, the lowest number where masked: `[..., h, t, s]`.

        The lowest and not minus infinity, which `jax_debug_infs` takes for a fault of the program. What is seen is
        above it, so that `e^{z - max z}` alone tells the two apart: a second choice by the mask takes an array more
        (0.84 instead of 0.74 of plain JAX's memory in the transformer of the benchmark).
        """
        z = _ungroup(_product(_group(self.q, self.k), self.k, -1, -1), self.q) * self.scale
        if self.bias is not None:
            z = z + self.bias.astype(z.dtype)
        seen = self.mask
        if self.causal:
            earlier = self.first + lax.broadcasted_iota(jnp.int32, z.shape[-2:], 0)
            earlier = earlier >= lax.broadcasted_iota(jnp.int32, z.shape[-2:], 1)
            earlier = lax.expand_dims(earlier, range(z.ndim - 2))
            seen = earlier if seen is None else seen & earlier
        if seen is None:
            return z
        # A bias of minus infinity masks too; a NaN is seen.
        return jnp.where(seen & ~(z < jnp.finfo(z.dtype).min), jnp.maximum(z, _least_seen(z)), jnp.finfo(z.dtype).min)


class _Cotangents(NamedTuple):
    """What the pullback of some queries reads beside them."""

    g: Array
    """`ĝ = g / l`: `[..., h, t, e]`."""
    delta: Array
    """`Σ_e ĝ y`: `[..., h, t, 1]`."""
    highest: Array
    """The largest logit: `[..., h, t, 1]`."""

    def part(self, start: int | Array, size: int) -> "_Cotangents":
        """`size` queries from `start` on."""
        return _Cotangents(*(_part(x, start, size, axis=-2) for x in self))


class _Pulled(NamedTuple):
    """Cotangents from some queries, those of `q` and `k` still without the scale."""

    q: Array
    """`[..., h, t, d]`"""
    k: Array
    """`[..., n, d, s]`"""
    v: Array
    """`[..., n, e, s]`"""
    bias: Array | None
    """As the bias, in the accumulator's dtype."""


def _attend(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None,
    mask: Array | None,
    causal: bool,
    scale: int | float | None,
    block: int | None,
) -> tuple[Array, Array, Array]:
    _check(q, k, v, bias, mask, block)
    rows = _rows(q, k, v, bias, mask, causal, scale)
    strips = _strips(rows.n_queries, rows.n_keys, causal, block)
    parts = zip(*(_forward(rows.strip(*strip), block) for strip in strips), strict=True)
    y, highest, total = (jnp.concatenate(xs, axis=-2) for xs in parts)
    return narrow(jnp.moveaxis(y, -2, -3), q), highest[..., 0], total[..., 0]


def _forward(rows: _Rows, block: int | None) -> tuple[Array, Array, Array]:
    """The output `[..., h, t, e]`, and per row the largest logit and `Σ e`, which is 1 where no key is seen."""
    if block is not None and rows.n_queries > block:
        starts = jnp.arange(0, rows.n_queries, block, dtype=jnp.int32)
        blocks = lax.map(lambda start: _forward(rows.part(start, block), None), starts)
        return jax.tree.map(_unstack, blocks)
    z = rows.logits()
    highest = lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True, initial=_least_seen(z)))
    e = jnp.exp(z - highest)
    total = jnp.sum(e, axis=-1, keepdims=True)
    total = jnp.where(total == 0, 1, total)
    y = _product(_group(e, rows.k).astype(rows.v.dtype), rows.v, -1, -2)
    return _ungroup(y, rows.q) / total, highest, total


def _least_seen(z: Array) -> np.ndarray:
    """The least number above the lowest one, so far above that its exponential is the only one that counts."""
    return np.asarray(np.nextafter(jnp.finfo(z.dtype).min, np.zeros((), z.dtype), dtype=z.dtype))


def _pull(rows: _Rows, given: _Cotangents, block: int | None) -> _Pulled:
    """The pullback of `_forward`; with blocks, `k_bar` and `v_bar` are added up on the way."""
    if block is not None and rows.n_queries > block:

        def step(sums: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], tuple[Array, Array | None]]:
            pulled = _pull(rows.part(start, block), given.part(start, block), None)
            return (sums[0] + pulled.k, sums[1] + pulled.v), (pulled.q, pulled.bias)

        k_zero, v_zero = (jnp.zeros_like(jnp.swapaxes(x, -1, -2), accumulator(x.dtype)) for x in (rows.k, rows.v))
        starts = jnp.arange(0, rows.n_queries, block, dtype=jnp.int32)
        (k_bar, v_bar), (q_bar, bias_bar) = lax.scan(step, (k_zero, v_zero), starts)
        one_row = rows.bias is not None and rows.bias.shape[-2] == 1
        bias_bar = jax.tree.map(lambda x: jnp.sum(x, axis=0) if one_row else _unstack(x), bias_bar)
        return _Pulled(_unstack(q_bar), k_bar, v_bar, bias_bar)
    e = jnp.exp(rows.logits() - given.highest)
    g = _group(given.g, rows.k)
    p_bar = _ungroup(_product(g, rows.v, -1, -1), rows.q)
    z_bar = jnp.where(e == 0, 0, e * (p_bar - given.delta))  # what is masked gets no NaN of g either
    bias_bar = None
    if rows.bias is not None:
        bias_bar = unbroadcast(z_bar, jax.ShapeDtypeStruct(rows.bias.shape, z_bar.dtype))
    z_bar = _group(z_bar, rows.k).astype(rows.q.dtype)
    return _Pulled(
        q=_ungroup(_product(z_bar, rows.k, -1, -2), rows.q),
        k=_product(_group(rows.q, rows.k), z_bar, -2, -2),
        v=_product(g, _group(e, rows.k).astype(g.dtype), -2, -2),
        bias=bias_bar,
    )


def _strips(t: int, s: int, causal: bool, block: int | None) -> Iterator[tuple[int, int, int]]:
    """Ranges of queries, and how many keys they meet; a `block` divides every range longer than itself."""
    height = max(-(-t // STRIPS), STRIP) if causal else max(t, 1)
    edges = {*range(0, t, height), t}
    if block is not None and block < height:
        edges = {*range(0, t, -(-height // block) * block), t - t % block, t}
    for start, stop in list(pairwise(sorted(edges))) or [(0, t)]:
        yield start, stop, min(stop, s) if causal else s


def _rows(
    q: Array,
    k: Array,
    v: Array,
    bias: Array | None,
    mask: Array | None,
    causal: bool,
    scale: int | float | None,
) -> _Rows:
    """All queries, heads first, leading axes made equal; float16, in which small weights vanish, as float32."""
    leading = jnp.broadcast_shapes(*(x.shape[:-3] for x in (q, k, v, bias, mask) if x is not None))
    q, k, v = (_heads_first(jnp.broadcast_to(x, leading + x.shape[-3:])) for x in (q, k, v))
    if q.dtype == jnp.float16:
        q, k, v = widen(q), widen(k), widen(v)
    bias, mask = (None if x is None else lax.expand_dims(x, range(q.ndim - x.ndim)) for x in (bias, mask))
    return _Rows(q, k, v, bias, mask, causal, 1 / sqrt(q.shape[-1]) if scale is None else scale)


def _heads_first(x: Array) -> Array:
    """`[..., t, h, d] -> [..., h, t, d]`."""
    return jnp.swapaxes(x, -2, -3)


def _group(x: Array, k: Array) -> Array:
    """`[..., h, t, d] -> [..., n, (h/n) t, d]`: the queries of all heads that read one head of `k`."""
    *leading, h, t, d = x.shape
    return x.reshape(*leading, k.shape[-3], h // k.shape[-3] * t, d)


def _ungroup(x: Array, q: Array) -> Array:
    """`_group` undone, back to the heads and queries of `q`."""
    return x.reshape(*q.shape[:-1], x.shape[-1])


def _product(a: Array, b: Array, i: int, j: int) -> Array:
    """The sum over axis `i` of `a` and `j` of `b`, both among the last two; all others are batch axes."""
    batch = tuple(range(a.ndim - 2))
    return lax.dot_general(
        a,
        b,
        (((a.ndim + i,), (b.ndim + j,)), (batch, batch)),
        preferred_element_type=accumulator(a.dtype),
    )


def _part(x: Array, start: int | Array, size: int, axis: int) -> Array:
    """`size` entries along `axis`; a size-1 axis, which broadcasts, stays."""
    if x.shape[axis] in (1, size):
        return x
    if isinstance(start, int):
        return lax.slice_in_dim(x, start, start + size, axis=axis)
    return lax.dynamic_slice_in_dim(x, start, size, axis=axis)


def _unstack(x: Array) -> Array:
    """Blocks of rows as rows: `[blocks, ..., t, d] -> [..., blocks t, d]`."""
    x = jnp.moveaxis(x, 0, -3)
    return x.reshape(*x.shape[:-3], x.shape[-3] * x.shape[-2], x.shape[-1])


def _sum_prefixes(parts: Sequence[Array], size: int) -> Array:
    """The sum of arrays that reach to different places of a last axis of that size."""
    first, *rest = (jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, size - x.shape[-1])]) for x in parts)
    return sum(rest, first)


def _join_bias(parts: Sequence[Array], n_rows: int, n_keys: int) -> Array:
    """The bias's cotangent from those of the strips: one below the other, or their sum where one row serves all."""
    if n_rows == 1:
        return _sum_prefixes(parts, n_keys)
    return jnp.concatenate([_sum_prefixes([x], n_keys) for x in parts], axis=-2)


def _check(q: Array, k: Array, v: Array, bias: Array | None, mask: Array | None, block: int | None) -> None:
    """ValueError unless the arguments fit each other."""
    if min(q.ndim, k.ndim, v.ndim) < 3 or (q.shape[-1], *k.shape[-3:-1]) != (k.shape[-1], *v.shape[-3:-1]):
        raise ValueError("q must be [..., t, h, d], k [..., s, n, d] and v [..., s, n, e]")
    h, n = q.shape[-2], k.shape[-2]
    if n == 0 or h % n:
        raise ValueError(f"the number of query heads must be a multiple of the number of key heads, got {h} and {n}")
    if not q.dtype == k.dtype == v.dtype:
        raise ValueError("q, k and v must have one dtype")
    if mask is not None and mask.dtype != bool:
        raise ValueError(f"mask must be boolean (True: attend), got {mask.dtype}; an additive one is a bias")
    logits = (h, q.shape[-3], k.shape[-3])
    for name, x in (("bias", bias), ("mask", mask)):
        if x is not None and any(a not in (1, b) for a, b in zip(x.shape[::-1], logits[::-1], strict=False)):
            raise ValueError(f"{name} must broadcast to [..., h, t, s] = {list(logits)}, got {describe(x)}")
    if block is not None and block < 1:
        raise ValueError(f"block must be a positive number of queries or None, got {block}")
