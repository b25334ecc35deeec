"""Windows over one, two or three image axes, channels last: reduced forwards, spread backwards.

The maximum is found axis by axis, the last image axis first: the first row in which the row maxima stand highest,
and there the first column. That is the first maximum in row-major order, for `Σ k` comparisons instead of `Π k`.

Backwards the question is asked from the input's side: which windows hold this entry? Entry `p` of an axis (counted
with the padding) lies at place `d = p mod s + t s` of window `p // s - t`, for `t = 0, 1, ...` while `d` is within
the window. So the cotangent is `g` repeated `s` times along each axis, once per `t`: a single pass when windows do
not overlap, and never a scatter. In the benchmark's ConvNet JAX's own pullback, `select_and_scatter`, takes 1.69 s to
compile and 46.9 MiB, this one 0.72 s and 12.5 MiB.
"""

from itertools import product
from math import prod
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from funcgrad.aliases import Array, Aval
from funcgrad.ops.axes import Padding, flatten_leading, per_axis, resolve_padding
from funcgrad.ops.contraction import narrow, widen

Sizes = int | tuple[int, ...]
_UNROLL = 8
"""Windows up to this long are compared in one fused pass; longer ones in a loop.

XLA:CPU makes what a long pass compares anew for every comparison. With windows of 12 over `[8, 72, 72, 16]` both passes
take 2.7 ms unrolled and 1.6 in a loop, with windows of 48 over `[2, 96, 96, 8]` 17 and 0.8; with windows of 8 it is the
same, and of 6 unrolling gains (1.1 and 1.9; processor time, JAX 0.10.1).
"""


class Axis(NamedTuple):
    """The windows along one image axis."""

    size: int
    window: int
    stride: int
    before: int
    """Padding in front."""
    after: int

    @property
    def output(self) -> int:
        """How many windows there are."""
        return max((self.size + self.before + self.after - self.window) // self.stride + 1, 0)

    @property
    def overlap(self) -> int:
        """The most windows that an entry is in."""
        return -(-self.window // self.stride)

    @property
    def blocks(self) -> int:
        """How many strides it takes to cover the padding in front and the input."""
        return -(-(self.before + self.size) // self.stride)


Axes = tuple[Axis, ...]


def measure(x: Array | Aval, n: int, window: Sizes, stride: Sizes | None, padding: Padding) -> Axes:
    """The windows along the `n` image axes of `x`; ValueError where an attribute does not fit."""
    size, windows = x.shape[-n - 1 : -1], per_axis("window", window, n)
    strides = windows if stride is None else per_axis("stride", stride, n)
    pads = resolve_padding(padding, size, windows, strides)
    return tuple(Axis(m, k, s, *pad) for m, k, s, pad in zip(size, windows, strides, pads, strict=True))


def reduce_windows(x: Array, axes: Axes, combine: Any) -> Array:
    """The windows' maxima (`lax.max`) or sums (`lax.add`)."""
    n = len(axes)
    y = lax.reduce_window(
        flatten_leading(x, n + 1),
        np.asarray(_lowest(x.dtype) if combine is lax.max else 0, x.dtype),
        combine,
        (1, *(a.window for a in axes), 1),
        (1, *(a.stride for a in axes), 1),
        ((0, 0), *((a.before, a.after) for a in axes), (0, 0)),
    )
    return y.reshape(*x.shape[: -n - 1], *y.shape[1:])


def first_maxima(x: Array, axes: Axes) -> tuple[Array, Array]:
    """The windows' maxima, and where in its window each stands: in row-major order, the first at a tie.

    The padding, which is as low as a number can be, never wins.
    """
    n = len(axes)
    leading, best = x.shape[: -n - 1], flatten_leading(x, n + 1)
    is_padded = any(a.before or a.after for a in axes)
    if is_padded:
        edges = ((0, 0, 0), *((a.before, a.after, 0) for a in axes), (0, 0, 0))
        best = lax.pad(best, np.asarray(_lowest(x.dtype), x.dtype), edges)
    step = 1
    place: Array | None = None
    dtype = np.uint8 if prod(a.window for a in axes) <= 255 else np.int32
    if not all(a.output for a in axes):  # nothing fits
        y = reduce_windows(x, axes, lax.max)
        return y, lax.full_like(y, 0, dtype)
    for i in reversed(range(n)):
        best, place = _first_along(best, place, i + 1, axes[i], step, dtype)
        step *= axes[i].window
    assert place is not None
    if is_padded:  # a window of nothing but the lowest ties with its padding: the first entry of the image wins
        first = lax.broadcast_in_dim(_first_inside(axes, dtype), best.shape, range(1, n + 1))
        place = lax.select(lax.eq(best, lax.full_like(best, _lowest(x.dtype))), first, place)
    return best.reshape(*leading, *best.shape[1:]), place.reshape(*leading, *place.shape[1:])


def _first_inside(axes: Axes, dtype: Any) -> np.ndarray:
    """The place in each window of its first entry that is no padding; the last place where there is none."""
    place = np.zeros((1,) * len(axes), int)
    for i, a in enumerate(axes):
        skipped = np.clip(a.before - np.arange(a.output) * a.stride, 0, a.window - 1)
        place = place * a.window + skipped.reshape([-1 if i == j else 1 for j in range(len(axes))])
    return place.astype(dtype)


def _first_along(
    x: Array, places: Array | None, dimension: int, axis: Axis, step: int, dtype: Any
) -> tuple[Array, Array]:
    """The maxima along one axis; a place along it counts `step`, beside the place that each entry comes with."""
    span = (axis.output - 1) * axis.stride + 1

    def entry(of: Array, u: Any) -> Array:
        """Entry `u` of every window."""
        if isinstance(u, int):
            return lax.slice_in_dim(of, u, u + span, axis.stride, dimension)
        return lax.slice_in_dim(lax.dynamic_slice_in_dim(of, u, span, dimension), 0, None, axis.stride, dimension)

    def compare(u: Any, leading: tuple[Array, Array]) -> tuple[Array, Array]:
        best, place = leading
        challenger = entry(x, u)
        here = lax.full_like(place, u * step)
        if places is not None:
            here = lax.add(entry(places, u), here)
        return lax.max(best, challenger), lax.select(lax.gt(challenger, best), here, place)

    first = entry(x, 0)
    if places is not None:
        leading, start = (first, entry(places, 0)), 1
    elif axis.window == 1:
        leading, start = (first, lax.full_like(first, 0, dtype)), 1
    else:  # the second entry wins or not, and that is its place as a number
        second = entry(x, 1)
        leading, start = (lax.max(first, second), lax.convert_element_type(lax.gt(second, first), dtype)), 2
    if axis.window > _UNROLL:
        return lax.fori_loop(start, axis.window, compare, leading)
    for u in range(start, axis.window):
        leading = compare(u, leading)
    return leading


def spread_to_places(g: Array, place: Array, axes: Axes) -> Array:
    """Each entry of `g` to the entry at `place` in its window."""
    n = len(axes)
    leading, g, place = g.shape[: -n - 1], flatten_leading(g, n + 1), flatten_leading(place, n + 1)
    blocks = [m for a in axes for m in (a.blocks, a.stride)]
    shape, whole, within = (
        (g.shape[0], *blocks, g.shape[-1]),
        (0, *range(1, 2 * n, 2), 2 * n + 1),
        range(2, 2 * n + 1, 2),
    )
    nothing = lax.full(shape, 0, g.dtype)
    total: Array | None = None
    for shifts in product(*(range(a.overlap) for a in axes)):
        edges = ((0, 0, 0), *((t, a.blocks - t - a.output, 0) for t, a in zip(shifts, axes, strict=True)), (0, 0, 0))
        moved = [lax.pad(v, np.zeros((), v.dtype), edges) if any(map(any, edges)) else v for v in (g, place)]
        spread, found = (lax.broadcast_in_dim(v, shape, whole) for v in moved)
        here = lax.broadcast_in_dim(_places(shifts, axes, place.dtype), shape, within)
        term = lax.select(lax.eq(found, here), spread, nothing)
        total = term if total is None else lax.add(total, term)
    assert total is not None
    return _crop(total, axes, leading)


def _places(shifts: tuple[int, ...], axes: Axes, dtype: Any) -> np.ndarray:
    """The place of each entry of a block in the window `shifts` blocks before; the largest number outside of it."""
    place, inside = np.zeros((1,) * len(axes), int), np.ones((1,) * len(axes), bool)
    for i, (t, a) in enumerate(zip(shifts, axes, strict=True)):
        d = (np.arange(a.stride) + t * a.stride).reshape([-1 if i == j else 1 for j in range(len(axes))])
        place, inside = place * a.window + d, inside & (d < a.window)
    return np.where(inside, place, np.iinfo(dtype).max).astype(dtype)


def spread_to_windows(g: Array, axes: Axes) -> Array:
    """Each entry of `g` to all entries of its window, summed where windows overlap."""
    n = len(axes)
    leading, g = g.shape[: -n - 1], flatten_leading(g, n + 1)
    if not all(a.output for a in axes):  # nothing fits, and no entry of `x` was read
        return jnp.zeros((*leading, *(a.size for a in axes), g.shape[-1]), g.dtype)
    if all(a.window == a.stride for a in axes):
        shape = (g.shape[0], *(m for a in axes for m in (a.output, a.stride)), g.shape[-1])
        return _crop(lax.broadcast_in_dim(g, shape, (0, *range(1, 2 * n, 2), 2 * n + 1)), axes, leading)
    # Window i reaches from i s - p to i s - p + k - 1: spread by the stride, `g` is summed over k places.
    edges = [(a.window - 1 - a.before, a.size + a.before - 1 - (a.output - 1) * a.stride, a.stride - 1) for a in axes]
    spread = lax.pad(g, np.zeros((), g.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    x_bar = reduce_windows(
        spread, tuple(Axis(m, a.window, 1, 0, 0) for m, a in zip(spread.shape[1:], axes, strict=False)), lax.add
    )
    return x_bar.reshape(*leading, *x_bar.shape[1:])


def _crop(tiled: Array, axes: Axes, leading: tuple[int, ...]) -> Array:
    """`[b, blocks, stride, ..., c]` as an image of the input's size."""
    b, *blocks, c = tiled.shape
    image = tiled.reshape(b, *(q * s for q, s in zip(blocks[::2], blocks[1::2], strict=True)), c)
    edges = [(-a.before, a.before + a.size - m, 0) for a, m in zip(axes, image.shape[1:-1], strict=True)]
    if any(map(any, edges)):
        image = lax.pad(image, np.zeros((), image.dtype), ((0, 0, 0), *edges, (0, 0, 0)))
    return image.reshape(*leading, *image.shape[1:])


def mean_of_windows(x: Array, axes: Axes, count_padding: bool) -> Array:
    """The windows' means, with the padding's zeros as entries or without."""
    total = reduce_windows(widen(x), axes, lax.add)
    return narrow(lax.mul(total, _shares(total, axes, count_padding)), x)


def spread_mean(g: Array, axes: Axes, count_padding: bool) -> Array:
    """`x_bar` of `mean_of_windows`."""
    g = widen(g)
    return spread_to_windows(lax.mul(g, _shares(g, axes, count_padding)), axes)


def _shares(y: Array, axes: Axes, count_padding: bool) -> Array:
    """One over the number of entries of each window, in the shape of `y`."""
    if count_padding:
        return lax.full_like(y, 1 / prod(a.window for a in axes))
    n = len(axes)
    share = np.ones((1,) * n)
    for i, a in enumerate(axes):
        start = np.arange(a.output) * a.stride - a.before
        inside = np.minimum(start + a.window, a.size) - np.maximum(start, 0)
        # A window of nothing but padding has the sum 0, and the mean 0.
        share = share / np.maximum(inside, 1).reshape([-1 if i == j else 1 for j in range(n)])
    return lax.broadcast_in_dim(share.astype(y.dtype), y.shape, range(y.ndim - n - 1, y.ndim - 1))


def _lowest(dtype: Any) -> float:
    return -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
